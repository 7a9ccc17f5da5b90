/* SPDX-License-Identifier: Apache-2.0
 * Histograms of plain arrays, and the ranges that are found from them. */
#include <math.h>
#include <stdlib.h>

#include "base/size.h"
#include "buffers.h"
#include "calibrate.h"
#ifdef CLQ_HAVE_OPENCL
#include "device_cl.h"
#endif

enum { CHUNK = 65536 };

struct clq_histogram {
    struct clq_hist h;
};

clq_status clq_histogram_create(clq_histogram **out, clq_context *ctx)
{
    if (!ctx) return CLQ_ERR_INVALID_ARGUMENT;
    if (!out) return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "clq_histogram_create: out is NULL");
    struct clq_histogram *h = malloc(sizeof *h);
    if (!h) return clq_fail(&ctx->error, CLQ_ERR_OUT_OF_MEMORY, "clq_histogram_create: no memory for %zu bytes", sizeof *h);
    clq_hist_start(&h->h);
    *out = h;
    return CLQ_OK;
}

void clq_histogram_free(clq_histogram *histogram)
{
    free(histogram);
}

struct job {
    struct clq_context *ctx;
    struct clq_hist *part; /* one per thread */
    const float *x;
    size_t n;
};

static void add_chunks(void *state, size_t begin, size_t end, int thread)
{
    const struct job *j = state;
    const size_t from = begin * CHUNK, to = end * CHUNK < j->n ? end * CHUNK : j->n;
    clq_hist_add(&j->part[thread], &j->ctx->kernels, j->x + from, to - from);
}

#ifdef CLQ_HAVE_OPENCL
/* Both kernels read one copy of the values on the device. */
static clq_status add_part(struct clq_cl *cl, struct clq_hist *part, const struct clq_cl_buffer *buffer, const float *x, size_t n, struct clq_error *why)
{
    const struct clq_cl_io io = {.x = buffer};
    struct clq_minmax_args mm = {.x = x, .n = n, .min = INFINITY, .max = -INFINITY};
    CLQ_TRY(clq_cl_upload(cl, buffer, x, n * sizeof *x, why));
    CLQ_TRY(clq_cl_minmax(cl, &mm, &io, why));
    if (clq_hist_accept(part, &mm) == 0) return CLQ_OK;
    struct clq_histogram_args a = {x, n, part->exponent, CLQ_HIST_LOG2, part->positive, part->negative};
    return clq_cl_histogram(cl, &a, &io, why);
}

/* Counts into a histogram of its own: one that the device has spoiled is thrown away. */
static clq_status on_device(struct clq_context *ctx, struct clq_hist *into, const float *x, size_t n, struct clq_error *why)
{
    const size_t most = (size_t)1 << 22, chunk = n < most ? n : most;
    struct clq_cl_buffer buffer = {0};
    struct clq_hist *part = malloc(sizeof *part);
    if (!part) return clq_fail(why, CLQ_ERR_OUT_OF_MEMORY, "no memory for a histogram");
    clq_hist_start(part);
    clq_status st = clq_cl_alloc(&buffer, ctx->cl, chunk * sizeof *x, why);
    const bool allocated = st == CLQ_OK;
    for (size_t at = 0; at < n && st == CLQ_OK; at += chunk)
        st = add_part(ctx->cl, part, &buffer, x + at, n - at < chunk ? n - at : chunk, why);
    if (allocated) clq_cl_release(ctx->cl, &buffer); /* looks for writes outside of it */
    if (st == CLQ_OK && clq_cl_dead(ctx->cl)) st = clq_fail(why, CLQ_ERR_DEVICE, "%s", clq_cl_dead(ctx->cl));
    if (st == CLQ_OK) clq_hist_merge(into, part);
    free(part);
    return st;
}
#endif

static clq_status on_cpu(struct clq_context *ctx, struct clq_hist *into, const float *x, size_t n)
{
    const size_t units = (n + CHUNK - 1) / CHUNK;
    if (ctx->threads == 1 || units == 1) {
        clq_hist_add(into, &ctx->kernels, x, n);
        return CLQ_OK;
    }
    const size_t threads = (size_t)ctx->threads < units ? (size_t)ctx->threads : units;
    /* The pool numbers its threads up to the context's count, whichever of them come to work. */
    struct job j = {.ctx = ctx, .part = calloc((size_t)ctx->threads, sizeof *j.part), .x = x, .n = n};
    if (!j.part) return clq_fail(&ctx->error, CLQ_ERR_OUT_OF_MEMORY, "clq_histogram_add: no memory for %d histograms", ctx->threads);
    for (int i = 0; i < ctx->threads; i++) clq_hist_start(&j.part[i]);
    clq_pool_for(ctx->pool, (int)threads, units, add_chunks, &j);
    for (int i = 0; i < ctx->threads; i++) clq_hist_merge(into, &j.part[i]);
    free(j.part);
    return CLQ_OK;
}

clq_status clq_histogram_add(clq_context *ctx, clq_histogram *histogram, const float *x, size_t n)
{
    static const char what[] = "clq_histogram_add";
    size_t bytes;
    if (!ctx) return CLQ_ERR_INVALID_ARGUMENT;
    if (!histogram || (n > 0 && !x)) return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "%s: %s is NULL", what, histogram ? "x" : "histogram");
    if (!clq_size_mul(&bytes, n, sizeof *x) || bytes > PTRDIFF_MAX)
        return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "%s: %zu values do not fit into memory", what, n);
    if (n == 0) return CLQ_OK;
    CLQ_TRY(clq_buffers_require(ctx, what));
#ifdef CLQ_HAVE_OPENCL
    struct clq_error why = {""};
    if (clq_buffers_device(ctx)) {
        clq_status st = on_device(ctx, &histogram->h, x, n, &why);
        if (st == CLQ_OK) return CLQ_OK;
        CLQ_TRY(clq_buffers_fall_back(ctx, what, st, &why));
    }
#endif
    return on_cpu(ctx, &histogram->h, x, n);
}

clq_status clq_histogram_merge(clq_context *ctx, clq_histogram *into, const clq_histogram *from)
{
    if (!ctx) return CLQ_ERR_INVALID_ARGUMENT;
    if (!into || !from || into == from)
        return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "clq_histogram_merge: %s", !into ? "into is NULL" : !from ? "from is NULL" : "from is into");
    clq_hist_merge(&into->h, &from->h);
    return CLQ_OK;
}

clq_status clq_histogram_read(clq_histogram_info *out, clq_context *ctx, const clq_histogram *histogram)
{
    if (!ctx) return CLQ_ERR_INVALID_ARGUMENT;
    if (!out || !histogram) return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "clq_histogram_read: %s is NULL", out ? "histogram" : "out");
    const struct clq_hist *h = &histogram->h;
    *out = (clq_histogram_info){
        .count = h->count,
        .n_nan = h->n_nan,
        .n_pos_inf = h->n_pos_inf,
        .n_neg_inf = h->n_neg_inf,
        .min = h->count ? h->min : 0,
        .max = h->count ? h->max : 0,
        .exponent = h->exponent,
        .bins = CLQ_HIST_BINS,
        .positive = h->positive,
        .negative = h->negative,
    };
    return CLQ_OK;
}

static clq_status check_search(struct clq_context *ctx, const struct clq_hist *h, const clq_range_options *o)
{
    struct clq_error *err = &ctx->error;
    int32_t lo, hi;
    if ((unsigned)o->method > CLQ_RANGE_MSE) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "clq_range_search: method: expected 0 to 3, got %d", (int)o->method);
    if (!clq_buffers_limits(o->dtype, &lo, &hi))
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "clq_range_search: dtype of the codes: expected uint8 or int8, got %s", clq_dtype_name(o->dtype));
    if (!(o->lo <= o->hi)) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "clq_range_search: limits: expected lo <= hi, got %g and %g", (double)o->lo, (double)o->hi);
    if (!o->skip_non_finite && (h->n_nan || h->n_pos_inf || h->n_neg_inf))
        return clq_fail(err, CLQ_ERR_NUMERIC, "clq_range_search: expected finite values, got %llu NaN, %llu +inf and %llu -inf", (unsigned long long)h->n_nan,
                        (unsigned long long)h->n_pos_inf, (unsigned long long)h->n_neg_inf);
    return CLQ_OK;
}

clq_status clq_range_search(clq_range_result *out, clq_context *ctx, const clq_histogram *histogram, const clq_range_options *options)
{
    static const enum clq_calibrator methods[] = {
        [CLQ_RANGE_MINMAX] = CLQ_CAL_MINMAX, [CLQ_RANGE_PERCENTILE] = CLQ_CAL_PERCENTILE, [CLQ_RANGE_ENTROPY] = CLQ_CAL_ENTROPY, [CLQ_RANGE_MSE] = CLQ_CAL_MSE};
    if (!ctx) return CLQ_ERR_INVALID_ARGUMENT;
    if (!out || !histogram || !options)
        return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "clq_range_search: %s is NULL", !out ? "out" : !histogram ? "histogram" : "options");
    CLQ_TRY(check_search(ctx, &histogram->h, options));
    const bool limited = options->lo < options->hi, is_signed = options->dtype == CLQ_DTYPE_S8;
    struct clq_range r = clq_hist_range(&histogram->h, methods[options->method], limited ? options->lo : -INFINITY, limited ? options->hi : INFINITY);
    struct clq_qparams q = clq_range_params(r, options->symmetric);
    /* The internal zero point is that of uint8 codes. A range of zeros has zero point 0 for int8 as well. */
    int32_t zero = q.zero_point - (is_signed && (r.lo < 0 || r.hi > 0 || options->symmetric) ? 128 : 0);
    *out = (clq_range_result){
        .lo = r.lo,
        .hi = r.hi,
        .scale = q.scale,
        .zero_point = zero,
        .clipped = r.clipped,
        .mean_squared_error = clq_hist_error(&histogram->h, &q),
    };
    return CLQ_OK;
}
