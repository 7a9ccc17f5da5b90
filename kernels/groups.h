/* SPDX-License-Identifier: Apache-2.0
 * Packed 4-bit weights in groups, shared by the CPU versions and the OpenCL packer, and how such a product is cut. Pure
 * address arithmetic and packing: everything is static inline, so that each ISA folder compiles its own copy.
 *
 *   packed:  struct clq_groups (64 bytes)
 *            panel [columns / 64]:
 *              data   uint8 [k8][64][4]    byte (n, k) = k / 8 * 256 + n % 64 * 4 + k % 4; low nibble: k % 8 < 4
 *              scale  float or binary16 [count][64]
 *              zero   uint8 [count][64]    only with zero points
 *
 * columns is n rounded up to 64. The padding has the code of weight zero and scale 0. */
#ifndef CLQ_KERNELS_GROUPS_H
#define CLQ_KERNELS_GROUPS_H

#include <string.h>

#include "kernels/grid.h"
#include "kernels/kernels.h"

enum { CLQ_GROUPS_WIDTH = 64, CLQ_GROUPS_ROW = 256, CLQ_GROUPS_MIDDLE = 8 };

struct clq_groups {
    size_t n, k, group;
    size_t count; /* groups of a column */
    size_t k8;    /* steps of 8 along K */
    size_t scale_bytes; /* of one scale */
    size_t zeros; /* 1: zero points follow the scales */
    size_t panel_bytes;
};

static inline struct clq_groups clq_groups_make(const struct clq_gemm_u4_args *g)
{
    struct clq_groups p = {
        .n = g->n,
        .k = g->k,
        .group = g->group < g->k ? g->group : g->k,
        .count = (g->k - 1) / g->group + 1,
        .k8 = (g->k + 7) / 8,
        .scale_bytes = g->scale_f16 ? 2 : 4,
        .zeros = g->zero_point != NULL,
    };
    p.panel_bytes = p.k8 * CLQ_GROUPS_ROW + p.count * CLQ_GROUPS_WIDTH * (p.scale_bytes + p.zeros);
    return p;
}

static inline size_t clq_groups_panels(size_t n)
{
    return (n + CLQ_GROUPS_WIDTH - 1) / CLQ_GROUPS_WIDTH;
}

static inline size_t clq_groups_bytes(const struct clq_groups *p)
{
    return sizeof *p + clq_groups_panels(p->n) * p->panel_bytes;
}

static inline uint8_t *clq_groups_data(const struct clq_groups *p, size_t panel)
{
    return (uint8_t *)(p + 1) + panel * p->panel_bytes;
}

static inline void *clq_groups_scale(const struct clq_groups *p, size_t panel)
{
    return clq_groups_data(p, panel) + p->k8 * CLQ_GROUPS_ROW;
}

static inline uint8_t *clq_groups_zero(const struct clq_groups *p, size_t panel)
{
    return (uint8_t *)clq_groups_scale(p, panel) + p->count * CLQ_GROUPS_WIDTH * p->scale_bytes;
}

/* Column n of the plain arrays; the codes behind K are those of weight zero. */
static inline void clq_groups_pack_column(const struct clq_groups *p, const struct clq_gemm_u4_args *g, size_t n)
{
    const size_t panel = n / CLQ_GROUPS_WIDTH, column = n % CLQ_GROUPS_WIDTH;
    const uint8_t *w = g->weight + n * ((p->k + 1) / 2);
    uint8_t *data = clq_groups_data(p, panel) + 4 * column, *zero = clq_groups_zero(p, panel) + column;
    char *scale = (char *)clq_groups_scale(p, panel) + p->scale_bytes * column;
    for (size_t i = 0; i < p->count; i++) {
        memcpy(scale + i * CLQ_GROUPS_WIDTH * p->scale_bytes,
               (const char *)g->scale + (n * p->count + i) * p->scale_bytes, p->scale_bytes);
        if (p->zeros) zero[i * CLQ_GROUPS_WIDTH] = g->zero_point[n * p->count + i];
    }
    const unsigned last = p->zeros ? zero[(p->count - 1) * CLQ_GROUPS_WIDTH] : CLQ_GROUPS_MIDDLE;
    for (size_t k = 0; k < 8 * p->k8; k++) {
        const unsigned code = k < p->k ? w[k / 2] >> (k % 2 * 4) & 15u : last;
        uint8_t *at = data + k / 8 * CLQ_GROUPS_ROW + k % 4;
        *at = (uint8_t)(k % 8 < 4 ? code : (*at & 15u) | code << 4);
    }
}

static inline void clq_groups_pack(void *packed, const struct clq_gemm_u4_args *g)
{
    struct clq_groups *p = packed;
    *p = clq_groups_make(g);
    memset(p + 1, 0, clq_groups_bytes(p) - sizeof *p);
    for (size_t n = 0; n < p->n; n++) clq_groups_pack_column(p, g, n);
    const size_t used = p->n % CLQ_GROUPS_WIDTH, panel = p->n / CLQ_GROUPS_WIDTH;
    if (used == 0) return;
    uint8_t *data = clq_groups_data(p, panel), *zero = clq_groups_zero(p, panel);
    for (size_t i = 0; i < p->k8; i++)
        memset(data + i * CLQ_GROUPS_ROW + 4 * used, CLQ_GROUPS_MIDDLE * 17, 4 * (CLQ_GROUPS_WIDTH - used));
    for (size_t i = 0; p->zeros && i < p->count; i++)
        memset(zero + i * CLQ_GROUPS_WIDTH + used, CLQ_GROUPS_MIDDLE, CLQ_GROUPS_WIDTH - used);
}

/* ---- Cutting along K: segments of the numeric contract, and blocks of whole groups that stay in the first cache ---- */

struct clq_groups_block {
    size_t first, k;  /* elements; k is the length */
    size_t group;     /* its first group */
    size_t segment;
    bool opens, closes; /* it is the first, the last block of its segment */
};

static inline size_t clq_groups_segment(const struct clq_groups *p)
{
    return ((CLQ_U4_SEGMENT - 1) / p->group + 1) * p->group;
}

static inline size_t clq_groups_segments(const struct clq_groups *p)
{
    return (p->k - 1) / clq_groups_segment(p) + 1;
}

/* The block that begins at element `first`, of at most `most` elements or one group. */
static inline struct clq_groups_block clq_groups_block_at(const struct clq_groups *p, size_t first, size_t most)
{
    const size_t segment = clq_groups_segment(p), whole = most / p->group * p->group;
    struct clq_groups_block b = {.first = first, .group = first / p->group, .segment = first / segment};
    const size_t left = p->k - b.segment * segment, end = b.segment * segment + (left < segment ? left : segment);
    b.k = whole > 0 ? whole : p->group;
    if (b.k > end - first) b.k = end - first;
    b.opens = first == b.segment * segment;
    b.closes = first + b.k == end;
    return b;
}

/* The sum of a closed segment meets those that wait: bit l of the result says that the one of 2^l segments is added, in
 * ascending order. Behind the last segment all that wait are added. */
static inline size_t clq_groups_merge(const struct clq_groups *p, size_t segment)
{
    return segment + 1 == clq_groups_segments(p) ? segment : segment & ~(segment + 1);
}

/* Levels that wait at most. */
static inline size_t clq_groups_levels(const struct clq_groups *p)
{
    size_t levels = 0;
    for (size_t s = clq_groups_segments(p) - 1; s > 0; s /= 2) levels++;
    return levels;
}

/* ---- Cutting rows and columns into units, by shape alone ---- */

/* A block's rows stay in a part of the second-level cache; every block of rows unpacks all weights, so they are not few.
 * limbs: bytes of an element. Up to 16 units of at least half a million products; rows are split for that only where there
 * are few panels. */
static inline struct clq_grid clq_groups_grid_make(size_t m, size_t n, size_t k, size_t limbs)
{
    enum { ROWS_BYTES = 768 * 1024, MOST_ROWS = 512, LEAST_ROWS = 48, UNITS = 16, UNIT_WORK = 1 << 19 };
    const size_t fit = ROWS_BYTES / limbs / k, most = fit > MOST_ROWS ? MOST_ROWS : fit < LEAST_ROWS ? LEAST_ROWS : fit;
    const size_t count = clq_groups_panels(n);
    if (m == 0 || count == 0) return (struct clq_grid){0};
    const double work = (double)m * (double)(count * CLQ_GROUPS_WIDTH) * (double)k / UNIT_WORK;
    const size_t units = work >= UNITS ? UNITS : work < 1 ? 1 : (size_t)work;
    struct clq_grid grid = {.blocks = (m + most - 1) / most};
    const size_t split = (units + count - 1) / count, splittable = m < LEAST_ROWS ? 1 : m / LEAST_ROWS;
    if (grid.blocks < split) grid.blocks = split < splittable ? split : splittable;
    grid.rows = (m + grid.blocks - 1) / grid.blocks;
    grid.blocks = (m + grid.rows - 1) / grid.rows;
    const size_t wanted = (units + grid.blocks - 1) / grid.blocks, ranges = wanted < count ? wanted : count;
    grid.panels = (count + ranges - 1) / ranges;
    grid.ranges = (count + grid.panels - 1) / grid.panels;
    grid.joins = m <= most;
    return grid;
}

#endif
