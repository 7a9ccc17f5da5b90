/* SPDX-License-Identifier: Apache-2.0
 * Range and histogram of binary32 values; bits of ref/histogram.c. Bin numbers are computed by vectors and counted in
 * private copies in turn, so that runs of equal bins do not wait for each other. */
#include <immintrin.h>
#include <string.h>

#include "kernels/functions.h"

enum { NOT_FINITE = 0x99 }; /* fpclass: quiet NaN, +inf, -inf, signaling NaN */

static float flushed(float v)
{
    return v < 0x1p-126f && v > -0x1p-126f ? 0 : v;
}

/* Values below 2^-126 are flushed only at the end: flushing is monotone, so it commutes with minimum and maximum. */
void clq_minmax_f32_avx512(struct clq_minmax_args *m)
{
    __m512 low = _mm512_set1_ps(m->min), high = _mm512_set1_ps(m->max);
    const char *x = (const char *)m->x;
    size_t left = m->n;
    for (; left >= 64; left -= 64, x += 256) {
        __m512 v[4];
        unsigned bad = 0;
        for (int i = 0; i < 4; i++) {
            v[i] = _mm512_loadu_ps(x + 64 * i);
            bad |= _mm512_fpclass_ps_mask(v[i], NOT_FINITE);
        }
        if (__builtin_expect(bad != 0, 0)) {
            struct clq_minmax_args part = *m;
            part.x = (const float *)x;
            part.n = 64;
            clq_minmax_f32_ref(&part);
            part.x = m->x;
            part.n = m->n;
            *m = part;
            continue;
        }
        low = _mm512_min_ps(low, _mm512_min_ps(_mm512_min_ps(v[0], v[1]), _mm512_min_ps(v[2], v[3])));
        high = _mm512_max_ps(high, _mm512_max_ps(_mm512_max_ps(v[0], v[1]), _mm512_max_ps(v[2], v[3])));
    }
    const float least = flushed(_mm512_reduce_min_ps(low)), most = flushed(_mm512_reduce_max_ps(high));
    struct clq_minmax_args tail = *m;
    if (least < tail.min) tail.min = least;
    if (most > tail.max) tail.max = most;
    tail.x = (const float *)x;
    tail.n = left;
    clq_minmax_f32_ref(&tail);
    tail.x = m->x;
    tail.n = m->n;
    *m = tail;
}

/* 16-bit private counters in 33 KiB of stack: 8 copies up to 1024 bins a side, 4 and 2 for 2048 and 4096. A copy takes
 * at most 65,520 values between two folds. The copies are apart by 64 bytes more than a power of two, because a load is
 * held up by an older store to the same place within its page. */
enum { PAD = 32, COUNTERS = 8 * (2 * 1024 + PAD), PER_COPY = 65520, SMALL = 1024, CHUNK = 128, AHEAD = 4096 };

struct binning {
    __m512 factor, last;
    __m512i side; /* the number of bins: negative values come behind the positive ones */
};

static inline __m512i bins_of(__m512 v, const struct binning *b)
{
    const __mmask16 negative = _mm512_cmp_ps_mask(v, _mm512_set1_ps(-0x1p-126f), _CMP_LE_OQ);
    const __m512 place = _mm512_min_ps(_mm512_mul_ps(_mm512_abs_ps(v), b->factor), b->last);
    const __m512i bin = _mm512_cvttps_epi32(place);
    return _mm512_mask_or_epi32(bin, negative, bin, b->side);
}

/* Bin numbers of n values, a multiple of 32; true if one of them is not finite. The order within 32 does not matter, so
 * packing may mix the lanes. */
static inline __attribute__((always_inline)) bool find_bins(uint16_t *bin, const char *x, size_t n,
                                                            const struct binning *b)
{
    unsigned bad = 0;
    for (size_t i = 0; i < n; i += 32, x += 128) {
        const __m512 v = _mm512_loadu_ps(x), w = _mm512_loadu_ps(x + 64);
        _mm_prefetch(x + AHEAD, _MM_HINT_T0);
        _mm_prefetch(x + AHEAD + 64, _MM_HINT_T0);
        bad |= _mm512_fpclass_ps_mask(v, NOT_FINITE) | _mm512_fpclass_ps_mask(w, NOT_FINITE);
        _mm512_store_si512(bin + i, _mm512_packus_epi32(bins_of(v, b), bins_of(w, b)));
    }
    return bad != 0;
}

/* n is a multiple of 32. Bin numbers of a chunk are all found before they are counted: by then the stores of the first
 * ones are long done. Chunks with a value that is not finite go to the reference. */
static inline __attribute__((always_inline)) void count(const struct clq_histogram_args *h, const struct binning *b,
                                                        uint16_t *counters, size_t copies, size_t stride)
{
    uint16_t bin[CHUNK] __attribute__((aligned(64)));
    struct clq_histogram_args part = *h;
    for (size_t done = 0; done < h->n; done += part.n) {
        part.x = (const float *)((const char *)h->x + 4 * done);
        part.n = h->n - done < CHUNK ? h->n - done : CHUNK;
        if (__builtin_expect(find_bins(bin, (const char *)part.x, part.n, b), 0)) {
            clq_histogram_f32_ref(&part);
            continue;
        }
        for (size_t i = 0; i < part.n; i += 32) {
#pragma GCC unroll 32
            for (size_t k = 0; k < 32; k++) counters[k % copies * stride + bin[i + k]]++;
        }
    }
}

/* Adds one side's private counters to its counts and clears them. */
static void fold(uint64_t *counts, uint16_t *counters, size_t bins, size_t copies, size_t stride)
{
    for (size_t i = 0; i < bins; i += 16) {
        __m512i sum = _mm512_setzero_si512();
        for (size_t k = 0; k < copies; k++) {
            __m256i *at = (__m256i *)(counters + k * stride + i);
            sum = _mm512_add_epi32(sum, _mm512_cvtepu16_epi32(_mm256_loadu_si256(at)));
            _mm256_storeu_si256(at, _mm256_setzero_si256());
        }
        const __m512i low = _mm512_cvtepu32_epi64(_mm512_castsi512_si256(sum));
        const __m512i high = _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(sum, 1));
        _mm512_storeu_si512(counts + i, _mm512_add_epi64(_mm512_loadu_si512(counts + i), low));
        _mm512_storeu_si512(counts + i + 8, _mm512_add_epi64(_mm512_loadu_si512(counts + i + 8), high));
    }
}

static inline __attribute__((always_inline)) void histogram(const struct clq_histogram_args *h, size_t copies,
                                                            size_t stride)
{
    uint16_t counters[COUNTERS];
    const size_t bins = (size_t)1 << h->log2_bins;
    const uint32_t factor_bits = (uint32_t)((int)h->log2_bins - h->exponent + 127) << 23;
    const struct binning b = {
        .factor = _mm512_castsi512_ps(_mm512_set1_epi32((int)factor_bits)),
        .last = _mm512_set1_ps((float)(bins - 1)),
        .side = _mm512_set1_epi32((int)bins),
    };
    for (size_t k = 0; k < copies; k++) memset(counters + k * stride, 0, 2 * bins * sizeof *counters);
    const char *x = (const char *)h->x;
    size_t left = h->n;
    while (left >= 32) {
        struct clq_histogram_args part = *h;
        const size_t whole = left / 32 * 32;
        part.x = (const float *)x;
        part.n = whole < PER_COPY * copies ? whole : PER_COPY * copies;
        count(&part, &b, counters, copies, stride);
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

static __attribute__((noinline)) void histogram_8(const struct clq_histogram_args *h)
{
    histogram(h, 8, 2 * 1024 + PAD);
}

static __attribute__((noinline)) void histogram_4(const struct clq_histogram_args *h)
{
    histogram(h, 4, 2 * 2048 + PAD);
}

static __attribute__((noinline)) void histogram_2(const struct clq_histogram_args *h)
{
    histogram(h, 2, 2 * 4096 + PAD);
}

void clq_histogram_f32_avx512(struct clq_histogram_args *h)
{
    if (h->n < SMALL)
        clq_histogram_f32_ref(h);
    else if (h->log2_bins <= 10)
        histogram_8(h);
    else if (h->log2_bins == 11)
        histogram_4(h);
    else
        histogram_2(h);
}
