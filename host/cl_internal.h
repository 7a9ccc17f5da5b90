/* SPDX-License-Identifier: Apache-2.0
 * What the files of the OpenCL device share. The only header that includes CL/cl.h; only device_cl.c and cl_*.c may
 * include it. */
#ifndef CLQ_CL_INTERNAL_H
#define CLQ_CL_INTERNAL_H

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include "device_cl.h"
#include "kernels/cl/variants.h"

enum { CLQ_CL_SLOTS = 4, CLQ_CL_MAX_PROGRAMS = 96, CLQ_CL_CANARY = 256 };

/* Names what is kept in the cache; clq_cl_key_add starts from {0}. */
struct clq_cl_key {
    uint64_t hash[2];
};

struct clq_cl_program {
    const char *source, *options; /* of the variant */
    cl_program program;           /* NULL: the build failed, text says why */
    struct clq_cl_key binary;     /* of the source, the device and the compiled bytes; {0}: those are not known */
    clq_status status;
    char text[512];
};

enum clq_cl_verdict { CLQ_CL_UNTRIED, CLQ_CL_PASSED, CLQ_CL_FAILED };

struct clq_cl_family_state {
    enum clq_cl_verdict verdict;
    const struct clq_cl_variant *variant; /* that passed, or is being tested */
    cl_kernel kernel;
    char refused[768];
};

struct clq_cl {
    struct clq_cl_info info;
    unsigned caps; /* CLQ_CL_CAP_* */
    size_t max_group;
    cl_platform_id platform;
    cl_device_id device;
    cl_context context;
    cl_command_queue queue;
    struct clq_cl_options options;
    char *cache_dir, *only, *prefer; /* own copies of the options' strings */
    uint64_t enqueues, waits;
    size_t used; /* bytes of device memory that this struct allocated */
    bool brief; /* the kernel under test has passed before: one case of its self-test is enough */
    bool dead, testing; /* testing: a kernel may be compiled by its first launch, which takes a busy machine long */
    char reason[256];
    struct clq_cl_buffer scratch[CLQ_CL_SLOTS];
    struct clq_cl_buffer flipped; /* int8 activations as uint8 */
    size_t few_rows;              /* products of at most so many rows are GEMV's, where the device has it */
    int programs;
    struct clq_cl_program program[CLQ_CL_MAX_PROGRAMS];
    struct clq_cl_family_state family[CLQ_CL_FAMILIES];
};

/* cl_caps.c */
const char *clq_cl_error_name(cl_int code);
/* The devices in listing order; *n may be 0. devices[] is freed by the caller. */
clq_status clq_cl_devices(cl_device_id **out, int *n, struct clq_error *err);
void clq_cl_query_info(struct clq_cl_info *info, cl_device_id device, int index);
/* CLQ_CL_CAP_* bits; of options, cpu and only are read. */
unsigned clq_cl_query_caps(const struct clq_cl_info *info, cl_device_id device, const struct clq_cl_options *options);
bool clq_cl_device_text(cl_device_id device, cl_uint what, char *out, size_t size);

/* cl_queue.c. Every command goes through clq_cl_count first: it stops dead devices and injected faults. */
clq_status clq_cl_check(struct clq_cl *cl, cl_int code, const char *call, struct clq_error *err);
clq_status clq_cl_count(struct clq_cl *cl, const char *call, struct clq_error *err);
/* Waits for the event with the deadline and releases it (a hung one is abandoned). */
clq_status clq_cl_wait(struct clq_cl *cl, cl_event event, struct clq_error *err);
clq_status clq_cl_kill(struct clq_cl *cl, struct clq_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Arguments of one launch, set in order; the first failure sticks. */
struct clq_cl_launch {
    struct clq_cl *cl;
    const struct clq_cl_family_state *family;
    cl_uint index;
    cl_int code;
};
/* Starts a launch of the family; makes it ready first, unless it is being tested right now (device_cl.c). */
clq_status clq_cl_begin(struct clq_cl_launch *l, struct clq_cl *cl, enum clq_cl_family family, struct clq_error *err);
void clq_cl_arg(struct clq_cl_launch *l, size_t size, const void *value);
void clq_cl_arg_mem(struct clq_cl_launch *l, cl_mem mem, size_t at); /* the object, then its offset in elements */
void clq_cl_arg_u64(struct clq_cl_launch *l, uint64_t v);
void clq_cl_arg_int(struct clq_cl_launch *l, int64_t v); /* int or uint; the caller has checked the range */
void clq_cl_arg_float(struct clq_cl_launch *l, float v);
/* items: work-items per dimension, rounded up to the variant's work-group. */
clq_status clq_cl_enqueue(struct clq_cl_launch *l, size_t items0, size_t items1, struct clq_error *err);
/* Elementwise work over count vectors: the variant's shape decides how many items walk it. Returns that number. */
size_t clq_cl_span_items(const struct clq_cl *cl, const struct clq_cl_variant *variant, size_t count);

/* cl_buffer.c. One operand of a run: a device buffer, or host memory that is copied to and from one. */
struct clq_cl_operand {
    cl_mem mem;
    size_t at; /* bytes */
    void *host;
    size_t bytes;
    bool own, output;
};
struct clq_cl_binding {
    struct clq_cl *cl;
    int n;
    bool host;         /* at least one operand is host memory: the run waits */
    clq_status status; /* of the binds so far */
    struct clq_cl_operand operand[CLQ_CL_SLOTS];
};
/* Adds operand n: buffer if not NULL, else host memory. NULL when it failed; b->status and err say why. */
const struct clq_cl_operand *clq_cl_bind(struct clq_cl_binding *b, const struct clq_cl_buffer *buffer, const void *host,
                                         size_t bytes, bool output, struct clq_error *err);
/* Ends the run: fetches outputs and waits if an operand is host memory. status is that of the launch; the first failure
 * is returned. */
clq_status clq_cl_unbind(struct clq_cl_binding *b, clq_status status, struct clq_error *err);
/* Grows the buffer to at least bytes. */
clq_status clq_cl_reserve(struct clq_cl *cl, struct clq_cl_buffer *buffer, size_t bytes, struct clq_error *err);

/* cl_program.c. Builds (or takes from memory or disk) the variant's program and creates its kernel. verdict: under which the
 * outcome of its self-test is kept: kernel, compiled bytes, device, driver, and the sources of kernels and tests; {0} where
 * nothing is kept. */
clq_status clq_cl_kernel(cl_kernel *out, struct clq_cl_key *verdict, struct clq_cl *cl, const struct clq_cl_variant *variant,
                         struct clq_error *err);

/* cl_cache.c. A compiled program on disk; false when there is none that is whole. */
bool clq_cl_cache_load(unsigned char **out, size_t *bytes, const char *dir, struct clq_cl_key key);
void clq_cl_cache_store(const char *dir, struct clq_cl_key key, const unsigned char *data, size_t bytes);
void clq_cl_cache_drop(const char *dir, struct clq_cl_key key);
void clq_cl_key_add(struct clq_cl_key *key, const void *data, size_t bytes);

/* device_cl.c. True where the device may be offered the variant, options included. */
bool clq_cl_allows(const struct clq_cl *cl, const struct clq_cl_variant *variant);
/* Makes the form for few rows ready, unless it or the product's is being tested right now. A device without it uses the
 * product's. */
void clq_cl_find_gemv(struct clq_cl *cl, enum clq_cl_family gemm, enum clq_cl_family gemv);

/* cl_product.c. int8 rows of k become uint8 rows, ld apart, in cl->flipped. */
clq_status clq_cl_flip(struct clq_cl *cl, const struct clq_cl_operand *a, size_t m, size_t k, size_t lda, size_t ld,
                       struct clq_error *err);
/* Enqueues the sum of n codes in y and as many of the residual, into y, behind the product that writes them. The family that adds is
 * ready, see clq_cl_ready. */
clq_status clq_cl_enqueue_residual(struct clq_cl *cl, const struct clq_residual *residual, const struct clq_cl_operand *y,
                                   const struct clq_cl_operand *r, size_t n, struct clq_error *err);
/* True where the device adds it to rows of that many codes, ldy apart: codes of uint8 without gaps, scales in its range. */
bool clq_cl_supports_residual(const struct clq_cl *cl, const struct clq_residual *residual, enum clq_out out, size_t columns, size_t ldy);
/* Enqueues a product's launch over rows x columns of results. */
clq_status clq_cl_enqueue_product(struct clq_cl_launch *l, size_t rows, size_t columns, struct clq_error *err);

/* cl_selftest.c, cl_selftest_product.c. Compares the family's kernel with the reference; CLQ_ERR_NUMERIC on the first
 * difference. */
clq_status clq_cl_selftest(struct clq_cl *cl, enum clq_cl_family family, struct clq_error *err);
clq_status clq_cl_selftest_u4(struct clq_cl *cl, enum clq_cl_family family, struct clq_error *err);
clq_status clq_cl_selftest_product(struct clq_cl *cl, enum clq_cl_family family, struct clq_error *err);

#endif
