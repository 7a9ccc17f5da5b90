/* SPDX-License-Identifier: Apache-2.0
 * Neighboring 16-bit lanes added to sums of 32 bits. */
#ifndef CLQ_KERNELS_NEON_PAIRS_H
#define CLQ_KERNELS_NEON_PAIRS_H

#include <arm_neon.h>

/* One instruction in the order written, not the intrinsic: gcc 12 reorders those and spills. */
static inline __attribute__((always_inline)) int32x4_t clq_add_pairs(int32x4_t sum, int16x8_t pairs)
{
    __asm__ volatile("sadalp %0.4s,%1.8h" : "+w"(sum) : "w"(pairs));
    return sum;
}

#endif
