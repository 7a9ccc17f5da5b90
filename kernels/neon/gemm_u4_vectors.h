/* SPDX-License-Identifier: Apache-2.0
 * The vectors and dots of groups_run.h by widening products of bytes. Four products are added in 16 bits, which cannot
 * saturate: 4 * 128 * 15 = 7,680. */
#ifndef CLQ_KERNELS_NEON_GEMM_U4_VECTORS_H
#define CLQ_KERNELS_NEON_GEMM_U4_VECTORS_H

#include "kernels/neon/pairs.h"
#include "kernels/neon_groups.h"

#define CLQ_SIGNED_ROWS 1
#define CLQ_DOTS(sum, u0, s0, u1, s1) dots(sum, u0, s0, u1, s1)

static inline __attribute__((always_inline)) int32x4_t dots(int32x4_t sum, int32x4_t u0, int32x4_t s0, int32x4_t u1,
                                                            int32x4_t s1)
{
    const int8x16_t a = vreinterpretq_s8_s32(u0), b = vreinterpretq_s8_s32(s0);
    const int8x16_t c = vreinterpretq_s8_s32(u1), d = vreinterpretq_s8_s32(s1);
    const int16x8_t low = vmlal_s8(vmull_s8(vget_low_s8(a), vget_low_s8(b)), vget_low_s8(c), vget_low_s8(d));
    const int16x8_t high = vmlal_high_s8(vmull_high_s8(a, b), c, d);
    return clq_add_pairs(sum, vpaddq_s16(low, high));
}

#endif
