/* SPDX-License-Identifier: Apache-2.0
 * clquant plan: the plans of several policies at several budgets, measured alike, as table, JSON, CSV and SVG; one of them
 * can be picked by its id and written. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <clquant/frontier.h>

#include "cli.h"
#include "files.h"
#include "out.h"
#include "plan_svg.h"
#include "samples.h"

enum { MOST_BUDGETS = 32 };

struct arguments {
    const char *data, *val_data, *output, *pick, *budgets, *csv, *svg, *save_all, *calibrator, *target, *candidates, *report, *journal;
    struct cli_texts layers, excluded;
    long long limit, batch, seed, tuning, pairs;
    bool pareto, remeasure, resume;
};

#define AT(field) offsetof(struct arguments, field)
static const struct cli_option options[] = {
    {"data", 0, CLI_TEXT, AT(data), "DATA", 0, 0, "calibration samples, as for clquant quantize"},
    {"pareto", 0, CLI_FLAG, AT(pareto), NULL, 0, 0, "all points: error, time and size of every policy at every budget"},
    {"budgets", 0, CLI_TEXT, AT(budgets), "DB,DB,...", 0, 0, "SQNR budgets of the points in dB (default 15,20,25,30)"},
    {"pick", 0, CLI_TEXT, AT(pick), "ID", 0, 0, "writes the point of this id (measured@20, bits-only@25, uniform-int8, ...) to -o"},
    {"output", 'o', CLI_TEXT, AT(output), "OUT.onnx", 0, 0, "the picked model; its plan goes to OUT.onnx.plan.json"},
    {"save-all", 0, CLI_TEXT, AT(save_all), "FOLDER", 0, 0, "also writes the model of every point, as FOLDER/ID.onnx"},
    {"report", 0, CLI_TEXT, AT(report), "OUT.html", 0, 0, "also writes one self-contained page with all points, layers and histograms"},
    {"csv", 0, CLI_TEXT, AT(csv), "FILE", 0, 0, "also writes the points as CSV"},
    {"svg", 0, CLI_TEXT, AT(svg), "FILE", 0, 0, "also draws speed-up over SQNR"},
    {"val-data", 0, CLI_TEXT, AT(val_data), "DATA", 0, 0, "samples that judge the points (default: a quarter of --data that does not calibrate)"},
    {"candidates", 0, CLI_TEXT, AT(candidates), "MODE,...", 0, 0, "modes that all policies may use, as for clquant quantize"},
    {"layer", 0, CLI_TEXTS, AT(layers), "NAME=MODE", 0, 0, "gives a layer its precision in all points; 're:REGEX=MODE' all that match"},
    {"exclude", 0, CLI_TEXTS, AT(excluded), "NAME", 0, 0, "leaves a layer, or all that match re:REGEX, in float32"},
    {"target", 0, CLI_CHOICE, AT(target), "generic|ort|tensorrt|openvino", 0, 0, "whom the files are written for (default generic)"},
    {"calibrator", 0, CLI_CHOICE, AT(calibrator), "auto|minmax|percentile|entropy|mse", 0, 0, "how ranges are found (default auto)"},
    {"limit", 0, CLI_WHOLE, AT(limit), "N", 1, 1e12, "at most so many samples of --data"},
    {"batch", 0, CLI_WHOLE, AT(batch), "N", 1, 65536, "samples per run (default 1)"},
    {"pairs", 0, CLI_WHOLE, AT(pairs), "N", 10, 100000, "timed pairs of the picked plan (default 200)"},
    {"tuning-samples", 0, CLI_WHOLE, AT(tuning), "N", 1, 100000, "samples for the error of each layer (default 8)"},
    {"seed", 0, CLI_WHOLE, AT(seed), "N", 0, 9e15, "of the split (default 0)"},
    {"remeasure", 0, CLI_FLAG, AT(remeasure), NULL, 0, 0, "takes new times instead of those of earlier runs"},
    {"journal", 0, CLI_TEXT, AT(journal), "FILE", 0, 0, "what is measured is kept here until all is written, and a stopped run goes on from it (default OUT.onnx.journal, or beside the CSV, SVG or report; none: off)"},
    {"resume", 0, CLI_FLAG, AT(resume), NULL, 0, 0, "the journal has to be there and to fit; without this one of another job is replaced"},
    {NULL, 0, CLI_FLAG, 0, NULL, 0, 0, NULL},
};
#undef AT

static const char *const positional[] = {"MODEL"};

static const struct cli_spec spec = {
    .name = "plan",
    .arguments = "MODEL --data DATA --pareto",
    .summary = "Shows what can be had: error, time and size of our plans, of the uniform ones, and of policies that look at bits,\n"
               "operations or sensitivity alone. All get the same candidates and errors, and all plans are measured alike.\n",
    .options = options,
    .least = 1,
    .most = 1,
    .positional = positional,
    .example = "  clquant plan model.onnx --data calib.npz --pareto --svg frontier.svg\n"
               "  clquant plan model.onnx --data calib.npz --pick measured@25 -o model.int8.onnx\n",
};

struct job {
    const struct arguments *a;
    const char *path;
    double db[MOST_BUDGETS];
    int n_db;
    char *plan_path, *profile_path, *journal_path, *worker;
    char *rules[CLI_RULES];
    int n_rules;
    clq_model *model;
    clq_data *data, *val_data;
    clq_result *result;
};

/* ---- Before the work ---- */
static int read_budgets(struct cli *cli, struct job *q)
{
    const char *p = q->a->budgets ? q->a->budgets : "15,20,25,30";
    for (;;) {
        char *end;
        double v = strtod(p, &end);
        if (end == p || (*end && *end != ',') || !(v > 0 && v < 200) || q->n_db == MOST_BUDGETS)
            return cli_usage(cli, "option --budgets: expected up to %d numbers from 0 to 199 with commas between them, got '%s'", MOST_BUDGETS, q->a->budgets);
        q->db[q->n_db++] = v;
        if (!*end) return CLI_GO_ON;
        p = end + 1;
    }
}

/* An id names its budget, so picking one needs no others. */
static int take_pick(struct cli *cli, struct job *q)
{
    const char *at = strchr(q->a->pick, '@');
    if (at && !q->a->pareto && strcmp(at, "@int8-time") != 0) {
        char *end;
        double v = strtod(at + 1, &end);
        if (end == at + 1 || *end || !(v > 0 && v < 200)) return cli_usage(cli, "option --pick: '%s' has no budget in dB behind the @", q->a->pick);
        q->db[0] = v;
        q->n_db = 1;
    }
    return CLI_GO_ON;
}

static int check_arguments(struct cli *cli, struct job *q)
{
    const struct arguments *a = q->a;
    if (!a->data) return cli_usage(cli, "--data is missing: samples to calibrate with");
    if (!a->pareto && !a->pick) return cli_usage(cli, "--pareto, or --pick ID, is missing");
    if (!a->pick != !a->output) return cli_usage(cli, "--pick and -o go together");
    int code = read_budgets(cli, q);
    if (code == CLI_GO_ON && a->pick) code = take_pick(cli, q);
    const char *inputs[] = {q->path, a->data, a->val_data}, *outputs[] = {a->output, a->csv, a->svg, a->report};
    if (a->output) q->plan_path = cli_print("%s.plan.json", a->output);
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs && code == CLI_GO_ON; i++)
        if (outputs[i]) code = cli_check_output(cli, outputs[i], inputs, 3);
    if (code == CLI_GO_ON && q->plan_path) code = cli_check_output(cli, q->plan_path, inputs, 3);
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs && code == CLI_GO_ON; i++) {
        bool taken = outputs[i] && q->plan_path && cli_same_output(outputs[i], q->plan_path);
        for (size_t k = 0; k < i && outputs[i]; k++) taken = taken || (outputs[k] && cli_same_output(outputs[i], outputs[k]));
        if (taken) code = cli_usage(cli, "'%s' is another output", outputs[i]);
    }
    const char *beside = a->output ? a->output : a->csv ? a->csv : a->svg ? a->svg : a->report;
    const char *others[] = {q->path, a->data, a->val_data, a->output, a->csv, a->svg, a->report, q->plan_path};
    if (code == CLI_GO_ON) code = cli_find_journal(cli, &q->journal_path, a->journal, a->resume, beside, others, (int)(sizeof others / sizeof *others));
    if (code == CLI_GO_ON && a->save_all && !cli_make_folder(a->save_all)) code = cli_system(cli, "'%s': the folder cannot be made", a->save_all);
    return code;
}

/* ---- Output ---- */
static void print_table(const struct job *q)
{
    static const char *const titles[] = {"", "point", "in fewer bits", "SQNR", "predicted", "time", "predicted", "speed-up", "size"};
    struct cli_table t;
    cli_table_start(&t, 9, "llrrrrrrr", titles);
    for (size_t i = 0; i < clq_result_point_count(q->result); i++) {
        const clq_plan_point *p = clq_result_point(q->result, i);
        cli_cell(&t, "%s", p->on_frontier ? "*" : "");
        cli_cell(&t, "%s%s", p->id, p->budget_met || isnan(p->budget_db) ? "" : " (missed)");
        cli_cell(&t, "%d", p->int8_layers);
        cli_cell_take(&t, cli_decibel(p->sqnr_db));
        cli_cell_take(&t, cli_decibel(p->predicted_sqnr_db));
        cli_cell_take(&t, cli_time(p->median_ms > 0 ? p->median_ms * 1e-3 : -1));
        cli_cell_take(&t, cli_time(p->predicted_ms > 0 ? p->predicted_ms * 1e-3 : -1));
        cli_cell(&t, "%.2f (%.2f to %.2f)", p->speedup, p->speedup_lo, p->speedup_hi);
        cli_cell_take(&t, cli_bytes((double)p->bytes));
    }
    cli_table_print(&t, 2);
    printf("\n  * no other point is as good in SQNR, speed-up and size, and better in one\n"
           "  speed-ups with 95 %% intervals, measured in this process; a picked plan is proven in fresh ones\n");
}

static void print_json(const struct job *q)
{
    struct cli_json j;
    cli_json_start(&j);
    cli_json_text(&j, "model", q->path);
    cli_json_text(&j, "output", q->a->output);
    cli_json_text(&j, "picked", q->a->pick);
    cli_json_array(&j, "points");
    for (size_t i = 0; i < clq_result_point_count(q->result); i++) {
        const clq_plan_point *p = clq_result_point(q->result, i);
        cli_json_object(&j, NULL);
        cli_json_text(&j, "id", p->id);
        cli_json_text(&j, "policy", p->policy);
        cli_json_real(&j, "budget_db", p->budget_db);
        cli_json_bool(&j, "budget_met", p->budget_met);
        cli_json_real(&j, "sqnr_db", p->sqnr_db);
        cli_json_bool(&j, "identical", isinf(p->sqnr_db));
        cli_json_real(&j, "sqnr_db_kept", p->sqnr_db_kept);
        cli_json_real(&j, "predicted_sqnr_db", p->predicted_sqnr_db);
        cli_json_real(&j, "median_ms", p->median_ms > 0 ? p->median_ms : (double)NAN);
        cli_json_real(&j, "predicted_ms", p->predicted_ms > 0 ? p->predicted_ms : (double)NAN);
        cli_json_real(&j, "speedup", p->speedup);
        cli_json_real(&j, "speedup_lo", p->speedup_lo);
        cli_json_real(&j, "speedup_hi", p->speedup_hi);
        cli_json_whole(&j, "bytes", (long long)p->bytes);
        cli_json_whole(&j, "int8_layers", p->int8_layers);
        cli_json_bool(&j, "on_frontier", p->on_frontier);
        cli_json_text(&j, "same_as", clq_result_point(q->result, (size_t)p->same_as)->id);
        cli_json_end(&j, '}');
    }
    cli_json_end(&j, ']');
    cli_json_print(&j);
}

static void print_csv(FILE *f, const clq_result *r)
{
    fprintf(f, "id,policy,budget_db,budget_met,sqnr_db,predicted_sqnr_db,median_ms,predicted_ms,speedup,speedup_lo,speedup_hi,bytes,int8_layers,"
               "on_frontier,same_as\n");
    for (size_t i = 0; i < clq_result_point_count(r); i++) {
        const clq_plan_point *p = clq_result_point(r, i);
        fprintf(f, "%s,%s,%g,%d,%.4f,%.4f,%.6f,%.6f,%.4f,%.4f,%.4f,%zu,%d,%d,%s\n", p->id, p->policy, p->budget_db, p->budget_met, p->sqnr_db,
                p->predicted_sqnr_db, p->median_ms, p->predicted_ms, p->speedup, p->speedup_lo, p->speedup_hi, p->bytes, p->int8_layers, p->on_frontier,
                clq_result_point(r, (size_t)p->same_as)->id);
    }
}

/* Whole or not at all. */
static int write_text(struct cli *cli, const char *path, const clq_result *r, void (*print)(FILE *, const clq_result *))
{
    char *temporary = cli_print("%s.%ld.tmp", path, (long)getpid());
    FILE *f = fopen(temporary, "wx");
    bool done = f != NULL;
    if (f) {
        print(f, r);
        done = fflush(f) == 0 && !ferror(f) && fsync(fileno(f)) == 0;
        done = fclose(f) == 0 && done && rename(temporary, path) == 0;
        if (!done) remove(temporary);
    }
    free(temporary);
    return done ? CLI_GO_ON : cli_system(cli, "'%s' cannot be written", path);
}

static int write_outputs(struct cli *cli, struct job *q)
{
    const struct arguments *a = q->a;
    clq_status st = CLQ_OK;
    int code = CLI_GO_ON;
    cli_hold();
    if (a->output) st = clq_result_write(q->result, a->output, cli->force);
    if (a->output && st == CLQ_OK) st = clq_result_write_plan(q->result, q->plan_path, cli->force);
    for (size_t i = 0; a->save_all && st == CLQ_OK && i < clq_result_point_count(q->result); i++) {
        char *path = cli_print("%s/%s.onnx", a->save_all, clq_result_point(q->result, i)->id);
        st = clq_result_write_point(q->result, i, path, cli->force);
        free(path);
    }
    if (st == CLQ_OK && a->report) st = clq_result_write_report(q->result, a->report, cli->force);
    if (st != CLQ_OK) code = cli_fail_output(cli, st);
    if (code == CLI_GO_ON && a->csv) code = write_text(cli, a->csv, q->result, print_csv);
    if (code == CLI_GO_ON && a->svg) code = write_text(cli, a->svg, q->result, cli_plan_svg);
    cli_release();
    return code;
}

/* ---- The work ---- */
static int open_inputs(struct cli *cli, struct job *q)
{
    const struct arguments *a = q->a;
    clq_data_options opt = {.batch = (size_t)a->batch, .limit = (size_t)a->limit, .seed = (uint64_t)a->seed};
    clq_data_options val_opt = {.batch = opt.batch, .seed = opt.seed};
    int code = cli_open(cli);
    if (code == CLI_GO_ON) code = cli_load(cli, &q->model, q->path);
    if (code == CLI_GO_ON) code = cli_open_data(cli, &q->data, q->model, a->data, &opt);
    if (code == CLI_GO_ON && a->val_data) code = cli_open_data(cli, &q->val_data, q->model, a->val_data, &val_opt);
    return code;
}

static int work(struct cli *cli, struct job *q)
{
    const struct arguments *a = q->a;
    const char *why;
    char *folder = cli_cache_folder(&why);
    if (folder) q->profile_path = cli_print("%s/profile.json", folder);
    free(folder);
    q->worker = cli_own_path();
    q->n_rules = cli_rules(q->rules, &a->layers, &a->excluded);
    clq_quantize_options opt = {.frontier_db = q->db, .n_frontier_db = (size_t)q->n_db, .pick = a->pick, .target = a->target, .calibrator = a->calibrator,
                                .candidates = a->candidates, .layer_rules = (const char *const *)q->rules, .n_layer_rules = (size_t)q->n_rules,
                                .profile_path = q->profile_path, .remeasure = a->remeasure, .journal_path = q->journal_path, .resume = a->resume, .validation = q->val_data, .seed = (uint64_t)a->seed,
                                .tuning_samples = (size_t)a->tuning, .timing_pairs = (size_t)a->pairs, .worker = q->worker};
    clq_status st = clq_quantize(&q->result, cli->ctx, q->model, q->data, &opt);
    if (st != CLQ_OK || cli_stopped()) {
        int failed = cli_fail(cli, st);
        cli_tell_journal(cli, q->journal_path);
        return failed;
    }
    int code = write_outputs(cli, q);
    if (code != CLI_GO_ON) return code;
    clq_result_delivered(q->result);
    cli_progress_clear(&cli->progress);
    if (cli->json) print_json(q);
    else {
        print_table(q);
        if (a->output) printf("\n%s -> %s: %s\n", a->pick, a->output, clq_result_summary(q->result)->reason);
    }
    return CLI_DONE;
}

int cli_plan(struct cli *cli, int argc, char **argv)
{
    struct arguments a = {0};
    struct job q = {.a = &a};
    int code = cli_parse(cli, &spec, &a, &q.path, argc, argv);
    if (code == CLI_GO_ON) code = check_arguments(cli, &q);
    if (code == CLI_GO_ON) code = open_inputs(cli, &q);
    if (code == CLI_GO_ON) code = work(cli, &q);
    clq_result_free(q.result);
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
