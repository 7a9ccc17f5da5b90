/* SPDX-License-Identifier: Apache-2.0
 * The OpenCL device: the operations of kernels/kernels.h on an OpenCL device, with the bits of the reference kernels.
 * Exists only where CLQ_HAVE_OPENCL is defined. No cl* function is called before one of these functions is.
 *
 * Every run function takes the argument struct of its operation. Its pointers are host memory, unless a clq_cl_buffer
 * is given for an operand: then that operand lives on the device and the pointer is not read. A call with any host
 * operand returns when the work is done. A call on buffers alone returns when the work is queued, in order; failures
 * then show in a later call, clq_cl_download or clq_cl_finish. After a failure the outputs are undefined and the caller
 * computes them on the CPU. One thread at a time uses a device. */
#ifndef CLQ_DEVICE_CL_H
#define CLQ_DEVICE_CL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "kernels/kernels.h"

struct clq_cl;        /* an opened device: context, queue, programs, verdicts */
struct clq_cl_weight; /* packed weights of one product or convolution, on the device */
struct clq_cl_u4;     /* packed 4-bit weights */

/* Facts for reports and cache keys, never for choices. */
struct clq_cl_info {
    int index; /* for clq_cl_open; counts over all platforms */
    char platform[128], name[256], vendor[128], driver[128], version[128];
    const char *type; /* "cpu", "gpu", "accelerator", "other" */
    bool is_cpu;
    bool unified; /* host and device share their memory */
    unsigned compute_units;
    uint64_t memory, max_alloc, local_memory; /* bytes */
};

/* All devices of all platforms. No driver and no device are CLQ_OK with *n = 0. The caller frees *out. */
clq_status clq_cl_list(struct clq_cl_info **out, int *n, struct clq_error *err);

/* {0} is valid and means the defaults. */
struct clq_cl_options {
    const char *cache_dir;   /* folder for compiled programs and verdicts, made when absent; NULL: nothing is stored */
    unsigned timeout_ms;     /* deadline of one wait, six times as long in a self-test; 0: 10,000 */
    unsigned cpu;            /* CLQ_CPU_* bits that CPU-shaped variants may use; 0: none of them */
    const char *only;        /* names of variants ("generic", "x86_vnni"), separated by spaces: a family with such a
                                variant uses only it; NULL: all */
    const char *prefer;      /* "family=variant" words, separated by spaces: these variants are tried before the others */
    int few_rows;            /* products of at most so many rows run on the GEMV form where there is one; 0: 4, < 0: none */
    bool exact_buffers;      /* no canaries: lets a simulator see every access outside of a buffer */
    bool skip_selftest;      /* tests: for a simulator, under which a self-test would take hours; division is trusted */
    uint64_t fail_at;        /* tests: the n-th enqueued command fails, counted from 1; 0: none */
    uint64_t hang_at;        /* tests: the n-th wait never ends before its deadline; 0: none */
};

clq_status clq_cl_open(struct clq_cl **out, int index, const struct clq_cl_options *options, struct clq_error *err);
void clq_cl_close(struct clq_cl *cl); /* NULL is fine; a dead device's objects are abandoned, not released */
const struct clq_cl_info *clq_cl_describe(const struct clq_cl *cl);

/* Kernel families. Each is built and proven by an exact self-test before its first use on an opened device: by one case of it
 * where the cache says that the same compiled bytes have passed all cases before. */
enum clq_cl_family {
    CLQ_CL_QUANTIZE_U8,
    CLQ_CL_QUANTIZE_S8,
    CLQ_CL_DEQUANTIZE_U8,
    CLQ_CL_DEQUANTIZE_S8,
    CLQ_CL_MINMAX,
    CLQ_CL_HISTOGRAM,
    CLQ_CL_GEMM,
    CLQ_CL_GEMV, /* products of few rows; not on every device */
    CLQ_CL_GEMM_U4, /* weights of 4 bits in groups */
    CLQ_CL_GEMV_U4, /* the same for few rows; not on every device */
    CLQ_CL_GEMM_U4_GROUPED, /* rows with a scale per group */
    CLQ_CL_GEMM_U4_REAL, /* the same with real activations */
    CLQ_CL_FLIP, /* int8 activations to uint8: part of gemm_s8s8 */
    CLQ_CL_CONV,
    CLQ_CL_GROUPED,
    CLQ_CL_DEPTHWISE,
    CLQ_CL_ADD,
    CLQ_CL_MUL,
    CLQ_CL_LUT,
    CLQ_CL_MAXPOOL,
    CLQ_CL_AVGPOOL,
    CLQ_CL_FAMILIES
};

const char *clq_cl_family_name(enum clq_cl_family family);
/* The family that runs a convolution. */
enum clq_cl_family clq_cl_conv_family(const struct clq_conv_args *args);
/* True where the device could run a variant of the family, by what it says of itself. Only the GEMV families may be false. */
bool clq_cl_offers(const struct clq_cl *cl, enum clq_cl_family family);
/* Builds and tests the family if that has not been done. CLQ_OK, or why no variant is usable. */
clq_status clq_cl_ready(struct clq_cl *cl, enum clq_cl_family family, struct clq_error *err);
/* The variant that passed ("generic", "x86_vnni", ...), or NULL before clq_cl_ready and when none did. */
const char *clq_cl_variant(const struct clq_cl *cl, enum clq_cl_family family);
/* What was refused so far and why, "" when nothing: a line per variant, also where another variant passed. */
const char *clq_cl_refused(const struct clq_cl *cl, enum clq_cl_family family);
/* NULL, or why the device was turned off for good. */
const char *clq_cl_dead(const struct clq_cl *cl);

/* Device memory: bytes at offset of an object; an arena hands out parts by moving offset and narrowing bytes. Parts
 * start at multiples of 64. mem NULL: none. */
struct clq_cl_buffer {
    void *mem;
    size_t offset, bytes;
};
clq_status clq_cl_alloc(struct clq_cl_buffer *out, struct clq_cl *cl, size_t bytes, struct clq_error *err);
/* Checks the canaries; buffer is one that clq_cl_alloc gave, not a part of it. */
void clq_cl_release(struct clq_cl *cl, struct clq_cl_buffer *buffer);
clq_status clq_cl_upload(struct clq_cl *cl, const struct clq_cl_buffer *to, const void *from, size_t bytes,
                         struct clq_error *err);
clq_status clq_cl_download(void *to, struct clq_cl *cl, const struct clq_cl_buffer *from, size_t bytes,
                           struct clq_error *err);
/* Waits for everything that was queued. */
clq_status clq_cl_finish(struct clq_cl *cl, struct clq_error *err);

/* Where the operands of a run live: NULL pointers (or a NULL struct) mean the host pointers of the arguments. */
struct clq_cl_io {
    const struct clq_cl_buffer *x; /* first or only input */
    const struct clq_cl_buffer *b; /* second input; of a product: the residual's codes */
    const struct clq_cl_buffer *y; /* output; may be x or b where the operation may work in place */
};

/* True where the device can take these arguments (scales, sizes); the family must still be ready. */
bool clq_cl_supports_quantize(const struct clq_cl *cl, const struct clq_quantize_args *args);
bool clq_cl_supports_dequantize(const struct clq_cl *cl, const struct clq_dequantize_args *args);
bool clq_cl_supports_binary(const struct clq_cl *cl, const struct clq_binary_u8_args *args);
bool clq_cl_supports_pool(const struct clq_cl *cl, const struct clq_pool_args *args, bool average);
bool clq_cl_supports_gemm(const struct clq_cl *cl, const struct clq_gemm_args *args);
bool clq_cl_supports_conv(const struct clq_cl *cl, const struct clq_conv_args *args);

clq_status clq_cl_quantize(struct clq_cl *cl, bool to_signed, const struct clq_quantize_args *args,
                           const struct clq_cl_io *io, struct clq_error *err);
clq_status clq_cl_dequantize(struct clq_cl *cl, bool from_signed, const struct clq_dequantize_args *args,
                             const struct clq_cl_io *io, struct clq_error *err);
/* Results are always on the host. */
clq_status clq_cl_minmax(struct clq_cl *cl, struct clq_minmax_args *args, const struct clq_cl_io *io,
                         struct clq_error *err);
clq_status clq_cl_histogram(struct clq_cl *cl, const struct clq_histogram_args *args, const struct clq_cl_io *io,
                            struct clq_error *err);
clq_status clq_cl_add(struct clq_cl *cl, const struct clq_binary_u8_args *args, const struct clq_cl_io *io,
                      struct clq_error *err);
clq_status clq_cl_mul(struct clq_cl *cl, const struct clq_binary_u8_args *args, const struct clq_cl_io *io,
                      struct clq_error *err);
clq_status clq_cl_lut(struct clq_cl *cl, const struct clq_lut_args *args, const struct clq_cl_io *io,
                      struct clq_error *err);
/* Rows row_begin..row_end-1, as the reference. */
clq_status clq_cl_maxpool(struct clq_cl *cl, const struct clq_pool_args *args, const struct clq_cl_io *io,
                          struct clq_error *err);
clq_status clq_cl_avgpool(struct clq_cl *cl, const struct clq_pool_args *args, const struct clq_cl_io *io,
                          struct clq_error *err);

/* Packs and uploads a weight once, for runs with any m (gemm) or batch (conv): reads everything of args except m, a,
 * lda, y, ldy, batch, x and the fields of the CPU's packing. The plain arrays are not needed afterwards. gemm: signed_a
 * means s8s8. CLQ_ERR_UNSUPPORTED where clq_cl_supports_* is false. */
clq_status clq_cl_prepare_gemm(struct clq_cl_weight **out, struct clq_cl *cl, bool signed_a,
                               const struct clq_gemm_args *args, struct clq_error *err);
clq_status clq_cl_prepare_conv(struct clq_cl_weight **out, struct clq_cl *cl, const struct clq_conv_args *args,
                               struct clq_error *err);
void clq_cl_weight_free(struct clq_cl *cl, struct clq_cl_weight *weight);
/* Device bytes of the packed weight. */
size_t clq_cl_weight_bytes(const struct clq_cl_weight *weight);

/* Computes all rows: m, a, lda, y, ldy and residual are read. */
clq_status clq_cl_gemm(struct clq_cl *cl, const struct clq_cl_weight *weight, const struct clq_gemm_args *args,
                       const struct clq_cl_io *io, struct clq_error *err);
/* Computes the whole batch: batch, x, y and residual are read. */
clq_status clq_cl_conv(struct clq_cl *cl, const struct clq_cl_weight *weight, const struct clq_conv_args *args,
                       const struct clq_cl_io *io, struct clq_error *err);

/* Products with 4-bit weights in groups, for runs with any m. io: x is a, b is scale_a. Groups are multiples of 8, or all of
 * k; supports says which arguments the device can take. The plain arrays are not needed after prepare. */
bool clq_cl_supports_u4(const struct clq_cl *cl, const struct clq_gemm_u4_args *args);
clq_status clq_cl_prepare_u4(struct clq_cl_u4 **out, struct clq_cl *cl, const struct clq_gemm_u4_args *args,
                             struct clq_error *err);
void clq_cl_u4_free(struct clq_cl *cl, struct clq_cl_u4 *weight);
clq_status clq_cl_gemm_u4(struct clq_cl *cl, const struct clq_cl_u4 *weight, const struct clq_gemm_u4_args *args,
                          const struct clq_cl_io *io, struct clq_error *err);
/* Rows with a scale per group (gemm_g8u4), in host memory. */
clq_status clq_cl_gemm_u4_grouped(struct clq_cl *cl, const struct clq_cl_u4 *weight, const struct clq_gemm_u4_args *args, struct clq_error *err);
/* Real rows (gemm_f32u4), which become integers on the host; y is host memory as well. */
clq_status clq_cl_gemm_u4_real(struct clq_cl *cl, const struct clq_cl_u4 *weight, const struct clq_gemm_u4_args *args, struct clq_error *err);

#endif
