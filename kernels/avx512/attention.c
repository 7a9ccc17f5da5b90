/* SPDX-License-Identifier: Apache-2.0
 * Attention, 32 query rows at a time; bits of ref/attention.c. */
#include <immintrin.h>

#include "kernels/exponent.h"

enum { LANES = 16, TILE = 12 };
typedef __m512 vector;

static inline vector load(const float *x) { return _mm512_loadu_ps(x); }
static inline void store(float *y, vector v) { _mm512_storeu_ps(y, v); }
static inline vector all(float x) { return _mm512_set1_ps(x); }
static inline vector fused(vector a, vector b, vector c) { return _mm512_fmadd_ps(a, b, c); }
static inline vector times(vector a, vector b) { return _mm512_mul_ps(a, b); }
static inline vector plus(vector a, vector b) { return _mm512_add_ps(a, b); }
static inline vector minus(vector a, vector b) { return _mm512_sub_ps(a, b); }
static inline vector larger(vector a, vector b) { return _mm512_max_ps(a, b); }
static inline vector quotient(vector a, vector b) { return _mm512_div_ps(a, b); }

static inline vector settled(vector x)
{
    return _mm512_mask_mov_ps(x, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)));
}

static inline vector exp_down(vector x)
{
    const vector least = all(CLQ_EXP_LEAST), magic = all(CLQ_EXP_MAGIC), log2e = all(CLQ_EXP_LOG2E);
    const __mmask16 kept = _mm512_cmp_ps_mask(x, least, _CMP_NLT_UQ);
    x = _mm512_max_ps(least, x); /* NaN stays */
    const vector t = fused(x, log2e, magic), n = minus(t, magic);
    const vector r = fused(x, all(CLQ_EXP_LOG2E_REST), _mm512_fmsub_ps(x, log2e, n));
    vector p = fused(all(CLQ_EXP_C5), r, all(CLQ_EXP_C4));
    p = fused(p, r, all(CLQ_EXP_C3));
    p = fused(p, r, all(CLQ_EXP_C2));
    p = fused(p, r, all(CLQ_EXP_C1));
    p = fused(p, r, all(1.0f));
    return _mm512_maskz_mul_ps(kept, p, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(t), 23)));
}

#include "kernels/attention_run.h"

void clq_attention_f32_plan_avx512(struct clq_attention_args *a) { plan(a); }
void clq_attention_f32_avx512(struct clq_attention_args *a) { run(a); }
