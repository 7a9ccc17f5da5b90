/* SPDX-License-Identifier: Apache-2.0
 * The float32 heavy operators on the CPU, through oneDNN: prepared once for fixed shapes, then run on plain pointers.
 * The only home of dnnl.h. Images are NHWC. Must not know graphs or models.
 *
 * CLQ_ERR_UNSUPPORTED from a preparing call means that the caller has to compute the operator in another way: a
 * dimension of 0, more than 2^31 - 1 elements, or a product for which oneDNN has only its slow reference. Which
 * implementation runs depends on the shape and the CPU alone. Not a number: products, sums and the smooth activations
 * give NaN; RELU gives 0, CLIP its low bound, HARDSIGMOID 0. Pointers are 4-byte aligned, 16 on x86 without AVX. */
#ifndef CLQ_CPU_DNNL_H
#define CLQ_CPU_DNNL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct clq_dnnl;      /* engine, stream, scratchpad; one per context; outlives its steps */
struct clq_dnnl_step; /* one prepared primitive with its reordered weights */

enum clq_act { /* activations that every backend can fuse; parameters a, b */
    CLQ_ACT_NONE,
    CLQ_ACT_RELU,
    CLQ_ACT_CLIP,      /* a = low, b = high */
    CLQ_ACT_LEAKY,     /* a = alpha */
    CLQ_ACT_HARDSWISH, /* x * max(0, min(1, x / 6 + 0.5)) */
    CLQ_ACT_HARDSIGMOID, /* max(0, min(1, a * x + b)) */
    CLQ_ACT_SIGMOID,
    CLQ_ACT_TANH,
    CLQ_ACT_GELU,      /* erf */
    CLQ_ACT_GELU_TANH,
    CLQ_ACT_SWISH,     /* x * sigmoid(x) */
    CLQ_ACT_ELU        /* a = alpha */
};

/* threads >= 1; one under ThreadSanitizer. Two contexts may be used by two threads at a time, one may not. */
clq_status clq_dnnl_create(struct clq_dnnl **out, int threads, struct clq_error *err);
void clq_dnnl_free(struct clq_dnnl *dnnl);
/* "2.6.3" and so on, for profiles and reports. */
const char *clq_dnnl_version(void);

/* 1-D or 2-D convolution and transposed convolution: x [batch,h,w,ci] -> y [batch,oh,ow,co], y = act(conv + bias
 * [+ residual]). The residual [batch,oh,ow,co], when present, is added before act. Where oh and ow leave part of the
 * end padding unread, or a transposed result is longer by an output padding, they are the truth. weight is the ONNX
 * array ([co,ci/groups,kh,kw], or [ci,co/groups,kh,kw] when transposed), bias [co] or NULL; both are copied. */
struct clq_dnnl_conv {
    int64_t batch, h, w, ci, oh, ow, co, kh, kw, stride_h, stride_w, dilation_h, dilation_w;
    int64_t pad_top, pad_left, pad_bottom, pad_right, groups;
    bool transposed, residual;
    enum clq_act act;
    float a, b;
    const float *weight, *bias;
};
clq_status clq_dnnl_conv(struct clq_dnnl_step **out, struct clq_dnnl *dnnl, const struct clq_dnnl_conv *desc,
                         struct clq_error *err);

/* Batched matrix product y[...,m,n] = act(alpha * a[...,m,k] * b[...,k,n] + bias [+ residual]). Batch dimensions
 * broadcast (numpy rules) and are given already aligned to the same count (1 = broadcast). weight, when not NULL, is
 * the constant b ([k,n], or [n,k] when transpose_b; batch 1) and is copied and reordered; bias [n] or NULL. alpha
 * scales the product only. Three or more batch dimensions that broadcast in different directions may be unsupported. */
struct clq_dnnl_matmul {
    int batch_rank; /* 0 .. 4 */
    int64_t batch_a[4], batch_b[4];
    int64_t m, n, k;
    bool transpose_a, transpose_b, residual;
    float alpha;
    enum clq_act act;
    float a, b;
    const float *weight, *bias;
};
clq_status clq_dnnl_matmul(struct clq_dnnl_step **out, struct clq_dnnl *dnnl, const struct clq_dnnl_matmul *desc,
                           struct clq_error *err);

enum clq_pool_kind { CLQ_POOL_MAX, CLQ_POOL_AVG_EXCLUDE_PAD, CLQ_POOL_AVG_INCLUDE_PAD };
struct clq_dnnl_pool {
    enum clq_pool_kind kind;
    int64_t batch, h, w, c, oh, ow, kh, kw, stride_h, stride_w, dilation_h, dilation_w;
    int64_t pad_top, pad_left, pad_bottom, pad_right;
};
/* oh and ow may be those of ceil mode, except for an average that includes padding. Pooling whose windows lie wholly in
 * padding is unsupported. The maximum of values that are all -inf is -FLT_MAX. */
clq_status clq_dnnl_pool(struct clq_dnnl_step **out, struct clq_dnnl *dnnl, const struct clq_dnnl_pool *desc,
                         struct clq_error *err);

/* Softmax over the middle axis of [outer, n, inner]. y must not be a. Softmax with inner > 1 takes 54 ns an element, 0.5 with inner 1: transpose long ones
 * first. */
clq_status clq_dnnl_softmax(struct clq_dnnl_step **out, struct clq_dnnl *dnnl, int64_t outer, int64_t n,
                            int64_t inner, bool logarithm, struct clq_error *err);

/* Runs a step. a and b: the inputs (b NULL unless matmul without a constant weight); residual: NULL unless prepared
 * with one, may be y (then nothing is copied). y may not overlap a or b. */
clq_status clq_dnnl_run(struct clq_dnnl *dnnl, struct clq_dnnl_step *step, const float *a, const float *b,
                        const float *residual, float *y, struct clq_error *err);
/* The oneDNN implementation's name ("jit:avx512_core", ...), for reports. */
const char *clq_dnnl_step_name(const struct clq_dnnl_step *step);
/* The threads it runs on: the context's, or 1 where it is too short to gain by more. */
int clq_dnnl_step_threads(const struct clq_dnnl_step *step);
void clq_dnnl_step_free(struct clq_dnnl_step *step);

#endif
