/* SPDX-License-Identifier: Apache-2.0
 * Chooses: calibrators by measured output error, then precisions by the integer program and whole-plan measurements. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler/solve.h"
#include "search.h"

enum { ROUNDS = 6, TRIALS = 24 };

/* The validation samples have helped to choose, so they flatter the plan: it has to be half a decibel better than asked. The
 * 95 % bound is reported, not required: with outputs behind a softmax a few flipped rows make it useless below some hundred
 * samples (PP-OCRv4 rec, 32 samples: 20.2 dB measured, bound 14.2 dB). */
static const double MARGIN = 1.122;

static clq_status no_memory(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

/* ---- Calibrators ---- */
static clq_status noise_of_all(double *out, struct clq_search *s, enum clq_calibrator method, const bool *on, struct clq_error *err)
{
    struct clq_model m;
    struct clq_comparison c;
    clq_search_params(s, method);
    CLQ_TRY(clq_search_model(&m, s, on, err));
    clq_status st = clq_search_compare(&c, s, &s->tuning, &m, NULL, err);
    clq_model_release(&m);
    if (st == CLQ_OK) *out = c.noise;
    return st;
}

struct trial {
    int tensor;
    enum clq_calibrator method;
    double gain; /* histogram error now minus then, relative */
};

static int by_gain(const void *a, const void *b)
{
    const struct trial *x = a, *y = b;
    if (x->gain != y->gain) return x->gain < y->gain ? 1 : -1;
    return x->tensor - y->tensor;
}

/* Single changes that the histograms recommend are tried on the whole network, and kept when its output agrees. */
static clq_status refine(struct clq_search *s, const bool *on, double best, struct clq_error *err)
{
    struct trial *t = clq_arena_array(&s->arena, (size_t)s->units.n_tensors * CLQ_CAL_COUNT + 1, sizeof *t);
    int n = 0;
    if (!t) return no_memory(err);
    for (int i = 0; i < s->units.n_tensors; i++) {
        struct clq_tensor_record *r = &s->tensors[i];
        for (int m = 0; r->hist && m < CLQ_CAL_COUNT; m++)
            if (r->error[m] < r->error[r->method] * 0.98) t[n++] = (struct trial){i, (enum clq_calibrator)m, 1 - r->error[m] / r->error[r->method]};
    }
    qsort(t, (size_t)n, sizeof *t, by_gain);
    if (n > TRIALS) n = TRIALS;
    for (int k = 0; k < n; k++) {
        double noise;
        if (!clq_context_progress(s->ctx, "choosing calibrators", (double)(k + CLQ_CAL_COUNT) / (n + CLQ_CAL_COUNT)))
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
        enum clq_calibrator before = s->tensors[t[k].tensor].method;
        s->tensors[t[k].tensor].method = t[k].method;
        CLQ_TRY(noise_of_all(&noise, s, CLQ_CAL_COUNT, on, err));
        if (noise < best) best = noise;
        else s->tensors[t[k].tensor].method = before;
    }
    return CLQ_OK;
}

clq_status clq_search_calibrators(struct clq_search *s, struct clq_error *err)
{
    bool *on = clq_arena_array(&s->arena, (size_t)s->units.n_units + 1, sizeof *on);
    double best = INFINITY;
    enum clq_calibrator method = CLQ_CAL_MINMAX;
    bool any = false;
    if (!on) return no_memory(err);
    for (int i = 0; i < s->units.n_units; i++) {
        on[i] = s->records[i].capable;
        any = any || on[i];
    }
    if (!any) { /* nothing to compare: the ranges are only shown */
        clq_search_params(s, CLQ_CAL_COUNT);
        return CLQ_OK;
    }
    for (int m = 0; m < CLQ_CAL_COUNT; m++) {
        double noise;
        if (!clq_context_progress(s->ctx, "choosing calibrators", (double)m / (CLQ_CAL_COUNT + TRIALS)))
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
        CLQ_TRY(noise_of_all(&noise, s, (enum clq_calibrator)m, on, err));
        clq_context_log(s->ctx, "calibrator %s: output SQNR %.2f dB with every layer on 8 bits", clq_calibrator_name((enum clq_calibrator)m),
                        noise > 0 ? -10 * log10(noise) : INFINITY);
        if (noise < best) {
            best = noise;
            method = (enum clq_calibrator)m;
        }
    }
    for (int t = 0; t < s->units.n_tensors; t++) s->tensors[t].method = method;
    CLQ_TRY(refine(s, on, best, err));
    clq_search_params(s, CLQ_CAL_COUNT);
    clq_context_progress(s->ctx, "choosing calibrators", 1);
    return CLQ_OK;
}

/* ---- Precisions ---- */
enum { DOMAIN_F32, DOMAIN_U8, DOMAIN_DEVICE, DOMAINS };

struct network {
    struct clq_problem problem;
    int *layer_of;   /* unit -> layer, or -1 */
    int *unit_of;    /* layer -> unit */
};

static clq_status build_layers(struct network *w, struct clq_search *s, struct clq_error *err)
{
    int n = s->units.n_units;
    struct clq_problem_layer *layers = clq_arena_array(&s->arena, (size_t)n + 1, sizeof *layers);
    struct clq_candidate *c = clq_arena_array(&s->arena, (size_t)n * DOMAINS + 1, sizeof *c);
    w->layer_of = clq_arena_array(&s->arena, (size_t)n + 1, sizeof(int));
    w->unit_of = clq_arena_array(&s->arena, (size_t)n + 1, sizeof(int));
    if (!layers || !c || !w->layer_of || !w->unit_of) return no_memory(err);
    int count = 0;
    for (int i = 0; i < n; i++) {
        const struct clq_unit_record *r = &s->records[i];
        const struct clq_unit *u = &s->units.units[i];
        w->layer_of[i] = -1;
        if (!r->capable) continue;
        struct clq_candidate *own = &c[count * DOMAINS];
        int k = 0;
        own[k++] = (struct clq_candidate){.label = "f32", .domain = DOMAIN_F32, .domain_out = DOMAIN_F32, .weight_bits = 32, .act_bits = 32,
                                          .time_us = r->f32_us, .bytes = u->params * 4};
        own[k++] = (struct clq_candidate){.label = "int8", .domain = DOMAIN_U8, .domain_out = DOMAIN_U8, .weight_bits = 8, .act_bits = 8,
                                          .time_us = r->int8_us, .error = r->noise, .bytes = u->params};
        if (r->device_us >= 0)
            own[k++] = (struct clq_candidate){.label = "int8", .domain = DOMAIN_DEVICE, .domain_out = DOMAIN_DEVICE, .weight_bits = 8, .act_bits = 8,
                                              .time_us = r->device_us, .error = r->noise, .bytes = u->params};
        layers[count] = (struct clq_problem_layer){.name = u->name, .n_candidates = k, .candidates = own, .params = u->params, .macs = u->macs};
        w->unit_of[count] = i;
        w->layer_of[i] = count++;
    }
    w->problem.n_layers = count;
    w->problem.layers = layers;
    return CLQ_OK;
}

static clq_status build_tensors(struct network *w, struct clq_search *s, struct clq_error *err)
{
    const struct clq_units *u = &s->units;
    struct clq_problem_tensor *tensors = clq_arena_array(&s->arena, (size_t)u->n_tensors + 1, sizeof *tensors);
    double *cost = clq_arena_array(&s->arena, (size_t)u->n_tensors * DOMAINS * DOMAINS + 1, sizeof *cost);
    int uses = 0;
    for (int i = 0; i < u->n_units; i++) uses += u->units[i].n_in;
    int *consumers = clq_arena_array(&s->arena, (size_t)(uses + u->n_tensors) + 1, sizeof *consumers);
    if (!tensors || !cost || !consumers) return no_memory(err);
    for (int t = 0; t < u->n_tensors; t++) {
        double *c = cost + (size_t)t * DOMAINS * DOMAINS;
        for (int d = DOMAIN_U8; d < DOMAINS; d++) {
            c[DOMAIN_F32 * DOMAINS + d] = s->convert_us[0][t];
            c[d * DOMAINS + DOMAIN_F32] = s->convert_us[1][t];
        }
        int producer = u->tensors[t].producer >= 0 ? w->layer_of[u->tensors[t].producer] : -1;
        bool fixed = u->tensors[t].needs_float;
        struct clq_problem_tensor *pt = &tensors[t];
        *pt = (struct clq_problem_tensor){.producer = producer < 0 ? CLQ_GRAPH_INPUT : producer, .consumers = consumers, .convert_us = c};
        for (int i = 0; i < u->n_units; i++)
            for (int k = 0; k < u->units[i].n_in; k++) {
                if (u->units[i].in[k] != t) continue;
                if (w->layer_of[i] < 0) fixed = true;
                else consumers[pt->n_consumers++] = w->layer_of[i];
                break;
            }
        if (fixed) consumers[pt->n_consumers++] = CLQ_GRAPH_OUTPUT;
        consumers += pt->n_consumers;
    }
    w->problem.n_tensors = u->n_tensors;
    w->problem.tensors = tensors;
    return CLQ_OK;
}

static double float_time(const struct clq_search *s)
{
    double t = 0;
    for (int i = 0; i < s->units.n_units; i++)
        if (s->records[i].capable) t += s->records[i].f32_us;
    return t;
}

static void apply(const struct network *w, const int *choice, const struct clq_search *s, bool *on_codes, bool *on_device)
{
    memset(on_codes, 0, (size_t)s->units.n_units * sizeof *on_codes);
    memset(on_device, 0, (size_t)s->units.n_units * sizeof *on_device);
    for (int l = 0; l < w->problem.n_layers; l++) {
        int domain = w->problem.layers[l].candidates[choice[l]].domain;
        on_codes[w->unit_of[l]] = domain != DOMAIN_F32;
        on_device[w->unit_of[l]] = domain == DOMAIN_DEVICE;
    }
}

static clq_status measure(struct clq_comparison *out, struct clq_search *s, const bool *on, struct clq_error *err)
{
    struct clq_model m;
    CLQ_TRY(clq_search_model(&m, s, on, err));
    clq_status st = clq_search_compare(out, s, &s->validation, &m, NULL, err);
    clq_model_release(&m);
    return st;
}

bool clq_search_within(const struct clq_comparison *c, const struct clq_budget *b)
{
    if (c->noise * MARGIN > b->noise) return false;
    if (b->max_drop < 0 || c->samples == 0) return true;
    double drop = 100.0 * ((double)c->top1_reference - (double)c->top1) / (double)c->samples;
    return drop <= b->max_drop + 1e-9;
}

static void log_round(struct clq_context *ctx, int round, double predicted, double us, const struct clq_comparison *c, bool ok)
{
    char bound[64] = "too few samples for a bound";
    if (c->noise_bound > c->noise) snprintf(bound, sizeof bound, "at least %.2f dB with 95 %% confidence", -10 * log10(c->noise_bound));
    clq_context_log(ctx, "round %d: predicted %.2f dB and %.0f us, measured %.2f dB, %s: %s budget", round,
                    predicted > 0 ? -10 * log10(predicted) : (double)INFINITY, us, c->sqnr_db, bound, ok ? "within the" : "over the");
}

clq_status clq_search_choose(struct clq_choice *out, struct clq_search *s, const struct clq_budget *budget, struct clq_error *err)
{
    size_t n = (size_t)s->units.n_units + 1;
    struct network w = {.problem = {.n_domains = DOMAINS, .objective = CLQ_AXIS_TIME}};
    int *choice = clq_arena_array(&s->arena, n, sizeof *choice);
    bool *on = clq_arena_array(&s->arena, n, sizeof *on), *dev = clq_arena_array(&s->arena, n, sizeof *dev);
    *out = (struct clq_choice){.on_codes = clq_arena_array(&s->arena, n, sizeof *on), .on_device = clq_arena_array(&s->arena, n, sizeof *dev)};
    if (!choice || !on || !dev || !out->on_codes || !out->on_device) return no_memory(err);
    CLQ_TRY(build_layers(&w, s, err));
    CLQ_TRY(build_tensors(&w, s, err));
    out->float_us = out->predicted_us = float_time(s);
    out->measured = (struct clq_comparison){.sqnr_db = INFINITY, .cosine = 1};
    out->feasible = true; /* everything in float always is */
    if (w.problem.n_layers == 0) return CLQ_OK;
    double limit = budget->noise, factor = 1;
    for (int a = 0; a < CLQ_AXIS_COUNT; a++) w.problem.bound[a] = INFINITY;
    for (int round = 0; round < ROUNDS; round++) {
        struct clq_solution sol;
        struct clq_comparison c;
        if (!clq_context_progress(s->ctx, "solving", (double)round / ROUNDS)) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
        w.problem.bound[CLQ_AXIS_ERROR] = limit / factor;
        CLQ_TRY(clq_solve(&sol, choice, &w.problem, NULL, err));
        apply(&w, choice, s, on, dev);
        CLQ_TRY(measure(&c, s, on, err));
        out->rounds = round + 1;
        double predicted = sol.totals.axis[CLQ_AXIS_ERROR], time = sol.totals.axis[CLQ_AXIS_TIME];
        bool ok = clq_search_within(&c, budget);
        log_round(s->ctx, round + 1, predicted * factor, time, &c, ok);
        if (ok && time < out->predicted_us) {
            memcpy(out->on_codes, on, n * sizeof *on);
            memcpy(out->on_device, dev, n * sizeof *dev);
            out->measured = c;
            out->predicted_noise = predicted * factor;
            out->predicted_us = time;
        }
        if (predicted <= 0) break;
        double now = c.noise * MARGIN / predicted;
        if (ok && (c.noise * MARGIN > 0.85 * budget->noise || fabs(now / factor - 1) < 0.03)) break;
        factor = ok ? now : now > factor ? now * 1.02 : factor * 1.15;
        if (!ok && c.noise * MARGIN <= budget->noise) limit *= 0.7; /* the labels' bound was missed */
    }
    clq_context_progress(s->ctx, "solving", 1);
    return CLQ_OK;
}
