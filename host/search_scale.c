/* SPDX-License-Identifier: Apache-2.0
 * Channels of activations are scaled, exactly, so that quantization loses less (algo/README.md):
 *
 *   awq          s = mean|x|^a, for weights
 *   smoothquant  s = max|x|^a / max|w|^(1 - a), for activations in 8 bits
 *   equalize     s = sqrt(range of what makes the channel / range of the weights that read it): needs no data
 *   auto         whatever has the least error
 *
 * The exponent a is searched per tensor on the first half of the kept rows: each try quantizes them and the readers' weights as
 * the mode does, weights the quick way, and its error at the readers' outputs is measured. The other half, from other samples,
 * judges the best try with the weights that every mode at hand would get: what does not lower the error there scales nothing. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/scaling.h"
#include "ops/util.h"
#include "result.h"
#include "search.h"

enum { AWQ = 1, SMOOTH = 2, EQUALIZE = 4 };

static int methods_of(const char *name)
{
    if (!name || strcmp(name, "none") == 0) return 0;
    if (strcmp(name, "awq") == 0) return AWQ;
    if (strcmp(name, "smoothquant") == 0) return SMOOTH;
    if (strcmp(name, "equalize") == 0) return EQUALIZE;
    return strcmp(name, "auto") == 0 ? AWQ | SMOOTH | EQUALIZE : -1;
}

bool clq_search_scaling_known(const char *name)
{
    return methods_of(name) >= 0;
}

static clq_status no_memory(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

/* What the tries of one tensor share. */
struct trial {
    struct clq_search *s;
    const struct clq_mode *mode;
    const struct clq_moments *moments; /* of x, or NULL */
    bool takes_bias;             /* a bias behind the readers takes back the mean error */
    const float *x;              /* [rows][k] */
    size_t rows, k, n;
    float *weight, *scaled;      /* [n][k]: all readers, one after the other */
    float *bias;                 /* [n]: added to the readers' outputs */
    float *codes;                /* [rows][k]: the activations as the mode sees them */
    float *largest, *mean, *reach; /* [k]: of |x|, of |x|, of |w| */
};

/* x / s in the mode's bits, or as it is. */
static void see(const struct trial *t, const float *scale)
{
    float lo = 0, hi = 0;
    const int kind = t->mode->scheme.act_kind;
    const float steps = t->mode->scheme.act_bits == 16 ? 65535 : 255;
    for (size_t i = 0; i < t->rows * t->k; i++) {
        float v = t->codes[i] = t->x[i] / scale[i % t->k];
        lo = v < lo ? v : lo;
        hi = v > hi ? v : hi;
    }
    if (kind == CLQ_ACT_FLOAT) return;
    for (size_t r = 0; r < t->rows; r++) {
        float *row = t->codes + r * t->k, step = (hi - lo) / steps, most = 0;
        for (size_t c = 0; c < t->k && kind != CLQ_ACT_STATIC; c++) most = fabsf(row[c]) > most ? fabsf(row[c]) : most;
        if (kind != CLQ_ACT_STATIC) step = most / 127;
        for (size_t c = 0; c < t->k && step > FLT_MIN; c++) row[c] = rintf(row[c] / step) * step;
    }
}

/* Second moments of x / s, about the mean where a bias takes that back; NULL when nobody has them. */
static float *scaled_moments(const struct trial *t, const float *scale)
{
    float *second = t->moments ? malloc(t->k * t->k * sizeof *second) : NULL;
    if (!second) return NULL;
    if (t->takes_bias) clq_moments_center(second, t->moments);
    else memcpy(second, t->moments->second, t->k * t->k * sizeof *second);
    for (size_t i = 0; i < t->k; i++)
        for (size_t j = i; j < t->k; j++) second[i * t->k + j] /= scale[i] * scale[j];
    return second;
}

/* Codes of w s in groups, widened again: thorough as the search for weights finds them, otherwise the nearest. */
static clq_status round_groups(const struct trial *t, const float *scale, bool thorough, struct clq_error *err)
{
    struct clq_arena arena = {0};
    struct clq_group_weights g;
    bool plain = !t->moments || strcmp(t->s->algorithm, "minmax") == 0;
    struct clq_group_job job = {.weight = t->scaled, .n = t->n, .k = t->k, .mode = t->mode, .fit = plain ? CLQ_FIT_RANGE : CLQ_FIT_MSE, .rounding = t->s->rounding};
    float *second = thorough ? scaled_moments(t, scale) : NULL;
    double *importance = plain || thorough ? NULL : clq_arena_array(&arena, t->k + 1, sizeof *importance);
    if ((thorough && t->moments && !second) || (!plain && !thorough && !importance)) {
        free(second);
        clq_arena_free(&arena);
        return no_memory(err);
    }
    for (size_t c = 0; importance && c < t->k; c++) importance[c] = (double)t->moments->second[c * t->k + c] / (double)(scale[c] * scale[c]) + 1e-30;
    job.importance = importance;
    clq_status st = clq_groups_start(&g, &arena, t->n, t->k, t->mode, err);
    if (st == CLQ_OK) st = thorough ? clq_search_groups_find(&g, t->s, &job, second, err) : clq_groups_quantize(&g, &job, err);
    for (size_t j = 0; st == CLQ_OK && j < t->n; j++)
        for (size_t c = 0; c < t->k; c++) {
            float *w = &t->scaled[j * t->k + c], v = clq_groups_value(&g, j, c);
            if (second && t->takes_bias) t->bias[j] += (float)((double)(*w - v) * t->moments->sum[c] / (double)t->moments->rows / (double)scale[c]);
            *w = v;
        }
    free(second);
    clq_arena_free(&arena);
    return st;
}

/* w s in the mode's codes, widened again. */
static clq_status round_weights(const struct trial *t, const float *scale, bool thorough, struct clq_error *err)
{
    size_t count = t->n * t->k;
    for (size_t i = 0; i < count; i++) t->scaled[i] = t->weight[i] * scale[i % t->k];
    for (size_t j = 0; j < t->n; j++) t->bias[j] = 0;
    if (t->mode->scheme.weight_bits < 8) return round_groups(t, scale, thorough, err);
    for (size_t r = 0; r < t->n; r++) {
        float *w = t->scaled + r * t->k, most = 0;
        for (size_t c = 0; c < t->k; c++) most = fabsf(w[c]) > most ? fabsf(w[c]) : most;
        for (size_t c = 0; c < t->k && most > 127 * FLT_MIN; c++) w[c] = rintf(w[c] * 127 / most) * most / 127;
    }
    return CLQ_OK;
}

CLQ_CLONES static float dot(const float *restrict a, const float *restrict b, size_t n)
{
    float lane[16] = {0}, sum = 0;
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (size_t l = 0; l < 16; l++) lane[l] += a[i + l] * b[i + l];
    for (; i < n; i++) sum += a[i] * b[i];
    for (size_t l = 0; l < 16; l++) sum += lane[l];
    return sum;
}

struct outputs {
    const struct trial *t;
    double *row; /* [n] */
};

static void add_errors(void *state, size_t begin, size_t end, int thread)
{
    const struct outputs *o = state;
    const struct trial *t = o->t;
    (void)thread;
    for (size_t j = begin; j < end; j++)
        for (size_t r = 0; r < t->rows; r++) {
            double d = (double)dot(t->codes + r * t->k, t->scaled + j * t->k, t->k) - (double)dot(t->x + r * t->k, t->weight + j * t->k, t->k) + (double)t->bias[j];
            o->row[j] += d * d;
        }
}

/* The error at the readers' outputs with this scale. */
static clq_status measure(double *out, const struct trial *t, const float *scale, bool thorough, struct clq_error *err)
{
    struct outputs o = {t, calloc(t->n + 1, sizeof(double))};
    if (!o.row) return no_memory(err);
    see(t, scale);
    clq_status st = round_weights(t, scale, thorough, err);
    if (st == CLQ_OK) clq_pool_for(t->s->ctx->pool, t->s->ctx->threads, t->n, add_errors, &o);
    *out = 0;
    for (size_t j = 0; j < t->n; j++) *out += o.row[j];
    free(o.row);
    return st;
}

enum { WIDEST = 1024 };

static float above_zero(float v)
{
    return v > 1e-20f ? v : 1e-20f;
}

/* Around 1 by their geometric mean, and within a factor of WIDEST; a channel that never fires keeps its size. */
static void center(float *scale, const float *seen, size_t k)
{
    double mean = 0, n = 0;
    for (size_t c = 0; c < k; c++)
        if (seen[c] > 0) mean += log((double)scale[c]), n++;
    for (size_t c = 0; c < k; c++) {
        double v = seen[c] > 0 ? exp(log((double)scale[c]) - mean / n) : 1;
        scale[c] = (float)fmin(fmax(v, 1.0 / WIDEST), WIDEST);
    }
}

/* Tries s = up^a / down^b for exponents; the best goes to best. */
static clq_status search(float *best, double *least, const struct trial *t, const float *up, const float *down, bool opposed, struct clq_error *err)
{
    float *scale = malloc((t->k + 1) * sizeof *scale);
    clq_status st = scale ? CLQ_OK : no_memory(err);
    for (int step = 2; step <= 8 && st == CLQ_OK; step++) {
        float a = 0.1f * (float)step, b = opposed ? 1 - a : 0, e;
        double error;
        for (size_t c = 0; c < t->k; c++) {
            e = powf(above_zero(up[c]), a);
            scale[c] = opposed ? e / powf(above_zero(down[c]), b) : e;
        }
        center(scale, up, t->k);
        st = measure(&error, t, scale, false, err);
        if (st != CLQ_OK || !(error < *least)) continue;
        *least = error;
        memcpy(best, scale, t->k * sizeof *best);
    }
    free(scale);
    return st;
}

/* sqrt(range made / range read) per channel; makers of a normalization have no weights to balance. */
static void equalizing(float *scale, const struct clq_search *s, const struct clq_scalable *q)
{
    const struct clq_graph *g = &s->model.graph;
    int axis = 0;
    for (size_t c = 0; c < q->channels; c++) scale[c] = 0;
    const struct clq_const *w = clq_graph_const(g, g->nodes[q->maker[0].node].inputs[q->maker[0].input]);
    for (int k = 0; k < q->n_makers; k++)
        if (q->maker[k].node == q->product && q->maker[k].input == 1) {
            w = clq_graph_const(g, g->nodes[q->product].inputs[1]);
            axis = q->maker[k].axis;
        }
    for (int pass = 0; pass < 2; pass++) {
        float *range = scale + (size_t)pass * q->channels;
        for (size_t c = 0; c < q->channels; c++) range[c] = 0;
        for (int i = pass ? 0 : -1; i < (pass ? s->units.n_units : 0); i++) {
            if (i >= 0 && !clq_scalable_reader(&axis, &s->model, &s->units.units[i], q->tensor)) continue;
            if (i >= 0) w = clq_graph_const(g, g->nodes[s->units.units[i].node].inputs[1]);
            size_t inner = 1;
            const float *x = w->data;
            for (int d = axis + 1; d < w->rank; d++) inner *= (size_t)w->shape[d];
            for (size_t e = 0; e < w->bytes / sizeof(float); e++) {
                float *r = &range[e / inner % q->channels];
                *r = fabsf(x[e]) > *r ? fabsf(x[e]) : *r;
            }
        }
    }
    float *read = scale + q->channels;
    for (size_t c = 0; c < q->channels; c++) {
        float made = scale[c];
        scale[c] = sqrtf(above_zero(made) / above_zero(read[c]));
        if (!(made > 0)) read[c] = 0;
    }
    center(scale, read, q->channels);
}

/* All readers' weights as [n][k]. */
static clq_status start_trial(struct trial *t, const struct clq_scalable *q, struct clq_error *err)
{
    struct clq_search *s = t->s;
    int axis;
    t->k = q->channels;
    for (int i = 0; i < s->units.n_units; i++)
        if (clq_scalable_reader(&axis, &s->model, &s->units.units[i], q->tensor))
            t->n += clq_graph_const(&s->model.graph, s->model.graph.nodes[s->units.units[i].node].inputs[1])->bytes / sizeof(float) / t->k;
    float *all = calloc(2 * t->n * t->k + t->rows * t->k + 3 * t->k + t->n + 1, sizeof *all);
    if (!all) return no_memory(err);
    t->weight = all;
    t->scaled = all + t->n * t->k;
    t->codes = t->scaled + t->n * t->k;
    t->largest = t->codes + t->rows * t->k;
    t->mean = t->largest + t->k;
    t->reach = t->mean + t->k;
    t->bias = t->reach + t->k;
    size_t row = 0;
    for (int i = 0; i < s->units.n_units; i++) {
        if (!clq_scalable_reader(&axis, &s->model, &s->units.units[i], q->tensor)) continue;
        const struct clq_const *w = clq_graph_const(&s->model.graph, s->model.graph.nodes[s->units.units[i].node].inputs[1]);
        const float *x = w->data;
        size_t n = w->bytes / sizeof(float) / t->k;
        for (size_t r = 0; r < n; r++)
            for (size_t c = 0; c < t->k; c++) t->weight[(row + r) * t->k + c] = axis == 1 ? x[r * t->k + c] : x[c * n + r];
        row += n;
    }
    for (size_t i = 0; i < t->rows * t->k; i++) {
        float v = fabsf(t->x[i]);
        t->mean[i % t->k] += v / (float)t->rows;
        if (v > t->largest[i % t->k]) t->largest[i % t->k] = v;
    }
    for (size_t i = 0; i < t->n * t->k; i++)
        if (fabsf(t->weight[i]) > t->reach[i % t->k]) t->reach[i % t->k] = fabsf(t->weight[i]);
    return CLQ_OK;
}

/* The best scale on the rows of t; *found when one is better than none. scale: [2 channels] of scratch. */
static clq_status propose(float *best, float *scale, bool *found, const struct trial *t, const struct clq_scalable *q, int methods, struct clq_error *err)
{
    double none, least;
    for (size_t c = 0; c < q->channels; c++) best[c] = 1;
    CLQ_TRY(measure(&none, t, best, false, err));
    least = none;
    if (methods & AWQ) CLQ_TRY(search(best, &least, t, t->mean, t->mean, false, err));
    if (methods & SMOOTH) CLQ_TRY(search(best, &least, t, t->largest, t->reach, true, err));
    if ((methods & EQUALIZE) && q->product >= 0) {
        double e;
        equalizing(scale, t->s, q);
        CLQ_TRY(measure(&e, t, scale, false, err));
        if (e < least) {
            least = e;
            memcpy(best, scale, q->channels * sizeof *best);
        }
    }
    *found = least < none;
    return CLQ_OK;
}

/* With ranges from calibration, values between a product and the tensor are on codes too, and no try measures them. */
static bool quantized_between(const struct clq_search *s, const struct clq_scalable *q, const struct clq_mode *mode)
{
    int u = q->product < 0 ? -1 : clq_map_get(&s->units.by_node, s->model.graph.nodes[q->product].name);
    return mode->scheme.act_kind == CLQ_ACT_STATIC && u >= 0 && s->units.units[u].out != q->tensor;
}

/* A few percent at a layer are less than what the network behind it makes of them. */
#define WORTH 0.9

static bool any_reader(const struct clq_search *s, int t, int mode)
{
    int axis;
    for (int i = 0; i < s->units.n_units; i++)
        if (clq_scalable_reader(&axis, &s->model, &s->units.units[i], t) && (mode == 1 ? s->records[i].capable : s->extra[mode][i].capable)) return true;
    return false;
}

/* *kept when no mode that a reader can have loses by the scale, and the one it was found for gains, on the rows of t. */
static clq_status judge(bool *kept, struct trial *t, const struct clq_scalable *q, const float *scale, float *ones, struct clq_error *err)
{
    struct clq_search *s = t->s;
    const struct clq_mode *found_for = t->mode;
    *kept = true;
    for (size_t c = 0; c < t->k; c++) ones[c] = 1;
    for (int m = 1; m < s->n_modes && *kept; m++) {
        double with, without;
        t->mode = &s->modes[m];
        if (t->mode != found_for && !any_reader(s, q->tensor, m)) continue;
        if (quantized_between(s, q, t->mode)) {
            *kept = false;
            break;
        }
        CLQ_TRY(measure(&without, t, ones, true, err));
        CLQ_TRY(measure(&with, t, scale, true, err));
        *kept = with <= without * (t->mode == found_for ? WORTH : 1);
    }
    return CLQ_OK;
}

/* Scales are searched for the first mode that the caller names beside int8, or for int8. */
static const struct clq_mode *tried_mode(const struct clq_search *s)
{
    return &s->modes[s->n_modes > 2 ? 2 : 1];
}

/* best [2 channels] */
static clq_status choose(float *best, bool *found, struct clq_search *s, const struct clq_scalable *q, int reader, int methods, struct clq_error *err)
{
    const struct clq_tensor_record *rec = &s->tensors[q->tensor];
    const struct clq_moments *moments = &rec->moments;
    struct trial t = {.s = s, .mode = tried_mode(s), .x = rec->kept, .rows = (rec->kept_rows + 1) / 2};
    t.moments = moments->k == q->channels && moments->rows > 0 ? moments : NULL;
    t.takes_bias = t.moments && clq_search_takes_bias(s, &s->units.units[reader]);
    *found = false;
    if (t.rows == 0) { /* a convolution's rows are not kept: nothing measures it, so it is done where it is asked for by name */
        *found = methods == EQUALIZE && q->product >= 0;
        if (*found) equalizing(best, s, q);
        return CLQ_OK;
    }
    float *scale = malloc((2 * q->channels + 1) * sizeof *scale);
    clq_status st = scale ? start_trial(&t, q, err) : no_memory(err);
    if (st == CLQ_OK) st = propose(best, scale, found, &t, q, methods, err);
    if (rec->kept_rows > 1) {
        t.x += t.rows * t.k;
        t.rows = rec->kept_rows - t.rows;
    }
    if (st == CLQ_OK && *found) st = judge(found, &t, q, best, scale, err);
    free(t.weight);
    free(scale);
    return st;
}

/* The compiled float program holds the old constants. */
static void restart(struct clq_search *s)
{
    const struct clq_program_options tapped = {.observable = true};
    clq_runner_free(&s->reference);
    clq_runner_start(&s->reference, s->ctx, &s->model, &tapped);
}

static int first_reader(const struct clq_search *s, int t)
{
    int axis;
    for (int i = 0; i < s->units.n_units; i++)
        if (clq_scalable_reader(&axis, &s->model, &s->units.units[i], t)) return i;
    return -1;
}

static clq_status start(struct clq_search *s, struct clq_error *err)
{
    if (!s->scale) s->scale = clq_arena_array(&s->arena, (size_t)s->units.n_units + 1, sizeof *s->scale);
    return s->scale ? CLQ_OK : no_memory(err);
}

clq_status clq_search_scale(struct clq_search *s, bool *changed, struct clq_error *err)
{
    const int methods = methods_of(s->scaling), n = s->units.n_tensors;
    const double stop = (clq_now() + s->algorithm_deadline) / 2; /* the other half is for weights */
    int done = 0;
    *changed = false;
    CLQ_TRY(start(s, err));
    for (int t = 0; t < n && methods > 0; t++) {
        struct clq_scalable q;
        bool found;
        if (!clq_context_progress(s->ctx, "scaling", (double)t / (double)n)) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
        if (clq_now() > stop) {
            clq_context_log(s->ctx, "the time for scaling is over: %d of %d tensors were looked at", t, n);
            break;
        }
        if (!clq_scalable_find(&q, &s->model, &s->units, t) || quantized_between(s, &q, tried_mode(s))) continue;
        float *best = clq_arena_array(&s->arena, 2 * q.channels + 1, sizeof *best);
        if (!best) return no_memory(err);
        CLQ_TRY(choose(best, &found, s, &q, first_reader(s, t), methods, err));
        if (!found) continue;
        CLQ_TRY(clq_scalable_apply(&s->model, &s->units, &q, best, err));
        s->scale[first_reader(s, t)] = (struct clq_input_scale){best, q.channels};
        done++;
    }
    if (done > 0) clq_context_log(s->ctx, "scaling %s: the inputs of %d product%s were scaled", s->scaling, done, done == 1 ? "" : "s");
    *changed = done > 0;
    if (*changed) restart(s);
    return CLQ_OK;
}

static clq_status apply_given(struct clq_search *s, int t, int i, const struct clq_plan_layer *l, const struct clq_plan_array *a, struct clq_error *err)
{
    struct clq_scalable q;
    if (!clq_scalable_find(&q, &s->model, &s->units, t) || q.channels != a->n)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "layer '%s': input_scale of %zu values: its input cannot be scaled by them", l->name, a->n);
    float *copy = clq_arena_array(&s->arena, a->n + 1, sizeof *copy);
    if (!copy) return no_memory(err);
    for (size_t c = 0; c < a->n; c++) {
        if (!(a->values[c] >= 1e-4f && a->values[c] <= 1e4f))
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "layer '%s': input_scale[%zu] is %g, expected 1e-4 to 1e4", l->name, c, (double)a->values[c]);
        copy[c] = a->values[c];
    }
    CLQ_TRY(clq_scalable_apply(&s->model, &s->units, &q, copy, err));
    s->scale[i] = (struct clq_input_scale){copy, a->n};
    return CLQ_OK;
}

/* In the order of the tensors, as they were found: a weight may be divided by one and multiplied by another. */
clq_status clq_search_scale_replay(struct clq_search *s, const struct clq_plan_data *plan, struct clq_error *err)
{
    struct clq_map names;
    bool any = false;
    CLQ_TRY(start(s, err));
    clq_map_start(&names, &s->arena);
    for (size_t l = 0; l < plan->n_layers; l++)
        if (!clq_map_set(&names, plan->layers[l].name, (int)l)) return no_memory(err);
    for (int t = 0; t < s->units.n_tensors; t++) {
        int i = first_reader(s, t);
        const char *name = i >= 0 ? clq_plan_name(&s->arena, s->units.units[i].name) : NULL;
        int l = name ? clq_map_get(&names, name) : -1;
        const struct clq_plan_array *a = l >= 0 ? clq_plan_array_find(&plan->layers[l], "input_scale") : NULL;
        if (!a) continue;
        CLQ_TRY(apply_given(s, t, i, &plan->layers[l], a, err));
        any = true;
    }
    if (any) restart(s);
    return CLQ_OK;
}
