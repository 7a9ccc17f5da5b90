/* SPDX-License-Identifier: Apache-2.0
 * Packed weights of an integer product, shared by the CPU versions, and how a product is cut into units. Pure address
 * arithmetic and packing: everything is static inline, so that each ISA folder compiles its own copy.
 *
 *   packed:  struct clq_panels (64 bytes)
 *            bias        int32 [groups][columns]   bias - zero_point_a * sum(w), modulo 2^32
 *            multiplier  float [groups][columns]
 *            shift       float [groups][columns]   -2^23 * multiplier, for the short epilogue
 *            data        int8  [groups][panel][k4][width][4]   uint8, weight + 128, where AVX512-VNNI reads rows of int8
 *            pairs       uint8 [groups][columns / 16]   1: a u8 pair times any weight pair (2i, 2i + 1) fits 16 bits;
 *                                                       NEON: no weight is -128, so two products of s8 fit 16 bits
 *
 * Where tiles take 8 bytes along K at a time (smmla), data is [groups][panel][k4 / 2][width][8] and k4 even.
 *
 * columns is n rounded up to 16, the padding has weight, bias and multiplier 0. A panel is 64 columns wide; where a
 * last panel of 16 would follow, the last two are 48 and 32 wide, since a narrow tile is slow. K is cut into segments
 * that are padded to 4 (8) each, so that a convolution's kernel rows start at whole steps. */
#ifndef CLQ_KERNELS_PANELS_H
#define CLQ_KERNELS_PANELS_H

#include <string.h>

#include "kernels/grid.h"
#include "kernels/kernels.h"

struct clq_panels {
    size_t columns; /* n of one group, rounded up to 16 */
    size_t n;       /* columns of one group that are stored */
    size_t groups;
    size_t k4;      /* steps of 4 along K, all segments together */
    size_t relu;    /* the short epilogue is proved: see clq_panels_pack */
    size_t doubled; /* the last vector of 16 columns holds its first 8 twice */
    size_t unused[2];
};

static inline size_t clq_panels_columns(size_t n)
{
    return (n + 15) / 16 * 16;
}

static inline bool clq_panels_uneven(size_t columns)
{
    return columns > 64 && columns % 64 == 16;
}

static inline size_t clq_panels_count(size_t columns)
{
    return (columns + 63) / 64;
}

/* First column of panel p; the end of the last one for p == count. */
static inline size_t clq_panels_start(size_t columns, size_t p)
{
    const size_t count = clq_panels_count(columns);
    if (p == count) return columns;
    return p + 1 == count && clq_panels_uneven(columns) ? columns - 32 : 64 * p;
}

static inline size_t clq_panels_bytes(size_t groups, size_t n, size_t k4)
{
    const size_t columns = clq_panels_columns(n), pairs = (groups * columns / 16 + 63) / 64 * 64;
    return sizeof(struct clq_panels) + groups * columns * (12 + 4 * k4) + pairs;
}

static inline int32_t *clq_panels_bias(const struct clq_panels *p, size_t group)
{
    return (int32_t *)(p + 1) + group * p->columns;
}

static inline float *clq_panels_multiplier(const struct clq_panels *p, size_t group)
{
    return (float *)(p + 1) + (p->groups + group) * p->columns;
}

static inline float *clq_panels_shift(const struct clq_panels *p, size_t group)
{
    return (float *)(p + 1) + (2 * p->groups + group) * p->columns;
}

static inline int8_t *clq_panels_data(const struct clq_panels *p, size_t group, size_t column)
{
    return (int8_t *)(p + 1) + 12 * p->groups * p->columns + (group * p->columns + column) * 4 * p->k4;
}

static inline uint8_t *clq_panels_pairs(const struct clq_panels *p, size_t group)
{
    return (uint8_t *)clq_panels_data(p, p->groups, 0) + group * p->columns / 16;
}

/* What clq_panels_pack reads. Column c of group g is row g * n + c of weight, bias and multiplier. */
struct clq_panels_source {
    const int8_t *weight; /* [groups * n][segments][segment] */
    const int32_t *bias;
    const float *multiplier;
    size_t groups, n, segments, segment; /* segment: elements */
    int32_t zero_point_a;                /* of the activations as the kernel sees them */
    int32_t offset;                      /* added to every stored weight: 0, or 128 for rows of int8 */
    size_t depth;                        /* bytes of a column that lie together along K: 4 or 8 */
    bool signed_pairs;                   /* pairs are those of NEON */
    bool relu;    /* the caller allows the short epilogue: u8 out, lo == zero_point_y, bound < 2^23 */
    bool doubles; /* the tiles know doubled columns */
};

/* One column: weights into the panel, corrections into the bias. */
static inline void clq_panels_pack_column(const struct clq_panels *p, const struct clq_panels_source *s, size_t group,
                                          size_t c)
{
    const size_t count = clq_panels_count(p->columns), depth = s->depth, last = depth - 1;
    const size_t steps = (s->segment + last) / depth;
    size_t panel = c / 64;
    if (panel + 1 < count && c >= clq_panels_start(p->columns, panel + 1)) panel++;
    const size_t first = clq_panels_start(p->columns, panel), width = clq_panels_start(p->columns, panel + 1) - first;
    const int8_t *w = s->weight + (group * s->n + c) * s->segments * s->segment;
    int8_t *data = clq_panels_data(p, group, first) + depth * (c - first);
    int64_t sum = 0;
    bool lowest = false;
    int pair = 0, largest = 0;
    for (size_t i = 0; i < s->segments; i++, data += steps * depth * width) {
        for (size_t j = 0; j < s->segment; j++, w++) {
            data[(j & ~last) * width + (j & last)] = (int8_t)(*w + s->offset);
            sum += *w;
            lowest |= *w == INT8_MIN;
            pair = (j % 2 ? pair : 0) + (*w < 0 ? -*w : *w);
            if (pair > largest) largest = pair;
        }
    }
    if (s->signed_pairs ? lowest : 255 * largest > INT16_MAX) clq_panels_pairs(p, group)[c / 16] = 0;
    const int32_t bias = s->bias ? s->bias[group * s->n + c] : 0;
    const uint32_t folded = (uint32_t)bias - (uint32_t)(uint64_t)(s->zero_point_a * sum);
    clq_panels_bias(p, group)[c] = (int32_t)folded;
}

/* A last vector with at most 8 of its 16 columns in use holds them twice: one register then serves two rows. */
static inline void clq_panels_double(struct clq_panels *p, size_t group)
{
    const size_t first = clq_panels_start(p->columns, clq_panels_count(p->columns) - 1), at = p->columns - 16;
    const size_t step = 4 * (p->columns - first);
    int8_t *data = clq_panels_data(p, group, first) + 4 * (at - first);
    for (size_t k = 0; k < p->k4; k++, data += step) memcpy(data + 32, data, 32);
    memcpy(clq_panels_bias(p, group) + at + 8, clq_panels_bias(p, group) + at, 32);
    memcpy(clq_panels_multiplier(p, group) + at + 8, clq_panels_multiplier(p, group) + at, 32);
    memcpy(clq_panels_shift(p, group) + at + 8, clq_panels_shift(p, group) + at, 32);
    p->doubled = 1;
}

/* Packs everything. The short epilogue (avx512/gemm_epilogue.h) needs |v| < 2^23 and lo == zero_point_y, which the
 * caller says, and multipliers in (0, 2^8), so that 2^23 * multiplier stays inside int32: then the bias carries the
 * bits of 2^23. */
static inline void clq_panels_pack(void *packed, const struct clq_panels_source *s)
{
    struct clq_panels *p = packed;
    const size_t k4 = s->segments * ((s->segment + s->depth - 1) / s->depth * s->depth / 4);
    memset(packed, 0, clq_panels_bytes(s->groups, s->n, k4));
    *p = (struct clq_panels){.columns = clq_panels_columns(s->n), .n = s->n, .groups = s->groups, .k4 = k4};
    bool relu = s->relu;
    for (size_t i = 0; relu && i < s->groups * s->n; i++) relu = s->multiplier[i] > 0.0f && s->multiplier[i] < 256.0f;
    p->relu = relu;
    memset(clq_panels_pairs(p, 0), 1, p->groups * p->columns / 16);
    for (size_t g = 0; g < s->groups; g++) {
        for (size_t c = 0; c < s->n; c++) {
            clq_panels_pack_column(p, s, g, c);
            if (s->multiplier) {
                const float m = s->multiplier[g * s->n + c];
                clq_panels_multiplier(p, g)[c] = m;
                clq_panels_shift(p, g)[c] = -8388608.0f * m;
            }
        }
        if (relu) {
            uint32_t *bias = (uint32_t *)clq_panels_bias(p, g);
            for (size_t c = 0; c < p->columns; c++) bias[c] += 0x4B000000u;
        }
        if (s->doubles && s->n > 16 && p->columns - s->n >= 8) clq_panels_double(p, g);
    }
}

/* How a product of m rows is cut. A block's rows stay in a part of a 1 MiB second-level cache beside a panel, and are as many as fit, since every block
 * streams all weights. Up to 16 units, of at least half a million products and, where rows are split for that, 24 rows.
 * Where weights stay in that cache too, rows are split first: ranges of panels would lay the same rows out again, and
 * two threads would write the same cache lines. multiple: rows of a block come in multiples of it where tiles of so many are
 * much better than parts of them; above 1 panels are not split to make up for the blocks that this costs. */
static inline struct clq_grid clq_grid_make(size_t m, size_t columns, size_t k4, size_t multiple)
{
    const size_t count = clq_panels_count(columns), written = columns < 256 ? columns : 256;
    if (m == 0 || count == 0) return (struct clq_grid){0};
    const size_t most = (384 * 1024) / (4 * k4 + written + 64), limit = most < 48 ? 48 : most > 768 ? 768 : most;
    const size_t work = m * columns * k4 >> 17, units = work < 1 ? 1 : work > 16 ? 16 : work;
    struct clq_grid grid = {.blocks = (m + limit - 1) / limit};
    const size_t split = (units + count - 1) / count, splittable = m < 24 ? 1 : m / 24;
    if (grid.blocks < split) grid.blocks = split < splittable ? split : splittable;
    const size_t alone = m / 48 < units ? m / 48 : units;
    if (4 * columns * k4 <= 512 * 1024 && grid.blocks < alone) grid.blocks = alone;
    grid.rows = ((m + grid.blocks - 1) / grid.blocks + multiple - 1) / multiple * multiple;
    grid.blocks = (m + grid.rows - 1) / grid.rows;
    const size_t up = multiple > 1 ? 0 : grid.blocks - 1, wanted = (units + up) / grid.blocks;
    const size_t ranges = wanted < 1 ? 1 : wanted < count ? wanted : count;
    grid.panels = (count + ranges - 1) / ranges;
    grid.ranges = (count + grid.panels - 1) / grid.panels;
    grid.joins = m <= limit;
    return grid;
}

/* A run of rows at a constant distance times one panel: the work of one call into the tiles. Row i of A is the bytes
 * a + i * lda + offset[s] .. + 4 * steps - 1 of each segment s, all readable. */
struct clq_strip {
    const uint8_t *a;
    size_t lda, rows;
    const size_t *offset;
    size_t segments, steps; /* steps of 4 bytes per segment */
    const int16_t *wide_rows; /* the rows again, in 16 bits: even elements of each row, then odd ones; NULL: only a */
    int16_t *wide_columns;    /* [steps][2][16][2], space for 16 columns of weights in 16 bits; with wide_rows */
    const int32_t *row_bias; /* [rows], added to the sums of a row of int8, weights being weight + 128; NULL: u8 rows */
    const struct clq_panels *packed;
    size_t group, panel;
    void *y; /* row 0, column 0 of the group */
    size_t ldy;
    enum clq_out out;
    int32_t zero_point_y, lo, hi;
};
typedef void clq_strip_fn(const struct clq_strip *strip);

/* Strips that belong together: the same rows with several panels, from the strip's on, and with each of them several lines of
 * rows, which lie line_a bytes from each other in A and line_y bytes in y. */
struct clq_strips {
    struct clq_strip strip; /* of the first line and panel */
    size_t panels, lines, line_a, line_y;
};
typedef void clq_strips_fn(const struct clq_strips *strips);

static inline void clq_strips_each(const struct clq_strips *g, clq_strip_fn *strip)
{
    struct clq_strip s = g->strip;
    for (size_t p = 0; p < g->panels; p++, s.panel++) {
        for (size_t line = 0; line < g->lines; line++) {
            s.a = g->strip.a + line * g->line_a;
            s.y = (uint8_t *)g->strip.y + line * g->line_y;
            strip(&s);
        }
    }
}

#endif
