/* SPDX-License-Identifier: Apache-2.0
 * Depthwise 3x3 and 5x5 on AVX512-VNNI. Pixels are taken in 2x2 quads, byte-transposed once into 4 vectors of
 * [16 channels][4 pixels]; every quad then serves all taps with vpdpbusd. A KxK window covers QxQ quads, Q = (K + 1) /
 * 2. Stride 1: the outputs of a 2x2 block cover the same quads, with weights shifted by their offset (4 variants). */
#include "kernels/avx512/dwconv_block.h"
#include "kernels/residual.h"

/* One unit's block, band and chunk of columns. */
struct job {
    const struct clq_conv_args *c;
    struct clq_dw_block b;
    const uint8_t *image, *pad; /* image: at the block's first channel; pad: 64 zero points */
    const int8_t *w;
    const int32_t *bias;
    const float *multiplier, *shift;
    int32_t *words; /* room for the sums of one tile */
    uint8_t *ring;
    size_t row0, strip_rows, x0, width, nq; /* rows of y; nq: quads per ring row */
    size_t pixel, row, strip;   /* bytes of y between pixels, rows, strips */
    enum clq_out out;
    enum clq_finish finish;
    struct clq_epilogue epilogue;
};

/* A row of quads under construction: two pixel rows per strip; a row outside the image stays on the padding. */
struct quad_row {
    const uint8_t *r[2][4];
    size_t step[2][4];
    uint8_t *to;
    size_t have;
};

static void begin_row(struct quad_row *q, const struct job *job, size_t qy, size_t slot)
{
    const struct clq_conv_args *c = job->c;
    q->to = job->ring + slot * job->nq * 256;
    q->have = 0;
    for (size_t s = 0; s < job->b.strips; s++) {
        for (size_t i = 0; i < 2; i++) {
            const size_t y = (s * job->strip_rows + job->row0) * c->stride_h + 2 * qy + i;
            const bool inside = y >= c->pad_top && y - c->pad_top < c->h;
            q->r[i][s] = inside ? job->image + (y - c->pad_top) * c->w * c->ci : job->pad;
            q->step[i][s] = inside ? c->ci : 0;
        }
    }
}

CLQ_INLINE __m512i load(const uint8_t *const p[4], const size_t step[4], size_t x, const int mode, __mmask64 mask)
{
    if (mode == 1) return _mm512_loadu_si512(p[0] + x * step[0]);
    if (mode == 0) return _mm512_maskz_loadu_epi8(mask, p[0] + x * step[0]);
    if (mode == 2) {
        const __m256i lo = _mm256_loadu_si256((const __m256i *)(p[0] + x * step[0]));
        return _mm512_inserti64x4(_mm512_castsi256_si512(lo), _mm256_loadu_si256((const __m256i *)(p[1] + x * step[1])),
                                  1);
    }
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(p[0] + x * step[0])));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p[1] + x * step[1])), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p[2] + x * step[2])), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p[3] + x * step[3])), 3);
}

CLQ_INLINE void quads_mode(const struct job *job, struct quad_row *row, size_t until, const int mode)
{
    const struct clq_conv_args *c = job->c;
    const __m512i zero = _mm512_set1_epi8((char)c->zero_point_x);
    uint8_t *t = row->to + row->have * 256;
    size_t x = job->x0 * c->stride_w + 2 * row->have - c->pad_left; /* wraps left of the image: then beyond its width */
    for (size_t q = row->have; q < until; q++, x += 2, t += 256) {
        __m512i p[4] = {zero, zero, zero, zero}, v[4];
        CLQ_UNROLL for (int i = 0; i < 4; i++)
        {
            const size_t at = x + (size_t)(i % 2);
            if (at < c->w) p[i] = load(row->r[i / 2], row->step[i / 2], at, mode, job->b.mask);
        }
        clq_dw_transpose(v, p[0], p[1], p[2], p[3]);
        CLQ_UNROLL for (int j = 0; j < 4; j++) _mm512_store_si512(t + 64 * j, v[j]);
    }
}

static void make_quads(const struct job *job, struct quad_row *row, size_t until)
{
    if (until > job->nq) until = job->nq;
    if (until <= row->have) return;
    if (job->b.mode == 1)
        quads_mode(job, row, until, 1);
    else if (job->b.mode == 2)
        quads_mode(job, row, until, 2);
    else if (job->b.mode == 4)
        quads_mode(job, row, until, 4);
    else
        quads_mode(job, row, until, 0);
    row->have = until;
}

/* nr x nc outputs of 32 channels (half h): the sums. 16 accumulators serve 8 outputs and every loaded vector feeds
 * several dots; loads, not dots, would be the limit otherwise. */
CLQ_INLINE void tile_sums(__m512i a[8][2], const int8_t *w, const uint8_t *const t[3], size_t qx, const int h,
                          const int q, const int stride, const int nr, const int nc)
{
    CLQ_UNROLL for (int i = 0; i < 2 * q; i++)
    {
        const int dy = i / 2, j = i % 2;
        const uint8_t *tj = t[dy] + qx * 256 + 128 * h + 64 * j;
        const int8_t *wj = w + dy * q * 256 + 128 * h + 64 * j;
        __m512i wv[4];
        if (stride == 2) {
            CLQ_UNROLL for (int dx = 0; dx < q; dx++) wv[dx] = _mm512_loadu_si512(wj + dx * 256);
            CLQ_UNROLL for (int c = 0; c < nc + q - 1; c++)
            {
                const __m512i tv = _mm512_loadu_si512(tj + 256 * c);
                CLQ_UNROLL for (int dx = 0; dx < q; dx++)
                {
                    if (c - dx >= 0 && c - dx < nc) a[c - dx][j] = clq_dot_vnni(a[c - dx][j], tv, wv[dx]);
                }
            }
        } else {
            CLQ_UNROLL for (int dx = 0; dx < q; dx++)
            {
                CLQ_UNROLL for (int v = 0; v < 2 * nr; v++) wv[v] = _mm512_loadu_si512(wj + (v * q * q + dx) * 256);
                CLQ_UNROLL for (int c = 0; c < nc; c += 2)
                {
                    const __m512i tv = _mm512_loadu_si512(tj + 256 * (dx + c / 2));
                    CLQ_UNROLL for (int v = 0; v < 2 * nr; v++)
                    {
                        const int o = v / 2 * nc + c + v % 2;
                        if (c + v % 2 < nc) a[o][j] = clq_dot_vnni(a[o][j], tv, wv[v]);
                    }
                }
            }
        }
    }
}

/* The sums of n outputs, which a tile left in scratch, as floats or raw. Not inlined: it would crowd the tiles. */
static __attribute__((noinline)) void store_words(const struct job *job, uint8_t *y, size_t n, size_t nc)
{
    for (size_t o = 0; o < n; o++) {
        uint8_t *at = y + o / nc * job->row + o % nc * job->pixel;
        for (int j = 0; j < 4; j++) {
            const __m512 m = _mm512_loadu_ps(job->multiplier + 16 * j);
            __m512i v = _mm512_loadu_si512(job->words + (4 * o + (size_t)j) * 16);
            if (job->out == CLQ_OUT_F32) v = _mm512_castps_si512(_mm512_mul_ps(_mm512_cvtepi32_ps(v), m));
            clq_dw_store_words(at, v, j, job->b.channels);
        }
    }
}

/* Up to 8 outputs x 64 channels. CLQ_FINISH_F32 stands for both outputs of 4 bytes. */
CLQ_INLINE void tile(const struct job *job, const uint8_t *const t[3], size_t qx, uint8_t *y, const int q,
                     const int stride, const int nr, const int nc, const enum clq_finish finish)
{
    const int n = nr * nc;
    __m512i p[2][8];
    CLQ_UNROLL for (int h = 0; h < 2; h++)
    {
        __m512i a[8][2];
        CLQ_UNROLL for (int o = 0; o < n; o++)
        {
            CLQ_UNROLL for (int j = 0; j < 2; j++) a[o][j] = _mm512_loadu_si512(job->bias + 32 * h + 16 * j);
        }
        tile_sums(a, job->w, t, qx, h, q, stride, nr, nc);
        if (finish == CLQ_FINISH_F32) {
            CLQ_UNROLL for (int o = 0; o < n; o++)
            {
                CLQ_UNROLL for (int j = 0; j < 2; j++)
                    _mm512_store_si512(job->words + (4 * o + 2 * h + j) * 16, a[o][j]);
            }
            continue;
        }
        const float *m = job->multiplier + 32 * h, *f = job->shift + 32 * h;
        const __m512 m0 = _mm512_loadu_ps(m), m1 = _mm512_loadu_ps(m + 16);
        const __m512 f0 = _mm512_loadu_ps(f), f1 = _mm512_loadu_ps(f + 16);
        CLQ_UNROLL for (int o = 0; o < n; o++)
        {
            p[h][o] = _mm512_packs_epi32(clq_scale(a[o][0], m0, f0, finish), clq_scale(a[o][1], m1, f1, finish));
        }
    }
    if (finish == CLQ_FINISH_F32) {
        store_words(job, y, (size_t)n, (size_t)nc);
        return;
    }
    CLQ_UNROLL for (int o = 0; o < n; o++)
    {
        clq_dw_store(y + (size_t)(o / nc) * job->row + (size_t)(o % nc) * job->pixel, job->strip,
                     clq_codes(p[0][o], p[1][o], &job->epilogue, finish), job->b.mode, job->b.mask);
    }
}

/* One row of outputs, or two at stride 1. The quads are made one tile ahead of their use, so that their loads and
 * shuffles run beside the dots of the tile before. */
CLQ_INLINE void row_run(const struct job *job, struct quad_row *row, const uint8_t *const t[3], uint8_t *y, const int q,
                        const int stride, const int nr, const enum clq_finish finish)
{
    const size_t step = stride == 2 ? 7 : 4, quads = stride == 2 ? 7 : 2;
    size_t x = 0, qx = 0;
    make_quads(job, row, quads + (size_t)q - 1);
    for (; x + step <= job->width; x += step, qx += quads, y += step * job->pixel) {
        make_quads(job, row, qx + 2 * quads + (size_t)q - 1);
        tile(job, t, qx, y, q, stride, nr, stride == 2 ? 7 : 4, finish);
    }
    make_quads(job, row, job->nq);
    if (stride == 1 && x + 2 <= job->width) {
        tile(job, t, qx, y, q, stride, nr, 2, finish);
        x += 2;
        qx++;
        y += 2 * job->pixel;
    }
    for (; x < job->width; x++, qx++, y += job->pixel) tile(job, t, qx, y, q, stride, nr, 1, finish);
}

typedef void row_fn(const struct job *job, struct quad_row *row, const uint8_t *const t[3], uint8_t *y);
#define ROW(name, q, stride, nr) \
    static __attribute__((noinline)) void name(const struct job *job, struct quad_row *row, const uint8_t *const t[3], \
                                               uint8_t *y) \
    { \
        if (job->finish == CLQ_FINISH_SHORT) \
            row_run(job, row, t, y, q, stride, nr, CLQ_FINISH_SHORT); \
        else if (job->finish == CLQ_FINISH_CODES) \
            row_run(job, row, t, y, q, stride, nr, CLQ_FINISH_CODES); \
        else \
            row_run(job, row, t, y, q, stride, nr, CLQ_FINISH_F32); \
    }
ROW(row_3_one, 2, 1, 1)
ROW(row_3_two, 2, 1, 2)
ROW(row_3_stride, 2, 2, 1)
ROW(row_5_one, 3, 1, 1)
ROW(row_5_two, 3, 1, 2)
ROW(row_5_stride, 3, 2, 1)
static row_fn *const rows[2][3] = {{row_3_one, row_3_two, row_3_stride}, {row_5_one, row_5_two, row_5_stride}};

/* height output rows from row0 on, and as many of every further strip: a ring of Q quad rows, one new row per step. Stride 1: two output
 * rows per step, or, where the horizontal stride is 2 and there is no variant for it, every second row. */
static void run_rows(const struct job *job, size_t height, uint8_t *y)
{
    const struct clq_conv_args *c = job->c;
    const size_t q = clq_dw_window_quads(c);
    struct quad_row row;
    for (size_t i = 0; i + 1 < q; i++) {
        begin_row(&row, job, i, i);
        make_quads(job, &row, job->nq);
    }
    for (size_t oy = 0, qy = 0; oy < height; qy++) {
        const uint8_t *t[3] = {NULL, NULL, NULL};
        for (size_t d = 0; d < q; d++) t[d] = job->ring + (qy + d) % q * job->nq * 256;
        begin_row(&row, job, qy + q - 1, (qy + q - 1) % q);
        const size_t taken = c->stride_h == 1 && c->stride_w == 1 && height - oy >= 2 ? 2 : 1;
        rows[c->kh == 5][c->stride_w == 2 ? 2 : taken - 1](job, &row, t, y + oy * job->row);
        oy += c->stride_h < c->stride_w ? 2 : taken;
    }
}

/* Output rows row0 .. end - 1 of a chunk, and those of the strips below. */
static void run_chunk(struct job *job, size_t end, uint8_t *y)
{
    const size_t row0 = job->row0, height = end - row0;
    if (job->c->stride_h >= job->c->stride_w) {
        run_rows(job, height, y);
        return;
    }
    for (size_t phase = 0; phase < 2 && phase < height; phase++) {
        job->row0 = row0 + phase;
        run_rows(job, height - phase, y + phase * job->row);
    }
    job->row0 = row0;
}

void clq_dw_run_quads(const struct clq_conv_args *c)
{
    const struct clq_dw_grid grid = clq_dw_grid_make(c);
    const struct clq_dw *d = c->packed;
    const size_t bytes = c->out == CLQ_OUT_U8 ? 1 : 4, chunk = clq_dw_chunk(c);
    uint8_t *pad = c->scratch;
    memset(pad, c->zero_point_x, 64);
    for (size_t u = c->unit_begin; u < c->unit_end; u++) {
        const size_t image = u / grid.blocks / grid.bands, band = u / grid.blocks % grid.bands, block = u % grid.blocks;
        struct job job = {
            .c = c,
            .b = clq_dw_block_make(c, block),
            .pad = pad,
            .w = clq_dw_data(d, block),
            .bias = clq_dw_bias(d) + 64 * block,
            .multiplier = clq_dw_multiplier(d) + 64 * block,
            .shift = clq_dw_shift(d) + 64 * block,
            .words = (int32_t *)(pad + 64),
            .ring = pad + 64 + CLQ_DW_WORDS,
            .pixel = c->co * bytes,
            .row = c->ow * c->co * bytes,
            .out = c->out,
            .finish = clq_finish_of(c->out, d->relu),
            .epilogue = clq_epilogue_make(c->out, c->zero_point_y, c->lo, c->hi),
        };
        job.image = c->x + image * c->h * c->w * c->ci + job.b.c0;
        const size_t first = clq_dw_band_begin(job.b.rows, grid.bands, band);
        job.strip_rows = clq_dw_band_begin(job.b.rows, grid.bands, band + 1) - first;
        job.strip = job.strip_rows * job.row;
        job.row0 = job.b.strips * first;
        const size_t end = job.row0 + job.strip_rows;
        for (job.x0 = 0; job.x0 < c->ow; job.x0 += chunk) {
            job.width = c->ow - job.x0 < chunk ? c->ow - job.x0 : chunk;
            job.nq = (c->stride_w == 1 ? (job.width + 1) / 2 : job.width) + clq_dw_window_quads(c) - 1;
            uint8_t *y = (uint8_t *)c->y + (image * c->oh + job.row0) * job.row + job.x0 * job.pixel + job.b.c0 * bytes;
            run_chunk(&job, end, y);
        }
        clq_residual_pixels(c, image, job.row0, job.b.strips * job.strip_rows, job.b.c0, job.b.channels, clq_residual_avx512);
    }
}
