/* SPDX-License-Identifier: Apache-2.0
 * Operators that put values where a rule says: Col2Im, CenterCropPad, MaxUnpool, AffineGrid; and Det. */
#include <math.h>
#include <stdlib.h>

#include "ops/convert.h"

clq_op_fn clq_infer_col2im, clq_eval_col2im, clq_infer_center_crop_pad, clq_eval_center_crop_pad, clq_infer_max_unpool, clq_eval_max_unpool,
    clq_infer_affine_grid, clq_eval_affine_grid, clq_infer_det, clq_eval_det;

static clq_status setting(struct clq_op_call *call, const char *name, int n, int64_t fallback, int64_t least, int64_t *out)
{
    struct clq_op_ints v;
    CLQ_TRY(clq_op_read_ints(call, &v, -1, name));
    if (v.n >= 0 && v.n != n) return clq_op_fail(call, CLQ_ERR_FORMAT, "attribute '%s' has %d entries, expected %d", name, v.n, n);
    for (int i = 0; i < n; i++) {
        out[i] = v.n < 0 ? fallback : v.v[i];
        if (out[i] < least || out[i] > CLQ_OP_MAX_ELEMENTS)
            return clq_op_fail(call, CLQ_ERR_FORMAT, "attribute '%s' has entry %lld", name, (long long)out[i]);
    }
    return CLQ_OK;
}

/* ---- Col2Im ---- */
enum { MOST_AXES = CLQ_MAX_RANK - 2 };

struct columns {
    int nd;
    int64_t image[MOST_AXES], block[MOST_AXES], dilation[MOST_AXES], pad[2 * MOST_AXES], stride[MOST_AXES], steps[MOST_AXES];
    int64_t taps, positions, channels;
};

static clq_status read_columns(struct clq_op_call *call, struct columns *c)
{
    struct clq_op_ints image, block;
    const clq_tensor *x = &call->in[0];
    CLQ_TRY(clq_op_need_type(call, 0, CLQ_DTYPE_F32));
    CLQ_TRY(clq_op_need_rank(call, 0, 3));
    CLQ_TRY(clq_op_read_ints(call, &image, 1, NULL));
    CLQ_TRY(clq_op_read_ints(call, &block, 2, NULL));
    if (image.n < 1 || image.n > MOST_AXES || block.n != image.n) return clq_op_fail(call, CLQ_ERR_FORMAT, "an image of %d and a block of %d axes", image.n, block.n);
    *c = (struct columns){.nd = image.n, .taps = 1, .positions = 1};
    CLQ_TRY(setting(call, "dilations", c->nd, 1, 1, c->dilation));
    CLQ_TRY(setting(call, "strides", c->nd, 1, 1, c->stride));
    CLQ_TRY(setting(call, "pads", 2 * c->nd, 0, 0, c->pad));
    for (int d = 0; d < c->nd; d++) {
        c->image[d] = image.v[d];
        c->block[d] = block.v[d];
        if (image.v[d] < 1 || image.v[d] > CLQ_OP_MAX_ELEMENTS || block.v[d] < 1 || block.v[d] > CLQ_OP_MAX_ELEMENTS)
            return clq_op_fail(call, CLQ_ERR_FORMAT, "image size %lld, block size %lld", (long long)image.v[d], (long long)block.v[d]);
        int64_t span = c->dilation[d] * (c->block[d] - 1) + 1, room = c->image[d] + c->pad[d] + c->pad[c->nd + d] - span;
        if (room < 0) return clq_op_fail(call, CLQ_ERR_FORMAT, "the block is larger than the image on axis %d", d);
        c->steps[d] = room / c->stride[d] + 1;
        if (c->taps > x->shape[1] / c->block[d] || c->positions > x->shape[2] / c->steps[d])
            return clq_op_fail(call, CLQ_ERR_FORMAT, "the input has %lld rows and %lld columns, fewer than the blocks need", (long long)x->shape[1], (long long)x->shape[2]);
        c->taps *= c->block[d];
        c->positions *= c->steps[d];
    }
    c->channels = x->shape[1] / c->taps;
    if (c->channels * c->taps != x->shape[1] || c->positions != x->shape[2])
        return clq_op_fail(call, CLQ_ERR_FORMAT, "the input has %lld rows and %lld columns, expected a multiple of %lld, and %lld", (long long)x->shape[1],
                           (long long)x->shape[2], (long long)c->taps, (long long)c->positions);
    return CLQ_OK;
}

clq_status clq_infer_col2im(struct clq_op_call *call)
{
    struct columns c;
    int64_t shape[CLQ_MAX_RANK];
    CLQ_TRY(read_columns(call, &c));
    shape[0] = call->in[0].shape[0];
    shape[1] = c.channels;
    for (int d = 0; d < c.nd; d++) shape[2 + d] = c.image[d];
    return clq_op_set_out(call, 0, CLQ_DTYPE_F32, 2 + c.nd, shape);
}

/* Where tap t of position p lies in the image, or -1 in the padding. */
static int64_t place_of(const struct columns *c, int64_t t, int64_t p)
{
    int64_t at = 0, scale = 1;
    for (int d = c->nd - 1; d >= 0; d--) {
        int64_t i = p % c->steps[d] * c->stride[d] + t % c->block[d] * c->dilation[d] - c->pad[d];
        if (i < 0 || i >= c->image[d]) return -1;
        at += i * scale;
        scale *= c->image[d];
        p /= c->steps[d];
        t /= c->block[d];
    }
    return at;
}

clq_status clq_eval_col2im(struct clq_op_call *call)
{
    struct columns c;
    CLQ_TRY(read_columns(call, &c));
    const float *x = call->in[0].data;
    float *y = call->out[0].data;
    int64_t n = clq_op_count(&call->out[0]), planes = call->in[0].shape[0] * c.channels;
    int64_t size = planes ? n / planes : 0;
    memset(y, 0, (size_t)n * sizeof *y);
    for (int64_t t = 0; t < c.taps; t++)
        for (int64_t p = 0; p < c.positions; p++) {
            int64_t at = place_of(&c, t, p);
            for (int64_t k = 0; at >= 0 && k < planes; k++) y[k * size + at] += x[(k * c.taps + t) * c.positions + p];
        }
    return CLQ_OK;
}

/* ---- CenterCropPad ---- */
static clq_status crop_shape(struct clq_op_call *call, int64_t *shape)
{
    const clq_tensor *x = &call->in[0];
    struct clq_op_ints axes, wanted;
    unsigned mask;
    if (clq_op_size(x->dtype) == 0) return clq_op_bad_type(call, 0);
    CLQ_TRY(clq_op_read_axes(call, &axes, &mask, -1, "axes", x->rank));
    CLQ_TRY(clq_op_read_ints(call, &wanted, 1, NULL));
    memcpy(shape, x->shape, CLQ_MAX_RANK * sizeof *shape);
    if (wanted.n != (axes.n < 0 ? x->rank : axes.n)) return clq_op_fail(call, CLQ_ERR_FORMAT, "%d sizes for %d axes", wanted.n, axes.n < 0 ? x->rank : axes.n);
    for (int i = 0; i < wanted.n; i++) shape[axes.n < 0 ? i : axes.v[i]] = wanted.v[i];
    return CLQ_OK;
}

clq_status clq_infer_center_crop_pad(struct clq_op_call *call)
{
    int64_t shape[CLQ_MAX_RANK];
    CLQ_TRY(crop_shape(call, shape));
    return clq_op_set_out(call, 0, call->in[0].dtype, call->in[0].rank, shape);
}

clq_status clq_eval_center_crop_pad(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0], *y = &call->out[0];
    struct clq_tables t;
    int64_t stride[CLQ_MAX_RANK];
    const char zero[8] = {0};
    if (!clq_tables_alloc(&t, y->rank, y->shape)) return clq_op_no_memory(call);
    clq_op_strides(stride, x);
    for (int d = 0; d < y->rank; d++) {
        int64_t more = y->shape[d] - x->shape[d], shift = more > 0 ? -(more / 2) : -more / 2;
        for (int64_t i = 0; i < y->shape[d]; i++) {
            int64_t from = i + shift;
            t.table[d][i] = from < 0 || from >= x->shape[d] ? -1 : from * stride[d];
        }
    }
    clq_status st = clq_tables_run(call, &t, y->data, x->data, clq_op_size(x->dtype), zero);
    free(t.memory);
    return st;
}

/* ---- MaxUnpool: indices count in the shape that pooling had, given or not ---- */
static clq_status unpool_shapes(struct clq_op_call *call, int64_t *pooled, int64_t *shape)
{
    const clq_tensor *x = &call->in[0];
    int64_t kernel[CLQ_MAX_RANK], stride[CLQ_MAX_RANK], pad[2 * CLQ_MAX_RANK];
    int nd = x->rank - 2;
    if (clq_op_size(x->dtype) == 0) return clq_op_bad_type(call, 0);
    CLQ_TRY(clq_op_need_type(call, 1, CLQ_DTYPE_S64));
    if (nd < 1 || call->in[1].rank != x->rank || memcmp(call->in[1].shape, x->shape, (size_t)x->rank * sizeof *x->shape) != 0)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "values and indices do not have the same shape");
    CLQ_TRY(setting(call, "kernel_shape", nd, 1, 1, kernel));
    CLQ_TRY(setting(call, "strides", nd, 1, 1, stride));
    CLQ_TRY(setting(call, "pads", 2 * nd, 0, 0, pad));
    memcpy(pooled, x->shape, CLQ_MAX_RANK * sizeof *pooled);
    for (int d = 0; d < nd; d++) {
        if (x->shape[2 + d] > 1 && stride[d] > CLQ_OP_MAX_ELEMENTS / x->shape[2 + d]) return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "stride %lld", (long long)stride[d]);
        pooled[2 + d] = (x->shape[2 + d] - 1) * stride[d] + kernel[d] - pad[d] - pad[nd + d];
        if (pooled[2 + d] < 0 || pooled[2 + d] > CLQ_OP_MAX_ELEMENTS) return clq_op_fail(call, CLQ_ERR_FORMAT, "size %lld on axis %d", (long long)pooled[2 + d], 2 + d);
    }
    memcpy(shape, pooled, CLQ_MAX_RANK * sizeof *shape);
    if (!clq_op_has(call, 2)) return CLQ_OK;
    struct clq_op_ints given;
    CLQ_TRY(clq_op_read_ints(call, &given, 2, NULL));
    if (given.n != x->rank) return clq_op_fail(call, CLQ_ERR_FORMAT, "output_shape has %d entries, expected %d", given.n, x->rank);
    memcpy(shape, given.v, (size_t)x->rank * sizeof *shape);
    return CLQ_OK;
}

clq_status clq_infer_max_unpool(struct clq_op_call *call)
{
    int64_t pooled[CLQ_MAX_RANK], shape[CLQ_MAX_RANK];
    CLQ_TRY(unpool_shapes(call, pooled, shape));
    return clq_op_set_out(call, 0, call->in[0].dtype, call->in[0].rank, shape);
}

clq_status clq_eval_max_unpool(struct clq_op_call *call)
{
    int64_t pooled[CLQ_MAX_RANK], shape[CLQ_MAX_RANK];
    const clq_tensor *x = &call->in[0], *y = &call->out[0];
    size_t size = clq_op_size(x->dtype);
    CLQ_TRY(unpool_shapes(call, pooled, shape));
    memset(y->data, 0, (size_t)clq_op_count(y) * size);
    for (int64_t i = 0, n = clq_op_count(x); i < n; i++) {
        int64_t rest = ((const int64_t *)call->in[1].data)[i], to = 0, scale = 1, given = rest;
        bool inside = rest >= 0;
        for (int d = x->rank - 1; inside && d >= 0; d--) {
            int64_t c = pooled[d] > 0 ? rest % pooled[d] : 0;
            rest = pooled[d] > 0 ? rest / pooled[d] : rest;
            inside = c < y->shape[d];
            to += c * scale;
            scale *= y->shape[d];
        }
        if (!inside || rest > 0) return clq_op_fail(call, CLQ_ERR_FORMAT, "index %lld is out of range", (long long)given);
        memcpy((char *)y->data + (size_t)to * size, (const char *)x->data + (size_t)i * size, size);
    }
    return CLQ_OK;
}

/* ---- AffineGrid ---- */
static clq_status grid_shape(struct clq_op_call *call, int *nd, int64_t *shape)
{
    struct clq_op_ints size;
    const clq_tensor *theta = &call->in[0];
    CLQ_TRY(clq_op_need_type(call, 0, CLQ_DTYPE_F32));
    CLQ_TRY(clq_op_need_rank(call, 0, 3));
    CLQ_TRY(clq_op_read_ints(call, &size, 1, NULL));
    *nd = size.n - 2;
    if ((*nd != 2 && *nd != 3) || theta->shape[0] != size.v[0] || theta->shape[1] != *nd || theta->shape[2] != *nd + 1)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "theta [%lld, %lld, %lld] and %d sizes do not belong together", (long long)theta->shape[0],
                           (long long)theta->shape[1], (long long)theta->shape[2], size.n);
    shape[0] = size.v[0];
    for (int d = 0; d < *nd; d++) shape[1 + d] = size.v[2 + d];
    shape[1 + *nd] = *nd;
    return CLQ_OK;
}

clq_status clq_infer_affine_grid(struct clq_op_call *call)
{
    int nd;
    int64_t shape[CLQ_MAX_RANK];
    CLQ_TRY(grid_shape(call, &nd, shape));
    return clq_op_set_out(call, 0, CLQ_DTYPE_F32, nd + 2, shape);
}

clq_status clq_eval_affine_grid(struct clq_op_call *call)
{
    bool corners = clq_node_int(call->node, "align_corners", 0) != 0;
    int nd;
    int64_t shape[CLQ_MAX_RANK];
    CLQ_TRY(grid_shape(call, &nd, shape));
    float *y = call->out[0].data;
    int64_t points = clq_op_span(&call->out[0], 1, nd + 1);
    for (int64_t i = 0; i < shape[0] * points; i++) {
        const float *theta = (const float *)call->in[0].data + i / points * nd * (nd + 1);
        double at[4] = {0, 0, 0, 0}; /* x, y, z, 1: the last axis of the shape is x */
        int64_t rest = i % points;
        for (int d = 0; d < nd; d++) {
            int64_t n = shape[nd - d], k = rest % n;
            rest /= n;
            at[d] = corners ? (n > 1 ? 2.0 * (double)k / (double)(n - 1) - 1.0 : -1.0) : (2.0 * (double)k + 1.0) / (double)n - 1.0;
        }
        at[nd] = 1.0;
        for (int r = 0; r < nd; r++) {
            double sum = 0;
            for (int d = 0; d <= nd; d++) sum += (double)theta[r * (nd + 1) + d] * at[d];
            y[i * nd + r] = (float)sum;
        }
    }
    return CLQ_OK;
}

/* ---- Det ---- */
clq_status clq_infer_det(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0];
    if (x->dtype != CLQ_DTYPE_F32 && x->dtype != CLQ_DTYPE_F64) return clq_op_bad_type(call, 0);
    if (x->rank < 2 || x->shape[x->rank - 1] != x->shape[x->rank - 2]) return clq_op_fail(call, CLQ_ERR_FORMAT, "not a stack of square matrices");
    if (x->shape[x->rank - 1] > 4096) return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "a matrix of %lld rows", (long long)x->shape[x->rank - 1]);
    return clq_op_set_out(call, 0, x->dtype, x->rank - 2, x->shape);
}

/* Elimination with row pivots; destroys a[n][n]. */
static double determinant(double *a, int64_t n)
{
    double det = 1;
    for (int64_t c = 0; c < n; c++) {
        int64_t best = c;
        for (int64_t r = c + 1; r < n; r++)
            if (fabs(a[r * n + c]) > fabs(a[best * n + c])) best = r;
        if (a[best * n + c] == 0) return 0;
        for (int64_t k = 0; best != c && k < n; k++) {
            double t = a[c * n + k];
            a[c * n + k] = a[best * n + k];
            a[best * n + k] = t;
        }
        det *= best == c ? a[c * n + c] : -a[c * n + c];
        for (int64_t r = c + 1; r < n; r++) {
            double f = a[r * n + c] / a[c * n + c];
            for (int64_t k = c; k < n; k++) a[r * n + k] -= f * a[c * n + k];
        }
    }
    return det;
}

clq_status clq_eval_det(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0];
    int64_t n = x->shape[x->rank - 1];
    double *a = malloc(((size_t)(n * n) + 1) * sizeof *a);
    if (!a) return clq_op_no_memory(call);
    for (int64_t i = 0, count = clq_op_count(&call->out[0]); i < count; i++) {
        for (int64_t k = 0; k < n * n; k++) a[k] = clq_load_real(x, i * n * n + k);
        clq_store_real(&call->out[0], i, determinant(a, n));
    }
    free(a);
    return CLQ_OK;
}
