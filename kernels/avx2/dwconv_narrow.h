/* SPDX-License-Identifier: Apache-2.0
 * Depthwise convolution without VNNI: plan, pack and run for groups == ci == co. */
#ifndef CLQ_KERNELS_AVX2_DWCONV_NARROW_H
#define CLQ_KERNELS_AVX2_DWCONV_NARROW_H

#include "kernels/kernels.h"

void clq_dwconv_plan_avx2(struct clq_conv_args *c);
void clq_dwconv_pack_avx2(struct clq_conv_args *c);
void clq_dwconv_run_avx2(const struct clq_conv_args *c);

#endif
