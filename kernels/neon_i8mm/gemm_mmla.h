/* SPDX-License-Identifier: Apache-2.0
 * The products of a strip of rows with one panel by matrix instructions. Weights lie in steps of 8 along K. */
#ifndef CLQ_KERNELS_NEON_I8MM_GEMM_MMLA_H
#define CLQ_KERNELS_NEON_I8MM_GEMM_MMLA_H

#include "kernels/panels.h"

void clq_strip_u8_neon_i8mm(const struct clq_strip *strip);
void clq_strip_s8_neon_i8mm(const struct clq_strip *strip);

#endif
