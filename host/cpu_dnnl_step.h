/* SPDX-License-Identifier: Apache-2.0
 * What the cpu_dnnl*.c files share: a prepared step is up to three oneDNN primitives with their arguments bound to
 * roles, so that running is setting pointers and executing. Only those files may include this. */
#ifndef CLQ_CPU_DNNL_STEP_H
#define CLQ_CPU_DNNL_STEP_H

#include <dnnl.h>
#include <stddef.h>

#include "cpu_dnnl.h"

struct clq_dnnl {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    int threads;
    bool narrow;          /* 512-bit vectors are executed as two halves: a padded half vector costs half a vector */
    void *scratch;        /* shared by all steps, grown while preparing */
    size_t scratch_bytes;
};

enum clq_dnnl_role { /* where an argument's pointer comes from */
    CLQ_DNNL_FIXED,  /* the step's own constant */
    CLQ_DNNL_A,
    CLQ_DNNL_B,
    CLQ_DNNL_RESIDUAL,
    CLQ_DNNL_Y,
    CLQ_DNNL_SCRATCH
};

enum { CLQ_DNNL_MAX_ARGS = 8, CLQ_DNNL_MAX_FIXED = 6 };

struct clq_dnnl_exec {
    dnnl_primitive_t primitive; /* NULL: not there */
    int n;
    dnnl_exec_arg_t args[CLQ_DNNL_MAX_ARGS];
    enum clq_dnnl_role roles[CLQ_DNNL_MAX_ARGS];
};

struct clq_dnnl_fixed {
    int arg; /* DNNL_ARG_WEIGHTS and so on; equal arg and layout means that two primitives can share it */
    dnnl_memory_t memory;
    void *data;
};

/* y [rows, kh, w, run] = main's result [rows, w, kh, run], which is kept in the scratchpad at byte temp_at. */
struct clq_dnnl_shuffle {
    size_t rows, w, kh, run, temp_at; /* rows 0: not there */
};

/* main reads the residual from a tensor of its own. sum reads it from y, and is used when the residual is y, or, after
 * a copy, when main is missing. after runs in place on y, for an activation that the primitive itself is slow at. */
struct clq_dnnl_step {
    struct clq_dnnl_exec main, sum, after;
    struct clq_dnnl_fixed fixed[CLQ_DNNL_MAX_FIXED];
    int n_fixed;
    bool two_inputs, residual;
    int threads;
    size_t y_bytes, scratch_bytes; /* of the scratchpad, the largest of the three */
    struct clq_dnnl_shuffle shuffle;
    int64_t log_outer, log_n, log_inner; /* a log softmax finishes with clq_dnnl_log_after; log_n 0: not one */
    char name[64];
};

enum clq_dnnl_form { CLQ_DNNL_PLAIN, CLQ_DNNL_BINARY, CLQ_DNNL_SUM }; /* how a residual is added */

struct clq_dnnl_epilogue {
    float alpha; /* scales the product before everything else */
    enum clq_dnnl_form form;
    const dnnl_memory_desc_t *y;    /* for CLQ_DNNL_BINARY */
    const dnnl_memory_desc_t *bias; /* bias added after alpha, or NULL */
    enum clq_act act;
    float a, b;
};

/* Maps a oneDNN status; what names the call. */
clq_status clq_dnnl_check(dnnl_status_t status, const char *what, struct clq_error *err);

/* Fails with CLQ_ERR_UNSUPPORTED unless every dimension is in 1 .. INT32_MAX and so is their product: oneDNN's
 * generated code uses 32-bit sizes in places. */
clq_status clq_dnnl_dims(const char *what, int n, const int64_t *dims, struct clq_error *err);

/* Dense float32, row-major over dims; and dims laid out by strides. NULL strides: oneDNN chooses the layout. */
clq_status clq_dnnl_dense(dnnl_memory_desc_t *out, int n, const int64_t *dims, struct clq_error *err);
clq_status clq_dnnl_strided(dnnl_memory_desc_t *out, int n, const int64_t *dims, const int64_t *strides,
                            struct clq_error *err);

/* An NHWC image as oneDNN sees it: logical order N, C, H, W. */
clq_status clq_dnnl_image(dnnl_memory_desc_t *out, int64_t n, int64_t h, int64_t w, int64_t c, struct clq_error *err);

/* One or two eltwise operations that make up an activation. */
struct clq_dnnl_eltwise {
    dnnl_alg_kind_t alg;
    float alpha, beta;
};
int clq_dnnl_act(struct clq_dnnl_eltwise out[2], enum clq_act act, float a, float b);

clq_status clq_dnnl_attr(dnnl_primitive_attr_t *out, const struct clq_dnnl_epilogue *epilogue, struct clq_error *err);

/* The first implementation whose name starts with prefer, else oneDNN's first that refuse allows; CLQ_ERR_UNSUPPORTED
 * when there is none. The reference takes a millisecond per 300,000 products; im2col runs at a tenth of the peak. */
enum clq_dnnl_refuse { CLQ_DNNL_TAKE_ALL, CLQ_DNNL_NO_REFERENCE, CLQ_DNNL_NO_IM2COL };
clq_status clq_dnnl_choose(dnnl_primitive_desc_t *out, struct clq_dnnl *dnnl, const_dnnl_op_desc_t op,
                           const_dnnl_primitive_attr_t attr, const char *prefer, enum clq_dnnl_refuse refuse,
                           struct clq_error *err);
const char *clq_dnnl_impl(const_dnnl_primitive_desc_t pd);

/* Creates exec's primitive, grows the scratchpad and binds it; exec must be empty. The first name is kept. */
clq_status clq_dnnl_exec_create(struct clq_dnnl_step *step, struct clq_dnnl_exec *exec, struct clq_dnnl *dnnl,
                                const_dnnl_primitive_desc_t pd, struct clq_error *err);
clq_status clq_dnnl_bind(struct clq_dnnl_exec *exec, struct clq_dnnl *dnnl, int arg, const dnnl_memory_desc_t *md,
                         enum clq_dnnl_role role, struct clq_error *err);
/* Binds a constant, copied from data (laid out as plain) into the layout wanted, or shared with an equal one. */
clq_status clq_dnnl_bind_constant(struct clq_dnnl_step *step, struct clq_dnnl_exec *exec, struct clq_dnnl *dnnl,
                                  int arg, const dnnl_memory_desc_t *wanted, const dnnl_memory_desc_t *plain,
                                  const float *data, struct clq_error *err);
clq_status clq_dnnl_step_new(struct clq_dnnl_step **out, struct clq_error *err);

/* y [rows, kh, w, n] = act(a [rows, 1, w, k] * weight [kh, k, n] + bias [n]): a transposed convolution without
 * overlap. */
struct clq_dnnl_upsample {
    int64_t rows, w, k, n, kh;
    const float *weight, *bias;
    enum clq_act act;
    float a, b;
};
clq_status clq_dnnl_upsample(struct clq_dnnl_step **out, struct clq_dnnl *dnnl, const struct clq_dnnl_upsample *desc,
                             struct clq_error *err);

/* Makes the scratchpad at least this long. */
clq_status clq_dnnl_grow_scratch(struct clq_dnnl *dnnl, size_t bytes, struct clq_error *err);
void clq_dnnl_shuffle(const struct clq_dnnl *dnnl, const struct clq_dnnl_shuffle *shuffle, float *y);

/* y = log(y), given that y is the softmax of x. */
void clq_dnnl_log_after(const struct clq_dnnl_step *step, const float *x, float *y);

/* The threads of a step that takes about so many nanoseconds on one. Waking another thread costs 30 to 50 us where waiting
 * threads sleep, so a step below CLQ_DNNL_ALONE gains nothing by it. Estimates are for AVX-512 and data in the caches; they
 * follow from the shape alone, so that a model runs the same code every time. */
enum { CLQ_DNNL_ALONE = 40000, CLQ_DNNL_PRODUCTS = 60, CLQ_DNNL_ELEMENTS = 8 }; /* ns; per ns: products, elements moved */
int clq_dnnl_threads(const struct clq_dnnl *dnnl, double nanoseconds);

/* oneDNN fixes the thread count when a primitive is created and reads OpenMP's current one when it runs; both happen
 * between these two. */
int clq_dnnl_enter(int threads);
void clq_dnnl_leave(int saved);

#endif
