/* SPDX-License-Identifier: Apache-2.0
 * Prepared INT8 products on plain arrays: what matrix products and convolutions share, and the matrix product. The CPU packs
 * when it is first needed, so that a device that works costs no second copy. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "buffers.h"
#include "kernels/residual.h"
#ifdef CLQ_HAVE_OPENCL
#include "device_cl.h"
#endif

clq_status clq_product_check_input(struct clq_context *ctx, int32_t *lo, int32_t *hi, const char *what, clq_dtype input, int32_t zero_point)
{
    if (!clq_buffers_limits(input, lo, hi))
        return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "%s: input: expected uint8 or int8, got %s", what, clq_dtype_name(input));
    if (zero_point < *lo || zero_point > *hi)
        return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "%s: input_zero_point: expected %d to %d, got %d", what, *lo, *hi, zero_point);
    return CLQ_OK;
}

/* Limits of a code: those given, or lo..hi of its type where they are equal. */
static clq_status take_limits(int32_t out[2], struct clq_context *ctx, const char *what, const char *name, const int32_t given[2], int32_t lo, int32_t hi)
{
    out[0] = lo;
    out[1] = hi;
    if (given[0] == given[1]) return CLQ_OK;
    if (given[0] < lo || given[1] > hi || given[0] > given[1])
        return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "%s: %s limits: expected %d <= lo <= hi <= %d, got %d and %d", what, name, lo, hi, given[0], given[1]);
    out[0] = given[0];
    out[1] = given[1];
    return CLQ_OK;
}

static clq_status check_zero_point(struct clq_context *ctx, const char *what, const char *name, int32_t zero_point, int32_t lo, int32_t hi)
{
    if (zero_point >= lo && zero_point <= hi) return CLQ_OK;
    return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "%s: %s: expected %d to %d, got %d", what, name, lo, hi, zero_point);
}

/* lo..hi: of the type of all codes. */
static clq_status check_residual(struct clq_product *p, const char *what, const clq_product_residual *r, int32_t lo, int32_t hi)
{
    struct clq_context *ctx = p->ctx;
    int32_t limits[2];
    CLQ_TRY(clq_buffers_check_scales(ctx, "residual.product_scale", &r->product_scale, 1));
    CLQ_TRY(clq_buffers_check_scales(ctx, "residual.scale", &r->scale, 1));
    CLQ_TRY(clq_buffers_check_scales(ctx, "residual.sum_scale", &r->sum_scale, 1));
    CLQ_TRY(check_zero_point(ctx, what, "residual.zero_point", r->zero_point, lo, hi));
    CLQ_TRY(check_zero_point(ctx, what, "residual.sum_zero_point", r->sum_zero_point, lo, hi));
    CLQ_TRY(take_limits(limits, ctx, what, "residual", (const int32_t[]){r->lo, r->hi}, lo, hi));
    p->has_residual = true;
    p->residual = (struct clq_residual){
        .scale_q = r->product_scale, .scale_r = r->scale, .scale_y = r->sum_scale, .zero_point_q = p->zero_point_y,
        .zero_point_r = r->zero_point, .zero_point_y = r->sum_zero_point, .lo = limits[0], .hi = limits[1],
    };
    return CLQ_OK;
}

static clq_status check_output(struct clq_product *p, const char *what, size_t n, const clq_product_output *o)
{
    struct clq_error *err = &p->ctx->error;
    int32_t lo, hi, limits[2];
    bool codes = clq_buffers_limits(o->dtype, &lo, &hi);
    if (!codes && o->dtype != CLQ_DTYPE_F32 && o->dtype != CLQ_DTYPE_S32)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: output.dtype: expected uint8, int8, float32 or int32, got %s", what, clq_dtype_name(o->dtype));
    p->out = o->dtype == CLQ_DTYPE_U8 ? CLQ_OUT_U8 : o->dtype == CLQ_DTYPE_S8 ? CLQ_OUT_S8 : o->dtype == CLQ_DTYPE_F32 ? CLQ_OUT_F32 : CLQ_OUT_S32;
    if (p->out != CLQ_OUT_S32) CLQ_TRY(clq_buffers_check_scales(p->ctx, "output.multiplier", o->multiplier, n));
    if (!codes) return o->residual ? clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: residual: expected uint8 or int8 results, got %s", what, clq_dtype_name(o->dtype)) : CLQ_OK;
    CLQ_TRY(check_zero_point(p->ctx, what, "output.zero_point", o->zero_point, lo, hi));
    CLQ_TRY(take_limits(limits, p->ctx, what, "output", (const int32_t[]){o->lo, o->hi}, lo, hi));
    p->zero_point_y = o->zero_point;
    p->lo = limits[0];
    p->hi = limits[1];
    return o->residual ? check_residual(p, what, o->residual, lo, hi) : CLQ_OK;
}

/* k <= 2^40 and reach <= 255: everything stays below 2^56. */
static int64_t prove(const int8_t *weight, const int32_t *bias, size_t n, size_t k, int32_t reach)
{
    int64_t bound = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t sum = 0;
        for (size_t j = 0; j < k; j++) sum += weight[i * k + j] < 0 ? -weight[i * k + j] : weight[i * k + j];
        sum *= reach;
        if (bias) sum += bias[i] < 0 ? -(int64_t)bias[i] : bias[i];
        if (sum > bound) bound = sum;
    }
    return bound;
}

static void *copy(const void *from, size_t bytes)
{
    void *to = malloc(bytes);
    if (to) memcpy(to, from, bytes);
    return to;
}

clq_status clq_product_fill(struct clq_product *p, const char *what, size_t n, size_t k, const int8_t *weight, const int32_t *bias,
                            const clq_product_output *output, int32_t reach)
{
    struct clq_error *err = &p->ctx->error;
    size_t count;
    /* Panels pad a column to at most 16 and a step to 4: with this limit all their sizes stay below 2^53. */
    if (n > INT32_MAX || k > (size_t)1 << 40 || !clq_size_mul(&count, n, k) || count > (size_t)1 << 46)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: a weight of %zu x %zu does not fit into memory", what, n, k);
    if (!weight) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: weight is NULL", what);
    CLQ_TRY(check_output(p, what, n, output));
    p->bound = prove(weight, bias, n, k, reach);
    p->weight = copy(weight, count);
    if (bias) p->bias = copy(bias, n * sizeof *bias);
    if (p->out != CLQ_OUT_S32) p->multiplier = copy(output->multiplier, n * sizeof(float));
    if (!p->weight || (bias && !p->bias) || (p->out != CLQ_OUT_S32 && !p->multiplier))
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "%s: no memory for a weight of %zu bytes", what, count);
    p->bytes = count + (bias ? 4 : 0) * n + (p->multiplier ? 4 : 0) * n;
    return CLQ_OK;
}

clq_status clq_product_reserve(struct clq_product *p, void **block, size_t *bytes, size_t needed)
{
    size_t size = 0;
    if (needed <= *bytes) return CLQ_OK;
    free(*block);
    *block = NULL;
    *bytes = 0;
    if (!clq_size_align(&size, needed, 64) || !(*block = aligned_alloc(64, size)))
        return clq_fail(&p->ctx->error, CLQ_ERR_OUT_OF_MEMORY, "a packed weight or its scratch: no memory for %zu bytes", needed);
    *bytes = size;
    return CLQ_OK;
}

void clq_product_free(struct clq_product *p)
{
#ifdef CLQ_HAVE_OPENCL
    if (p->on_device) clq_cl_weight_free(p->ctx->cl, p->on_device);
#endif
    free(p->weight);
    free(p->bias);
    free(p->multiplier);
    free(p->packed);
    free(p->scratch);
}

int clq_product_threads(const struct clq_product *p, double products)
{
    return products < 16.0 * CLQ_BUFFERS_SERIAL ? 1 : p->ctx->threads;
}

struct clq_gemm {
    struct clq_product p;
    bool is_signed;
    struct clq_gemm_args args; /* without m, a, lda, y, ldy, scratch */
};

static clq_status check_desc(struct clq_context *ctx, const clq_gemm_desc *d)
{
    struct clq_error *err = &ctx->error;
    if (!d) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "clq_gemm_prepare: desc is NULL");
    if (d->n < 1 || d->k < 1 || d->n > INT32_MAX || d->k > INT32_MAX)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "clq_gemm_prepare: n and k: expected 1 to 2147483647, got %zu and %zu", d->n, d->k);
    return CLQ_OK;
}

static void plan(struct clq_gemm *g, struct clq_gemm_args *a)
{
    const struct clq_kernels *k = &g->p.ctx->kernels;
    (g->is_signed ? k->gemm_s8s8_plan : k->gemm_u8s8_plan)(a);
}

static clq_status pack(struct clq_gemm *g)
{
    const struct clq_kernels *k = &g->p.ctx->kernels;
    if (g->p.is_packed) return CLQ_OK;
    plan(g, &g->args);
    CLQ_TRY(clq_product_reserve(&g->p, &g->p.packed, &g->p.packed_bytes, g->args.packed_bytes));
    g->args.packed = g->p.packed;
    (g->is_signed ? k->gemm_s8s8_pack : k->gemm_u8s8_pack)(&g->args);
    g->p.is_packed = true;
    return CLQ_OK;
}

static clq_status place(struct clq_gemm *g)
{
    static const char what[] = "clq_gemm_prepare";
    struct clq_context *ctx = g->p.ctx;
    CLQ_TRY(clq_buffers_require(ctx, what));
#ifdef CLQ_HAVE_OPENCL
    struct clq_error why = {""};
    if (clq_buffers_device(ctx)) {
        clq_status st = clq_cl_prepare_gemm(&g->p.on_device, ctx->cl, g->is_signed, &g->args, &why);
        if (st == CLQ_OK) return CLQ_OK;
        CLQ_TRY(clq_buffers_fall_back(ctx, what, st, &why));
    }
#endif
    return pack(g);
}

static clq_status fill(struct clq_gemm *g, const clq_gemm_desc *d)
{
    struct clq_product *p = &g->p;
    int32_t lo, hi;
    CLQ_TRY(clq_product_check_input(p->ctx, &lo, &hi, "clq_gemm_prepare", d->input, d->input_zero_point));
    const int32_t below = d->input_zero_point - lo, above = hi - d->input_zero_point;
    CLQ_TRY(clq_product_fill(p, "clq_gemm_prepare", d->n, d->k, d->weight, d->bias, &d->output, below > above ? below : above));
    g->is_signed = d->input == CLQ_DTYPE_S8;
    g->args = (struct clq_gemm_args){
        .m = 1,
        .n = d->n,
        .k = d->k,
        .lda = d->k,
        .ldy = d->n,
        .weight = p->weight,
        .bias = p->bias,
        .multiplier = p->multiplier,
        .zero_point_a = d->input_zero_point,
        .zero_point_y = p->zero_point_y,
        .lo = p->lo,
        .hi = p->hi,
        .out = p->out,
        .residual = clq_product_residual_of(p, NULL, d->n),
        .bound = p->bound,
    };
    return place(g);
}

clq_status clq_gemm_prepare(clq_gemm **out, clq_context *ctx, const clq_gemm_desc *desc)
{
    if (!ctx) return CLQ_ERR_INVALID_ARGUMENT;
    if (!out) return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "clq_gemm_prepare: out is NULL");
    CLQ_TRY(check_desc(ctx, desc));
    struct clq_gemm *g = calloc(1, sizeof *g);
    if (!g) return clq_fail(&ctx->error, CLQ_ERR_OUT_OF_MEMORY, "clq_gemm_prepare: no memory for %zu bytes", sizeof *g);
    g->p.ctx = ctx;
    clq_status st = fill(g, desc);
    if (st == CLQ_OK) *out = g;
    else clq_gemm_free(g);
    return st;
}

/* Bytes from the first to the last element of `rows` rows. */
static bool rows_bytes(size_t *bytes, size_t rows, size_t distance, size_t columns, size_t element)
{
    return clq_size_mul(bytes, rows - 1, distance) && clq_size_add(bytes, *bytes, columns) && clq_size_mul(bytes, *bytes, element) && *bytes <= PTRDIFF_MAX;
}

clq_status clq_product_check_residual(struct clq_product *p, const char *what, bool wanted)
{
    if (p->has_residual == wanted) return CLQ_OK;
    return clq_fail(&p->ctx->error, CLQ_ERR_INVALID_ARGUMENT, "%s: the product was prepared %s a residual", what, wanted ? "without" : "with");
}

/* What is summed overlaps nothing that is read, and what is read nothing that is written. */
static clq_status check_sums(const struct clq_gemm *g, const struct clq_gemm_args *r, const char *what, size_t a_bytes, size_t y_bytes, size_t r_bytes)
{
    struct clq_error *err = &g->p.ctx->error;
    size_t bytes;
    if (!r->sums_a && !r->sums_y) return CLQ_OK;
    if (!rows_bytes(&bytes, r->m, 1, 1, sizeof *r->sums_y)) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: the sums of %zu rows do not fit into memory", what, r->m);
    const struct {
        const char *names;
        const void *sums, *other;
        size_t other_bytes;
    } pairs[] = {
        {"y_sums and y", r->sums_y, r->y, y_bytes},
        {"y_sums and a", r->sums_y, r->a, a_bytes},
        {"y_sums and a_sums", r->sums_y, r->sums_a, bytes},
        {"y_sums and residual", r->sums_y, r->residual ? r->residual->codes : NULL, r_bytes},
        {"a_sums and y", r->sums_a, r->y, y_bytes},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (pairs[i].sums && pairs[i].other && clq_buffers_overlap(pairs[i].sums, bytes, pairs[i].other, pairs[i].other_bytes))
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: %s overlap", what, pairs[i].names);
    return CLQ_OK;
}

static clq_status check_run(const struct clq_gemm *g, const struct clq_gemm_args *r, const char *what)
{
    struct clq_error *err = &g->p.ctx->error;
    const size_t element = r->out == CLQ_OUT_F32 || r->out == CLQ_OUT_S32 ? 4 : 1;
    size_t a_bytes, y_bytes, r_bytes = 0;
    const struct clq_residual *add = r->residual;
    if (!r->a || !r->y) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: %s is NULL", what, r->a ? "y" : "a");
    if (r->sums_y && r->out != CLQ_OUT_U8 && r->out != CLQ_OUT_S8) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: y_sums: expected uint8 or int8 results", what);
    if (r->lda < r->k) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: lda: expected at least k = %zu, got %zu", what, r->k, r->lda);
    if (r->ldy < r->n) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: ldy: expected at least n = %zu, got %zu", what, r->n, r->ldy);
    if (add && add->ld < r->n) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: ldr: expected at least n = %zu, got %zu", what, r->n, add->ld);
    if (!rows_bytes(&a_bytes, r->m, r->lda, r->k, 1) || !rows_bytes(&y_bytes, r->m, r->ldy, r->n, element) ||
        (add && !rows_bytes(&r_bytes, r->m, add->ld, r->n, 1)))
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: %zu rows of distance %zu and %zu do not fit into memory", what, r->m, r->lda, r->ldy);
    CLQ_TRY(check_sums(g, r, what, a_bytes, y_bytes, r_bytes));
    if (clq_buffers_overlap(r->a, a_bytes, r->y, y_bytes)) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: a and y overlap", what);
    if (add && clq_buffers_overlap(add->codes, r_bytes, r->y, y_bytes)) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: residual and y overlap", what);
    return CLQ_OK;
}

struct job {
    const struct clq_gemm *g;
    const struct clq_gemm_args *args;
    size_t stride;
};

static void run_units(void *state, size_t begin, size_t end, int thread)
{
    const struct job *j = state;
    const struct clq_kernels *k = &j->g->p.ctx->kernels;
    struct clq_gemm_args a = *j->args;
    a.unit_begin = begin;
    a.unit_end = end;
    a.scratch = j->g->p.scratch ? (char *)j->g->p.scratch + (size_t)thread * j->stride : NULL;
    (j->g->is_signed ? k->gemm_s8s8 : k->gemm_u8s8)(&a);
}

static clq_status on_cpu(struct clq_gemm *g, const struct clq_gemm_args *wanted)
{
    CLQ_TRY(pack(g));
    struct clq_gemm_args a = *wanted;
    a.packed = g->args.packed;
    plan(g, &a);
    struct job j = {.g = g, .args = &a, .stride = clq_product_stride(a.scratch_bytes)};
    if (a.scratch_bytes > 0) CLQ_TRY(clq_product_reserve(&g->p, &g->p.scratch, &g->p.scratch_bytes, j.stride * (size_t)g->p.ctx->threads));
    const int threads = clq_product_threads(&g->p, (double)a.m * (double)a.n * (double)a.k);
    clq_pool_for(g->p.ctx->pool, threads, a.units, run_units, &j);
    return CLQ_OK;
}

static clq_status run(struct clq_gemm *gemm, const struct clq_gemm_args *r, const char *what)
{
    CLQ_TRY(check_run(gemm, r, what));
    CLQ_TRY(clq_buffers_require(gemm->p.ctx, what));
    if (r->sums_y) memset(r->sums_y, 0, r->m * sizeof *r->sums_y);
#ifdef CLQ_HAVE_OPENCL
    struct clq_context *ctx = gemm->p.ctx;
    struct clq_error why = {""};
    if (gemm->p.on_device && clq_buffers_device(ctx)) {
        struct clq_gemm_args without = *r;
        without.sums_y = NULL;
        clq_status st = clq_cl_supports_gemm(ctx->cl, &without) ? clq_cl_gemm(ctx->cl, gemm->p.on_device, &without, NULL, &why)
                                                         : clq_fail(&why, CLQ_ERR_UNSUPPORTED, "%zu rows, or gaps beside a residual, are too much for the device", r->m);
        const struct clq_residual_block all = {0, r->m, 0, r->n};
        if (st == CLQ_OK) clq_row_sums(r->sums_y, r->out, r->y, r->ldy, &all);
        if (st == CLQ_OK) return CLQ_OK;
        CLQ_TRY(clq_buffers_fall_back(ctx, what, st, &why));
    }
#endif
    return on_cpu(gemm, r);
}

clq_status clq_gemm_run_operands(clq_gemm *gemm, const clq_gemm_operands *o)
{
    static const char what[] = "clq_gemm_run_operands";
    if (!gemm) return CLQ_ERR_INVALID_ARGUMENT;
    if (!o) return clq_fail(&gemm->p.ctx->error, CLQ_ERR_INVALID_ARGUMENT, "%s: operands is NULL", what);
    struct clq_gemm_args r = gemm->args;
    r.m = o->m;
    r.a = o->a;
    r.lda = o->lda;
    r.sums_a = o->a_sums;
    r.y = o->y;
    r.ldy = o->ldy;
    r.sums_y = o->y_sums;
    r.residual = clq_product_residual_of(&gemm->p, o->residual, o->ldr);
    if (o->m == 0) return CLQ_OK;
    CLQ_TRY(clq_product_check_residual(&gemm->p, what, o->residual != NULL));
    return run(gemm, &r, what);
}

clq_status clq_gemm_run(clq_gemm *gemm, const void *a, size_t lda, size_t m, void *y, size_t ldy)
{
    if (!gemm) return CLQ_ERR_INVALID_ARGUMENT;
    struct clq_gemm_args r = gemm->args;
    r.m = m;
    r.a = a;
    r.lda = lda;
    r.y = y;
    r.ldy = ldy;
    CLQ_TRY(clq_product_check_residual(&gemm->p, "clq_gemm_run", false));
    return m == 0 ? CLQ_OK : run(gemm, &r, "clq_gemm_run");
}

void clq_gemm_describe(clq_product_info *out, const clq_gemm *g)
{
    const struct clq_kernels *k = &g->p.ctx->kernels;
    *out = (clq_product_info){.bound = g->p.bound, .bytes = sizeof *g + g->p.bytes + g->p.packed_bytes + g->p.scratch_bytes};
    out->on_device = g->p.on_device && clq_buffers_device(g->p.ctx);
    out->kernel = g->p.bound > INT32_MAX ? "ref" : g->is_signed ? k->variant.gemm_s8s8 : k->variant.gemm_u8s8;
#ifdef CLQ_HAVE_OPENCL
    if (out->on_device) out->kernel = clq_cl_variant(g->p.ctx->cl, CLQ_CL_GEMM);
#endif
}

void clq_gemm_free(clq_gemm *gemm)
{
    if (!gemm) return;
    clq_product_free(&gemm->p);
    free(gemm);
}
