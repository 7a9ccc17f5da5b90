/* SPDX-License-Identifier: Apache-2.0
 * Arithmetic on two or more operands with broadcasting. Integers wrap; a division by zero gives 0. */
#include <math.h>
#include <stdlib.h>

#include "ops/pairs.h"

/* Wrapping arithmetic happens in uint64_t and is cut to the type. */
#define WRAP(op) ((uint64_t)u op(uint64_t) v)

#define ARITHMETIC(name, int_expr, real_expr) \
    CLQ_PAIR_INTS(name, int_expr) \
    CLQ_PAIR(name##_f64, , double, double, real_expr) \
    CLQ_PAIR(name##_f32, CLQ_CLONES, float, float, real_expr) \
    static clq_pair_fn *const name##_table[CLQ_PAIR_TYPES] = { \
        CLQ_PAIR_TABLE_INTS(name), [CLQ_DTYPE_F32] = pair_##name##_f32, [CLQ_DTYPE_F64] = pair_##name##_f64};
#define EVAL(name) \
    clq_op_fn clq_eval_##name; \
    clq_status clq_eval_##name(struct clq_op_call *call) \
    { \
        return clq_pairs_eval(call, name##_table); \
    }

ARITHMETIC(add, WRAP(+), u + v)
ARITHMETIC(sub, WRAP(-), u - v)
ARITHMETIC(mul, WRAP(*), u *v)
ARITHMETIC(max, u > v ? u : v, u > v || u != u ? u : v)
ARITHMETIC(min, u < v ? u : v, u < v || u != u ? u : v)
EVAL(add)
EVAL(sub)
EVAL(mul)

CLQ_PAIR(div_s8, , int8_t, int8_t, v == 0 ? 0 : (int)u / (int)v)
CLQ_PAIR(div_u8, , uint8_t, uint8_t, v == 0 ? 0 : u / v)
CLQ_PAIR(div_s16, , int16_t, int16_t, v == 0 ? 0 : (int)u / (int)v)
CLQ_PAIR(div_u16, , uint16_t, uint16_t, v == 0 ? 0 : u / v)
CLQ_PAIR(div_s32, , int32_t, int32_t, v == 0 ? 0 : (int64_t)u / (int64_t)v)
CLQ_PAIR(div_u32, , uint32_t, uint32_t, v == 0 ? 0 : u / v)
CLQ_PAIR(div_s64, , int64_t, int64_t, v == 0 ? 0 : (v == -1 ? (int64_t)(0 - (uint64_t)u) : u / v))
CLQ_PAIR(div_u64, , uint64_t, uint64_t, v == 0 ? 0 : u / v)
CLQ_PAIR(div_f64, , double, double, u / v)
CLQ_PAIR(div_f32, CLQ_CLONES, float, float, u / v)
static clq_pair_fn *const div_table[CLQ_PAIR_TYPES] = {
    CLQ_PAIR_TABLE_INTS(div), [CLQ_DTYPE_F32] = pair_div_f32, [CLQ_DTYPE_F64] = pair_div_f64};
EVAL(div)

clq_op_fn clq_infer_binary, clq_infer_variadic;

clq_status clq_infer_variadic(struct clq_op_call *call)
{
    int rank;
    int64_t shape[CLQ_MAX_RANK];
    clq_dtype t = call->in[0].dtype;
    if (t != CLQ_DTYPE_F32 && t != CLQ_DTYPE_F64 && !clq_op_is_int(t)) return clq_op_bad_type(call, 0);
    for (int i = 1; i < call->n_in; i++) CLQ_TRY(clq_op_need_same_type(call, i));
    CLQ_TRY(clq_op_bcast_shape(call, call->n_in, &rank, shape));
    return clq_op_set_out(call, 0, call->in[0].dtype, rank, shape);
}

clq_status clq_infer_binary(struct clq_op_call *call)
{
    return clq_infer_variadic(call);
}

/* Folds all inputs into the output, which is also the left operand from the second step on. */
static clq_status fold(struct clq_op_call *call, clq_pair_fn *const *table)
{
    clq_tensor *y = &call->out[0];
    if (call->n_in == 1) {
        size_t bytes = (size_t)clq_op_count(y) * clq_op_size(y->dtype);
        if (bytes) memcpy(y->data, call->in[0].data, bytes);
        return CLQ_OK;
    }
    clq_pair_fn *fn = table[y->dtype];
    CLQ_TRY(clq_pairs_run(call, fn, y, &call->in[0], &call->in[1]));
    for (int i = 2; i < call->n_in; i++) CLQ_TRY(clq_pairs_run(call, fn, y, y, &call->in[i]));
    return CLQ_OK;
}

clq_op_fn clq_eval_max, clq_eval_min, clq_eval_sum, clq_eval_mean;

clq_status clq_eval_max(struct clq_op_call *call)
{
    return fold(call, max_table);
}

clq_status clq_eval_min(struct clq_op_call *call)
{
    return fold(call, min_table);
}

clq_status clq_eval_sum(struct clq_op_call *call)
{
    return fold(call, add_table);
}

clq_status clq_eval_mean(struct clq_op_call *call)
{
    float n = (float)call->n_in;
    double n64 = call->n_in;
    clq_tensor count = {.dtype = call->out[0].dtype};
    count.data = count.dtype == CLQ_DTYPE_F64 ? (void *)&n64 : (void *)&n;
    if (!clq_op_is_float(count.dtype)) return clq_op_bad_type(call, 0);
    CLQ_TRY(fold(call, add_table));
    return clq_pairs_run(call, div_table[count.dtype], &call->out[0], &call->out[0], &count);
}

/* Integer remainder with the divisor's sign, or the dividend's (C) when fmod is set. */
static int64_t floor_mod(int64_t u, int64_t v, bool c_sign)
{
    if (v == 0 || v == -1) return 0;
    int64_t r = u % v;
    return !c_sign && r != 0 && (r < 0) != (v < 0) ? r + v : r;
}

CLQ_PAIR_INTS(mod, floor_mod((int64_t)u, (int64_t)v, false))
CLQ_PAIR(mod_f32, , float, float, fmodf(u, v))
CLQ_PAIR(mod_f64, , double, double, fmod(u, v))
CLQ_PAIR_INTS(fmod, floor_mod((int64_t)u, (int64_t)v, true))
CLQ_PAIR(mod_wide, , uint64_t, uint64_t, v == 0 ? 0 : u % v)
static clq_pair_fn *const mod_table[CLQ_PAIR_TYPES] = {CLQ_PAIR_TABLE_INTS(mod)};
static clq_pair_fn *const fmod_table[CLQ_PAIR_TYPES] = {
    CLQ_PAIR_TABLE_INTS(fmod), [CLQ_DTYPE_F32] = pair_mod_f32, [CLQ_DTYPE_F64] = pair_mod_f64};

clq_op_fn clq_eval_mod;
clq_status clq_eval_mod(struct clq_op_call *call)
{
    if (call->in[0].dtype == CLQ_DTYPE_U64)
        return clq_pairs_run(call, pair_mod_wide, &call->out[0], &call->in[0], &call->in[1]);
    return clq_pairs_eval(call, clq_node_int(call->node, "fmod", 0) ? fmod_table : mod_table);
}

/* ---- Pow: the exponent may have a type of its own ---- */

CLQ_PAIR(square_f32, CLQ_CLONES, float, float, ((void)v, u *u))
CLQ_PAIR(pow_f32, , float, float, powf(u, v))

static int64_t int_power(int64_t base, int64_t exponent)
{
    uint64_t r = 1, b = (uint64_t)base;
    if (exponent < 0) return base == 1 ? 1 : (base == -1 ? (exponent % 2 ? -1 : 1) : 0);
    for (uint64_t e = (uint64_t)exponent; e; e >>= 1) {
        if (e & 1) r *= b;
        b *= b;
    }
    return (int64_t)r;
}

static double number_at(const clq_tensor *t, int64_t i)
{
    if (t->dtype == CLQ_DTYPE_F32) return (double)((const float *)t->data)[i];
    if (t->dtype == CLQ_DTYPE_F64) return ((const double *)t->data)[i];
    return (double)clq_op_int_at(t, i);
}

static void store(const clq_tensor *y, int64_t i, double v)
{
    v = v != v ? 0.0 : v;
    if (y->dtype == CLQ_DTYPE_S32)
        ((int32_t *)y->data)[i] = v >= 2147483647.0 ? INT32_MAX : (v <= -2147483648.0 ? INT32_MIN : (int32_t)v);
    else
        ((int64_t *)y->data)[i] = v >= 9.2e18 ? INT64_MAX : (v <= -9.2e18 ? INT64_MIN : (int64_t)v);
}

static void pow_slow(const clq_tensor *y, const clq_tensor *a, const clq_tensor *b)
{
    struct clq_bcast s;
    clq_op_bcast_make(&s, 2, (const clq_tensor *const[]){a, b}, y);
    for (int64_t i = 0, n = clq_op_count(y); i < n; i++) {
        int64_t rest = i, ia = 0, ib = 0;
        for (int k = s.rank - 1; k >= 0; k--) {
            ia += rest % s.dim[k] * s.stride[0][k];
            ib += rest % s.dim[k] * s.stride[1][k];
            rest /= s.dim[k];
        }
        if (y->dtype == CLQ_DTYPE_F32)
            ((float *)y->data)[i] = (float)pow(number_at(a, ia), number_at(b, ib));
        else if (y->dtype == CLQ_DTYPE_F64)
            ((double *)y->data)[i] = pow(number_at(a, ia), number_at(b, ib));
        else if (!clq_op_is_int(b->dtype))
            store(y, i, pow(number_at(a, ia), number_at(b, ib)));
        else if (y->dtype == CLQ_DTYPE_S32)
            ((int32_t *)y->data)[i] = (int32_t)int_power(clq_op_int_at(a, ia), clq_op_int_at(b, ib));
        else
            ((int64_t *)y->data)[i] = int_power(clq_op_int_at(a, ia), clq_op_int_at(b, ib));
    }
}

clq_op_fn clq_infer_pow, clq_eval_pow;

clq_status clq_infer_pow(struct clq_op_call *call)
{
    int rank;
    int64_t shape[CLQ_MAX_RANK];
    clq_dtype a = call->in[0].dtype, b = call->in[1].dtype;
    if (a != CLQ_DTYPE_F32 && a != CLQ_DTYPE_F64 && a != CLQ_DTYPE_S32 && a != CLQ_DTYPE_S64)
        return clq_op_bad_type(call, 0);
    if (b != CLQ_DTYPE_F32 && b != CLQ_DTYPE_F64 && !clq_op_is_int(b)) return clq_op_bad_type(call, 1);
    CLQ_TRY(clq_op_bcast_shape(call, 2, &rank, shape));
    return clq_op_set_out(call, 0, a, rank, shape);
}

clq_status clq_eval_pow(struct clq_op_call *call)
{
    const clq_tensor *a = &call->in[0], *b = &call->in[1];
    if (a->dtype != CLQ_DTYPE_F32 || b->dtype != CLQ_DTYPE_F32) {
        pow_slow(&call->out[0], a, b);
        return CLQ_OK;
    }
    bool square = clq_op_count(b) == 1 && *(const float *)b->data == 2.0f;
    return clq_pairs_run(call, square ? pair_square_f32 : pair_pow_f32, &call->out[0], a, b);
}

CLQ_PAIR(prelu_f32, CLQ_CLONES, float, float, u < 0.0f ? u * v : u)

clq_op_fn clq_infer_prelu, clq_eval_prelu;

clq_status clq_infer_prelu(struct clq_op_call *call)
{
    int rank;
    int64_t shape[CLQ_MAX_RANK];
    CLQ_TRY(clq_op_need_type(call, 0, CLQ_DTYPE_F32));
    CLQ_TRY(clq_op_need_same_type(call, 1));
    CLQ_TRY(clq_op_bcast_shape(call, 2, &rank, shape));
    if (rank != call->in[0].rank || memcmp(shape, call->in[0].shape, (size_t)rank * sizeof *shape) != 0)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "the slope does not broadcast to the input");
    return clq_op_same(call);
}

clq_status clq_eval_prelu(struct clq_op_call *call)
{
    return clq_pairs_run(call, pair_prelu_f32, &call->out[0], &call->in[0], &call->in[1]);
}
