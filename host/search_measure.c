/* SPDX-License-Identifier: Apache-2.0
 * Measures: the float reference on the validation samples, the output error of rewritten models, of every unit alone, and the
 * time of every unit in place in both precisions. Everything runs the kernels that will ship. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "classes.h"
#include "scheduler/error.h"
#include "profile_use.h"
#include "scheduler/stats.h"
#include "search_boundaries.h"
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

static size_t elements(const clq_tensor *t)
{
    size_t n = 0;
    return clq_tensor_elements(&n, t) == CLQ_OK ? n : 0;
}

/* Runs sample i and copies the float outputs, one after the other, into *values (grown when needed). */
struct outputs {
    clq_tensor *in, *out;
    float *values;
    size_t capacity, count;
    struct clq_classes classes; /* of the first output */
};

static clq_status outputs_start(struct outputs *o, struct clq_search *s, struct clq_error *err)
{
    *o = (struct outputs){0};
    o->in = clq_arena_array(&s->arena, (size_t)s->model.graph.n_inputs + 1, sizeof *o->in);
    o->out = clq_arena_array(&s->arena, (size_t)s->model.graph.n_outputs + 1, sizeof *o->out);
    return o->in && o->out ? CLQ_OK : no_memory(err);
}

static clq_status outputs_run(struct outputs *o, struct clq_search *s, const struct clq_probe *probe, struct clq_runner *r, size_t i,
                              struct clq_error *err)
{
    int n = s->model.graph.n_outputs;
    CLQ_TRY(probe->source.get(probe->source.state, i, o->in, err));
    memset(o->out, 0, (size_t)n * sizeof *o->out);
    CLQ_TRY(clq_runner_run(r, o->in, o->out, NULL, NULL, err));
    o->count = 0;
    for (int k = 0; k < n; k++) o->count += o->out[k].dtype == CLQ_DTYPE_F32 ? elements(&o->out[k]) : 0;
    if (o->count > o->capacity) {
        free(o->values);
        o->values = malloc(o->count * sizeof(float));
        o->capacity = o->values ? o->count : 0;
        if (!o->values) return no_memory(err);
    }
    size_t at = 0;
    for (int k = 0; k < n; k++) {
        if (o->out[k].dtype != CLQ_DTYPE_F32 || elements(&o->out[k]) == 0) continue;
        memcpy(o->values + at, o->out[k].data, elements(&o->out[k]) * sizeof(float));
        at += elements(&o->out[k]);
    }
    o->classes = clq_classes_of(&o->out[0]);
    return CLQ_OK;
}

/* The first value of a run that holds a NaN. */
struct origin {
    const char *name;
    size_t element;
};

static clq_status find_nan(void *state, const struct clq_value *v, struct clq_error *err)
{
    struct origin *o = state;
    const float *x = v->t.data;
    size_t n = v->t.dtype == CLQ_DTYPE_F32 ? elements(&v->t) : 0;
    (void)err;
    for (size_t i = 0; i < n && !o->name; i++)
        if (isnan(x[i])) *o = (struct origin){v->name ? v->name : "", i};
    return CLQ_OK;
}

/* Inputs are finite, and calibration has seen none inside; a NaN on other samples is told where it arises. */
static clq_status check_outputs(const struct outputs *o, struct clq_search *s, const struct clq_probe *probe, size_t i, struct clq_error *err)
{
    size_t at = 0;
    struct origin origin = {0};
    while (at < o->count && !isnan(o->values[at])) at++;
    if (at == o->count) return CLQ_OK;
    CLQ_TRY(clq_runner_run(&s->reference, o->in, o->out, find_nan, &origin, err));
    return clq_fail(err, CLQ_ERR_NUMERIC, "tensor '%s': element %zu of sample %zu is NaN", origin.name ? origin.name : s->model.graph.outputs[0].name,
                    origin.name ? origin.element : at, probe->source.index[i]);
}

clq_status clq_search_reference(struct clq_search *s, struct clq_probe *probe, struct clq_error *err)
{
    struct outputs o;
    size_t n = probe->source.count;
    CLQ_TRY(outputs_start(&o, s, err));
    probe->outputs = clq_arena_array(&s->arena, n + 1, sizeof *probe->outputs);
    probe->output_count = clq_arena_array(&s->arena, n + 1, sizeof *probe->output_count);
    if (!probe->outputs || !probe->output_count) return no_memory(err);
    clq_status st = CLQ_OK;
    probe->signal = 0;
    for (size_t i = 0; i < n && st == CLQ_OK; i++) {
        if (!clq_context_progress(s->ctx, "float reference", (double)i / (double)n)) st = canceled(err);
        if (st == CLQ_OK) st = outputs_run(&o, s, probe, &s->reference, i, err);
        if (st == CLQ_OK) st = check_outputs(&o, s, probe, i, err);
        if (st != CLQ_OK) break;
        probe->outputs[i] = clq_arena_array(&s->arena, o.count + 1, sizeof(float));
        probe->output_count[i] = o.count;
        if (!probe->outputs[i]) {
            st = no_memory(err);
            break;
        }
        if (o.count) memcpy(probe->outputs[i], o.values, o.count * sizeof(float));
        for (size_t k = 0; k < o.count; k++) probe->signal += (double)o.values[k] * (double)o.values[k];
    }
    free(o.values);
    return st;
}

static clq_status compare_classes(struct clq_comparison *c, const struct clq_probe *probe, const struct outputs *o, const float *ref, size_t first_label,
                                  struct clq_error *err)
{
    const size_t n = o->classes.classes;
    if (probe->labels) CLQ_TRY(clq_classes_fit_labels(&o->classes, &o->out[0], probe->n_labels - first_label, probe->n_labels, err));
    for (size_t r = 0; r < o->classes.rows; r++) {
        size_t a = clq_argmax(ref + r * n, n), b = clq_argmax(o->values + r * n, n);
        c->samples++;
        c->agree += a == b;
        if (probe->labels) {
            bool was = (int64_t)a == probe->labels[first_label + r], is = (int64_t)b == probe->labels[first_label + r];
            c->top1_reference += was;
            c->top1 += is;
            c->lost += was && !is;
            c->gained += is && !was;
        }
    }
    return CLQ_OK;
}

/* One sample's energies; a comparison keeps them for the bound. */
static void add_sample(struct clq_sample_error *e, double *energy, const float *ref, const float *got, size_t n)
{
    struct clq_sample_sums sums = {0};
    clq_sample_add(&sums, ref, got, n);
    clq_sample_finish(e, &sums);
    energy[0] += e->reference_energy;
    energy[1] += e->error_energy;
    energy[2] += e->candidate_energy;
    energy[3] += e->dot;
    if (e->mismatches) energy[1] = INFINITY;
}

static double cosine_of(void *state, const uint32_t *index, size_t n)
{
    const struct clq_sample_error *samples = state;
    double dot = 0, a = 0, b = 0;
    for (size_t i = 0; i < n; i++) {
        dot += samples[index[i]].dot;
        a += samples[index[i]].reference_energy;
        b += samples[index[i]].candidate_energy;
    }
    return a > 0 && b > 0 ? dot / sqrt(a * b) : 1;
}

static clq_status conclude(struct clq_comparison *c, const double energy[4], struct clq_sample_error *samples, size_t n, struct clq_error *err)
{
    struct clq_sqnr_bound bound;
    double highest;
    double signal = energy[0], noise = energy[1];
    c->noise = signal > 0 ? noise / signal : noise > 0 ? INFINITY : 0;
    c->noise_bound = c->noise;
    c->sqnr_db = noise > 0 ? 10 * log10(signal / noise) : INFINITY;
    c->cosine = signal > 0 && energy[2] > 0 ? energy[3] / sqrt(signal * energy[2]) : noise > 0 ? 0 : 1;
    c->cosine_lower = c->cosine;
    if (n == 0 || noise <= 0 || !isfinite(noise)) return CLQ_OK;
    CLQ_TRY(clq_bootstrap(&c->cosine_lower, &highest, cosine_of, samples, n, 0.95, 1000, 1, err));
    CLQ_TRY(clq_sqnr_lower(&bound, samples, n, 0.95, 1, err));
    if (bound.decidable) c->noise_bound = pow(10, -bound.lower_db / 10);
    return CLQ_OK;
}

clq_status clq_search_compare(struct clq_comparison *out, struct clq_search *s, const struct clq_probe *probe,
                              const struct clq_model *model, const struct clq_program_options *options, struct clq_error *err)
{
    struct clq_comparison c = {0};
    struct clq_runner r;
    struct outputs o;
    size_t n = probe->source.count, rows = 0;
    double energy[4] = {0};
    CLQ_TRY(outputs_start(&o, s, err));
    struct clq_sample_error *samples = calloc(n + 1, sizeof *samples);
    if (!samples) return no_memory(err);
    clq_runner_start(&r, s->ctx, model, options);
    clq_status st = CLQ_OK;
    for (size_t i = 0; i < n && st == CLQ_OK; i++) {
        st = outputs_run(&o, s, probe, &r, i, err);
        if (st != CLQ_OK) break;
        if (o.count != probe->output_count[i] && s->waits) { /* other values have chosen another shape */
            energy[1] = INFINITY;
            continue;
        }
        if (o.count != probe->output_count[i]) {
            st = clq_fail(err, CLQ_ERR_INTERNAL, "the rewritten model has %zu output values, the float model %zu", o.count, probe->output_count[i]);
            break;
        }
        add_sample(&samples[i], energy, probe->outputs[i], o.values, o.count);
        st = compare_classes(&c, probe, &o, probe->outputs[i], rows, err);
        rows += o.classes.rows;
    }
    clq_runner_free(&r);
    free(o.values);
    if (st == CLQ_OK) st = conclude(&c, energy, samples, n, err);
    free(samples);
    if (st == CLQ_OK) *out = c;
    return st;
}

clq_status clq_search_model(struct clq_model *out, struct clq_search *s, const uint8_t *mode, struct clq_error *err)
{
    struct clq_qdq_plan plan = {.units = &s->units, .modes = s->modes, .mode = mode, .groups = s->groups, .matmul_nbits = s->matmul_nbits, .params = s->params, .weights = s->weights, .target = s->target};
    return clq_qdq_rewrite(out, &s->model, &plan, err);
}

bool clq_any_layer(const uint8_t *on, int n)
{
    for (int i = 0; i < n; i++)
        if (on[i]) return true;
    return false;
}

clq_status clq_search_compare_plan(struct clq_comparison *c, struct clq_search *s, const struct clq_probe *probe, const uint8_t *mode, struct clq_error *err)
{
    struct clq_model m;
    CLQ_TRY(clq_search_model(&m, s, mode, err));
    clq_status st = clq_search_compare(c, s, probe, &m, NULL, err);
    clq_model_release(&m);
    return st;
}

/* The integer step that carries a unit's name, or -1. */
static int integer_step(const struct clq_program *p, const char *name)
{
    for (int i = 0; i < p->n_steps; i++) {
        const struct clq_step *st = &p->steps[i];
        if (!st->dead && st->node && st->kind >= CLQ_STEP_QCONV && st->kind <= CLQ_STEP_QMOVE && strcmp(st->node->name, name) == 0) return i;
    }
    return -1;
}

/* Builds the model with every capable unit on codes and drops the units that have no integer step, until all have. */
clq_status clq_search_capable(struct clq_search *s, struct clq_error *err)
{
    int n = s->units.n_units;
    uint8_t *on = clq_arena_array(&s->arena, (size_t)n + 1, sizeof *on);
    clq_tensor *in = clq_arena_array(&s->arena, (size_t)s->model.graph.n_inputs + 1, sizeof *in);
    if (!on || !in) return no_memory(err);
    for (int i = 0; i < n; i++) on[i] = s->records[i].capable;
    CLQ_TRY(s->calibration.get(s->calibration.state, 0, in, err));
    for (int round = 0; round < 8; round++) {
        struct clq_model m;
        struct clq_program *p;
        int lost = 0;
        CLQ_TRY(clq_search_model(&m, s, on, err));
        clq_status st = clq_program_compile(&p, s->ctx, &m, in, &first_stage, err);
        for (int i = 0; st == CLQ_OK && i < n; i++)
            if (on[i] && integer_step(p, s->units.units[i].name) < 0) {
                bool aliased = s->units.units[i].kind == CLQ_UNIT_MOVE; /* a reshape may have become a change of scale */
                on[i] = 0;
                s->records[i].capable = false;
                s->records[i].reason = aliased ? "its layout change has no integer form here" : "no integer kernel takes this form";
                lost++;
            }
        if (st == CLQ_OK) clq_program_free(p);
        clq_model_release(&m);
        CLQ_TRY(st);
        if (lost == 0) break;
    }
    return CLQ_OK;
}

/* The noise of one unit alone in one mode. */
static clq_status error_alone(double *noise, struct clq_search *s, uint8_t *on, int i, int mode, struct clq_error *err)
{
    struct clq_comparison c;
    on[i] = (uint8_t)mode;
    clq_status st = clq_search_compare_plan(&c, s, &s->tuning, on, err);
    on[i] = 0;
    if (st == CLQ_OK) *noise = c.noise;
    return st;
}

static clq_status mode_errors(struct clq_search *s, uint8_t *on, struct clq_error *err)
{
    int n = s->units.n_units;
    for (int m = 2; m < s->n_modes; m++)
        for (int i = 0; i < n; i++) {
            struct clq_mode_record *r = &s->extra[m][i];
            if (!clq_context_progress(s->ctx, "measuring errors", (double)((m - 1) * n + i) / (double)(n * (s->n_modes - 1)))) return canceled(err);
            if (!r->capable) continue;
            CLQ_TRY(error_alone(&r->noise, s, on, i, m, err));
            if (!isfinite(r->noise)) r->capable = false;
        }
    return CLQ_OK;
}

/* Output error of each unit alone on codes, and in each other mode. */
clq_status clq_search_errors(struct clq_search *s, struct clq_error *err)
{
    int n = s->units.n_units;
    uint8_t *on = clq_arena_array(&s->arena, (size_t)n + 1, sizeof *on);
    if (!on) return no_memory(err);
    for (int i = 0; i < n; i++) {
        if (!clq_context_progress(s->ctx, "measuring errors", (double)i / (double)(n * (s->n_modes - 1)))) return canceled(err);
        if (!s->records[i].capable) continue;
        s->records[i].noise = 0; /* moving codes adds nothing */
        if (s->units.units[i].kind == CLQ_UNIT_MOVE) continue;
        CLQ_TRY(error_alone(&s->records[i].noise, s, on, i, 1, err));
        if (isfinite(s->records[i].noise)) continue;
        s->records[i].capable = false;
        s->records[i].noise = -1;
        s->records[i].reason = "in int8 it makes the output infinite or NaN";
    }
    CLQ_TRY(mode_errors(s, on, err));
    clq_context_progress(s->ctx, "measuring errors", 1);
    return CLQ_OK;
}

/* ---- Times ---- */

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

clq_status clq_search_times(struct clq_search *s, struct clq_error *err)
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
