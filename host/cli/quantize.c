/* SPDX-License-Identifier: Apache-2.0
 * clquant quantize: the main job from the command line. All that can be refused is refused before the work starts. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "files.h"
#include "out.h"
#include "quantize_out.h"
#include "samples.h"

struct arguments {
    const char *data, *output, *val_data, *labels, *target, *calibrator, *candidates, *uniform, *plan, *report, *measure, *algorithm, *scaling, *int4, *rounding;
    const char *objective, *eval_cmd, *profile, *profile_device, *journal;
    double min_sqnr, min_cosine, max_drop, max_latency, min_speedup, max_size, target_bits, max_memory, eval_timeout, algorithm_time;
    struct cli_texts layers, excluded;
    long long batch, limit, seed, pairs, tuning;
    bool remeasure, resume, strict, no_bias_correction, no_weight_clipping;
};

#define AT(field) offsetof(struct arguments, field)
static const struct cli_option options[] = {
    {"data", 0, CLI_TEXT, AT(data), "DATA", 0, 0,
     "calibration samples: .npz (arrays by input name, first axis: samples), .npy or a folder of either; synthetic:N is noise for timing alone"},
    {"output", 'o', CLI_TEXT, AT(output), "OUT.onnx", 0, 0, "the model that is written; its plan goes to OUT.onnx.plan.json"},
    {"val-data", 0, CLI_TEXT, AT(val_data), "DATA", 0, 0, "samples that judge the result (default: a quarter of --data that does not calibrate); of more than 128, with --labels 1024, a draw by --seed judges"},
    {"labels", 0, CLI_TEXT, AT(labels), "LABELS.npy", 0, 0, "the class of every sample of --val-data, or of --data without it"},
    {"min-sqnr", 0, CLI_REAL, AT(min_sqnr), "DB", 0.1, 199, "lowest output SQNR in dB on unseen samples (default 20 where nothing else bounds the error)"},
    {"min-cosine", 0, CLI_REAL, AT(min_cosine), "COSINE", 0.01, 1, "lowest cosine between the outputs and those in float32"},
    {"max-drop", 0, CLI_REAL, AT(max_drop), "POINTS", 1e-6, 1e9, "most points that may be lost: of top-1, with --labels, or of the score of --eval-cmd"},
    {"max-latency", 0, CLI_REAL, AT(max_latency), "MS", 1e-6, 1e9, "longest run on one input, in milliseconds"},
    {"min-speedup", 0, CLI_REAL, AT(min_speedup), "FACTOR", 0.01, 1000, "least speed-up over float32"},
    {"max-size", 0, CLI_BYTES, AT(max_size), "SIZE", 1, 1e18, "largest file: 300kB, 2.5MB, ..."},
    {"target-bits", 0, CLI_REAL, AT(target_bits), "BITS", 1, 32, "most bits per weight, on average over the model"},
    {"max-memory", 0, CLI_BYTES, AT(max_memory), "SIZE", 1, 1e18, "most memory while it runs: file, activations and scratch"},
    {"objective", 0, CLI_CHOICE, AT(objective), "time|error|size", 0, 0, "what is made least within the bounds (default time; error if only time, size or memory are bounded)"},
    {"eval-cmd", 0, CLI_TEXT, AT(eval_cmd), "CMD", 0, 0, "a program that scores candidates, higher is better: 'score.py {model}'; its last line is the number; no shell runs"},
    {"eval-timeout", 0, CLI_REAL, AT(eval_timeout), "SECONDS", 0.01, 1e6, "how long --eval-cmd may take (default 600)"},
    {"layer", 0, CLI_TEXTS, AT(layers), "NAME=MODE", 0, 0, "gives a layer its precision; 're:REGEX=MODE' all that match; the last rule that matches holds"},
    {"exclude", 0, CLI_TEXTS, AT(excluded), "NAME", 0, 0, "leaves a layer, or all that match re:REGEX, in float32"},
    {"target", 0, CLI_CHOICE, AT(target), "generic|ort|tensorrt|openvino", 0, 0, "whom the file is written for (default generic)"},
    {"calibrator", 0, CLI_CHOICE, AT(calibrator), "auto|minmax|percentile|entropy|mse", 0, 0, "how ranges are found (default auto: what has the least error at the output)"},
    {"candidates", 0, CLI_TEXT, AT(candidates), "MODE,...", 0, 0, "modes that the scheduler may use (default f32,int8, and int8-dynamic for transformers, with another runtime int8-tensor); modes are listed below"},
    {"uniform", 0, CLI_TEXT, AT(uniform), "MODE", 0, 0, "one mode wherever it is supported, instead of a search"},
    {"algorithm", 0, CLI_CHOICE, AT(algorithm), "auto|minmax|mse|hqq|weighted|gptq|adaround", 0, 0,
     "how weights of 4 bits and fewer are found (default auto: per layer, what has the least error at its output)"},
    {"algorithm-time", 0, CLI_REAL, AT(algorithm_time), "SECONDS", 0.001, 1e6, "how long auto may look for better weights, at most half of it for scaling (default 600); layers after that get the quick way"},
    {"scaling", 0, CLI_CHOICE, AT(scaling), "none|awq|smoothquant|equalize|auto", 0, 0,
     "scales channels between a layer and what makes its input, exactly, where that lowers the error (default auto with --algorithm auto, else none)"},
    {"int4", 0, CLI_CHOICE, AT(int4), "qdq|matmulnbits", 0, 0, "4-bit weights as blocked DequantizeLinear of opset 21 (default), or as com.microsoft MatMulNBits"},
    {"rounding", 0, CLI_TEXT, AT(rounding), "nearest|stochastic:SEED", 0, 0, "of weights with 4 bits and fewer (default nearest)"},
    {"plan", 0, CLI_TEXT, AT(plan), "PLAN.json", 0, 0, "writes what this plan says, instead of a search"},
    {"report", 0, CLI_TEXT, AT(report), "OUT.html", 0, 0, "also writes one self-contained page with all numbers"},
    CLI_MEASURE(struct arguments),
    {"strict", 0, CLI_FLAG, AT(strict), NULL, 0, 0, "exit code 1 when float is kept, the result is slower than float, or a bound is missed"},
    {"profile", 0, CLI_TEXT, AT(profile), "FILE", 0, 0, "plans for the machine that this profile was measured on: error from here, times from there; speed is predicted"},
    {"profile-device", 0, CLI_TEXT, AT(profile_device), "TEXT", 0, 0, "which device of --profile: a part of its name, ISA or 'N threads'"},
    {"remeasure", 0, CLI_FLAG, AT(remeasure), NULL, 0, 0, "takes new times instead of those of earlier runs"},
    {"journal", 0, CLI_TEXT, AT(journal), "FILE", 0, 0, "what is measured is kept here until the output is written, and a stopped search goes on from it (default OUT.onnx.journal; none: off)"},
    {"resume", 0, CLI_FLAG, AT(resume), NULL, 0, 0, "the journal has to be there and to fit; without this one of another job is replaced"},
    {"pairs", 0, CLI_WHOLE, AT(pairs), "N", 10, 100000, "timed pairs of the final comparison (default 200)"},
    {"batch", 0, CLI_WHOLE, AT(batch), "N", 1, 65536, "samples per run (default 1); a scalar input is not batched, samples of one run must agree in it"},
    {"limit", 0, CLI_WHOLE, AT(limit), "N", 1, 1e12, "at most so many samples of --data"},
    {"tuning-samples", 0, CLI_WHOLE, AT(tuning), "N", 1, 100000, "samples for the error of each layer (default 8)"},
    {"seed", 0, CLI_WHOLE, AT(seed), "N", 0, 9e15, "of the split and of synthetic data (default 0)"},
    {"no-bias-correction", 0, CLI_FLAG, AT(no_bias_correction), NULL, 0, 0, "leaves biases as they are"},
    {"no-weight-clipping", 0, CLI_FLAG, AT(no_weight_clipping), NULL, 0, 0, "weight ranges reach to the largest weight"},
    {NULL, 0, CLI_FLAG, 0, NULL, 0, 0, NULL},
};
#undef AT

static const char *const positional[] = {"MODEL"};

static const struct cli_spec spec = {
    .name = "quantize",
    .arguments = "MODEL --data DATA -o OUT.onnx",
    .summary = "Writes a quantized model. Every layer gets its precision from what is measured on this device: the error that\n"
               "it causes at the outputs, and its time in place. The default bound is an output SQNR of 20 dB on samples that\n"
               "were not used for calibration. If the result is not faster than float beyond noise, the float model is kept.\n"
               "\n"
               "Modes that kernels execute: f32, int8 (ranges from calibration), int8-dynamic (a scale per row while running; MatMul\n"
               "and Gemm; int8-tensor: one for all rows, which onnxruntime runs fast and clquant does not), int4-gN and int4-channel\n"
               "(4-bit weights, 8-bit rows; MatMul and Gemm; with 32 rows and more clquant expands the weights to 8 bits). Modes that\n"
               "only store weights in fewer bits, widened when the file is loaded: int8-weight (also of LSTM, GRU, RNN and of tables\n"
               "behind Gather, which stay in codes), int16-int8 (inputs rounded to 16 bits), int2-gN, ternary, binary, nf4-gN,\n"
               "codebook16. Tables may also be int4-gN where it is among the candidates. N is a group size along the inputs: 16, 32,\n"
               "64, 128, 256, 512 or 1024; int4 and int2 take -asym behind it for zero points.\n",
    .options = options,
    .least = 1,
    .most = 1,
    .positional = positional,
    .example = "  clquant quantize model.onnx --data calib.npz -o model.int8.onnx\n"
               "  clquant quantize encoder.onnx --data tokens.npz --uniform int4-g32 -o encoder.int4.onnx\n"
               "  clquant quantize model.onnx --data calib.npz --val-data test.npz --labels labels.npy --max-drop 0.5 -o out.onnx --report out.html\n",
};

/* Below FEW samples the ranges of rarely large activations are missed; ENOUGH is what the results were measured with. */
enum { FEW = 32, ENOUGH = 128 };

struct job {
    const struct arguments *a;
    const char *path;
    char *plan_path, *profile_path, *journal_path, *worker;
    char *rules[CLI_RULES];
    int n_rules;
    clq_model *model;
    clq_data *data, *val_data;
    struct cli_labels labels;
    clq_result *result;
};

/* ---- Before the work ---- */

/* "nearest", or "stochastic:" and digits. */
static bool rounding_known(const char *text)
{
    static const char prefix[] = "stochastic:";
    if (!text || strcmp(text, "nearest") == 0) return true;
    const char *digits = text + sizeof prefix - 1;
    return strncmp(text, prefix, sizeof prefix - 1) == 0 && *digits && strlen(digits) <= 19 && digits[strspn(digits, "0123456789")] == 0;
}

/* The first word of a list that is no mode, for a message; NULL when all are. */
static const char *unknown_mode(char *word, size_t size, const char *list)
{
    for (const char *p = list; p && *p;) {
        size_t n = strcspn(p, ",");
        snprintf(word, size, "%.*s", (int)(n < size ? n : size - 1), p);
        if (!clq_mode_known(word)) return word;
        p += n + (p[n] == ',');
    }
    return NULL;
}

static int check_arguments(struct cli *cli, const struct arguments *a)
{
    char word[80];
    const char *wrong = unknown_mode(word, sizeof word, a->uniform);
    if (wrong) return cli_usage(cli, "--uniform '%s': expected one of the modes that 'clquant quantize --help' lists", wrong);
    wrong = unknown_mode(word, sizeof word, a->candidates);
    if (wrong) return cli_usage(cli, "--candidates '%s': expected modes that 'clquant quantize --help' lists, separated by commas", wrong);
    if (!rounding_known(a->rounding)) return cli_usage(cli, "--rounding '%s': expected nearest or stochastic:SEED", a->rounding);
    if (!a->data)
        return cli_usage(cli, "--data is missing: samples to calibrate with, as .npz (arrays by input name, first axis: samples), .npy or a "
                              "folder of either; --data synthetic:32 makes noise, good for timing alone");
    if (!a->output) return cli_usage(cli, "-o is missing: the file to write");
    if (a->max_drop > 0 && !a->labels && !a->eval_cmd)
        return cli_usage(cli, "--max-drop needs --labels, the class of every sample, or --eval-cmd");
    if (a->eval_cmd && !(a->max_drop > 0)) return cli_usage(cli, "--eval-cmd needs --max-drop: how much of its score may be lost");
    if (a->plan && (a->layers.n || a->excluded.n)) return cli_usage(cli, "--plan says what every layer is: --layer and --exclude do not go with it");
    if (a->plan && (a->journal || a->resume)) return cli_usage(cli, "--plan says what every layer is, nothing is searched: --journal and --resume do not go with it");
    if (a->uniform && a->plan) return cli_usage(cli, "--uniform and --plan exclude each other");
    if (a->uniform && a->candidates) return cli_usage(cli, "--uniform and --candidates exclude each other");
    return CLI_GO_ON;
}

static int check_outputs(struct cli *cli, struct job *q)
{
    const struct arguments *a = q->a;
    const char *inputs[] = {q->path, a->data, a->val_data, a->labels, a->plan};
    const int n = (int)(sizeof inputs / sizeof *inputs);
    q->plan_path = cli_print("%s.plan.json", a->output);
    int code = cli_check_output(cli, a->output, inputs, n);
    if (code == CLI_GO_ON) code = cli_check_output(cli, q->plan_path, inputs, n - 1); /* a plan may replace itself with --force */
    if (code == CLI_GO_ON && a->report) code = cli_check_output(cli, a->report, inputs, n);
    if (code == CLI_GO_ON && a->report && (cli_same_output(a->report, a->output) || cli_same_output(a->report, q->plan_path)))
        code = cli_usage(cli, "--report '%s' is another output", a->report);
    const char *others[] = {q->path, a->data, a->val_data, a->labels, a->plan, a->output, q->plan_path, a->report};
    if (code == CLI_GO_ON && !a->plan)
        code = cli_find_journal(cli, &q->journal_path, a->journal, a->resume, a->output, others, (int)(sizeof others / sizeof *others));
    return code;
}

static void find_profile(struct cli *cli, struct job *q)
{
    const char *why = "";
    char *folder = cli_cache_folder(&why);
    if (folder) q->profile_path = cli_print("%s/profile.json", folder);
    else cli_note(cli, "measured times are not kept for later runs: no cache folder, %s", why);
    free(folder);
}

static int open_inputs(struct cli *cli, struct job *q)
{
    const struct arguments *a = q->a;
    clq_data_options opt = {.batch = (size_t)a->batch, .limit = (size_t)a->limit, .seed = (uint64_t)a->seed};
    clq_data_options val_opt = {.batch = opt.batch, .seed = opt.seed};
    cli->measure = a->measure;
    int code = cli_open(cli);
    if (code == CLI_GO_ON) code = cli_load(cli, &q->model, q->path);
    if (code == CLI_GO_ON) code = cli_open_data(cli, &q->data, q->model, a->data, &opt);
    if (code == CLI_GO_ON && a->val_data) code = cli_open_data(cli, &q->val_data, q->model, a->val_data, &val_opt);
    if (code == CLI_GO_ON) code = cli_load_labels(cli, &q->labels, a->labels);
    if (code == CLI_GO_ON && !clq_data_is_synthetic(q->data) && clq_data_count(q->data) * (size_t)(a->batch ? a->batch : 1) < FEW)
        cli_note(cli, "warning: %zu samples are few, ranges and errors may be off; %d would do", clq_data_count(q->data), ENOUGH);
    return code;
}

/* ---- The work ---- */

/* True for stochastic:SEED. */
static bool read_rounding(const struct arguments *a, unsigned long long *seed)
{
    static const char prefix[] = "stochastic:";
    if (!a->rounding || strncmp(a->rounding, prefix, sizeof prefix - 1) != 0) return false;
    char *end;
    *seed = strtoull(a->rounding + sizeof prefix - 1, &end, 10);
    return true;
}

static clq_status quantize(struct cli *cli, struct job *q)
{
    const struct arguments *a = q->a;
    unsigned long long seed = 0;
    bool stochastic = read_rounding(a, &seed);
    clq_quantize_options opt = {
        .algorithm = a->algorithm,
        .algorithm_seconds = a->algorithm_time,
        .scaling = a->scaling,
        .int4_matmulnbits = a->int4 && strcmp(a->int4, "matmulnbits") == 0,
        .stochastic = stochastic,
        .rounding_seed = seed,
        .min_sqnr_db = a->min_sqnr,
        .min_cosine = a->min_cosine,
        .max_drop = a->max_drop,
        .max_latency_ms = a->max_latency,
        .min_speedup = a->min_speedup,
        .max_bytes = a->max_size,
        .target_bits = a->target_bits,
        .max_memory_bytes = a->max_memory,
        .objective = a->objective,
        .eval_command = a->eval_cmd,
        .eval_timeout_s = a->eval_timeout,
        .layer_rules = (const char *const *)q->rules,
        .n_layer_rules = (size_t)q->n_rules,
        .target = a->target,
        .calibrator = a->calibrator,
        .uniform = a->uniform,
        .candidates = a->candidates,
        .plan_path = a->plan,
        .profile_path = q->profile_path,
        .other_profile = a->profile,
        .other_device = a->profile_device,
        .remeasure = a->remeasure,
        .journal_path = q->journal_path,
        .resume = a->resume,
        .validation = q->val_data,
        .labels = q->labels.value,
        .n_labels = q->labels.n,
        .seed = (uint64_t)a->seed,
        .tuning_samples = (size_t)a->tuning,
        .timing_pairs = (size_t)a->pairs,
        .worker = q->worker,
        .no_bias_correction = a->no_bias_correction,
        .no_weight_clipping = a->no_weight_clipping,
    };
    return clq_quantize(&q->result, cli->ctx, q->model, q->data, &opt);
}

/* Model, plan and report, with signals held back, so that all are there or the failure is said. */
static int write_outputs(struct cli *cli, struct job *q)
{
    cli_hold();
    clq_status st = cli_stopped() ? CLQ_ERR_IO : clq_result_write(q->result, q->a->output, cli->force);
    if (st == CLQ_OK) st = clq_result_write_plan(q->result, q->plan_path, cli->force);
    if (st == CLQ_OK && q->a->report) st = clq_result_write_report(q->result, q->a->report, cli->force);
    cli_release();
    return st == CLQ_OK ? CLI_GO_ON : cli_fail_output(cli, st);
}

static int verdict(const struct arguments *a, const clq_summary *m)
{
    const double bounds[] = {a->min_sqnr, a->min_cosine, a->max_drop, a->max_latency, a->min_speedup, a->max_size, a->target_bits, a->max_memory};
    bool asked = false;
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) asked = asked || bounds[i] > 0;
    if (!m->budget_met && asked && !a->uniform && !a->plan) return CLI_FAILED;
    return a->strict && (!m->budget_met || m->kept_float || m->slower_than_float) ? CLI_FAILED : CLI_DONE;
}

static int work(struct cli *cli, struct job *q)
{
    clq_status st = quantize(cli, q);
    if (st != CLQ_OK || cli_stopped()) {
        int failed = cli_fail(cli, st);
        cli_tell_journal(cli, q->journal_path);
        return failed;
    }
    int code = write_outputs(cli, q);
    if (code != CLI_GO_ON) return code;
    clq_result_delivered(q->result);
    cli_progress_clear(&cli->progress);
    struct cli_quantized out = {q->result, q->path, q->a->output, q->plan_path, q->a->report};
    if (cli->json) cli_quantize_json(cli, &out);
    else cli_quantize_text(&out);
    return verdict(q->a, clq_result_summary(q->result));
}

int cli_quantize(struct cli *cli, int argc, char **argv)
{
    struct arguments a = {0};
    struct job q = {.a = &a};
    int code = cli_parse(cli, &spec, &a, &q.path, argc, argv);
    if (code == CLI_GO_ON) code = check_arguments(cli, &a);
    if (code == CLI_GO_ON) code = check_outputs(cli, &q);
    if (code == CLI_GO_ON) {
        q.worker = cli_own_path();
        q.n_rules = cli_rules(q.rules, &a.layers, &a.excluded);
        code = open_inputs(cli, &q);
    }
    if (code == CLI_GO_ON) find_profile(cli, &q);
    if (code == CLI_GO_ON) code = work(cli, &q);
    clq_result_free(q.result);
    free(q.labels.value);
    clq_data_free(q.val_data);
    clq_data_free(q.data);
    clq_model_free(q.model);
    free(q.plan_path);
    free(q.profile_path);
    free(q.journal_path);
    free(q.worker);
    for (int i = 0; i < q.n_rules; i++) free(q.rules[i]);
    return code;
}
