/* SPDX-License-Identifier: Apache-2.0
 * How the units of a product lie: blocks of rows times ranges of panels of columns, by shape alone. Static inline, so that each
 * ISA folder compiles its own copy. */
#ifndef CLQ_KERNELS_GRID_H
#define CLQ_KERNELS_GRID_H

#include <stdbool.h>
#include <stddef.h>

struct clq_grid {
    size_t rows, blocks, panels, ranges; /* rows per block, panels per range */
    bool joins; /* the caches hold all rows: units of one range follow each other, and whoever has several of them does them as one */
};

/* Rows that are done as one at most. */
static inline size_t clq_grid_most_rows(const struct clq_grid *g, size_t m)
{
    return g->joins || m < g->rows ? m : g->rows;
}

/* The next work of a thread that has units unit .. end - 1: `units` of them. */
struct clq_grid_part {
    size_t row, rows, panel, units;
};

static inline struct clq_grid_part clq_grid_part(const struct clq_grid *g, size_t m, size_t unit, size_t end)
{
    const size_t block = g->joins ? unit % g->blocks : unit / g->ranges, range = g->joins ? unit / g->blocks : unit % g->ranges;
    const size_t left = g->blocks - block, units = !g->joins ? 1 : left < end - unit ? left : end - unit;
    const size_t row = block * g->rows, rows = units * g->rows;
    return (struct clq_grid_part){row, m - row < rows ? m - row : rows, range * g->panels, units};
}

#endif
