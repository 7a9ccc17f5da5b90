/* SPDX-License-Identifier: Apache-2.0
 * The modes beside f32 and int8: which units they can compute, and their weights in groups by the algorithm asked for
 * (algo/README.md). auto keeps, per product, what has the least error at the product's output. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "algo/descent.h"
#include "algo/gptq.h"
#include "base/hash.h"
#include "plan_weights.h"
#include "search_journal.h"

/* How codes are found; from what it gains on most layers down. */
static const struct algorithm {
    const char *name;
    enum clq_group_fit fit;
    bool weighted; /* scales by the inputs' second moments */
    bool planes;   /* codes by nearest planes */
    bool learned;  /* codes and scales by descent from there */
} algorithms[] = {
    {"adaround", CLQ_FIT_MSE, true, true, true}, {"gptq", CLQ_FIT_MSE, true, true, false}, {"weighted", CLQ_FIT_MSE, true, false, false},
    {"hqq", CLQ_FIT_HQQ, false, false, false},   {"mse", CLQ_FIT_MSE, false, false, false}, {"minmax", CLQ_FIT_RANGE, false, false, false},
};
enum { ALGORITHMS = sizeof algorithms / sizeof *algorithms };

static const struct algorithm *find_algorithm(const char *name)
{
    for (int i = 0; i < ALGORITHMS; i++)
        if (strcmp(algorithms[i].name, name) == 0) return &algorithms[i];
    return NULL;
}

bool clq_search_algorithm_known(const char *name)
{
    return strcmp(name, "auto") == 0 || find_algorithm(name);
}

bool clq_search_has_choice(const struct clq_search *s, int i)
{
    bool any = s->records[i].capable;
    for (int m = 2; m < s->n_modes; m++) any = any || s->extra[m][i].capable;
    return any;
}

static bool in_groups(const struct clq_mode *mode)
{
    return mode->run != CLQ_RUN_FLOAT && mode->run != CLQ_RUN_CODES && mode->scheme.weight_bits < 8;
}

bool clq_search_wants_moments(const struct clq_search *s)
{
    bool groups = false;
    for (int m = 2; m < s->n_modes; m++) groups = groups || in_groups(&s->modes[m]);
    const struct algorithm *a = find_algorithm(s->algorithm);
    return groups && (!a || a->weighted);
}

/* Whether a mode has a form for a unit. Tables of 4 bits lie in pairs of bytes, and in whole groups. */
static bool has_form(const struct clq_search *s, const struct clq_mode *mode, const struct clq_unit *u)
{
    if (u->kind == CLQ_UNIT_PRODUCT) return !u->spatial || (!mode->products_only && strcmp(u->op_type, "Conv") == 0);
    if (u->kind != CLQ_UNIT_STORED) return false;
    if (mode->run == CLQ_RUN_STORED && mode->scheme.weight_bits == 8) return mode->scheme.act_bits == 32;
    const struct clq_const *w = clq_graph_const(&s->model.graph, s->model.graph.nodes[u->node].inputs[u->weight]);
    int64_t group = mode->scheme.weight_group > 0 ? mode->scheme.weight_group : w->shape[w->rank - 1];
    return mode->run == CLQ_RUN_ROWS4 && u->recurrent < 0 && s->units.tensors[u->out].rank < CLQ_MAX_RANK && w->shape[1] % 2 == 0 && w->shape[1] % group == 0;
}

clq_status clq_search_modes(struct clq_search *s, struct clq_error *err)
{
    for (int m = 2; m < s->n_modes; m++) {
        s->extra[m] = clq_arena_array(&s->arena, (size_t)s->units.n_units + 1, sizeof *s->extra[m]);
        if (!s->extra[m]) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
        for (int i = 0; i < s->units.n_units; i++) {
            bool form = has_form(s, &s->modes[m], &s->units.units[i]);
            s->extra[m][i] = (struct clq_mode_record){.capable = form && !s->records[i].fixed && !s->records[i].rule, .noise = -1, .us = -1};
        }
    }
    return CLQ_OK;
}

/* The weight as [outputs][inputs]. */
static float *by_output(const struct clq_const *w, int axis, size_t *n, size_t *k)
{
    *n = (size_t)w->shape[axis];
    *k = (size_t)w->shape[1 - axis];
    float *out = malloc(w->bytes + sizeof(float));
    const float *x = w->data;
    for (size_t r = 0; out && r < *n; r++)
        for (size_t c = 0; c < *k; c++) out[r * *k + c] = axis == 0 ? x[r * *k + c] : x[c * *n + r];
    return out;
}

static clq_status check_finite(const struct clq_const *w, struct clq_error *err)
{
    const float *x = w->data;
    for (size_t i = 0; i < w->bytes / sizeof(float); i++)
        if (!isfinite(x[i])) return clq_fail(err, CLQ_ERR_NUMERIC, "weight '%s': element %zu is not finite", w->name, i);
    return CLQ_OK;
}

/* One try of an algorithm; keeps it when its error is the least. */
static clq_status attempt(struct clq_group_weights *best, double *least, struct clq_search *s, struct clq_group_job *job, const struct algorithm *a,
                          const float *second, struct clq_error *err)
{
    struct clq_arena scratch = {0};
    struct clq_group_weights g;
    double *importance = second && a->weighted ? clq_arena_array(&scratch, job->k + 1, sizeof *importance) : NULL, e = 0;
    bool rounds = second && job->mode->kind != CLQ_WEIGHT_BINARY && !job->rounding.stochastic;
    clq_status st = clq_groups_start(&g, &scratch, job->n, job->k, job->mode, err);
    for (size_t i = 0; importance && i < job->k; i++) importance[i] = (double)second[i * job->k + i] + 1e-30;
    g.algorithm = a->name;
    job->fit = a->fit;
    job->importance = importance;
    if (st == CLQ_OK) st = clq_groups_quantize(&g, job, err);
    if (st == CLQ_OK && a->planes && rounds) st = clq_gptq_round(&g, job, second, s->ctx->pool, s->ctx->threads, err);
    if (st == CLQ_OK && a->learned && rounds) st = clq_descend(&g, job, second, s->ctx->pool, s->ctx->threads, err);
    if (st == CLQ_OK && second) st = clq_moments_error(&e, &g, job->weight, second, s->ctx->pool, s->ctx->threads, err);
    if (st == CLQ_OK && !(e >= *least)) {
        *least = e;
        clq_groups_copy(best, &g);
    }
    job->importance = NULL;
    clq_arena_free(&scratch);
    return st;
}

bool clq_search_takes_bias(const struct clq_search *s, const struct clq_unit *u)
{
    return s->bias_correction && clq_unit_adds_bias(u);
}

static clq_status correct_bias(struct clq_group_weights *g, struct clq_search *s, const float *weight, const struct clq_moments *m, struct clq_error *err)
{
    g->bias = clq_arena_array(&s->arena, g->n + 1, sizeof *g->bias);
    if (!g->bias) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    for (size_t r = 0; r < g->n; r++) {
        double e = 0;
        for (size_t c = 0; c < g->k; c++) e += ((double)weight[r * g->k + c] - (double)clq_groups_value(g, r, c)) * (m->sum[c] / (double)m->rows);
        g->bias[r] = (float)e;
    }
    return CLQ_OK;
}

clq_status clq_search_groups_find(struct clq_group_weights *out, struct clq_search *s, struct clq_group_job *job, const float *second, struct clq_error *err)
{
    const struct algorithm *one = find_algorithm(s->algorithm);
    double least = INFINITY;
    if (!one && !second) one = find_algorithm("mse"); /* nothing says which is better */
    if (one) return attempt(out, &least, s, job, one, second, err);
    for (int a = 0; a < ALGORITHMS; a++) {
        bool late = clq_now() > s->algorithm_deadline;
        if (late && a > 0) break;
        CLQ_TRY(attempt(out, &least, s, job, late ? find_algorithm("weighted") : &algorithms[a], second, err));
    }
    return CLQ_OK;
}

static clq_status quantize_unit(struct clq_group_weights *out, struct clq_search *s, int i, int mode, struct clq_error *err)
{
    const struct clq_unit *u = &s->units.units[i];
    const struct clq_const *w = clq_graph_const(&s->model.graph, s->model.graph.nodes[u->node].inputs[u->weight]);
    struct clq_group_job job = {.mode = &s->modes[mode], .rounding = s->rounding};
    CLQ_TRY(check_finite(w, err));
    float *weight = by_output(w, u->weight_axis, &job.n, &job.k), *second = NULL;
    const struct clq_moments *m = u->n_in > 0 ? &s->tensors[u->in[0]].moments : NULL;
    bool known = m && m->k == job.k && m->rows > 0, centered = known && clq_search_takes_bias(s, u);
    if (centered) second = malloc(job.k * job.k * sizeof *second);
    clq_status st = weight && (second || !centered) ? CLQ_OK : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    if (st == CLQ_OK && centered) clq_moments_center(second, m);
    job.weight = weight;
    job.rounding.tensor = clq_fnv64(CLQ_FNV64_START, w->name, strlen(w->name));
    if (st == CLQ_OK) st = clq_groups_start(out, &s->arena, job.n, job.k, job.mode, err);
    if (st == CLQ_OK) st = clq_search_groups_find(out, s, &job, centered ? second : known ? m->second : NULL, err);
    if (st == CLQ_OK && centered) st = correct_bias(out, s, weight, m, err);
    free(second);
    free(weight);
    return st;
}

/* The same by way of the journal: some algorithms take minutes, and some stop when their time is over. */
static clq_status find_unit(struct clq_group_weights *out, struct clq_search *s, int i, int mode, struct clq_error *err)
{
    if (clq_journal_find_groups(s, i, mode, out)) return CLQ_OK;
    CLQ_TRY(quantize_unit(out, s, i, mode, err));
    return clq_journal_keep_groups(s, i, mode, out, err);
}

static clq_status start_lists(struct clq_search *s, struct clq_error *err)
{
    for (int m = 2; m < s->n_modes; m++) {
        if (!in_groups(&s->modes[m])) continue;
        s->groups[m] = clq_arena_array(&s->arena, (size_t)s->units.n_units + 1, sizeof *s->groups[m]);
        if (!s->groups[m]) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    }
    return CLQ_OK;
}

clq_status clq_search_groups(struct clq_search *s, struct clq_error *err)
{
    const int n = s->units.n_units;
    int modes = 0, done = 0;
    CLQ_TRY(start_lists(s, err));
    for (int m = 2; m < s->n_modes; m++) modes += s->groups[m] != NULL;
    for (int m = 2; m < s->n_modes; m++) {
        if (!s->groups[m]) continue;
        for (int i = 0; i < n; i++) {
            if (!clq_context_progress(s->ctx, "quantizing weights", (double)(done * n + i) / (double)(modes * n)))
                return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
            if (s->extra[m][i].capable) CLQ_TRY(find_unit(&s->groups[m][i], s, i, m, err));
        }
        done++;
    }
    if (clq_now() > s->algorithm_deadline && strcmp(s->algorithm, "auto") == 0)
        clq_context_log(s->ctx, "the time for weights is over: some layers have them from a quick algorithm");
    return CLQ_OK;
}

/* ---- Replay ---- */
bool clq_search_found_by_data(const struct clq_search *s, const struct clq_group_weights *g)
{
    bool plain = g->algorithm && (strcmp(g->algorithm, "minmax") == 0 || strcmp(g->algorithm, "mse") == 0);
    return g->codes && (!plain || s->rounding.stochastic || g->bias);
}

clq_status clq_search_groups_replay(struct clq_search *s, int i, int mode, const struct clq_plan_layer *l, struct clq_error *err)
{
    const struct clq_scheme *scheme = &l->candidates[l->choice].scheme;
    const struct clq_unit *u = &s->units.units[i];
    const struct clq_const *w = clq_graph_const(&s->model.graph, s->model.graph.nodes[u->node].inputs[u->weight]);
    size_t n = (size_t)w->shape[u->weight_axis], k = (size_t)w->shape[1 - u->weight_axis];
    bool random = scheme->rounding == CLQ_ROUND_STOCHASTIC, plain = strcmp(scheme->algorithm, "minmax") == 0 || strcmp(scheme->algorithm, "mse") == 0;
    if (!s->groups[mode]) CLQ_TRY(start_lists(s, err));
    struct clq_group_weights *g = &s->groups[mode][i];
    s->rounding = (struct clq_weight_rounding){.stochastic = random};
    s->algorithm = clq_arena_string(&s->arena, scheme->algorithm);
    if (!s->algorithm) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    if (l->weights && *l->weights) {
        CLQ_TRY(clq_groups_start(g, &s->arena, n, k, &s->modes[mode], err));
        g->algorithm = s->algorithm;
        CLQ_TRY(clq_plan_weights_read(g, &s->arena, &s->modes[mode], l->weights, l->name, err));
        if (g->bias && !clq_unit_adds_bias(u))
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "layer '%s': weights: they have a bias, and the layer has none to add it to", l->name);
        return CLQ_OK;
    }
    if (!plain || random)
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "layer '%s': the plan holds no weights for it, and those of algorithm '%s'%s need the calibration data", l->name,
                        scheme->algorithm, random ? " with stochastic rounding" : "");
    return quantize_unit(g, s, i, mode, err);
}
