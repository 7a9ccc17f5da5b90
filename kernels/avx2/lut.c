/* SPDX-License-Identifier: Apache-2.0
 * A 256-entry table over bytes, 32 at a time; bits of ref/lut.c. The byte shuffle looks up 16 entries by the low nibble
 * and gives 0 where bit 7 is set. So the differences (exclusive or) of neighboring rows of 16 are added up while the
 * code is lowered by 16 per row, saturating: it contributes until it turns negative. Codes from 128 on run in a second
 * chain. */
#include <immintrin.h>

#include "kernels/functions.h"

struct rows {
    __m256i row[16]; /* row 0 and 8 as they are, each other one exclusive-or'ed with its predecessor */
};

static void load_rows(struct rows *r, const uint8_t *table)
{
    for (int i = 0; i < 16; i++) {
        __m128i row = _mm_loadu_si128((const __m128i *)(table + 16 * i));
        if (i % 8) row = _mm_xor_si128(row, _mm_loadu_si128((const __m128i *)(table + 16 * i - 16)));
        r->row[i] = _mm256_broadcastsi128_si256(row);
    }
}

static inline __m256i look_up(const struct rows *r, __m256i x)
{
    const __m256i sixteen = _mm256_set1_epi8(16);
    __m256i upper = _mm256_xor_si256(x, _mm256_set1_epi8(-128)), y = _mm256_setzero_si256(), z = y;
    for (int i = 0; i < 8; i++) {
        y = _mm256_xor_si256(y, _mm256_shuffle_epi8(r->row[i], x));
        z = _mm256_xor_si256(z, _mm256_shuffle_epi8(r->row[i + 8], upper));
        x = _mm256_subs_epi8(x, sixteen);
        upper = _mm256_subs_epi8(upper, sixteen);
    }
    return _mm256_or_si256(y, z);
}

void clq_lut_u8_avx2(struct clq_lut_args *l)
{
    struct rows r;
    load_rows(&r, l->table);
    size_t i = 0;
    for (; i + 32 <= l->n; i += 32) {
        const __m256i x = _mm256_loadu_si256((const __m256i *)(l->x + i));
        _mm256_storeu_si256((__m256i *)(l->y + i), look_up(&r, x));
    }
    struct clq_lut_args tail = {l->x + i, l->y + i, l->n - i, l->table};
    clq_lut_u8_ref(&tail);
}
