/* SPDX-License-Identifier: Apache-2.0
 * Integer products and convolutions: packing weights once, and runs. The packed object is drawn in kernels/cl/gemm.cl
 * and conv.cl. */
#include "cl_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

enum { PANEL = 64, MAX_SIDE = 1 << 24 };

struct clq_cl_weight {
    enum clq_cl_family family; /* GEMM, CONV, GROUPED or DEPTHWISE: the kernel; a 1x1 convolution is a product */
    bool conv, signed_a;
    struct clq_conv_args shape; /* of a convolution; a product has ci = k, co = n */
    struct clq_cl_buffer buffer;
    enum clq_cl_layout layout;
    int32_t zero_point_y, lo, hi;
    enum clq_out out;
};

static const struct clq_cl_io no_io;

static size_t round_up(size_t n, size_t step) { return (n + step - 1) / step * step; }

static bool limits_ok(enum clq_out out, int32_t zero_point, int32_t lo, int32_t hi)
{
    const int32_t least = out == CLQ_OUT_S8 ? -128 : 0, most = out == CLQ_OUT_S8 ? 127 : 255;
    if (out == CLQ_OUT_F32 || out == CLQ_OUT_S32) return true;
    return zero_point >= least && zero_point <= most && lo >= least && hi <= most && lo <= hi;
}

bool clq_cl_supports_gemm(const struct clq_cl *cl, const struct clq_gemm_args *args)
{
    size_t bytes, products;
    return args->n > 0 && args->k > 0 && args->n <= MAX_SIDE && args->k <= MAX_SIDE && args->m <= INT32_MAX &&
           clq_size_mul(&products, round_up(args->n, PANEL), round_up(args->k, 4)) &&
           clq_size_mul(&bytes, args->m, args->lda) && args->bound <= INT32_MAX && args->bound >= 0 &&
           limits_ok(args->out, args->zero_point_y, args->lo, args->hi) &&
           clq_cl_supports_residual(cl, args->residual, args->out, args->n, args->ldy) && !args->sums_y;
}

bool clq_cl_supports_conv(const struct clq_cl *cl, const struct clq_conv_args *args)
{
    const size_t sizes[] = {args->h,       args->w,        args->oh,         args->ow,
                            args->kh,      args->kw,       args->stride_h,   args->stride_w,
                            args->pad_top, args->pad_left, args->dilation_h, args->dilation_w};
    size_t pixels, k;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i] > 1u << 15) return false;
    return args->groups > 0 && args->ci > 0 && args->co > 0 && args->kh > 0 && args->kw > 0 &&
           args->ci % args->groups == 0 && args->co % args->groups == 0 && args->ci <= MAX_SIDE &&
           args->co <= MAX_SIDE && clq_size_mul(&pixels, args->batch, args->oh) &&
           clq_size_mul(&pixels, pixels, args->ow) && pixels <= INT32_MAX / 64 &&
           clq_size_mul(&k, args->kh * args->kw, round_up(args->ci / args->groups, 4)) && k <= MAX_SIDE &&
           args->bound <= INT32_MAX && args->bound >= 0 && args->out != CLQ_OUT_S8 &&
           limits_ok(args->out, args->zero_point_y, args->lo, args->hi) &&
           clq_cl_supports_residual(cl, args->residual, args->out, args->co, args->co);
}

enum clq_cl_family clq_cl_conv_family(const struct clq_conv_args *c)
{
    if (c->groups == c->ci && c->groups == c->co && c->groups > 1) return CLQ_CL_DEPTHWISE;
    if (c->groups > 1) return CLQ_CL_GROUPED;
    const bool point = c->kh == 1 && c->kw == 1 && c->stride_h == 1 && c->stride_w == 1 && c->pad_top == 0 &&
                       c->pad_left == 0 && c->oh == c->h && c->ow == c->w;
    return point ? CLQ_CL_GEMM : CLQ_CL_CONV;
}

/* What packing needs, for products and convolutions alike: weight [n][taps][cg]. */
struct source {
    size_t n, taps, cg;
    const int8_t *weight;
    const int32_t *bias;
    const float *multiplier; /* NULL: none */
    int32_t zero_point;      /* that fold takes from the column sums */
    uint8_t pad;             /* value of the row behind the scales */
    enum clq_cl_layout layout;
};

/* k of a column. */
static size_t packed_k(const struct source *s)
{
    switch (s->layout) {
    case CLQ_CL_PANELS:
    case CLQ_CL_PANELS_SIGNED: return s->taps * round_up(s->cg, 4);
    case CLQ_CL_FRAGMENTS: return round_up(s->taps * s->cg, 64);
    case CLQ_CL_TAPS: return s->taps;
    case CLQ_CL_LANES: return round_up(s->taps, 4);
    case CLQ_CL_GROUPS:
    case CLQ_CL_GROUPS_FLIPPED: break; /* cl_product_u4.c */
    }
    return 0;
}

/* Where column n's folded bias and scale lie: its own place, or lane 4 l + i of vector j for channel 16 l + 4 j + i. */
static size_t lane(const struct source *s, size_t n)
{
    return s->layout == CLQ_CL_LANES ? n / 64 * 64 + n % 16 / 4 * 16 + n % 64 / 16 * 4 + n % 4 : n;
}

/* Where channel c of a tap of column n lies in the packed object. */
static size_t packed_place(const struct source *s, size_t n, size_t tap, size_t c)
{
    const size_t in_panel = n / PANEL * PANEL * packed_k(s), column = lane(s, n) % PANEL;
    size_t k = tap;
    if (s->layout == CLQ_CL_TAPS) return tap * round_up(s->n, PANEL) + n;
    if (s->layout == CLQ_CL_FRAGMENTS) {
        k = tap * s->cg + c;
        return in_panel + k / 64 * 4096 + column / 8 * 512 + (column % 8 * 4 + k % 16 / 4) * 16 + k % 64 / 16 * 4 + k % 4;
    }
    if (s->layout != CLQ_CL_LANES) k = tap * round_up(s->cg, 4) + c;
    return in_panel + k / 4 * 256 + column * 4 + k % 4;
}

static void pack_column(int8_t *packed, const struct source *s, size_t n)
{
    const int8_t *w = s->weight + n * s->taps * s->cg;
    for (size_t tap = 0; tap < s->taps; tap++)
        for (size_t c = 0; c < s->cg; c++) packed[packed_place(s, n, tap, c)] = w[tap * s->cg + c];
}

static clq_status pack(struct clq_cl_buffer *out, struct clq_cl *cl, const struct source *s, struct clq_error *err)
{
    const size_t np = round_up(s->n, PANEL), pad = round_up(s->cg, 64);
    size_t panels, total;
    if (!clq_size_mul(&panels, np, packed_k(s)) || !clq_size_add(&total, panels, np * 8 + pad))
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "OpenCL: a packed weight of %zu columns does not fit into memory",
                        s->n);
    unsigned char *data = calloc(1, total);
    if (!data)
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "OpenCL: out of memory for a packed weight of %zu bytes", total);
    int32_t *fold = (int32_t *)(void *)(data + panels);
    float *scale = (float *)(void *)(fold + np);
    for (size_t n = 0; n < s->n; n++) {
        const int8_t *w = s->weight + n * s->taps * s->cg;
        uint32_t sum = 0;
        for (size_t i = 0; i < s->taps * s->cg; i++) sum += (uint32_t)(int32_t)w[i];
        const uint32_t bias = s->bias ? (uint32_t)s->bias[n] : 0;
        const uint32_t zero = (uint32_t)s->zero_point - (s->layout == CLQ_CL_PANELS_SIGNED ? 128 : 0);
        const uint32_t folded = s->layout == CLQ_CL_TAPS ? bias : bias - zero * sum;
        memcpy(&fold[lane(s, n)], &folded, sizeof folded);
        if (s->multiplier) scale[lane(s, n)] = s->multiplier[n];
        pack_column((int8_t *)data, s, n);
    }
    memset(scale + np, s->pad, pad);
    clq_status st = clq_cl_alloc(out, cl, total, err);
    if (st == CLQ_OK) st = clq_cl_upload(cl, out, data, total, err);
    if (st != CLQ_OK) clq_cl_release(cl, out);
    free(data);
    return st;
}

static clq_status create(struct clq_cl_weight **out, struct clq_cl *cl, const struct clq_cl_weight *like,
                         struct source *s, struct clq_error *err)
{
    struct clq_cl_launch l;
    /* Multipliers below the smallest normal number would differ on devices that flush; the contract forbids them. */
    for (size_t n = 0; s->multiplier && n < s->n; n++)
        if (!(s->multiplier[n] >= 0x1p-126f) || !isfinite(s->multiplier[n]))
            return clq_fail(err, CLQ_ERR_UNSUPPORTED, "OpenCL: multiplier %g of column %zu is not a normal number",
                            (double)s->multiplier[n], n);
    CLQ_TRY(clq_cl_begin(&l, cl, like->family, err));
    s->layout = l.family->variant->layout;
    if (like->family == CLQ_CL_GEMM) clq_cl_find_gemv(cl, CLQ_CL_GEMM, CLQ_CL_GEMV);
    struct clq_cl_weight *w = malloc(sizeof *w);
    if (!w) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "OpenCL: out of memory for a weight");
    *w = *like;
    w->layout = s->layout;
    clq_status st = pack(&w->buffer, cl, s, err);
    if (st != CLQ_OK) {
        free(w);
        return st;
    }
    *out = w;
    return CLQ_OK;
}

/* Before anything is prepared. */
static clq_status residual_ready(struct clq_cl *cl, const struct clq_residual *r, enum clq_out out, size_t columns, size_t ldy, struct clq_error *err)
{
    if (!clq_cl_supports_residual(cl, r, out, columns, ldy))
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "OpenCL device '%s': a residual of other codes than uint8, with gaps between rows, or with a scale out of its range", cl->info.name);
    return r ? clq_cl_ready(cl, CLQ_CL_ADD, err) : CLQ_OK;
}

clq_status clq_cl_prepare_gemm(struct clq_cl_weight **out, struct clq_cl *cl, bool signed_a,
                               const struct clq_gemm_args *args, struct clq_error *err)
{
    CLQ_TRY(residual_ready(cl, args->residual, args->out, args->n, args->ldy, err));
    if (!clq_cl_supports_gemm(cl, args))
        return clq_fail(err, CLQ_ERR_UNSUPPORTED,
                        "OpenCL device '%s': product n=%zu k=%zu bound=%lld is out of its range", cl->info.name,
                        args->n, args->k, (long long)args->bound);
    if (signed_a) {
        struct clq_cl_launch l;
        CLQ_TRY(clq_cl_begin(&l, cl, CLQ_CL_FLIP, err));
    }
    struct clq_cl_weight like = {.family = CLQ_CL_GEMM,
                                 .signed_a = signed_a,
                                 .zero_point_y = args->zero_point_y,
                                 .lo = args->lo,
                                 .hi = args->hi,
                                 .out = args->out};
    like.shape.ci = args->k;
    like.shape.co = args->n;
    /* int8 activations run as uint8 codes whose zero point is 128 higher; bits and bound stay the same. */
    struct source s = {.n = args->n,
                       .taps = 1,
                       .cg = args->k,
                       .weight = args->weight,
                       .bias = args->bias,
                       .multiplier = args->out == CLQ_OUT_S32 ? NULL : args->multiplier,
                       .zero_point = args->zero_point_a + (signed_a ? 128 : 0)};
    return create(out, cl, &like, &s, err);
}

clq_status clq_cl_prepare_conv(struct clq_cl_weight **out, struct clq_cl *cl, const struct clq_conv_args *args,
                               struct clq_error *err)
{
    CLQ_TRY(residual_ready(cl, args->residual, args->out, args->co, args->co, err));
    if (!clq_cl_supports_conv(cl, args))
        return clq_fail(
            err, CLQ_ERR_UNSUPPORTED,
            "OpenCL device '%s': convolution %zux%zux%zu to %zu, groups %zu, bound %lld is out of its range",
            cl->info.name, args->h, args->w, args->ci, args->co, args->groups, (long long)args->bound);
    struct clq_cl_weight like = {.family = clq_cl_conv_family(args),
                                 .conv = true,
                                 .shape = *args,
                                 .zero_point_y = args->zero_point_y,
                                 .lo = args->lo,
                                 .hi = args->hi,
                                 .out = args->out};
    struct source s = {.n = args->co,
                       .taps = args->kh * args->kw,
                       .cg = args->ci / args->groups,
                       .weight = args->weight,
                       .bias = args->bias,
                       .multiplier = args->out == CLQ_OUT_S32 ? NULL : args->multiplier,
                       .zero_point = args->zero_point_x,
                       .pad = (uint8_t)args->zero_point_x};
    return create(out, cl, &like, &s, err);
}

void clq_cl_weight_free(struct clq_cl *cl, struct clq_cl_weight *weight)
{
    if (!weight) return;
    clq_cl_release(cl, &weight->buffer);
    free(weight);
}

size_t clq_cl_weight_bytes(const struct clq_cl_weight *weight) { return weight->buffer.bytes; }

static size_t element(enum clq_out out) { return out == CLQ_OUT_F32 || out == CLQ_OUT_S32 ? 4 : 1; }

clq_status clq_cl_flip(struct clq_cl *cl, const struct clq_cl_operand *a, size_t m, size_t k, size_t lda, size_t ld,
                       struct clq_error *err)
{
    struct clq_cl_launch l;
    size_t bytes;
    if (!clq_size_mul(&bytes, m, ld)) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "OpenCL: %zu rows do not fit into memory", m);
    CLQ_TRY(clq_cl_begin(&l, cl, CLQ_CL_FLIP, err));
    CLQ_TRY(clq_cl_reserve(cl, &cl->flipped, bytes, err));
    clq_cl_arg_mem(&l, a->mem, a->at);
    clq_cl_arg_u64(&l, lda);
    clq_cl_arg_mem(&l, cl->flipped.mem, cl->flipped.offset);
    clq_cl_arg_u64(&l, ld);
    clq_cl_arg_u64(&l, m);
    clq_cl_arg_u64(&l, k);
    return clq_cl_enqueue(&l, clq_cl_span_items(cl, l.family->variant, m * ((k + 15) / 16)), 1, err);
}

clq_status clq_cl_enqueue_product(struct clq_cl_launch *l, size_t rows, size_t columns, struct clq_error *err)
{
    const struct clq_cl_variant *v = l->family->variant;
    const size_t r = (rows + v->cover[0] - 1) / v->cover[0], c = (columns + v->cover[1] - 1) / v->cover[1];
    if (v->groups) return clq_cl_enqueue(l, r * v->local[0], c * v->local[1], err);
    /* The generic kernels count columns first, cover names {columns, rows}. */
    return clq_cl_enqueue(l, columns, (rows + v->cover[1] - 1) / v->cover[1], err);
}

static clq_status product(struct clq_cl *cl, const struct clq_cl_weight *w, const struct clq_gemm_args *g,
                          const struct clq_cl_io *io, struct clq_error *err)
{
    struct clq_cl_launch l;
    struct clq_cl_binding b = {.cl = cl};
    const size_t n = w->shape.co, k = w->shape.ci, unit = element(w->out);
    size_t in = g->m - 1, out = g->m - 1;
    if (!clq_size_mul(&in, in, g->lda) || !clq_size_add(&in, in, k) || !clq_size_mul(&out, out, g->ldy) ||
        !clq_size_add(&out, out, n) || !clq_size_mul(&out, out, unit) || g->lda < k || g->ldy < n || g->m > INT32_MAX)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "OpenCL: product m=%zu with strides %zu and %zu is out of range",
                        g->m, g->lda, g->ldy);
    CLQ_TRY(residual_ready(cl, g->residual, w->out, n, g->ldy, err));
    const struct clq_cl_family_state *gemv = &cl->family[CLQ_CL_GEMV];
    const bool few = g->m <= cl->few_rows && gemv->kernel && gemv->variant->layout == w->layout;
    CLQ_TRY(clq_cl_begin(&l, cl, few ? CLQ_CL_GEMV : CLQ_CL_GEMM, err));
    const struct clq_cl_operand *a = clq_cl_bind(&b, io->x, g->a, in, false, err);
    /* Bytes between the rows of a staged output would be overwritten with stale ones: such a run needs them in. */
    const bool gaps = !io->y && g->ldy > n;
    const struct clq_cl_operand *y = a ? clq_cl_bind(&b, io->y, g->y, out, !gaps, err) : NULL;
    const struct clq_cl_operand *r = y && g->residual ? clq_cl_bind(&b, io->b, g->residual->codes, out, false, err) : NULL;
    if (b.status != CLQ_OK) return clq_cl_unbind(&b, b.status, err);
    if (gaps) b.operand[1].output = true;
    clq_status st = w->signed_a ? clq_cl_flip(cl, a, g->m, k, g->lda, k, err) : CLQ_OK;
    if (w->signed_a) clq_cl_arg_mem(&l, cl->flipped.mem, cl->flipped.offset);
    else clq_cl_arg_mem(&l, a->mem, a->at);
    clq_cl_arg_u64(&l, w->signed_a ? k : g->lda);
    clq_cl_arg_mem(&l, w->buffer.mem, w->buffer.offset);
    clq_cl_arg_mem(&l, y->mem, y->at / unit);
    clq_cl_arg_u64(&l, g->ldy);
    const int64_t rest[] = {(int64_t)g->m, (int64_t)n, (int64_t)k, w->out, w->zero_point_y, w->lo, w->hi};
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) clq_cl_arg_int(&l, rest[i]);
    if (st == CLQ_OK) st = clq_cl_enqueue_product(&l, g->m, n, err);
    if (st == CLQ_OK && r) st = clq_cl_enqueue_residual(cl, g->residual, y, r, g->m * n, err);
    return clq_cl_unbind(&b, st, err);
}

clq_status clq_cl_gemm(struct clq_cl *cl, const struct clq_cl_weight *weight, const struct clq_gemm_args *args,
                       const struct clq_cl_io *io, struct clq_error *err)
{
    if (args->m == 0) return CLQ_OK;
    return product(cl, weight, args, io ? io : &no_io, err);
}

clq_status clq_cl_conv(struct clq_cl *cl, const struct clq_cl_weight *w, const struct clq_conv_args *args,
                       const struct clq_cl_io *io, struct clq_error *err)
{
    const struct clq_conv_args *s = &w->shape;
    const size_t pixels = args->batch * s->oh * s->ow, unit = element(w->out);
    struct clq_cl_launch l;
    struct clq_cl_binding b = {.cl = cl};
    if (!io) io = &no_io;
    if (args->batch == 0 || pixels == 0) return CLQ_OK;
    if (args->batch > INT32_MAX / 64 / (s->oh * s->ow))
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "OpenCL: a batch of %zu images is too large", args->batch);
    if (w->family == CLQ_CL_GEMM) {
        struct clq_gemm_args g = {.m = pixels, .a = args->x, .lda = s->ci, .y = args->y, .ldy = s->co, .residual = args->residual};
        return product(cl, w, &g, io, err);
    }
    CLQ_TRY(residual_ready(cl, args->residual, w->out, s->co, s->co, err));
    CLQ_TRY(clq_cl_begin(&l, cl, w->family, err));
    const struct clq_cl_operand *x = clq_cl_bind(&b, io->x, args->x, args->batch * s->h * s->w * s->ci, false, err);
    const struct clq_cl_operand *y = x ? clq_cl_bind(&b, io->y, args->y, pixels * s->co * unit, true, err) : NULL;
    const struct clq_cl_operand *r = y && args->residual ? clq_cl_bind(&b, io->b, args->residual->codes, pixels * s->co, false, err) : NULL;
    if (b.status != CLQ_OK) return clq_cl_unbind(&b, b.status, err);
    clq_cl_arg_mem(&l, x->mem, x->at);
    clq_cl_arg_mem(&l, w->buffer.mem, w->buffer.offset);
    clq_cl_arg_mem(&l, y->mem, y->at / unit);
    const size_t sizes[] = {pixels,      s->h,          s->w,          s->ci,       s->oh,       s->ow,
                            s->co,       s->kh,         s->kw,         s->stride_h, s->stride_w, s->pad_top,
                            s->pad_left, s->dilation_h, s->dilation_w, s->groups};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) clq_cl_arg_int(&l, (int64_t)sizes[i]);
    const int64_t rest[] = {s->zero_point_x, w->out, w->zero_point_y, w->lo, w->hi};
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) clq_cl_arg_int(&l, rest[i]);
    clq_status st;
    if (w->family == CLQ_CL_DEPTHWISE && l.family->variant->groups) {
        st = clq_cl_enqueue(&l, args->batch * s->oh, (s->co + 63) / 64, err);
    } else if (w->family == CLQ_CL_DEPTHWISE) {
        const size_t lanes = l.family->variant->needs & CLQ_CL_CAP_CPU ? 16 : 4;
        st = clq_cl_enqueue(&l, pixels * ((s->co + lanes - 1) / lanes), 1, err);
    } else {
        st = clq_cl_enqueue_product(&l, pixels, s->co, err);
    }
    if (st == CLQ_OK && r) st = clq_cl_enqueue_residual(cl, args->residual, y, r, pixels * s->co, err);
    return clq_cl_unbind(&b, st, err);
}
