/* SPDX-License-Identifier: Apache-2.0
 * The AVX-512 products with packed 4-bit weights, with and without VNNI, and with AMX. A plan is false where only the reference takes the
 * groups. */
#ifndef CLQ_KERNELS_AVX512_GEMM_U4_TILES_H
#define CLQ_KERNELS_AVX512_GEMM_U4_TILES_H

#include "kernels/groups.h"

bool clq_u4_plan_avx512(struct clq_gemm_u4_args *g);
void clq_u4_run_avx512(const struct clq_gemm_u4_args *g);
bool clq_u4_plan_vnni(struct clq_gemm_u4_args *g);
void clq_u4_run_vnni(const struct clq_gemm_u4_args *g);
bool clq_u4_plan_amx(struct clq_gemm_u4_args *g);
void clq_u4_run_amx(const struct clq_gemm_u4_args *g);
/* Rows with a scale per group. */
bool clq_u4_plan_avx512_grouped(struct clq_gemm_u4_args *g);
void clq_u4_run_avx512_grouped(const struct clq_gemm_u4_args *g);
bool clq_u4_plan_vnni_grouped(struct clq_gemm_u4_args *g);
void clq_u4_run_vnni_grouped(const struct clq_gemm_u4_args *g);
/* Real rows. */
bool clq_u4_plan_avx512_real(struct clq_gemm_u4_args *g);
void clq_u4_run_avx512_real(const struct clq_gemm_u4_args *g);
bool clq_u4_plan_vnni_real(struct clq_gemm_u4_args *g);
void clq_u4_run_vnni_real(const struct clq_gemm_u4_args *g);
bool clq_u4_plan_amx_real(struct clq_gemm_u4_args *g);
void clq_u4_run_amx_real(const struct clq_gemm_u4_args *g);

#endif
