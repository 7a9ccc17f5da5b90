/* SPDX-License-Identifier: Apache-2.0
 * The histogram as the vector versions share it: each brings how bin numbers are found and how private counters are folded,
 * and a call that names both as constants is compiled into one loop. */
#ifndef CLQ_KERNELS_HISTOGRAM_RUN_H
#define CLQ_KERNELS_HISTOGRAM_RUN_H

#include <string.h>

#include "kernels/functions.h"

/* Leaves n values at x to the reference. */
static inline void clq_minmax_part(struct clq_minmax_args *m, const char *x, size_t n)
{
    struct clq_minmax_args part = *m;
    part.x = (const float *)x;
    part.n = n;
    clq_minmax_f32_ref(&part);
    part.x = m->x;
    part.n = m->n;
    *m = part;
}

/* What vectors found, and the n values at x behind them. Subnormals are flushed only here: flushing is monotone, so it commutes
 * with minimum and maximum. */
static inline void clq_minmax_end(struct clq_minmax_args *m, float least, float most, const char *x, size_t n)
{
    if (least < 0x1p-126f && least > -0x1p-126f) least = 0;
    if (most < 0x1p-126f && most > -0x1p-126f) most = 0;
    if (least < m->min) m->min = least;
    if (most > m->max) m->max = most;
    clq_minmax_part(m, x, n);
}

/* 16-bit private counters in 33 KiB of stack: 8 copies up to 1024 bins a side, 4 and 2 for 2048 and 4096. A copy takes
 * at most 65,520 values between two folds. The copies are apart by 64 bytes more than a power of two, because a load is
 * held up by an older store to the same place within its page. */
enum {
    CLQ_BINS_PAD = 32,
    CLQ_BINS_COUNTERS = 8 * (2 * 1024 + CLQ_BINS_PAD),
    CLQ_BINS_PER_COPY = 65520,
    CLQ_BINS_SMALL = 1024,
    CLQ_BINS_CHUNK = 128,
    CLQ_BINS_AHEAD = 4096 /* bytes to prefetch */
};

struct clq_bins {
    float factor;  /* bin = floor(|x| * factor) */
    uint32_t bins; /* a side's; negative values come behind the positive ones */
};

/* Bin numbers of n values at x, a multiple of 32, to aligned `bin`; true if one of them is not finite. The order within 32
 * does not matter, so packing may mix the lanes. */
typedef bool clq_bins_find(uint16_t *bin, const char *x, size_t n, const struct clq_bins *b);

/* Adds one side's private counters, `copies` of them that are `stride` apart, to its counts and clears them. */
typedef void clq_bins_fold(uint64_t *counts, uint16_t *counters, size_t bins, size_t copies, size_t stride);

/* n is a multiple of 32. Bin numbers of a chunk are all found before they are counted: by then the stores of the first
 * ones are long done. Chunks with a value that is not finite go to the reference. */
static inline __attribute__((always_inline)) void clq_bins_count(const struct clq_histogram_args *h,
                                                                 const struct clq_bins *b, uint16_t *counters,
                                                                 size_t copies, size_t stride, clq_bins_find *find)
{
    uint16_t bin[CLQ_BINS_CHUNK] __attribute__((aligned(64)));
    struct clq_histogram_args part = *h;
    for (size_t done = 0; done < h->n; done += part.n) {
        part.x = (const float *)((const char *)h->x + 4 * done);
        part.n = h->n - done < CLQ_BINS_CHUNK ? h->n - done : CLQ_BINS_CHUNK;
        if (__builtin_expect(find(bin, (const char *)part.x, part.n, b), 0)) {
            clq_histogram_f32_ref(&part);
            continue;
        }
        for (size_t i = 0; i < part.n; i += 32) {
#pragma GCC unroll 32
            for (size_t k = 0; k < 32; k++) counters[k % copies * stride + bin[i + k]]++;
        }
    }
}

static inline __attribute__((always_inline)) void clq_bins_run(const struct clq_histogram_args *h, size_t copies,
                                                               size_t stride, clq_bins_find *find, clq_bins_fold *fold)
{
    uint16_t counters[CLQ_BINS_COUNTERS];
    const size_t bins = (size_t)1 << h->log2_bins;
    const uint32_t factor_bits = (uint32_t)((int)h->log2_bins - h->exponent + 127) << 23;
    struct clq_bins b = {.bins = (uint32_t)bins};
    memcpy(&b.factor, &factor_bits, sizeof b.factor);
    for (size_t k = 0; k < copies; k++) memset(counters + k * stride, 0, 2 * bins * sizeof *counters);
    const char *x = (const char *)h->x;
    size_t left = h->n;
    while (left >= 32) {
        struct clq_histogram_args part = *h;
        const size_t whole = left / 32 * 32;
        part.x = (const float *)x;
        part.n = whole < CLQ_BINS_PER_COPY * copies ? whole : CLQ_BINS_PER_COPY * copies;
        clq_bins_count(&part, &b, counters, copies, stride, find);
        fold(h->positive, counters, bins, copies, stride);
        fold(h->negative, counters + bins, bins, copies, stride);
        x += 4 * part.n;
        left -= part.n;
    }
    struct clq_histogram_args tail = *h;
    tail.x = (const float *)x;
    tail.n = left;
    clq_histogram_f32_ref(&tail);
}

static inline __attribute__((always_inline)) void clq_bins_histogram(struct clq_histogram_args *h,
                                                                     clq_bins_find *find, clq_bins_fold *fold)
{
    if (h->n < CLQ_BINS_SMALL)
        clq_histogram_f32_ref(h);
    else if (h->log2_bins <= 10)
        clq_bins_run(h, 8, 2 * 1024 + CLQ_BINS_PAD, find, fold);
    else if (h->log2_bins == 11)
        clq_bins_run(h, 4, 2 * 2048 + CLQ_BINS_PAD, find, fold);
    else
        clq_bins_run(h, 2, 2 * 4096 + CLQ_BINS_PAD, find, fold);
}

#endif
