/* SPDX-License-Identifier: Apache-2.0
 * Range and histogram of binary32 values; bits of ref/histogram.c. Bin numbers are computed by vectors and counted in
 * private copies in turn, so that runs of equal bins do not wait for each other. */
#include <immintrin.h>
#include <string.h>

#include "kernels/functions.h"

/* NaN and infinities, found by their bits. */
static inline __m256i not_finite(__m256 v)
{
    const __m256i magnitude = _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fffffff));
    return _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x7f7fffff));
}

static float flushed(float v)
{
    return v < 0x1p-126f && v > -0x1p-126f ? 0 : v;
}

/* Values below 2^-126 are flushed only at the end: flushing is monotone, so it commutes with minimum and maximum. */
void clq_minmax_f32_avx2(struct clq_minmax_args *m)
{
    __m256 low = _mm256_set1_ps(m->min), high = _mm256_set1_ps(m->max);
    const char *x = (const char *)m->x;
    size_t left = m->n;
    for (; left >= 32; left -= 32, x += 128) {
        __m256 v[4];
        __m256i bad = _mm256_setzero_si256();
        for (int i = 0; i < 4; i++) {
            v[i] = _mm256_loadu_ps((const float *)(x + 32 * i));
            bad = _mm256_or_si256(bad, not_finite(v[i]));
        }
        if (__builtin_expect(!_mm256_testz_si256(bad, bad), 0)) {
            struct clq_minmax_args part = *m;
            part.x = (const float *)x;
            part.n = 32;
            clq_minmax_f32_ref(&part);
            part.x = m->x;
            part.n = m->n;
            *m = part;
            continue;
        }
        low = _mm256_min_ps(low, _mm256_min_ps(_mm256_min_ps(v[0], v[1]), _mm256_min_ps(v[2], v[3])));
        high = _mm256_max_ps(high, _mm256_max_ps(_mm256_max_ps(v[0], v[1]), _mm256_max_ps(v[2], v[3])));
    }
    float lows[8], highs[8];
    _mm256_storeu_ps(lows, low);
    _mm256_storeu_ps(highs, high);
    struct clq_minmax_args tail = *m;
    for (int i = 0; i < 8; i++) {
        if (flushed(lows[i]) < tail.min) tail.min = flushed(lows[i]);
        if (flushed(highs[i]) > tail.max) tail.max = flushed(highs[i]);
    }
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
    __m256 factor, last;
    __m256i side; /* the number of bins: negative values come behind the positive ones */
};

static inline __m256i bins_of(__m256 v, const struct binning *b)
{
    const __m256 magnitude = _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff)));
    const __m256 negative = _mm256_cmp_ps(v, _mm256_set1_ps(-0x1p-126f), _CMP_LE_OQ);
    const __m256i bin = _mm256_cvttps_epi32(_mm256_min_ps(_mm256_mul_ps(magnitude, b->factor), b->last));
    return _mm256_or_si256(bin, _mm256_and_si256(_mm256_castps_si256(negative), b->side));
}

/* Bin numbers of n values, a multiple of 32; true if one of them is not finite. The order within 32 does not matter, so
 * packing may mix the lanes. */
static inline __attribute__((always_inline)) bool find_bins(uint16_t *bin, const char *x, size_t n,
                                                            const struct binning *b)
{
    __m256i bad = _mm256_setzero_si256();
    for (size_t i = 0; i < n; i += 16, x += 64) {
        const __m256 v = _mm256_loadu_ps((const float *)x), w = _mm256_loadu_ps((const float *)(x + 32));
        _mm_prefetch(x + AHEAD, _MM_HINT_T0);
        bad = _mm256_or_si256(bad, _mm256_or_si256(not_finite(v), not_finite(w)));
        _mm256_store_si256((__m256i *)(bin + i), _mm256_packus_epi32(bins_of(v, b), bins_of(w, b)));
    }
    return !_mm256_testz_si256(bad, bad);
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
    for (size_t i = 0; i < bins; i += 8) {
        __m256i sum = _mm256_setzero_si256();
        for (size_t k = 0; k < copies; k++) {
            __m128i *at = (__m128i *)(counters + k * stride + i);
            sum = _mm256_add_epi32(sum, _mm256_cvtepu16_epi32(_mm_loadu_si128(at)));
            _mm_storeu_si128(at, _mm_setzero_si128());
        }
        __m256i *low = (__m256i *)(counts + i), *high = (__m256i *)(counts + i + 4);
        const __m256i low_sum = _mm256_cvtepu32_epi64(_mm256_castsi256_si128(sum));
        const __m256i high_sum = _mm256_cvtepu32_epi64(_mm256_extracti128_si256(sum, 1));
        _mm256_storeu_si256(low, _mm256_add_epi64(_mm256_loadu_si256(low), low_sum));
        _mm256_storeu_si256(high, _mm256_add_epi64(_mm256_loadu_si256(high), high_sum));
    }
}

static inline __attribute__((always_inline)) void histogram(const struct clq_histogram_args *h, size_t copies,
                                                            size_t stride)
{
    uint16_t counters[COUNTERS];
    const size_t bins = (size_t)1 << h->log2_bins;
    const uint32_t factor_bits = (uint32_t)((int)h->log2_bins - h->exponent + 127) << 23;
    const struct binning b = {
        .factor = _mm256_castsi256_ps(_mm256_set1_epi32((int)factor_bits)),
        .last = _mm256_set1_ps((float)(bins - 1)),
        .side = _mm256_set1_epi32((int)bins),
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

void clq_histogram_f32_avx2(struct clq_histogram_args *h)
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
