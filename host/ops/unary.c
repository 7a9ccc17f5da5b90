/* SPDX-License-Identifier: Apache-2.0
 * Elementwise functions of one input: activations, rounding, trigonometry, Clip. float32, and integers where the
 * standard has them. */
#include <math.h>

#include "base/parallel.h"
#include "ops/util.h"
#include "ops/vecmath.h"

typedef void loop_fn(float *y, const float *x, size_t n, float a, float b);

struct job {
    loop_fn *loop;
    float *y;
    const float *x;
    float a, b;
    size_t n;
};

enum { CHUNK = 4096 }; /* elements of one unit of work */

static void run_range(void *state, size_t begin, size_t end, int thread)
{
    const struct job *j = state;
    (void)thread;
    size_t from = begin * CHUNK, to = end * CHUNK < j->n ? end * CHUNK : j->n;
    j->loop(j->y + from, j->x + from, to - from, j->a, j->b);
}

static clq_status run(struct clq_op_call *call, loop_fn *loop, float a, float b)
{
    size_t n = (size_t)clq_op_count(&call->in[0]);
    struct job j = {loop, call->out[0].data, call->in[0].data, a, b, n};
    if (n > 0) clq_parallel_for(clq_op_threads(call, n), (n + CHUNK - 1) / CHUNK, run_range, &j);
    return CLQ_OK;
}

clq_op_fn clq_infer_float_same, clq_infer_real_same, clq_infer_number_same;

clq_status clq_infer_float_same(struct clq_op_call *call)
{
    CLQ_TRY(clq_op_need_type(call, 0, CLQ_DTYPE_F32));
    return clq_op_same(call);
}

clq_status clq_infer_real_same(struct clq_op_call *call)
{
    clq_dtype t = call->in[0].dtype;
    return t == CLQ_DTYPE_F32 || t == CLQ_DTYPE_F64 ? clq_op_same(call) : clq_op_bad_type(call, 0);
}

clq_status clq_infer_number_same(struct clq_op_call *call)
{
    clq_dtype t = call->in[0].dtype;
    if (t != CLQ_DTYPE_F32 && t != CLQ_DTYPE_F64 && !clq_op_is_int(t)) return clq_op_bad_type(call, 0);
    return clq_op_same(call);
}

/* Limited to 0..1; NaN stays. */
static inline __attribute__((always_inline)) float unit(float t)
{
    t = t < 0.0f ? 0.0f : t;
    return t > 1.0f ? 1.0f : t;
}

/* A function v -> expr with parameters a and b; CLQ_CLONES compiles it for each instruction set. */
#define LOOP(name, clones, expr) \
    clones static void loop_##name(float *y, const float *x, size_t n, float a, float b) \
    { \
        (void)a; \
        (void)b; \
        CLQ_IVDEP \
        for (size_t i = 0; i < n; i++) { \
            float v = x[i]; \
            y[i] = (expr); \
        } \
    }
#define PLAIN
#define EVAL(name, first, second) \
    clq_op_fn clq_eval_##name; \
    clq_status clq_eval_##name(struct clq_op_call *call) \
    { \
        return run(call, loop_##name, (first), (second)); \
    }
/* Without parameters; the binary64 version is libm's. */
#define FUNCTION(name, clones, expr, wide) \
    LOOP(name, clones, expr) \
    clq_op_fn clq_eval_##name; \
    clq_status clq_eval_##name(struct clq_op_call *call) \
    { \
        return call->in[0].dtype == CLQ_DTYPE_F64 ? run_f64(call, wide) : run(call, loop_##name, 0.0f, 0.0f); \
    }

static clq_status run_f64(struct clq_op_call *call, double (*f)(double))
{
    for (int64_t i = 0, n = clq_op_count(&call->in[0]); i < n; i++)
        ((double *)call->out[0].data)[i] = f(((const double *)call->in[0].data)[i]);
    return CLQ_OK;
}

static double wide_reciprocal(double v)
{
    return 1.0 / v;
}

static double wide_sigmoid(double v)
{
    return 1.0 / (1.0 + exp(-v));
}

static double wide_softsign(double v)
{
    return v / (1.0 + fabs(v));
}

static double wide_softplus(double v)
{
    return v > 0.0 ? v + log1p(exp(-v)) : log1p(exp(v));
}

static double wide_mish(double v)
{
    return v * tanh(wide_softplus(v));
}

static double wide_hard_swish(double v)
{
    return v * fmax(0.0, fmin(1.0, v / 6.0 + 0.5));
}

FUNCTION(sqrt, CLQ_CLONES, sqrtf(v), sqrt)
FUNCTION(reciprocal, CLQ_CLONES, 1.0f / v, wide_reciprocal)
FUNCTION(ceil, CLQ_CLONES, ceilf(v), ceil)
FUNCTION(floor, CLQ_CLONES, floorf(v), floor)
FUNCTION(round, CLQ_CLONES, rintf(v), rint)
FUNCTION(exp, CLQ_CLONES, clq_vec_exp(v), exp)
FUNCTION(erf, CLQ_CLONES, clq_vec_erf(v), erf)
FUNCTION(tanh, CLQ_CLONES, clq_vec_tanh(v), tanh)
FUNCTION(sigmoid, CLQ_CLONES, clq_vec_sigmoid(v), wide_sigmoid)
FUNCTION(softsign, CLQ_CLONES, v / (1.0f + fabsf(v)), wide_softsign)
FUNCTION(log, PLAIN, logf(v), log)
FUNCTION(sin, PLAIN, sinf(v), sin)
FUNCTION(cos, PLAIN, cosf(v), cos)
FUNCTION(tan, PLAIN, tanf(v), tan)
FUNCTION(asin, PLAIN, asinf(v), asin)
FUNCTION(acos, PLAIN, acosf(v), acos)
FUNCTION(atan, PLAIN, atanf(v), atan)
FUNCTION(sinh, PLAIN, sinhf(v), sinh)
FUNCTION(cosh, PLAIN, coshf(v), cosh)
FUNCTION(asinh, PLAIN, asinhf(v), asinh)
FUNCTION(acosh, PLAIN, acoshf(v), acosh)
FUNCTION(atanh, PLAIN, atanhf(v), atanh)
FUNCTION(softplus, PLAIN, v > 0.0f ? v + log1pf(expf(-v)) : log1pf(expf(v)), wide_softplus)
FUNCTION(mish, PLAIN, v *tanhf(v > 0.0f ? v + log1pf(expf(-v)) : log1pf(expf(v))), wide_mish)
FUNCTION(hard_swish, CLQ_CLONES, v *unit(v *(1.0f / 6.0f) + 0.5f), wide_hard_swish)

static float attr(const struct clq_op_call *call, const char *name, float fallback)
{
    return clq_node_float(call->node, name, fallback);
}

LOOP(leaky_relu, CLQ_CLONES, v < 0.0f ? a * v : v)
EVAL(leaky_relu, attr(call, "alpha", 0.01f), 0.0f)
LOOP(elu, CLQ_CLONES, v < 0.0f ? a * (clq_vec_exp(v) - 1.0f) : v)
EVAL(elu, attr(call, "alpha", 1.0f), 0.0f)
LOOP(celu, PLAIN, fmaxf(0.0f, v) + fminf(0.0f, a *expm1f(v / a)))
EVAL(celu, attr(call, "alpha", 1.0f), 0.0f)
LOOP(selu, CLQ_CLONES, b *(v <= 0.0f ? a * (clq_vec_exp(v) - 1.0f) : v))
EVAL(selu, attr(call, "alpha", 1.67326319f), attr(call, "gamma", 1.05070102f))
LOOP(thresholded_relu, CLQ_CLONES, v > a ? v : 0.0f)
EVAL(thresholded_relu, attr(call, "alpha", 1.0f), 0.0f)
LOOP(hard_sigmoid, CLQ_CLONES, unit(a *v + b))
EVAL(hard_sigmoid, attr(call, "alpha", 0.2f), attr(call, "beta", 0.5f))
LOOP(shrink, CLQ_CLONES, v < -a ? v + b : (v > a ? v - b : 0.0f))
EVAL(shrink, attr(call, "lambd", 0.5f), attr(call, "bias", 0.0f))
LOOP(swish, CLQ_CLONES, v *clq_vec_sigmoid(a *v))
EVAL(swish, attr(call, "alpha", 1.0f), 0.0f)

LOOP(gelu, CLQ_CLONES, 0.5f * v * (1.0f + clq_vec_erf(v * 0.70710678f)))
LOOP(gelu_tanh, CLQ_CLONES, 0.5f * v * (1.0f + clq_vec_tanh(0.79788456f * (v + 0.044715f * (v * v * v)))))

clq_op_fn clq_eval_gelu;
clq_status clq_eval_gelu(struct clq_op_call *call)
{
    bool tanh_form = strcmp(clq_node_string(call->node, "approximate", "none"), "tanh") == 0;
    return run(call, tanh_form ? loop_gelu_tanh : loop_gelu, 0.0f, 0.0f);
}

/* The few of them that integers and binary64 have too. These are rare and small, so they go one by one. */
enum simple { SIMPLE_ABS, SIMPLE_NEG, SIMPLE_SIGN, SIMPLE_RELU, SIMPLE_CLIP, SIMPLE_NOT };

static int64_t apply_int(enum simple f, int64_t v, int64_t lo, int64_t hi)
{
    switch (f) {
    case SIMPLE_ABS: return v < 0 ? (int64_t)(0 - (uint64_t)v) : v;
    case SIMPLE_NEG: return (int64_t)(0 - (uint64_t)v);
    case SIMPLE_SIGN: return (v > 0) - (v < 0);
    case SIMPLE_RELU: return v < 0 ? 0 : v;
    case SIMPLE_NOT: return ~v;
    default: v = v < lo ? lo : v; return v > hi ? hi : v;
    }
}

static uint64_t apply_u64(enum simple f, uint64_t v, uint64_t lo, uint64_t hi)
{
    switch (f) {
    case SIMPLE_NEG: return 0 - v;
    case SIMPLE_SIGN: return v > 0;
    case SIMPLE_NOT: return ~v;
    case SIMPLE_CLIP: v = v < lo ? lo : v; return v > hi ? hi : v;
    default: return v;
    }
}

static double apply_f64(enum simple f, double v, double lo, double hi)
{
    switch (f) {
    case SIMPLE_ABS: return fabs(v);
    case SIMPLE_NEG: return -v;
    case SIMPLE_SIGN: return (double)((v > 0) - (v < 0));
    case SIMPLE_RELU: return v < 0 ? 0.0 : v;
    default: v = v < lo ? lo : v; return v > hi ? hi : v;
    }
}

#define SIMPLE_CASE(tag, T, fn, limits) \
    case tag: \
        for (int64_t i = 0; i < n; i++) ((T *)y)[i] = (T)fn(f, ((const T *)x)[i], limits##_lo, limits##_hi); \
        return CLQ_OK;

/* lo and hi are one-element tensors of x's type, or NULL. */
static clq_status simple(struct clq_op_call *call, enum simple f, const clq_tensor *lo, const clq_tensor *hi)
{
    const void *x = call->in[0].data;
    void *y = call->out[0].data;
    int64_t n = clq_op_count(&call->in[0]);
    int64_t int_lo = lo ? clq_op_int_at(lo, 0) : INT64_MIN, int_hi = hi ? clq_op_int_at(hi, 0) : INT64_MAX;
    bool wide = call->in[0].dtype == CLQ_DTYPE_U64, real = call->in[0].dtype == CLQ_DTYPE_F64;
    uint64_t u64_lo = lo && wide ? *(const uint64_t *)lo->data : 0,
             u64_hi = hi && wide ? *(const uint64_t *)hi->data : UINT64_MAX;
    double f64_lo = lo && real ? *(const double *)lo->data : -INFINITY,
           f64_hi = hi && real ? *(const double *)hi->data : INFINITY;
    switch (call->in[0].dtype) {
        SIMPLE_CASE(CLQ_DTYPE_S8, int8_t, apply_int, int)
        SIMPLE_CASE(CLQ_DTYPE_S16, int16_t, apply_int, int)
        SIMPLE_CASE(CLQ_DTYPE_S32, int32_t, apply_int, int)
        SIMPLE_CASE(CLQ_DTYPE_S64, int64_t, apply_int, int)
        SIMPLE_CASE(CLQ_DTYPE_U8, uint8_t, apply_int, int)
        SIMPLE_CASE(CLQ_DTYPE_U16, uint16_t, apply_int, int)
        SIMPLE_CASE(CLQ_DTYPE_U32, uint32_t, apply_int, int)
        SIMPLE_CASE(CLQ_DTYPE_U64, uint64_t, apply_u64, u64)
        SIMPLE_CASE(CLQ_DTYPE_F64, double, apply_f64, f64)
    default: return clq_op_bad_type(call, 0);
    }
}

LOOP(abs, CLQ_CLONES, fabsf(v))
LOOP(neg, CLQ_CLONES, -v)
LOOP(sign, CLQ_CLONES, v > 0.0f ? 1.0f : (v < 0.0f ? -1.0f : v))
LOOP(relu, CLQ_CLONES, v < 0.0f ? 0.0f : v)
LOOP(clip, CLQ_CLONES, (v < a ? a : v) > b ? b : (v < a ? a : v))

#define NUMBER_EVAL(name, kind) \
    clq_op_fn clq_eval_##name; \
    clq_status clq_eval_##name(struct clq_op_call *call) \
    { \
        if (call->in[0].dtype == CLQ_DTYPE_F32) return run(call, loop_##name, 0.0f, 0.0f); \
        return simple(call, kind, NULL, NULL); \
    }
NUMBER_EVAL(abs, SIMPLE_ABS)
NUMBER_EVAL(neg, SIMPLE_NEG)
NUMBER_EVAL(sign, SIMPLE_SIGN)
NUMBER_EVAL(relu, SIMPLE_RELU)

clq_op_fn clq_infer_int_same, clq_eval_bitwise_not;

clq_status clq_infer_int_same(struct clq_op_call *call)
{
    return clq_op_is_int(call->in[0].dtype) ? clq_op_same(call) : clq_op_bad_type(call, 0);
}

clq_status clq_eval_bitwise_not(struct clq_op_call *call)
{
    return simple(call, SIMPLE_NOT, NULL, NULL);
}

clq_op_fn clq_infer_clip, clq_eval_clip_attributes, clq_eval_clip;

clq_status clq_infer_clip(struct clq_op_call *call)
{
    for (int i = 1; i < 3; i++) {
        if (!clq_op_has(call, i)) continue;
        CLQ_TRY(clq_op_need_same_type(call, i));
        if (clq_op_count(&call->in[i]) != 1) return clq_op_fail(call, CLQ_ERR_FORMAT, "limit %d is not a scalar", i);
    }
    return clq_infer_number_same(call);
}

/* Up to opset 10 the limits are attributes. */
clq_status clq_eval_clip_attributes(struct clq_op_call *call)
{
    return run(call, loop_clip, attr(call, "min", -INFINITY), attr(call, "max", INFINITY));
}

clq_status clq_eval_clip(struct clq_op_call *call)
{
    const clq_tensor *lo = clq_op_has(call, 1) ? &call->in[1] : NULL, *hi = clq_op_has(call, 2) ? &call->in[2] : NULL;
    if (call->in[0].dtype != CLQ_DTYPE_F32) return simple(call, SIMPLE_CLIP, lo, hi);
    return run(call, loop_clip, lo ? *(const float *)lo->data : -INFINITY, hi ? *(const float *)hi->data : INFINITY);
}

clq_op_fn clq_infer_test, clq_eval_is_nan, clq_eval_is_inf, clq_eval_not;

clq_status clq_infer_test(struct clq_op_call *call)
{
    clq_dtype t = call->in[0].dtype;
    if (t != CLQ_DTYPE_F32 && t != CLQ_DTYPE_F64) return clq_op_bad_type(call, 0);
    return clq_op_set_out(call, 0, CLQ_DTYPE_BOOL, call->in[0].rank, call->in[0].shape);
}

static double real_at(const clq_tensor *t, int64_t i)
{
    return t->dtype == CLQ_DTYPE_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}

clq_status clq_eval_is_nan(struct clq_op_call *call)
{
    for (int64_t i = 0, n = clq_op_count(&call->in[0]); i < n; i++)
        ((uint8_t *)call->out[0].data)[i] = (uint8_t)isnan(real_at(&call->in[0], i));
    return CLQ_OK;
}

clq_status clq_eval_is_inf(struct clq_op_call *call)
{
    bool positive = clq_node_int(call->node, "detect_positive", 1) != 0;
    bool negative = clq_node_int(call->node, "detect_negative", 1) != 0;
    for (int64_t i = 0, n = clq_op_count(&call->in[0]); i < n; i++) {
        double v = real_at(&call->in[0], i);
        ((uint8_t *)call->out[0].data)[i] = (positive && v == INFINITY) || (negative && v == -INFINITY);
    }
    return CLQ_OK;
}

clq_op_fn clq_infer_bool_same;
clq_status clq_infer_bool_same(struct clq_op_call *call)
{
    CLQ_TRY(clq_op_need_type(call, 0, CLQ_DTYPE_BOOL));
    return clq_op_same(call);
}

clq_status clq_eval_not(struct clq_op_call *call)
{
    for (int64_t i = 0, n = clq_op_count(&call->in[0]); i < n; i++)
        ((uint8_t *)call->out[0].data)[i] = !((const uint8_t *)call->in[0].data)[i];
    return CLQ_OK;
}
