/* SPDX-License-Identifier: Apache-2.0
 *
 * context.h - the object that holds threads, devices, callbacks and the last error.
 *
 *     clq_context *ctx;
 *     clq_context_options opt = {.threads = 2};
 *     if (clq_context_create(&ctx, &opt) != CLQ_OK)
 *         return 1;
 *     printf("kernels: %s\n", clq_context_isa(ctx));
 *     clq_context_free(ctx);
 */
#ifndef CLQUANT_CONTEXT_H
#define CLQUANT_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>

#include <clquant/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct clq_context clq_context;

/* Callbacks; all run on the calling thread and must not call back into the context.
 * log: one finished line without a newline.
 * progress: a phase's name and the part of it that is done, 0 to 1.
 * cancel: return true to stop soon; the call in progress then fails with CLQ_ERR_INVALID_ARGUMENT "canceled". */
typedef void clq_log_fn(void *user, const char *line);
typedef void clq_progress_fn(void *user, const char *phase, double fraction);
typedef bool clq_cancel_fn(void *user);

typedef struct clq_context_options {
    int threads;              /* 0: all cores that affinity and cgroup limits allow; 1 .. 1024 */
    const char *device;       /* NULL or "cpu", "opencl", "opencl:N", or "auto" (the first OpenCL device that is not the CPU) */
    unsigned device_timeout_ms; /* a command that does not end by then fails its device; 0: 10,000. Loaded machines may need more */
    bool require_device;      /* a device that fails or is refused is an error instead of a fallback to the CPU */
    const char *isa;          /* NULL: the best; or "ref", "avx2", "avx512_vnni", "neon_i8mm", ...: an upper limit, for tests */
    const char *cl_cache_dir; /* where compiled OpenCL programs are kept; NULL: nowhere */
    const char *tuning_path;  /* the file of clquant/tune.h, whose choices the CPU and OpenCL devices then use; NULL: the defaults */
    const char *runtime;      /* NULL or "clquant": our own kernels run models; "onnxruntime" or "onnxruntime:PATH": that library
                                 does, loaded from PATH, from the file that CLQUANT_ONNXRUNTIME names, or by its usual name.
                                 Sessions, evaluation, timing and clq_quantize then say what it computes and how long it
                                 takes. It runs on the CPU, with threads threads, without spinning. */
    clq_log_fn *log;
    clq_progress_fn *progress;
    clq_cancel_fn *cancel;
    void *user;               /* handed to the callbacks */
} clq_context_options;

/* Creates a context; options may be NULL, and a zeroed struct means the defaults.
 * CLQ_ERR_INVALID_ARGUMENT: an option is out of range. CLQ_ERR_NO_DEVICE: the device does not exist, or the runtime's library
 * cannot be used. */
CLQ_API clq_status clq_context_create(clq_context **out, const clq_context_options *options);

/* Frees everything that the context owns. NULL is allowed. Models and plans are independent of it. */
CLQ_API void clq_context_free(clq_context *ctx);

/* The text of the last failure on this context: one line that names the thing, the expected and the actual value. The
 * string is the context's and lives until the next call on it. Never NULL. */
CLQ_API const char *clq_error_message(const clq_context *ctx);

/* The thread count in use, and the name of the best kernel family in use ("amx", "avx512_vnni", "ref", ...). */
CLQ_API int clq_context_threads(const clq_context *ctx);
CLQ_API const char *clq_context_isa(const clq_context *ctx);

/* The device in use ("cpu", or an OpenCL device's name), and why a fallback to the CPU happened ("" when none did). */
CLQ_API const char *clq_context_device(const clq_context *ctx);
CLQ_API const char *clq_context_fallback(const clq_context *ctx);

/* Who runs models: "clquant", or "onnxruntime 1.32.0" and the like. And the text that opens the same library as an option. */
CLQ_API const char *clq_context_runtime(const clq_context *ctx);
CLQ_API const char *clq_context_runtime_spec(const clq_context *ctx);

/* One computing device, as `clquant devices` lists it. */
typedef struct clq_device_info {
    char id[32];        /* "cpu", "opencl:0", ...: what options.device takes */
    char name[128];
    char driver[128];
    char type[16];      /* "cpu", "gpu", "accelerator" */
    unsigned units;     /* cores or compute units */
    size_t memory_bytes;
    bool usable;        /* the exact self-test passed */
    char verdict[256];  /* "self-test passed", or why the device is refused */
    char families[1536]; /* of a tested OpenCL device: a line per kernel family, "name: variant", or "name: refused: why" */
} clq_device_info;

/* Fills up to capacity entries, the CPU first, and writes how many devices there are to *count. With self_test every
 * kernel family of every OpenCL device is compared bit for bit with the reference, which takes some seconds. */
CLQ_API clq_status clq_devices_list(clq_context *ctx, clq_device_info *out, size_t capacity, size_t *count, bool self_test);

#ifdef __cplusplus
}
#endif
#endif
