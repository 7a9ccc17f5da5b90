/* SPDX-License-Identifier: Apache-2.0
 * Contexts: options, kernel table, devices, callbacks. */
#include "context.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/parallel.h"
#include "base/pool.h"
#include "runtime.h"
#include "tune.h"

bool clq_context_progress(struct clq_context *ctx, const char *phase, double fraction)
{
    if (ctx->progress) ctx->progress(ctx->user, phase, fraction);
    return !(ctx->cancel && ctx->cancel(ctx->user));
}

void clq_context_log(struct clq_context *ctx, const char *format, ...)
{
    if (!ctx->log) return;
    struct clq_error line;
    char text[900];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    clq_fail(&line, CLQ_OK, "%s", text); /* one printable line */
    ctx->log(ctx->user, line.text);
}

/* "opencl", "opencl:N" or "auto"; *index -1: the first that is not the CPU. */
static bool parse_device(const char *text, bool *cl, int *index)
{
    *cl = true;
    *index = 0;
    if (!text || strcmp(text, "cpu") == 0) {
        *cl = false;
        return true;
    }
    if (strcmp(text, "auto") == 0) {
        *index = -1;
        return true;
    }
    if (strcmp(text, "opencl") == 0) return true;
    if (strncmp(text, "opencl:", 7) != 0) return false;
    char *end;
    long n = strtol(text + 7, &end, 10);
    if (end == text + 7 || *end || n < 0 || n > 255) return false;
    *index = (int)n;
    return true;
}

#ifdef CLQ_HAVE_OPENCL
static clq_status open_cl(struct clq_context *ctx, int index, struct clq_error *err)
{
    struct clq_cl_info *list = NULL;
    int n = 0;
    clq_status st = clq_cl_list(&list, &n, err);
    if (st == CLQ_OK && index < 0)
        for (int i = 0; i < n && index < 0; i++)
            if (!list[i].is_cpu) index = list[i].index;
    struct clq_cl_options o = {.cache_dir = ctx->cl_cache_dir, .cpu = ctx->cpu, .timeout_ms = ctx->device_timeout_ms};
    char prefer[CLQ_TUNE_PREFER];
    if (st == CLQ_OK && index >= 0 && index < n) st = clq_tune_apply(&o, prefer, ctx, &list[index], ctx->tuning_path, err);
    free(list);
    if (st == CLQ_OK && index < 0) return CLQ_OK; /* auto: nothing but the CPU */
    if (st == CLQ_OK && index >= n)
        st = clq_fail(err, CLQ_ERR_NO_DEVICE, "device 'opencl:%d' does not exist: there %s %d OpenCL device%s", index, n == 1 ? "is" : "are", n, n == 1 ? "" : "s");
    if (st == CLQ_OK) st = clq_cl_open(&ctx->cl, index, &o, err);
    ctx->cl_index = index;
    return st;
}
#endif

static clq_status open_device(struct clq_context *ctx, const clq_context_options *opt, struct clq_error *err)
{
    bool cl;
    int index;
    if (!parse_device(opt->device, &cl, &index))
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "device '%s': expected cpu, opencl, opencl:N or auto", opt->device);
    if (!cl) return CLQ_OK;
#ifdef CLQ_HAVE_OPENCL
    clq_status st = open_cl(ctx, index, err);
#else
    if (index < 0) return CLQ_OK; /* auto: nothing but the CPU */
    clq_status st = clq_fail(err, CLQ_ERR_NO_DEVICE, "device '%s' does not exist: this clquant was built without OpenCL", opt->device);
#endif
    if (st == CLQ_OK || opt->require_device) return st;
    snprintf(ctx->device_note, sizeof ctx->device_note, "%.200s; everything runs on the CPU", err->text);
    clq_context_log(ctx, "%s", ctx->device_note);
    return CLQ_OK;
}

static clq_status open_runtime(struct clq_context *ctx, const clq_context_options *opt, struct clq_error *err)
{
    snprintf(ctx->runtime_name, sizeof ctx->runtime_name, "clquant");
    if (!opt->runtime || strcmp(opt->runtime, "clquant") == 0) return CLQ_OK;
    if (opt->device && strcmp(opt->device, "cpu") != 0)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "runtime '%s' runs on the CPU, and device '%s' is asked for", opt->runtime, opt->device);
    CLQ_TRY(clq_runtime_open(&ctx->runtime, opt->runtime, ctx->threads, err));
    snprintf(ctx->runtime_name, sizeof ctx->runtime_name, "%.20s %.40s", ctx->runtime->name, ctx->runtime->version);
    return CLQ_OK;
}

static clq_status set_up(struct clq_context *ctx, const clq_context_options *opt)
{
    struct clq_error *err = &ctx->error;
    ctx->log = opt->log;
    ctx->progress = opt->progress;
    ctx->cancel = opt->cancel;
    ctx->user = opt->user;
    ctx->require_device = opt->require_device;
    ctx->device_timeout_ms = opt->device_timeout_ms;
    if (opt->threads < 0 || opt->threads > 1024)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "threads: expected 0 to 1024, got %d", opt->threads);
    ctx->threads = opt->threads ? opt->threads : clq_parallel_limit();
    ctx->cpu = clq_cpu_detect();
    const char *isa = opt->isa;
    if (isa) {
        unsigned limit = clq_cpu_parse(isa);
        if (limit == CLQ_CPU_UNKNOWN) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "isa '%s': expected ref, avx2, avx_vnni, avx512, avx512_vnni, amx, neon, neon_dotprod or neon_i8mm", isa);
        ctx->cpu &= limit;
    }
    clq_kernels_init(&ctx->kernels, ctx->cpu);
    if (opt->cl_cache_dir) ctx->cl_cache_dir = strdup(opt->cl_cache_dir);
    if (opt->tuning_path) ctx->tuning_path = strdup(opt->tuning_path);
    if ((opt->cl_cache_dir && !ctx->cl_cache_dir) || (opt->tuning_path && !ctx->tuning_path))
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    CLQ_TRY(clq_tune_apply_cpu(ctx, err));
    ctx->pool = clq_pool_create(ctx->threads);
    if (!ctx->pool) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    CLQ_TRY(clq_dnnl_create(&ctx->dnnl, ctx->threads, err));
    CLQ_TRY(open_runtime(ctx, opt, err));
    return open_device(ctx, opt, err);
}

clq_status clq_context_create(clq_context **out, const clq_context_options *options)
{
    static const clq_context_options defaults;
    if (!out) return CLQ_ERR_INVALID_ARGUMENT;
    struct clq_context *ctx = calloc(1, sizeof *ctx);
    if (!ctx) return CLQ_ERR_OUT_OF_MEMORY;
    clq_status st = set_up(ctx, options ? options : &defaults);
    if (st != CLQ_OK) {
        if (options && options->log) options->log(options->user, ctx->error.text);
        clq_context_free(ctx);
        return st;
    }
    *out = ctx;
    return CLQ_OK;
}

void clq_context_free(clq_context *ctx)
{
    if (!ctx) return;
#ifdef CLQ_HAVE_OPENCL
    clq_cl_close(ctx->cl);
#endif
    clq_runtime_close(ctx->runtime);
    clq_dnnl_free(ctx->dnnl);
    clq_pool_free(ctx->pool);
    free(ctx->cl_cache_dir);
    free(ctx->tuning_path);
    free(ctx);
}

const char *clq_error_message(const clq_context *ctx)
{
    return ctx ? ctx->error.text : "no context";
}

int clq_context_threads(const clq_context *ctx)
{
    return ctx->threads;
}

const char *clq_context_isa(const clq_context *ctx)
{
    return ctx->kernels.variant.conv_u8s8;
}

const char *clq_context_device(const clq_context *ctx)
{
    (void)ctx; /* used where OpenCL is built in */
#ifdef CLQ_HAVE_OPENCL
    if (ctx->cl && !ctx->cl_dead) return clq_cl_describe(ctx->cl)->name;
#endif
    return "cpu";
}

void clq_context_device_spec(char out[32], const struct clq_context *ctx)
{
    if (ctx->cl && !ctx->cl_dead) snprintf(out, 32, "opencl:%d", ctx->cl_index);
    else snprintf(out, 32, "cpu");
}

const char *clq_context_runtime(const clq_context *ctx)
{
    return ctx->runtime_name;
}

const char *clq_context_runtime_spec(const clq_context *ctx)
{
    return ctx->runtime ? ctx->runtime->spec : "clquant";
}

const char *clq_context_fallback(const clq_context *ctx)
{
    return ctx->device_note;
}

void clq_context_cpu_name(char *out, size_t room)
{
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[256];
    out[0] = 0;
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        colon[strcspn(colon, "\n")] = 0;
        snprintf(out, room, "%.120s", colon[1] ? colon + 2 : "");
        break;
    }
    if (f) fclose(f);
}

static void describe_cpu(const struct clq_context *ctx, clq_device_info *d)
{
    *d = (clq_device_info){.id = "cpu", .driver = "", .type = "cpu", .units = (unsigned)ctx->threads, .usable = true};
    snprintf(d->driver, sizeof d->driver, "kernels %s, oneDNN %s", clq_context_isa(ctx), clq_dnnl_version());
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    d->memory_bytes = pages > 0 && size > 0 ? (size_t)pages * (size_t)size : 0;
    snprintf(d->verdict, sizeof d->verdict, "the reference for all others%s", ctx->tuned ? " (tuned)" : "");
    clq_context_cpu_name(d->name, sizeof d->name);
    if (!d->name[0]) snprintf(d->name, sizeof d->name, "CPU");
}

#ifdef CLQ_HAVE_OPENCL
/* Adds "name: variant" or "name: refused: why" to the device's list of families; what does not fit is left out. */
static void add_family(clq_device_info *d, const struct clq_cl *cl, enum clq_cl_family f, clq_status st, const struct clq_error *err)
{
    const size_t at = strlen(d->families);
    const char *refused = clq_cl_refused(cl, f), *name = clq_cl_family_name(f), *newline = at ? "\n" : "";
    if (st != CLQ_OK)
        snprintf(d->families + at, sizeof d->families - at, "%s%s: refused: %.200s", newline, name, err->text);
    else
        snprintf(d->families + at, sizeof d->families - at, "%s%s: %s%s%.*s%s", newline, name, clq_cl_variant(cl, f), *refused ? " (refused " : "",
                 (int)strcspn(refused, "\n") < 120 ? (int)strcspn(refused, "\n") : 120, refused, *refused ? ")" : "");
}

/* Runs the self-test of every family and writes the verdict. */
static void judge(struct clq_context *ctx, const struct clq_cl_info *info, clq_device_info *d)
{
    struct clq_error err = {0};
    struct clq_cl *cl = NULL;
    struct clq_cl_options o = {.cache_dir = ctx->cl_cache_dir, .cpu = ctx->cpu, .timeout_ms = ctx->device_timeout_ms};
    char prefer[CLQ_TUNE_PREFER];
    int passed = 0, offered = 0;
    d->usable = false;
    clq_status st = clq_tune_apply(&o, prefer, ctx, info, ctx->tuning_path, &err);
    if (st == CLQ_OK) st = clq_cl_open(&cl, info->index, &o, &err);
    if (st != CLQ_OK) {
        snprintf(d->verdict, sizeof d->verdict, "refused: %.200s", err.text);
        return;
    }
    for (int f = 0; f < CLQ_CL_FAMILIES && !clq_cl_dead(cl); f++) {
        const enum clq_cl_family family = (enum clq_cl_family)f;
        if ((family == CLQ_CL_GEMV || family == CLQ_CL_GEMV_U4) && !clq_cl_offers(cl, family)) continue;
        st = clq_cl_ready(cl, family, &err);
        offered++;
        passed += st == CLQ_OK;
        add_family(d, cl, family, st, &err);
    }
    d->usable = passed > 0 && !clq_cl_dead(cl);
    if (clq_cl_dead(cl)) snprintf(d->verdict, sizeof d->verdict, "refused: %.200s", clq_cl_dead(cl));
    else if (passed == offered) snprintf(d->verdict, sizeof d->verdict, "self-test passed (%d families%s)", passed, o.prefer ? ", tuned" : "");
    else snprintf(d->verdict, sizeof d->verdict, "%d of %d families refused", offered - passed, offered);
    clq_cl_close(cl);
}
#endif

clq_status clq_devices_list(clq_context *ctx, clq_device_info *out, size_t capacity, size_t *count, bool self_test)
{
    if (!ctx || !count || (capacity && !out)) return CLQ_ERR_INVALID_ARGUMENT;
    size_t n = 0;
    if (capacity > 0) describe_cpu(ctx, &out[0]);
    n++;
#ifdef CLQ_HAVE_OPENCL
    struct clq_cl_info *list = NULL;
    int found = 0;
    CLQ_TRY(clq_cl_list(&list, &found, &ctx->error));
    for (int i = 0; i < found; i++, n++) {
        if (n >= capacity) continue;
        clq_device_info *d = &out[n];
        *d = (clq_device_info){.units = list[i].compute_units, .memory_bytes = (size_t)list[i].memory, .usable = true};
        snprintf(d->id, sizeof d->id, "opencl:%d", list[i].index);
        snprintf(d->name, sizeof d->name, "%.127s", list[i].name);
        snprintf(d->driver, sizeof d->driver, "%.50s %.60s", list[i].platform, list[i].driver);
        snprintf(d->type, sizeof d->type, "%.15s", list[i].type);
        snprintf(d->verdict, sizeof d->verdict, "not tested");
        if (self_test) judge(ctx, &list[i], d);
    }
    free(list);
#else
    (void)self_test;
#endif
    *count = n;
    return CLQ_OK;
}
