/* SPDX-License-Identifier: Apache-2.0
 * clquant bench: the time of a model, alone or in interleaved pairs with a reference, and the rates of kernels and calls (by
 * the program clquant-bench, which is linked with the tests' cases). With --raw it is also the timing process of the
 * library's proof of speed. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <clquant/quantize.h>

#include "bench_steps.h"
#include "cli.h"
#include "files.h"
#include "out.h"
#include "samples.h"

struct arguments {
    const char *reference, *data, *measure;
    long long pairs, batch, index, seed;
    bool raw, profile;
};

static const struct cli_option options[] = {
    {"reference", 0, CLI_TEXT, offsetof(struct arguments, reference), "MODEL", 0, 0, "the model to compare with, timed in turn with the first"},
    {"data", 0, CLI_TEXT, offsetof(struct arguments, data), "DATA", 0, 0, "where the sample comes from: .npz, .npy, a folder (default synthetic:1)"},
    {"index", 0, CLI_WHOLE, offsetof(struct arguments, index), "N", 0, 1e12, "which sample (default 0)"},
    {"batch", 0, CLI_WHOLE, offsetof(struct arguments, batch), "N", 1, 65536, "samples per run (default 1); a scalar input is not batched, samples of one run must agree in it"},
    {"pairs", 0, CLI_WHOLE, offsetof(struct arguments, pairs), "N", 1, 1000000, "timed pairs (default: as many as fit into 20 s, with --profile 10 s, 21 to 200)"},
    {"seed", 0, CLI_WHOLE, offsetof(struct arguments, seed), "N", 0, 9e15, "of synthetic data"},
    CLI_MEASURE(struct arguments),
    {"profile", 0, CLI_FLAG, offsetof(struct arguments, profile), NULL, 0, 0, "where the time goes: a table of every step in place, of its kernel, shape, time and rate"},
    {"raw", 0, CLI_FLAG, offsetof(struct arguments, raw), NULL, 0, 0, "with --json: also every pair, as \"seconds\": [[reference, model], ...]"},
    {NULL, 0, CLI_FLAG, 0, NULL, 0, 0, NULL},
};

static const char *const positional[] = {"MODEL"};

static const struct cli_spec model_spec = {
    .name = "bench model",
    .arguments = "MODEL [--reference MODEL] [--data DATA]",
    .summary = "Times a model on one sample after a warm-up. With a reference the two run in turn, in the order ABBA; the speed-up\n"
               "is the median of the paired ratios, with its 95 % bootstrap interval. Pairs during which the machine gave\n"
               "processor time away, or changed its clock, are timed once more; those that are disturbed again are discarded.\n"
               "With --profile the table has a row for every step that is left after fusion, in order, and one for every operator;\n"
               "runs with the steps timed take turns with runs without, so that the cost of timing them shows.\n",
    .options = options,
    .least = 1,
    .most = 1,
    .positional = positional,
    .example = "  clquant bench model model.int8.onnx --reference model.onnx\n  clquant bench model model.onnx --threads 1 --profile\n",
};

/* What clquant-bench knows. */
static const char *const programs[] = {"kernels", "gemm", "gemv", "conv", "quantize", "histogram", "elementwise", "device"};
#define BENCH_WORDS "model|kernels|gemm|gemv|conv|quantize|histogram|elementwise|device"

static const char *const words[] = {BENCH_WORDS};

static const struct cli_spec group_spec = {
    .name = "bench",
    .arguments = BENCH_WORDS " ...",
    .summary = "Measures speed. 'bench model' times whole models; 'bench gemm', 'gemv', 'conv', 'quantize' and 'histogram' time calls of\n"
               "the library on shapes of your choice, beside the ceilings of this machine; 'bench elementwise' times the kernels that memory\n"
               "limits; 'bench kernels' times every kernel on the tests' cases; 'bench device' measures the ceilings themselves. Each has its own --help.\n",
    .least = 1,
    .most = 1,
    .positional = words,
    .example = "  clquant bench model model.int8.onnx --reference model.onnx\n  clquant bench gemm 128x3072x768 --threads 1\n",
};

struct job {
    clq_model *model, *reference;
    clq_data *data;
    clq_tensor *inputs;
    double *seconds;
    size_t pairs;
    clq_pair_timing timing;
};

/* ---- bench model ---- */

/* A first look says how many pairs fit into the time. */
static clq_status choose_pairs(struct cli *cli, struct job *b)
{
    const double most_seconds = 20;
    clq_pair_timing look;
    clq_status st = clq_time_pair(&look, cli->ctx, b->model, b->reference, b->inputs, 3, NULL);
    if (st != CLQ_OK) return st;
    b->pairs = cli_bench_fit(most_seconds, (look.median_ms + look.reference_median_ms) * 1e-3);
    return CLQ_OK;
}

static void print_raw(struct cli_json *j, const struct job *b)
{
    cli_json_array(j, "seconds");
    for (size_t i = 0; i < b->pairs; i++) {
        cli_json_array(j, NULL);
        cli_json_real(j, NULL, b->seconds[2 * i]);
        cli_json_real(j, NULL, b->seconds[2 * i + 1]);
        cli_json_end(j, ']');
    }
    cli_json_end(j, ']');
}

static void print_json(const struct cli *cli, const struct job *b, bool raw)
{
    const clq_pair_timing *t = &b->timing;
    bool two = b->reference != NULL;
    struct cli_json j;
    cli_json_start(&j);
    cli_json_real(&j, "median_ms", t->median_ms);
    cli_json_real(&j, "reference_median_ms", two ? t->reference_median_ms : (double)NAN);
    cli_json_real(&j, "speedup", two ? t->speedup : (double)NAN);
    cli_json_real(&j, "speedup_lo", two ? t->speedup_lo : (double)NAN);
    cli_json_real(&j, "speedup_hi", two ? t->speedup_hi : (double)NAN);
    cli_json_whole(&j, "pairs", (long long)t->pairs);
    cli_json_whole(&j, "disturbed", (long long)t->disturbed);
    cli_json_whole(&j, "discarded", (long long)t->discarded);
    cli_json_bool(&j, "faster", t->faster);
    cli_json_bool(&j, "slower", t->slower);
    cli_json_whole(&j, "threads", clq_context_threads(cli->ctx));
    cli_json_text(&j, "isa", clq_context_isa(cli->ctx));
    cli_json_text(&j, "device", clq_context_device(cli->ctx));
    cli_json_text(&j, "runtime", clq_context_runtime(cli->ctx));
    if (raw) print_raw(&j, b);
    cli_json_print(&j);
}

static void print_text(const struct cli *cli, const struct job *b)
{
    const clq_pair_timing *t = &b->timing;
    struct cli_table table;
    cli_table_start(&table, 2, "lr", NULL);
    cli_cell(&table, "model, median");
    cli_cell_take(&table, cli_time(t->median_ms * 1e-3));
    if (b->reference) {
        cli_cell(&table, "reference, median");
        cli_cell_take(&table, cli_time(t->reference_median_ms * 1e-3));
        cli_cell(&table, "speed-up, median of paired ratios");
        cli_cell(&table, "%.3f x", t->speedup);
        cli_cell(&table, "95 %% interval");
        cli_cell(&table, "%.3f to %.3f", t->speedup_lo, t->speedup_hi);
    }
    cli_cell(&table, "%s", b->reference ? "pairs" : "runs");
    cli_cell(&table, "%zu", t->pairs);
    cli_table_print(&table, 0);
    const char *verdict = !b->reference ? "" : t->faster ? "; faster beyond noise" : t->slower ? "; slower beyond noise" : "; no difference beyond noise";
    bool own = strcmp(clq_context_runtime(cli->ctx), "clquant") == 0;
    printf("\n%d thread%s, %s, %s%s\n", clq_context_threads(cli->ctx), clq_context_threads(cli->ctx) == 1 ? "" : "s",
           own ? clq_context_isa(cli->ctx) : clq_context_runtime(cli->ctx), clq_context_device(cli->ctx), verdict);
}

static int time_models(struct cli *cli, struct job *b, const struct arguments *a)
{
    size_t n_in = (size_t)clq_model_input_count(b->model);
    if ((size_t)a->index >= clq_data_count(b->data)) return cli_usage(cli, "--index %lld: the data has %zu samples", a->index, clq_data_count(b->data));
    b->inputs = cli_alloc((n_in + 1) * sizeof *b->inputs);
    b->pairs = (size_t)a->pairs;
    clq_status st = clq_data_get(b->data, (size_t)a->index, b->inputs);
    if (st == CLQ_OK && a->profile) return cli_bench_steps(cli, b->model, b->inputs, b->pairs);
    if (st == CLQ_OK && b->pairs == 0) st = choose_pairs(cli, b);
    if (st != CLQ_OK) return cli_fail(cli, st);
    b->seconds = cli_alloc(b->pairs * 2 * sizeof *b->seconds);
    st = clq_time_pair(&b->timing, cli->ctx, b->model, b->reference, b->inputs, b->pairs, b->seconds);
    if (st != CLQ_OK || cli_stopped()) return cli_fail(cli, st);
    cli_progress_clear(&cli->progress);
    if (cli->json) print_json(cli, b, a->raw);
    else print_text(cli, b);
    return CLI_DONE;
}

static int bench_model(struct cli *cli, int argc, char **argv)
{
    struct arguments a = {.data = "synthetic:1"};
    struct job b = {0};
    const char *path;
    int code = cli_parse(cli, &model_spec, &a, &path, argc, argv);
    if (code != CLI_GO_ON) return code;
    if (a.profile && (a.reference || a.raw || (a.measure && strcmp(a.measure, "clquant") != 0)))
        return cli_usage(cli, "--profile is of one model's steps in clquant: not with --reference, --measure or --raw");
    clq_data_options opt = {.batch = (size_t)a.batch, .seed = (uint64_t)a.seed};
    char *many = NULL;
    if (strcmp(a.data, "synthetic:1") == 0) a.data = many = cli_print("synthetic:%lld", a.batch > 1 ? a.batch : 1);
    cli->measure = a.measure;
    code = cli_open(cli);
    if (code == CLI_GO_ON) code = cli_load(cli, &b.model, path);
    if (code == CLI_GO_ON && a.reference) code = cli_load(cli, &b.reference, a.reference);
    if (code == CLI_GO_ON) code = cli_open_data(cli, &b.data, b.model, a.data, &opt);
    if (code == CLI_GO_ON) code = time_models(cli, &b, &a);
    free(many);
    free(b.seconds);
    free(b.inputs);
    clq_data_free(b.data);
    clq_model_free(b.reference);
    clq_model_free(b.model);
    return code;
}

/* ---- Everything else ---- */

/* Beside this executable, or in ../libexec of an installed one. */
static void run_bench(const char *own, char **argv)
{
    const char *slash = strrchr(own, '/');
    for (int k = 0; slash && k < 2; k++) {
        char *path = cli_print("%.*s%s/clquant-bench", (int)(slash - own), own, k ? "/../libexec/clquant" : "");
        argv[0] = path;
        execv(path, argv);
        free(path);
    }
}

static int bench_program(struct cli *cli, const char *word, int argc, char **argv)
{
    char **words_out = cli_alloc(((size_t)argc + 13) * sizeof *words_out), *own = cli_own_path(), *threads = cli_print("%lld", cli->threads);
    int n = 1;
    words_out[n++] = (char *)(uintptr_t)word;
    const struct {
        bool given;
        const char *option, *value;
    } common[] = {{cli->json, "--json", NULL},
                  {cli->quiet, "--quiet", NULL},
                  {strcmp(cli->device, "cpu") != 0, "--device", cli->device},
                  {cli->isa, "--isa", cli->isa},
                  {cli->threads > 0, "--threads", threads}};
    for (size_t i = 0; i < sizeof common / sizeof *common; i++) {
        if (!common[i].given) continue;
        words_out[n++] = (char *)(uintptr_t)common[i].option;
        if (common[i].value) words_out[n++] = (char *)(uintptr_t)common[i].value;
    }
    for (int i = 0; i < argc; i++) words_out[n++] = argv[i];
    if (own) run_bench(own, words_out);
    int code = cli_system(cli, "the program clquant-bench is not beside clquant: %s", strerror(errno));
    free(threads);
    free(words_out);
    free(own);
    return code;
}

int cli_bench(struct cli *cli, int argc, char **argv)
{
    const char *word[1];
    if (argc > 0 && strcmp(argv[0], "model") == 0) return bench_model(cli, argc - 1, argv + 1);
    for (size_t i = 0; argc > 0 && i < sizeof programs / sizeof *programs; i++)
        if (strcmp(argv[0], programs[i]) == 0) return bench_program(cli, programs[i], argc - 1, argv + 1);
    int code = cli_parse(cli, &group_spec, NULL, word, argc, argv);
    return code == CLI_GO_ON ? cli_usage(cli, "expected bench " BENCH_WORDS ", got 'bench %s'", word[0]) : code;
}
