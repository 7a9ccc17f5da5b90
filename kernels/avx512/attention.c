/* SPDX-License-Identifier: Apache-2.0
 * Attention, 32 query rows at a time; bits of ref/attention.c. */
#include <immintrin.h>

#include "kernels/exponent.h"
#include "kernels/functions.h"

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
    const __mmask16 kept = _mm512_cmp_ps_mask(x, least, _CMP_NLT_UQ); /* NaN too; the others may become anything */
    const vector t = fused(x, log2e, magic), n = minus(t, magic);
    const vector r = fused(x, all(CLQ_EXP_LOG2E_REST), _mm512_fmsub_ps(x, log2e, n));
    vector p = fused(all(CLQ_EXP_C5), r, all(CLQ_EXP_C4));
    p = fused(p, r, all(CLQ_EXP_C3));
    p = fused(p, r, all(CLQ_EXP_C2));
    p = fused(p, r, all(CLQ_EXP_C1));
    p = fused(p, r, all(1.0f));
    return _mm512_maskz_mul_ps(kept, p, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(t), 23)));
}

/* Four columns of rows r, r + 4, r + 8 and r + 12. */
static inline vector quarter(const float *x, size_t stride)
{
    const vector a = _mm512_castps128_ps512(_mm_loadu_ps(x));
    const vector b = _mm512_insertf32x4(a, _mm_loadu_ps(x + 4 * stride), 1), c = _mm512_insertf32x4(b, _mm_loadu_ps(x + 8 * stride), 2);
    return _mm512_insertf32x4(c, _mm_loadu_ps(x + 12 * stride), 3);
}

/* 16 x 16 */
static inline void turn_block(const float *x, size_t x_stride, float *y, size_t y_stride)
{
    for (size_t c = 0; c < 16; c += 4, x += 4, y += 4 * y_stride) {
        const vector r0 = quarter(x, x_stride), r1 = quarter(x + x_stride, x_stride);
        const vector r2 = quarter(x + 2 * x_stride, x_stride), r3 = quarter(x + 3 * x_stride, x_stride);
        const __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(r0, r1)), b = _mm512_castps_pd(_mm512_unpacklo_ps(r2, r3));
        const __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(r0, r1)), e = _mm512_castps_pd(_mm512_unpackhi_ps(r2, r3));
        store(y, _mm512_castpd_ps(_mm512_unpacklo_pd(a, b)));
        store(y + y_stride, _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
        store(y + 2 * y_stride, _mm512_castpd_ps(_mm512_unpacklo_pd(d, e)));
        store(y + 3 * y_stride, _mm512_castpd_ps(_mm512_unpackhi_pd(d, e)));
    }
}

/* In whole blocks, and what is left of rows and columns by the version of AVX2, which wins on large arrays. */
static void turn(struct clq_transpose_args *t)
{
    const float *x = t->x;
    float *y = t->y;
    const size_t rows = t->rows / 16 * 16, cols = t->cols / 16 * 16;
    for (size_t r = 0; r < rows; r += 16)
        for (size_t c = 0; c < cols; c += 16) turn_block(x + r * t->x_stride + c, t->x_stride, y + c * t->y_stride + r, t->y_stride);
    if (cols < t->cols)
        clq_transpose_u32_avx2(&(struct clq_transpose_args){x + cols, y + cols * t->y_stride, rows, t->cols - cols, t->x_stride, t->y_stride});
    if (rows < t->rows)
        clq_transpose_u32_avx2(&(struct clq_transpose_args){x + rows * t->x_stride, y + rows, t->rows - rows, t->cols, t->x_stride, t->y_stride});
}

#include "kernels/attention_run.h"

void clq_attention_f32_plan_avx512(struct clq_attention_args *a) { plan(a); }
void clq_attention_f32_avx512(struct clq_attention_args *a) { run(a); }
