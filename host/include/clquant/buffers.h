/* SPDX-License-Identifier: Apache-2.0
 *
 * buffers.h - the kernels on plain arrays: quantize, dequantize, histograms and ranges, weights, INT8 products.
 *
 * Every call runs on the device of its context. Where the device cannot take a call, or fails, the CPU computes it and
 * clq_context_fallback() says why; with require_device the call fails instead. Integer results have the same bits on
 * every device, instruction set and thread count. A call returns when its result is in memory. A context and the handles
 * that were made with it serve one thread at a time, and the handles are freed before the context.
 *
 *     const float x[4] = {-1, 0, 0.5f, 9}, scale = 0.25f;
 *     const int32_t zero_point = 4;
 *     uint8_t codes[4];
 *     clq_array_params p = {CLQ_DTYPE_U8, 1, 1, 4, &scale, &zero_point};
 *     clq_quantize_array(ctx, codes, x, &p);   // 0 4 6 40
 *
 * Arguments are checked before anything runs: CLQ_ERR_INVALID_ARGUMENT for NULL, a size that overflows, a zero point
 * outside of its type or arrays that overlap; CLQ_ERR_NUMERIC for a scale that is not a normal positive number.
 * clq_error_message() names the argument and its value. After a failure the outputs are undefined.
 */
#ifndef CLQUANT_BUFFERS_H
#define CLQUANT_BUFFERS_H

#include <clquant/context.h>
#include <clquant/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Quantize and dequantize ---- */

/* How an array of reals and one of 8-bit codes belong together. The array is dense, [outer][channels][inner]: for axis a
 * of a tensor, outer is the product of the dimensions before a, and inner that of those behind it. One scale for the
 * whole array: outer = channels = 1. */
typedef struct clq_array_params {
    clq_dtype dtype;           /* of the codes: CLQ_DTYPE_U8 (0..255) or CLQ_DTYPE_S8 (-128..127) */
    size_t outer, channels, inner; /* a size of 0 is an empty array */
    const float *scale;        /* [channels] */
    const int32_t *zero_point; /* [channels], a code of dtype; NULL: all 0 */
} clq_array_params;

/* codes[i] = clamp(round(x[i] / scale) + zero_point): the quotient in binary32, halves to even, saturating. NaN gives
 * the zero point. An OpenCL device takes channels of at least 1,024 consecutive values. */
CLQ_API clq_status clq_quantize_array(clq_context *ctx, void *codes, const float *x, const clq_array_params *params);

/* x[i] = (codes[i] - zero_point) * scale, rounded once. */
CLQ_API clq_status clq_dequantize_array(clq_context *ctx, float *x, const void *codes, const clq_array_params *params);

/* ---- Histograms and ranges ---- */

/* Counts of values in 1,024 equal bins on each side of zero, over magnitudes below a power of two that grows as needed.
 * Growing merges pairs of bins exactly: the counts do not depend on the order of the values, on how they are split into
 * calls, or on the device. Memory does not grow with the number of values. */
typedef struct clq_histogram clq_histogram;

CLQ_API clq_status clq_histogram_create(clq_histogram **out, clq_context *ctx);
CLQ_API void clq_histogram_free(clq_histogram *histogram);

/* Adds n values. NaN and infinities are counted apart and enter no bin. Magnitudes below 2^-126 count as zero. */
CLQ_API clq_status clq_histogram_add(clq_context *ctx, clq_histogram *histogram, const float *x, size_t n);

/* Adds all that `from` has seen, as if its values had been added one by one: histograms of several threads or processes
 * become one. `from` may not be `into`. */
CLQ_API clq_status clq_histogram_merge(clq_context *ctx, clq_histogram *into, const clq_histogram *from);

/* What a histogram holds. Bin i of a side holds the magnitudes from i * w up to, but not including, (i + 1) * w, where
 * w = 2^exponent / bins; zeros are in positive[0]. The arrays live until the histogram changes or is freed. */
typedef struct clq_histogram_info {
    uint64_t count;                    /* finite values */
    uint64_t n_nan, n_pos_inf, n_neg_inf;
    float min, max;                    /* exact; both 0 while count is 0 */
    int exponent;                      /* -64 .. 128 */
    size_t bins;                       /* on each side */
    const uint64_t *positive, *negative;
} clq_histogram_info;

CLQ_API clq_status clq_histogram_read(clq_histogram_info *out, clq_context *ctx, const clq_histogram *histogram);

/* How a range is found from the counts. The result never depends on the device. */
typedef enum clq_range_method {
    CLQ_RANGE_MINMAX = 0,     /* all values */
    CLQ_RANGE_PERCENTILE = 1, /* the smallest limit of magnitude that keeps 99.99 % of the values */
    CLQ_RANGE_ENTROPY = 2,    /* least divergence of the clipped distribution from its quantized form */
    CLQ_RANGE_MSE = 3         /* least squared error of asymmetric 8-bit codes */
} clq_range_method;

/* A zeroed struct, with a dtype, is a valid choice. */
typedef struct clq_range_options {
    clq_range_method method;
    clq_dtype dtype;       /* of the codes: CLQ_DTYPE_U8 or CLQ_DTYPE_S8 */
    bool symmetric;        /* the zero point is 0 (S8) or 128 (U8), and the scale spans the larger side with 127 codes */
    bool skip_non_finite;  /* otherwise NaN and infinities are CLQ_ERR_NUMERIC */
    float lo, hi;          /* limits that the values have anyway, such as 0 and 6 behind a ReLU6; equal: none */
} clq_range_options;

typedef struct clq_range_result {
    float lo, hi;          /* lo <= 0 <= hi, so that zero has a code */
    float scale;           /* 1, with the zero point of zeros, where there is nothing but zeros */
    int32_t zero_point;
    double clipped;        /* part of the values outside, to the bin; above 0.01 the range deserves a look */
    double mean_squared_error; /* of the quantized values, from bin centers */
} clq_range_result;

CLQ_API clq_status clq_range_search(clq_range_result *out, clq_context *ctx, const clq_histogram *histogram, const clq_range_options *options);

/* ---- Weights ---- */

/* Float weights [outer][channels][inner] with one scale per channel: [n][k] of a product has outer 1, channels n. */
typedef struct clq_weights_desc {
    const float *weight;
    size_t outer, channels, inner;
    bool clip;             /* search the scale of least squared error; otherwise the largest magnitude becomes 127 */
} clq_weights_desc;

/* codes[i] = round(weight[i] / scale[channel]) within -127..127, zero point 0. A channel of zeros has scale 1. Weights
 * are always quantized on the CPU. CLQ_ERR_NUMERIC names the first weight that is not finite. */
CLQ_API clq_status clq_quantize_weights(clq_context *ctx, int8_t *codes, float *scale, const clq_weights_desc *weights);

/* multiplier[i] = scale_a * scale_w[i] / scale_y, in binary64 and rounded once: what clq_product_output takes. For real
 * results scale_y is 1. CLQ_ERR_NUMERIC where the result is not a normal number. */
CLQ_API clq_status clq_multipliers(clq_context *ctx, float *multiplier, size_t n, float scale_a, const float *scale_w, float scale_y);

/* codes[i] = round(bias[i] / (scale_a * scale_w[i])): the bias of a product. CLQ_ERR_NUMERIC where a code exceeds int32. */
CLQ_API clq_status clq_bias_codes(clq_context *ctx, int32_t *codes, const float *bias, size_t n, float scale_a, const float *scale_w);

/* ---- INT8 products ---- */

/* Codes that a product adds to its own before they leave, as elementwise operators on quantized tensors add: the residual of a
 * block of a network, without a pass of its own. With q the code that the product alone would give and r the residual's code,
 *   y = clamp(round((float((q - output.zero_point) * product_scale) + float((r - zero_point) * scale)) / sum_scale) + sum_zero_point, lo, hi)
 * every step rounded in binary32, halves to even: the bits of a requantized product, then an addition. */
typedef struct clq_product_residual {
    float product_scale;     /* of the product's own codes: the scale_y of its multipliers */
    float scale;             /* of the residual's codes, which are of output.dtype */
    int32_t zero_point;
    float sum_scale;         /* of the codes that leave */
    int32_t sum_zero_point;
    int32_t lo, hi;          /* limits of the code that leaves, as those of clq_product_output, which limit q */
} clq_product_residual;

/* What becomes of v, the exact integer sum of (a - input_zero_point) * weight, plus the bias:
 *   U8, S8   clamp(round(float(v) * multiplier[n]) + zero_point, lo, hi), two roundings in binary32, halves to even
 *   F32      float(v) * multiplier[n]
 *   S32      v modulo 2^32; v itself where info.bound fits int32 */
typedef struct clq_product_output {
    clq_dtype dtype;         /* CLQ_DTYPE_U8, _S8, _F32 or _S32 */
    const float *multiplier; /* one per output channel, normal and positive; not read for S32 */
    int32_t zero_point;      /* of U8 and S8 */
    int32_t lo, hi;          /* limits of the code, within dtype: a ReLU has lo = zero_point. Equal: those of dtype */
    const clq_product_residual *residual; /* NULL: none. With U8 and S8; its codes come with every run */
} clq_product_output;

/* Facts about a prepared product. */
typedef struct clq_product_info {
    int64_t bound;           /* |v| <= bound, from the real weights */
    size_t bytes;            /* memory of the handle on the host */
    bool on_device;          /* the next run goes to the OpenCL device */
    const char *kernel;      /* "avx512_vnni", "ref", "x86_vnni", ...: the version that the next run uses */
} clq_product_info;

/* A matrix product y[m][n] = a[m][k] * weight[n][k], transposed as ONNX's Gemm with transB has it. */
typedef struct clq_gemm_desc {
    size_t n, k;             /* 1 .. 2^31 - 1 */
    const int8_t *weight;    /* [n][k], zero point 0 */
    const int32_t *bias;     /* [n], or NULL */
    clq_dtype input;         /* of a: CLQ_DTYPE_U8 or CLQ_DTYPE_S8 */
    int32_t input_zero_point;
    clq_product_output output;
} clq_gemm_desc;

typedef struct clq_gemm clq_gemm;

/* Checks, copies and packs everything once; the arrays of desc may go afterwards. The handle needs about twice the bytes
 * of the weight. Exactness is proved in 64 bits from the real weights: where some sum could leave int32 (K above 65,793,
 * or a huge bias), the product runs on the CPU with 64-bit sums, correct and slow. */
CLQ_API clq_status clq_gemm_prepare(clq_gemm **out, clq_context *ctx, const clq_gemm_desc *desc);

/* Computes m rows. lda >= k and ldy >= n are the distances of rows in elements; what lies between y's rows stays as it
 * is. a and y may not overlap. m = 0 does nothing. */
CLQ_API clq_status clq_gemm_run(clq_gemm *gemm, const void *a, size_t lda, size_t m, void *y, size_t ldy);
/* All that a run can read and write. Where products of int8 follow each other, y_sums of one are a_sums of the next, which some
 * instruction sets would otherwise compute: that is a pass over a, 0.2 to 0.9 % of the time of 512 rows times 768 x 3072. */
typedef struct clq_gemm_operands {
    const void *a;           /* [m][lda] */
    size_t lda, m;
    const int32_t *a_sums;   /* [m], the sum of the k codes of each row of a; NULL: not known. Wrong sums give wrong results */
    const void *residual;    /* [m][ldr] codes of the output's type, where the product was prepared with a residual; otherwise NULL */
    size_t ldr;              /* >= n */
    void *y;                 /* [m][ldy] */
    size_t ldy;              /* >= n */
    int32_t *y_sums;         /* [m], receives the sum of the n codes of each row of y, of U8 and S8, modulo 2^32; NULL: not wanted */
} clq_gemm_operands;

/* As clq_gemm_run. y and y_sums overlap nothing. An OpenCL device adds a residual to U8 without gaps between the rows of y and of
 * the residual; sums of rows are then computed on the CPU. */
CLQ_API clq_status clq_gemm_run_operands(clq_gemm *gemm, const clq_gemm_operands *operands);
CLQ_API void clq_gemm_describe(clq_product_info *out, const clq_gemm *gemm);
CLQ_API void clq_gemm_free(clq_gemm *gemm);

/* A convolution of images [batch][h][w][ci] to [batch][oh][ow][co]. The padding counts as real zero. */
typedef struct clq_conv_desc {
    size_t h, w, ci, co;
    size_t kh, kw;
    size_t stride_h, stride_w, dilation_h, dilation_w; /* 0 means 1 */
    size_t pad_top, pad_left, pad_bottom, pad_right;
    size_t groups;           /* divides ci and co; 0 means 1; ci == co == groups is a depthwise convolution */
    const int8_t *weight;    /* [co][kh][kw][ci / groups], zero point 0 */
    const int32_t *bias;     /* [co], or NULL */
    clq_dtype input;         /* of the images: CLQ_DTYPE_U8, or CLQ_DTYPE_S8, which costs a copy of them */
    int32_t input_zero_point;
    clq_product_output output;
} clq_conv_desc;

typedef struct clq_conv clq_conv;

/* As clq_gemm_prepare, for images of one size; clq_conv_output_size says how large the results are. */
CLQ_API clq_status clq_conv_prepare(clq_conv **out, clq_context *ctx, const clq_conv_desc *desc);
CLQ_API void clq_conv_output_size(size_t *oh, size_t *ow, const clq_conv *conv);
CLQ_API clq_status clq_conv_run(clq_conv *conv, const void *x, size_t batch, void *y);
/* The same for a convolution with a residual [batch][oh][ow][co], which y may not overlap. */
CLQ_API clq_status clq_conv_run_residual(clq_conv *conv, const void *x, size_t batch, const void *residual, void *y);
CLQ_API void clq_conv_describe(clq_product_info *out, const clq_conv *conv);
CLQ_API void clq_conv_free(clq_conv *conv);

#ifdef __cplusplus
}
#endif
#endif
