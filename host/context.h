/* SPDX-License-Identifier: Apache-2.0
 * What a context holds inside: the kernel table, the thread count, oneDNN, the opened OpenCL devices and the last error. */
#ifndef CLQ_CONTEXT_H
#define CLQ_CONTEXT_H

#include <clquant/context.h>

#include "base/error.h"
#include "cpu_dnnl.h"
#include "kernels/kernels.h"

struct clq_cl;
struct clq_pool;
struct clq_runtime;

struct clq_context {
    struct clq_kernels kernels;
    unsigned cpu;
    unsigned tuned;           /* names what a tuning changed in the table; 0: nothing */
    int threads;
    struct clq_pool *pool;    /* for integer steps */
    struct clq_dnnl *dnnl;
    struct clq_cl *cl;        /* the OpenCL device in use, or NULL */
    int cl_index;             /* its number */
    struct clq_runtime *runtime; /* that runs models in place of our own kernels, or NULL */
    char runtime_name[64];
    char *cl_cache_dir, *tuning_path; /* of the options, own copies, or NULL */
    bool cl_dead;             /* it failed: the rest runs on the CPU */
    char device_note[512];    /* why a fallback happened, "" when none did */
    bool require_device;
    unsigned device_timeout_ms;
    clq_log_fn *log;
    clq_progress_fn *progress;
    clq_cancel_fn *cancel;
    void *user;
    struct clq_error error;
};

/* Reports progress (fraction 0..1 of a named phase); returns false when the caller asked to stop. */
bool clq_context_progress(struct clq_context *ctx, const char *phase, double fraction);
/* The device in use as options take it: "cpu", "opencl:0", ... */
void clq_context_device_spec(char out[32], const struct clq_context *ctx);
/* The CPU's name, "" where the system does not say it. */
void clq_context_cpu_name(char *out, size_t room);
void clq_context_log(struct clq_context *ctx, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
