/* SPDX-License-Identifier: Apache-2.0
 * binary32 to 8-bit codes, 16 at a time; bits of ref/quantize.c. The quotient is the repaired product with the
 * reciprocal, README.md "Quotients"; scales outside 2^-64 .. 2^64 go to the reference, which divides. */
#include <arm_neon.h>
#include <string.h>

#include "kernels/functions.h"
#include "kernels/quotients.h"

struct quantizer {
    float32x4_t scale, reciprocal, low, high;
    int16x8_t zero_point;
};

/* Limiting x to 1024 scales is limiting the quotient to 1024: beyond it every code is saturated, and neither an
 * infinity nor an overflow reaches the repair. So the codes fit 16 bits with any zero point. NaN passes through all of it,
 * and the conversion makes it 0. */
static inline int32x4_t codes(float32x4_t x, const struct quantizer *q)
{
    x = vminq_f32(vmaxq_f32(x, q->low), q->high);
    const float32x4_t guess = vmulq_f32(x, q->reciprocal);
    const float32x4_t error = vfmsq_f32(x, guess, q->scale);
    return vcvtnq_s32_f32(vfmaq_f32(guess, error, q->reciprocal));
}

static inline __attribute__((always_inline)) uint8x16_t block(const char *x, const struct quantizer *q, bool is_signed)
{
    int16x8_t words[2];
    for (int i = 0; i < 2; i++) {
        const int32x4_t low = codes(vreinterpretq_f32_u8(vld1q_u8((const uint8_t *)x + 32 * i)), q);
        const int32x4_t high = codes(vreinterpretq_f32_u8(vld1q_u8((const uint8_t *)x + 32 * i + 16)), q);
        words[i] = vaddq_s16(vmovn_high_s32(vmovn_s32(low), high), q->zero_point);
    }
    if (is_signed) return vreinterpretq_u8_s8(vqmovn_high_s16(vqmovn_s16(words[0]), words[1]));
    return vqmovun_high_s16(vqmovun_s16(words[0]), words[1]);
}

static inline __attribute__((always_inline)) void quantize(const struct clq_quantize_args *args, bool is_signed)
{
    const struct quantizer q = {
        .scale = vdupq_n_f32(args->scale),
        .reciprocal = vdupq_n_f32(1 / args->scale),
        .low = vdupq_n_f32(-1024 * args->scale),
        .high = vdupq_n_f32(1024 * args->scale),
        .zero_point = vdupq_n_s16((int16_t)args->zero_point),
    };
    const char *x = (const char *)args->x;
    uint8_t *y = args->y;
    size_t left = args->n;
    for (; left >= 16; left -= 16, x += 64, y += 16) vst1q_u8(y, block(x, &q, is_signed));
    if (left) {
        char in[64] = {0};
        uint8_t out[16];
        memcpy(in, x, 4 * left);
        vst1q_u8(out, block(in, &q, is_signed));
        memcpy(y, out, left);
    }
}

void clq_quantize_f32_u8_neon(struct clq_quantize_args *q)
{
    if (!clq_quotient_scale(q->scale)) {
        clq_quantize_f32_u8_ref(q);
        return;
    }
    quantize(q, false);
}

void clq_quantize_f32_s8_neon(struct clq_quantize_args *q)
{
    if (!clq_quotient_scale(q->scale)) {
        clq_quantize_f32_s8_ref(q);
        return;
    }
    quantize(q, true);
}
