/* SPDX-License-Identifier: Apache-2.0
 * The vectors and dots of groups_run.h by dot product instructions. */
#ifndef CLQ_KERNELS_NEON_DOT_GEMM_U4_VECTORS_H
#define CLQ_KERNELS_NEON_DOT_GEMM_U4_VECTORS_H

#include "kernels/neon_groups.h"

#define CLQ_SIGNED_ROWS 1
#define CLQ_DOT(sum, u, s) dot(sum, u, s)
#define CLQ_DOTS(sum, u0, s0, u1, s1) dot(dot(sum, u0, s0), u1, s1)

/* One instruction in the order written, not the intrinsic, which gcc 12 reorders and spills. */
static inline __attribute__((always_inline)) int32x4_t dot(int32x4_t sum, int32x4_t u, int32x4_t s)
{
    __asm__ volatile("sdot %0.4s,%1.16b,%2.16b" : "+w"(sum) : "w"(u), "w"(s));
    return sum;
}

#endif
