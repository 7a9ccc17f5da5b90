/* SPDX-License-Identifier: Apache-2.0
 * Attention, 16 query rows at a time; bits of ref/attention.c. */
#include <immintrin.h>

#include "kernels/exponent.h"
#include "kernels/functions.h"

enum { LANES = 8, TILE = 6 };
typedef __m256 vector;

static inline vector load(const float *x) { return _mm256_loadu_ps(x); }
static inline void store(float *y, vector v) { _mm256_storeu_ps(y, v); }
static inline vector all(float x) { return _mm256_set1_ps(x); }
static inline vector fused(vector a, vector b, vector c) { return _mm256_fmadd_ps(a, b, c); }
static inline vector times(vector a, vector b) { return _mm256_mul_ps(a, b); }
static inline vector plus(vector a, vector b) { return _mm256_add_ps(a, b); }
static inline vector minus(vector a, vector b) { return _mm256_sub_ps(a, b); }
static inline vector larger(vector a, vector b) { return _mm256_max_ps(a, b); }
static inline vector quotient(vector a, vector b) { return _mm256_div_ps(a, b); }

static inline vector settled(vector x)
{
    return _mm256_blendv_ps(x, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000)), _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

static inline vector exp_down(vector x)
{
    const vector least = all(CLQ_EXP_LEAST), magic = all(CLQ_EXP_MAGIC), log2e = all(CLQ_EXP_LOG2E);
    const vector kept = _mm256_cmp_ps(x, least, _CMP_NLT_UQ); /* NaN too; the others may become anything */
    const vector t = fused(x, log2e, magic), n = minus(t, magic);
    const vector r = fused(x, all(CLQ_EXP_LOG2E_REST), _mm256_fmsub_ps(x, log2e, n));
    vector p = fused(all(CLQ_EXP_C5), r, all(CLQ_EXP_C4));
    p = fused(p, r, all(CLQ_EXP_C3));
    p = fused(p, r, all(CLQ_EXP_C2));
    p = fused(p, r, all(CLQ_EXP_C1));
    p = fused(p, r, all(1.0f));
    return _mm256_and_ps(kept, times(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(t), 23))));
}

static inline void turn(struct clq_transpose_args *t) { clq_transpose_u32_avx2(t); }

#include "kernels/attention_run.h"

void clq_attention_f32_plan_avx2(struct clq_attention_args *a) { plan(a); }
void clq_attention_f32_avx2(struct clq_attention_args *a) { run(a); }
