/* SPDX-License-Identifier: Apache-2.0
 * Every convolution that is neither depthwise nor a plain product, as products over bands of output rows. K is cut into
 * kh segments of kw * (ci / groups) bytes: the taps of one kernel row, which lie side by side. Three ways to lay the
 * input out so that the rows of a product have a constant distance:
 *
 *   in place   no padding is touched: x itself, a strip of the product is one output row
 *   padded     the band's input rows are copied with their padding: likewise one output row per strip
 *   expanded   per input row and output column the kw taps are gathered, so a strip is the whole band: for narrow
 *              images, dilation and groups. Rows are sorted by their number modulo stride_h, which makes the rows of
 *              one segment contiguous from one output row to the next
 *
 * Static inline, so each ISA folder compiles its own. Padding is the zero point of x. */
#ifndef CLQ_KERNELS_WINDOW_H
#define CLQ_KERNELS_WINDOW_H

#include "kernels/panels.h"
#include "kernels/product.h"

/* The three kinds of convolution. One group of one channel counts as depthwise. */
static inline bool clq_conv_is_depthwise(const struct clq_conv_args *c)
{
    return c->groups == c->ci && c->groups == c->co;
}

static inline bool clq_conv_is_product(const struct clq_conv_args *c)
{
    return !clq_conv_is_depthwise(c) && c->groups == 1 && c->kh == 1 && c->kw == 1 && c->stride_h == 1 &&
           c->stride_w == 1 && c->pad_top == 0 && c->pad_left == 0 && c->oh == c->h && c->ow == c->w;
}

static inline struct clq_gemm_args clq_conv_product(const struct clq_conv_args *c)
{
    return (struct clq_gemm_args){
        .m = c->batch * c->oh * c->ow,
        .n = c->co,
        .k = c->ci,
        .a = c->x,
        .lda = c->ci,
        .weight = c->weight,
        .bias = c->bias,
        .multiplier = c->multiplier,
        .zero_point_a = c->zero_point_x,
        .zero_point_y = c->zero_point_y,
        .lo = c->lo,
        .hi = c->hi,
        .out = c->out,
        .y = c->y,
        .ldy = c->co,
        .residual = c->residual,
        .bound = c->bound,
        .packed_bytes = c->packed_bytes,
        .packed = c->packed,
        .scratch = c->scratch,
        .unit_begin = c->unit_begin,
        .unit_end = c->unit_end,
    };
}

enum clq_window_mode { CLQ_WINDOW_IN_PLACE, CLQ_WINDOW_PADDED, CLQ_WINDOW_EXPANDED };

struct clq_band {
    enum clq_window_mode mode;
    size_t cg, ng;              /* channels per group: in, out */
    size_t segment, steps;      /* bytes of a segment that count, steps of 4 that are read */
    size_t row_bytes;           /* of one input row as laid out */
    size_t lda;                 /* between the product's rows */
    size_t rows, bands;         /* output rows per band, bands per image */
    size_t in_rows, plane_rows; /* input rows of a full band; expanded: rows with the same remainder modulo stride_h */
    size_t panels, ranges;      /* panels per range, ranges per group */
    size_t offsets_bytes, scratch_bytes;
};

static inline size_t clq_window_padded_width(const struct clq_conv_args *c)
{
    return (c->ow - 1) * c->stride_w + (c->kw - 1) * c->dilation_w + 1;
}

/* Input rows under a band of the given number of output rows. */
static inline size_t clq_window_in_rows(const struct clq_conv_args *c, size_t rows)
{
    return (rows - 1) * c->stride_h + (c->kh - 1) * c->dilation_h + 1;
}

static inline enum clq_window_mode clq_window_mode_of(const struct clq_conv_args *c, size_t depth)
{
    const size_t segment = c->kw * (c->ci / c->groups);
    if (c->groups > 1 || (c->dilation_w > 1 && c->kw > 1)) return CLQ_WINDOW_EXPANDED;
    if (c->ow < 24 && c->oh > 1 && segment >= 64 && c->co >= 64) return CLQ_WINDOW_EXPANDED;
    const bool inside = c->pad_top == 0 && c->pad_left == 0 && clq_window_in_rows(c, c->oh) <= c->h &&
                        clq_window_padded_width(c) <= c->w;
    return inside && segment % depth == 0 ? CLQ_WINDOW_IN_PLACE : CLQ_WINDOW_PADDED;
}

/* Bands of at most 256 KiB of input; about 16 units or more, by bands of at least 4 rows first, then by panels. Needs
 * batch, oh, ow, co > 0. */
static inline struct clq_band clq_window_band(const struct clq_conv_args *c, const struct clq_product_way *way)
{
    struct clq_band b = {.mode = clq_window_mode_of(c, clq_product_depth(way)), .cg = c->ci / c->groups, .ng = c->co / c->groups};
    b.segment = c->kw * b.cg;
    b.steps = clq_product_steps(b.segment, way);
    const bool expanded = b.mode == CLQ_WINDOW_EXPANDED;
    b.row_bytes = expanded                      ? c->ow * b.steps * 4
                  : b.mode == CLQ_WINDOW_PADDED ? clq_window_padded_width(c) * c->ci
                                                : c->w * c->ci;
    b.lda = expanded ? b.steps * 4 : c->stride_w * c->ci;
    const size_t most = (256 * 1024) / (b.row_bytes + 1), under = (c->kh - 1) * c->dilation_h;
    const size_t fitting = most > under + 4 * c->stride_h ? (most - under) / c->stride_h : 4;
    const size_t by_units = (c->oh + (16 + c->batch - 1) / c->batch - 1) / ((16 + c->batch - 1) / c->batch);
    b.rows = by_units < 4 ? 4 : by_units;
    if (b.rows > fitting) b.rows = fitting;
    if (b.rows > c->oh) b.rows = c->oh;
    b.bands = (c->oh + b.rows - 1) / b.rows;
    b.rows = (c->oh + b.bands - 1) / b.bands;
    b.bands = (c->oh + b.rows - 1) / b.rows;
    b.in_rows = clq_window_in_rows(c, b.rows);
    b.plane_rows = (b.in_rows + c->stride_h - 1) / c->stride_h;
    const size_t count = clq_panels_count(clq_panels_columns(b.ng)), units = c->batch * b.bands * c->groups;
    const size_t wanted = (16 + units - 1) / units, ranges = wanted < count ? wanted : count;
    b.panels = (count + ranges - 1) / ranges;
    b.ranges = (count + b.panels - 1) / b.panels;
    b.offsets_bytes = (c->kh * sizeof(size_t) + 63) / 64 * 64;
    const size_t rows = expanded ? b.plane_rows * c->stride_h : b.mode == CLQ_WINDOW_PADDED ? b.in_rows : 0;
    b.scratch_bytes = b.offsets_bytes + rows * b.row_bytes + 64; /* a last segment reads up to 7 bytes past its end */
    return b;
}

static inline void clq_window_plan(struct clq_conv_args *c, const struct clq_product_way *way)
{
    const size_t steps = clq_product_steps(c->kw * (c->ci / c->groups), way);
    c->packed_bytes = clq_panels_bytes(c->groups, c->co / c->groups, c->kh * steps);
    c->scratch_bytes = 0;
    c->units = 0;
    if (c->batch == 0 || c->oh == 0 || c->ow == 0 || c->co == 0) return;
    const struct clq_band b = clq_window_band(c, way);
    c->scratch_bytes = b.scratch_bytes;
    c->units = c->batch * b.bands * c->groups * b.ranges;
}

static inline struct clq_panels_source clq_window_source(const struct clq_conv_args *c, const struct clq_product_way *way)
{
    return (struct clq_panels_source){
        .weight = c->weight,
        .bias = c->bias,
        .multiplier = c->out == CLQ_OUT_S32 ? NULL : c->multiplier,
        .groups = c->groups,
        .n = c->co / c->groups,
        .segments = c->kh,
        .segment = c->kw * (c->ci / c->groups),
        .zero_point_a = c->zero_point_x + way->shift,
        .depth = clq_product_depth(way),
        .signed_pairs = way->signed_pairs,
        .relu = way->wide && c->out == CLQ_OUT_U8 && c->lo == c->zero_point_y && c->bound < 1 << 23,
        .doubles = way->wide,
    };
}

/* Few bytes, mostly: no call. The ranges do not overlap. */
static inline void clq_window_copy(uint8_t *restrict to, const uint8_t *restrict from, size_t n)
{
    if (n >= 32) {
        for (size_t i = 0; i + 32 <= n; i += 32) memcpy(to + i, from + i, 32);
        memcpy(to + n - 32, from + n - 32, 32);
    } else if (n >= 16) {
        memcpy(to, from, 16);
        memcpy(to + n - 16, from + n - 16, 16);
    } else if (n >= 8) {
        memcpy(to, from, 8);
        memcpy(to + n - 8, from + n - 8, 8);
    } else if (n >= 4) {
        memcpy(to, from, 4);
        memcpy(to + n - 4, from + n - 4, 4);
    } else {
        for (size_t i = 0; i < n; i++) to[i] = from[i];
    }
}

/* One input row with its padding; row is NULL outside the image. */
static inline void clq_window_pad_row(const struct clq_conv_args *c, uint8_t *to, const uint8_t *row, size_t row_bytes)
{
    const size_t width = row_bytes / c->ci, left = c->pad_left < width ? c->pad_left : width;
    const size_t inside = row == NULL ? 0 : width - left < c->w ? width - left : c->w;
    memset(to, c->zero_point_x, left * c->ci);
    if (inside > 0) memcpy(to + left * c->ci, row, inside * c->ci);
    memset(to + (left + inside) * c->ci, c->zero_point_x, (width - left - inside) * c->ci);
}

/* One input row of one group, the kw taps of every output column gathered; row points at the group's first channel. */
static inline void clq_window_expand_row(const struct clq_conv_args *c, const struct clq_band *b, uint8_t *to,
                                         const uint8_t *row)
{
    if (row == NULL) {
        memset(to, c->zero_point_x, b->row_bytes);
        return;
    }
    const size_t reach = (c->kw - 1) * c->dilation_w;
    const bool joined = b->cg == c->ci && (c->dilation_w == 1 || c->kw == 1);
    for (size_t ox = 0; ox < c->ow; ox++, to += b->lda) {
        const size_t px = ox * c->stride_w; /* counted from the padded corner */
        if (joined && px >= c->pad_left && px - c->pad_left + reach < c->w) {
            clq_window_copy(to, row + (px - c->pad_left) * c->ci, b->segment);
            continue;
        }
        for (size_t kx = 0; kx < c->kw; kx++) {
            const size_t ix = px + kx * c->dilation_w;
            if (ix < c->pad_left || ix - c->pad_left >= c->w)
                memset(to + kx * b->cg, c->zero_point_x, b->cg);
            else
                clq_window_copy(to + kx * b->cg, row + (ix - c->pad_left) * c->ci, b->cg);
        }
    }
}

/* Where input row q of a band lies, in rows. */
static inline size_t clq_window_place(const struct clq_conv_args *c, const struct clq_band *b, size_t q)
{
    return b->mode == CLQ_WINDOW_EXPANDED ? q % c->stride_h * b->plane_rows + q / c->stride_h : q;
}

/* Whether any output row of a band reads input row q: strides beyond the kernel skip some. */
static inline bool clq_window_reads(const struct clq_conv_args *c, size_t q)
{
    if (c->stride_h == 1 || (c->dilation_h == 1 && c->kh >= c->stride_h)) return true;
    for (size_t ky = 0; ky < c->kh && ky * c->dilation_h <= q; ky++) {
        if ((q - ky * c->dilation_h) % c->stride_h == 0) return true;
    }
    return false;
}

/* Lays out the input of `rows` output rows from oy on. */
static inline void clq_window_fill(const struct clq_conv_args *c, const struct clq_band *b, uint8_t *to, size_t image,
                                   size_t oy, size_t rows, size_t group)
{
    const size_t in_rows = clq_window_in_rows(c, rows);
    for (size_t q = 0; q < in_rows; q++) {
        if (!clq_window_reads(c, q)) continue;
        const size_t iy = oy * c->stride_h + q;
        const bool inside = iy >= c->pad_top && iy - c->pad_top < c->h;
        const uint8_t *row = inside ? c->x + (image * c->h + iy - c->pad_top) * c->w * c->ci : NULL;
        uint8_t *at = to + clq_window_place(c, b, q) * b->row_bytes;
        if (b->mode == CLQ_WINDOW_PADDED)
            clq_window_pad_row(c, at, row, b->row_bytes);
        else
            clq_window_expand_row(c, b, at, row ? row + group * b->cg : NULL);
    }
}

/* The products of one band with one range of panels. first: the band's first input row as laid out. */
static inline void clq_window_products(const struct clq_conv_args *c, const struct clq_band *b, const struct clq_strip *like,
                                       const uint8_t *first, size_t rows, size_t range, const struct clq_product_way *way)
{
    const size_t count = clq_panels_count(like->packed->columns), bytes = c->out == CLQ_OUT_U8 ? 1 : 4, begin = range * b->panels;
    const bool expanded = b->mode == CLQ_WINDOW_EXPANDED;
    if (begin >= count) return;
    struct clq_strips all = {.strip = *like,
                             .panels = count - begin < b->panels ? count - begin : b->panels,
                             .lines = expanded ? 1 : rows,
                             .line_a = c->stride_h * b->row_bytes,
                             .line_y = c->ow * c->co * bytes};
    all.strip.panel = begin;
    all.strip.a = first;
    all.strip.rows = expanded ? rows * c->ow : c->ow;
    clq_strips_run(&all, way);
}

static inline void clq_window_run(const struct clq_conv_args *c, const struct clq_product_way *way)
{
    const struct clq_band b = clq_window_band(c, way);
    size_t *offset = c->scratch;
    uint8_t *space = (uint8_t *)c->scratch + b.offsets_bytes;
    const size_t bytes = c->out == CLQ_OUT_U8 ? 1 : 4;
    for (size_t ky = 0; ky < c->kh; ky++) offset[ky] = clq_window_place(c, &b, ky * c->dilation_h) * b.row_bytes;
    const struct clq_product_units units = {c->unit_begin, c->unit_end, b.ranges, b.panels, 0};
    size_t filled = SIZE_MAX; /* the band and group that lie in scratch */
    for (size_t u = c->unit_begin; u < c->unit_end; u++) {
        const size_t range = u % b.ranges, group = u / b.ranges % c->groups, band = u / b.ranges / c->groups;
        const size_t image = band / b.bands, oy = band % b.bands * b.rows;
        const size_t rows = c->oh - oy < b.rows ? c->oh - oy : b.rows;
        const uint8_t *first = space;
        if (b.mode == CLQ_WINDOW_IN_PLACE)
            first = c->x + (image * c->h + oy * c->stride_h) * c->w * c->ci;
        else if (filled != u / b.ranges)
            clq_window_fill(c, &b, space, image, oy, rows, group);
        filled = u / b.ranges;
        const size_t pixel = (image * c->oh + oy) * c->ow;
        const struct clq_strip s = {
            .lda = b.lda,
            .offset = offset,
            .segments = c->kh,
            .steps = b.steps,
            .packed = c->packed,
            .group = group,
            .y = (uint8_t *)c->y + (pixel * c->co + group * b.ng) * bytes,
            .ldy = c->co,
            .out = c->out,
            .zero_point_y = c->zero_point_y,
            .lo = c->lo,
            .hi = c->hi,
        };
        clq_window_products(c, &b, &s, first, rows, range, way);
        struct clq_residual_block r = clq_product_due(&units, u, c->packed);
        r.row = pixel;
        r.rows = rows * c->ow;
        r.column += group * b.ng;
        clq_residual_run(c->residual, c->out, c->y, c->co, &r, way->residual);
    }
}

/* Plan, pack and run of any convolution; an ISA passes its strip function and its depthwise calls. */
struct clq_conv_way {
    struct clq_product_way product; /* of rows of uint8; its strip runs everything that is not depthwise */
    void (*depthwise_plan)(struct clq_conv_args *c);
    void (*depthwise_pack)(struct clq_conv_args *c);
    void (*depthwise_run)(const struct clq_conv_args *c);
};

/* False where the sum does not provably fit 32 bits: then the reference plans. */
static inline bool clq_conv_plan(struct clq_conv_args *c, const struct clq_conv_way *way)
{
    if (c->bound > INT32_MAX) return false;
    if (clq_conv_is_product(c)) {
        struct clq_gemm_args g = clq_conv_product(c);
        clq_product_plan(&g, &way->product);
        c->packed_bytes = g.packed_bytes;
        c->scratch_bytes = g.scratch_bytes;
        c->units = g.units;
    } else if (clq_conv_is_depthwise(c)) {
        way->depthwise_plan(c);
    } else {
        clq_window_plan(c, &way->product);
    }
    return true;
}

static inline void clq_conv_pack(struct clq_conv_args *c, const struct clq_conv_way *way)
{
    if (c->packed_bytes == 0) return;
    if (clq_conv_is_depthwise(c)) {
        way->depthwise_pack(c);
    } else {
        const struct clq_panels_source source = clq_window_source(c, &way->product);
        clq_panels_pack(c->packed, &source);
    }
}

static inline void clq_conv_run(const struct clq_conv_args *c, const struct clq_conv_way *way)
{
    if (clq_conv_is_product(c)) {
        const struct clq_gemm_args g = clq_conv_product(c);
        clq_product_run(&g, &way->product);
    } else if (clq_conv_is_depthwise(c)) {
        way->depthwise_run(c);
    } else {
        clq_window_run(c, &way->product);
    }
}

#endif
