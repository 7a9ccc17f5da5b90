/* SPDX-License-Identifier: Apache-2.0
 * What the journal's records are: their keys, their values as real numbers, and the checks that a value is one. */
#include "search_journal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "eval_command.h"
#include "formats/onnx.h"
#include "plan_weights.h"

/* ---- Keys ---- */
static struct clq_journal_key start_key(const char *kind)
{
    struct clq_journal_key key;
    clq_fnv128_start(key.h);
    clq_fnv128(key.h, kind, strlen(kind) + 1);
    return key;
}

struct clq_journal_key clq_journal_key_text(const char *kind, const char *a, const char *b)
{
    struct clq_journal_key key = start_key(kind);
    clq_fnv128(key.h, a, strlen(a) + 1);
    clq_fnv128(key.h, b, strlen(b) + 1);
    return key;
}

struct clq_journal_key clq_journal_key_compare(const struct clq_search *s, const struct clq_probe *probe, const uint8_t *mode)
{
    struct clq_journal_key key = start_key("comparison");
    if (!s->journal) return key;
    const unsigned char who[2] = {probe == &s->validation, s->ctx->runtime != NULL};
    clq_fnv128(key.h, who, sizeof who);
    clq_fnv128(key.h, s->journal->state, sizeof s->journal->state);
    clq_fnv128(key.h, mode, (size_t)s->units.n_units);
    for (int t = 0; t < s->units.n_tensors; t++) {
        clq_fnv128(key.h, &s->params[t].scale, sizeof s->params[t].scale);
        clq_fnv128(key.h, &s->params[t].zero_point, sizeof s->params[t].zero_point);
    }
    return key;
}

/* What channels were scaled by; when the time for that is over decides how many there are. */
static void add_scales(uint64_t *h, const struct clq_search *s)
{
    for (int i = 0; s->scale && i < s->units.n_units; i++) {
        if (!s->scale[i].values) continue;
        clq_fnv128(h, &i, sizeof i);
        clq_fnv128(h, s->scale[i].values, s->scale[i].n * sizeof(float));
    }
}

void clq_search_journal_weights(struct clq_search *s)
{
    if (!s->journal) return;
    uint64_t *h = s->journal->state;
    clq_fnv128_start(h);
    for (int m = 2; m < s->n_modes; m++)
        for (int i = 0; s->groups[m] && i < s->units.n_units; i++) {
            const struct clq_group_weights *g = &s->groups[m][i];
            if (!g->codes) continue;
            const int at[2] = {m, i};
            clq_fnv128(h, at, sizeof at);
            clq_fnv128(h, g->codes, g->n * g->k);
            clq_fnv128(h, g->scale, g->n * g->groups * sizeof *g->scale);
            clq_fnv128(h, g->zero, g->n * g->groups);
            clq_fnv128(h, g->table, sizeof g->table);
            if (g->bias) clq_fnv128(h, g->bias, g->n * sizeof *g->bias);
        }
    add_scales(h, s);
}

/* ---- Values ---- */
static bool find_reals(struct clq_search_journal *j, struct clq_journal_key key, double *v, size_t n)
{
    return j && clq_journal_find(&j->file, key, v, n * sizeof *v);
}

/* That the file cannot be written is told once, and the search goes on without it. */
static clq_status append(struct clq_search_journal *j, struct clq_journal_key key, const void *value, size_t bytes, struct clq_error *err)
{
    struct clq_error why = {""};
    clq_status st = clq_journal_append(&j->file, key, value, bytes, &why);
    if (st == CLQ_ERR_OUT_OF_MEMORY) return clq_fail(err, st, "%s", why.text);
    if (st != CLQ_OK) clq_context_log(j->ctx, "%s", why.text);
    return CLQ_OK;
}

static bool is_count(double v)
{
    return v >= 0 && v <= 1e15 && v == floor(v);
}

/* ---- Comparisons ---- */
enum { COMPARISON = 11 };

static bool is_comparison(const double v[COMPARISON])
{
    for (int i = 5; i < COMPARISON; i++)
        if (!is_count(v[i])) return false;
    return v[0] >= 0 && v[1] >= 0 && !isnan(v[2]) && fabs(v[3]) <= 1.001 && fabs(v[4]) <= 1.001 && v[5] <= v[7] && v[6] <= v[7] && v[8] <= v[7] && v[9] <= v[7] &&
           v[10] <= v[7];
}

bool clq_journal_find_comparison(struct clq_search_journal *j, struct clq_journal_key key, struct clq_comparison *c)
{
    double v[COMPARISON];
    if (!find_reals(j, key, v, COMPARISON) || !is_comparison(v)) return false;
    *c = (struct clq_comparison){.noise = v[0], .noise_bound = v[1], .sqnr_db = v[2], .cosine = v[3], .cosine_lower = v[4], .lost = (size_t)v[5],
                                 .gained = (size_t)v[6], .samples = (size_t)v[7], .agree = (size_t)v[8], .top1 = (size_t)v[9], .top1_reference = (size_t)v[10]};
    return true;
}

clq_status clq_journal_keep_comparison(struct clq_search_journal *j, struct clq_journal_key key, const struct clq_comparison *c, struct clq_error *err)
{
    if (!j) return CLQ_OK;
    const double v[COMPARISON] = {c->noise, c->noise_bound, c->sqnr_db, c->cosine, c->cosine_lower, (double)c->lost, (double)c->gained,
                                  (double)c->samples, (double)c->agree, (double)c->top1, (double)c->top1_reference};
    return is_comparison(v) ? append(j, key, v, sizeof v, err) : CLQ_OK;
}

/* ---- Verdicts ---- */
enum { VERDICT = 15 };

static bool is_verdict(const double v[VERDICT])
{
    for (int i = 0; i < 5; i++)
        if (!is_count(v[i])) return false;
    const double positive[] = {v[5], v[7], v[8], v[11], v[12]}; /* ratio, upper bound, speed-up, both times */
    for (size_t i = 0; i < sizeof positive / sizeof *positive; i++)
        if (!(positive[i] > 0) || !isfinite(positive[i])) return false;
    return is_count(v[13]) && is_count(v[14]) && v[0] <= CLQ_SPEED_SLOWER && v[1] <= 1 && v[2] > 0 && v[6] <= v[5] && v[5] <= v[7] && v[9] <= v[8] && v[8] <= v[10] &&
           v[14] <= v[13] && v[13] <= v[2] + v[3];
}

bool clq_journal_find_verdict(struct clq_search_journal *j, struct clq_journal_key key, struct clq_accept_verdict *out)
{
    double v[VERDICT];
    if (!find_reals(j, key, v, VERDICT) || !is_verdict(v)) return false;
    *out = (struct clq_accept_verdict){.speed = (enum clq_speed)v[0], .enough = v[1] > 0, .pairs = (size_t)v[2], .discarded = (size_t)v[3],
                                       .processes = (size_t)v[4], .ratio = v[5], .lo = v[6], .hi = v[7], .speedup = v[8], .speedup_lo = v[9],
                                       .speedup_hi = v[10], .reference = v[11], .candidate = v[12], .disturbed = (size_t)v[13], .unsure = (size_t)v[14]};
    return true;
}

clq_status clq_journal_keep_verdict(struct clq_search_journal *j, struct clq_journal_key key, const struct clq_accept_verdict *x, struct clq_error *err)
{
    if (!j) return CLQ_OK;
    const double v[VERDICT] = {x->speed, x->enough, (double)x->pairs, (double)x->discarded, (double)x->processes, x->ratio, x->lo, x->hi, x->speedup,
                               x->speedup_lo, x->speedup_hi, x->reference, x->candidate, (double)x->disturbed, (double)x->unsure};
    return is_verdict(v) ? append(j, key, v, sizeof v, err) : CLQ_OK;
}

/* ---- Times ---- */

/* Every number that timing the units yields, in one order: from v where write is set, otherwise to v; how many there are. */
static size_t each_time(struct clq_search *s, double *v, bool write)
{
    size_t n = 0;
    for (int i = 0; i < s->units.n_units; i++) {
        struct clq_unit_record *r = &s->records[i];
        double timings = r->timings, *of_unit[] = {&r->f32_us, &r->int8_us, &r->device_us, &r->f32_spread, &r->int8_spread, &r->device_spread, &timings};
        for (size_t k = 0; k < sizeof of_unit / sizeof *of_unit; k++, n++) {
            if (write) *of_unit[k] = v[n];
            else if (v) v[n] = *of_unit[k];
        }
        if (write) r->timings = (int)timings;
        for (int m = 2; m < s->n_modes; m++, n += 2) {
            struct clq_mode_record *x = &s->extra[m][i];
            if (write) *x = (struct clq_mode_record){x->capable, x->noise, v[n], v[n + 1]};
            else if (v) memcpy(v + n, (double[]){x->us, x->spread}, 2 * sizeof *v);
        }
    }
    for (int d = 0; d < 2; d++)
        for (int t = 0; t < s->units.n_tensors; t++, n++) {
            if (write) s->convert_us[d][t] = v[n];
            else if (v) v[n] = s->convert_us[d][t];
        }
    if (write) s->outside_us = v[n];
    else if (v) v[n] = s->outside_us;
    return n + 1;
}

static bool in_range(const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(v[i] >= -1 && v[i] <= 1e9)) return false;
    return true;
}

/* Below zero stands what was not timed: units in modes that they do not have, and a device that is not there. */
static bool are_times(const struct clq_search *s)
{
    bool fit = s->outside_us >= 0;
    for (int i = 0; i < s->units.n_units; i++) {
        const struct clq_unit_record *r = &s->records[i];
        fit = fit && r->f32_us >= 0 && (!r->capable || r->int8_us >= 0) && (s->ctx->cl || r->device_us < 0) && r->timings > 0;
        fit = fit && r->f32_spread >= 0 && r->int8_spread >= 0 && r->device_spread >= 0;
        for (int m = 2; m < s->n_modes; m++) fit = fit && (!s->extra[m][i].capable || (s->extra[m][i].us >= 0 && s->extra[m][i].spread >= 0));
    }
    for (int d = 0; d < 2; d++)
        for (int t = 0; t < s->units.n_tensors; t++) fit = fit && s->convert_us[d][t] >= 0;
    return fit;
}

static struct clq_journal_key times_key(const struct clq_search *s)
{
    struct clq_journal_key key = start_key("times");
    for (int i = 0; i < s->units.n_units; i++) {
        clq_fnv128(key.h, &s->records[i].capable, sizeof(bool));
        for (int m = 2; m < s->n_modes; m++) clq_fnv128(key.h, &s->extra[m][i].capable, sizeof(bool));
    }
    return key;
}

bool clq_journal_find_times(struct clq_search *s)
{
    if (!s->journal) return false;
    size_t n = each_time(s, NULL, false), tensors = (size_t)s->units.n_tensors + 1;
    double *v = clq_arena_array(&s->arena, n + 1, sizeof *v), *was = clq_arena_array(&s->arena, n + 1, sizeof *was);
    bool found = v && was && find_reals(s->journal, times_key(s), v, n) && in_range(v, n);
    for (int d = 0; d < 2 && found; d++) found = (s->convert_us[d] = clq_arena_array(&s->arena, tensors, sizeof(double))) != NULL;
    if (!found) return false;
    each_time(s, was, false);
    each_time(s, v, true);
    if (are_times(s)) return true;
    each_time(s, was, true);
    return false;
}

clq_status clq_journal_keep_times(struct clq_search *s, struct clq_error *err)
{
    if (!s->journal) return CLQ_OK;
    size_t n = each_time(s, NULL, false);
    double *v = clq_arena_array(&s->arena, n + 1, sizeof *v);
    if (!v) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    each_time(s, v, false);
    return in_range(v, n) && are_times(s) ? append(s->journal, times_key(s), v, n * sizeof *v, err) : CLQ_OK;
}

/* ---- Weights ---- */

/* The value: the algorithm's name, a zero, and the text that plans hold. */
static struct clq_journal_key groups_key(const struct clq_search *s, int unit, int mode)
{
    struct clq_journal_key key = clq_journal_key_text("weights", s->units.units[unit].name, s->modes[mode].scheme.mode);
    clq_fnv128(key.h, &unit, sizeof unit);
    add_scales(key.h, s);
    return key;
}

static bool read_groups(struct clq_search *s, struct clq_arena *scratch, int unit, int mode, const char *value, size_t bytes, struct clq_group_weights *out)
{
    const size_t name = strnlen(value, bytes);
    const struct clq_unit *u = &s->units.units[unit];
    const struct clq_const *w = clq_graph_const(&s->model.graph, s->model.graph.nodes[u->node].inputs[u->weight]);
    const size_t n = (size_t)w->shape[u->weight_axis], k = (size_t)w->shape[1 - u->weight_axis];
    struct clq_group_weights g, own;
    if (name == bytes || name > 16 || !clq_search_algorithm_known(value) || strcmp(value, "auto") == 0) return false;
    if (clq_groups_start(&g, scratch, n, k, &s->modes[mode], NULL) != CLQ_OK || clq_groups_start(&own, &s->arena, n, k, &s->modes[mode], NULL) != CLQ_OK) return false;
    if (clq_plan_weights_read(&g, scratch, &s->modes[mode], value + name + 1, u->name, NULL) != CLQ_OK) return false;
    if (g.bias && !clq_unit_adds_bias(u)) return false;
    own.bias = g.bias ? clq_arena_array(&s->arena, n + 1, sizeof *own.bias) : NULL;
    g.algorithm = clq_arena_string(&s->arena, value);
    if (!g.algorithm || (g.bias && !own.bias)) return false;
    clq_groups_copy(&own, &g);
    if (g.bias) memcpy(own.bias, g.bias, n * sizeof *own.bias);
    *out = own;
    return true;
}

bool clq_journal_find_groups(struct clq_search *s, int unit, int mode, struct clq_group_weights *out)
{
    struct clq_arena scratch = {0};
    size_t bytes;
    struct clq_journal_key key = groups_key(s, unit, mode);
    if (!s->journal || !clq_journal_size(&bytes, &s->journal->file, key)) return false;
    char *value = clq_arena_alloc(&scratch, bytes + 1);
    bool found = value && clq_journal_find(&s->journal->file, key, value, bytes) && read_groups(s, &scratch, unit, mode, value, bytes, out);
    clq_arena_free(&scratch);
    return found;
}

clq_status clq_journal_keep_groups(struct clq_search *s, int unit, int mode, const struct clq_group_weights *g, struct clq_error *err)
{
    if (!s->journal || !g->algorithm) return CLQ_OK;
    struct clq_arena scratch = {0};
    const char *text = clq_plan_weights_text(&scratch, g);
    const size_t name = strlen(g->algorithm) + 1, bytes = text ? strlen(text) : 0;
    char *value = text ? clq_arena_alloc(&scratch, name + bytes + 1) : NULL;
    clq_status st = value ? CLQ_OK : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    if (st == CLQ_OK) {
        memcpy(value, g->algorithm, name);
        memcpy(value + name, text, bytes);
        st = append(s->journal, groups_key(s, unit, mode), value, name + bytes, err);
    }
    clq_arena_free(&scratch);
    return st;
}

/* ---- Scores ---- */
clq_status clq_search_score(double *out, struct clq_search *s, const char *command, double timeout_s, const struct clq_model *model, struct clq_error *err)
{
    unsigned char *bytes;
    size_t n;
    if (!s->journal) return clq_eval_command_score(out, s->ctx, command, timeout_s, model, err);
    char hash[65];
    CLQ_TRY(clq_onnx_encode(&bytes, &n, model, err));
    clq_sha256_hex(hash, bytes, n);
    free(bytes);
    const struct clq_journal_key key = clq_journal_key_text("score", command, hash);
    double score;
    if (find_reals(s->journal, key, &score, 1) && isfinite(score)) {
        *out = score;
        return CLQ_OK;
    }
    CLQ_TRY(clq_eval_command_score(out, s->ctx, command, timeout_s, model, err));
    return append(s->journal, key, out, sizeof *out, err);
}
