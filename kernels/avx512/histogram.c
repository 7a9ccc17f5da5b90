/* SPDX-License-Identifier: Apache-2.0
 * Range and histogram of binary32 values; bits of ref/histogram.c. Bin numbers are computed by vectors and counted in
 * private copies in turn, so that runs of equal bins do not wait for each other. */
#include <immintrin.h>

#include "kernels/histogram_run.h"

enum { NOT_FINITE = 0x99 }; /* fpclass: quiet NaN, +inf, -inf, signaling NaN */

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
            clq_minmax_part(m, x, 64);
            continue;
        }
        low = _mm512_min_ps(low, _mm512_min_ps(_mm512_min_ps(v[0], v[1]), _mm512_min_ps(v[2], v[3])));
        high = _mm512_max_ps(high, _mm512_max_ps(_mm512_max_ps(v[0], v[1]), _mm512_max_ps(v[2], v[3])));
    }
    clq_minmax_end(m, _mm512_reduce_min_ps(low), _mm512_reduce_max_ps(high), x, left);
}

struct binning {
    __m512 factor, last;
    __m512i side;
};

static inline __m512i bins_of(__m512 v, const struct binning *b)
{
    const __mmask16 negative = _mm512_cmp_ps_mask(v, _mm512_set1_ps(-0x1p-126f), _CMP_LE_OQ);
    const __m512 place = _mm512_min_ps(_mm512_mul_ps(_mm512_abs_ps(v), b->factor), b->last);
    const __m512i bin = _mm512_cvttps_epi32(place);
    return _mm512_mask_or_epi32(bin, negative, bin, b->side);
}

static inline __attribute__((always_inline)) bool find_bins(uint16_t *bin, const char *x, size_t n,
                                                            const struct clq_bins *b)
{
    const struct binning all = {_mm512_set1_ps(b->factor), _mm512_set1_ps((float)(b->bins - 1)), _mm512_set1_epi32((int)b->bins)};
    unsigned bad = 0;
    for (size_t i = 0; i < n; i += 32, x += 128) {
        const __m512 v = _mm512_loadu_ps(x), w = _mm512_loadu_ps(x + 64);
        _mm_prefetch(x + CLQ_BINS_AHEAD, _MM_HINT_T0);
        _mm_prefetch(x + CLQ_BINS_AHEAD + 64, _MM_HINT_T0);
        bad |= _mm512_fpclass_ps_mask(v, NOT_FINITE) | _mm512_fpclass_ps_mask(w, NOT_FINITE);
        _mm512_store_si512(bin + i, _mm512_packus_epi32(bins_of(v, &all), bins_of(w, &all)));
    }
    return bad != 0;
}

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

void clq_histogram_f32_avx512(struct clq_histogram_args *h)
{
    clq_bins_histogram(h, find_bins, fold);
}
