/* SPDX-License-Identifier: Apache-2.0
 * clquant eval: accuracy against labels or scores, and error against a reference model, on all samples of a data set. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <string.h>

#include <clquant/evaluate.h>

#include "cli.h"
#include "out.h"
#include "samples.h"

struct arguments {
    const char *data, *labels, *reference, *measure, *metric, *output, *pool, *mask, *scores;
    long long batch, limit, seed, blank;
};

static const struct cli_option options[] = {
    {"data", 0, CLI_TEXT, offsetof(struct arguments, data), "DATA", 0, 0, ".npz (arrays by input name, first axis: samples), .npy or a folder of either"},
    {"labels", 0, CLI_TEXT, offsetof(struct arguments, labels), "LABELS.npy", 0, 0, "the class of every sample; of sequences [samples, length], negative where there is no symbol"},
    {"reference", 0, CLI_TEXT, offsetof(struct arguments, reference), "MODEL", 0, 0, "the model whose outputs are right, usually the float one"},
    {"metric", 0, CLI_CHOICE, offsetof(struct arguments, metric), "classes|embeddings|sequences", 0, 0, "what the first output is (default classes)"},
    {"output", 0, CLI_TEXT, offsetof(struct arguments, output), "NAME", 0, 0, "the embedding or sequence, if it is not the first output"},
    {"pool", 0, CLI_CHOICE, offsetof(struct arguments, pool), "mean|first", 0, 0, "embeddings [samples, positions, width]: mean of the positions (default), or the first"},
    {"mask", 0, CLI_TEXT, offsetof(struct arguments, mask), "INPUT", 0, 0, "the input that is 0 at padding, which then does not count (embeddings: attention_mask where there is one)"},
    {"scores", 0, CLI_TEXT, offsetof(struct arguments, scores), "SCORES.npy", 0, 0, "how alike samples 0 and 1, 2 and 3, ... are: gives the rank correlation of the embeddings' cosines"},
    {"blank", 0, CLI_WHOLE, offsetof(struct arguments, blank), "N", 0, 1e12, "sequences: merge repeats and drop symbol N, as CTC does"},
    CLI_MEASURE(struct arguments),
    {"batch", 0, CLI_WHOLE, offsetof(struct arguments, batch), "N", 1, 65536, "samples per run (default 1); a scalar input is not batched, samples of one run must agree in it"},
    {"limit", 0, CLI_WHOLE, offsetof(struct arguments, limit), "N", 1, 1e12, "at most so many samples"},
    {"seed", 0, CLI_WHOLE, offsetof(struct arguments, seed), "N", 0, 9e15, "of synthetic data"},
    {NULL, 0, CLI_FLAG, 0, NULL, 0, 0, NULL},
};

static const char *const positional[] = {"MODEL"};

static const struct cli_spec spec = {
    .name = "eval",
    .arguments = "MODEL --data DATA [--labels LABELS.npy] [--reference MODEL] [--metric METRIC]",
    .summary = "Runs a model on samples and prints how good it is: top-1 accuracy when labels are given; agreement, signal to\n"
               "quantization noise ratio (over all outputs and samples together) and cosine when a reference is given. Top-1 and\n"
               "agreement are of a first output [samples, classes] or [samples, positions, classes]; of maps (rank 4) there is none.\n"
               "--metric embeddings: cosine of every sample's vector to the reference's, and Spearman's rank correlation with --scores.\n"
               "--metric sequences: exact matches and edit distance per symbol, against the reference and --labels.\n",
    .options = options,
    .least = 1,
    .most = 1,
    .positional = positional,
    .example = "  clquant eval model.int8.onnx --data test.npz --labels labels.npy --reference model.onnx\n"
               "  clquant eval bert.int8.onnx --data pairs.npz --metric embeddings --scores scores.npy --reference bert.onnx\n"
               "  clquant eval ocr.int8.onnx --data lines.npz --metric sequences --blank 0 --labels texts.npy --reference ocr.onnx\n",
};

/* What is printed of an evaluation: numbers that are not known are left out of the text, and null in JSON. */
enum form { PERCENT, PART, DECIBEL, RATIO };
struct number {
    const char *key, *title;
    enum form form;
    size_t at;
};
#define N(key, title, form) {#key, title, form, offsetof(clq_evaluation, key)}
static const struct number everywhere[] = {
    N(top1, "top-1", PERCENT), N(top1_reference, "top-1 of the reference", PERCENT), N(agreement, "agreement with the reference", PART),
    N(sqnr_db, "output SQNR", DECIBEL), N(cosine, "cosine", RATIO), {NULL, NULL, RATIO, 0}};
static const struct number embeddings[] = {
    N(mean_cosine, "mean cosine of a sample", RATIO), N(least_cosine, "least cosine of a sample", RATIO), N(spearman, "rank correlation with the scores", RATIO),
    N(spearman_reference, "rank correlation of the reference", RATIO), {NULL, NULL, RATIO, 0}};
static const struct number sequences[] = {
    N(exact, "same as the reference", PART), N(edit_rate, "edits per symbol from the reference", RATIO), N(label_exact, "same as the labels", PART),
    N(label_edit_rate, "edits per symbol from the labels", RATIO), N(label_exact_reference, "reference: same as the labels", PART),
    N(label_edit_rate_reference, "reference: edits per symbol", RATIO), {NULL, NULL, RATIO, 0}};
#undef N

static const struct number *of_metric(const char *metric)
{
    static const struct number none[] = {{NULL, NULL, RATIO, 0}};
    return !metric || strcmp(metric, "classes") == 0 ? none : strcmp(metric, "embeddings") == 0 ? embeddings : sequences;
}

/* NaN: not known. */
static double value_of(const clq_evaluation *e, const struct number *n)
{
    double v = *(const double *)((const char *)e + n->at);
    return (n->form == PERCENT || n->form == PART) && v < 0 ? (double)NAN : v;
}

static void print_json(const struct cli *cli, const clq_evaluation *e, const char *metric)
{
    struct cli_json j;
    cli_json_start(&j);
    cli_json_whole(&j, "samples", (long long)e->samples);
    for (const struct number *n = everywhere; n->key; n++) cli_json_real(&j, n->key, value_of(e, n));
    cli_json_bool(&j, "identical", e->identical);
    for (const struct number *n = of_metric(metric); n->key; n++) cli_json_real(&j, n->key, value_of(e, n));
    cli_json_text(&j, "runtime", clq_context_runtime(cli->ctx));
    cli_json_print(&j);
}

static void print_numbers(struct cli_table *t, const clq_evaluation *e, const struct number *n)
{
    for (; n->key; n++) {
        double v = value_of(e, n);
        if (isnan(v)) continue;
        cli_cell(t, "%s", n->title);
        if (n->form == DECIBEL) cli_cell_take(t, cli_decibel(v));
        else if (n->form == RATIO) cli_cell(t, "%.6f", v);
        else cli_cell(t, "%.2f %%", n->form == PART ? 100 * v : v);
    }
}

static void print_text(const clq_evaluation *e, const char *metric)
{
    struct cli_table t;
    cli_table_start(&t, 2, "lr", NULL);
    cli_cell(&t, "samples");
    cli_cell(&t, "%zu", e->samples);
    print_numbers(&t, e, everywhere);
    print_numbers(&t, e, of_metric(metric));
    cli_table_print(&t, 0);
}

static int evaluate(struct cli *cli, const struct arguments *a, const char *path)
{
    clq_model *model = NULL, *reference = NULL;
    clq_data *data = NULL;
    struct cli_labels labels = {0};
    double *scores = NULL;
    size_t n_scores = 0;
    clq_data_options opt = {.batch = (size_t)a->batch, .limit = (size_t)a->limit, .seed = (uint64_t)a->seed};
    cli->measure = a->measure;
    int code = cli_open(cli);
    if (code == CLI_GO_ON) code = cli_load(cli, &model, path);
    if (code == CLI_GO_ON && a->reference) code = cli_load(cli, &reference, a->reference);
    if (code == CLI_GO_ON) code = cli_open_data(cli, &data, model, a->data, &opt);
    if (code == CLI_GO_ON) code = cli_load_labels(cli, &labels, a->labels);
    if (code == CLI_GO_ON) code = cli_load_scores(cli, &scores, &n_scores, a->scores);
    if (code == CLI_GO_ON) {
        clq_evaluation e;
        clq_evaluate_options o = {.metric = a->metric, .output = a->output, .labels = labels.value, .n_labels = labels.n, .label_length = labels.length,
                                  .pool = a->pool, .mask = a->mask, .scores = scores, .n_scores = n_scores, .has_blank = a->blank >= 0, .blank = a->blank};
        clq_status st = clq_evaluate_by(&e, cli->ctx, model, reference, data, &o);
        code = st == CLQ_OK ? CLI_DONE : cli_fail(cli, st);
        cli_progress_clear(&cli->progress);
        if (st == CLQ_OK && cli->json) print_json(cli, &e, a->metric);
        else if (st == CLQ_OK) print_text(&e, a->metric);
    }
    free(scores);
    free(labels.value);
    clq_data_free(data);
    clq_model_free(reference);
    clq_model_free(model);
    return code;
}

/* Options that the metric does not read are mistakes. */
static int check_metric(struct cli *cli, const struct arguments *a)
{
    bool embedding = a->metric && strcmp(a->metric, "embeddings") == 0, sequence = a->metric && strcmp(a->metric, "sequences") == 0;
    if (!embedding && (a->scores || a->pool)) return cli_usage(cli, "%s goes with --metric embeddings", a->scores ? "--scores" : "--pool");
    if (!sequence && a->blank >= 0) return cli_usage(cli, "--blank goes with --metric sequences");
    if (!embedding && !sequence && (a->output || a->mask)) return cli_usage(cli, "%s goes with --metric embeddings or sequences", a->output ? "--output" : "--mask");
    if (embedding && a->labels) return cli_usage(cli, "embeddings have no --labels; give --scores SCORES.npy, --reference MODEL, or both");
    return CLI_GO_ON;
}

int cli_eval(struct cli *cli, int argc, char **argv)
{
    struct arguments a = {.blank = -1};
    const char *path;
    int code = cli_parse(cli, &spec, &a, &path, argc, argv);
    if (code == CLI_GO_ON) code = check_metric(cli, &a);
    if (code != CLI_GO_ON) return code;
    if (!a.data) return cli_usage(cli, "--data is missing: .npz (arrays by input name, first axis: samples), .npy or a folder of either");
    if (!a.labels && !a.reference && !a.scores) return cli_usage(cli, "nothing to compare with: give --labels LABELS.npy, --reference MODEL, --scores SCORES.npy, or several of them");
    return evaluate(cli, &a, path);
}
