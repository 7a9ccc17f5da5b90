/* SPDX-License-Identifier: Apache-2.0
 * Verdicts on pairs of models in the profile: a search that is repeated times only what is new. */
#include "profile_keep.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "formats/onnx.h"
#include "search_journal.h"

/* A verdict is kept as entries of one signature; ratios and counts lie in the fields for times and timings. */
struct proof {
    const char *signature, *place;
    struct clq_accept_verdict *verdict;
};

static const struct clq_profile_entry *proof_entry(const struct clq_profile_use *u, const struct proof *p, const char *scheme)
{
    return clq_profile_find(&u->profile, &u->device, p->signature, p->place, scheme);
}

static bool proof_present(const struct clq_profile_use *u, void *what)
{
    static const char *const schemes[] = {"reference us", "candidate us", "speedup", "ratio low", "ratio", "ratio high"};
    const struct clq_profile_entry *e[6];
    const struct proof *p = what;
    for (int i = 0; i < 6; i++)
        if (!(e[i] = proof_entry(u, p, schemes[i]))) return false;
    struct clq_accept_verdict v = {.reference = e[0]->time_us * 1e-6, .candidate = e[1]->time_us * 1e-6, .speedup = e[2]->time_us,
                                   .lo = e[3]->time_us, .ratio = e[4]->time_us, .hi = e[5]->time_us,
                                   .pairs = (size_t)e[0]->timings, .processes = (size_t)e[1]->timings, .discarded = (size_t)e[5]->timings - 1,
                                   .enough = e[3]->timings > 1, .unsure = (size_t)e[2]->timings - 1};
    v.disturbed = v.unsure;
    int speed = e[4]->timings - 1;
    if (speed > CLQ_SPEED_SLOWER) return false;
    v.speed = (enum clq_speed)speed;
    v.speedup_lo = fmin(1 / v.hi, v.speedup);
    v.speedup_hi = fmax(1 / v.lo, v.speedup);
    *p->verdict = v;
    return true;
}

static clq_status put_proof(struct clq_profile_use *u, void *what, struct clq_error *err)
{
    const struct proof *p = what;
    const struct clq_accept_verdict *v = p->verdict;
    const struct {
        const char *scheme;
        double value;
        int n;
    } rows[] = {
        {"reference us", v->reference * 1e6, (int)v->pairs}, {"candidate us", v->candidate * 1e6, (int)v->processes},
        {"speedup", v->speedup, 1 + (int)v->unsure},                         {"ratio low", fmax(v->lo, CLQ_PROFILE_LEAST_US), 1 + v->enough},
        {"ratio", v->ratio, 1 + (int)v->speed},              {"ratio high", v->hi, 1 + (int)v->discarded},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct clq_profile_entry e = {p->signature, p->place, rows[i].scheme, rows[i].value, 0, rows[i].n};
        CLQ_TRY(clq_profile_put(&u->profile, &u->device, &e, err));
    }
    return CLQ_OK;
}

static clq_status model_hash(char out[65], const struct clq_model *m, struct clq_error *err)
{
    unsigned char *bytes;
    size_t n;
    CLQ_TRY(clq_onnx_encode(&bytes, &n, m, err));
    clq_sha256_hex(out, bytes, n);
    free(bytes);
    return CLQ_OK;
}

/* Models are known by the caller's key, otherwise by their bytes. */
static char *signature(const struct clq_proof_request *q, struct clq_error *err)
{
    char reference[65], candidate[65], *text = NULL;
    bool hashed = q->key || (model_hash(reference, q->reference, err) == CLQ_OK && model_hash(candidate, q->candidate, err) == CLQ_OK);
    int n = !hashed ? -1 : q->key ? asprintf(&text, "proof %.200s", q->key) : asprintf(&text, "proof reference %s candidate %s", reference, candidate);
    if (hashed && n < 0) clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    return n < 0 ? NULL : text;
}

static char *place(const struct clq_proof_request *q, struct clq_error *err)
{
    char *text = NULL;
    size_t bytes;
    FILE *f = open_memstream(&text, &bytes);
    if (f) fprintf(f, "%zu pairs in %d %s, inputs", q->pairs, clq_proof_rounds(q), q->worker ? "fresh processes" : "sessions");
    for (int i = 0; f && i < q->reference->graph.n_inputs; i++) {
        fprintf(f, "(");
        for (int d = 0; d < q->inputs[i].rank; d++) fprintf(f, "%s%lld", d ? "x" : "", (long long)q->inputs[i].shape[d]);
        fprintf(f, ")");
    }
    if (f && fclose(f) == 0) return text;
    clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    return NULL;
}

static clq_status prove(struct clq_accept_verdict *out, struct clq_profile_use *u, const struct clq_proof_request *q, struct proof *p, struct clq_error *err)
{
    if (!u->remeasure && proof_present(u, p)) {
        if (!q->key && !q->rounds) clq_context_log(u->ctx, "%s: taken from '%s'", q->phase, u->path);
        return CLQ_OK;
    }
    CLQ_TRY(clq_prove_speed(out, u->ctx, q, err));
    if (!isfinite(out->hi) || out->pairs == 0) return CLQ_OK; /* too little for a verdict */
    return clq_profile_keep(u, &(struct clq_profile_addition){proof_present, put_proof, p}, err);
}

clq_status clq_profile_prove(struct clq_accept_verdict *out, struct clq_profile_use *u, const struct clq_proof_request *q, struct clq_error *err)
{
    if (!u->path && !u->journal) return clq_prove_speed(out, u->ctx, q, err);
    char *models = signature(q, err), *where = models ? place(q, err) : NULL;
    struct proof p = {models, where, out};
    clq_status st = models && where ? CLQ_OK : CLQ_ERR_OUT_OF_MEMORY;
    if (st == CLQ_OK) {
        const struct clq_journal_key key = clq_journal_key_text("verdict", models, where);
        bool known = clq_journal_find_verdict(u->journal, key, out);
        if (!known) st = u->path ? prove(out, u, q, &p, err) : clq_prove_speed(out, u->ctx, q, err);
        if (!known && st == CLQ_OK) st = clq_journal_keep_verdict(u->journal, key, out, err);
    }
    free(models);
    free(where);
    return st;
}
