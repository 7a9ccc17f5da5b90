/* SPDX-License-Identifier: Apache-2.0
 * clquant explain: what a plan decided, for all layers or for one with all its candidates. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/plan.h>

#include "cli.h"
#include "out.h"

static const char *const positional[] = {"PLAN", "LAYER"};

static const struct cli_spec spec = {
    .name = "explain",
    .arguments = "PLAN [LAYER]",
    .summary = "Prints what a plan decided: for every layer the precision, its error, its time and the reason; for one layer\n"
               "every candidate that was measured. LAYER is a layer's name, or a part of it that only one name has.\n",
    .least = 1,
    .most = 2,
    .positional = positional,
    .example = "  clquant explain model.int8.onnx.plan.json\n  clquant explain model.int8.onnx.plan.json /features/0/Conv\n",
};

static clq_plan_candidate_info chosen(const clq_plan *plan, size_t layer, const clq_plan_layer_info *l)
{
    clq_plan_candidate_info c = {.precision = "", .device = ""};
    (void)clq_plan_candidate_get(&c, plan, layer, l->choice);
    return c;
}

/* A precision's time beside the choice: the best candidate of another precision, NaN when there is none. */
static double other_time(const clq_plan *plan, size_t layer, const clq_plan_layer_info *l, bool f32)
{
    double best = NAN;
    for (size_t k = 0; k < l->candidates; k++) {
        clq_plan_candidate_info c;
        if (clq_plan_candidate_get(&c, plan, layer, k) != CLQ_OK || (strcmp(c.precision, "f32") == 0) != f32 || c.timings == 0) continue;
        if (isnan(best) || c.time_us < best) best = c.time_us;
    }
    return best;
}

static void cell_us(struct cli_table *t, double us)
{
    cli_cell_take(t, cli_time(us * 1e-6));
}

/* ---- Text ---- */
static void print_head(const clq_plan_info *p)
{
    char *model = cli_printable(p->model, 0), *reason = cli_printable(p->reason, 0), *db = cli_decibel(p->identical ? (double)INFINITY : p->sqnr_db);
    printf("model %s, %zu layers, target %s, calibrator %s\n", model, p->layers, p->target, p->calibrator);
    bool own = strcmp(p->runtime, "clquant") == 0;
    char *device = cli_printable(p->device, 0), *kernels = cli_printable(own ? p->isa : p->runtime, 0), *by = cli_printable(p->clquant, 0);
    printf("measured on %s, %s, %d thread%s, by clquant %s\n", device, kernels, p->threads, p->threads == 1 ? "" : "s", by);
    free(device);
    free(kernels);
    free(by);
    if (isnan(p->budget_value)) printf("budget: %s\n", p->budget);
    else printf("budget: %s %g, %s\n", p->budget, p->budget_value, p->budget_met ? "met" : "missed");
    printf("output SQNR %s", db);
    if (!isnan(p->speedup)) printf(", %.2f x float (95 %%: %.2f to %.2f)", p->speedup, p->speedup_lo, p->speedup_hi);
    printf("\ndecision: %s\n", reason);
    if (p->synthetic) printf("calibrated on synthetic data, good for timing alone\n");
    free(model);
    free(reason);
    free(db);
}

static void print_layers(const clq_plan *plan, const clq_plan_info *p)
{
    static const char *const titles[] = {"layer", "operator", "choice", "device", "SQNR", "float32", "int8", "reason"};
    struct cli_table t;
    print_head(p);
    printf("\n");
    cli_table_start(&t, 8, "llllrrrl", titles);
    for (size_t i = 0; i < p->layers; i++) {
        clq_plan_layer_info l;
        if (clq_plan_layer_get(&l, plan, i) != CLQ_OK) continue;
        clq_plan_candidate_info c = chosen(plan, i, &l);
        cli_cell(&t, "%s", l.name);
        cli_cell(&t, "%s", l.op_type);
        cli_cell(&t, "%s", c.precision);
        cli_cell(&t, "%s", c.device);
        cli_cell_take(&t, cli_decibel(isnan(c.sqnr_db) ? (double)INFINITY : c.sqnr_db));
        cell_us(&t, other_time(plan, i, &l, true));
        cell_us(&t, other_time(plan, i, &l, false));
        cli_cell_take(&t, cli_printable(l.reason, 0));
    }
    cli_table_print(&t, 0);
}

static void print_tensor(const clq_plan *plan, const char *name)
{
    clq_plan_tensor_info q;
    if (clq_plan_tensor_get(&q, plan, name) != CLQ_OK) return;
    char *text = cli_printable(name, 64);
    printf("\noutput %s as %s: scale %.9g, zero point %d, range %.6g to %.6g by %s\n", text, clq_dtype_name(q.dtype), (double)q.scale, q.zero_point,
           (double)q.least, (double)q.most, q.method);
    free(text);
}

static void print_layer(const clq_plan *plan, size_t index)
{
    static const char *const titles[] = {"", "precision", "device", "SQNR alone", "time", "conversions", "measured", "size"};
    clq_plan_layer_info l;
    struct cli_table t;
    if (clq_plan_layer_get(&l, plan, index) != CLQ_OK) return;
    char *name = cli_printable(l.name, 0), *op = cli_printable(l.op_type, 0), *reason = cli_printable(l.reason, 0);
    printf("%s, %s: %s\n\n", name, op, reason);
    free(name);
    free(op);
    free(reason);
    cli_table_start(&t, 8, "lllrrrrr", titles);
    for (size_t k = 0; k < l.candidates; k++) {
        clq_plan_candidate_info c;
        if (clq_plan_candidate_get(&c, plan, index, k) != CLQ_OK) continue;
        cli_cell(&t, "%s", k == l.choice ? "->" : "");
        cli_cell(&t, "%s", c.precision);
        cli_cell(&t, "%s", c.device);
        cli_cell_take(&t, cli_decibel(isnan(c.sqnr_db) ? (double)INFINITY : c.sqnr_db));
        cell_us(&t, c.timings ? c.time_us : (double)NAN);
        cell_us(&t, c.boundary_us);
        cli_cell(&t, "%d times", c.timings);
        cli_cell_take(&t, cli_bytes(c.bytes));
    }
    cli_table_print(&t, 0);
    print_tensor(plan, l.output);
}

/* ---- JSON ---- */
static void json_head(struct cli_json *j, const clq_plan_info *p)
{
    cli_json_whole(j, "version", p->version);
    cli_json_text(j, "model", p->model);
    cli_json_text(j, "model_sha256", p->model_sha256);
    cli_json_text(j, "device", p->device);
    cli_json_text(j, "runtime", p->runtime);
    cli_json_text(j, "isa", p->isa);
    cli_json_whole(j, "threads", p->threads);
    cli_json_text(j, "target", p->target);
    cli_json_text(j, "calibrator", p->calibrator);
    cli_json_text(j, "budget", p->budget);
    cli_json_real(j, "budget_value", p->budget_value);
    cli_json_bool(j, "budget_met", p->budget_met);
    cli_json_real(j, "sqnr_db", p->sqnr_db);
    cli_json_bool(j, "identical", p->identical);
    cli_json_real(j, "speedup", p->speedup);
    cli_json_bool(j, "kept_float", p->kept_float);
    cli_json_bool(j, "slower_than_float", p->slower_than_float);
    cli_json_bool(j, "synthetic", p->synthetic);
    cli_json_text(j, "reason", p->reason);
}

static void json_layer(struct cli_json *j, const clq_plan *plan, size_t index)
{
    clq_plan_layer_info l;
    if (clq_plan_layer_get(&l, plan, index) != CLQ_OK) return;
    clq_plan_candidate_info best = chosen(plan, index, &l);
    cli_json_object(j, NULL);
    cli_json_text(j, "name", l.name);
    cli_json_text(j, "op", l.op_type);
    cli_json_text(j, "precision", best.precision);
    cli_json_text(j, "device", best.device);
    cli_json_real(j, "error", best.error);
    cli_json_real(j, "time_us", best.timings ? best.time_us : (double)NAN);
    cli_json_text(j, "reason", l.reason);
    cli_json_array(j, "candidates");
    for (size_t k = 0; k < l.candidates; k++) {
        clq_plan_candidate_info c;
        if (clq_plan_candidate_get(&c, plan, index, k) != CLQ_OK) continue;
        cli_json_object(j, NULL);
        cli_json_text(j, "precision", c.precision);
        cli_json_text(j, "device", c.device);
        cli_json_bool(j, "chosen", k == l.choice);
        cli_json_real(j, "error", c.error);
        cli_json_real(j, "sqnr_db", c.sqnr_db);
        cli_json_real(j, "time_us", c.timings ? c.time_us : (double)NAN);
        cli_json_real(j, "boundary_us", c.boundary_us);
        cli_json_whole(j, "timings", c.timings);
        cli_json_real(j, "bytes", c.bytes);
        cli_json_end(j, '}');
    }
    cli_json_end(j, ']');
    cli_json_end(j, '}');
}

static void print_json(const clq_plan *plan, const clq_plan_info *p, size_t only)
{
    struct cli_json j;
    cli_json_start(&j);
    json_head(&j, p);
    cli_json_array(&j, "layers");
    for (size_t i = 0; i < p->layers; i++)
        if (only == p->layers || only == i) json_layer(&j, plan, i);
    cli_json_end(&j, ']');
    cli_json_print(&j);
}

/* ---- The command ---- */
static int find_layer(struct cli *cli, const clq_plan *plan, const clq_plan_info *p, const char *name, size_t *out)
{
    size_t parts = 0, part = 0;
    const char **names = cli_alloc((p->layers + 1) * sizeof *names);
    int code = CLI_GO_ON;
    *out = p->layers;
    for (size_t i = 0; i < p->layers; i++) {
        clq_plan_layer_info l;
        if (clq_plan_layer_get(&l, plan, i) != CLQ_OK) continue;
        names[i] = l.name;
        if (strcmp(l.name, name) == 0) *out = i;
        if (strstr(l.name, name)) {
            part = i;
            parts++;
        }
    }
    if (*out == p->layers && parts == 1) *out = part;
    if (*out == p->layers && parts > 1) code = cli_usage(cli, "'%s' is part of %zu layers' names", name, parts);
    else if (*out == p->layers) {
        const char *nearest = cli_nearest(name, names);
        code = cli_usage(cli, "the plan has no layer '%s'; the nearest is '%s'", name, nearest ? nearest : "");
    }
    free(names);
    return code;
}

static int explain(struct cli *cli, const clq_plan *plan, const char *layer)
{
    clq_plan_info p;
    clq_status st = clq_plan_describe(&p, plan);
    if (st != CLQ_OK) return cli_fail(cli, st);
    size_t only = p.layers;
    int code = layer ? find_layer(cli, plan, &p, layer, &only) : CLI_GO_ON;
    if (code != CLI_GO_ON) return code;
    if (cli->json) print_json(plan, &p, only);
    else if (layer) print_layer(plan, only);
    else print_layers(plan, &p);
    return CLI_DONE;
}

int cli_explain(struct cli *cli, int argc, char **argv)
{
    const char *words[2];
    clq_plan *plan = NULL;
    int code = cli_parse(cli, &spec, NULL, words, argc, argv);
    if (code == CLI_GO_ON) code = cli_open(cli);
    if (code != CLI_GO_ON) return code;
    clq_status st = clq_plan_load(&plan, cli->ctx, words[0]);
    code = st == CLQ_OK ? explain(cli, plan, words[1]) : cli_fail(cli, st);
    clq_plan_free(plan);
    return code;
}
