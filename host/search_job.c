/* SPDX-License-Identifier: Apache-2.0
 * What a search's journal is known by: the model, the samples, the options, the device and this version. */
#include <stdio.h>
#include <string.h>

#include <clquant/version.h>

#include "base/hash.h"
#include "profile_use.h"
#include "result.h"
#include "search_journal.h"

enum { MODEL, DATA, OPTIONS, DEVICE, VERSION };

static void add_text(struct clq_sha256 *sha, const char *text)
{
    const unsigned char known = text != NULL;
    clq_sha256_add(sha, &known, 1);
    if (text) clq_sha256_add(sha, text, strlen(text) + 1);
}

static void add_bytes(struct clq_sha256 *sha, const void *data, size_t bytes)
{
    const uint64_t h[2] = {bytes, clq_fnv64(CLQ_FNV64_START, data, bytes)};
    clq_sha256_add(sha, h, sizeof h);
}

/* The file, and what lies outside of it: as the search sees it. */
static clq_status add_model(struct clq_sha256 *sha, const struct clq_search *s, const struct clq_model *source, struct clq_error *err)
{
    char hash[65];
    const struct clq_graph *g = &s->model.graph;
    CLQ_TRY(clq_plan_model_hash(hash, source, err));
    add_text(sha, hash);
    for (int i = 0; source->n_external && i < g->n_consts; i++) add_bytes(sha, g->consts[i].data, g->consts[i].bytes);
    return CLQ_OK;
}

/* Of noise, which a seed makes, the first one says it all. */
static clq_status add_samples(struct clq_sha256 *sha, struct clq_search *s, const struct clq_source *source, const clq_data *data, struct clq_error *err)
{
    const size_t most = clq_data_is_synthetic(data) && source->count > 0 ? 1 : source->count;
    int n = s->model.graph.n_inputs;
    clq_tensor *in = clq_arena_array(&s->arena, (size_t)n + 1, sizeof *in);
    if (!in) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    clq_sha256_add(sha, &source->count, sizeof source->count);
    for (size_t i = 0; i < most; i++) {
        if (!clq_context_progress(s->ctx, "reading samples", (double)i / (double)most)) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
        CLQ_TRY(source->get(source->state, i, in, err));
        for (int k = 0; k < n; k++) {
            size_t bytes = 0;
            CLQ_TRY(clq_tensor_bytes(&bytes, &in[k]));
            clq_sha256_add(sha, in[k].shape, (size_t)in[k].rank * sizeof *in[k].shape);
            add_bytes(sha, in[k].data, bytes);
        }
    }
    return CLQ_OK;
}

static void add_options(struct clq_sha256 *sha, const clq_quantize_options *o)
{
    const char *const texts[] = {o->objective, o->eval_command, o->pick, o->target, o->calibrator, o->uniform, o->candidates, o->algorithm, o->scaling,
                                 o->other_profile, o->other_device};
    const double reals[] = {o->min_sqnr_db, o->min_cosine, o->max_drop, o->max_latency_ms, o->min_speedup, o->max_bytes, o->target_bits, o->max_memory_bytes,
                            o->algorithm_seconds};
    const uint64_t wholes[] = {o->n_layer_rules, o->n_frontier_db, o->rounding_seed, o->seed, o->tuning_samples, o->timing_pairs, o->int4_matmulnbits,
                               o->stochastic, o->no_bias_correction, o->no_weight_clipping, o->worker != NULL};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) add_text(sha, texts[i]);
    clq_sha256_add(sha, reals, sizeof reals);
    clq_sha256_add(sha, wholes, sizeof wholes);
    for (size_t i = 0; i < o->n_layer_rules; i++) add_text(sha, o->layer_rules[i]);
    if (o->n_frontier_db) clq_sha256_add(sha, o->frontier_db, o->n_frontier_db * sizeof *o->frontier_db);
}

static void add_device(struct clq_sha256 *sha, const struct clq_profile_key *k)
{
    add_text(sha, k->device);
    add_text(sha, k->driver);
    add_text(sha, k->isa);
    add_text(sha, k->onednn);
    clq_sha256_add(sha, &k->threads, sizeof k->threads);
}

static clq_status describe(struct clq_journal_job *job, struct clq_search *s, const struct clq_model *source, const clq_data *data, const clq_quantize_options *o,
                           struct clq_error *err)
{
    struct clq_sha256 sha[CLQ_JOURNAL_PARTS];
    const struct clq_profile_use *p = s->profile;
    for (int k = 0; k < CLQ_JOURNAL_PARTS; k++) clq_sha256_start(&sha[k]);
    CLQ_TRY(add_model(&sha[MODEL], s, source, err));
    CLQ_TRY(add_samples(&sha[DATA], s, &s->calibration, data, err));
    CLQ_TRY(add_samples(&sha[DATA], s, &s->validation.source, o->validation ? o->validation : data, err));
    if (s->validation.labels) add_bytes(&sha[DATA], s->validation.labels, s->validation.n_labels * sizeof *s->validation.labels);
    add_options(&sha[OPTIONS], o);
    add_device(&sha[DEVICE], &p->cpu);
    add_device(&sha[DEVICE], &p->device);
    add_text(&sha[VERSION], p->cpu.clquant);
    add_text(&sha[VERSION], p->cpu.kernel_hash);
    add_text(&sha[VERSION], CLQ_VERSION);
    *job = (struct clq_journal_job){.name = {"model", "data set", "set of options", "device", "version of clquant"}};
    for (int k = 0; k < CLQ_JOURNAL_PARTS; k++) clq_sha256_finish(&sha[k], job->digest[k]);
    return CLQ_OK;
}

static void tell(struct clq_search_journal *j, const char *reason)
{
    const char *path = j->file.path;
    char cut[80] = "";
    if (*reason) clq_context_log(j->ctx, "%s: everything is measured anew", reason);
    if (j->file.cut) snprintf(cut, sizeof cut, "; its last %llu bytes are torn or damaged and left out", (unsigned long long)j->file.cut);
    if (j->file.found || j->file.cut) clq_context_log(j->ctx, "continues from '%s': %zu measurements of a run that was stopped%s", path, j->file.found, cut);
}

clq_status clq_search_journal_start(struct clq_search *s, const struct clq_model *source, const clq_data *data, const clq_quantize_options *o,
                                    struct clq_error *err)
{
    struct clq_journal_job job;
    struct clq_error why = {""};
    char reason[600];
    if (!o->journal_path || o->plan_path) return CLQ_OK;
    struct clq_search_journal *j = clq_arena_alloc(&s->arena, sizeof *j);
    if (!j) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    *j = (struct clq_search_journal){.file = {.fd = -1}, .ctx = s->ctx};
    CLQ_TRY(describe(&job, s, source, data, o, err));
    clq_status st = clq_journal_open(&j->file, o->journal_path, &job, o->resume, reason, sizeof reason, &why);
    if (st == CLQ_ERR_IO && !o->resume) {
        clq_context_log(s->ctx, "nothing is kept for a later run: %s", why.text);
        return CLQ_OK;
    }
    if (st != CLQ_OK) return clq_fail(err, st, "%s", why.text);
    s->journal = s->profile->journal = j;
    tell(j, reason);
    return CLQ_OK;
}

void clq_search_journal_end(struct clq_search_journal *j)
{
    if (j && j->file.n == 0) clq_journal_remove(&j->file); /* nothing to go on from */
    else if (j) clq_journal_close(&j->file);
}
