/* SPDX-License-Identifier: Apache-2.0
 * Depthwise convolution on AVX512-VNNI: plan, pack and run for groups == ci == co. */
#ifndef CLQ_KERNELS_AVX512_DWCONV_H
#define CLQ_KERNELS_AVX512_DWCONV_H

#include "kernels/kernels.h"

void clq_dwconv_plan_vnni(struct clq_conv_args *c);
void clq_dwconv_pack_vnni(struct clq_conv_args *c);
void clq_dwconv_run_vnni(const struct clq_conv_args *c);

#endif
