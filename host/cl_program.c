/* SPDX-License-Identifier: Apache-2.0
 * Programs: option strings, builds under one lock, the cache in memory and on disk, and kernel objects. */
#include "cl_internal.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/version.h>

#include "kernel_hash.h"

enum { MAX_OPTIONS = 512, MAX_LOG = 1 << 20 };

/* Compilers of several drivers are not safe to use from two threads, whatever the context: one lock per process. */
static pthread_mutex_t build_lock = PTHREAD_MUTEX_INITIALIZER;

static const struct clq_cl_source *find_source(const char *stem, const char *extension)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s", stem, extension);
    for (const struct clq_cl_source *s = clq_cl_sources; s->name; s++)
        if (strcmp(s->name, name) == 0) return s;
    return NULL;
}

static void write_options(char *out, size_t size, const struct clq_cl *cl, const struct clq_cl_variant *v)
{
    const bool divide = (cl->caps & CLQ_CL_CAP_DIVIDE) != 0;
    int copies = 1;
    if (strcmp(v->source, "statistics") == 0) /* as many private histograms as fit, see statistics.cl */
        while (copies < 8 && cl->info.local_memory >= (2u * copies << 15)) copies *= 2;
    /* Of the optional extensions, the dot product came with OpenCL C 3.0: newer compilers offer it only there. */
    const bool newer = (v->needs & CLQ_CL_CAP_DOT_KHR) && strncmp(cl->info.version, "OpenCL 3", 8) == 0;
    snprintf(out, size, "-cl-std=CL%s -DCLQ_DIVIDE=%d%s -DCLQ_COPIES=%d %s", newer ? "3.0" : "1.2", divide,
             divide ? " -cl-fp32-correctly-rounded-divide-sqrt" : "", copies, v->options);
}

/* The first line of the build log that says "error", else the first line. */
static void first_error(char *out, size_t size, cl_program program, cl_device_id device)
{
    size_t n = 0;
    out[0] = 0;
    if (clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_LOG, 0, NULL, &n) != CL_SUCCESS || n == 0 ||
        n > MAX_LOG)
        return;
    char *log = calloc(1, n + 1);
    if (log && clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_LOG, n, log, NULL) == CL_SUCCESS) {
        char *at = strstr(log, "error");
        while (at && at > log && at[-1] != '\n') at--;
        if (!at) at = log + strspn(log, "\r\n ");
        snprintf(out, size, "%.*s", (int)strcspn(at, "\r\n"), at);
    }
    free(log);
}

static struct clq_cl_key program_key(const struct clq_cl *cl, const struct clq_cl_variant *v, const char *options)
{
    const struct clq_cl_source *source = find_source(v->source, ".cl"), *common = find_source("common", ".clh"),
                               *dot = find_source("dot", ".clh");
    const char *names[] = {cl->info.platform, cl->info.name,    cl->info.vendor,
                           cl->info.driver,   cl->info.version, options};
    const unsigned cpu = clq_cpu_detect();
    struct clq_cl_key key = {{0, 0}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) clq_cl_key_add(&key, names[i], strlen(names[i]) + 1);
    clq_cl_key_add(&key, &cpu, sizeof cpu);
    clq_cl_key_add(&key, CLQ_VERSION, sizeof CLQ_VERSION);
    clq_cl_key_add(&key, common->text, common->bytes);
    clq_cl_key_add(&key, dot->text, dot->bytes);
    clq_cl_key_add(&key, source->text, source->bytes);
    return key;
}

static clq_status build(cl_program *program, struct clq_cl *cl, const char *options, struct clq_error *err)
{
    cl_int code = clBuildProgram(*program, 1, &cl->device, options, NULL, NULL);
    if (code == CL_SUCCESS) return CLQ_OK;
    char line[256];
    first_error(line, sizeof line, *program, cl->device);
    clReleaseProgram(*program);
    *program = NULL;
    return clq_fail(err, CLQ_ERR_BUILD, "%s (%d)%s%s", clq_cl_error_name(code), (int)code, line[0] ? ": " : "", line);
}

static struct clq_cl_key binary_key(struct clq_cl_key key, const unsigned char *data, size_t bytes)
{
    clq_cl_key_add(&key, data, bytes);
    return key;
}

static bool build_cached(struct clq_cl_program *p, struct clq_cl *cl, struct clq_cl_key key, const char *options)
{
    unsigned char *data = NULL;
    size_t bytes = 0;
    cl_int code = CL_SUCCESS, valid = CL_SUCCESS;
    if (!cl->cache_dir || !clq_cl_cache_load(&data, &bytes, cl->cache_dir, key)) return false;
    const unsigned char *binary = data;
    p->program = clCreateProgramWithBinary(cl->context, 1, &cl->device, &bytes, &binary, &valid, &code);
    bool ok = code == CL_SUCCESS && valid == CL_SUCCESS && build(&p->program, cl, options, NULL) == CLQ_OK;
    if (ok) p->binary = binary_key(key, data, bytes);
    free(data);
    if (!ok) {
        if (p->program) clReleaseProgram(p->program);
        p->program = NULL;
        clq_cl_cache_drop(cl->cache_dir, key);
    }
    return ok;
}

static void store(struct clq_cl_program *p, struct clq_cl *cl, struct clq_cl_key key)
{
    size_t bytes = 0;
    if (!cl->cache_dir ||
        clGetProgramInfo(p->program, CL_PROGRAM_BINARY_SIZES, sizeof bytes, &bytes, NULL) != CL_SUCCESS || !bytes)
        return;
    unsigned char *data = malloc(bytes);
    if (data && clGetProgramInfo(p->program, CL_PROGRAM_BINARIES, sizeof data, &data, NULL) == CL_SUCCESS) {
        clq_cl_cache_store(cl->cache_dir, key, data, bytes);
        p->binary = binary_key(key, data, bytes);
    }
    free(data);
}

static clq_status build_source(cl_program *out, struct clq_cl *cl, const struct clq_cl_variant *v, const char *options,
                               struct clq_error *err)
{
    const struct clq_cl_source *source = find_source(v->source, ".cl"), *common = find_source("common", ".clh"),
                               *dot = find_source("dot", ".clh");
    char line[96];
    snprintf(line, sizeof line, "\n#line 1 \"kernels/cl/%s\"\n", source->name);
    const char *text[] = {"#line 1 \"kernels/cl/common.clh\"\n", (const char *)common->text,
                          "\n#line 1 \"kernels/cl/dot.clh\"\n", (const char *)dot->text,
                          line, (const char *)source->text};
    const size_t length[] = {strlen(text[0]), common->bytes, strlen(text[2]), dot->bytes, strlen(line), source->bytes};
    cl_int code = CL_SUCCESS;
    *out = clCreateProgramWithSource(cl->context, 6, (const char **)(uintptr_t)text, length, &code);
    CLQ_TRY(clq_cl_check(cl, code, "clCreateProgramWithSource", err));
    return build(out, cl, options, err);
}

/* The program of a variant, built at most once per device: variants with the same source and options share it. */
static clq_status find_program(struct clq_cl_program **out, struct clq_cl *cl, const struct clq_cl_variant *v,
                               struct clq_error *err)
{
    for (int i = 0; i < cl->programs; i++) {
        struct clq_cl_program *p = &cl->program[i];
        if (strcmp(p->source, v->source) != 0 || strcmp(p->options, v->options) != 0) continue;
        *out = p;
        return p->program ? CLQ_OK : clq_fail(err, p->status, "%s", p->text);
    }
    if (!find_source(v->source, ".cl") || cl->programs == CLQ_CL_MAX_PROGRAMS)
        return clq_fail(err, CLQ_ERR_INTERNAL, "OpenCL: no source '%s.cl' or more than %d programs", v->source,
                        CLQ_CL_MAX_PROGRAMS);
    char options[MAX_OPTIONS];
    struct clq_error why = {""};
    write_options(options, sizeof options, cl, v);
    const struct clq_cl_key key = program_key(cl, v, options);
    struct clq_cl_program *p = &cl->program[cl->programs++];
    *p = (struct clq_cl_program){.source = v->source, .options = v->options};
    if (!build_cached(p, cl, key, options)) {
        p->status = build_source(&p->program, cl, v, options, &why);
        if (p->status == CLQ_OK) store(p, cl, key);
        snprintf(p->text, sizeof p->text, "kernels/cl/%s.cl: %.440s", v->source, why.text);
    }
    *out = p;
    return p->status == CLQ_OK ? CLQ_OK : clq_fail(err, p->status, "%s", p->text);
}

clq_status clq_cl_kernel(cl_kernel *out, struct clq_cl_key *verdict, struct clq_cl *cl, const struct clq_cl_variant *v,
                         struct clq_error *err)
{
    struct clq_cl_program *p = NULL;
    cl_int code = CL_SUCCESS;
    if (cl->dead) return clq_cl_kill(cl, err, "%s", cl->reason);
    pthread_mutex_lock(&build_lock);
    clq_status st = find_program(&p, cl, v, err);
    if (st == CLQ_OK) {
        *out = clCreateKernel(p->program, v->entry, &code);
        st = clq_cl_check(cl, code, "clCreateKernel", err);
        *verdict = p->binary;
    }
    pthread_mutex_unlock(&build_lock);
    if (st != CLQ_OK || !verdict->hash[0]) return st;
    clq_cl_key_add(verdict, v->op, strlen(v->op) + 1);
    clq_cl_key_add(verdict, v->name, strlen(v->name) + 1);
    clq_cl_key_add(verdict, CLQ_KERNEL_HASH, sizeof CLQ_KERNEL_HASH);
    return CLQ_OK;
}
