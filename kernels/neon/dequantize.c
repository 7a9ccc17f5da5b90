/* SPDX-License-Identifier: Apache-2.0
 * 8-bit codes to binary32, 16 at a time; bits of ref/dequantize.c. */
#include <arm_neon.h>

#include "kernels/functions.h"

/* 8 codes; their differences to the zero point fit 16 bits. */
static inline __attribute__((always_inline)) void values(uint8_t *y, uint8x8_t x, uint8x8_t zero_point, float32x4_t scale,
                                                         bool is_signed)
{
    const int16x8_t d = is_signed ? vsubl_s8(vreinterpret_s8_u8(x), vreinterpret_s8_u8(zero_point))
                                  : vreinterpretq_s16_u16(vsubl_u8(x, zero_point));
    const float32x4_t low = vmulq_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(d))), scale);
    const float32x4_t high = vmulq_f32(vcvtq_f32_s32(vmovl_high_s16(d)), scale);
    vst1q_u8(y, vreinterpretq_u8_f32(low));
    vst1q_u8(y + 16, vreinterpretq_u8_f32(high));
}

/* Returns how many leading elements are done; the caller's reference does the rest. */
static inline __attribute__((always_inline)) size_t dequantize(const struct clq_dequantize_args *d, bool is_signed)
{
    const uint8x8_t zero_point = vdup_n_u8((uint8_t)d->zero_point);
    const float32x4_t scale = vdupq_n_f32(d->scale);
    const uint8_t *x = d->x;
    uint8_t *y = (uint8_t *)d->y;
    size_t i = 0;
    for (; i + 16 <= d->n; i += 16, x += 16, y += 64) {
        const uint8x16_t codes = vld1q_u8(x);
        values(y, vget_low_u8(codes), zero_point, scale, is_signed);
        values(y + 32, vget_high_u8(codes), zero_point, scale, is_signed);
    }
    if (i + 8 <= d->n) {
        values(y, vld1_u8(x), zero_point, scale, is_signed);
        i += 8;
    }
    return i;
}

static struct clq_dequantize_args rest(const struct clq_dequantize_args *d, size_t done)
{
    struct clq_dequantize_args r = *d;
    r.x = (const char *)d->x + done;
    r.y = (float *)((char *)d->y + 4 * done);
    r.n = d->n - done;
    return r;
}

void clq_dequantize_u8_f32_neon(struct clq_dequantize_args *d)
{
    struct clq_dequantize_args tail = rest(d, dequantize(d, false));
    clq_dequantize_u8_f32_ref(&tail);
}

void clq_dequantize_s8_f32_neon(struct clq_dequantize_args *d)
{
    struct clq_dequantize_args tail = rest(d, dequantize(d, true));
    clq_dequantize_s8_f32_ref(&tail);
}
