/* SPDX-License-Identifier: Apache-2.0
 * Pieces of work as an application gives them to the library: one call of the public interface (clquant/buffers.h) on
 * random operands. For benches and for comparisons with other libraries, which get the same operands. */
#ifndef CLQ_PERF_WORK_H
#define CLQ_PERF_WORK_H

#include <clquant/buffers.h>
#include <clquant/int4.h>

#include "tests/cases/suite.h"

enum clq_work_kind { CLQ_WORK_GEMM, CLQ_WORK_INT4, CLQ_WORK_CONV, CLQ_WORK_QUANTIZE, CLQ_WORK_DEQUANTIZE, CLQ_WORK_HISTOGRAM };

struct clq_work {
    enum clq_work_kind kind;
    clq_context *ctx;
    double operations, bytes; /* of one run; bytes are what has to be read and written at least */
    const char *kernel;       /* the version that runs: "avx512_vnni", ... */
    clq_status status;        /* of the last run that failed */
    /* operands: of products x is 8-bit (float for 4-bit weights), w [n][taps], y u8, s8, f32 or s32; of arrays x and y are what the call takes */
    void *x, *y;
    int8_t *w;
    int32_t *bias;
    float *multiplier;
    size_t x_bytes, y_bytes, w_bytes;
    /* what makes it */
    struct clq_gemm_shape gemm_shape;
    struct clq_conv_shape conv_shape;
    size_t n;
    clq_dtype input, output; /* of products; of arrays: output is that of the codes */
    float scale;
    clq_gemm *gemm;
    clq_int4 *int4;
    clq_conv *conv;
    clq_histogram *histogram;
};

/* Zeros the struct and prepares everything; on failure clq_error_message(ctx) says why and nothing stays allocated.
 * weight_bits: 8, or fewer for smaller weights. */
clq_status clq_work_gemm(struct clq_work *work, clq_context *ctx, const struct clq_gemm_shape *shape, clq_dtype input, clq_dtype output, int weight_bits);
/* Weights of 4 bits in groups with binary16 scales. Rows are floats; input CLQ_DTYPE_S8: the run rounds them to 8 bits, _F32: it
 * does not. */
clq_status clq_work_int4(struct clq_work *work, clq_context *ctx, const struct clq_gemm_shape *shape, size_t group, clq_dtype input);
clq_status clq_work_conv(struct clq_work *work, clq_context *ctx, const struct clq_conv_shape *shape, clq_dtype output);
/* n values; codes are u8 or s8. */
clq_status clq_work_array(struct clq_work *work, clq_context *ctx, enum clq_work_kind kind, size_t n, clq_dtype codes, double zeros);

/* One run; state is the struct clq_work. */
void clq_work_run(void *state);
void clq_work_free(struct clq_work *work);

#endif
