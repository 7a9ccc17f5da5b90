/* SPDX-License-Identifier: Apache-2.0
 * Transposition in tiles that stay in registers; bits of ref/transpose.c. A last tile is moved back to be a full one. Three
 * channels, an image's usual number, have paths of their own, where a tile would be mostly empty. */
#include <immintrin.h>

#include "kernels/functions.h"

/* ---- Bytes ---- */
/* One step of four: rows i and i + 8 are interleaved. After four, register c holds column c of rows 0 .. 15 in its lower lane and
 * of rows 16 .. 31 in its upper one. */
static inline void weave(__m256i to[16], const __m256i from[16])
{
    for (int i = 0; i < 8; i++) {
        to[2 * i] = _mm256_unpacklo_epi8(from[i], from[i + 8]);
        to[2 * i + 1] = _mm256_unpackhi_epi8(from[i], from[i + 8]);
    }
}

/* 16 columns of 32 rows, or of 16. */
static inline __attribute__((always_inline)) void tile_u8(const uint8_t *x, size_t xs, uint8_t *y, size_t ys, bool wide)
{
    __m256i a[16], b[16];
    for (size_t i = 0; i < 16; i++) {
        const __m128i low = _mm_loadu_si128((const __m128i *)(x + i * xs));
        a[i] = wide ? _mm256_set_m128i(_mm_loadu_si128((const __m128i *)(x + (i + 16) * xs)), low) : _mm256_castsi128_si256(low);
    }
    weave(b, a);
    weave(a, b);
    weave(b, a);
    weave(a, b);
    for (size_t c = 0; c < 16; c++) {
        if (wide) _mm256_storeu_si256((__m256i *)(y + c * ys), a[c]);
        else _mm_storeu_si128((__m128i *)(y + c * ys), _mm256_castsi256_si128(a[c]));
    }
}

/* Byte i of vector k of three interleaved planes is plane (16 k + i) % 3, pixel (16 k + i) / 3; 0x80 selects nothing. */
#define WOVEN(k, i, c) ((16 * (k) + (i)) % 3 == (c) ? (16 * (k) + (i)) / 3 : 0x80)
#define PLAIN(k, i, c) ((3 * (i) + (c)) / 16 == (k) ? (3 * (i) + (c)) % 16 : 0x80)
#define SIXTEEN(F, k, c) {F(k, 0, c), F(k, 1, c), F(k, 2, c), F(k, 3, c), F(k, 4, c), F(k, 5, c), F(k, 6, c), F(k, 7, c), F(k, 8, c), F(k, 9, c), \
                          F(k, 10, c), F(k, 11, c), F(k, 12, c), F(k, 13, c), F(k, 14, c), F(k, 15, c)}
#define NINE(F) {{SIXTEEN(F, 0, 0), SIXTEEN(F, 0, 1), SIXTEEN(F, 0, 2)}, {SIXTEEN(F, 1, 0), SIXTEEN(F, 1, 1), SIXTEEN(F, 1, 2)}, \
                 {SIXTEEN(F, 2, 0), SIXTEEN(F, 2, 1), SIXTEEN(F, 2, 2)}}
static const uint8_t woven[3][3][16] = NINE(WOVEN), plain[3][3][16] = NINE(PLAIN);

static inline __m128i pick(const uint8_t at[16], __m128i v)
{
    return _mm_shuffle_epi8(v, _mm_loadu_si128((const __m128i *)at));
}

/* Three planes of n pixels become pixels. The number of pixels that are done. */
static size_t interleave_u8(const uint8_t *x, size_t plane, uint8_t *y, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int k = 0; k < 3; k++) {
            __m128i v = pick(woven[k][0], _mm_loadu_si128((const __m128i *)(x + i)));
            v = _mm_or_si128(v, pick(woven[k][1], _mm_loadu_si128((const __m128i *)(x + plane + i))));
            v = _mm_or_si128(v, pick(woven[k][2], _mm_loadu_si128((const __m128i *)(x + 2 * plane + i))));
            _mm_storeu_si128((__m128i *)(y + 3 * i + 16 * k), v);
        }
    return i;
}

static size_t separate_u8(const uint8_t *x, uint8_t *y, size_t plane, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m128i a = _mm_loadu_si128((const __m128i *)(x + 3 * i)), b = _mm_loadu_si128((const __m128i *)(x + 3 * i + 16)),
                      d = _mm_loadu_si128((const __m128i *)(x + 3 * i + 32));
        for (size_t c = 0; c < 3; c++) {
            const __m128i v = _mm_or_si128(_mm_or_si128(pick(plain[0][c], a), pick(plain[1][c], b)), pick(plain[2][c], d));
            _mm_storeu_si128((__m128i *)(y + c * plane + i), v);
        }
    }
    return i;
}

/* rows and cols of at most one block; both at least 16 in the whole. Lines of the array with the larger stride are finished first: they
 * may all lie in one set of the cache. */
static void block_u8(const struct clq_transpose_args *t, size_t r0, size_t r1, size_t c0, size_t c1)
{
    const uint8_t *x = t->x;
    uint8_t *y = t->y;
    const bool by_column = t->y_stride > t->x_stride;
    const size_t outer = by_column ? c1 - c0 : r1 - r0, inner = by_column ? r1 - r0 : c1 - c0;
    const size_t outer_step = by_column ? 16 : 32, inner_step = by_column ? 32 : 16;
    for (size_t i = 0; i < outer; i += outer_step)
        for (size_t k = 0; k < inner; k += inner_step) {
            const size_t r = r0 + (by_column ? k : i), c = c0 + (by_column ? i : k);
            const size_t at_c = t->cols - c < 16 ? t->cols - 16 : c;
            size_t at_r = r;
            if (t->rows - r >= 32) {
                tile_u8(x + r * t->x_stride + at_c, t->x_stride, y + at_c * t->y_stride + r, t->y_stride, true);
                continue;
            }
            for (size_t left = t->rows - r; left > 0; left -= left < 16 ? left : 16, at_r += 16) {
                if (left < 16) at_r = t->rows - 16;
                tile_u8(x + at_r * t->x_stride + at_c, t->x_stride, y + at_c * t->y_stride + at_r, t->y_stride, false);
            }
        }
}

void clq_transpose_u8_avx2(struct clq_transpose_args *t)
{
    enum { BLOCK = 64 };
    const uint8_t *x = t->x;
    uint8_t *y = t->y;
    struct clq_transpose_args rest = *t;
    if (t->rows == 3 && t->y_stride == 3) {
        const size_t done = interleave_u8(x, t->x_stride, y, t->cols);
        rest = (struct clq_transpose_args){x + done, y + 3 * done, 3, t->cols - done, t->x_stride, 3};
    } else if (t->cols == 3 && t->x_stride == 3) {
        const size_t done = separate_u8(x, y, t->y_stride, t->rows);
        rest = (struct clq_transpose_args){x + 3 * done, y + done, t->rows - done, 3, 3, t->y_stride};
    } else if (t->rows >= 16 && t->cols >= 16) {
        for (size_t r = 0; r < t->rows; r += BLOCK)
            for (size_t c = 0; c < t->cols; c += BLOCK)
                block_u8(t, r, t->rows - r < BLOCK ? t->rows : r + BLOCK, c, t->cols - c < BLOCK ? t->cols : c + BLOCK);
        return;
    }
    clq_transpose_u8_ref(&rest);
}

/* ---- Words ---- */
/* 4 columns of 8 rows: rows i and i + 4 share a register. */
static inline void tile_u32(const uint32_t *x, size_t xs, uint32_t *y, size_t ys)
{
    __m256i a[4], b[4];
    for (size_t i = 0; i < 4; i++)
        a[i] = _mm256_set_m128i(_mm_loadu_si128((const __m128i *)(const void *)(x + (i + 4) * xs)), _mm_loadu_si128((const __m128i *)(const void *)(x + i * xs)));
    b[0] = _mm256_unpacklo_epi32(a[0], a[1]);
    b[1] = _mm256_unpackhi_epi32(a[0], a[1]);
    b[2] = _mm256_unpacklo_epi32(a[2], a[3]);
    b[3] = _mm256_unpackhi_epi32(a[2], a[3]);
    _mm256_storeu_si256((__m256i *)(void *)y, _mm256_unpacklo_epi64(b[0], b[2]));
    _mm256_storeu_si256((__m256i *)(void *)(y + ys), _mm256_unpackhi_epi64(b[0], b[2]));
    _mm256_storeu_si256((__m256i *)(void *)(y + 2 * ys), _mm256_unpacklo_epi64(b[1], b[3]));
    _mm256_storeu_si256((__m256i *)(void *)(y + 3 * ys), _mm256_unpackhi_epi64(b[1], b[3]));
}

/* Lanes of three vectors: lane i of vector k belongs to channel (8 k + i) % 3 = c where this is set. */
enum { LANES_036 = 0x49, LANES_147 = 0x92, LANES_25 = 0x24 };

static inline __m256i load(const uint32_t *x)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)x);
}

static inline void store(uint32_t *y, __m256i v)
{
    _mm256_storeu_si256((__m256i *)(void *)y, v);
}

static size_t interleave_u32(const uint32_t *x, size_t plane, uint32_t *y, size_t n)
{
    const __m256i p0 = _mm256_setr_epi32(0, 0, 0, 1, 1, 1, 2, 2), p1 = _mm256_setr_epi32(2, 3, 3, 3, 4, 4, 4, 5), p2 = _mm256_setr_epi32(5, 5, 6, 6, 6, 7, 7, 7);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256i a = load(x + i), b = load(x + plane + i), c = load(x + 2 * plane + i);
        __m256i v = _mm256_blend_epi32(_mm256_permutevar8x32_epi32(a, p0), _mm256_permutevar8x32_epi32(b, p0), LANES_147);
        store(y + 3 * i, _mm256_blend_epi32(v, _mm256_permutevar8x32_epi32(c, p0), LANES_25));
        v = _mm256_blend_epi32(_mm256_permutevar8x32_epi32(a, p1), _mm256_permutevar8x32_epi32(b, p1), LANES_25);
        store(y + 3 * i + 8, _mm256_blend_epi32(v, _mm256_permutevar8x32_epi32(c, p1), LANES_036));
        v = _mm256_blend_epi32(_mm256_permutevar8x32_epi32(a, p2), _mm256_permutevar8x32_epi32(b, p2), LANES_036);
        store(y + 3 * i + 16, _mm256_blend_epi32(v, _mm256_permutevar8x32_epi32(c, p2), LANES_147));
    }
    return i;
}

static size_t separate_u32(const uint32_t *x, uint32_t *y, size_t plane, size_t n)
{
    const __m256i p0 = _mm256_setr_epi32(0, 3, 6, 1, 4, 7, 2, 5), p1 = _mm256_setr_epi32(1, 4, 7, 2, 5, 0, 3, 6), p2 = _mm256_setr_epi32(2, 5, 0, 3, 6, 1, 4, 7);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256i a = load(x + 3 * i), b = load(x + 3 * i + 8), c = load(x + 3 * i + 16);
        __m256i v = _mm256_blend_epi32(_mm256_blend_epi32(a, b, LANES_147), c, LANES_25);
        store(y + i, _mm256_permutevar8x32_epi32(v, p0));
        v = _mm256_blend_epi32(_mm256_blend_epi32(a, b, LANES_25), c, LANES_036);
        store(y + plane + i, _mm256_permutevar8x32_epi32(v, p1));
        v = _mm256_blend_epi32(_mm256_blend_epi32(a, b, LANES_036), c, LANES_147);
        store(y + 2 * plane + i, _mm256_permutevar8x32_epi32(v, p2));
    }
    return i;
}

/* As block_u8. */
static void block_u32(const struct clq_transpose_args *t, size_t r0, size_t r1, size_t c0, size_t c1)
{
    const uint32_t *x = t->x;
    uint32_t *y = t->y;
    const bool by_column = t->y_stride > t->x_stride;
    const size_t outer = by_column ? c1 - c0 : r1 - r0, inner = by_column ? r1 - r0 : c1 - c0;
    const size_t outer_step = by_column ? 4 : 8, inner_step = by_column ? 8 : 4;
    for (size_t i = 0; i < outer; i += outer_step)
        for (size_t k = 0; k < inner; k += inner_step) {
            const size_t r = r0 + (by_column ? k : i), c = c0 + (by_column ? i : k);
            const size_t at_r = t->rows - r < 8 ? t->rows - 8 : r, at_c = t->cols - c < 4 ? t->cols - 4 : c;
            tile_u32(x + at_r * t->x_stride + at_c, t->x_stride, y + at_c * t->y_stride + at_r, t->y_stride);
        }
}

void clq_transpose_u32_avx2(struct clq_transpose_args *t)
{
    enum { BLOCK = 64 };
    const uint32_t *x = t->x;
    uint32_t *y = t->y;
    struct clq_transpose_args rest = *t;
    if (t->rows == 3 && t->y_stride == 3) {
        const size_t done = interleave_u32(x, t->x_stride, y, t->cols);
        rest = (struct clq_transpose_args){x + done, y + 3 * done, 3, t->cols - done, t->x_stride, 3};
    } else if (t->cols == 3 && t->x_stride == 3) {
        const size_t done = separate_u32(x, y, t->y_stride, t->rows);
        rest = (struct clq_transpose_args){x + 3 * done, y + done, t->rows - done, 3, 3, t->y_stride};
    } else if (t->rows >= 8 && t->cols >= 4) {
        for (size_t r = 0; r < t->rows; r += BLOCK)
            for (size_t c = 0; c < t->cols; c += BLOCK)
                block_u32(t, r, t->rows - r < BLOCK ? t->rows : r + BLOCK, c, t->cols - c < BLOCK ? t->cols : c + BLOCK);
        return;
    }
    clq_transpose_u32_ref(&rest);
}
