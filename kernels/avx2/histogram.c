/* SPDX-License-Identifier: Apache-2.0
 * Range and histogram of binary32 values; bits of ref/histogram.c. Bin numbers are computed by vectors and counted in
 * private copies in turn, so that runs of equal bins do not wait for each other. */
#include <immintrin.h>

#include "kernels/histogram_run.h"

/* NaN and infinities, found by their bits. */
static inline __m256i not_finite(__m256 v)
{
    const __m256i magnitude = _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fffffff));
    return _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x7f7fffff));
}

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
            clq_minmax_part(m, x, 32);
            continue;
        }
        low = _mm256_min_ps(low, _mm256_min_ps(_mm256_min_ps(v[0], v[1]), _mm256_min_ps(v[2], v[3])));
        high = _mm256_max_ps(high, _mm256_max_ps(_mm256_max_ps(v[0], v[1]), _mm256_max_ps(v[2], v[3])));
    }
    float lows[8], highs[8];
    _mm256_storeu_ps(lows, low);
    _mm256_storeu_ps(highs, high);
    for (int i = 1; i < 8; i++) {
        if (lows[i] < lows[0]) lows[0] = lows[i];
        if (highs[i] > highs[0]) highs[0] = highs[i];
    }
    clq_minmax_end(m, lows[0], highs[0], x, left);
}

struct binning {
    __m256 factor, last;
    __m256i side;
};

static inline __m256i bins_of(__m256 v, const struct binning *b)
{
    const __m256 magnitude = _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff)));
    const __m256 negative = _mm256_cmp_ps(v, _mm256_set1_ps(-0x1p-126f), _CMP_LE_OQ);
    const __m256i bin = _mm256_cvttps_epi32(_mm256_min_ps(_mm256_mul_ps(magnitude, b->factor), b->last));
    return _mm256_or_si256(bin, _mm256_and_si256(_mm256_castps_si256(negative), b->side));
}

static inline __attribute__((always_inline)) bool find_bins(uint16_t *bin, const char *x, size_t n,
                                                            const struct clq_bins *b)
{
    const struct binning all = {_mm256_set1_ps(b->factor), _mm256_set1_ps((float)(b->bins - 1)), _mm256_set1_epi32((int)b->bins)};
    __m256i bad = _mm256_setzero_si256();
    for (size_t i = 0; i < n; i += 16, x += 64) {
        const __m256 v = _mm256_loadu_ps((const float *)x), w = _mm256_loadu_ps((const float *)(x + 32));
        _mm_prefetch(x + CLQ_BINS_AHEAD, _MM_HINT_T0);
        bad = _mm256_or_si256(bad, _mm256_or_si256(not_finite(v), not_finite(w)));
        _mm256_store_si256((__m256i *)(bin + i), _mm256_packus_epi32(bins_of(v, &all), bins_of(w, &all)));
    }
    return !_mm256_testz_si256(bad, bad);
}

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

void clq_histogram_f32_avx2(struct clq_histogram_args *h)
{
    clq_bins_histogram(h, find_bins, fold);
}
