/* SPDX-License-Identifier: Apache-2.0
 * Times: of every unit in place in every mode with the kernels that will ship, of conversions, and of whole plans. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "profile_use.h"
#include "scheduler/stats.h"
#include "search_boundaries.h"
#include "search_journal.h"
#include "search_runtime.h"
#include "watch.h"

enum { WARM = 3, PASSES = 21 };

static clq_status no_memory(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

static clq_status canceled(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
}

static int unit_of_step(const struct clq_search *s, const struct clq_step *st)
{
    return st->node ? clq_map_get(&s->units.by_node, st->node->name) : -1;
}

/* A quantization of rows is shared by the products that read it. */
static void collect_rows(const struct clq_search *s, const struct clq_program *p, const struct clq_step *rows, double *us, int pass)
{
    int readers = 0;
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < p->n_steps; i++) {
            const struct clq_step *st = &p->steps[i];
            if (st->dead || st->n_in < 1 || st->in[0] != rows->out[0]) continue;
            int u = unit_of_step(s, st);
            if (round == 0) readers++;
            else if (u >= 0) us[(size_t)u * PASSES + (size_t)pass] += rows->seconds * 1e6 / readers;
        }
}

/* The unit whose layout a step makes: of who reads it, otherwise of who made it; -1: none. */
static int unit_of_layout(const struct clq_search *s, const struct clq_program *p, const struct clq_step *layout)
{
    int producer = -1;
    for (int i = 0; i < p->n_steps; i++) {
        const struct clq_step *st = &p->steps[i];
        int u = st->dead ? -1 : unit_of_step(s, st);
        for (int k = 0; u >= 0 && k < st->n_in; k++)
            if (st->in[k] == layout->out[0]) return u;
        if (u >= 0 && st->out[0] == layout->in[0]) producer = u;
    }
    return producer;
}

/* Adds the step seconds of one pass to per-unit samples: us[unit * PASSES + pass]. */
static void collect(const struct clq_search *s, struct clq_program *p, double *us, int pass)
{
    for (int i = 0; i < p->n_steps; i++) {
        struct clq_step *st = &p->steps[i];
        if (!st->dead && st->kind == CLQ_STEP_LAYOUT) {
            int u = unit_of_layout(s, p, st);
            if (u >= 0) us[(size_t)u * PASSES + (size_t)pass] += st->seconds * 1e6;
            continue;
        }
        if (st->dead || !st->node || st->kind == CLQ_STEP_QUANTIZE || st->kind == CLQ_STEP_DEQUANTIZE) continue;
        if (st->kind == CLQ_STEP_QUANTIZE_ROWS) {
            collect_rows(s, p, st, us, pass);
            continue;
        }
        int u = unit_of_step(s, st);
        if (u < 0) { /* an activation that was not fused counts for its unit */
            for (int k = 0; k < s->units.n_units && u < 0; k++)
                if (s->units.units[k].act >= 0 && strcmp(s->model.graph.nodes[s->units.units[k].act].name, st->node->name) == 0) u = k;
        }
        if (u >= 0) us[(size_t)u * PASSES + (size_t)pass] += st->seconds * 1e6;
    }
}

static void reset(struct clq_program *p)
{
    for (int i = 0; i < p->n_steps; i++) p->steps[i].seconds = 0;
}

static clq_status timed_pass(struct clq_search *s, struct clq_program *p, const clq_tensor *in, double *us, int pass, struct clq_error *err)
{
    reset(p);
    p->timed = true;
    CLQ_TRY(clq_program_run(p, in, NULL, NULL, NULL, err));
    p->timed = false;
    if (pass >= 0 && us) collect(s, p, us, pass);
    return CLQ_OK;
}

/* Quantize and dequantize of every tensor's size, in cache as the producer leaves it. */
static clq_status time_conversions(struct clq_search *s, struct clq_error *err)
{
    enum { RUNS = 7 };
    size_t most = 1;
    for (int t = 0; t < s->units.n_tensors; t++)
        if (s->units.tensors[t].elements > most) most = s->units.tensors[t].elements;
    float *x = malloc(most * sizeof *x);
    uint8_t *q = malloc(most);
    for (int d = 0; d < 2; d++) s->convert_us[d] = clq_arena_array(&s->arena, (size_t)s->units.n_tensors + 1, sizeof(double));
    if (!x || !q || !s->convert_us[0] || !s->convert_us[1]) {
        free(x);
        free(q);
        return no_memory(err);
    }
    for (size_t i = 0; i < most; i++) x[i] = (float)(i % 251) * 0.01f;
    for (int t = 0; t < s->units.n_tensors; t++) {
        size_t n = s->units.tensors[t].elements;
        double us[2][RUNS];
        for (int r = 0; r < RUNS; r++) {
            double a = clq_now();
            s->ctx->kernels.quantize_f32_u8(&(struct clq_quantize_args){x, q, n, 0.01f, 3, false});
            double b = clq_now();
            s->ctx->kernels.dequantize_u8_f32(&(struct clq_dequantize_args){q, x, n, 0.01f, 3, false});
            us[0][r] = (b - a) * 1e6;
            us[1][r] = (clq_now() - b) * 1e6;
        }
        double share = n > 65536 ? 1.0 / s->ctx->threads : 1;
        for (int d = 0; d < 2; d++) s->convert_us[d][t] = clq_median(us[d], RUNS) * share;
    }
    free(x);
    free(q);
    return CLQ_OK;
}

static double spread(double *us, size_t n)
{
    double low = clq_quantile(us, n, 0.25);
    return clq_quantile(us, n, 0.75) - low;
}

static void take_mode_medians(struct clq_search *s, double *us, int mode)
{
    for (int i = 0; i < s->units.n_units; i++) {
        struct clq_mode_record *r = &s->extra[mode][i];
        r->us = clq_median(us + (size_t)i * PASSES, PASSES);
        r->spread = spread(us + (size_t)i * PASSES, PASSES);
    }
}

static void take_medians(struct clq_search *s, double *f32, double *int8, double *dev)
{
    for (int i = 0; i < s->units.n_units; i++) {
        struct clq_unit_record *r = &s->records[i];
        r->f32_us = clq_median(f32 + (size_t)i * PASSES, PASSES);
        r->int8_us = clq_median(int8 + (size_t)i * PASSES, PASSES);
        r->device_us = dev ? clq_median(dev + (size_t)i * PASSES, PASSES) : -1;
        r->f32_spread = spread(f32 + (size_t)i * PASSES, PASSES);
        r->int8_spread = spread(int8 + (size_t)i * PASSES, PASSES);
        r->device_spread = dev ? spread(dev + (size_t)i * PASSES, PASSES) : 0;
        r->timings = PASSES;
    }
}

/* A float operator that runs for nothing in the epilogue of the product before it costs its own time where that product runs
 * on codes: then it belongs to the step back to float32. */
static void charge_fused(struct clq_search *s, double *alone)
{
    for (int i = 0; i < s->units.n_units; i++) {
        const struct clq_unit *u = &s->units.units[i];
        double us = clq_median(alone + (size_t)i * PASSES, PASSES);
        if (s->records[i].f32_us > 0 || !(us > 0)) continue;
        for (int k = 0; k < u->n_in; k++) {
            int producer = s->units.tensors[u->in[k]].producer;
            if (producer >= 0 && s->units.units[producer].kind == CLQ_UNIT_PRODUCT) s->convert_us[1][u->in[k]] += us;
        }
    }
}

enum { TIMED_FLOAT, TIMED_INT8, TIMED_ALONE, TIMED_DEVICE, TIMED };

/* One program per mode from 2 on, with every unit in it that it can compute. */
struct timed_mode {
    struct clq_model model;
    struct clq_program *program;
    double *us;
};

/* All that is timed, side by side: us [units][PASSES] each. */
struct timed {
    const clq_tensor *in;
    struct clq_model int8;
    struct clq_program *program[TIMED];
    double *us[TIMED], outside[PASSES]; /* outside: what the float program spends in no unit */
    int programs;
    struct timed_mode extra[CLQ_MODES_MOST];
    struct clq_mixed mixed[2];
};

static clq_status start_mode(struct timed_mode *t, struct clq_search *s, int mode, uint8_t *on, const clq_tensor *in, struct clq_error *err)
{
    int n = s->units.n_units;
    t->us = clq_arena_array(&s->arena, (size_t)n * PASSES + 1, sizeof *t->us);
    if (!t->us) return no_memory(err);
    for (int i = 0; i < n; i++) on[i] = s->extra[mode][i].capable ? (uint8_t)mode : 0;
    CLQ_TRY(clq_search_model(&t->model, s, on, err));
    return clq_program_compile(&t->program, s->ctx, &t->model, in, &clq_search_first_stage, err);
}

static clq_status start_timed(struct timed *t, struct clq_search *s, struct clq_error *err)
{
    size_t n = (size_t)s->units.n_units;
    uint8_t *on = clq_arena_array(&s->arena, n + 1, sizeof *on);
    struct clq_program_options device = {.device_all = true, .partial = true, .sums_apart = true}, alone = {.observable = true, .partial = true};
    t->programs = s->ctx->cl ? TIMED : TIMED_DEVICE;
    for (int k = 0; k < TIMED; k++)
        if (!(t->us[k] = clq_arena_array(&s->arena, n * PASSES + 1, sizeof(double)))) return no_memory(err);
    if (!on) return no_memory(err);
    clq_search_all_int8(on, s);
    CLQ_TRY(clq_search_model(&t->int8, s, on, err));
    CLQ_TRY(clq_program_compile(&t->program[TIMED_FLOAT], s->ctx, &s->model, t->in, &clq_search_first_stage, err));
    CLQ_TRY(clq_program_compile(&t->program[TIMED_INT8], s->ctx, &t->int8, t->in, &clq_search_first_stage, err));
    CLQ_TRY(clq_program_compile(&t->program[TIMED_ALONE], s->ctx, &s->model, t->in, &alone, err));
    if (t->programs > TIMED_DEVICE) CLQ_TRY(clq_program_compile(&t->program[TIMED_DEVICE], s->ctx, &t->int8, t->in, &device, err));
    for (int k = 2; k < s->n_modes; k++) CLQ_TRY(start_mode(&t->extra[k], s, k, on, t->in, err));
    for (int k = 0; k < 2; k++) CLQ_TRY(clq_mixed_start(&t->mixed[k], s, k, t->in, PASSES, err));
    return CLQ_OK;
}

static void end_timed(struct timed *t, const struct clq_search *s)
{
    for (int k = 0; k < TIMED; k++) clq_program_free(t->program[k]);
    for (int k = 2; k < s->n_modes; k++) {
        clq_program_free(t->extra[k].program);
        clq_model_release(&t->extra[k].model);
    }
    for (int k = 0; k < 2; k++) clq_mixed_end(&t->mixed[k]);
    clq_model_release(&t->int8);
}

/* A round that is repeated counts once. */
static void forget_round(struct timed *t, const struct clq_search *s, size_t pass)
{
    for (int i = 0; i < s->units.n_units; i++) {
        for (int k = 0; k < TIMED; k++) t->us[k][(size_t)i * PASSES + pass] = 0;
        for (int k = 2; k < s->n_modes; k++) t->extra[k].us[(size_t)i * PASSES + pass] = 0;
    }
    for (int k = 0; k < 2; k++) clq_mixed_forget(&t->mixed[k], s, PASSES, pass);
}

/* The steps of the float program that belong to no unit. */
static double time_outside(const struct clq_program *p, const double *us, int n_units, size_t pass)
{
    double outside = 0;
    for (int i = 0; i < p->n_steps; i++)
        if (!p->steps[i].dead) outside += p->steps[i].seconds * 1e6;
    for (int i = 0; i < n_units; i++) outside -= us[(size_t)i * PASSES + pass];
    return fmax(outside, 0);
}

/* pass < 0: to warm up. */
static clq_status time_round(struct timed *t, struct clq_search *s, int pass, struct clq_error *err)
{
    if (pass >= 0) forget_round(t, s, (size_t)pass);
    for (int k = 0; k < t->programs; k++) CLQ_TRY(timed_pass(s, t->program[k], t->in, t->us[k], pass, err));
    for (int k = 2; k < s->n_modes; k++) CLQ_TRY(timed_pass(s, t->extra[k].program, t->in, t->extra[k].us, pass, err));
    for (int k = 0; k < 2; k++) CLQ_TRY(timed_pass(s, t->mixed[k].program, t->in, NULL, pass, err));
    for (int k = 0; k < 2 && pass >= 0; k++) clq_mixed_collect(&t->mixed[k], s, PASSES, (size_t)pass);
    if (pass >= 0) t->outside[pass] = time_outside(t->program[TIMED_FLOAT], t->us[TIMED_FLOAT], s->units.n_units, (size_t)pass);
    return CLQ_OK;
}

/* Rounds that steal time or another clock disturbed are repeated once. */
static clq_status repeat_rounds(struct timed *t, struct clq_search *s, struct clq_round rounds[PASSES], struct clq_error *err)
{
    struct clq_steadiness again;
    struct clq_watch watch;
    bool disturbed[PASSES], still[PASSES];
    char text[300];
    CLQ_TRY(clq_rounds_judge(disturbed, &s->steady, rounds, PASSES, err));
    clq_watch_start(&watch);
    for (int pass = 0; pass < PASSES; pass++) {
        if (!disturbed[pass]) continue;
        if (!clq_context_progress(s->ctx, "measuring times", 1)) return canceled(err);
        CLQ_TRY(time_round(t, s, pass, err));
        rounds[pass] = clq_watch_round(&watch);
    }
    CLQ_TRY(clq_rounds_judge(still, &again, rounds, PASSES, err));
    for (int pass = 0; pass < PASSES; pass++) s->steady.unsure += disturbed[pass] && still[pass];
    clq_steadiness_text(text, sizeof text, &s->steady, "times of layers");
    if (*text) clq_context_log(s->ctx, "%s", text);
    return CLQ_OK;
}

static clq_status time_rounds(struct timed *t, struct clq_search *s, struct clq_error *err)
{
    struct clq_round rounds[PASSES];
    struct clq_watch watch;
    clq_watch_start(&watch);
    for (int pass = -WARM; pass < PASSES; pass++) {
        if (!clq_context_progress(s->ctx, "measuring times", (double)(pass + WARM) / (PASSES + WARM))) return canceled(err);
        CLQ_TRY(time_round(t, s, pass, err));
        const struct clq_round round = clq_watch_round(&watch);
        if (pass >= 0) rounds[pass] = round;
    }
    CLQ_TRY(repeat_rounds(t, s, rounds, err));
    take_medians(s, t->us[TIMED_FLOAT], t->us[TIMED_INT8], t->programs > TIMED_DEVICE ? t->us[TIMED_DEVICE] : NULL);
    for (int k = 2; k < s->n_modes; k++) take_mode_medians(s, t->extra[k].us, k);
    CLQ_TRY(time_conversions(s, err));
    charge_fused(s, t->us[TIMED_ALONE]);
    s->outside_us = clq_median(t->outside, PASSES);
    clq_search_boundaries(s, t->mixed, PASSES, s->outside_us);
    return CLQ_OK;
}

static clq_status measure_times(struct clq_search *s, struct clq_error *err)
{
    clq_tensor *in = clq_arena_array(&s->arena, (size_t)s->model.graph.n_inputs + 1, sizeof *in);
    struct timed t = {.in = in};
    bool known;
    if (!in) return no_memory(err);
    CLQ_TRY(s->calibration.get(s->calibration.state, 0, in, err));
    CLQ_TRY(clq_profile_use_times(&known, s->profile, s, in, err));
    if (known) return CLQ_OK;
    clq_status st = s->ctx->runtime ? clq_runtime_times(s, in, err) : start_timed(&t, s, err);
    if (st == CLQ_OK && !s->ctx->runtime) st = time_rounds(&t, s, err);
    end_timed(&t, s);
    CLQ_TRY(st);
    clq_context_progress(s->ctx, "measuring times", 1);
    return clq_profile_keep_times(s->profile, s, in, err);
}

clq_status clq_search_times(struct clq_search *s, struct clq_error *err)
{
    if (clq_journal_find_times(s)) return CLQ_OK;
    CLQ_TRY(measure_times(s, err));
    return clq_journal_keep_times(s, err);
}

/* ---- Whole plans ---- */
clq_status clq_search_remember(struct clq_search *s, const uint8_t *mode, double ratio, struct clq_error *err)
{
    const size_t n = (size_t)s->units.n_units;
    if (!(ratio > 0) || !isfinite(ratio) || s->ctx->cl || !clq_any_layer(mode, s->units.n_units)) return CLQ_OK;
    for (int i = 0; i < s->n_timed; i++)
        if (memcmp(s->timed[i].mode, mode, n) == 0) {
            struct clq_timed_plan *t = &s->timed[i];
            t->ratio = exp((t->n * log(t->ratio) + log(ratio)) / (t->n + 1));
            t->n++;
            return CLQ_OK;
        }
    if (!s->timed) s->timed = clq_arena_array(&s->arena, CLQ_TIMED_PLANS, sizeof *s->timed);
    uint8_t *copy = clq_arena_alloc(&s->arena, n + 1);
    if (!s->timed || !copy) return no_memory(err);
    if (s->n_timed == CLQ_TIMED_PLANS) return CLQ_OK;
    memcpy(copy, mode, n);
    s->timed[s->n_timed++] = (struct clq_timed_plan){copy, ratio, 1};
    return CLQ_OK;
}

double clq_search_timed(const struct clq_search *s, const uint8_t *mode)
{
    for (int i = 0; i < s->n_timed; i++)
        if (memcmp(s->timed[i].mode, mode, (size_t)s->units.n_units) == 0) return s->timed[i].ratio;
    return 0;
}

clq_status clq_search_time_plans(struct clq_accept_verdict *out, struct clq_search *s, const struct clq_timed_plans *plans, struct clq_error *err)
{
    struct clq_model a, b;
    bool rewritten = plans->base && clq_any_layer(plans->base, s->units.n_units);
    CLQ_TRY(clq_search_placed(&a, s, plans->mode, plans->on_device, err));
    clq_status st = rewritten ? clq_search_placed(&b, s, plans->base, plans->base_on_device, err) : CLQ_OK;
    if (st == CLQ_OK) {
        clq_progress_fn *progress = s->ctx->progress; /* the phase is reported by the caller */
        struct clq_proof_request q = {.reference = rewritten ? &b : &s->model, .candidate = &a, .inputs = plans->inputs, .pairs = plans->pairs,
                                      .rounds = plans->rounds ? plans->rounds : 1, .worker = plans->apart ? s->worker : NULL, .phase = "timing plans", .key = plans->key};
        s->ctx->progress = NULL;
        st = clq_profile_prove(out, s->profile, &q, err);
        if (st != CLQ_OK && q.worker && clq_context_progress(s->ctx, q.phase, 0)) { /* a race is no reason to lose a search */
            clq_context_log(s->ctx, "%s; timed in this process", err ? err->text : "a timing process failed");
            q.worker = NULL;
            st = clq_profile_prove(out, s->profile, &q, err);
        }
        s->ctx->progress = progress;
        if (rewritten) clq_model_release(&b);
    }
    clq_model_release(&a);
    CLQ_TRY(st);
    const double base = rewritten ? clq_search_timed(s, plans->base) : 1;
    return clq_search_remember(s, plans->mode, base * out->ratio, err);
}
