/* SPDX-License-Identifier: Apache-2.0
 * Prepared INT8 convolutions on plain arrays. The kernels know uint8 codes alone: int8 codes are those with the top bit
 * turned over and zero points 128 apart, so images are turned before and results after, and the bits are the same. */
#include <stdint.h>
#include <stdlib.h>

#include "base/size.h"
#include "buffers.h"
#ifdef CLQ_HAVE_OPENCL
#include "device_cl.h"
#endif

enum { MAX_SIDE = 1 << 24, CHUNK = 1 << 16, TURN = 128 };

struct clq_conv {
    struct clq_product p;
    struct clq_conv_args args; /* without batch, x, y, scratch */
    size_t x_bytes, y_bytes;   /* of one image */
    double products;           /* of one image; those of a depthwise convolution, which is slow, count four times */
    bool is_signed;            /* the images are */
    void *turned, *turned_residual; /* images and residuals as uint8 codes */
    size_t turned_bytes, turned_residual_bytes; /* allocated */
};

static clq_status output_side(struct clq_context *ctx, size_t *out, const char *name, size_t in, size_t before, size_t after, size_t taps, size_t dilation, size_t stride)
{
    const size_t padded = in + before + after, reach = (taps - 1) * dilation + 1; /* sides are at most 2^24 */
    if (padded < reach)
        return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "clq_conv_prepare: %s: a kernel that covers %zu needs at least as much input, got %zu with padding", name, reach, padded);
    *out = (padded - reach) / stride + 1;
    return CLQ_OK;
}

/* Sizes: in range each, dividing where they must. */
static clq_status read_sizes(struct clq_context *ctx, struct clq_conv_args *a, const clq_conv_desc *d)
{
    struct clq_error *err = &ctx->error;
    a->groups = d->groups ? d->groups : 1;
    a->stride_h = d->stride_h ? d->stride_h : 1;
    a->stride_w = d->stride_w ? d->stride_w : 1;
    a->dilation_h = d->dilation_h ? d->dilation_h : 1;
    a->dilation_w = d->dilation_w ? d->dilation_w : 1;
    const struct {
        const char *name;
        size_t value, least;
    } side[] = {{"h", d->h, 1}, {"w", d->w, 1}, {"ci", d->ci, 1}, {"co", d->co, 1}, {"kh", d->kh, 1}, {"kw", d->kw, 1},
                {"stride_h", a->stride_h, 1}, {"stride_w", a->stride_w, 1}, {"dilation_h", a->dilation_h, 1}, {"dilation_w", a->dilation_w, 1},
                {"pad_top", d->pad_top, 0}, {"pad_left", d->pad_left, 0}, {"pad_bottom", d->pad_bottom, 0}, {"pad_right", d->pad_right, 0}, {"groups", a->groups, 1}};
    for (size_t i = 0; i < sizeof side / sizeof *side; i++)
        if (side[i].value < side[i].least || side[i].value > MAX_SIDE)
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "clq_conv_prepare: %s: expected %zu to %d, got %zu", side[i].name, side[i].least, MAX_SIDE, side[i].value);
    if (d->ci % a->groups || d->co % a->groups)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "clq_conv_prepare: groups: expected a divisor of ci = %zu and co = %zu, got %zu", d->ci, d->co, a->groups);
    a->h = d->h;
    a->w = d->w;
    a->ci = d->ci;
    a->co = d->co;
    a->kh = d->kh;
    a->kw = d->kw;
    a->pad_top = d->pad_top;
    a->pad_left = d->pad_left;
    CLQ_TRY(output_side(ctx, &a->oh, "h", d->h, d->pad_top, d->pad_bottom, d->kh, a->dilation_h, a->stride_h));
    return output_side(ctx, &a->ow, "w", d->w, d->pad_left, d->pad_right, d->kw, a->dilation_w, a->stride_w);
}

static bool product_of(size_t *out, size_t a, size_t b, size_t c)
{
    return clq_size_mul(out, a, b) && clq_size_mul(out, *out, c);
}

/* Bytes of one image and of everything that a kernel may lay out: the padded image, and the taps of every row. */
static clq_status measure(struct clq_conv *c, const clq_conv_desc *d)
{
    const struct clq_conv_args *a = &c->args;
    const size_t cg = d->ci / a->groups, element = clq_dtype_bits(d->output.dtype) / 8; /* refused later where it is no output */
    size_t padded, row, expanded, most = (size_t)1 << 46;
    if (!product_of(&c->x_bytes, a->h, a->w, a->ci) || !product_of(&c->y_bytes, a->oh, a->ow, a->co) || !clq_size_mul(&c->y_bytes, c->y_bytes, element) ||
        !product_of(&padded, a->h + d->pad_top + d->pad_bottom, a->w + d->pad_left + d->pad_right, a->ci) || !product_of(&row, a->ow, a->kw, cg + 3) ||
        !clq_size_mul(&expanded, row, a->h + d->pad_top + d->pad_bottom + a->stride_h) || c->x_bytes > most || c->y_bytes > most || padded > most || expanded > most)
        return clq_fail(&c->p.ctx->error, CLQ_ERR_INVALID_ARGUMENT, "clq_conv_prepare: %zu x %zu x %zu to %zu x %zu x %zu does not fit into memory", a->h, a->w,
                        a->ci, a->oh, a->ow, a->co);
    c->products = (double)a->oh * (double)a->ow * (double)a->co * (double)(a->kh * a->kw * cg) * (a->groups == a->co ? 4 : 1);
    return CLQ_OK;
}

static clq_status pack(struct clq_conv *c)
{
    const struct clq_kernels *k = &c->p.ctx->kernels;
    if (c->p.is_packed) return CLQ_OK;
    k->conv_u8s8_plan(&c->args);
    CLQ_TRY(clq_product_reserve(&c->p, &c->p.packed, &c->p.packed_bytes, c->args.packed_bytes));
    c->args.packed = c->p.packed;
    k->conv_u8s8_pack(&c->args);
    c->p.is_packed = true;
    return CLQ_OK;
}

static clq_status place(struct clq_conv *c)
{
    static const char what[] = "clq_conv_prepare";
    struct clq_context *ctx = c->p.ctx;
    CLQ_TRY(clq_buffers_require(ctx, what));
#ifdef CLQ_HAVE_OPENCL
    struct clq_error why = {""};
    if (clq_buffers_device(ctx)) {
        clq_status st = clq_cl_prepare_conv(&c->p.on_device, ctx->cl, &c->args, &why);
        if (st == CLQ_OK) return CLQ_OK;
        CLQ_TRY(clq_buffers_fall_back(ctx, what, st, &why));
    }
#endif
    return pack(c);
}

static void turn_residual(struct clq_residual *r, int32_t up)
{
    r->zero_point_q += up;
    r->zero_point_r += up;
    r->zero_point_y += up;
    r->lo += up;
    r->hi += up;
}

static clq_status fill(struct clq_conv *c, const clq_conv_desc *d)
{
    struct clq_product *p = &c->p;
    struct clq_conv_args *a = &c->args;
    int32_t lo, hi;
    CLQ_TRY(clq_product_check_input(p->ctx, &lo, &hi, "clq_conv_prepare", d->input, d->input_zero_point));
    const int32_t zero = d->input_zero_point - lo, up = d->output.dtype == CLQ_DTYPE_S8 ? TURN : 0;
    c->is_signed = d->input == CLQ_DTYPE_S8;
    CLQ_TRY(read_sizes(p->ctx, a, d));
    size_t taps = a->kh * a->kw; /* at most 2^48 */
    if (taps > (size_t)1 << 20) return clq_fail(&p->ctx->error, CLQ_ERR_INVALID_ARGUMENT, "clq_conv_prepare: a kernel of %zu x %zu is too large", a->kh, a->kw);
    CLQ_TRY(measure(c, d)); /* before anything of that size is read */
    CLQ_TRY(clq_product_fill(p, "clq_conv_prepare", d->co, taps * (d->ci / a->groups), d->weight, d->bias, &d->output, zero > 127 ? zero : 255 - zero));
    a->batch = 1;
    a->weight = p->weight;
    a->bias = p->bias;
    a->multiplier = p->multiplier;
    a->zero_point_x = zero;
    a->zero_point_y = p->zero_point_y + up;
    a->lo = p->lo + up;
    a->hi = p->hi + up;
    a->out = up ? CLQ_OUT_U8 : p->out;
    turn_residual(&p->residual, up);
    a->residual = clq_product_residual_of(p, NULL, d->co);
    a->bound = p->bound;
    return place(c);
}

clq_status clq_conv_prepare(clq_conv **out, clq_context *ctx, const clq_conv_desc *desc)
{
    if (!ctx) return CLQ_ERR_INVALID_ARGUMENT;
    if (!out || !desc) return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "clq_conv_prepare: %s is NULL", out ? "desc" : "out");
    struct clq_conv *c = calloc(1, sizeof *c);
    if (!c) return clq_fail(&ctx->error, CLQ_ERR_OUT_OF_MEMORY, "clq_conv_prepare: no memory for %zu bytes", sizeof *c);
    c->p.ctx = ctx;
    clq_status st = fill(c, desc);
    if (st == CLQ_OK) *out = c;
    else clq_conv_free(c);
    return st;
}

void clq_conv_output_size(size_t *oh, size_t *ow, const clq_conv *conv)
{
    *oh = conv->args.oh;
    *ow = conv->args.ow;
}

struct job {
    const struct clq_conv *c;
    const struct clq_conv_args *args;
    size_t stride;
};

static void run_units(void *state, size_t begin, size_t end, int thread)
{
    const struct job *j = state;
    struct clq_conv_args a = *j->args;
    a.unit_begin = begin;
    a.unit_end = end;
    a.scratch = j->c->p.scratch ? (char *)j->c->p.scratch + (size_t)thread * j->stride : NULL;
    j->c->p.ctx->kernels.conv_u8s8(&a);
}

static clq_status on_cpu(struct clq_conv *c, const struct clq_conv_args *wanted)
{
    CLQ_TRY(pack(c));
    struct clq_conv_args a = *wanted;
    a.packed = c->args.packed;
    c->p.ctx->kernels.conv_u8s8_plan(&a);
    struct job j = {.c = c, .args = &a, .stride = clq_product_stride(a.scratch_bytes)};
    if (a.scratch_bytes > 0) CLQ_TRY(clq_product_reserve(&c->p, &c->p.scratch, &c->p.scratch_bytes, j.stride * (size_t)c->p.ctx->threads));
    clq_pool_for(c->p.ctx->pool, clq_product_threads(&c->p, c->products * (double)a.batch), a.units, run_units, &j);
    return CLQ_OK;
}

static clq_status on_any(struct clq_conv *c, const struct clq_conv_args *r, const char *what)
{
#ifdef CLQ_HAVE_OPENCL
    struct clq_context *ctx = c->p.ctx;
    struct clq_error why = {""};
    if (c->p.on_device && clq_buffers_device(ctx)) {
        clq_status st = clq_cl_supports_conv(ctx->cl, r) ? clq_cl_conv(ctx->cl, c->p.on_device, r, NULL, &why)
                                                         : clq_fail(&why, CLQ_ERR_UNSUPPORTED, "%zu images are too many for the device", r->batch);
        if (st == CLQ_OK) return CLQ_OK;
        CLQ_TRY(clq_buffers_fall_back(ctx, what, st, &why));
    }
#else
    (void)what;
#endif
    return on_cpu(c, r);
}

struct turn {
    unsigned char *to;
    const unsigned char *from; /* may be to */
    size_t n;
};

static void turn_chunks(void *state, size_t begin, size_t end, int thread)
{
    const struct turn *t = state;
    const size_t last = end * CHUNK < t->n ? end * CHUNK : t->n;
    (void)thread;
    for (size_t i = begin * CHUNK; i < last; i++) t->to[i] = t->from[i] ^ TURN;
}

static void turn(const struct clq_conv *c, void *to, const void *from, size_t n)
{
    struct turn t = {to, from, n};
    clq_pool_for(c->p.ctx->pool, n < 2 * (size_t)CHUNK ? 1 : c->p.ctx->threads, (n + CHUNK - 1) / CHUNK, turn_chunks, &t);
}

/* The codes as the kernels take them: a turned copy in *block where they are int8. */
static clq_status as_u8(const void **codes, struct clq_conv *c, void **block, size_t *block_bytes, size_t bytes, bool is_signed)
{
    if (!is_signed) return CLQ_OK;
    CLQ_TRY(clq_product_reserve(&c->p, block, block_bytes, bytes));
    turn(c, *block, *codes, bytes);
    *codes = *block;
    return CLQ_OK;
}

/* residual: NULL where the convolution has none. */
static clq_status run(struct clq_conv *conv, const void *x, size_t batch, const void *residual, void *y, const char *what)
{
    struct clq_context *ctx = conv->p.ctx;
    struct clq_conv_args r = conv->args;
    size_t x_bytes, y_bytes;
    if (batch == 0) return CLQ_OK;
    if (!x || !y) return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "%s: %s is NULL", what, x ? "y" : "x");
    if (!residual && conv->p.has_residual) return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "%s: residual is NULL", what);
    if (!clq_size_mul(&x_bytes, conv->x_bytes, batch) || !clq_size_mul(&y_bytes, conv->y_bytes, batch) || x_bytes > PTRDIFF_MAX || y_bytes > PTRDIFF_MAX)
        return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "%s: %zu images do not fit into memory", what, batch);
    if (clq_buffers_overlap(x, x_bytes, y, y_bytes)) return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "%s: x and y overlap", what);
    if (residual && clq_buffers_overlap(residual, y_bytes, y, y_bytes)) return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "%s: residual and y overlap", what);
    CLQ_TRY(clq_buffers_require(ctx, what));
    CLQ_TRY(as_u8(&x, conv, &conv->turned, &conv->turned_bytes, x_bytes, conv->is_signed));
    const bool turns = conv->p.out == CLQ_OUT_S8;
    if (residual) CLQ_TRY(as_u8(&residual, conv, &conv->turned_residual, &conv->turned_residual_bytes, y_bytes, turns));
    r.batch = batch;
    r.x = x;
    r.y = y;
    r.residual = clq_product_residual_of(&conv->p, residual, r.co);
    CLQ_TRY(on_any(conv, &r, what));
    if (turns) turn(conv, y, y, y_bytes);
    return CLQ_OK;
}

clq_status clq_conv_run(clq_conv *conv, const void *x, size_t batch, void *y)
{
    if (!conv) return CLQ_ERR_INVALID_ARGUMENT;
    CLQ_TRY(clq_product_check_residual(&conv->p, "clq_conv_run", false));
    return run(conv, x, batch, NULL, y, "clq_conv_run");
}

clq_status clq_conv_run_residual(clq_conv *conv, const void *x, size_t batch, const void *residual, void *y)
{
    if (!conv) return CLQ_ERR_INVALID_ARGUMENT;
    CLQ_TRY(clq_product_check_residual(&conv->p, "clq_conv_run_residual", true));
    return run(conv, x, batch, residual, y, "clq_conv_run_residual");
}

void clq_conv_describe(clq_product_info *out, const clq_conv *c)
{
    *out = (clq_product_info){.bound = c->p.bound, .bytes = sizeof *c + c->p.bytes + c->p.packed_bytes + c->p.scratch_bytes + c->turned_bytes + c->turned_residual_bytes};
    out->on_device = c->p.on_device && clq_buffers_device(c->p.ctx);
    out->kernel = c->p.bound > INT32_MAX ? "ref" : c->p.ctx->kernels.variant.conv_u8s8;
#ifdef CLQ_HAVE_OPENCL
    if (out->on_device) out->kernel = clq_cl_variant(c->p.ctx->cl, clq_cl_conv_family(&c->args));
#endif
}

void clq_conv_free(clq_conv *conv)
{
    if (!conv) return;
    clq_product_free(&conv->p);
    free(conv->turned);
    free(conv->turned_residual);
    free(conv);
}
