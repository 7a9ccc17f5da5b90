/* SPDX-License-Identifier: Apache-2.0
 * The products of a strip of rows with one panel by dot product instructions. Unsigned rows are flipped to signed ones as they
 * are loaded: their zero point is 128 smaller than that of the codes. */
#ifndef CLQ_KERNELS_NEON_DOT_GEMM_DOT_H
#define CLQ_KERNELS_NEON_DOT_GEMM_DOT_H

#include "kernels/panels.h"

void clq_strip_u8_neon_dot(const struct clq_strip *strip);
void clq_strip_s8_neon_dot(const struct clq_strip *strip);

#endif
