/* SPDX-License-Identifier: Apache-2.0
 * Depthwise convolution for every 64-bit Arm CPU: plan, pack and run for groups == ci == co. */
#ifndef CLQ_KERNELS_NEON_DWCONV_H
#define CLQ_KERNELS_NEON_DWCONV_H

#include "kernels/kernels.h"

void clq_dwconv_plan_neon(struct clq_conv_args *c);
void clq_dwconv_pack_neon(struct clq_conv_args *c);
void clq_dwconv_run_neon(const struct clq_conv_args *c);

#endif
