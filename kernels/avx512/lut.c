/* SPDX-License-Identifier: Apache-2.0
 * A 256-entry table over bytes, 64 at a time; bits of ref/lut.c. The table lies in four registers. With VBMI two
 * byte permutes of two registers pick from its halves; without, as 128 words: code / 2 picks the word with word permutes,
 * the lowest bit of the code its half. */
#include <immintrin.h>

#include "kernels/functions.h"

/* word holds code / 2 in its low 6 bits; upper says which lanes have a code of 128 or more. */
static inline __m512i pick(const __m512i table[4], __m512i word, __mmask32 upper)
{
    const __m512i low = _mm512_permutex2var_epi16(table[0], word, table[1]);
    return _mm512_mask_blend_epi16(upper, low, _mm512_permutex2var_epi16(table[2], word, table[3]));
}

static inline __m512i look_up(const __m512i table[4], __m512i x)
{
    const __m512i bit0 = _mm512_set1_epi16(0x0001), bit7 = _mm512_set1_epi16(0x0080), bit8 = _mm512_set1_epi16(0x0100);
    __m512i even = pick(table, _mm512_srli_epi16(x, 1), _mm512_test_epi16_mask(x, bit7));
    __m512i odd = pick(table, _mm512_srli_epi16(x, 9), _mm512_movepi16_mask(x));
    even = _mm512_mask_srli_epi16(even, _mm512_test_epi16_mask(x, bit0), even, 8);
    odd = _mm512_mask_slli_epi16(odd, _mm512_testn_epi16_mask(x, bit8), odd, 8);
    return _mm512_mask_blend_epi8(0xaaaaaaaaaaaaaaaau, even, odd);
}

/* One instruction in assembly: the folder is compiled without VBMI. Bits 0 .. 6 of x pick from low and high together. */
static inline __m512i permute(__m512i x, __m512i low, __m512i high)
{
    __asm__("vpermi2b %2, %1, %0" : "+v"(x) : "v"(low), "v"(high));
    return x;
}

static inline __m512i look_up_bytes(const __m512i table[4], __m512i x)
{
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), permute(x, table[0], table[1]), permute(x, table[2], table[3]));
}

static inline __attribute__((always_inline)) void each(const struct clq_lut_args *l, __m512i (*find)(const __m512i table[4], __m512i x))
{
    __m512i table[4];
    for (int i = 0; i < 4; i++) table[i] = _mm512_loadu_si512(l->table + 64 * i);
    size_t i = 0;
    for (; i + 64 <= l->n; i += 64) _mm512_storeu_si512(l->y + i, find(table, _mm512_loadu_si512(l->x + i)));
    if (i < l->n) {
        const __mmask64 mask = ~0ull >> (64 - (l->n - i));
        _mm512_mask_storeu_epi8(l->y + i, mask, find(table, _mm512_maskz_loadu_epi8(mask, l->x + i)));
    }
}

void clq_lut_u8_avx512(struct clq_lut_args *l)
{
    each(l, look_up);
}

void clq_lut_u8_avx512_vbmi(struct clq_lut_args *l)
{
    each(l, look_up_bytes);
}
