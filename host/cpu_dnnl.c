/* SPDX-License-Identifier: Apache-2.0
 * oneDNN's engine, stream and scratchpad, and the parts that all prepared steps are made of. The operators are in
 * cpu_dnnl_conv.c, cpu_dnnl_matmul.c and cpu_dnnl_pool.c. */
#include "cpu_dnnl.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "cpu_dnnl_step.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
/* AMD says in leaf 8000001A how wide its vector units are (bit 2: 256, bit 3: 512). Elsewhere AVX-512 is full width. */
static bool narrow_vectors(void)
{
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(0x8000001au, &a, &b, &c, &d) && (a & 4u) && !(a & 8u);
}
#else
static bool narrow_vectors(void)
{
    return false;
}
#endif

clq_status clq_dnnl_check(dnnl_status_t status, const char *what, struct clq_error *err)
{
    switch (status) {
    case dnnl_success: return CLQ_OK;
    case dnnl_out_of_memory: return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "oneDNN: %s: out of memory", what);
    case dnnl_unimplemented:
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "oneDNN: %s: no implementation for this shape", what);
    case dnnl_invalid_arguments:
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "oneDNN: %s: the shape is refused", what);
    default: return clq_fail(err, CLQ_ERR_INTERNAL, "oneDNN: %s: status %d", what, (int)status);
    }
}

int clq_dnnl_threads(const struct clq_dnnl *dnnl, double nanoseconds)
{
    return nanoseconds < CLQ_DNNL_ALONE ? 1 : dnnl->threads;
}

int clq_dnnl_enter(int threads)
{
    int saved = omp_get_max_threads();
    if (saved != threads) omp_set_num_threads(threads);
    return saved;
}

void clq_dnnl_leave(int saved)
{
    if (saved != omp_get_max_threads()) omp_set_num_threads(saved);
}

clq_status clq_dnnl_create(struct clq_dnnl **out, int threads, struct clq_error *err)
{
    enum { CACHE = 4096 };
    int capacity = 0;
    if (threads < 1) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "oneDNN: %d threads, expected 1 or more", threads);
    struct clq_dnnl *dnnl = calloc(1, sizeof *dnnl);
    if (!dnnl) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "oneDNN: out of memory");
#if defined(__SANITIZE_THREAD__)
    threads = 1; /* libgomp is not instrumented */
#endif
    dnnl->threads = threads;
    dnnl->narrow = narrow_vectors();
    clq_status st = clq_dnnl_check(dnnl_engine_create(&dnnl->engine, dnnl_cpu, 0), "CPU engine", err);
    if (st == CLQ_OK)
        st = clq_dnnl_check(dnnl_stream_create(&dnnl->stream, dnnl->engine, dnnl_stream_default_flags), "stream", err);
    if (st == CLQ_OK && dnnl_get_primitive_cache_capacity(&capacity) == dnnl_success && capacity < CACHE)
        st = clq_dnnl_check(dnnl_set_primitive_cache_capacity(CACHE), "primitive cache", err);
    if (st != CLQ_OK) {
        clq_dnnl_free(dnnl);
        return st;
    }
    *out = dnnl;
    return CLQ_OK;
}

void clq_dnnl_free(struct clq_dnnl *dnnl)
{
    if (!dnnl) return;
    if (dnnl->stream) dnnl_stream_destroy(dnnl->stream);
    if (dnnl->engine) dnnl_engine_destroy(dnnl->engine);
    free(dnnl->scratch);
    free(dnnl);
}

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

const char *clq_dnnl_version(void)
{
    return TEXT(DNNL_VERSION_MAJOR) "." TEXT(DNNL_VERSION_MINOR) "." TEXT(DNNL_VERSION_PATCH);
}

clq_status clq_dnnl_dims(const char *what, int n, const int64_t *dims, struct clq_error *err)
{
    int64_t total = 1;
    for (int i = 0; i < n; i++) {
        if (dims[i] < 1 || dims[i] > INT32_MAX || total > INT32_MAX / dims[i])
            return clq_fail(err, CLQ_ERR_UNSUPPORTED,
                            "%s: dimension %d is %lld, expected 1 or more, all at most %lld",
                            what, i, (long long)dims[i], (long long)INT32_MAX);
        total *= dims[i];
    }
    return CLQ_OK;
}

clq_status clq_dnnl_strided(dnnl_memory_desc_t *out, int n, const int64_t *dims, const int64_t *strides,
                            struct clq_error *err)
{
    dnnl_dims_t d = {0}, s = {0};
    for (int i = 0; i < n; i++) {
        d[i] = dims[i];
        if (strides) s[i] = strides[i];
    }
    return clq_dnnl_check(strides ? dnnl_memory_desc_init_by_strides(out, n, d, dnnl_f32, s)
                                  : dnnl_memory_desc_init_by_tag(out, n, d, dnnl_f32, dnnl_format_tag_any),
                          "memory descriptor", err);
}

clq_status clq_dnnl_dense(dnnl_memory_desc_t *out, int n, const int64_t *dims, struct clq_error *err)
{
    int64_t strides[DNNL_MAX_NDIMS], s = 1;
    for (int i = n - 1; i >= 0; i--) {
        strides[i] = s;
        s *= dims[i];
    }
    return clq_dnnl_strided(out, n, dims, strides, err);
}

clq_status clq_dnnl_image(dnnl_memory_desc_t *out, int64_t n, int64_t h, int64_t w, int64_t c, struct clq_error *err)
{
    return clq_dnnl_strided(out, 4, (int64_t[]){n, c, h, w}, (int64_t[]){h * w * c, 1, w * c, c}, err);
}

int clq_dnnl_act(struct clq_dnnl_eltwise out[2], enum clq_act act, float a, float b)
{
    out[0] = (struct clq_dnnl_eltwise){dnnl_eltwise_relu, 0, 0};
    switch (act) {
    case CLQ_ACT_NONE: return 0;
    case CLQ_ACT_RELU: return 1;
    /* min(max(x, a), b), also for a > b, which oneDNN would refuse */
    case CLQ_ACT_CLIP: out[0] = (struct clq_dnnl_eltwise){dnnl_eltwise_clip, a < b ? a : b, b}; return 1;
    case CLQ_ACT_LEAKY: out[0].alpha = a; return 1;
    case CLQ_ACT_HARDSWISH: out[0].alg = dnnl_eltwise_hardswish; return 1;
    case CLQ_ACT_HARDSIGMOID:
        out[0] = (struct clq_dnnl_eltwise){dnnl_eltwise_linear, a, b};
        out[1] = (struct clq_dnnl_eltwise){dnnl_eltwise_clip, 0, 1};
        return 2;
    case CLQ_ACT_SIGMOID: out[0].alg = dnnl_eltwise_logistic; return 1;
    case CLQ_ACT_TANH: out[0].alg = dnnl_eltwise_tanh; return 1;
    case CLQ_ACT_GELU: out[0].alg = dnnl_eltwise_gelu_erf; return 1;
    case CLQ_ACT_GELU_TANH: out[0].alg = dnnl_eltwise_gelu_tanh; return 1;
    case CLQ_ACT_SWISH: out[0] = (struct clq_dnnl_eltwise){dnnl_eltwise_swish, 1, 0}; return 1;
    case CLQ_ACT_ELU: out[0] = (struct clq_dnnl_eltwise){dnnl_eltwise_elu, a, 0}; return 1;
    }
    return -1;
}

static dnnl_status_t append_post_ops(dnnl_post_ops_t ops, const struct clq_dnnl_epilogue *e)
{
    struct clq_dnnl_eltwise act[2];
    int n = clq_dnnl_act(act, e->act, e->a, e->b);
    dnnl_status_t st = n < 0 ? dnnl_invalid_arguments : dnnl_success;
    /* The residual comes first: several implementations take a sum only there. */
    if (st == dnnl_success && e->form == CLQ_DNNL_SUM) st = dnnl_post_ops_append_sum(ops, 1.0f);
    if (st == dnnl_success && e->form == CLQ_DNNL_BINARY)
        st = dnnl_post_ops_append_binary(ops, dnnl_binary_add, e->y);
    if (st == dnnl_success && e->bias) st = dnnl_post_ops_append_binary(ops, dnnl_binary_add, e->bias);
    for (int i = 0; i < n && st == dnnl_success; i++)
        st = dnnl_post_ops_append_eltwise(ops, 1.0f, act[i].alg, act[i].alpha, act[i].beta);
    return st;
}

clq_status clq_dnnl_attr(dnnl_primitive_attr_t *out, const struct clq_dnnl_epilogue *e, struct clq_error *err)
{
    dnnl_post_ops_t ops = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t st = dnnl_primitive_attr_create(&attr);
    if (st == dnnl_success) st = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    /* Strict, whatever the environment says: the error bound of float32 is promised. */
    if (st == dnnl_success) st = dnnl_primitive_attr_set_fpmath_mode(attr, dnnl_fpmath_mode_strict);
    if (st == dnnl_success && e->alpha != 1.0f) st = dnnl_primitive_attr_set_output_scales(attr, 1, 0, &e->alpha);
    if (st == dnnl_success) st = dnnl_post_ops_create(&ops);
    if (st == dnnl_success) st = append_post_ops(ops, e);
    if (st == dnnl_success) st = dnnl_primitive_attr_set_post_ops(attr, ops);
    if (ops) dnnl_post_ops_destroy(ops);
    if (st != dnnl_success) {
        if (attr) dnnl_primitive_attr_destroy(attr);
        return clq_dnnl_check(st, "epilogue", err);
    }
    *out = attr;
    return CLQ_OK;
}

const char *clq_dnnl_impl(const_dnnl_primitive_desc_t pd)
{
    const char *name = NULL;
    return dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name) == dnnl_success && name ? name : "";
}

clq_status clq_dnnl_choose(dnnl_primitive_desc_t *out, struct clq_dnnl *dnnl, const_dnnl_op_desc_t op,
                           const_dnnl_primitive_attr_t attr, const char *prefer, enum clq_dnnl_refuse refuse,
                           struct clq_error *err)
{
    dnnl_primitive_desc_iterator_t it = NULL;
    dnnl_primitive_desc_t first = NULL, found = NULL;
    dnnl_status_t st = dnnl_primitive_desc_iterator_create(&it, op, attr, dnnl->engine, NULL);
    while (st == dnnl_success && !found && !(first && !prefer)) {
        dnnl_primitive_desc_t pd = dnnl_primitive_desc_iterator_fetch(it);
        if (!pd) {
            st = dnnl_out_of_memory;
            break;
        }
        const char *name = clq_dnnl_impl(pd);
        bool reference = strstr(name, "ref") != NULL, im2col = strncmp(name, "x64:gemm", 8) == 0;
        bool refused = (reference && refuse != CLQ_DNNL_TAKE_ALL) || (im2col && refuse == CLQ_DNNL_NO_IM2COL);
        if (prefer && strncmp(name, prefer, strlen(prefer)) == 0) found = pd;
        else if (!first && !refused) first = pd;
        else dnnl_primitive_desc_destroy(pd);
        if (!found) st = dnnl_primitive_desc_iterator_next(it);
    }
    if (it) dnnl_primitive_desc_iterator_destroy(it);
    if (found && first) dnnl_primitive_desc_destroy(first);
    *out = found ? found : first;
    if (*out) return CLQ_OK;
    return clq_dnnl_check(st == dnnl_out_of_memory ? st : dnnl_unimplemented, "primitive", err);
}

clq_status clq_dnnl_grow_scratch(struct clq_dnnl *dnnl, size_t bytes, struct clq_error *err)
{
    size_t rounded;
    if (bytes <= dnnl->scratch_bytes) return CLQ_OK;
    if (!clq_size_align(&rounded, bytes, 4096)) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "oneDNN: scratchpad size");
    void *fresh = aligned_alloc(4096, rounded);
    if (!fresh) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "oneDNN: scratchpad of %zu bytes", rounded);
    free(dnnl->scratch);
    dnnl->scratch = fresh;
    dnnl->scratch_bytes = rounded;
    return CLQ_OK;
}

static clq_status add_arg(struct clq_dnnl_exec *exec, int arg, dnnl_memory_t memory, enum clq_dnnl_role role,
                          struct clq_error *err)
{
    if (exec->n == CLQ_DNNL_MAX_ARGS) return clq_fail(err, CLQ_ERR_INTERNAL, "oneDNN: too many arguments");
    exec->args[exec->n] = (dnnl_exec_arg_t){arg, memory};
    exec->roles[exec->n++] = role;
    return CLQ_OK;
}

clq_status clq_dnnl_bind(struct clq_dnnl_exec *exec, struct clq_dnnl *dnnl, int arg, const dnnl_memory_desc_t *md,
                         enum clq_dnnl_role role, struct clq_error *err)
{
    dnnl_memory_t memory = NULL;
    CLQ_TRY(clq_dnnl_check(dnnl_memory_create(&memory, md, dnnl->engine, DNNL_MEMORY_NONE), "memory", err));
    clq_status st = add_arg(exec, arg, memory, role, err);
    if (st != CLQ_OK) dnnl_memory_destroy(memory);
    return st;
}

clq_status clq_dnnl_exec_create(struct clq_dnnl_step *step, struct clq_dnnl_exec *exec, struct clq_dnnl *dnnl,
                                const_dnnl_primitive_desc_t pd, struct clq_error *err)
{
    const dnnl_memory_desc_t *scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    CLQ_TRY(clq_dnnl_check(dnnl_primitive_create(&exec->primitive, pd), "primitive creation", err));
    if (!step->name[0]) snprintf(step->name, sizeof step->name, "%s", clq_dnnl_impl(pd));
    size_t bytes = scratch ? dnnl_memory_desc_get_size(scratch) : 0;
    if (bytes == 0) return CLQ_OK;
    if (bytes > step->scratch_bytes) step->scratch_bytes = bytes;
    CLQ_TRY(clq_dnnl_grow_scratch(dnnl, bytes, err));
    return clq_dnnl_bind(exec, dnnl, DNNL_ARG_SCRATCHPAD, scratch, CLQ_DNNL_SCRATCH, err);
}

static dnnl_status_t reorder(struct clq_dnnl *dnnl, dnnl_memory_t to, const dnnl_memory_desc_t *to_md,
                             const dnnl_memory_desc_t *from_md, const float *data)
{
    dnnl_memory_t from = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t primitive = NULL;
    /* The handle is not const, but a source is only read. */
    dnnl_status_t st = dnnl_memory_create(&from, from_md, dnnl->engine, (void *)(uintptr_t)data);
    if (st == dnnl_success)
        st = dnnl_reorder_primitive_desc_create(&pd, from_md, dnnl->engine, to_md, dnnl->engine, NULL);
    if (st == dnnl_success) st = dnnl_primitive_create(&primitive, pd);
    if (st == dnnl_success) {
        dnnl_exec_arg_t args[2] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
        st = dnnl_primitive_execute(primitive, dnnl->stream, 2, args);
    }
    if (st == dnnl_success) st = dnnl_stream_wait(dnnl->stream);
    if (primitive) dnnl_primitive_destroy(primitive);
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (from) dnnl_memory_destroy(from);
    return st;
}

static clq_status new_constant(struct clq_dnnl_step *step, struct clq_dnnl *dnnl, int arg,
                               const dnnl_memory_desc_t *wanted, const dnnl_memory_desc_t *plain, const float *data,
                               struct clq_error *err)
{
    size_t bytes;
    if (step->n_fixed == CLQ_DNNL_MAX_FIXED) return clq_fail(err, CLQ_ERR_INTERNAL, "oneDNN: too many constants");
    if (!clq_size_align(&bytes, dnnl_memory_desc_get_size(wanted), 64))
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "oneDNN: size of the weights");
    struct clq_dnnl_fixed *f = &step->fixed[step->n_fixed++];
    f->arg = arg;
    f->data = aligned_alloc(64, bytes ? bytes : 64);
    if (!f->data) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "oneDNN: %zu bytes of weights", bytes);
    CLQ_TRY(clq_dnnl_check(dnnl_memory_create(&f->memory, wanted, dnnl->engine, f->data), "weights", err));
    return clq_dnnl_check(reorder(dnnl, f->memory, wanted, plain, data), "reorder of the weights", err);
}

clq_status clq_dnnl_bind_constant(struct clq_dnnl_step *step, struct clq_dnnl_exec *exec, struct clq_dnnl *dnnl,
                                  int arg, const dnnl_memory_desc_t *wanted, const dnnl_memory_desc_t *plain,
                                  const float *data, struct clq_error *err)
{
    for (int i = 0; i < step->n_fixed; i++) {
        const dnnl_memory_desc_t *md = NULL;
        if (step->fixed[i].arg == arg && dnnl_memory_get_memory_desc(step->fixed[i].memory, &md) == dnnl_success &&
            dnnl_memory_desc_equal(md, wanted))
            return add_arg(exec, arg, step->fixed[i].memory, CLQ_DNNL_FIXED, err);
    }
    CLQ_TRY(new_constant(step, dnnl, arg, wanted, plain, data, err));
    return add_arg(exec, arg, step->fixed[step->n_fixed - 1].memory, CLQ_DNNL_FIXED, err);
}

clq_status clq_dnnl_step_new(struct clq_dnnl_step **out, struct clq_error *err)
{
    *out = calloc(1, sizeof **out);
    return *out ? CLQ_OK : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "oneDNN: out of memory");
}

static void exec_free(struct clq_dnnl_exec *exec)
{
    for (int i = 0; i < exec->n; i++)
        if (exec->roles[i] != CLQ_DNNL_FIXED) dnnl_memory_destroy(exec->args[i].memory);
    if (exec->primitive) dnnl_primitive_destroy(exec->primitive);
    memset(exec, 0, sizeof *exec);
}

void clq_dnnl_step_free(struct clq_dnnl_step *step)
{
    if (!step) return;
    exec_free(&step->main);
    exec_free(&step->sum);
    exec_free(&step->after);
    for (int i = 0; i < step->n_fixed; i++) {
        if (step->fixed[i].memory) dnnl_memory_destroy(step->fixed[i].memory);
        free(step->fixed[i].data);
    }
    free(step);
}

const char *clq_dnnl_step_name(const struct clq_dnnl_step *step)
{
    return step->name;
}

int clq_dnnl_step_threads(const struct clq_dnnl_step *step)
{
    return step->threads;
}

static clq_status execute(struct clq_dnnl *dnnl, struct clq_dnnl_exec *exec, float *const pointer[],
                          struct clq_error *err)
{
    for (int i = 0; i < exec->n; i++) {
        if (exec->roles[i] == CLQ_DNNL_FIXED) continue;
        void *p = exec->roles[i] == CLQ_DNNL_SCRATCH ? dnnl->scratch : pointer[exec->roles[i]];
        CLQ_TRY(clq_dnnl_check(dnnl_memory_set_data_handle(exec->args[i].memory, p), "argument", err));
    }
    return clq_dnnl_check(dnnl_primitive_execute(exec->primitive, dnnl->stream, exec->n, exec->args), "execution", err);
}

clq_status clq_dnnl_run(struct clq_dnnl *dnnl, struct clq_dnnl_step *step, const float *a, const float *b,
                        const float *residual, float *y, struct clq_error *err)
{
    /* Handles are not const; of these only y is written. */
    float *pointer[] = {NULL, (float *)(uintptr_t)a, (float *)(uintptr_t)b, (float *)(uintptr_t)residual, y};
    if (!a || !y || (b != NULL) != step->two_inputs || (residual != NULL) != step->residual)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "oneDNN: the step takes %d inputs and %s residual",
                        step->two_inputs ? 2 : 1, step->residual ? "a" : "no");
    bool in_y = step->residual && (residual == y || !step->main.primitive);
    if (in_y && residual != y) memcpy(y, residual, step->y_bytes);
    int saved = clq_dnnl_enter(step->threads);
    if (step->shuffle.rows) pointer[CLQ_DNNL_Y] = (float *)((char *)dnnl->scratch + step->shuffle.temp_at);
    clq_status st = execute(dnnl, in_y ? &step->sum : &step->main, pointer, err);
    pointer[CLQ_DNNL_Y] = y;
    if (st == CLQ_OK && step->shuffle.rows) clq_dnnl_shuffle(dnnl, &step->shuffle, y);
    if (st == CLQ_OK && step->after.primitive) st = execute(dnnl, &step->after, pointer, err);
    if (st == CLQ_OK) st = clq_dnnl_check(dnnl_stream_wait(dnnl->stream), "wait", err);
    clq_dnnl_leave(saved);
    if (st == CLQ_OK && step->log_n > 0) clq_dnnl_log_after(step, a, y);
    return st;
}
