/* SPDX-License-Identifier: Apache-2.0
 * Runs of the operations without weights: quantize, dequantize, statistics, binary, table and pooling. */
#include "cl_internal.h"

#include <math.h>
#include <string.h>

#include "base/size.h"
#include "kernels/residual.h"

static const struct clq_cl_io no_io;

/* The reciprocal form of numerics.md 1 is proven for 2^-64 <= scale <= 2^64, where it also survives a device that
 * flushes subnormals; true division on a device that keeps them takes every normal scale. */
static bool quotient_scale(const struct clq_cl *cl, float scale)
{
    const unsigned full = CLQ_CL_CAP_DIVIDE | CLQ_CL_CAP_DENORM;
    if (!(scale >= 0x1p-126f) || !isfinite(scale)) return false;
    return (cl->caps & full) == full || (scale >= 0x1p-64f && scale <= 0x1p64f);
}

/* numerics.md 12: float results of a device that flushes subnormals need scales of at least 2^-32. */
static bool factor_scale(const struct clq_cl *cl, float scale)
{
    if (!(scale >= 0x1p-126f) || !isfinite(scale)) return false;
    return (cl->caps & CLQ_CL_CAP_DENORM) || scale >= 0x1p-32f;
}

bool clq_cl_supports_quantize(const struct clq_cl *cl, const struct clq_quantize_args *args)
{
    return quotient_scale(cl, args->scale);
}

bool clq_cl_supports_dequantize(const struct clq_cl *cl, const struct clq_dequantize_args *args)
{
    return factor_scale(cl, args->scale);
}

bool clq_cl_supports_binary(const struct clq_cl *cl, const struct clq_binary_u8_args *args)
{
    return factor_scale(cl, args->scale_a) && factor_scale(cl, args->scale_b) && quotient_scale(cl, args->scale_y);
}

/* Kernels index windows with 32-bit integers. */
bool clq_cl_supports_pool(const struct clq_cl *cl, const struct clq_pool_args *args, bool average)
{
    const size_t sizes[] = {args->h,        args->w,          args->c,         args->oh,       args->ow,
                            args->kh,       args->kw,         args->stride_h,  args->stride_w, args->pad_top,
                            args->pad_left, args->dilation_h, args->dilation_w};
    size_t items = args->batch, taps;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i] > 1u << 15) return false;
    if (!clq_size_mul(&items, items, args->oh) || !clq_size_mul(&items, items, args->ow) ||
        !clq_size_mul(&items, items, args->c) || items > INT32_MAX || !clq_size_mul(&taps, args->kh, args->kw) ||
        taps > 1u << 22)
        return false;
    return !average || (factor_scale(cl, args->scale_x) && quotient_scale(cl, args->scale_y));
}

static clq_status unsupported(const struct clq_cl *cl, enum clq_cl_family family, struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_UNSUPPORTED, "OpenCL device '%s': a scale or size of %s is out of the device's range",
                    cl->info.name, clq_cl_family_name(family));
}

/* Work-items for n elements, in vectors of at least 4. */
static size_t span(const struct clq_cl_launch *l, size_t n)
{
    return clq_cl_span_items(l->cl, l->family->variant, n / (l->family->variant->local[0] == 1 ? 16 : 4));
}

clq_status clq_cl_quantize(struct clq_cl *cl, bool to_signed, const struct clq_quantize_args *args,
                           const struct clq_cl_io *io, struct clq_error *err)
{
    const enum clq_cl_family family = to_signed ? CLQ_CL_QUANTIZE_S8 : CLQ_CL_QUANTIZE_U8;
    struct clq_cl_launch l;
    struct clq_cl_binding b = {.cl = cl};
    size_t bytes;
    if (args->n == 0) return CLQ_OK;
    if (!io) io = &no_io;
    if (!clq_cl_supports_quantize(cl, args) || !clq_size_mul(&bytes, args->n, sizeof(float)))
        return unsupported(cl, family, err);
    CLQ_TRY(clq_cl_begin(&l, cl, family, err));
    const struct clq_cl_operand *x = clq_cl_bind(&b, io->x, args->x, bytes, false, err);
    const struct clq_cl_operand *y = x ? clq_cl_bind(&b, io->y, args->y, args->n, true, err) : NULL;
    if (!y) return clq_cl_unbind(&b, b.status, err);
    clq_cl_arg_mem(&l, x->mem, x->at / sizeof(float));
    clq_cl_arg_mem(&l, y->mem, y->at);
    clq_cl_arg_u64(&l, args->n);
    clq_cl_arg_float(&l, args->scale);
    clq_cl_arg_float(&l, 1.0f / args->scale);
    clq_cl_arg_int(&l, args->zero_point);
    return clq_cl_unbind(&b, clq_cl_enqueue(&l, span(&l, args->n), 1, err), err);
}

clq_status clq_cl_dequantize(struct clq_cl *cl, bool from_signed, const struct clq_dequantize_args *args,
                             const struct clq_cl_io *io, struct clq_error *err)
{
    const enum clq_cl_family family = from_signed ? CLQ_CL_DEQUANTIZE_S8 : CLQ_CL_DEQUANTIZE_U8;
    struct clq_cl_launch l;
    struct clq_cl_binding b = {.cl = cl};
    size_t bytes;
    if (args->n == 0) return CLQ_OK;
    if (!io) io = &no_io;
    if (!clq_cl_supports_dequantize(cl, args) || !clq_size_mul(&bytes, args->n, sizeof(float)))
        return unsupported(cl, family, err);
    CLQ_TRY(clq_cl_begin(&l, cl, family, err));
    const struct clq_cl_operand *x = clq_cl_bind(&b, io->x, args->x, args->n, false, err);
    const struct clq_cl_operand *y = x ? clq_cl_bind(&b, io->y, args->y, bytes, true, err) : NULL;
    if (!y) return clq_cl_unbind(&b, b.status, err);
    clq_cl_arg_mem(&l, x->mem, x->at);
    clq_cl_arg_mem(&l, y->mem, y->at / sizeof(float));
    clq_cl_arg_u64(&l, args->n);
    clq_cl_arg_float(&l, args->scale);
    clq_cl_arg_int(&l, args->zero_point);
    return clq_cl_unbind(&b, clq_cl_enqueue(&l, span(&l, args->n), 1, err), err);
}

/* One launch of minmax over at most 2^30 elements: 32-bit counters. */
static clq_status minmax_part(struct clq_cl *cl, struct clq_minmax_args *args, const struct clq_cl_operand *x,
                              size_t begin, size_t n, struct clq_error *err)
{
    enum { WORDS = 8, MAX_ITEMS = 2048 };
    static const uint32_t idle[5] = {0x7f800000u, 0xff800000u, 0, 0, 0};
    struct clq_cl_launch l;
    struct clq_cl_buffer part = {0};
    uint32_t found[MAX_ITEMS][WORDS];
    CLQ_TRY(clq_cl_begin(&l, cl, CLQ_CL_MINMAX, err));
    size_t items = span(&l, n);
    if (items > MAX_ITEMS / 64 * 63) items = MAX_ITEMS / 64 * 63;
    const size_t local = l.family->variant->local[0] < cl->max_group ? l.family->variant->local[0] : cl->max_group;
    items = (items + local - 1) / local * local;
    CLQ_TRY(clq_cl_alloc(&part, cl, items * sizeof *found, err));
    clq_cl_arg_mem(&l, x->mem, x->at / sizeof(float) + begin);
    clq_cl_arg_mem(&l, part.mem, part.offset / sizeof(uint32_t));
    clq_cl_arg_u64(&l, n);
    clq_status st = clq_cl_enqueue(&l, items, 1, err);
    if (st == CLQ_OK) st = clq_cl_download(found, cl, &part, items * sizeof *found, err);
    clq_cl_release(cl, &part);
    CLQ_TRY(st);
    for (size_t i = 0; i < items; i++) {
        float low, high;
        memcpy(&low, &found[i][0], sizeof low);
        memcpy(&high, &found[i][1], sizeof high);
        if (memcmp(found[i], idle, sizeof idle) == 0) continue;
        if (low < args->min) args->min = low;
        if (high > args->max) args->max = high;
        args->n_nan += found[i][2];
        args->n_pos_inf += found[i][3];
        args->n_neg_inf += found[i][4];
    }
    return CLQ_OK;
}

clq_status clq_cl_minmax(struct clq_cl *cl, struct clq_minmax_args *args, const struct clq_cl_io *io,
                         struct clq_error *err)
{
    enum { CHUNK = 1 << 30 };
    struct clq_minmax_args result = *args;
    struct clq_cl_binding b = {.cl = cl};
    struct clq_cl_launch l;
    size_t bytes;
    if (args->n == 0) return CLQ_OK;
    if (!clq_size_mul(&bytes, args->n, sizeof(float))) return unsupported(cl, CLQ_CL_MINMAX, err);
    CLQ_TRY(clq_cl_begin(&l, cl, CLQ_CL_MINMAX, err));
    const struct clq_cl_operand *x = clq_cl_bind(&b, io ? io->x : NULL, args->x, bytes, false, err);
    clq_status st = b.status;
    for (size_t at = 0; at < args->n && st == CLQ_OK; at += CHUNK)
        st = minmax_part(cl, &result, x, at, args->n - at < CHUNK ? args->n - at : CHUNK, err);
    CLQ_TRY(clq_cl_unbind(&b, st, err));
    *args = result;
    return CLQ_OK;
}

/* The kernel is compiled for 1024 bins a side; others stay on the CPU. */
clq_status clq_cl_histogram(struct clq_cl *cl, const struct clq_histogram_args *args, const struct clq_cl_io *io,
                            struct clq_error *err)
{
    enum { LOG2_BINS = 10, BINS = 1 << LOG2_BINS, CHUNK = 1 << 30 };
    uint32_t counts[2 * BINS] = {0};
    struct clq_cl_launch l;
    struct clq_cl_binding b = {.cl = cl};
    struct clq_cl_buffer bins = {0};
    size_t bytes;
    if (args->n == 0) return CLQ_OK;
    if (args->log2_bins != LOG2_BINS || args->n > CHUNK || !clq_size_mul(&bytes, args->n, sizeof(float)))
        return unsupported(cl, CLQ_CL_HISTOGRAM, err);
    CLQ_TRY(clq_cl_begin(&l, cl, CLQ_CL_HISTOGRAM, err));
    CLQ_TRY(clq_cl_alloc(&bins, cl, sizeof counts, err));
    clq_status st = clq_cl_upload(cl, &bins, counts, sizeof counts, err);
    const struct clq_cl_operand *x =
        st == CLQ_OK ? clq_cl_bind(&b, io ? io->x : NULL, args->x, bytes, false, err) : NULL;
    if (st == CLQ_OK) st = b.status;
    if (st == CLQ_OK) {
        size_t items = span(&l, args->n);
        const size_t groups = cl->info.compute_units * 8 * l.family->variant->local[0];
        clq_cl_arg_mem(&l, x->mem, x->at / sizeof(float));
        clq_cl_arg_mem(&l, bins.mem, bins.offset / sizeof(uint32_t));
        clq_cl_arg_u64(&l, args->n);
        clq_cl_arg_float(&l, ldexpf(1.0f, LOG2_BINS - args->exponent));
        st = clq_cl_enqueue(&l, items < groups ? items : groups, 1, err);
    }
    if (st == CLQ_OK) st = clq_cl_download(counts, cl, &bins, sizeof counts, err);
    st = clq_cl_unbind(&b, st, err);
    clq_cl_release(cl, &bins);
    CLQ_TRY(st);
    for (int i = 0; i < BINS; i++) {
        args->positive[i] += counts[i];
        args->negative[i] += counts[BINS + i];
    }
    return CLQ_OK;
}

static clq_status enqueue_binary(struct clq_cl_launch *l, const struct clq_binary_u8_args *args, const struct clq_cl_operand *a,
                                 const struct clq_cl_operand *b, const struct clq_cl_operand *y, struct clq_error *err)
{
    clq_cl_arg_mem(l, a->mem, a->at);
    clq_cl_arg_mem(l, b->mem, b->at);
    clq_cl_arg_mem(l, y->mem, y->at);
    clq_cl_arg_u64(l, args->n);
    clq_cl_arg_float(l, args->scale_a);
    clq_cl_arg_float(l, args->scale_b);
    clq_cl_arg_float(l, args->scale_y);
    clq_cl_arg_float(l, 1.0f / args->scale_y);
    clq_cl_arg_int(l, args->zero_point_a);
    clq_cl_arg_int(l, args->zero_point_b);
    clq_cl_arg_int(l, args->zero_point_y);
    clq_cl_arg_int(l, args->lo);
    clq_cl_arg_int(l, args->hi);
    return clq_cl_enqueue(l, span(l, args->n), 1, err);
}

static clq_status binary(struct clq_cl *cl, enum clq_cl_family family, const struct clq_binary_u8_args *args,
                         const struct clq_cl_io *io, struct clq_error *err)
{
    struct clq_cl_launch l;
    struct clq_cl_binding bind = {.cl = cl};
    if (args->n == 0) return CLQ_OK;
    if (!io) io = &no_io;
    if (!clq_cl_supports_binary(cl, args)) return unsupported(cl, family, err);
    CLQ_TRY(clq_cl_begin(&l, cl, family, err));
    const struct clq_cl_operand *a = clq_cl_bind(&bind, io->x, args->a, args->n, false, err);
    const struct clq_cl_operand *b = a ? clq_cl_bind(&bind, io->b, args->b, args->n, false, err) : NULL;
    const struct clq_cl_operand *y = b ? clq_cl_bind(&bind, io->y, args->y, args->n, true, err) : NULL;
    if (!y) return clq_cl_unbind(&bind, bind.status, err);
    return clq_cl_unbind(&bind, enqueue_binary(&l, args, a, b, y, err), err);
}

bool clq_cl_supports_residual(const struct clq_cl *cl, const struct clq_residual *r, enum clq_out out, size_t columns, size_t ldy)
{
    if (!r) return true;
    const struct clq_binary_u8_args sum = clq_residual_sum(r, 0);
    return out == CLQ_OUT_U8 && r->ld == columns && ldy == columns && clq_cl_supports_binary(cl, &sum);
}

clq_status clq_cl_enqueue_residual(struct clq_cl *cl, const struct clq_residual *residual, const struct clq_cl_operand *y,
                                   const struct clq_cl_operand *r, size_t n, struct clq_error *err)
{
    const struct clq_binary_u8_args sum = clq_residual_sum(residual, n);
    struct clq_cl_launch l;
    CLQ_TRY(clq_cl_begin(&l, cl, CLQ_CL_ADD, err));
    return enqueue_binary(&l, &sum, y, r, y, err);
}

clq_status clq_cl_add(struct clq_cl *cl, const struct clq_binary_u8_args *args, const struct clq_cl_io *io,
                      struct clq_error *err)
{
    return binary(cl, CLQ_CL_ADD, args, io, err);
}

clq_status clq_cl_mul(struct clq_cl *cl, const struct clq_binary_u8_args *args, const struct clq_cl_io *io,
                      struct clq_error *err)
{
    return binary(cl, CLQ_CL_MUL, args, io, err);
}

/* io->b, where given, is the table. */
clq_status clq_cl_lut(struct clq_cl *cl, const struct clq_lut_args *args, const struct clq_cl_io *io,
                      struct clq_error *err)
{
    struct clq_cl_launch l;
    struct clq_cl_binding b = {.cl = cl};
    if (args->n == 0) return CLQ_OK;
    if (!io) io = &no_io;
    CLQ_TRY(clq_cl_begin(&l, cl, CLQ_CL_LUT, err));
    const struct clq_cl_operand *x = clq_cl_bind(&b, io->x, args->x, args->n, false, err);
    const struct clq_cl_operand *y = x ? clq_cl_bind(&b, io->y, args->y, args->n, true, err) : NULL;
    const struct clq_cl_operand *table = y ? clq_cl_bind(&b, io->b, args->table, 256, false, err) : NULL;
    if (!table) return clq_cl_unbind(&b, b.status, err);
    clq_cl_arg_mem(&l, x->mem, x->at);
    clq_cl_arg_mem(&l, y->mem, y->at);
    clq_cl_arg_u64(&l, args->n);
    clq_cl_arg_mem(&l, table->mem, table->at);
    return clq_cl_unbind(&b, clq_cl_enqueue(&l, span(&l, args->n), 1, err), err);
}

static clq_status pool(struct clq_cl *cl, enum clq_cl_family family, const struct clq_pool_args *args,
                       const struct clq_cl_io *io, struct clq_error *err)
{
    const bool average = family == CLQ_CL_AVGPOOL;
    struct clq_cl_launch l;
    struct clq_cl_binding b = {.cl = cl};
    size_t in = args->batch;
    if (args->row_end <= args->row_begin || args->ow == 0 || args->c == 0) return CLQ_OK;
    if (!io) io = &no_io;
    if (!clq_cl_supports_pool(cl, args, average) || !clq_size_mul(&in, in, args->h) ||
        !clq_size_mul(&in, in, args->w) || !clq_size_mul(&in, in, args->c))
        return unsupported(cl, family, err);
    CLQ_TRY(clq_cl_begin(&l, cl, family, err));
    const size_t row = args->ow * args->c, rows = args->row_end - args->row_begin;
    /* Rows before row_begin belong to others: only the wanted part of the output is bound. */
    struct clq_cl_buffer part = io->y ? *io->y : (struct clq_cl_buffer){0};
    if (io->y && (args->row_end * row > part.bytes)) return unsupported(cl, family, err);
    part.offset += args->row_begin * row;
    part.bytes -= args->row_begin * row;
    const struct clq_cl_operand *x = clq_cl_bind(&b, io->x, args->x, in, false, err);
    const struct clq_cl_operand *y =
        x ? clq_cl_bind(&b, io->y ? &part : NULL, args->y + args->row_begin * row, rows * row, true, err) : NULL;
    if (!y) return clq_cl_unbind(&b, b.status, err);
    const size_t sizes[] = {args->h,        args->w,          args->c,         args->oh,       args->ow,
                            args->kh,       args->kw,         args->stride_h,  args->stride_w, args->pad_top,
                            args->pad_left, args->dilation_h, args->dilation_w};
    clq_cl_arg_mem(&l, x->mem, x->at);
    clq_cl_arg_mem(&l, y->mem, y->at);
    clq_cl_arg_int(&l, (int64_t)(args->row_begin * args->ow));
    clq_cl_arg_int(&l, (int64_t)(rows * args->ow));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) clq_cl_arg_int(&l, (int64_t)sizes[i]);
    if (average) {
        clq_cl_arg_float(&l, args->scale_x);
        clq_cl_arg_float(&l, args->scale_y);
        clq_cl_arg_float(&l, 1.0f / args->scale_y);
        clq_cl_arg_int(&l, args->zero_point_x);
        clq_cl_arg_int(&l, args->zero_point_y);
        clq_cl_arg_int(&l, args->count_include_pad);
    }
    const size_t lanes = l.family->variant->needs & CLQ_CL_CAP_CPU ? 16 : 4;
    return clq_cl_unbind(&b, clq_cl_enqueue(&l, rows * args->ow * ((args->c + lanes - 1) / lanes), 1, err), err);
}

clq_status clq_cl_maxpool(struct clq_cl *cl, const struct clq_pool_args *args, const struct clq_cl_io *io,
                          struct clq_error *err)
{
    return pool(cl, CLQ_CL_MAXPOOL, args, io, err);
}

clq_status clq_cl_avgpool(struct clq_cl *cl, const struct clq_pool_args *args, const struct clq_cl_io *io,
                          struct clq_error *err)
{
    return pool(cl, CLQ_CL_AVGPOOL, args, io, err);
}
