/* SPDX-License-Identifier: Apache-2.0
 * Range and histogram of binary32 values; bits of ref/histogram.c. Bin numbers are computed by vectors and counted in
 * private copies in turn, so that runs of equal bins do not wait for each other. */
#include <arm_neon.h>

#include "kernels/histogram_run.h"

static inline float32x4_t load(const char *x)
{
    return vreinterpretq_f32_u8(vld1q_u8((const uint8_t *)x));
}

/* NaN and infinities, found by their bits. */
static inline uint32x4_t not_finite(float32x4_t v)
{
    return vcgtq_u32(vreinterpretq_u32_f32(vabsq_f32(v)), vdupq_n_u32(0x7f7fffff));
}

void clq_minmax_f32_neon(struct clq_minmax_args *m)
{
    float32x4_t low = vdupq_n_f32(m->min), high = vdupq_n_f32(m->max);
    const char *x = (const char *)m->x;
    size_t left = m->n;
    for (; left >= 16; left -= 16, x += 64) {
        float32x4_t v[4];
        uint32x4_t bad = vdupq_n_u32(0);
        for (int i = 0; i < 4; i++) {
            v[i] = load(x + 16 * i);
            bad = vorrq_u32(bad, not_finite(v[i]));
        }
        if (__builtin_expect(vmaxvq_u32(bad) != 0, 0)) {
            clq_minmax_part(m, x, 16);
            continue;
        }
        low = vminq_f32(low, vminq_f32(vminq_f32(v[0], v[1]), vminq_f32(v[2], v[3])));
        high = vmaxq_f32(high, vmaxq_f32(vmaxq_f32(v[0], v[1]), vmaxq_f32(v[2], v[3])));
    }
    clq_minmax_end(m, vminvq_f32(low), vmaxvq_f32(high), x, left);
}

struct binning {
    float32x4_t factor, last;
    uint32x4_t side;
};

static inline uint32x4_t bins_of(float32x4_t v, const struct binning *b)
{
    const uint32x4_t negative = vcleq_f32(v, vdupq_n_f32(-0x1p-126f));
    const uint32x4_t bin = vcvtq_u32_f32(vminq_f32(vmulq_f32(vabsq_f32(v), b->factor), b->last));
    return vorrq_u32(bin, vandq_u32(negative, b->side));
}

static inline __attribute__((always_inline)) bool find_bins(uint16_t *bin, const char *x, size_t n,
                                                            const struct clq_bins *b)
{
    const struct binning all = {vdupq_n_f32(b->factor), vdupq_n_f32((float)(b->bins - 1)), vdupq_n_u32(b->bins)};
    uint32x4_t bad = vdupq_n_u32(0);
    for (size_t i = 0; i < n; i += 8, x += 32) {
        const float32x4_t v = load(x), w = load(x + 16);
        bad = vorrq_u32(bad, vorrq_u32(not_finite(v), not_finite(w)));
        vst1q_u16(bin + i, vmovn_high_u32(vmovn_u32(bins_of(v, &all)), bins_of(w, &all)));
    }
    return vmaxvq_u32(bad) != 0;
}

static void fold(uint64_t *counts, uint16_t *counters, size_t bins, size_t copies, size_t stride)
{
    for (size_t i = 0; i < bins; i += 4) {
        uint32x4_t sum = vdupq_n_u32(0);
        for (size_t k = 0; k < copies; k++) {
            sum = vaddw_u16(sum, vld1_u16(counters + k * stride + i));
            vst1_u16(counters + k * stride + i, vdup_n_u16(0));
        }
        vst1q_u64(counts + i, vaddw_u32(vld1q_u64(counts + i), vget_low_u32(sum)));
        vst1q_u64(counts + i + 2, vaddw_high_u32(vld1q_u64(counts + i + 2), sum));
    }
}

void clq_histogram_f32_neon(struct clq_histogram_args *h)
{
    clq_bins_histogram(h, find_bins, fold);
}
