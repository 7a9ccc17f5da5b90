/* SPDX-License-Identifier: Apache-2.0
 *
 * int4.h - matrix products with 4-bit weights in groups, on plain arrays.
 *
 * Weights [n][k] have codes 0..15 with one scale, and optionally one zero point, per `group` consecutive elements of a row.
 * Activations are 8-bit codes with one scale per row (token), found when the product runs, or per group of a row, or floats
 * (weight-only). Every product inside a group is exact in integers; the groups are added in a fixed float order, so results have the same bits on
 * every instruction set, device, thread count and number of rows. (Models differ: from 32 rows on they expand such weights to 8 bits.)
 *
 *     size_t groups = clq_int4_groups(k, 32);
 *     uint8_t *codes = malloc(n * ((k + 1) / 2));
 *     float *scale = malloc(n * groups * sizeof *scale);
 *     clq_int4_weights w = {.weight = weight, .n = n, .k = k, .group = 32, .scale_dtype = CLQ_DTYPE_F32};
 *     clq_quantize_int4(ctx, codes, scale, NULL, &w);            // NULL: symmetric
 *
 *     clq_int4_desc d = {.n = n, .k = k, .group = 32, .codes = codes, .scale = scale, .scale_dtype = CLQ_DTYPE_F32};
 *     clq_int4 *product;
 *     clq_int4_prepare(&product, ctx, &d);                       // codes and scale may go now
 *     clq_int4_run_real(product, x, k, m, y, n);                 // y[m][n] = x[m][k] * weight[n][k], rows rounded to 8 bits
 *     clq_int4_run_float(product, x, CLQ_DTYPE_F32, k, m, y, n); // the same without that rounding
 *     clq_int4_free(product);
 *
 * Errors, contexts, devices and threads are those of buffers.h. An OpenCL device takes groups that are multiples of 8, or all of
 * k, and K up to 2^24; rows are quantized on the CPU.
 */
#ifndef CLQUANT_INT4_H
#define CLQUANT_INT4_H

#include <clquant/context.h>
#include <clquant/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Groups of one row: ceil(k / group), or 1 for group 0, which means one group per row ("per channel"). */
CLQ_API size_t clq_int4_groups(size_t k, size_t group);

/* ---- Weights ---- */

/* Float weights [n][k] to be quantized. */
typedef struct clq_int4_weights {
    const float *weight;
    size_t n, k;           /* at least 1 */
    size_t group;          /* 0: k */
    clq_dtype scale_dtype; /* CLQ_DTYPE_F32 or _F16; codes belong to the scale as it is stored */
} clq_int4_weights;

/* codes: [n][(k + 1) / 2] bytes, element k in byte k / 2 of its row, even k in the low nibble. scale: [n][groups] of
 * scale_dtype. With zero_point NULL the quantization is symmetric: code = round(w / scale) + 8 within 1..15, scale =
 * max|w| / 7. Otherwise zero_point [n][groups] is written too, scale = (max - min) / 15 with 0 in the range, and code =
 * round(w / scale) + zero point within 0..15. A group of zeros has scale 1. Always on the CPU. CLQ_ERR_NUMERIC names the first weight
 * that is not finite, or a scale that exceeds binary16. */
CLQ_API clq_status clq_quantize_int4(clq_context *ctx, uint8_t *codes, void *scale, uint8_t *zero_point, const clq_int4_weights *weights);

/* ---- Activations ---- */

/* Per row of x[m][ldx]: scale = max|x| / 127 over its k finite values (1 for a row of zeros), codes[m][k] = round(x / scale).
 * Magnitudes below 2^-126 count as zero, NaN has code 0, infinities 127 and -128. */
CLQ_API clq_status clq_quantize_rows(clq_context *ctx, int8_t *codes, float *scale, const float *x, size_t ldx, size_t m, size_t k);

/* The same with a scale per `group` elements of a row: scale[m][clq_int4_groups(k, group)], 0: one per row. */
CLQ_API clq_status clq_quantize_row_groups(clq_context *ctx, int8_t *codes, float *scale, const float *x, size_t ldx, size_t m, size_t k, size_t group);

/* ---- Products ---- */

typedef struct clq_int4_desc {
    size_t n, k;               /* 1 .. 2^31 - 1; a group, or k where group is 0, has at most 1,118,481 elements: sums fit int32 */
    size_t group;              /* 0: k. Multiples of 8 are fast, others run on the reference */
    const uint8_t *codes;      /* [n][(k + 1) / 2], as clq_quantize_int4 writes them */
    const void *scale;         /* [n][groups] of scale_dtype, finite */
    clq_dtype scale_dtype;     /* CLQ_DTYPE_F32 or _F16 */
    const uint8_t *zero_point; /* [n][groups], 0..15, or NULL: all 8 */
    const float *bias;         /* [n], or NULL */
} clq_int4_desc;

typedef struct clq_int4 clq_int4;

/* Facts about a prepared product. */
typedef struct clq_int4_info {
    size_t bytes;       /* memory of the handle on the host */
    bool on_device;     /* the next run goes to the OpenCL device */
    const char *kernel; /* "avx512_vnni", "ref", ...: the version that the next run uses */
} clq_int4_info;

/* Checks and packs everything once; the arrays of desc may go afterwards. */
CLQ_API clq_status clq_int4_prepare(clq_int4 **out, clq_context *ctx, const clq_int4_desc *desc);

/* y[m][n] from 8-bit rows a[m][k], one scale each:
 *   y = round(round(F) * scale_a[row]) (+ bias[n], rounded once more)
 *   F = sum over groups of scale * (exact integer sum of a * (code - zero point)), in binary32
 * Groups are added by fused multiply-adds in ascending order in segments of at least 1,024 elements, segments as neighbors.
 * lda >= k and ldy >= n are the distances of rows in elements. y may not overlap a or scale_a. m = 0 does nothing. */
CLQ_API clq_status clq_int4_run(clq_int4 *product, const int8_t *a, const float *scale_a, size_t lda, size_t m, float *y, size_t ldy);

/* The same from real rows x[m][k], which are quantized as clq_quantize_rows does: equal bits. */
CLQ_API clq_status clq_int4_run_real(clq_int4 *product, const float *x, size_t ldx, size_t m, float *y, size_t ldy);

/* The same with a scale per group of a row, scale_a[m][groups] for the groups of the weights:
 *   y = round(F) (+ bias[n], rounded once more)
 *   F = sum over groups of scale * round(scale_a * round(exact integer sum of a * (code - zero point))), in binary32
 * in the order of clq_int4_run. Magnitudes that change along a row cost less precision so; the product is a little slower. */
CLQ_API clq_status clq_int4_run_grouped(clq_int4 *product, const int8_t *a, const float *scale_a, size_t lda, size_t m, float *y, size_t ldy);

/* The weight-only product: real rows x[m][k] of dtype CLQ_DTYPE_F32 or _F16, as precise as a sum in binary32. The elements of a
 * group (of every 256 elements of a larger one) are rounded to multiples of 2^-22 of the power of two below the largest
 * magnitude among them, or of the next one where that magnitude is within 1 % of it; their products are summed exactly, and
 * those sums are added as in clq_int4_run. Values below 2^-123 count as zero. A row with a value that is not finite gives NaN.
 * Up to a few rows it runs at the speed of reading the weights; many rows take about three times as long as clq_int4_run. */
CLQ_API clq_status clq_int4_run_float(clq_int4 *product, const void *x, clq_dtype dtype, size_t ldx, size_t m, float *y, size_t ldy);

CLQ_API void clq_int4_describe(clq_int4_info *out, const clq_int4 *product);
CLQ_API void clq_int4_free(clq_int4 *product);

#ifdef __cplusplus
}
#endif
#endif
