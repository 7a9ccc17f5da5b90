/* SPDX-License-Identifier: Apache-2.0
 * The AVX512-VNNI tiles: 6x64, 8x48, 14x32 and 16x16, 6x56, 8x40 and 16x24, chosen by the panel's width, and every
 * smaller number of rows; each for rows of uint8 and of int8. */
#include "kernels/avx512/gemm_vnni.h"

#include "kernels/avx512/gemm_double.h"

typedef void tile_fn(const struct clq_tile *t, const uint8_t *a, uint8_t *y, const int32_t *row_bias, size_t tiles);

#define TILE(name, run, nv, mr, signed_rows) \
    static __attribute__((noinline)) void name##_##nv##_##mr(const struct clq_tile *t, const uint8_t *a, uint8_t *y, \
                                                             const int32_t *row_bias, size_t tiles) \
    { \
        run(t, a, y, row_bias, tiles, mr, nv, signed_rows); \
    }
#define PLAIN(nv, mr) TILE(plain, clq_tile_run, nv, mr, false) TILE(plain_s8, clq_tile_run, nv, mr, true)
#define DOUBLE(nv, mr) TILE(doubled, clq_double_run, nv, mr, false) TILE(doubled_s8, clq_double_run, nv, mr, true)
#define ROWS_6(F, nv) F(nv, 1) F(nv, 2) F(nv, 3) F(nv, 4) F(nv, 5) F(nv, 6)
#define ROWS_8(F, nv) ROWS_6(F, nv) F(nv, 7) F(nv, 8)
#define ROWS_14(F, nv) ROWS_8(F, nv) F(nv, 9) F(nv, 10) F(nv, 11) F(nv, 12) F(nv, 13) F(nv, 14)
#define ROWS_16(F, nv) ROWS_14(F, nv) F(nv, 15) F(nv, 16)
ROWS_16(PLAIN, 1)
ROWS_14(PLAIN, 2)
ROWS_8(PLAIN, 3)
ROWS_6(PLAIN, 4)
ROWS_16(DOUBLE, 1)
ROWS_8(DOUBLE, 2)
ROWS_6(DOUBLE, 3)

struct ladder {
    size_t most; /* rows of the tallest tile */
    tile_fn *row[17];
};
#define PLAIN_ROW(nv, mr) plain_##nv##_##mr,
#define PLAIN_S8_ROW(nv, mr) plain_s8_##nv##_##mr,
#define DOUBLE_ROW(nv, mr) doubled_##nv##_##mr,
#define DOUBLE_S8_ROW(nv, mr) doubled_s8_##nv##_##mr,
#define PLAIN_LADDERS(F) \
    { \
        {0}, {16, {NULL, ROWS_16(F, 1)}}, {14, {NULL, ROWS_14(F, 2)}}, {8, {NULL, ROWS_8(F, 3)}}, {6, {NULL, ROWS_6(F, 4)}} \
    }
#define DOUBLE_LADDERS(F) \
    { \
        {0}, {16, {NULL, ROWS_16(F, 1)}}, {8, {NULL, ROWS_8(F, 2)}}, {6, {NULL, ROWS_6(F, 3)}} \
    }
/* [signed rows][vectors that are stored alike] */
static const struct ladder plain[2][5] = {PLAIN_LADDERS(PLAIN_ROW), PLAIN_LADDERS(PLAIN_S8_ROW)};
static const struct ladder doubled[2][4] = {DOUBLE_LADDERS(DOUBLE_ROW), DOUBLE_LADDERS(DOUBLE_S8_ROW)};

void clq_strip_vnni(const struct clq_strip *s)
{
    if (s->rows == 0) return;
    const struct clq_panels *p = s->packed;
    const size_t first = clq_panels_start(p->columns, s->panel), end = clq_panels_start(p->columns, s->panel + 1);
    const bool twice = p->doubled && end == p->columns; /* the panel's last vector holds 8 columns twice */
    const size_t nv = (end - first) / 16 - twice;
    struct clq_tile t = clq_tile_make(s, nv, twice);
    uint8_t *y = clq_tile_output(s);
    const bool signed_rows = s->row_bias != NULL;
    /* Even tiles: 49 rows are 4 x 6 and 5 x 5, never 8 x 6 and 1. */
    const struct ladder *ladder = twice ? &doubled[signed_rows][nv] : &plain[signed_rows][nv];
    const size_t tiles = (s->rows + ladder->most - 1) / ladder->most, rows = s->rows / tiles, big = s->rows % tiles;
    const size_t all = tiles * t.segments * t.steps, bytes = (size_t)(t.end - t.ahead);
    t.pace = all == 0 || bytes >= 64 * all ? 64 : (bytes + all - 1) / all;
    if (big > 0) ladder->row[rows + 1](&t, s->a, y, s->row_bias, big);
    const size_t done = big * (rows + 1);
    t.ahead += t.pace * big * t.segments * t.steps;
    ladder->row[rows](&t, s->a + done * s->lda, y + done * t.ldy, signed_rows ? s->row_bias + done : NULL, tiles - big);
}

/* 16 partial sums of one row; bytes beyond k are not read. */
static inline __m512i row_sums(const int8_t *a, size_t k)
{
    const __m512i ones = _mm512_set1_epi8(1);
    __m512i even = _mm512_setzero_si512(), odd = even;
    size_t i = 0;
    for (; i + 128 <= k; i += 128) {
        even = clq_dot_vnni(even, ones, _mm512_loadu_si512(a + i));
        odd = clq_dot_vnni(odd, ones, _mm512_loadu_si512(a + i + 64));
    }
    for (; i < k; i += 64) {
        const __mmask64 mask = k - i >= 64 ? ~0ull : (1ull << (k - i)) - 1;
        even = clq_dot_vnni(even, ones, _mm512_maskz_loadu_epi8(mask, a + i));
    }
    return _mm512_add_epi32(even, odd);
}

void clq_row_bias_vnni(const int8_t *a, size_t lda, size_t rows, size_t k, int32_t *row_bias)
{
    for (size_t r = 0; r < rows; r += 4) {
        __m512i s[4];
        for (size_t i = 0; i < 4; i++) s[i] = row_sums(a + (r + i < rows ? r + i : rows - 1) * lda, k);
        const __m512i p = _mm512_add_epi32(_mm512_unpacklo_epi32(s[0], s[1]), _mm512_unpackhi_epi32(s[0], s[1]));
        const __m512i q = _mm512_add_epi32(_mm512_unpacklo_epi32(s[2], s[3]), _mm512_unpackhi_epi32(s[2], s[3]));
        const __m512i lanes = _mm512_add_epi32(_mm512_unpacklo_epi64(p, q), _mm512_unpackhi_epi64(p, q));
        const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64(lanes, 1));
        const __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
        _mm_storeu_si128((__m128i *)(row_bias + r), _mm_sub_epi32(_mm_setzero_si128(), _mm_slli_epi32(sum, 7)));
    }
}
