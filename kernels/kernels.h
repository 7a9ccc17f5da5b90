/* SPDX-License-Identifier: Apache-2.0
 * The integer kernels: one argument struct per operation, which is its contract, and the table that dispatch fills.
 * A kernel allocates nothing, prints nothing, keeps no state and knows no files, models or devices. Pointers need no
 * alignment unless a field says so; nothing is read or written outside the spans that the struct implies. Every
 * version of a kernel gives the bits of its reference in ref/. */
#ifndef CLQ_KERNELS_H
#define CLQ_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* y[i] = clamp(rne(RN32(x[i] / scale)) + zero_point, qmin, qmax); NaN gives zero_point. The clamp comes before the
 * conversion. scale: finite, positive, normal. qmin..qmax: 0..255 (u8) or -128..127 (s8), zero_point within. */
struct clq_quantize_args {
    const float *x;
    void *y; /* uint8_t or int8_t [n]; must not overlap x */
    size_t n;
    float scale;
    int32_t zero_point;
    bool streaming; /* the caches cannot hold y: it may be written past them */
};

/* y[i] = RN32((x[i] - zero_point) * scale). */
struct clq_dequantize_args {
    const void *x; /* uint8_t or int8_t [n] */
    float *y;
    size_t n;
    float scale;
    int32_t zero_point;
    bool streaming; /* the caches cannot hold y: it may be written past them */
};

/* Updates min, max (of the finite values; magnitudes below 2^-126 count as +0) and the counters; the caller starts them
 * at +inf, -inf, 0. Non-finite values are found by their bits and enter neither min nor max. */
struct clq_minmax_args {
    const float *x;
    size_t n;
    float min, max;                      /* in and out */
    uint64_t n_nan, n_pos_inf, n_neg_inf; /* in and out */
};

/* Adds to the counts of README.md "Histograms": side by the sign of x (zeros and subnormals are positive zero), bin
 * floor(|x| * 2^(log2_bins - exponent)). Every finite |x| is < 2^exponent (the caller has grown the range; a value
 * beyond it would land in the last bin); values that are not finite are skipped. -64 <= exponent <= 128,
 * 6 <= log2_bins <= 12. */
struct clq_histogram_args {
    const float *x;
    size_t n;
    int exponent;
    unsigned log2_bins;
    uint64_t *positive, *negative; /* [1 << log2_bins] each, in and out */
};

/* What leaves an integer product. v is the exact integer sum of (a - za) * w, plus bias. */
enum clq_out {
    CLQ_OUT_U8 = 0, /* clamp(rne(RN32(RN32(v) * multiplier[n])) + zero_point_y, lo, hi), limits before the conversion */
    CLQ_OUT_S8 = 1, /* the same with signed codes */
    CLQ_OUT_F32 = 2, /* RN32(RN32(v) * multiplier[n]) */
    CLQ_OUT_S32 = 3 /* v modulo 2^32; multiplier is not read */
};

/* A second tensor of codes that is added to a product's: the add of clq_binary_u8_args, with q, the code that the product gives
 * by itself, as a, and the residual's code r as b:
 *   y = quantize(RN32(RN32((q - zero_point_q) * scale_q) + RN32((r - zero_point_r) * scale_r)), scale_y, zero_point_y)
 * limited to lo..hi. All codes are of the product's type, CLQ_OUT_U8 or CLQ_OUT_S8. */
struct clq_residual {
    const void *codes; /* read by run alone; must not overlap y */
    size_t ld;         /* elements from row to row, of a convolution from pixel to pixel, >= the columns of y */
    float scale_q, scale_r, scale_y;
    int32_t zero_point_q, zero_point_r, zero_point_y;
    int32_t lo, hi;    /* limits of the code that leaves */
};

/* Integer matrix product y[M,N] = requantize(a[M,K] * w[N,K]^T + bias), in three calls on the same struct:
 *   plan  reads sizes, out, zero points, lo, hi and bound; writes packed_bytes, scratch_bytes, units
 *   pack  reads weight, bias, multiplier and the above; writes packed. Once per weight
 *   run   reads a, sums_a, residual, packed (and the plain arrays, which must still be there); computes units
 *         unit_begin..unit_end-1, and adds to sums_y
 * Units cut the work by shape alone and may run at the same time on different scratch. scratch and packed are 64-byte
 * aligned. u8s8 takes a as uint8_t, s8s8 as int8_t (then za is within -128..127 and codes of w are within -127..127
 * or -128). An implementation that cannot hold its exactness proof (bound > INT32_MAX) plans packed_bytes = 0 and runs
 * the reference, which sums in int64. */
struct clq_gemm_args {
    size_t m, n, k;
    const void *a;          /* [m][lda] */
    size_t lda;             /* elements, >= k */
    const int32_t *sums_a;  /* [m], the sum of the k codes of each row, or NULL: rows of int8 may need it, and then find it themselves */
    const int8_t *weight;   /* [n][k] */
    const int32_t *bias;    /* [n] at scale s_a * s_w, or NULL */
    const float *multiplier; /* [n]; not read for CLQ_OUT_S32 */
    int32_t zero_point_a, zero_point_y;
    int32_t lo, hi;         /* limits of the code, within the type: activation as limits */
    enum clq_out out;
    void *y;                /* [m][ldy] of the out type */
    size_t ldy;             /* elements, >= n */
    const struct clq_residual *residual; /* or NULL */
    int32_t *sums_y;        /* [m], zeroed by the caller: units add the codes that they write, modulo 2^32. Or NULL; of codes alone */
    int64_t bound;          /* proven: |v| <= bound for every row */
    size_t packed_bytes, scratch_bytes, units;
    void *packed;           /* written by pack, read by run */
    void *scratch;
    size_t unit_begin, unit_end;
};

/* Product y[M,N] of 8-bit activations, one scale per row, with 4-bit weights in groups of `group` along K, in the three
 * calls of clq_gemm_args. With w the code 0..15 and z its group's zero point:
 *   acc  = sum over the group of a * (w - z), exact
 *   f    = fma(RN32(acc), scale, f) in ascending groups; f starts at +0 in every segment of whole groups, the smallest
 *          multiple of group that is at least CLQ_U4_SEGMENT elements
 *   y    = RN32(RN32(F * scale_a[row]) + bias[n]), where F adds the segments as neighbors, level by level, an odd last one
 *          moving up unchanged; without bias the first rounding is the last
 * scale: finite. group * 15 * 128 fits int32, with K in place of a larger group. Versions other than the reference want
 * whole bytes of 8 codes in a group: where group is neither a multiple of 8 nor at least K, they plan the reference.
 * flipped: a holds the code + 128 as uint8_t; this spares a copy of the rows where K is a multiple of 8.
 *
 * g8u4 takes rows with one scale per group, scale_a[m][ceil(k / group)], and packed is what gemm_s8u4_pack of the same level wrote:
 *   f    = fma(RN32(RN32(acc) * scale_a[row][group]), scale, f) in ascending groups; segments as above
 *   y    = F, or RN32(F + bias[n])
 *
 * f32u4 takes real rows instead: a is float, scale_a and flipped are not read, and packed is what gemm_s8u4_pack of the same
 * level wrote. A group is cut into pieces of CLQ_U4_PIECE elements, the last one shorter; K's end cuts a piece as it cuts a
 * group. The elements of a piece are integers q times a power of two, its unit (limbs.h); with q = 256 * h + l, -128 <= l < 128:
 *   acc  = fma(RN32(sum of h * (w - z)), 256, RN32(sum of l * (w - z))), the sums exact
 *   f    = fma(RN32(acc * unit), scale, f) in ascending pieces; segments as above
 *   y    = F, or RN32(F + bias[n])
 * A piece with an element that is not finite makes its row NaN. */
struct clq_gemm_u4_args {
    size_t m, n, k, group;     /* k > 0, group > 0 */
    const void *a;             /* int8_t (flipped: uint8_t), f32u4: float [m][lda] */
    size_t lda;                /* elements, >= k */
    bool flipped;
    const float *scale_a;      /* [m], g8u4: [m][ceil(k / group)]; not read by f32u4 */
    const uint8_t *weight;     /* [n][(k + 1) / 2]: element k in byte k / 2, even k in the low nibble */
    const void *scale;         /* [n][ceil(k / group)], float or, with scale_f16, the bits of binary16 */
    bool scale_f16;
    const uint8_t *zero_point; /* [n][ceil(k / group)], 0..15, or NULL: 8 */
    const float *bias;         /* [n], or NULL */
    float *y;                  /* [m][ldy] */
    size_t ldy;                /* elements, >= n */
    size_t packed_bytes, scratch_bytes, units;
    void *packed;              /* written by pack, read by run */
    void *scratch;
    size_t unit_begin, unit_end;
};
#define CLQ_U4_SEGMENT 1024
#define CLQ_U4_PIECE 256

/* Integer convolution over NHWC with u8 activations and s8 weights; padding has the value zero_point_x. The three calls
 * are those of clq_gemm_args. Output pixel (oy, ox) reads input rows oy * stride_h - pad_top + ky * dilation_h.
 * Depthwise is groups == ci == co; a 1x1 convolution is the product of clq_gemm_args. */
struct clq_conv_args {
    size_t batch, h, w, ci, oh, ow, co;
    size_t kh, kw, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups;
    const uint8_t *x;        /* [batch][h][w][ci] */
    const int8_t *weight;    /* [co][kh][kw][ci / groups] */
    const int32_t *bias;     /* [co] at scale s_x * s_w, or NULL */
    const float *multiplier; /* [co]; not read for CLQ_OUT_S32 */
    int32_t zero_point_x, zero_point_y;
    int32_t lo, hi;
    enum clq_out out;        /* never CLQ_OUT_S8 */
    void *y;                 /* [batch][oh][ow][co] */
    const struct clq_residual *residual; /* or NULL */
    int64_t bound;
    size_t packed_bytes, scratch_bytes, units;
    void *packed;
    void *scratch;
    size_t unit_begin, unit_end;
};

/* add: y = quantize(RN32(RN32((a - za) * sa) + RN32((b - zb) * sb)), sy, zy) limited to lo..hi; mul: the product of the
 * two dequantized values, rounded once, instead. y may be a or b. */
struct clq_binary_u8_args {
    const uint8_t *a, *b;
    uint8_t *y;
    size_t n;
    float scale_a, scale_b, scale_y;
    int32_t zero_point_a, zero_point_b, zero_point_y;
    int32_t lo, hi;
};

/* y[i] = table[x[i]]: any unary function, and every requantization from 8 to 8 bits. y may be x. */
struct clq_lut_args {
    const uint8_t *x;
    uint8_t *y;
    size_t n;
    const uint8_t *table; /* [256] */
};

/* Rows of bytes at other distances: y[r * y_stride + i] = x[r * x_stride + i], or the table's entry of it. A concatenation along
 * channels is one such copy per input, with a table where an input has another scale. Strides are at least n; y must not overlap x. */
struct clq_copy_rows_args {
    const uint8_t *x;
    uint8_t *y;
    size_t rows, n;
    size_t x_stride, y_stride;
    const uint8_t *table; /* [256], or NULL */
};

/* y[c * y_stride + r] = x[r * x_stride + c] for r < rows, c < cols: elements of 8 or 32 bits, whatever they mean. Strides, in
 * elements, are at least cols and rows; y must not overlap x. */
struct clq_transpose_args {
    const void *x;
    void *y;
    size_t rows, cols;
    size_t x_stride, y_stride;
};

/* How far apart things are in an array of heads, in elements; 0 where they are shared. */
struct clq_strides {
    size_t batch, head, row;
};

/* Attention: y = softmax(q k^T * scale + mask) v of every head, in two calls on the same struct: plan reads the sizes and strides and
 * writes scratch_bytes and units; run computes units unit_begin..unit_end-1, which are cut and may run as those of clq_gemm_args. Per row,
 * with every sum in ascending order, one rounding each, and m = 0 without a mask:
 *   s[t] = fma(chain of fma(q[d], k[t][d]) from +0, scale, m[t])       top = the largest of s that is no NaN, from -inf
 *   p[t] = clq_exp_down(s[t] - top)                                    total = sum of p, from +0
 *   y[d] = RN32((chain of fma(p[t], v[t][d]) from +0) * RN32(1 / total)); a NaN is the quiet one without a sign
 * A row of which every score is -inf gives NaN. Arrays are aligned as floats; y overlaps nothing. All sizes are positive.
 * With u = 2^-24 and d the largest (size + 2) u (|scale| sum |q k| + |m|) of a row's scores, y is within
 * (2.1 d + (2 keys + 16) u) max |v| of real arithmetic, as long as (keys + 1) max |v| is finite. */
struct clq_attention_args {
    size_t batch, heads, rows, keys; /* queries per head, and what they attend to */
    size_t size, size_v;             /* of a head's rows in q and k, and in v and y */
    const float *q, *k, *v;          /* rows are contiguous but for k */
    const float *mask;               /* or NULL; the keys of a row are contiguous */
    float *y;
    struct clq_strides of_q, of_k, of_v, of_mask, of_y;
    size_t k_step;                   /* elements from one of a row of k to the next: 1, or that of k^T */
    float scale;
    size_t scratch_bytes, units;
    void *scratch;                   /* 64-byte aligned */
    size_t unit_begin, unit_end;
};

/* Pooling over NHWC. Output rows row_begin..row_end-1 of batch * oh are computed.
 * max: the largest code of the window (padding never wins); scales and zero points are not read.
 * avg: v = exact sum of (x - zx) over the window; f = RN32(RN32(RN32(v) * scale_x) / RN32(count));
 * y = quantize(f, sy, zy). count is the number of taps inside the image, or all taps when count_include_pad. A window
 * covers >= 1 pixel. */
struct clq_pool_args {
    size_t batch, h, w, c, oh, ow;
    size_t kh, kw, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w;
    const uint8_t *x; /* [batch][h][w][c] */
    uint8_t *y;       /* [batch][oh][ow][c] */
    float scale_x, scale_y;
    int32_t zero_point_x, zero_point_y;
    bool count_include_pad;
    size_t row_begin, row_end;
};

/* One entry per row of ops.def, with the variant's name ("ref", "avx2", "avx512_vnni", ...) beside it. */
struct clq_kernels {
#define CLQ_OP(name, args, stem) void (*name)(struct args *);
#include "kernels/ops.def"
#undef CLQ_OP
    struct {
#define CLQ_OP(name, args, stem) const char *name;
#include "kernels/ops.def"
#undef CLQ_OP
    } variant;
};

/* CPU features, as bits of a mask. */
enum {
    CLQ_CPU_AVX2 = 1u << 0,        /* with FMA and F16C */
    CLQ_CPU_AVX512 = 1u << 1,      /* F, BW, DQ, VL */
    CLQ_CPU_VNNI = 1u << 2,        /* AVX512_VNNI */
    CLQ_CPU_AVX_VNNI = 1u << 3,
    CLQ_CPU_NEON_DOT = 1u << 4,    /* FEAT_DotProd: sdot, udot */
    CLQ_CPU_NEON_I8MM = 1u << 5,   /* FEAT_I8MM: smmla, usmmla, usdot */
    CLQ_CPU_AMX = 1u << 6,         /* AMX_TILE and AMX_INT8; the system has granted this process the tile registers */
    CLQ_CPU_NEON = 1u << 7,        /* Advanced SIMD, which every 64-bit Arm CPU that Linux runs on has */
    CLQ_CPU_VBMI = 1u << 8         /* AVX512_VBMI: permutes of bytes; no step of its own, every CPU with AMX has it */
};

/* What this CPU and operating system offer. Asks Linux for the use of the tile registers where the CPU has them: threads
 * that have an alternate signal stack need 11 KiB of it from then on. */
unsigned clq_cpu_detect(void);

/* The named steps of the ladders, lowest first: "ref" (no feature), "avx2", "avx_vnni", "avx512", "avx512_vnni", "amx" on
 * x86-64, then "neon", "neon_dotprod", "neon_i8mm" on 64-bit Arm. The list, which is the same everywhere, ends with a NULL
 * name. Each mask holds the features of the steps that it builds on. */
struct clq_cpu_level {
    const char *name;
    unsigned mask;
};
extern const struct clq_cpu_level clq_cpu_levels[];

/* The mask of a level's name, or CLQ_CPU_UNKNOWN. "native" is clq_cpu_detect(). The caller intersects the mask with
 * clq_cpu_detect() before it fills a table, or refuses it where a feature is missing. */
#define CLQ_CPU_UNKNOWN (1u << 31)
unsigned clq_cpu_parse(const char *name);

/* Fills the table: the reference first, then every listed version whose features are all in cpu, in ladder order. */
void clq_kernels_init(struct clq_kernels *out, unsigned cpu);

/* The variant of an operation that has a table entry of that name, or NULL. */
const char *clq_kernels_variant(const struct clq_kernels *table, const char *op);
/* Takes an operation, with its plan and pack where it has them, over from another table. */
void clq_kernels_take(struct clq_kernels *out, const struct clq_kernels *from, const char *op);

#endif
