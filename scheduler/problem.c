/* SPDX-License-Identifier: Apache-2.0
 * Checking and evaluating precision problems. */
#include "scheduler/problem.h"

#include <math.h>

const char *clq_axis_name(enum clq_axis axis)
{
    static const char *const names[] = {"time", "error", "bytes"};
    return (unsigned)axis < CLQ_AXIS_COUNT ? names[axis] : "unknown";
}

double clq_candidate_cost(const struct clq_candidate *candidate, enum clq_axis axis)
{
    if (axis == CLQ_AXIS_TIME) return candidate->time_us;
    return axis == CLQ_AXIS_ERROR ? candidate->error : candidate->bytes;
}

bool clq_bound_met(double total, double bound)
{
    return total <= bound + bound * CLQ_BOUND_TOLERANCE;
}

static const char *shown(const char *name)
{
    return name ? name : "";
}

static bool is_cost(double v)
{
    return v >= 0 && isfinite(v);
}

static clq_status check_layer(const struct clq_problem *problem, int l, struct clq_error *err)
{
    const struct clq_problem_layer *layer = &problem->layers[l];
    const char *name = shown(layer->name);
    if (layer->n_candidates < 1 || layer->n_candidates > CLQ_MAX_CANDIDATES || !layer->candidates)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "layer %d '%s': %d candidates, expected 1 to %d", l, name,
                        layer->n_candidates, CLQ_MAX_CANDIDATES);
    if (!is_cost(layer->params) || !is_cost(layer->macs))
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "layer %d '%s': params %g, macs %g, expected finite and >= 0", l,
                        name, layer->params, layer->macs);
    for (int c = 0; c < layer->n_candidates; c++) {
        const struct clq_candidate *k = &layer->candidates[c];
        if (k->domain < 0 || k->domain >= problem->n_domains || k->domain_out < 0 || k->domain_out >= problem->n_domains)
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "layer %d '%s' candidate %d: domain %d to %d, expected 0 to %d",
                            l, name, c, k->domain, k->domain_out, problem->n_domains - 1);
        for (int a = 0; a < CLQ_AXIS_COUNT; a++)
            if (!is_cost(clq_candidate_cost(k, a)))
                return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "layer %d '%s' candidate %d: %s is %g, expected finite and >= 0",
                                l, name, c, clq_axis_name(a), clq_candidate_cost(k, a));
    }
    return CLQ_OK;
}

static clq_status check_tensor(const struct clq_problem *problem, int t, struct clq_error *err)
{
    const struct clq_problem_tensor *tensor = &problem->tensors[t];
    if (tensor->producer < CLQ_GRAPH_INPUT || tensor->producer >= problem->n_layers || tensor->n_consumers < 0 ||
        (tensor->n_consumers > 0 && !tensor->consumers) || !tensor->convert_us)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "tensor %d: producer %d or %d consumers out of range", t,
                        tensor->producer, tensor->n_consumers);
    for (int i = 0; i < tensor->n_consumers; i++)
        if (tensor->consumers[i] < CLQ_GRAPH_OUTPUT || tensor->consumers[i] >= problem->n_layers ||
            (tensor->producer >= 0 && tensor->consumers[i] == tensor->producer))
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "tensor %d: consumer %d is not a layer, or its producer", t,
                            tensor->consumers[i]);
    for (int a = 0; a < problem->n_domains; a++)
        for (int b = 0; b < problem->n_domains; b++) {
            double v = tensor->convert_us[a * problem->n_domains + b];
            if (a != b && !(v >= 0))
                return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "tensor %d: conversion %d to %d costs %g, expected >= 0", t, a, b, v);
        }
    return CLQ_OK;
}

clq_status clq_problem_check(const struct clq_problem *problem, struct clq_error *err)
{
    if (problem->n_domains < 1 || problem->n_domains > CLQ_MAX_DOMAINS)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "problem has %d domains, expected 1 to %d", problem->n_domains, CLQ_MAX_DOMAINS);
    if (problem->n_layers < 0 || problem->n_ties < 0 || problem->n_tensors < 0 || (unsigned)problem->objective >= CLQ_AXIS_COUNT)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "problem has %d layers, %d ties, %d tensors, objective %d",
                        problem->n_layers, problem->n_ties, problem->n_tensors, (int)problem->objective);
    for (int a = 0; a < CLQ_AXIS_COUNT; a++)
        if (!(problem->bound[a] >= 0))
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "bound on %s is %g, expected >= 0", clq_axis_name(a), problem->bound[a]);
    for (int l = 0; l < problem->n_layers; l++)
        CLQ_TRY(check_layer(problem, l, err));
    for (int t = 0; t < problem->n_tensors; t++)
        CLQ_TRY(check_tensor(problem, t, err));
    for (int i = 0; i < problem->n_ties; i++) {
        const struct clq_tie *tie = &problem->ties[i];
        if (tie->n < 0 || (tie->n > 0 && !tie->layers))
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "tie %d has %d layers", i, tie->n);
        for (int j = 0; j < tie->n; j++)
            if (tie->layers[j] < 0 || tie->layers[j] >= problem->n_layers)
                return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "tie %d names layer %d, expected 0 to %d", i,
                                tie->layers[j], problem->n_layers - 1);
    }
    return CLQ_OK;
}

double clq_problem_tensor_cost(const struct clq_problem *problem, int t, const int *choice, int *missing)
{
    const struct clq_problem_tensor *tensor = &problem->tensors[t];
    int from = tensor->producer < 0 ? 0 : problem->layers[tensor->producer].candidates[choice[tensor->producer]].domain_out;
    unsigned seen = 1u << from;
    double sum = 0;
    for (int i = 0; i < tensor->n_consumers; i++) {
        int k = tensor->consumers[i], to = k < 0 ? 0 : problem->layers[k].candidates[choice[k]].domain;
        if (seen & (1u << to)) continue;
        seen |= 1u << to;
        double cost = tensor->convert_us[from * problem->n_domains + to];
        if (isinf(cost))
            ++*missing;
        else
            sum += cost;
    }
    return sum;
}

clq_status clq_problem_evaluate(struct clq_totals *out, const struct clq_problem *problem, const int *choice,
                                struct clq_error *err)
{
    struct clq_totals sum = {0};
    for (int l = 0; l < problem->n_layers; l++) {
        const struct clq_problem_layer *layer = &problem->layers[l];
        if (choice[l] < 0 || choice[l] >= layer->n_candidates)
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "layer %d '%s': choice %d, expected 0 to %d", l,
                            shown(layer->name), choice[l], layer->n_candidates - 1);
        for (int a = 0; a < CLQ_AXIS_COUNT; a++)
            sum.axis[a] += clq_candidate_cost(&layer->candidates[choice[l]], a);
    }
    for (int i = 0; i < problem->n_ties; i++)
        for (int j = 1; j < problem->ties[i].n; j++) {
            int p = problem->ties[i].layers[0], q = problem->ties[i].layers[j];
            int dp = problem->layers[p].candidates[choice[p]].domain, dq = problem->layers[q].candidates[choice[q]].domain;
            if (dp != dq)
                return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "layers %d '%s' and %d '%s' are tied but chose domains %d and %d",
                                p, shown(problem->layers[p].name), q, shown(problem->layers[q].name), dp, dq);
        }
    for (int t = 0; t < problem->n_tensors; t++) {
        int missing = 0;
        sum.convert_us += clq_problem_tensor_cost(problem, t, choice, &missing);
        if (missing)
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "tensor %d needs a conversion that does not exist", t);
    }
    sum.axis[CLQ_AXIS_TIME] += sum.convert_us;
    *out = sum;
    return CLQ_OK;
}

int clq_problem_units(const struct clq_problem *problem, int *unit)
{
    for (int l = 0; l < problem->n_layers; l++)
        unit[l] = l;
    /* The least layer of each group spreads until nothing changes: at most one round per tie. */
    for (bool changed = true; changed;) {
        changed = false;
        for (int i = 0; i < problem->n_ties; i++) {
            const struct clq_tie *tie = &problem->ties[i];
            int least = problem->n_layers;
            for (int j = 0; j < tie->n; j++)
                if (unit[tie->layers[j]] < least) least = unit[tie->layers[j]];
            for (int j = 0; j < tie->n; j++)
                if (unit[tie->layers[j]] != least) {
                    unit[tie->layers[j]] = least;
                    changed = true;
                }
        }
    }
    int count = 0;
    for (int l = 0; l < problem->n_layers; l++)
        unit[l] = unit[l] == l ? count++ : unit[unit[l]];
    return count;
}

static bool preferred(const struct clq_candidate *candidates, int a, int b)
{
    const struct clq_candidate *x = &candidates[a], *y = &candidates[b];
    if (x->weight_bits != y->weight_bits) return x->weight_bits > y->weight_bits;
    if (x->act_bits != y->act_bits) return x->act_bits > y->act_bits;
    return a < b;
}

void clq_problem_ranks(const struct clq_problem *problem, int *rank)
{
    for (int l = 0; l < problem->n_layers; l++) {
        const struct clq_problem_layer *layer = &problem->layers[l];
        for (int c = 0; c < layer->n_candidates; c++) {
            rank[c] = 0;
            for (int o = 0; o < layer->n_candidates; o++)
                rank[c] += o != c && preferred(layer->candidates, o, c);
        }
        rank += layer->n_candidates;
    }
}
