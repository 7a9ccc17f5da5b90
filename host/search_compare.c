/* SPDX-License-Identifier: Apache-2.0
 * Compares: the float reference on samples, and how the outputs of rewritten models differ from it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "classes.h"
#include "placement.h"
#include "scheduler/error.h"
#include "search_journal.h"

static clq_status no_memory(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

static clq_status canceled(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
}

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

static clq_status compare(struct clq_comparison *out, struct clq_search *s, const struct clq_probe *probe, const struct clq_model *model, struct clq_error *err)
{
    struct clq_comparison c = {0};
    struct clq_runner r;
    struct outputs o;
    size_t n = probe->source.count, rows = 0;
    double energy[4] = {0};
    CLQ_TRY(outputs_start(&o, s, err));
    struct clq_sample_error *samples = calloc(n + 1, sizeof *samples);
    if (!samples) return no_memory(err);
    clq_runner_start(&r, s->ctx, model, NULL);
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

clq_status clq_search_compare(struct clq_comparison *out, struct clq_search *s, const struct clq_probe *probe, const struct clq_model *model, const uint8_t *mode,
                              struct clq_error *err)
{
    if (!mode || !s->journal) return compare(out, s, probe, model, err);
    const struct clq_journal_key key = clq_journal_key_compare(s, probe, mode);
    if (clq_journal_find_comparison(s->journal, key, out)) return CLQ_OK;
    CLQ_TRY(compare(out, s, probe, model, err));
    return clq_journal_keep_comparison(s->journal, key, out, err);
}

clq_status clq_search_model(struct clq_model *out, struct clq_search *s, const uint8_t *mode, struct clq_error *err)
{
    struct clq_qdq_plan plan = {.units = &s->units, .modes = s->modes, .mode = mode, .groups = s->groups, .matmul_nbits = s->matmul_nbits, .params = s->params, .weights = s->weights, .target = s->target};
    return clq_qdq_rewrite(out, &s->model, &plan, err);
}

clq_status clq_search_placed(struct clq_model *out, struct clq_search *s, const uint8_t *mode, const bool *on_device, struct clq_error *err)
{
    bool timed = false;
    for (int i = 0; i < s->units.n_units; i++) timed = timed || s->records[i].device_us >= 0;
    CLQ_TRY(clq_search_model(out, s, mode, err));
    clq_status st = timed && on_device ? clq_placement_write(out, &s->units, on_device, err) : CLQ_OK;
    if (st != CLQ_OK) clq_model_release(out);
    return st;
}

bool clq_any_layer(const uint8_t *on, int n)
{
    for (int i = 0; i < n; i++)
        if (on[i]) return true;
    return false;
}

bool clq_search_all_int8(uint8_t *on, const struct clq_search *s)
{
    for (int i = 0; i < s->units.n_units; i++) on[i] = s->records[i].capable;
    return clq_any_layer(on, s->units.n_units);
}

clq_status clq_search_compare_plan(struct clq_comparison *c, struct clq_search *s, const struct clq_probe *probe, const uint8_t *mode, struct clq_error *err)
{
    struct clq_model m;
    struct clq_journal_key key = {0};
    if (s->journal) {
        key = clq_journal_key_compare(s, probe, mode);
        if (clq_journal_find_comparison(s->journal, key, c)) return CLQ_OK;
    }
    CLQ_TRY(clq_search_model(&m, s, mode, err));
    clq_status st = compare(c, s, probe, &m, err);
    clq_model_release(&m);
    return st == CLQ_OK && s->journal ? clq_journal_keep_comparison(s->journal, key, c, err) : st;
}
