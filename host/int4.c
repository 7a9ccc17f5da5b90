/* SPDX-License-Identifier: Apache-2.0
 * Products with 4-bit weights on plain arrays: packing once, and runs on the threads of the context. */
#include <clquant/int4.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "buffers.h"
#include "ops/convert.h"
#ifdef CLQ_HAVE_OPENCL
#include "device_cl.h"
#endif

enum { MOST_GROUP = 1118481 }; /* 15 * 128 * it fits int32 */

struct clq_int4 {
    struct clq_product p; /* packed, scratch */
    uint8_t *codes, *zero_point;
    void *scale;          /* copies, where the reference runs */
    float *bias;
    uint8_t *rows;        /* quantized rows of clq_int4_run_real, widened ones of clq_int4_run_float */
    float *row_scale;
    size_t rows_bytes, row_scale_bytes;
    size_t bytes;         /* of the copies */
    struct clq_cl_u4 *on_device; /* or NULL */
    struct clq_gemm_u4_args args; /* without m, a, lda, y, ldy, scratch */
};

/* Bytes of the parts of a described product. */
struct sizes {
    size_t groups, codes, points, scale;
};

static clq_status find_sizes(struct sizes *s, struct clq_error *err, const clq_int4_desc *d)
{
    s->groups = clq_int4_groups(d->k, d->group);
    if (!clq_size_mul(&s->codes, d->n, (d->k + 1) / 2) || !clq_size_mul(&s->points, d->n, s->groups) ||
        !clq_size_mul(&s->scale, s->points, 4) || s->codes > (size_t)1 << 46 || s->scale > (size_t)1 << 46)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "clq_int4_prepare: a weight of %zu x %zu does not fit into memory", d->n, d->k);
    if (d->scale_dtype == CLQ_DTYPE_F16) s->scale /= 2;
    return CLQ_OK;
}

static clq_status check_values(struct clq_error *err, const clq_int4_desc *d, const struct sizes *s)
{
    for (size_t i = 0; i < s->points; i++) {
        float v;
        if (d->scale_dtype == CLQ_DTYPE_F16) v = clq_from_f16(((const uint16_t *)d->scale)[i]);
        else v = ((const float *)d->scale)[i];
        if (!isfinite(v)) return clq_fail(err, CLQ_ERR_NUMERIC, "clq_int4_prepare: scale[%zu]: expected a finite number, got %g", i, (double)v);
        if (d->zero_point && d->zero_point[i] > 15)
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "clq_int4_prepare: zero_point[%zu]: expected 0 to 15, got %u", i, d->zero_point[i]);
    }
    return CLQ_OK;
}

static clq_status check_desc(struct clq_error *err, const clq_int4_desc *d)
{
    if (!d) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "clq_int4_prepare: desc is NULL");
    if (d->n < 1 || d->k < 1 || d->n > INT32_MAX || d->k > INT32_MAX)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "clq_int4_prepare: n and k: expected 1 to 2147483647, got %zu and %zu", d->n, d->k);
    const size_t group = d->group == 0 || d->group > d->k ? d->k : d->group;
    if (group > MOST_GROUP)
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "clq_int4_prepare: a group of %zu elements: sums of more than %d may exceed 32 bits", group, MOST_GROUP);
    if (d->scale_dtype != CLQ_DTYPE_F32 && d->scale_dtype != CLQ_DTYPE_F16)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "clq_int4_prepare: scale_dtype: expected float32 or float16, got %s", clq_dtype_name(d->scale_dtype));
    if (!d->codes || !d->scale) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "clq_int4_prepare: %s is NULL", d->codes ? "scale" : "codes");
    return CLQ_OK;
}

static void *copy(const void *from, size_t bytes)
{
    void *to = malloc(bytes);
    if (to) memcpy(to, from, bytes);
    return to;
}

/* The reference reads the plain arrays at every run. */
static clq_status keep_plain(struct clq_int4 *g, const struct sizes *s)
{
    struct clq_gemm_u4_args *a = &g->args;
    a->weight = g->codes = copy(a->weight, s->codes);
    a->scale = g->scale = copy(a->scale, s->scale);
    const bool points = a->zero_point != NULL;
    if (points) a->zero_point = g->zero_point = copy(a->zero_point, s->points);
    if (!a->weight || !a->scale || (points && !a->zero_point))
        return clq_fail(&g->p.ctx->error, CLQ_ERR_OUT_OF_MEMORY, "clq_int4_prepare: no memory for a weight of %zu bytes", s->codes);
    g->bytes += s->codes + s->scale + (points ? s->points : 0);
    return CLQ_OK;
}

static clq_status place(struct clq_int4 *g)
{
    static const char what[] = "clq_int4_prepare";
    CLQ_TRY(clq_buffers_require(g->p.ctx, what));
#ifdef CLQ_HAVE_OPENCL
    struct clq_error why = {""};
    if (!clq_buffers_device(g->p.ctx)) return CLQ_OK;
    clq_status st = clq_cl_prepare_u4(&g->on_device, g->p.ctx->cl, &g->args, &why);
    if (st != CLQ_OK) return clq_buffers_fall_back(g->p.ctx, what, st, &why);
#endif
    return CLQ_OK;
}

static clq_status fill(struct clq_int4 *g, const clq_int4_desc *d)
{
    const struct clq_kernels *k = &g->p.ctx->kernels;
    struct sizes s = {0};
    CLQ_TRY(find_sizes(&s, &g->p.ctx->error, d));
    CLQ_TRY(check_values(&g->p.ctx->error, d, &s));
    if (d->bias && !(g->bias = copy(d->bias, d->n * sizeof *d->bias)))
        return clq_fail(&g->p.ctx->error, CLQ_ERR_OUT_OF_MEMORY, "clq_int4_prepare: no memory for a bias of %zu columns", d->n);
    g->bytes = d->bias ? d->n * sizeof *d->bias : 0;
    g->args = (struct clq_gemm_u4_args){
        .m = 1,
        .n = d->n,
        .k = d->k,
        .group = d->group ? d->group : d->k,
        .lda = d->k,
        .weight = d->codes,
        .scale = d->scale,
        .scale_f16 = d->scale_dtype == CLQ_DTYPE_F16,
        .zero_point = d->zero_point,
        .bias = g->bias,
        .ldy = d->n,
    };
    k->gemm_s8u4_plan(&g->args);
    CLQ_TRY(clq_product_reserve(&g->p, &g->p.packed, &g->p.packed_bytes, g->args.packed_bytes));
    g->args.packed = g->p.packed;
    k->gemm_s8u4_pack(&g->args);
    CLQ_TRY(place(g));
    return g->args.packed_bytes == 0 ? keep_plain(g, &s) : CLQ_OK;
}

clq_status clq_int4_prepare(clq_int4 **out, clq_context *ctx, const clq_int4_desc *desc)
{
    if (!ctx) return CLQ_ERR_INVALID_ARGUMENT;
    if (!out) return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "clq_int4_prepare: out is NULL");
    CLQ_TRY(check_desc(&ctx->error, desc));
    struct clq_int4 *g = calloc(1, sizeof *g);
    if (!g) return clq_fail(&ctx->error, CLQ_ERR_OUT_OF_MEMORY, "clq_int4_prepare: no memory for %zu bytes", sizeof *g);
    g->p.ctx = ctx;
    clq_status st = fill(g, desc);
    if (st == CLQ_OK) *out = g;
    else clq_int4_free(g);
    return st;
}

/* Bytes from the first to the last element of `rows` rows. */
static bool rows_bytes(size_t *bytes, size_t rows, size_t distance, size_t columns, size_t element)
{
    return clq_size_mul(bytes, rows - 1, distance) && clq_size_add(bytes, *bytes, columns) && clq_size_mul(bytes, *bytes, element) && *bytes <= PTRDIFF_MAX;
}

/* element: bytes of one activation. */
static clq_status check_run(const struct clq_int4 *g, const char *what, const void *a, size_t lda, size_t element, size_t m, const float *y, size_t ldy)
{
    struct clq_error *err = &g->p.ctx->error;
    size_t a_bytes, y_bytes;
    if (!a || !y) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: %s is NULL", what, a ? "y" : "the activations");
    if (lda < g->args.k) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: the distance of rows: expected at least k = %zu, got %zu", what, g->args.k, lda);
    if (ldy < g->args.n) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: ldy: expected at least n = %zu, got %zu", what, g->args.n, ldy);
    if (!rows_bytes(&a_bytes, m, lda, g->args.k, element) || !rows_bytes(&y_bytes, m, ldy, g->args.n, 4))
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: %zu rows of distance %zu and %zu do not fit into memory", what, m, lda, ldy);
    if (clq_buffers_overlap(a, a_bytes, y, y_bytes)) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: the activations and y overlap", what);
    return CLQ_OK;
}

struct job {
    const struct clq_int4 *g;
    const struct clq_gemm_u4_args *args;
    void (*run)(struct clq_gemm_u4_args *args);
    size_t stride;
};

static void run_units(void *state, size_t begin, size_t end, int thread)
{
    const struct job *j = state;
    struct clq_gemm_u4_args a = *j->args;
    a.unit_begin = begin;
    a.unit_end = end;
    a.scratch = j->g->p.scratch ? (char *)j->g->p.scratch + (size_t)thread * j->stride : NULL;
    j->run(&a);
}

/* What rows are: codes with one scale, codes with a scale per group, or reals, which take three products for one. */
enum rows_kind { BY_ROW, BY_GROUP, REAL };

#ifdef CLQ_HAVE_OPENCL
static clq_status multiply_on_device(struct clq_int4 *g, const struct clq_gemm_u4_args *a, enum rows_kind kind, struct clq_error *why)
{
    struct clq_cl *cl = g->p.ctx->cl;
    if (!clq_cl_supports_u4(cl, a)) return clq_fail(why, CLQ_ERR_UNSUPPORTED, "%zu rows are too many for the device", a->m);
    switch (kind) {
    case BY_ROW: return clq_cl_gemm_u4(cl, g->on_device, a, NULL, why);
    case BY_GROUP: return clq_cl_gemm_u4_grouped(cl, g->on_device, a, why);
    case REAL: break;
    }
    return clq_cl_gemm_u4_real(cl, g->on_device, a, why);
}
#endif

static clq_status multiply(struct clq_int4 *g, const char *what, struct clq_gemm_u4_args *a, enum rows_kind kind)
{
    const struct clq_kernels *k = &g->p.ctx->kernels;
    void (*const plan[])(struct clq_gemm_u4_args *args) = {k->gemm_s8u4_plan, k->gemm_g8u4_plan, k->gemm_f32u4_plan};
    void (*const run[])(struct clq_gemm_u4_args *args) = {k->gemm_s8u4, k->gemm_g8u4, k->gemm_f32u4};
    CLQ_TRY(clq_buffers_require(g->p.ctx, what));
#ifdef CLQ_HAVE_OPENCL
    struct clq_error why = {""};
    if (g->on_device && clq_buffers_device(g->p.ctx)) {
        const clq_status st = multiply_on_device(g, a, kind, &why);
        if (st == CLQ_OK) return CLQ_OK;
        CLQ_TRY(clq_buffers_fall_back(g->p.ctx, what, st, &why));
    }
#endif
    plan[kind](a);
    struct job j = {.g = g, .args = a, .run = run[kind], .stride = clq_product_stride(a->scratch_bytes)};
    size_t bytes;
    if (!clq_size_mul(&bytes, j.stride, (size_t)g->p.ctx->threads)) bytes = SIZE_MAX;
    if (a->scratch_bytes > 0) CLQ_TRY(clq_product_reserve(&g->p, &g->p.scratch, &g->p.scratch_bytes, bytes));
    const int threads = clq_product_threads(&g->p, (double)a->m * (double)a->n * (double)a->k * (kind == REAL ? 3 : 1));
    clq_pool_for(g->p.ctx->pool, threads, a->units, run_units, &j);
    return CLQ_OK;
}

static clq_status run_codes(clq_int4 *g, const char *what, enum rows_kind kind, const int8_t *a, const float *scale_a, size_t lda, size_t m, float *y,
                            size_t ldy)
{
    if (!g) return CLQ_ERR_INVALID_ARGUMENT;
    if (m == 0) return CLQ_OK;
    CLQ_TRY(check_run(g, what, a, lda, 1, m, y, ldy));
    if (!scale_a) return clq_fail(&g->p.ctx->error, CLQ_ERR_INVALID_ARGUMENT, "%s: scale_a is NULL", what);
    struct clq_gemm_u4_args r = g->args;
    r.m = m;
    r.a = a;
    r.lda = lda;
    r.scale_a = scale_a;
    r.y = y;
    r.ldy = ldy;
    return multiply(g, what, &r, kind);
}

clq_status clq_int4_run(clq_int4 *g, const int8_t *a, const float *scale_a, size_t lda, size_t m, float *y, size_t ldy)
{
    return run_codes(g, "clq_int4_run", BY_ROW, a, scale_a, lda, m, y, ldy);
}

clq_status clq_int4_run_grouped(clq_int4 *g, const int8_t *a, const float *scale_a, size_t lda, size_t m, float *y, size_t ldy)
{
    return run_codes(g, "clq_int4_run_grouped", BY_GROUP, a, scale_a, lda, m, y, ldy);
}

/* ---- Activations ---- */

struct rows {
    const struct clq_kernels *kernels;
    const float *x;
    void *codes;
    float *scale;
    size_t ldx, distance, k;
    size_t group, count; /* elements and number of a row's groups: one scale each */
    bool flipped; /* code + 128 as uint8_t */
};

/* n elements from number `at` of row i on, with one scale, which is one binary32 division: a double quotient rounded to binary32 is
 * the same. */
static float quantize_part(const struct rows *r, size_t i, size_t at, size_t n)
{
    struct clq_minmax_args range = {.x = r->x + i * r->ldx + at, .n = n, .min = INFINITY, .max = -INFINITY};
    r->kernels->minmax_f32(&range);
    const float most = fmaxf(range.max, -range.min);
    float scale = most > 0 && most < INFINITY ? most / 127.0f : 1.0f;
    if (scale < 0x1p-126f) scale = 0x1p-126f;
    struct clq_quantize_args q = {.x = range.x, .y = (char *)r->codes + i * r->distance + at, .n = n, .scale = scale};
    q.zero_point = r->flipped ? 128 : 0;
    (r->flipped ? r->kernels->quantize_f32_u8 : r->kernels->quantize_f32_s8)(&q);
    return scale;
}

static void quantize_units(void *state, size_t begin, size_t end, int thread)
{
    const struct rows *r = state;
    (void)thread;
    for (size_t i = begin; i < end; i++)
        for (size_t j = 0; j < r->count; j++) {
            const size_t at = j * r->group, left = r->k - at;
            r->scale[i * r->count + j] = quantize_part(r, i, at, left < r->group ? left : r->group);
        }
}

static void quantize_rows(struct clq_context *ctx, struct rows *r, size_t m)
{
    const int threads = (double)m * (double)r->k < CLQ_BUFFERS_SERIAL ? 1 : ctx->threads;
    r->kernels = &ctx->kernels;
    clq_pool_for(ctx->pool, threads, m, quantize_units, r);
}

static clq_status quantize_plain(clq_context *ctx, const char *what, int8_t *codes, float *scale, const float *x, size_t ldx, size_t m, size_t k, size_t group)
{
    size_t bytes, x_bytes;
    if (!ctx) return CLQ_ERR_INVALID_ARGUMENT;
    if (m == 0) return CLQ_OK;
    if (!codes || !scale || !x)
        return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "%s: %s is NULL", what, !codes ? "codes" : scale ? "x" : "scale");
    if (ldx < k) return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "%s: ldx: expected at least k = %zu, got %zu", what, k, ldx);
    if (!clq_size_mul(&bytes, m, k) || !rows_bytes(&x_bytes, m, ldx, k, 4))
        return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "%s: %zu rows of distance %zu do not fit into memory", what, m, ldx);
    if (clq_buffers_overlap(codes, bytes, x, x_bytes)) return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "%s: codes and x overlap", what);
    struct rows r = {.x = x, .codes = codes, .scale = scale, .ldx = ldx, .distance = k, .k = k, .group = group ? group : k, .count = group ? clq_int4_groups(k, group) : 1};
    quantize_rows(ctx, &r, m);
    return CLQ_OK;
}

clq_status clq_quantize_rows(clq_context *ctx, int8_t *codes, float *scale, const float *x, size_t ldx, size_t m, size_t k)
{
    return quantize_plain(ctx, "clq_quantize_rows", codes, scale, x, ldx, m, k, 0);
}

clq_status clq_quantize_row_groups(clq_context *ctx, int8_t *codes, float *scale, const float *x, size_t ldx, size_t m, size_t k, size_t group)
{
    return quantize_plain(ctx, "clq_quantize_row_groups", codes, scale, x, ldx, m, k, group);
}

/* Rows are whole lines and one more: a distance of many 4096 would put them into the same sets of the cache. */
clq_status clq_int4_run_real(clq_int4 *g, const float *x, size_t ldx, size_t m, float *y, size_t ldy)
{
    static const char what[] = "clq_int4_run_real";
    size_t distance, bytes;
    if (!g) return CLQ_ERR_INVALID_ARGUMENT;
    if (m == 0) return CLQ_OK;
    CLQ_TRY(check_run(g, what, x, ldx, 4, m, y, ldy));
    if (!clq_size_align(&distance, g->args.k, 64) || !clq_size_mul(&bytes, m, distance + 64) || bytes > PTRDIFF_MAX / 4)
        return clq_fail(&g->p.ctx->error, CLQ_ERR_INVALID_ARGUMENT, "%s: %zu rows do not fit into memory", what, m);
    distance += 64;
    CLQ_TRY(clq_product_reserve(&g->p, (void **)&g->rows, &g->rows_bytes, bytes));
    CLQ_TRY(clq_product_reserve(&g->p, (void **)&g->row_scale, &g->row_scale_bytes, m * sizeof *g->row_scale));
    struct rows r = {.x = x, .codes = g->rows, .scale = g->row_scale, .ldx = ldx, .distance = distance, .k = g->args.k, .group = g->args.k, .count = 1, .flipped = true};
    quantize_rows(g->p.ctx, &r, m);
    struct clq_gemm_u4_args a = g->args;
    a.m = m;
    a.a = g->rows;
    a.lda = distance;
    a.flipped = true;
    a.scale_a = g->row_scale;
    a.y = y;
    a.ldy = ldy;
    return multiply(g, what, &a, BY_ROW);
}

static clq_status widen(struct clq_int4 *g, const char *what, const uint16_t *x, size_t ldx, size_t m)
{
    const size_t k = g->args.k;
    size_t bytes;
    if (!clq_size_mul(&bytes, m, k) || !clq_size_mul(&bytes, bytes, sizeof(float)) || bytes > PTRDIFF_MAX)
        return clq_fail(&g->p.ctx->error, CLQ_ERR_INVALID_ARGUMENT, "%s: %zu rows do not fit into memory", what, m);
    CLQ_TRY(clq_product_reserve(&g->p, (void **)&g->rows, &g->rows_bytes, bytes));
    for (size_t r = 0; r < m; r++)
        for (size_t i = 0; i < k; i++) {
            const float v = clq_from_f16(x[r * ldx + i]);
            memcpy(g->rows + (r * k + i) * sizeof v, &v, sizeof v);
        }
    return CLQ_OK;
}

clq_status clq_int4_run_float(clq_int4 *g, const void *x, clq_dtype dtype, size_t ldx, size_t m, float *y, size_t ldy)
{
    static const char what[] = "clq_int4_run_float";
    const bool half = dtype == CLQ_DTYPE_F16;
    if (!g) return CLQ_ERR_INVALID_ARGUMENT;
    if (!half && dtype != CLQ_DTYPE_F32)
        return clq_fail(&g->p.ctx->error, CLQ_ERR_INVALID_ARGUMENT, "%s: dtype: expected float32 or float16, got %s", what, clq_dtype_name(dtype));
    if (m == 0) return CLQ_OK;
    CLQ_TRY(check_run(g, what, x, ldx, half ? 2 : 4, m, y, ldy));
    if (half) CLQ_TRY(widen(g, what, x, ldx, m));
    struct clq_gemm_u4_args a = g->args;
    a.m = m;
    a.a = half ? (const void *)g->rows : x;
    a.lda = half ? a.k : ldx;
    a.y = y;
    a.ldy = ldy;
    return multiply(g, what, &a, REAL);
}

void clq_int4_describe(clq_int4_info *out, const clq_int4 *g)
{
    *out = (clq_int4_info){.bytes = sizeof *g + g->bytes + g->p.packed_bytes + g->p.scratch_bytes + g->rows_bytes + g->row_scale_bytes};
    out->kernel = g->args.packed_bytes > 0 ? g->p.ctx->kernels.variant.gemm_s8u4 : "ref";
    out->on_device = g->on_device && clq_buffers_device(g->p.ctx);
#ifdef CLQ_HAVE_OPENCL
    if (out->on_device) out->kernel = clq_cl_variant(g->p.ctx->cl, CLQ_CL_GEMM_U4);
#endif
}

void clq_int4_free(clq_int4 *g)
{
    if (!g) return;
#ifdef CLQ_HAVE_OPENCL
    if (g->on_device) clq_cl_u4_free(g->p.ctx->cl, g->on_device);
#endif
    clq_product_free(&g->p);
    free(g->codes);
    free(g->zero_point);
    free(g->scale);
    free(g->bias);
    free(g->rows);
    free(g->row_scale);
    free(g);
}
