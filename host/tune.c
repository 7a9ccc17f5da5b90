/* SPDX-License-Identifier: Apache-2.0
 * clq_tune, and what the tuning file does to a device that is opened. */
#include "tune.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <clquant/tune.h>
#include <clquant/version.h>

#include "base/hash.h"
#include "kernel_hash.h"
#include "tune_cpu.h"
#ifdef CLQ_HAVE_OPENCL
#include "cl_tune.h"
#endif

/* Names the entry of a device. */
struct entry_key {
    char device[256], driver[512];
    struct clq_tuning_key key;
};

/* Other instructions and other numbers of threads are other devices: their entries stand side by side. */
static void key_of_cpu(struct entry_key *k, const struct clq_context *ctx)
{
    char name[128];
    clq_context_cpu_name(name, sizeof name);
    snprintf(k->device, sizeof k->device, "cpu: %s, %#x, %d threads", name, ctx->cpu, ctx->threads);
    k->driver[0] = 0;
    k->key = (struct clq_tuning_key){.device = k->device, .driver = k->driver, .kernel_hash = CLQ_KERNEL_HASH, .clquant = CLQ_VERSION,
                                     .units = ctx->threads};
}

clq_status clq_tune_apply_cpu(struct clq_context *ctx, struct clq_error *err)
{
    struct clq_tuning tuning;
    struct entry_key k;
    char reason[600];
    uint64_t hash = CLQ_FNV64_START;
    if (!ctx->tuning_path) return CLQ_OK;
    key_of_cpu(&k, ctx);
    CLQ_TRY(clq_tuning_load(&tuning, ctx->tuning_path, &k.key, reason, sizeof reason, err));
    if (reason[0]) clq_context_log(ctx, "%s", reason);
    if (!clq_tune_cpu_choose(&ctx->kernels, ctx->cpu, &tuning)) return CLQ_OK;
    for (size_t i = 0; i < tuning.n; i++) hash = clq_fnv64(hash, tuning.choice[i].variant, strlen(tuning.choice[i].variant) + 1);
    ctx->tuned = (unsigned)(hash >> 32) | 1;
    return CLQ_OK;
}

#ifdef CLQ_HAVE_OPENCL
static void key_of(struct entry_key *k, const struct clq_cl_info *d)
{
    snprintf(k->device, sizeof k->device, "%.250s", d->name);
    snprintf(k->driver, sizeof k->driver, "%s %s %s", d->platform, d->driver, d->version);
    k->key = (struct clq_tuning_key){.device = k->device, .driver = k->driver, .kernel_hash = CLQ_KERNEL_HASH, .clquant = CLQ_VERSION,
                                     .units = (int)d->compute_units};
}

clq_status clq_tune_apply(struct clq_cl_options *options, char text[CLQ_TUNE_PREFER], struct clq_context *ctx,
                          const struct clq_cl_info *device, const char *path, struct clq_error *err)
{
    struct clq_tuning tuning;
    struct entry_key k;
    char reason[600];
    size_t used = 0;
    if (!path) return CLQ_OK;
    key_of(&k, device);
    CLQ_TRY(clq_tuning_load(&tuning, path, &k.key, reason, sizeof reason, err));
    if (reason[0]) clq_context_log(ctx, "%s", reason);
    text[0] = 0;
    for (size_t i = 0; i < tuning.n && used < CLQ_TUNE_PREFER; i++) {
        const int n = snprintf(text + used, CLQ_TUNE_PREFER - used, " %s=%s", tuning.choice[i].family, tuning.choice[i].variant);
        used += n > 0 ? (size_t)n : 0;
    }
    if (tuning.n) options->prefer = text;
    if (tuning.few_rows >= 0) options->few_rows = tuning.few_rows ? tuning.few_rows : -1;
    return CLQ_OK;
}
#endif

static bool on_progress(void *user, const char *family, double fraction)
{
    char phase[64];
    snprintf(phase, sizeof phase, "tuning %s", family);
    return clq_context_progress(user, phase, fraction);
}

/* What a search has found. rows become the report's. */
struct found {
    clq_tune_row *rows;
    size_t n;
    struct clq_tuning tuning;
};

static clq_status search_cpu(struct found *out, struct clq_context *ctx, struct clq_error *err)
{
    struct clq_tune_search s = {.total = clq_tune_cpu_count(ctx), .tuning = &out->tuning, .progress = on_progress, .user = ctx};
    out->tuning = (struct clq_tuning){.few_rows = -1};
    out->rows = s.rows = calloc(s.total, sizeof *s.rows);
    if (!s.rows) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    clq_status st = clq_tune_cpu(&s, ctx, err);
    out->n = s.n;
    return st;
}

#ifdef CLQ_HAVE_OPENCL
static bool parse_index(int *index, const char *device)
{
    char *end;
    *index = 0;
    if (strcmp(device, "opencl") == 0) return true;
    if (strncmp(device, "opencl:", 7) != 0) return false;
    const long n = strtol(device + 7, &end, 10);
    *index = (int)n;
    return end != device + 7 && !*end && n >= 0 && n <= 255;
}

static clq_status find_device(struct clq_cl_info *out, int index, struct clq_error *err)
{
    struct clq_cl_info *list = NULL;
    int n = 0;
    CLQ_TRY(clq_cl_list(&list, &n, err));
    if (index < n) *out = list[index];
    free(list);
    if (index < n) return CLQ_OK;
    return clq_fail(err, CLQ_ERR_NO_DEVICE, "device 'opencl:%d' does not exist: there %s %d OpenCL device%s", index,
                    n == 1 ? "is" : "are", n, n == 1 ? "" : "s");
}

static clq_status search_opencl(struct found *out, struct clq_context *ctx, int index, struct clq_error *err)
{
    const struct clq_cl_tune_options o = {.device = {.cache_dir = ctx->cl_cache_dir, .cpu = ctx->cpu}, .progress = on_progress, .user = ctx};
    struct clq_cl_tuned tuned = {0};
    CLQ_TRY(clq_cl_tune(&tuned, index, &o, err));
    *out = (struct found){tuned.rows, tuned.n, tuned.tuning};
    return CLQ_OK;
}
#endif

static clq_status search(struct found *out, struct entry_key *k, clq_tune_report *r, struct clq_context *ctx, const char *device,
                         struct clq_error *err)
{
    if (strcmp(device, "cpu") == 0) {
        key_of_cpu(k, ctx);
        snprintf(r->id, sizeof r->id, "cpu");
        clq_context_cpu_name(r->name, sizeof r->name);
        snprintf(r->driver, sizeof r->driver, "kernels %s", clq_context_isa(ctx));
        return search_cpu(out, ctx, err);
    }
#ifdef CLQ_HAVE_OPENCL
    struct clq_cl_info info;
    int index = 0;
    if (!parse_index(&index, device)) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "device '%.60s': expected cpu, opencl or opencl:N", device);
    CLQ_TRY(find_device(&info, index, err));
    key_of(k, &info);
    snprintf(r->id, sizeof r->id, "opencl:%d", index);
    snprintf(r->name, sizeof r->name, "%.127s", info.name);
    snprintf(r->driver, sizeof r->driver, "%.255s", k->driver);
    return search_opencl(out, ctx, index, err);
#else
    return clq_fail(err, strncmp(device, "opencl", 6) == 0 ? CLQ_ERR_NO_DEVICE : CLQ_ERR_INVALID_ARGUMENT,
                    "device '%.60s': expected cpu: this clquant was built without OpenCL", device);
#endif
}

static clq_status tune(clq_tune_report *r, struct clq_context *ctx, const char *device, const char *path, struct clq_error *err)
{
    struct found found = {0};
    struct entry_key k;
    struct clq_error why = {""};
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    clq_status st = search(&found, &k, r, ctx, device, err);
    r->rows = found.rows;
    if (st != CLQ_OK) return st;
    clock_gettime(CLOCK_MONOTONIC, &end);
    r->n = found.n;
    r->few_rows = found.tuning.few_rows;
    r->seconds = (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
    if (path && clq_tuning_save(&found.tuning, path, &k.key, &why) != CLQ_OK)
        snprintf(r->note, sizeof r->note, "the result is not kept: %.200s", why.text);
    return CLQ_OK;
}

clq_status clq_tune(clq_context *ctx, const char *device, const char *path, clq_tune_report **out)
{
    if (!ctx || !device || !out) return CLQ_ERR_INVALID_ARGUMENT;
    clq_tune_report *r = calloc(1, sizeof *r);
    if (!r) return clq_fail(&ctx->error, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    clq_status st = tune(r, ctx, device, path, &ctx->error);
    if (st != CLQ_OK) clq_tune_report_free(r);
    else *out = r;
    return st;
}

void clq_tune_report_free(clq_tune_report *report)
{
    if (!report) return;
    free(report->rows);
    free(report);
}
