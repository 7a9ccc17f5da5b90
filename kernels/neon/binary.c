/* SPDX-License-Identifier: Apache-2.0
 * Sum and product of two quantized tensors, 16 codes at a time; bits of ref/binary.c. The quotient is the repaired
 * product with the reciprocal, README.md "Quotients". */
#include <arm_neon.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/quotients.h"

enum { CLQ_BINARY_CODES = 16 };

struct binary {
    uint8x8_t zero_a, zero_b;
    float32x4_t scale_a, scale_b, scale_y, reciprocal;
    int16x8_t zero_point;
    uint8x16_t lo, hi;
};

static inline __attribute__((always_inline)) int32x4_t codes(int16x4_t a, int16x4_t b, const struct binary *p,
                                                             bool multiply)
{
    const float32x4_t x = vmulq_f32(vcvtq_f32_s32(vmovl_s16(a)), p->scale_a);
    const float32x4_t y = vmulq_f32(vcvtq_f32_s32(vmovl_s16(b)), p->scale_b);
    const float32x4_t f = multiply ? vmulq_f32(x, y) : vaddq_f32(x, y);
    const float32x4_t guess = vmulq_f32(f, p->reciprocal);
    const float32x4_t error = vfmsq_f32(f, guess, p->scale_y);
    return vcvtnq_s32_f32(vfmaq_f32(guess, error, p->reciprocal));
}

/* 8 codes: differences to the zero points in 16 bits, saturated quotients plus the zero point of y. */
static inline __attribute__((always_inline)) int16x8_t words(uint8x8_t a, uint8x8_t b, const struct binary *p,
                                                             bool multiply)
{
    const int16x8_t x = vreinterpretq_s16_u16(vsubl_u8(a, p->zero_a)), y = vreinterpretq_s16_u16(vsubl_u8(b, p->zero_b));
    const int32x4_t low = codes(vget_low_s16(x), vget_low_s16(y), p, multiply);
    const int32x4_t high = codes(vget_high_s16(x), vget_high_s16(y), p, multiply);
    return vqaddq_s16(vqmovn_high_s32(vqmovn_s32(low), high), p->zero_point);
}

static inline __attribute__((always_inline)) void block(const uint8_t *at_a, const uint8_t *at_b, uint8_t *at_y,
                                                        const struct binary *p, bool multiply, bool turn)
{
    const uint8x16_t top = vdupq_n_u8(turn ? 128 : 0);
    const uint8x16_t a = veorq_u8(vld1q_u8(at_a), top), b = veorq_u8(vld1q_u8(at_b), top);
    const int16x8_t low = words(vget_low_u8(a), vget_low_u8(b), p, multiply);
    const int16x8_t high = words(vget_high_u8(a), vget_high_u8(b), p, multiply);
    const uint8x16_t y = vqmovun_high_s16(vqmovun_s16(low), high);
    vst1q_u8(at_y, veorq_u8(vminq_u8(vmaxq_u8(y, p->lo), p->hi), top));
}

static inline struct binary constants(const struct clq_binary_u8_args *v, int up)
{
    return (struct binary){
        .zero_a = vdup_n_u8((uint8_t)(v->zero_point_a + up)),
        .zero_b = vdup_n_u8((uint8_t)(v->zero_point_b + up)),
        .scale_a = vdupq_n_f32(v->scale_a),
        .scale_b = vdupq_n_f32(v->scale_b),
        .scale_y = vdupq_n_f32(v->scale_y),
        .reciprocal = vdupq_n_f32(1 / v->scale_y),
        .zero_point = vdupq_n_s16((int16_t)(v->zero_point_y + up)),
        .lo = vdupq_n_u8((uint8_t)(v->lo + up)),
        .hi = vdupq_n_u8((uint8_t)(v->hi + up)),
    };
}

#include "kernels/binary_rest.h"
#include "kernels/binary_run.h"

void clq_add_u8_neon(struct clq_binary_u8_args *v)
{
    clq_binary_add(v);
}

void clq_mul_u8_neon(struct clq_binary_u8_args *v)
{
    clq_binary_mul(v);
}

void clq_residual_neon(const struct clq_residual_rows *r)
{
    clq_binary_residual(r);
}
