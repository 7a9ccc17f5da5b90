/* SPDX-License-Identifier: Apache-2.0
 * Problems that the tuner times: operands on the host with the bytes that every variant must give, and how kernels of the CPU
 * solve them. */
#ifndef CLQ_TUNE_PROBLEM_H
#define CLQ_TUNE_PROBLEM_H

#include "base/error.h"
#include "base/pool.h"
#include "kernels/kernels.h"

enum clq_tune_kind {
    CLQ_TUNE_GEMM,
    CLQ_TUNE_GEMM_S8, /* rows of int8 */
    CLQ_TUNE_GEMM_U4, /* 4-bit weights; b is scale_a */
    CLQ_TUNE_CONV,
    CLQ_TUNE_QUANTIZE_U8,
    CLQ_TUNE_QUANTIZE_S8,
    CLQ_TUNE_DEQUANTIZE_U8,
    CLQ_TUNE_DEQUANTIZE_S8,
    CLQ_TUNE_ADD,
    CLQ_TUNE_MUL,
    CLQ_TUNE_LUT
};

struct clq_tune_problem {
    enum clq_tune_kind kind;
    union {
        struct clq_gemm_args gemm;
        struct clq_gemm_u4_args u4;
        struct clq_conv_args conv;
        struct clq_quantize_args quantize;
        struct clq_dequantize_args dequantize;
        struct clq_binary_u8_args binary;
        struct clq_lut_args lut;
    } args; /* y is expected */
    void *x, *b, *expected;
    size_t x_bytes, b_bytes, y_bytes;
    int8_t *weight;
    float *multiplier; /* 4-bit weights: their scales */
};

/* How many problems a family of that name has ("gemm_u8s8", "quantize_f32_u8", ...); 0: it is not tuned. */
size_t clq_tune_problem_count(const char *family);
/* Problem i, for a device that is a CPU or something larger. What is expected comes from by. */
clq_status clq_tune_problem_create(struct clq_tune_problem **out, const char *family, size_t i, bool large,
                                   const struct clq_kernels *by, struct clq_error *err);
/* A product of m rows with the weights of such a family ("gemv_u8s8"), for the number of rows up to which a form for few rows is
 * used. */
clq_status clq_tune_problem_rows(struct clq_tune_problem **out, const char *family, size_t m, bool large, const struct clq_kernels *by,
                                 struct clq_error *err);
void clq_tune_problem_free(struct clq_tune_problem *problem);
/* CLQ_ERR_NUMERIC where y differs from what is expected. */
clq_status clq_tune_problem_compare(const struct clq_tune_problem *problem, const void *y, struct clq_error *err);

/* A problem in the hands of kernels of the CPU. */
struct clq_tune_solver {
    const struct clq_kernels *kernels;
    struct clq_tune_problem problem; /* its operands are the original's, y and what is packed its own */
    struct clq_pool *pool;           /* for products; NULL: none */
    int threads;
    void *y, *packed, *scratch;
    size_t stride; /* of the threads' scratch */
};

/* Packs. The kernels stay the caller's. The caller ends with clq_tune_solver_end, also after a failure. */
clq_status clq_tune_solver_begin(struct clq_tune_solver *s, const struct clq_tune_problem *problem, const struct clq_kernels *kernels,
                                 struct clq_pool *pool, int threads, struct clq_error *err);
void clq_tune_solver_run(struct clq_tune_solver *s);
void clq_tune_solver_end(struct clq_tune_solver *s);

#endif
