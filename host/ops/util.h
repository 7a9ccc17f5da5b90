/* SPDX-License-Identifier: Apache-2.0
 * What the operator families share: checked attributes and axes, outputs, broadcasting and the work split. Every
 * number that comes from a node or a tensor passes through here before it is used as a size. */
#ifndef CLQ_OPS_UTIL_H
#define CLQ_OPS_UTIL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "ops/op.h"

/* An output of more elements is refused, so int64 products of a few sizes cannot overflow. */
#define CLQ_OP_MAX_ELEMENTS ((int64_t)1 << 31)

/* Elements of work below which threads cost more than they bring. */
#define CLQ_OP_PARALLEL_MIN ((size_t)1 << 15)

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__gnu_linux__) && \
    !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
/* Plain C loops, compiled for three instruction sets. Without contraction each clone gives the same bits. */
#define CLQ_HAVE_CLONES 1
#define CLQ_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLQ_CLONES
#endif

#if defined(__GNUC__) && !defined(__clang__)
/* The loop's iterations are independent: operands are equal to the result or do not overlap it. */
#define CLQ_IVDEP _Pragma("GCC ivdep")
#else
#define CLQ_IVDEP
#endif

/* The number of elements of a checked tensor. */
int64_t clq_op_count(const clq_tensor *t);

/* Product of shape[from..to-1] of a checked tensor. */
int64_t clq_op_span(const clq_tensor *t, int from, int to);

static inline bool clq_op_has(const struct clq_op_call *call, int i)
{
    return i < call->n_in && call->in[i].dtype != CLQ_DTYPE_NONE;
}

/* Fails with "node 'name' (Type): ..." in front. */
clq_status clq_op_fail(struct clq_op_call *call, clq_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
clq_status clq_op_no_memory(struct clq_op_call *call);
/* CLQ_ERR_UNSUPPORTED that names the type of input i. */
clq_status clq_op_bad_type(struct clq_op_call *call, int i);

/* Describes output i; refuses ranks and sizes out of range. Does nothing when i >= n_out. */
clq_status clq_op_set_out(struct clq_op_call *call, int i, clq_dtype dtype, int rank, const int64_t *shape);
clq_status clq_op_same(struct clq_op_call *call); /* output 0 has the type and shape of input 0 */

/* Makes an axis of -rank .. rank-1 non-negative. */
clq_status clq_op_axis(struct clq_op_call *call, int *out, int64_t axis, int rank);

/* Requires that the type of input i is one of the n given, the value of input i is known, or its rank is as given. */
clq_status clq_op_need_type(struct clq_op_call *call, int i, clq_dtype dtype);
clq_status clq_op_need_value(struct clq_op_call *call, int i);
clq_status clq_op_need_rank(struct clq_op_call *call, int i, int rank);
/* Input i must be present, with the type of input 0. */
clq_status clq_op_need_same_type(struct clq_op_call *call, int i);

/* Up to 64 integers: from input `input` (int32 or int64, at most one axis) when it is present, else from the attribute
 * (NULL: none). n is -1 when there is neither. */
struct clq_op_ints {
    int n;
    int64_t v[64];
};
clq_status clq_op_read_ints(struct clq_op_call *call, struct clq_op_ints *out, int input, const char *attr);
/* The same as axes: each made non-negative, doubles refused; mask has one bit per axis. */
clq_status clq_op_read_axes(struct clq_op_call *call, struct clq_op_ints *out, unsigned *mask, int input,
                            const char *attr, int rank);

/* Element `index` of an integer or boolean tensor. */
int64_t clq_op_int_at(const clq_tensor *t, int64_t index);
/* A one-element numeric tensor as a double. */
double clq_op_scalar(const clq_tensor *t);

/* Up to three operands against one result with numpy's rules. Adjacent axes that behave alike are merged and axes of
 * one element dropped; strides are in elements, 0 where an operand repeats. rank >= 1; dim[rank-1] is innermost. */
struct clq_bcast {
    int rank;
    int64_t dim[CLQ_MAX_RANK];
    int64_t stride[3][CLQ_MAX_RANK];
};
clq_status clq_op_bcast_shape(struct clq_op_call *call, int n, int *rank, int64_t *shape);
void clq_op_bcast_make(struct clq_bcast *out, int n, const clq_tensor *const *in, const clq_tensor *y);

/* Row-major strides in elements. */
void clq_op_strides(int64_t *stride, const clq_tensor *t);

/* Threads for a job of this many elements' worth of work. */
int clq_op_threads(const struct clq_op_call *call, size_t work);

/* Bytes of one element; 0 for nibbles and strings. */
size_t clq_op_size(clq_dtype dtype);
bool clq_op_is_int(clq_dtype dtype);
bool clq_op_is_float(clq_dtype dtype);

/* y[row] = x at offsets: y has rank axes; along axis k, coordinate i of y reads x at table[k][i] elements (added up
 * over the axes), or the fill element where any table says -1. The core of Slice, Pad, Tile, Expand and nearest
 * Resize. Elements have `size` bytes: 1, 2, 4 or 8. */
struct clq_tables {
    int rank;
    int64_t dim[CLQ_MAX_RANK];
    int64_t *table[CLQ_MAX_RANK];
    void *memory; /* of all tables, to free */
};
/* Makes room for the tables of a result of this shape; false when memory is out. */
bool clq_tables_alloc(struct clq_tables *out, int rank, const int64_t *shape);
clq_status clq_tables_run(struct clq_op_call *call, struct clq_tables *t, void *y, const void *x, size_t size,
                          const void *fill);

#endif
