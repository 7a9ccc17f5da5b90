/* SPDX-License-Identifier: Apache-2.0
 * Bounds and objectives: see budget.h. */
#include "budget.h"

#include <math.h>
#include <string.h>

const struct clq_bound_row clq_bounds[CLQ_BOUND_COUNT] = {
    [CLQ_BOUND_SQNR] = {"min-sqnr", CLQ_AXIS_ERROR, "dB", true},
    [CLQ_BOUND_COSINE] = {"min-cosine", CLQ_AXIS_ERROR, "", true},
    [CLQ_BOUND_DROP] = {"max-drop", CLQ_AXIS_ERROR, "points", false},
    [CLQ_BOUND_LATENCY] = {"max-latency", CLQ_AXIS_TIME, "ms", false},
    [CLQ_BOUND_SPEEDUP] = {"min-speedup", CLQ_AXIS_TIME, "x", true},
    [CLQ_BOUND_SIZE] = {"max-size", CLQ_AXIS_BYTES, "bytes", false},
    [CLQ_BOUND_BITS] = {"target-bits", CLQ_AXIS_BYTES, "bits per weight", false},
    [CLQ_BOUND_MEMORY] = {"max-memory", CLQ_AXIS_BYTES, "bytes", false},
};

bool clq_budget_has(const struct clq_budget *b, enum clq_bound_kind k)
{
    return !isnan(b->limit[k]);
}

static clq_status read_objective(struct clq_budget *b, const char *text, struct clq_error *err)
{
    bool bounded[CLQ_AXIS_COUNT] = {false};
    for (int k = 0; k < CLQ_BOUND_COUNT; k++) bounded[clq_bounds[k].axis] = bounded[clq_bounds[k].axis] || clq_budget_has(b, k);
    b->objective = !bounded[CLQ_AXIS_ERROR] && (bounded[CLQ_AXIS_TIME] || bounded[CLQ_AXIS_BYTES]) ? CLQ_AXIS_ERROR : CLQ_AXIS_TIME;
    if (text) {
        if (strcmp(text, "time") == 0) b->objective = CLQ_AXIS_TIME;
        else if (strcmp(text, "error") == 0) b->objective = CLQ_AXIS_ERROR;
        else if (strcmp(text, "size") == 0) b->objective = CLQ_AXIS_BYTES;
        else return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "objective '%s': expected time, error or size", text);
    }
    if (!bounded[CLQ_AXIS_ERROR] && b->objective != CLQ_AXIS_ERROR) {
        b->limit[CLQ_BOUND_SQNR] = CLQ_DEFAULT_MIN_SQNR_DB;
        b->by_default = true;
    }
    return CLQ_OK;
}

clq_status clq_budget_read(struct clq_budget *b, const clq_quantize_options *o, struct clq_error *err)
{
    const struct {
        double value, most;
    } given[CLQ_BOUND_COUNT] = {
        [CLQ_BOUND_SQNR] = {o->min_sqnr_db, 200},     [CLQ_BOUND_COSINE] = {o->min_cosine, 1},     [CLQ_BOUND_DROP] = {o->max_drop, 1e9},
        [CLQ_BOUND_LATENCY] = {o->max_latency_ms, 1e9}, [CLQ_BOUND_SPEEDUP] = {o->min_speedup, 1e6}, [CLQ_BOUND_SIZE] = {o->max_bytes, 1e18},
        [CLQ_BOUND_BITS] = {o->target_bits, 32},      [CLQ_BOUND_MEMORY] = {o->max_memory_bytes, 1e18},
    };
    *b = (struct clq_budget){.by_default = false};
    for (int k = 0; k < CLQ_BOUND_COUNT; k++) {
        if (!(given[k].value >= 0 && given[k].value <= given[k].most))
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: %g, expected a number from 0 to %g", clq_bounds[k].name, given[k].value, given[k].most);
        b->limit[k] = given[k].value > 0 ? given[k].value : NAN;
    }
    if (o->max_drop > 0 && !o->labels && !o->eval_command)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "a bound on top-1 needs labels, or a command that scores models");
    return read_objective(b, o->objective, err);
}

double clq_budget_excess(const struct clq_budget *b, enum clq_bound_kind k, double value, double margin)
{
    double limit = b->limit[k];
    if (isnan(limit) || isnan(value)) return 0;
    double part;
    switch (k) {
    case CLQ_BOUND_SQNR: part = pow(10, (limit - value) / 10) * margin; break;
    case CLQ_BOUND_COSINE: part = limit < 1 ? (1 - value) * margin / (1 - limit) : value < 1 ? 1e6 : 0; break;
    case CLQ_BOUND_SPEEDUP: part = value > 0 ? limit / value : 1e6; break;
    default: part = value / limit; break;
    }
    return part > 1 + CLQ_BOUND_TOLERANCE ? part - 1 : 0;
}

enum clq_bound_kind clq_budget_binding(const struct clq_budget *b, const struct clq_whole_values *w, double error_margin)
{
    enum clq_bound_kind worst = CLQ_BOUND_COUNT;
    double most = 0;
    for (int k = 0; k < CLQ_BOUND_COUNT; k++) {
        double e = clq_budget_excess(b, (enum clq_bound_kind)k, w->value[k], error_margin);
        if (e <= most) continue;
        most = e;
        worst = k;
    }
    return worst;
}

enum clq_bound_kind clq_budget_first(const struct clq_budget *b)
{
    int k = 0;
    while (k < CLQ_BOUND_COUNT && !clq_budget_has(b, k)) k++;
    return k;
}

bool clq_budget_delivers(const struct clq_budget *b)
{
    return b->objective == CLQ_AXIS_BYTES || clq_budget_has(b, CLQ_BOUND_SIZE) || clq_budget_has(b, CLQ_BOUND_BITS) || clq_budget_has(b, CLQ_BOUND_MEMORY);
}
