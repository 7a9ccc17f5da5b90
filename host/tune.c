/* SPDX-License-Identifier: Apache-2.0
 * clq_tune, and what the tuning file does to a device that is opened. */
#include "tune.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <clquant/tune.h>
#include <clquant/version.h>

#include "kernel_hash.h"
#ifdef CLQ_HAVE_OPENCL
#include "cl_tune.h"
#endif

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

#ifdef CLQ_HAVE_OPENCL

/* driver: room for its text. */
static struct clq_tuning_key key_of(const struct clq_cl_info *d, char *driver, size_t size)
{
    snprintf(driver, size, "%s %s %s", d->platform, d->driver, d->version);
    return (struct clq_tuning_key){.device = d->name, .driver = driver, .kernel_hash = CLQ_KERNEL_HASH, .clquant = CLQ_VERSION,
                                   .units = (int)d->compute_units};
}

clq_status clq_tune_apply(struct clq_cl_options *options, char text[CLQ_TUNE_PREFER], struct clq_context *ctx,
                          const struct clq_cl_info *device, const char *path, struct clq_error *err)
{
    struct clq_tuning tuning;
    char driver[512], reason[600];
    size_t used = 0;
    if (!path) return CLQ_OK;
    const struct clq_tuning_key key = key_of(device, driver, sizeof driver);
    CLQ_TRY(clq_tuning_load(&tuning, path, &key, reason, sizeof reason, err));
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

static bool on_progress(void *user, const char *family, double fraction)
{
    char phase[64];
    snprintf(phase, sizeof phase, "tuning %s", family);
    return clq_context_progress(user, phase, fraction);
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

static clq_status fill_report(clq_tune_report *r, const struct clq_cl_tuned *tuned, struct clq_error *err)
{
    r->rows = calloc(tuned->n ? tuned->n : 1, sizeof *r->rows);
    if (!r->rows) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    r->n = tuned->n;
    r->few_rows = tuned->tuning.few_rows;
    for (size_t i = 0; i < tuned->n; i++) {
        const struct clq_cl_candidate *c = &tuned->candidate[i];
        clq_tune_row *row = &r->rows[i];
        *row = (clq_tune_row){.passed = c->passed, .chosen = c->chosen, .seconds = c->seconds, .ratio = c->ratio,
                              .spread = c->spread, .pairs = c->pairs};
        snprintf(row->family, sizeof row->family, "%s", clq_cl_family_name(c->family));
        snprintf(row->variant, sizeof row->variant, "%s", c->variant);
        snprintf(row->why, sizeof row->why, "%s", c->why);
    }
    return CLQ_OK;
}

static clq_status tune(clq_tune_report *r, struct clq_context *ctx, int index, const char *path, struct clq_error *err)
{
    struct clq_cl_tune_options o = {.device = {.cache_dir = ctx->cl_cache_dir, .cpu = ctx->cpu}, .progress = on_progress, .user = ctx};
    struct clq_cl_tuned tuned = {0};
    struct clq_cl_info device;
    struct clq_error why = {""};
    struct timespec begin, end;
    char driver[512];
    clock_gettime(CLOCK_MONOTONIC, &begin);
    CLQ_TRY(find_device(&device, index, err));
    CLQ_TRY(clq_cl_tune(&tuned, index, &o, err));
    const struct clq_tuning_key key = key_of(&device, driver, sizeof driver);
    clq_status st = fill_report(r, &tuned, err);
    if (st == CLQ_OK && path && clq_tuning_save(&tuned.tuning, path, &key, &why) != CLQ_OK)
        snprintf(r->note, sizeof r->note, "the result is not kept: %.200s", why.text);
    free(tuned.candidate);
    clock_gettime(CLOCK_MONOTONIC, &end);
    r->seconds = (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
    snprintf(r->id, sizeof r->id, "opencl:%d", index);
    snprintf(r->name, sizeof r->name, "%.127s", device.name);
    snprintf(r->driver, sizeof r->driver, "%.255s", driver);
    return st;
}
#endif

clq_status clq_tune(clq_context *ctx, const char *device, const char *path, clq_tune_report **out)
{
    int index;
    if (!ctx || !device || !out) return CLQ_ERR_INVALID_ARGUMENT;
    if (!parse_index(&index, device))
        return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "device '%.60s': expected opencl or opencl:N", device);
#ifdef CLQ_HAVE_OPENCL
    clq_tune_report *r = calloc(1, sizeof *r);
    if (!r) return clq_fail(&ctx->error, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    clq_status st = tune(r, ctx, index, path, &ctx->error);
    if (st != CLQ_OK) clq_tune_report_free(r);
    else *out = r;
    return st;
#else
    (void)path;
    return clq_fail(&ctx->error, CLQ_ERR_NO_DEVICE, "this clquant was built without OpenCL");
#endif
}

void clq_tune_report_free(clq_tune_report *report)
{
    if (!report) return;
    free(report->rows);
    free(report);
}
