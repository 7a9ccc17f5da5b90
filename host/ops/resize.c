/* SPDX-License-Identifier: Apache-2.0
 * Resize (opset 10 and later) and Upsample over any axes. Nearest goes through offset tables; linear and cubic are
 * separable and run axis by axis with a list of taps per output position. */
#include <math.h>
#include <stdlib.h>

#include "base/parallel.h"
#include "ops/util.h"

enum mode { MODE_NEAREST, MODE_LINEAR, MODE_CUBIC };
enum coordinates {
    HALF_PIXEL,
    HALF_PIXEL_SYMMETRIC,
    PYTORCH_HALF_PIXEL,
    ALIGN_CORNERS,
    ASYMMETRIC,
    TF_HALF_PIXEL,
    TF_CROP
};
enum rounding { PREFER_FLOOR, PREFER_CEIL, DOWN, UP };

struct resize {
    enum mode mode;
    enum coordinates coordinates;
    enum rounding rounding;
    bool antialias, exclude_outside;
    float a, extrapolation;
    int rank;
    int64_t in[CLQ_MAX_RANK], out[CLQ_MAX_RANK];
    double scale[CLQ_MAX_RANK], roi_start[CLQ_MAX_RANK], roi_end[CLQ_MAX_RANK];
};

static clq_status choose(struct clq_op_call *call, const char *attr, const char *fallback, const char *const *names,
                         int n, int *out)
{
    const char *text = clq_node_string(call->node, attr, fallback);
    *out = 0;
    for (int i = 0; i < n; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = i;
            return CLQ_OK;
        }
    return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "%s '%s'", attr, text);
}

static clq_status read_modes(struct clq_op_call *call, struct resize *r)
{
    static const char *const modes[] = {"nearest", "linear", "cubic", "bilinear"};
    static const char *const coordinates[] = {"half_pixel",        "half_pixel_symmetric", "pytorch_half_pixel",
                                              "align_corners",     "asymmetric",           "tf_half_pixel_for_nn",
                                              "tf_crop_and_resize"};
    static const char *const roundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};
    int mode, coordinate = ASYMMETRIC, rounding = DOWN;
    bool old = call->opset < 11 || strcmp(call->node->op_type, "Upsample") == 0;
    CLQ_TRY(choose(call, "mode", "nearest", modes, 4, &mode));
    if (!old) {
        CLQ_TRY(choose(call, "coordinate_transformation_mode", "half_pixel", coordinates, 7, &coordinate));
        CLQ_TRY(choose(call, "nearest_mode", "round_prefer_floor", roundings, 4, &rounding));
    }
    r->mode = mode == 3 ? MODE_LINEAR : (enum mode)mode;
    r->coordinates = (enum coordinates)coordinate;
    r->rounding = (enum rounding)rounding;
    r->antialias = call->opset >= 18 && clq_node_int(call->node, "antialias", 0) != 0;
    r->exclude_outside = clq_node_int(call->node, "exclude_outside", 0) != 0;
    r->a = clq_node_float(call->node, "cubic_coeff_a", -0.75f);
    r->extrapolation = clq_node_float(call->node, "extrapolation_value", 0.0f);
    return CLQ_OK;
}

static double float_at(const clq_tensor *t, int64_t i)
{
    return t->dtype == CLQ_DTYPE_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}

/* The scales of n axes from an input, or from the attribute of Upsample-7. */
static clq_status apply_scales(struct clq_op_call *call, struct resize *r, int input, const int64_t *axes, int n)
{
    const struct clq_attr *a = input < 0 ? clq_node_attr(call->node, "scales") : NULL;
    if (input >= 0) {
        CLQ_TRY(clq_op_need_value(call, input));
        if (call->in[input].dtype != CLQ_DTYPE_F32 && call->in[input].dtype != CLQ_DTYPE_F64)
            return clq_op_bad_type(call, input);
        if (clq_op_count(&call->in[input]) != n)
            return clq_op_fail(call, CLQ_ERR_FORMAT, "%lld scales for %d axes",
                               (long long)clq_op_count(&call->in[input]), n);
    } else if (!a || a->type != CLQ_ATTR_FLOATS || a->n != (size_t)n) {
        return clq_op_fail(call, CLQ_ERR_FORMAT, "the attribute 'scales' does not hold %d floats", n);
    }
    for (int i = 0; i < n; i++) {
        double s = a ? (double)a->floats[i] : float_at(&call->in[input], i);
        int k = (int)axes[i];
        double size = floor((double)r->in[k] * s);
        if (!(s > 0.0) || !(size <= (double)CLQ_OP_MAX_ELEMENTS))
            return clq_op_fail(call, CLQ_ERR_FORMAT, "scale %g on axis %d", s, k);
        r->scale[k] = s;
        r->out[k] = (int64_t)size;
    }
    return CLQ_OK;
}

static clq_status apply_sizes(struct clq_op_call *call, struct resize *r, const int64_t *axes, int n)
{
    struct clq_op_ints sizes;
    const char *policy = clq_node_string(call->node, "keep_aspect_ratio_policy", "stretch");
    CLQ_TRY(clq_op_read_ints(call, &sizes, 3, NULL));
    if (sizes.n != n) return clq_op_fail(call, CLQ_ERR_FORMAT, "%d sizes for %d axes", sizes.n, n);
    double common = 0.0;
    for (int i = 0; i < n; i++) {
        int k = (int)axes[i];
        if (sizes.v[i] < 0 || sizes.v[i] > CLQ_OP_MAX_ELEMENTS || (sizes.v[i] > 0 && r->in[k] == 0))
            return clq_op_fail(call, CLQ_ERR_FORMAT, "size %lld on axis %d of %lld", (long long)sizes.v[i], k,
                               (long long)r->in[k]);
        r->out[k] = sizes.v[i];
        r->scale[k] = r->in[k] ? (double)sizes.v[i] / (double)r->in[k] : 1.0;
        bool better = strcmp(policy, "not_smaller") == 0 ? r->scale[k] > common : r->scale[k] < common;
        if (i == 0 || better) common = r->scale[k];
    }
    if (strcmp(policy, "stretch") == 0) return CLQ_OK;
    for (int i = 0; i < n; i++) {
        int k = (int)axes[i];
        double size = floor(common * (double)r->in[k] + 0.5);
        if (size > (double)CLQ_OP_MAX_ELEMENTS)
            return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "axis %d grows beyond 2^31", k);
        r->scale[k] = common;
        r->out[k] = (int64_t)size;
    }
    return CLQ_OK;
}

static clq_status read_resize(struct clq_op_call *call, struct resize *r)
{
    const clq_tensor *x = &call->in[0];
    struct clq_op_ints axes;
    unsigned mask;
    bool upsample = strcmp(call->node->op_type, "Upsample") == 0;
    memset(r, 0, sizeof *r);
    if (clq_op_size(x->dtype) == 0) return clq_op_bad_type(call, 0);
    CLQ_TRY(read_modes(call, r));
    if (r->mode != MODE_NEAREST && x->dtype != CLQ_DTYPE_F32) return clq_op_bad_type(call, 0);
    r->rank = x->rank;
    for (int k = 0; k < x->rank; k++) {
        r->in[k] = r->out[k] = x->shape[k];
        r->scale[k] = r->roi_end[k] = 1.0;
    }
    CLQ_TRY(clq_op_read_axes(call, &axes, &mask, -1, call->opset >= 18 ? "axes" : NULL, x->rank));
    if (axes.n < 0)
        for (axes.n = 0; axes.n < x->rank; axes.n++) axes.v[axes.n] = axes.n;
    if (upsample || call->opset < 11)
        return apply_scales(call, r, upsample && call->opset < 9 ? -1 : 1, axes.v, axes.n);
    if (r->coordinates == TF_CROP) {
        CLQ_TRY(clq_op_need_value(call, 1));
        if ((call->in[1].dtype != CLQ_DTYPE_F32 && call->in[1].dtype != CLQ_DTYPE_F64) ||
            clq_op_count(&call->in[1]) != 2 * axes.n)
            return clq_op_fail(call, CLQ_ERR_FORMAT, "the region does not hold %d floats", 2 * axes.n);
        for (int i = 0; i < axes.n; i++) {
            r->roi_start[axes.v[i]] = float_at(&call->in[1], i);
            r->roi_end[axes.v[i]] = float_at(&call->in[1], axes.n + i);
        }
    }
    bool scales = clq_op_has(call, 2) && clq_op_count(&call->in[2]) > 0;
    if (!scales && !clq_op_has(call, 3)) return clq_op_fail(call, CLQ_ERR_FORMAT, "neither scales nor sizes");
    return scales ? apply_scales(call, r, 2, axes.v, axes.n) : apply_sizes(call, r, axes.v, axes.n);
}

/* Where output position i of axis k lies in the input. */
static double source_of(const struct resize *r, int k, int64_t i)
{
    double x = (double)i, in = (double)r->in[k], out = (double)r->out[k], s = r->scale[k];
    double length = s * in; /* not rounded, as in the standard's reference */
    switch (r->coordinates) {
    case HALF_PIXEL: return (x + 0.5) / s - 0.5;
    case HALF_PIXEL_SYMMETRIC: return in / 2.0 * (1.0 - out / length) + (x + 0.5) / s - 0.5;
    case PYTORCH_HALF_PIXEL: return out > 1.0 ? (x + 0.5) / s - 0.5 : 0.0;
    case ALIGN_CORNERS: return length != 1.0 ? x * (in - 1.0) / (length - 1.0) : 0.0;
    case ASYMMETRIC: return x / s;
    case TF_HALF_PIXEL: return (x + 0.5) / s;
    default:
        if (out > 1.0)
            return r->roi_start[k] * (in - 1.0) + x * (r->roi_end[k] - r->roi_start[k]) * (in - 1.0) / (out - 1.0);
        return 0.5 * (r->roi_start[k] + r->roi_end[k]) * (in - 1.0);
    }
}

static bool outside(const struct resize *r, int k, double x)
{
    return r->coordinates == TF_CROP && !(x >= 0.0 && x <= (double)(r->in[k] - 1));
}

/* A position limited to the axis before it becomes an integer. */
static int64_t limited(double x, int64_t n)
{
    return !(x > 0.0) ? 0 : (x >= (double)(n - 1) ? n - 1 : (int64_t)x);
}

static int64_t nearest(const struct resize *r, int k, double x)
{
    double v = r->rounding == DOWN           ? floor(x)
               : r->rounding == UP           ? ceil(x)
               : r->rounding == PREFER_FLOOR ? ceil(x - 0.5)
                                             : floor(x + 0.5);
    return limited(v, r->in[k]);
}

static clq_status eval_nearest(struct clq_op_call *call, const struct resize *r)
{
    struct clq_tables t;
    int64_t stride[CLQ_MAX_RANK];
    const clq_tensor *x = &call->in[0];
    clq_op_strides(stride, x);
    if (!clq_tables_alloc(&t, r->rank, r->out)) return clq_op_no_memory(call);
    for (int k = 0; k < r->rank; k++)
        for (int64_t i = 0; i < r->out[k]; i++) {
            double at = source_of(r, k, i);
            t.table[k][i] = outside(r, k, at) ? -1 : nearest(r, k, at) * stride[k];
        }
    clq_status st = clq_tables_run(call, &t, call->out[0].data, x->data, clq_op_size(x->dtype),
                                   x->dtype == CLQ_DTYPE_F32 ? (const void *)&r->extrapolation : NULL);
    free(t.memory);
    return st;
}

/* ---- linear and cubic ---- */

struct taps {
    int n;         /* of one output position */
    int64_t *at;   /* [out][n] input positions, inside the axis */
    float *weight; /* [out][n]; the first is NAN when the position is outside of the region */
};

static double kernel(const struct resize *r, double d)
{
    double a = (double)r->a;
    d = fabs(d);
    if (r->mode == MODE_LINEAR) return d < 1.0 ? 1.0 - d : 0.0;
    if (d <= 1.0) return ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0;
    return d < 2.0 ? ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a : 0.0;
}

static void make_position(const struct resize *r, int k, struct taps *t, int64_t i, int64_t start, double shrink)
{
    double x = source_of(r, k, i), base = floor(x), sum = 0.0, ratio = x - base;
    for (int p = 0; p < t->n; p++) {
        double at = base + (double)(start + p), w = kernel(r, ((double)(start + p) - ratio) * shrink);
        if (r->exclude_outside && (at < 0.0 || at > (double)(r->in[k] - 1))) w = 0.0;
        t->at[i * t->n + p] = limited(at, r->in[k]);
        t->weight[i * t->n + p] = (float)w;
        sum += w;
    }
    if (shrink < 1.0 || r->exclude_outside)
        for (int p = 0; p < t->n && sum != 0.0; p++)
            t->weight[i * t->n + p] = (float)((double)t->weight[i * t->n + p] / sum);
    if (outside(r, k, x)) t->weight[i * t->n] = NAN;
}

static clq_status make_taps(struct clq_op_call *call, const struct resize *r, int k, struct taps *t)
{
    double shrink = r->antialias && r->scale[k] < 1.0 ? r->scale[k] : 1.0, reach = r->mode == MODE_LINEAR ? 1.0 : 2.0;
    double first = floor(-reach / shrink) + 1.0;
    *t = (struct taps){0};
    if (!(first > -1e8) || (2.0 - 2.0 * first) * (double)r->out[k] > 268435456.0)
        return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "axis %d needs too many taps", k);
    t->n = (int)(2.0 - 2.0 * first);
    t->at = malloc((size_t)r->out[k] * (size_t)t->n * sizeof *t->at);
    t->weight = malloc((size_t)r->out[k] * (size_t)t->n * sizeof *t->weight);
    if (!t->at || !t->weight) {
        free(t->at);
        free(t->weight);
        return clq_op_no_memory(call);
    }
    for (int64_t i = 0; i < r->out[k]; i++) make_position(r, k, t, i, (int64_t)first, shrink);
    return CLQ_OK;
}

struct pass {
    const struct taps *t;
    const float *x;
    float *y;
    int64_t in, out, inner;
    float extrapolation;
};

CLQ_CLONES static void blend(float *y, const float *a, const float *b, int64_t n, float u, float v)
{
    CLQ_IVDEP
    for (int64_t i = 0; i < n; i++) y[i] = u * a[i] + v * b[i];
}

CLQ_CLONES static void add_scaled(float *y, const float *a, int64_t n, float u)
{
    CLQ_IVDEP
    for (int64_t i = 0; i < n; i++) y[i] = y[i] + u * a[i];
}

static void run_rows(void *state, size_t begin, size_t end, int thread)
{
    const struct pass *p = state;
    const struct taps *t = p->t;
    (void)thread;
    for (size_t u = begin; u < end; u++) {
        int64_t o = (int64_t)u / p->out, i = (int64_t)u % p->out;
        const int64_t *at = t->at + i * t->n;
        const float *w = t->weight + i * t->n, *x = p->x + o * p->in * p->inner;
        float *y = p->y + (int64_t)u * p->inner;
        if (w[0] != w[0]) {
            for (int64_t k = 0; k < p->inner; k++) y[k] = p->extrapolation;
            continue;
        }
        blend(y, x + at[0] * p->inner, x + at[1] * p->inner, p->inner, w[0], w[1]);
        for (int k = 2; k < t->n; k++) add_scaled(y, x + at[k] * p->inner, p->inner, w[k]);
    }
}

/* The last axis: single elements. */
static void run_elements(void *state, size_t begin, size_t end, int thread)
{
    const struct pass *p = state;
    const struct taps *t = p->t;
    (void)thread;
    for (size_t o = begin; o < end; o++) {
        const float *x = p->x + (int64_t)o * p->in;
        float *y = p->y + (int64_t)o * p->out;
        for (int64_t i = 0; i < p->out; i++) {
            const int64_t *at = t->at + i * t->n;
            const float *w = t->weight + i * t->n;
            float sum = w[0] * x[at[0]] + w[1] * x[at[1]];
            for (int k = 2; k < t->n; k++) sum = sum + w[k] * x[at[k]];
            y[i] = w[0] != w[0] ? p->extrapolation : sum;
        }
    }
}

static bool changes(const struct resize *r, int k)
{
    return r->in[k] != r->out[k] || r->scale[k] != 1.0 ||
           (r->coordinates == TF_CROP && (r->roi_start[k] != 0.0 || r->roi_end[k] != 1.0));
}

/* One axis of cur (shape s) into a fresh array, or into the result when it is the last one that changes. */
static clq_status resize_axis(struct clq_op_call *call, const struct resize *r, int k, int64_t *s, const float *cur,
                              float **out, bool last)
{
    struct taps t;
    int64_t outer = 1, inner = 1;
    for (int i = 0; i < k; i++) outer *= s[i];
    for (int i = k + 1; i < r->rank; i++) inner *= s[i];
    if (outer * inner > CLQ_OP_MAX_ELEMENTS / r->out[k])
        return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "an intermediate array of more than 2^31 elements");
    size_t n = (size_t)(outer * inner * r->out[k]);
    *out = last ? call->out[0].data : malloc(n * sizeof **out);
    if (!*out) return clq_op_no_memory(call);
    clq_status st = make_taps(call, r, k, &t);
    if (st == CLQ_OK) {
        struct pass p = {&t, cur, *out, r->in[k], r->out[k], inner, r->extrapolation};
        if (inner == 1)
            clq_parallel_for(clq_op_threads(call, n * 2), (size_t)outer, run_elements, &p);
        else
            clq_parallel_for(clq_op_threads(call, n * 2), (size_t)(outer * r->out[k]), run_rows, &p);
        free(t.at);
        free(t.weight);
        s[k] = r->out[k];
    } else if (!last) {
        free(*out);
        *out = NULL;
    }
    return st;
}

static clq_status eval_separable(struct clq_op_call *call, const struct resize *r)
{
    const float *cur = call->in[0].data;
    float *owned = NULL;
    int left = 0;
    int64_t s[CLQ_MAX_RANK];
    memcpy(s, r->in, sizeof s);
    for (int k = 0; k < r->rank; k++) left += changes(r, k);
    if (left == 0) {
        memcpy(call->out[0].data, cur, (size_t)clq_op_count(&call->in[0]) * sizeof *cur);
        return CLQ_OK;
    }
    for (int k = 0; k < r->rank; k++) {
        float *next = NULL;
        if (!changes(r, k)) continue;
        clq_status st = resize_axis(call, r, k, s, cur, &next, --left == 0);
        free(owned);
        if (st != CLQ_OK) return st;
        cur = next;
        owned = left > 0 ? next : NULL;
    }
    return CLQ_OK;
}

clq_op_fn clq_infer_resize, clq_eval_resize;

clq_status clq_infer_resize(struct clq_op_call *call)
{
    struct resize r;
    CLQ_TRY(read_resize(call, &r));
    for (int k = 0; k < r.rank; k++)
        if (r.in[k] == 0 && r.out[k] > 0) return clq_op_fail(call, CLQ_ERR_FORMAT, "axis %d is empty", k);
    return clq_op_set_out(call, 0, call->in[0].dtype, r.rank, r.out);
}

clq_status clq_eval_resize(struct clq_op_call *call)
{
    struct resize r;
    CLQ_TRY(read_resize(call, &r));
    return r.mode == MODE_NEAREST ? eval_nearest(call, &r) : eval_separable(call, &r);
}
