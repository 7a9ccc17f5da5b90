/* SPDX-License-Identifier: Apache-2.0
 * What the calls of clquant/buffers.h share: argument checks, the way from the device to the CPU, threads, and the parts
 * of a prepared product. Must not know models. */
#ifndef CLQ_BUFFERS_H
#define CLQ_BUFFERS_H

#include <clquant/buffers.h>

#include "base/pool.h"
#include "context.h"

/* Work (elements, or a 16th of the products) below which waking threads costs more than it gives. */
enum { CLQ_BUFFERS_SERIAL = 1 << 15 };

/* True if the context has an OpenCL device that still works. */
bool clq_buffers_device(const struct clq_context *ctx);
/* A device refused `what` or failed at it: remembers why and returns CLQ_OK, so that the CPU computes it, or fails where the
 * context requires the device. A device that failed (CLQ_ERR_DEVICE) is not asked again. */
clq_status clq_buffers_fall_back(struct clq_context *ctx, const char *what, clq_status st, const struct clq_error *why);
/* Fails where the context requires its device and that has failed before. */
clq_status clq_buffers_require(struct clq_context *ctx, const char *what);

/* Fails unless 2^-126 <= values[i] < infinity. what: the argument's name. */
clq_status clq_buffers_check_scales(struct clq_context *ctx, const char *what, const float *values, size_t n);
/* Limits of a code type; false where dtype is not U8 or S8. */
bool clq_buffers_limits(clq_dtype dtype, int32_t *lo, int32_t *hi);
bool clq_buffers_overlap(const void *a, size_t a_bytes, const void *b, size_t b_bytes);

/* The parts that a prepared matrix product and a prepared convolution have in common. Zero-initialized is empty. */
struct clq_product {
    struct clq_context *ctx;
    int8_t *weight;    /* copies: the reference reads them, and so does the CPU when the device fails */
    int32_t *bias;     /* or NULL */
    float *multiplier; /* or NULL */
    int64_t bound;
    enum clq_out out;
    int32_t zero_point_y, lo, hi;
    bool has_residual;
    struct clq_residual residual; /* codes and ld are those of the last run */
    size_t bytes;      /* of the copies */
    void *packed, *scratch;
    size_t packed_bytes, scratch_bytes; /* allocated */
    bool is_packed;
    struct clq_cl_weight *on_device; /* or NULL */
};

/* Checks the type of the codes that go in and their zero point; lo and hi become the type's limits. */
clq_status clq_product_check_input(struct clq_context *ctx, int32_t *lo, int32_t *hi, const char *what, clq_dtype input, int32_t zero_point);
/* Checks the output, copies weight [n][k], bias and multiplier, and proves the bound: |a - zero point| <= reach. */
clq_status clq_product_fill(struct clq_product *p, const char *what, size_t n, size_t k, const int8_t *weight,
                            const int32_t *bias, const clq_product_output *output, int32_t reach);
/* Fails unless the product has a residual where a run does. */
clq_status clq_product_check_residual(struct clq_product *p, const char *what, bool wanted);
/* The residual of a run, with its codes, for the arguments of a kernel; NULL where the product has none. */
static inline const struct clq_residual *clq_product_residual_of(struct clq_product *p, const void *codes, size_t ld)
{
    p->residual.codes = codes;
    p->residual.ld = ld;
    return p->has_residual ? &p->residual : NULL;
}
/* Makes *block (64-byte aligned, *bytes large) at least `needed` bytes large; the content is lost. */
clq_status clq_product_reserve(struct clq_product *p, void **block, size_t *bytes, size_t needed);
void clq_product_free(struct clq_product *p);
/* Threads for so many multiply-adds. */
int clq_product_threads(const struct clq_product *p, double products);
/* Rounds a unit's scratch so that threads do not share lines. */
static inline size_t clq_product_stride(size_t scratch_bytes)
{
    return (scratch_bytes + 127) / 64 * 64;
}

#endif
