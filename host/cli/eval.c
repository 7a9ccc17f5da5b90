/* SPDX-License-Identifier: Apache-2.0
 * clquant eval: accuracy against labels, and error against a reference model, on all samples of a data set. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <clquant/quantize.h>

#include "cli.h"
#include "out.h"
#include "samples.h"

struct arguments {
    const char *data, *labels, *reference, *measure;
    long long batch, limit, seed;
};

static const struct cli_option options[] = {
    {"data", 0, CLI_TEXT, offsetof(struct arguments, data), "DATA", 0, 0, ".npz (arrays by input name, first axis: samples), .npy or a folder of either"},
    {"labels", 0, CLI_TEXT, offsetof(struct arguments, labels), "LABELS.npy", 0, 0, "the class of every sample"},
    {"reference", 0, CLI_TEXT, offsetof(struct arguments, reference), "MODEL", 0, 0, "the model whose outputs are right, usually the float one"},
    CLI_MEASURE(struct arguments),
    {"batch", 0, CLI_WHOLE, offsetof(struct arguments, batch), "N", 1, 65536, "samples per run (default 1); a scalar input is not batched, samples of one run must agree in it"},
    {"limit", 0, CLI_WHOLE, offsetof(struct arguments, limit), "N", 1, 1e12, "at most so many samples"},
    {"seed", 0, CLI_WHOLE, offsetof(struct arguments, seed), "N", 0, 9e15, "of synthetic data"},
    {NULL, 0, CLI_FLAG, 0, NULL, 0, 0, NULL},
};

static const char *const positional[] = {"MODEL"};

static const struct cli_spec spec = {
    .name = "eval",
    .arguments = "MODEL --data DATA [--labels LABELS.npy] [--reference MODEL]",
    .summary = "Runs a model on samples and prints how good it is: top-1 accuracy when labels are given; agreement, signal to\n"
               "quantization noise ratio (over all outputs and samples together) and cosine when a reference is given. Top-1 and\n"
               "agreement are of a first output [samples, classes] or [samples, positions, classes]; of maps (rank 4) there is none.\n",
    .options = options,
    .least = 1,
    .most = 1,
    .positional = positional,
    .example = "  clquant eval model.int8.onnx --data test.npz --labels labels.npy --reference model.onnx\n",
};

static double or_nan(double v)
{
    return v < 0 ? (double)NAN : v;
}

static void print_json(const struct cli *cli, const clq_evaluation *e)
{
    struct cli_json j;
    cli_json_start(&j);
    cli_json_whole(&j, "samples", (long long)e->samples);
    cli_json_real(&j, "top1", or_nan(e->top1));
    cli_json_real(&j, "top1_reference", or_nan(e->top1_reference));
    cli_json_real(&j, "agreement", or_nan(e->agreement));
    cli_json_real(&j, "sqnr_db", e->sqnr_db);
    cli_json_real(&j, "cosine", e->cosine);
    cli_json_bool(&j, "identical", e->identical);
    cli_json_text(&j, "runtime", clq_context_runtime(cli->ctx));
    cli_json_print(&j);
}

static void print_text(const clq_evaluation *e)
{
    struct cli_table t;
    cli_table_start(&t, 2, "lr", NULL);
    cli_cell(&t, "samples");
    cli_cell(&t, "%zu", e->samples);
    if (e->top1 >= 0) {
        cli_cell(&t, "top-1");
        cli_cell(&t, "%.2f %%", e->top1);
    }
    if (e->top1_reference >= 0) {
        cli_cell(&t, "top-1 of the reference");
        cli_cell(&t, "%.2f %%", e->top1_reference);
    }
    if (e->agreement >= 0) {
        cli_cell(&t, "agreement with the reference");
        cli_cell(&t, "%.2f %%", 100 * e->agreement);
    }
    if (!isnan(e->sqnr_db)) {
        cli_cell(&t, "output SQNR");
        cli_cell_take(&t, cli_decibel(e->sqnr_db));
        cli_cell(&t, "cosine");
        cli_cell(&t, "%.6f", e->cosine);
    }
    cli_table_print(&t, 0);
}

static int evaluate(struct cli *cli, const struct arguments *a, const char *path)
{
    clq_model *model = NULL, *reference = NULL;
    clq_data *data = NULL;
    int64_t *labels = NULL;
    size_t n = 0;
    clq_data_options opt = {.batch = (size_t)a->batch, .limit = (size_t)a->limit, .seed = (uint64_t)a->seed};
    cli->measure = a->measure;
    int code = cli_open(cli);
    if (code == CLI_GO_ON) code = cli_load(cli, &model, path);
    if (code == CLI_GO_ON && a->reference) code = cli_load(cli, &reference, a->reference);
    if (code == CLI_GO_ON) code = cli_open_data(cli, &data, model, a->data, &opt);
    if (code == CLI_GO_ON) code = cli_load_labels(cli, &labels, &n, a->labels);
    if (code == CLI_GO_ON) {
        clq_evaluation e;
        clq_status st = clq_evaluate(&e, cli->ctx, model, reference, data, labels, n);
        code = st == CLQ_OK ? CLI_DONE : cli_fail(cli, st);
        cli_progress_clear(&cli->progress);
        if (st == CLQ_OK && cli->json) print_json(cli, &e);
        else if (st == CLQ_OK) print_text(&e);
    }
    free(labels);
    clq_data_free(data);
    clq_model_free(reference);
    clq_model_free(model);
    return code;
}

int cli_eval(struct cli *cli, int argc, char **argv)
{
    struct arguments a = {0};
    const char *path;
    int code = cli_parse(cli, &spec, &a, &path, argc, argv);
    if (code != CLI_GO_ON) return code;
    if (!a.data) return cli_usage(cli, "--data is missing: .npz (arrays by input name, first axis: samples), .npy or a folder of either");
    if (!a.labels && !a.reference) return cli_usage(cli, "nothing to compare with: give --labels LABELS.npy, --reference MODEL, or both");
    return evaluate(cli, &a, path);
}
