/* SPDX-License-Identifier: Apache-2.0
 * Profiles for readers outside the library: views of the scheduler's data. */
#include <clquant/profile.h>

#include <stdlib.h>

#include "base/file.h"
#include "context.h"
#include "scheduler/profile.h"

struct clq_profile_file {
    struct clq_profile data;
};

clq_status clq_profile_open(clq_profile_file **out, clq_context *ctx, const char *path)
{
    struct clq_blob blob;
    if (!out || !ctx || !path) return CLQ_ERR_INVALID_ARGUMENT;
    CLQ_TRY(clq_file_read(&blob, path, CLQ_PROFILE_MAX_BYTES, &ctx->error));
    clq_profile_file *f = calloc(1, sizeof *f);
    clq_status st = f ? clq_profile_parse(&f->data, (const char *)blob.data, blob.bytes, path, &ctx->error)
                      : clq_fail(&ctx->error, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    free(blob.data);
    if (st == CLQ_OK) *out = f;
    else free(f);
    return st;
}

void clq_profile_close(clq_profile_file *f)
{
    if (f) clq_profile_release(&f->data);
    free(f);
}

clq_status clq_profile_write(const clq_profile_file *f, clq_context *ctx, const char *path, bool force)
{
    char *text;
    size_t n;
    if (!f || !ctx || !path) return CLQ_ERR_INVALID_ARGUMENT;
    CLQ_TRY(clq_profile_text(&text, &n, &f->data, &ctx->error));
    clq_status st = clq_file_write(path, text, n, &(struct clq_writer_options){.force = force}, &ctx->error);
    free(text);
    return st;
}

clq_status clq_profile_environment_get(clq_profile_environment_info *out, const clq_profile_file *f, size_t index)
{
    if (!out || !f || index >= f->data.n_environments) return CLQ_ERR_INVALID_ARGUMENT;
    const struct clq_profile_environment *e = &f->data.environments[index];
    const struct clq_profile_key *k = &e->key;
    *out = (clq_profile_environment_info){k->device, k->driver, k->isa, k->clquant, k->onednn, k->kernel_hash, k->threads, e->n_entries};
    return CLQ_OK;
}

clq_status clq_profile_entry_get(clq_profile_entry_info *out, const clq_profile_file *f, size_t environment, size_t index)
{
    if (!out || !f || environment >= f->data.n_environments || index >= f->data.environments[environment].n_entries) return CLQ_ERR_INVALID_ARGUMENT;
    const struct clq_profile_entry *e = &f->data.environments[environment].entries[index];
    *out = (clq_profile_entry_info){e->signature, e->place, e->scheme, e->time_us, e->spread_us, e->timings};
    return CLQ_OK;
}

bool clq_profile_same_work(double *us, const clq_profile_file *f, size_t environment, const clq_profile_entry_info *w)
{
    if (!us || !f || !w || environment >= f->data.n_environments) return false;
    const struct clq_profile_entry *e = clq_profile_find(&f->data, &f->data.environments[environment].key, w->signature, w->place, w->scheme);
    if (e) *us = e->time_us;
    return e != NULL;
}

clq_status clq_profile_join(clq_profile_joined *out, clq_context *ctx, clq_profile_file *into, const clq_profile_file *from)
{
    struct clq_profile_merged m;
    if (!out || !ctx || !into || !from) return CLQ_ERR_INVALID_ARGUMENT;
    CLQ_TRY(clq_profile_merge(&m, &into->data, &from->data, &ctx->error));
    *out = (clq_profile_joined){m.added, m.replaced, m.kept};
    return CLQ_OK;
}
