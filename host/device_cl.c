/* SPDX-License-Identifier: Apache-2.0
 * Opening a device, and which kernel variant serves each family: capability, then exact self-test. */
#include "device_cl.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl_internal.h"

enum { DEFAULT_TIMEOUT_MS = 10000, FEW_ROWS = 4 };

const char *clq_cl_family_name(enum clq_cl_family family)
{
    static const char *const names[CLQ_CL_FAMILIES] = {
        [CLQ_CL_QUANTIZE_U8] = "quantize_f32_u8",
        [CLQ_CL_QUANTIZE_S8] = "quantize_f32_s8",
        [CLQ_CL_DEQUANTIZE_U8] = "dequantize_u8_f32",
        [CLQ_CL_DEQUANTIZE_S8] = "dequantize_s8_f32",
        [CLQ_CL_MINMAX] = "minmax_f32",
        [CLQ_CL_HISTOGRAM] = "histogram_f32",
        [CLQ_CL_GEMM] = "gemm_u8s8",
        [CLQ_CL_GEMV] = "gemv_u8s8",
        [CLQ_CL_GEMM_U4] = "gemm_s8u4",
        [CLQ_CL_GEMV_U4] = "gemv_s8u4",
        [CLQ_CL_GEMM_U4_GROUPED] = "gemm_g8u4",
        [CLQ_CL_GEMM_U4_REAL] = "gemm_f32u4",
        [CLQ_CL_FLIP] = "flip_s8",
        [CLQ_CL_CONV] = "conv_u8s8",
        [CLQ_CL_GROUPED] = "conv_grouped_u8s8",
        [CLQ_CL_DEPTHWISE] = "conv_depthwise_u8s8",
        [CLQ_CL_ADD] = "add_u8",
        [CLQ_CL_MUL] = "mul_u8",
        [CLQ_CL_LUT] = "lut_u8",
        [CLQ_CL_MAXPOOL] = "maxpool_u8",
        [CLQ_CL_AVGPOOL] = "avgpool_u8",
    };
    return (unsigned)family < CLQ_CL_FAMILIES ? names[family] : "unknown";
}

static clq_status create(struct clq_cl *cl, cl_device_id device, struct clq_error *err)
{
    cl_int code = CL_SUCCESS;
    cl->device = device;
    CLQ_TRY(clq_cl_check(cl, clGetDeviceInfo(device, CL_DEVICE_PLATFORM, sizeof cl->platform, &cl->platform, NULL),
                         "clGetDeviceInfo", err));
    if (clGetDeviceInfo(device, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof cl->max_group, &cl->max_group, NULL) !=
            CL_SUCCESS ||
        cl->max_group == 0)
        cl->max_group = 1;
    cl_context_properties properties[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)cl->platform, 0};
    cl->context = clCreateContext(properties, 1, &device, NULL, NULL, &code);
    CLQ_TRY(clq_cl_check(cl, code, "clCreateContext", err));
    cl->queue = clCreateCommandQueue(cl->context, device, 0, &code);
    return clq_cl_check(cl, code, "clCreateCommandQueue", err);
}

static char *copy_text(const char *text, bool *ok)
{
    char *copy = text ? strdup(text) : NULL;
    if (text && !copy) *ok = false;
    return copy;
}

clq_status clq_cl_open(struct clq_cl **out, int index, const struct clq_cl_options *options, struct clq_error *err)
{
    /* Creating queues is not safe to do from two threads in every driver. */
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    cl_device_id *devices = NULL;
    int n = 0;
    bool ok = true;
    CLQ_TRY(clq_cl_devices(&devices, &n, err));
    if (index < 0 || index >= n) {
        free(devices);
        return clq_fail(err, CLQ_ERR_NO_DEVICE, "OpenCL device %d: there are %d devices", index, n);
    }
    cl_device_id device = devices[index];
    free(devices);
    struct clq_cl *cl = calloc(1, sizeof *cl);
    if (!cl) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "OpenCL device %d: out of memory", index);
    if (options) cl->options = *options;
    if (cl->options.timeout_ms == 0) cl->options.timeout_ms = DEFAULT_TIMEOUT_MS;
    cl->cache_dir = copy_text(cl->options.cache_dir, &ok);
    cl->only = copy_text(cl->options.only, &ok);
    cl->prefer = copy_text(cl->options.prefer, &ok);
    clq_cl_query_info(&cl->info, device, index);
    cl->caps = clq_cl_query_caps(&cl->info, device, &cl->options);
    cl->few_rows = cl->options.few_rows ? (size_t)(cl->options.few_rows > 0 ? cl->options.few_rows : 0) : FEW_ROWS;
    if (cl->options.skip_selftest) cl->caps |= CLQ_CL_CAP_DIVIDE;
    clq_status st = clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "OpenCL device %d: out of memory", index);
    if (ok) {
        pthread_mutex_lock(&lock);
        st = create(cl, device, err);
        pthread_mutex_unlock(&lock);
    }
    if (st != CLQ_OK) {
        clq_cl_close(cl);
        return st;
    }
    *out = cl;
    return CLQ_OK;
}

void clq_cl_close(struct clq_cl *cl)
{
    if (!cl) return;
    for (int i = 0; i < CLQ_CL_SLOTS; i++) clq_cl_release(cl, &cl->scratch[i]);
    clq_cl_release(cl, &cl->flipped);
    if (cl->queue && !cl->dead) clq_cl_finish(cl, NULL);
    if (!cl->dead) {
        for (int i = 0; i < CLQ_CL_FAMILIES; i++)
            if (cl->family[i].kernel) clReleaseKernel(cl->family[i].kernel);
        for (int i = 0; i < cl->programs; i++)
            if (cl->program[i].program) clReleaseProgram(cl->program[i].program);
        if (cl->queue) clReleaseCommandQueue(cl->queue);
        if (cl->context) clReleaseContext(cl->context);
    }
    free(cl->cache_dir);
    free(cl->only);
    free(cl->prefer);
    free(cl);
}

const struct clq_cl_info *clq_cl_describe(const struct clq_cl *cl) { return &cl->info; }

const char *clq_cl_dead(const struct clq_cl *cl) { return cl->dead ? cl->reason : NULL; }

const char *clq_cl_variant(const struct clq_cl *cl, enum clq_cl_family family)
{
    const struct clq_cl_family_state *f = &cl->family[family];
    return f->verdict == CLQ_CL_PASSED ? f->variant->name : NULL;
}

const char *clq_cl_refused(const struct clq_cl *cl, enum clq_cl_family family) { return cl->family[family].refused; }

clq_status clq_cl_begin(struct clq_cl_launch *l, struct clq_cl *cl, enum clq_cl_family family, struct clq_error *err)
{
    const struct clq_cl_family_state *f = &cl->family[family];
    *l = (struct clq_cl_launch){.cl = cl, .family = f};
    return f->kernel ? CLQ_OK : clq_cl_ready(cl, family, err);
}

/* What a verdict that is kept consists of. */
static const unsigned char passed[] = "self-test passed";

static bool passed_before(const struct clq_cl *cl, struct clq_cl_key verdict)
{
    unsigned char *data = NULL;
    size_t bytes = 0;
    if (!verdict.hash[0] || !clq_cl_cache_load(&data, &bytes, cl->cache_dir, verdict)) return false;
    const bool same = bytes == sizeof passed && memcmp(data, passed, bytes) == 0;
    free(data);
    return same;
}

/* All cases, which is then kept; one case where that is known of the very same compiled bytes on this device and driver. A
 * kernel that fails is forgotten. */
static clq_status self_test(struct clq_cl *cl, enum clq_cl_family family, struct clq_cl_key verdict, struct clq_error *err)
{
    cl->brief = passed_before(cl, verdict);
    cl->testing = true;
    const clq_status st = clq_cl_selftest(cl, family, err);
    cl->testing = false;
    if (st == CLQ_OK && !cl->brief && verdict.hash[0]) clq_cl_cache_store(cl->cache_dir, verdict, passed, sizeof passed);
    if (st != CLQ_OK && cl->brief) clq_cl_cache_drop(cl->cache_dir, verdict);
    cl->brief = false;
    return st;
}

/* Builds one variant and tests it; leaves the family with its kernel or without one. */
static clq_status try_variant(struct clq_cl *cl, enum clq_cl_family family, const struct clq_cl_variant *v,
                              struct clq_error *err)
{
    struct clq_cl_family_state *f = &cl->family[family];
    struct clq_cl_key verdict = {{0, 0}};
    CLQ_TRY(clq_cl_kernel(&f->kernel, &verdict, cl, v, err));
    f->variant = v;
    clq_status st = cl->options.skip_selftest ? CLQ_OK : self_test(cl, family, verdict, err);
    if (st == CLQ_OK) return CLQ_OK;
    if (!cl->dead) clReleaseKernel(f->kernel);
    f->kernel = NULL;
    f->variant = NULL;
    return st;
}

/* True where name is a word of the list. */
static bool listed(const char *list, const char *name)
{
    const size_t n = strlen(name);
    for (const char *at = list; (at = strstr(at, name)) != NULL; at++)
        if ((at == list || at[-1] == ' ') && (at[n] == 0 || at[n] == ' ')) return true;
    return false;
}

/* The option "only" binds the families that have a variant of one of its names; the others keep all of theirs. */
bool clq_cl_allows(const struct clq_cl *cl, const struct clq_cl_variant *v)
{
    if (!clq_cl_admits(v, cl->caps, cl->max_group, cl->info.local_memory)) return false;
    const struct clq_cl_family_state *gemm = &cl->family[CLQ_CL_GEMM];
    if (strcmp(v->op, "gemv_u8s8") == 0 && gemm->variant && v->layout != gemm->variant->layout) return false;
    if (!cl->only || listed(cl->only, v->name)) return true;
    for (size_t i = 0; i < clq_cl_variant_count; i++)
        if (strcmp(clq_cl_variants[i].op, v->op) == 0 && listed(cl->only, clq_cl_variants[i].name)) return false;
    return true;
}

bool clq_cl_offers(const struct clq_cl *cl, enum clq_cl_family family)
{
    for (size_t i = 0; i < clq_cl_variant_count; i++)
        if (strcmp(clq_cl_variants[i].op, clq_cl_family_name(family)) == 0 && clq_cl_allows(cl, &clq_cl_variants[i])) return true;
    return false;
}

/* Tries one variant; what it is refused for is kept. */
static void consider(struct clq_cl *cl, enum clq_cl_family family, const struct clq_cl_variant *v)
{
    struct clq_cl_family_state *f = &cl->family[family];
    struct clq_error why = {""};
    if (try_variant(cl, family, v, &why) == CLQ_OK) {
        f->verdict = CLQ_CL_PASSED;
        return;
    }
    size_t used = strlen(f->refused);
    snprintf(f->refused + used, sizeof f->refused - used, "%s%s: %.300s", used ? "\n" : "", v->name, why.text);
}

static bool preferred(const struct clq_cl *cl, const struct clq_cl_variant *v)
{
    char word[128];
    snprintf(word, sizeof word, "%s=%s", v->op, v->name);
    return cl->prefer && listed(cl->prefer, word);
}

/* The preferred variant first, then the order of the table. The self-test runs on the very kernel object that is used
 * afterwards. */
static clq_status make_ready(struct clq_cl *cl, enum clq_cl_family family, struct clq_error *err)
{
    struct clq_cl_family_state *f = &cl->family[family];
    const char *name = clq_cl_family_name(family);
    if (cl->dead) return clq_cl_kill(cl, err, "%s", cl->reason);
    for (int pass = 0; pass < 2 && f->verdict == CLQ_CL_UNTRIED; pass++)
        for (size_t i = 0; i < clq_cl_variant_count && f->verdict == CLQ_CL_UNTRIED && !cl->dead; i++) {
            const struct clq_cl_variant *v = &clq_cl_variants[i];
            if (strcmp(v->op, name) == 0 && clq_cl_allows(cl, v) && preferred(cl, v) == (pass == 0)) consider(cl, family, v);
        }
    if (f->verdict == CLQ_CL_PASSED) return CLQ_OK;
    f->verdict = CLQ_CL_FAILED;
    if (cl->dead) return clq_cl_kill(cl, err, "%s", cl->reason);
    if (!f->refused[0])
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "OpenCL device '%s': no variant of %s fits the device", cl->info.name,
                        name);
    return clq_fail(err, CLQ_ERR_BUILD, "OpenCL device '%s': %s refused: %.700s", cl->info.name, name, f->refused);
}

clq_status clq_cl_ready(struct clq_cl *cl, enum clq_cl_family family, struct clq_error *err)
{
    /* GEMV reads the weights that the product's variant packs. Rows may have to be flipped, and one self-test does not run
     * inside of another. */
    if (family == CLQ_CL_GEMV) CLQ_TRY(make_ready(cl, CLQ_CL_GEMM, err));
    if (family == CLQ_CL_GEMM_U4 || family == CLQ_CL_GEMV_U4) CLQ_TRY(make_ready(cl, CLQ_CL_FLIP, err));
    if (family == CLQ_CL_GEMV_U4) CLQ_TRY(make_ready(cl, CLQ_CL_GEMM_U4, err));
    return make_ready(cl, family, err);
}

void clq_cl_find_gemv(struct clq_cl *cl, enum clq_cl_family gemm, enum clq_cl_family gemv)
{
    const struct clq_cl_family_state *f = &cl->family[gemv];
    if (cl->family[gemm].verdict == CLQ_CL_PASSED && f->verdict == CLQ_CL_UNTRIED && !f->kernel && clq_cl_offers(cl, gemv))
        clq_cl_ready(cl, gemv, NULL);
}
