/* SPDX-License-Identifier: Apache-2.0
 * Comparison, boolean logic, bitwise operators and Where. */
#include "base/parallel.h"
#include "ops/pairs.h"

#define COMPARE(name, op) \
    CLQ_PAIR(name##_s8, , int8_t, uint8_t, u op v) \
    CLQ_PAIR(name##_u8, , uint8_t, uint8_t, u op v) \
    CLQ_PAIR(name##_s16, , int16_t, uint8_t, u op v) \
    CLQ_PAIR(name##_u16, , uint16_t, uint8_t, u op v) \
    CLQ_PAIR(name##_s32, , int32_t, uint8_t, u op v) \
    CLQ_PAIR(name##_u32, , uint32_t, uint8_t, u op v) \
    CLQ_PAIR(name##_s64, , int64_t, uint8_t, u op v) \
    CLQ_PAIR(name##_u64, , uint64_t, uint8_t, u op v) \
    CLQ_PAIR(name##_f32, CLQ_CLONES, float, uint8_t, u op v) \
    CLQ_PAIR(name##_f64, , double, uint8_t, u op v) \
    static clq_pair_fn *const name##_table[CLQ_PAIR_TYPES] = { \
        CLQ_PAIR_TABLE_INTS(name), [CLQ_DTYPE_F32] = pair_##name##_f32, [CLQ_DTYPE_F64] = pair_##name##_f64, \
        [CLQ_DTYPE_BOOL] = pair_##name##_u8};
#define EVAL(name) \
    clq_op_fn clq_eval_##name; \
    clq_status clq_eval_##name(struct clq_op_call *call) \
    { \
        return clq_pairs_eval(call, name##_table); \
    }

COMPARE(equal, ==)
COMPARE(less, <)
COMPARE(less_or_equal, <=)
COMPARE(greater, >)
COMPARE(greater_or_equal, >=)
EVAL(equal)
EVAL(less)
EVAL(less_or_equal)
EVAL(greater)
EVAL(greater_or_equal)

CLQ_PAIR(and, , uint8_t, uint8_t, u &&v)
CLQ_PAIR(or, , uint8_t, uint8_t, u || v)
CLQ_PAIR(xor, , uint8_t, uint8_t, !u != !v)
static clq_pair_fn *const and_table[CLQ_PAIR_TYPES] = {[CLQ_DTYPE_BOOL] = pair_and};
static clq_pair_fn *const or_table[CLQ_PAIR_TYPES] = {[CLQ_DTYPE_BOOL] = pair_or};
static clq_pair_fn *const xor_table[CLQ_PAIR_TYPES] = {[CLQ_DTYPE_BOOL] = pair_xor};
EVAL(and)
EVAL(or)
EVAL(xor)

CLQ_PAIR_INTS(bitwise_and, u &v)
CLQ_PAIR_INTS(bitwise_or, u | v)
CLQ_PAIR_INTS(bitwise_xor, u ^ v)
static clq_pair_fn *const bitwise_and_table[CLQ_PAIR_TYPES] = {CLQ_PAIR_TABLE_INTS(bitwise_and)};
static clq_pair_fn *const bitwise_or_table[CLQ_PAIR_TYPES] = {CLQ_PAIR_TABLE_INTS(bitwise_or)};
static clq_pair_fn *const bitwise_xor_table[CLQ_PAIR_TYPES] = {CLQ_PAIR_TABLE_INTS(bitwise_xor)};
EVAL(bitwise_and)
EVAL(bitwise_or)
EVAL(bitwise_xor)

/* Shifts by the width or more give 0. */
#define SHIFT(T, suffix) \
    CLQ_PAIR(left_##suffix, , T, T, v >= sizeof(T) * 8 ? 0 : (uint64_t)u << v) \
    CLQ_PAIR(right_##suffix, , T, T, v >= sizeof(T) * 8 ? 0 : u >> v)
SHIFT(uint8_t, u8)
SHIFT(uint16_t, u16)
SHIFT(uint32_t, u32)
SHIFT(uint64_t, u64)
#define SHIFT_TABLE(name) \
    { \
        [CLQ_DTYPE_U8] = pair_##name##_u8, [CLQ_DTYPE_U16] = pair_##name##_u16, [CLQ_DTYPE_U32] = pair_##name##_u32, \
        [CLQ_DTYPE_U64] = pair_##name##_u64 \
    }
static clq_pair_fn *const left_table[CLQ_PAIR_TYPES] = SHIFT_TABLE(left);
static clq_pair_fn *const right_table[CLQ_PAIR_TYPES] = SHIFT_TABLE(right);

clq_op_fn clq_eval_bit_shift, clq_infer_compare, clq_infer_logic, clq_infer_bitwise;

clq_status clq_eval_bit_shift(struct clq_op_call *call)
{
    const char *direction = clq_node_string(call->node, "direction", "");
    if (strcmp(direction, "LEFT") == 0) return clq_pairs_eval(call, left_table);
    if (strcmp(direction, "RIGHT") == 0) return clq_pairs_eval(call, right_table);
    return clq_op_fail(call, CLQ_ERR_FORMAT, "direction '%s', expected LEFT or RIGHT", direction);
}

static clq_status infer_pair(struct clq_op_call *call, clq_dtype result)
{
    int rank;
    int64_t shape[CLQ_MAX_RANK];
    CLQ_TRY(clq_op_need_same_type(call, 1));
    CLQ_TRY(clq_op_bcast_shape(call, 2, &rank, shape));
    return clq_op_set_out(call, 0, result, rank, shape);
}

clq_status clq_infer_compare(struct clq_op_call *call)
{
    clq_dtype t = call->in[0].dtype;
    if ((int)t >= CLQ_PAIR_TYPES || !equal_table[t]) return clq_op_bad_type(call, 0);
    return infer_pair(call, CLQ_DTYPE_BOOL);
}

clq_status clq_infer_logic(struct clq_op_call *call)
{
    CLQ_TRY(clq_op_need_type(call, 0, CLQ_DTYPE_BOOL));
    return infer_pair(call, CLQ_DTYPE_BOOL);
}

clq_status clq_infer_bitwise(struct clq_op_call *call)
{
    if (!clq_op_is_int(call->in[0].dtype)) return clq_op_bad_type(call, 0);
    return infer_pair(call, call->in[0].dtype);
}

/* ---- Where ---- */

clq_op_fn clq_infer_where, clq_eval_where;

clq_status clq_infer_where(struct clq_op_call *call)
{
    int rank;
    int64_t shape[CLQ_MAX_RANK];
    CLQ_TRY(clq_op_need_type(call, 0, CLQ_DTYPE_BOOL));
    if (call->in[1].dtype != call->in[2].dtype || clq_op_size(call->in[1].dtype) == 0) return clq_op_bad_type(call, 2);
    CLQ_TRY(clq_op_bcast_shape(call, 3, &rank, shape));
    return clq_op_set_out(call, 0, call->in[1].dtype, rank, shape);
}

struct where {
    struct clq_bcast b;
    const uint8_t *c;
    const char *x, *z;
    char *y;
    size_t size;
};

#define WHERE_ROW(T) \
    for (int64_t k = 0; k < n; k++) ((T *)y)[k] = c[k * sc] ? ((const T *)x)[k * sx] : ((const T *)z)[k * sz];

static void where_row(char *y, const uint8_t *c, const char *x, const char *z, int64_t n, int64_t sc, int64_t sx,
                      int64_t sz, size_t size)
{
    if (size == 1) {
        WHERE_ROW(uint8_t)
    } else if (size == 2) {
        WHERE_ROW(uint16_t)
    } else if (size == 4) {
        WHERE_ROW(uint32_t)
    } else {
        WHERE_ROW(uint64_t)
    }
}

static void where_rows(void *state, size_t begin, size_t end, int thread)
{
    const struct where *w = state;
    const struct clq_bcast *b = &w->b;
    int last = b->rank - 1;
    int64_t n = b->dim[last];
    (void)thread;
    for (size_t row = begin; row < end; row++) {
        int64_t rest = (int64_t)row, at[3] = {0};
        for (int k = last - 1; k >= 0; k--) {
            for (int i = 0; i < 3; i++) at[i] += rest % b->dim[k] * b->stride[i][k];
            rest /= b->dim[k];
        }
        where_row(w->y + row * (size_t)n * w->size, w->c + at[0], w->x + (size_t)at[1] * w->size,
                  w->z + (size_t)at[2] * w->size, n, b->stride[0][last], b->stride[1][last], b->stride[2][last],
                  w->size);
    }
}

clq_status clq_eval_where(struct clq_op_call *call)
{
    const clq_tensor *y = &call->out[0];
    size_t n = (size_t)clq_op_count(y);
    if (n == 0) return CLQ_OK;
    struct where w = {.c = call->in[0].data,
                      .x = call->in[1].data,
                      .z = call->in[2].data,
                      .y = y->data,
                      .size = clq_op_size(y->dtype)};
    clq_op_bcast_make(&w.b, 3, (const clq_tensor *const[]){&call->in[0], &call->in[1], &call->in[2]}, y);
    clq_parallel_for(clq_op_threads(call, n), n / (size_t)w.b.dim[w.b.rank - 1], where_rows, &w);
    return CLQ_OK;
}
