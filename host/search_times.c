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

static clq_status no_memory(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

static clq_status canceled(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
}

/* Of a model whose shapes wait for values, all units lie in the first stage. */
static const struct clq_program_options first_stage = {.partial = true};

/* A quantization of rows is shared by the products that read it. */
static void collect_rows(const struct clq_search *s, const struct clq_program *p, const struct clq_step *rows, double *us, int passes, int pass)
{
    int readers = 0;
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < p->n_steps; i++) {
            const struct clq_step *st = &p->steps[i];
            if (st->dead || st->n_in < 1 || st->in[0] != rows->out[0]) continue;
            int u = st->node ? clq_map_get(&s->units.by_node, st->node->name) : -1;
            if (round == 0) readers++;
            else if (u >= 0) us[(size_t)u * (size_t)passes + (size_t)pass] += rows->seconds * 1e6 / readers;
        }
}

/* Adds the step seconds of one pass to per-unit samples: us[unit * passes + pass]. */
static void collect(const struct clq_search *s, struct clq_program *p, double *us, int passes, int pass)
{
    for (int i = 0; i < p->n_steps; i++) {
        struct clq_step *st = &p->steps[i];
        if (st->dead || !st->node || st->kind == CLQ_STEP_LAYOUT || st->kind == CLQ_STEP_QUANTIZE || st->kind == CLQ_STEP_DEQUANTIZE) continue;
        if (st->kind == CLQ_STEP_QUANTIZE_ROWS) {
            collect_rows(s, p, st, us, passes, pass);
            continue;
        }
        int u = clq_map_get(&s->units.by_node, st->node->name);
        if (u < 0) { /* an activation that was not fused counts for its unit */
            for (int k = 0; k < s->units.n_units && u < 0; k++)
                if (s->units.units[k].act >= 0 && strcmp(s->model.graph.nodes[s->units.units[k].act].name, st->node->name) == 0) u = k;
        }
        if (u >= 0) us[(size_t)u * (size_t)passes + (size_t)pass] += st->seconds * 1e6;
    }
}

static void reset(struct clq_program *p)
{
    for (int i = 0; i < p->n_steps; i++) p->steps[i].seconds = 0;
}

static clq_status timed_pass(struct clq_search *s, struct clq_program *p, const clq_tensor *in, double *us, int passes, int pass, struct clq_error *err)
{
    reset(p);
    p->timed = true;
    CLQ_TRY(clq_program_run(p, in, NULL, NULL, NULL, err));
    p->timed = false;
    if (pass >= 0 && us) collect(s, p, us, passes, pass);
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
            s->ctx->kernels.quantize_f32_u8(&(struct clq_quantize_args){x, q, n, 0.01f, 3});
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

static void take_mode_medians(struct clq_search *s, double *us, int mode, int passes)
{
    for (int i = 0; i < s->units.n_units; i++) {
        struct clq_mode_record *r = &s->extra[mode][i];
        r->us = clq_median(us + (size_t)i * (size_t)passes, (size_t)passes);
        r->spread = spread(us + (size_t)i * (size_t)passes, (size_t)passes);
    }
}

static void take_medians(struct clq_search *s, double *f32, double *int8, double *dev, int passes)
{
    for (int i = 0; i < s->units.n_units; i++) {
        struct clq_unit_record *r = &s->records[i];
        r->f32_us = clq_median(f32 + (size_t)i * (size_t)passes, (size_t)passes);
        r->int8_us = clq_median(int8 + (size_t)i * (size_t)passes, (size_t)passes);
        r->device_us = dev ? clq_median(dev + (size_t)i * (size_t)passes, (size_t)passes) : -1;
        r->f32_spread = spread(f32 + (size_t)i * (size_t)passes, (size_t)passes);
        r->int8_spread = spread(int8 + (size_t)i * (size_t)passes, (size_t)passes);
        r->device_spread = dev ? spread(dev + (size_t)i * (size_t)passes, (size_t)passes) : 0;
        r->timings = passes;
    }
}

/* A float operator that runs for nothing in the epilogue of the product before it costs its own time where that product runs
 * on codes: then it belongs to the step back to float32. */
static void charge_fused(struct clq_search *s, double *alone, int passes)
{
    for (int i = 0; i < s->units.n_units; i++) {
        const struct clq_unit *u = &s->units.units[i];
        double us = clq_median(alone + (size_t)i * (size_t)passes, (size_t)passes);
        if (s->records[i].f32_us > 0 || !(us > 0)) continue;
        for (int k = 0; k < u->n_in; k++) {
            int producer = s->units.tensors[u->in[k]].producer;
            if (producer >= 0 && s->units.units[producer].kind == CLQ_UNIT_PRODUCT) s->convert_us[1][u->in[k]] += us;
        }
    }
}

enum { TIMED_FLOAT, TIMED_INT8, TIMED_ALONE, TIMED_DEVICE, TIMED };

/* What the last pass of the float program spent outside all units. */
static double time_outside(const struct clq_search *s, const struct clq_program *p)
{
    double us = 0;
    for (int i = 0; i < p->n_steps; i++)
        if (!p->steps[i].dead) us += p->steps[i].seconds * 1e6;
    for (int i = 0; i < s->units.n_units; i++) us -= fmax(s->records[i].f32_us, 0);
    return fmax(us, 0);
}

/* One program per mode from 2 on, with every unit in it that it can compute. */
struct timed_mode {
    struct clq_model model;
    struct clq_program *program;
    double *us;
};

static clq_status start_mode(struct timed_mode *t, struct clq_search *s, int mode, uint8_t *on, const clq_tensor *in, size_t passes, struct clq_error *err)
{
    int n = s->units.n_units;
    t->us = clq_arena_array(&s->arena, (size_t)n * passes + 1, sizeof *t->us);
    if (!t->us) return no_memory(err);
    for (int i = 0; i < n; i++) on[i] = s->extra[mode][i].capable ? (uint8_t)mode : 0;
    CLQ_TRY(clq_search_model(&t->model, s, on, err));
    return clq_program_compile(&t->program, s->ctx, &t->model, in, &first_stage, err);
}

static clq_status measure_times(struct clq_search *s, struct clq_error *err)
{
    enum { WARM = 3, PASSES = 21 };
    size_t n = (size_t)s->units.n_units;
    uint8_t *on = clq_arena_array(&s->arena, n + 1, sizeof *on);
    clq_tensor *in = clq_arena_array(&s->arena, (size_t)s->model.graph.n_inputs + 1, sizeof *in);
    double *us[TIMED] = {0};
    for (int k = 0; k < TIMED; k++)
        if (!(us[k] = clq_arena_array(&s->arena, n * PASSES + 1, sizeof(double)))) return no_memory(err);
    if (!on || !in) return no_memory(err);
    for (size_t i = 0; i < n; i++) on[i] = s->records[i].capable;
    struct clq_model m;
    struct clq_program *p[TIMED] = {0};
    int programs = s->ctx->cl ? TIMED : TIMED_DEVICE;
    struct timed_mode extra[CLQ_MODES_MOST] = {0};
    struct clq_mixed mixed[2] = {0};
    struct clq_program_options device = {.device_all = true, .partial = true}, alone = {.observable = true, .partial = true};
    bool known;
    double outside = 0;
    CLQ_TRY(s->calibration.get(s->calibration.state, 0, in, err));
    CLQ_TRY(clq_profile_use_times(&known, s->profile, s, in, err));
    if (known) return CLQ_OK;
    if (s->ctx->runtime) {
        CLQ_TRY(clq_runtime_times(s, in, err));
        return clq_profile_keep_times(s->profile, s, in, err);
    }
    CLQ_TRY(clq_search_model(&m, s, on, err));
    clq_status st = clq_program_compile(&p[TIMED_FLOAT], s->ctx, &s->model, in, &first_stage, err);
    if (st == CLQ_OK) st = clq_program_compile(&p[TIMED_INT8], s->ctx, &m, in, &first_stage, err);
    if (st == CLQ_OK) st = clq_program_compile(&p[TIMED_ALONE], s->ctx, &s->model, in, &alone, err);
    if (st == CLQ_OK && programs > TIMED_DEVICE) st = clq_program_compile(&p[TIMED_DEVICE], s->ctx, &m, in, &device, err);
    for (int k = 2; k < s->n_modes && st == CLQ_OK; k++) st = start_mode(&extra[k], s, k, on, in, PASSES, err);
    for (int k = 0; k < 2 && st == CLQ_OK; k++) st = clq_mixed_start(&mixed[k], s, k, in, PASSES, err);
    for (int pass = -WARM; pass < PASSES && st == CLQ_OK; pass++) {
        if (!clq_context_progress(s->ctx, "measuring times", (double)(pass + WARM) / (PASSES + WARM))) st = canceled(err);
        for (int k = 0; k < programs && st == CLQ_OK; k++) st = timed_pass(s, p[k], in, us[k], PASSES, pass, err);
        for (int k = 2; k < s->n_modes && st == CLQ_OK; k++) st = timed_pass(s, extra[k].program, in, extra[k].us, PASSES, pass, err);
        for (int k = 0; k < 2 && st == CLQ_OK; k++) st = timed_pass(s, mixed[k].program, in, NULL, PASSES, pass, err);
        for (int k = 0; k < 2 && st == CLQ_OK && pass >= 0; k++) clq_mixed_collect(&mixed[k], s, PASSES, (size_t)pass);
    }
    if (st == CLQ_OK) take_medians(s, us[TIMED_FLOAT], us[TIMED_INT8], programs > TIMED_DEVICE ? us[TIMED_DEVICE] : NULL, PASSES);
    for (int k = 2; k < s->n_modes; k++) {
        if (st == CLQ_OK) take_mode_medians(s, extra[k].us, k, PASSES);
        clq_program_free(extra[k].program);
        clq_model_release(&extra[k].model);
    }
    if (st == CLQ_OK) outside = time_outside(s, p[TIMED_FLOAT]);
    for (int k = 0; k < TIMED; k++) clq_program_free(p[k]);
    clq_model_release(&m);
    if (st == CLQ_OK) st = time_conversions(s, err);
    if (st == CLQ_OK) charge_fused(s, us[TIMED_ALONE], PASSES);
    if (st == CLQ_OK) clq_search_boundaries(s, mixed, PASSES, outside);
    for (int k = 0; k < 2; k++) clq_mixed_end(&mixed[k]);
    if (st == CLQ_OK) st = clq_profile_keep_times(s->profile, s, in, err);
    clq_context_progress(s->ctx, "measuring times", 1);
    return st;
}

clq_status clq_search_times(struct clq_search *s, struct clq_error *err)
{
    if (clq_journal_find_times(s)) return CLQ_OK;
    CLQ_TRY(measure_times(s, err));
    return clq_journal_keep_times(s, err);
}

/* ---- Whole plans ---- */
clq_status clq_search_time_plans(struct clq_accept_verdict *out, struct clq_search *s, const struct clq_timed_plans *plans, struct clq_error *err)
{
    struct clq_model a, b;
    bool rewritten = plans->base && clq_any_layer(plans->base, s->units.n_units);
    CLQ_TRY(clq_search_model(&a, s, plans->mode, err));
    clq_status st = rewritten ? clq_search_model(&b, s, plans->base, err) : CLQ_OK;
    if (st == CLQ_OK) {
        clq_progress_fn *progress = s->ctx->progress; /* the phase is reported by the caller */
        struct clq_proof_request q = {.reference = rewritten ? &b : &s->model, .candidate = &a, .inputs = plans->inputs, .pairs = plans->pairs,
                                      .rounds = 1, .phase = "timing plans", .key = plans->key};
        s->ctx->progress = NULL;
        st = clq_profile_prove(out, s->profile, &q, err);
        s->ctx->progress = progress;
        if (rewritten) clq_model_release(&b);
    }
    clq_model_release(&a);
    return st;
}
