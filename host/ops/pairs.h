/* SPDX-License-Identifier: Apache-2.0
 * Two operands with broadcasting: the driver that the arithmetic, comparison and logic families share. */
#ifndef CLQ_OPS_PAIRS_H
#define CLQ_OPS_PAIRS_H

#include "ops/util.h"

/* y[n1][n0] from a and b with row strides sa1, sb1 and inner strides sa0, sb0 of 0 or 1. y may be a or b. */
typedef void clq_pair_fn(void *y, const void *a, const void *b, size_t n1, size_t n0, int64_t sa1, int64_t sa0,
                         int64_t sb1, int64_t sb0);

/* y = fn(a, b) over y's shape; a and b broadcast to it. */
clq_status clq_pairs_run(struct clq_op_call *call, clq_pair_fn *fn, const clq_tensor *y, const clq_tensor *a,
                         const clq_tensor *b);

/* The inner function for u of a and v of b, elements of T to results of R. */
#define CLQ_PAIR(name, clones, T, R, expr) \
    clones static void pair_##name(void *yv, const void *av, const void *bv, size_t n1, size_t n0, int64_t sa1, \
                                   int64_t sa0, int64_t sb1, int64_t sb0) \
    { \
        for (size_t i = 0; i < n1; i++) { \
            R *y = (R *)yv + i * n0; \
            const T *a = (const T *)av + (int64_t)i * sa1, *b = (const T *)bv + (int64_t)i * sb1; \
            if (sa0 && sb0) { \
                CLQ_IVDEP for (size_t j = 0; j < n0; j++) \
                { \
                    T u = a[j], v = b[j]; \
                    y[j] = (R)(expr); \
                } \
            } else if (sa0) { \
                T v = b[0]; \
                CLQ_IVDEP for (size_t j = 0; j < n0; j++) \
                { \
                    T u = a[j]; \
                    y[j] = (R)(expr); \
                } \
            } else { \
                T u = a[0]; \
                CLQ_IVDEP for (size_t j = 0; j < n0; j++) \
                { \
                    T v = b[(int64_t)j * sb0]; \
                    y[j] = (R)(expr); \
                } \
            } \
        } \
    }

/* A row of functions by element type. */
#define CLQ_PAIR_INTS(name, expr) \
    CLQ_PAIR(name##_s8, , int8_t, int8_t, expr) \
    CLQ_PAIR(name##_u8, , uint8_t, uint8_t, expr) \
    CLQ_PAIR(name##_s16, , int16_t, int16_t, expr) \
    CLQ_PAIR(name##_u16, , uint16_t, uint16_t, expr) \
    CLQ_PAIR(name##_s32, , int32_t, int32_t, expr) \
    CLQ_PAIR(name##_u32, , uint32_t, uint32_t, expr) \
    CLQ_PAIR(name##_s64, , int64_t, int64_t, expr) \
    CLQ_PAIR(name##_u64, , uint64_t, uint64_t, expr)
#define CLQ_PAIR_TABLE_INTS(name) \
    [CLQ_DTYPE_S8] = pair_##name##_s8, [CLQ_DTYPE_U8] = pair_##name##_u8, [CLQ_DTYPE_S16] = pair_##name##_s16, \
    [CLQ_DTYPE_U16] = pair_##name##_u16, [CLQ_DTYPE_S32] = pair_##name##_s32, [CLQ_DTYPE_U32] = pair_##name##_u32, \
    [CLQ_DTYPE_S64] = pair_##name##_s64, [CLQ_DTYPE_U64] = pair_##name##_u64
#define CLQ_PAIR_TYPES 17 /* one more than the largest type with an entry */

/* Looks up and runs for inputs 0 and 1. */
clq_status clq_pairs_eval(struct clq_op_call *call, clq_pair_fn *const *table);

#endif
