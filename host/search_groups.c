/* SPDX-License-Identifier: Apache-2.0
 * The modes beside f32 and int8: which units they can compute, and their weights in groups by the algorithm asked for:
 *
 *   minmax   the largest magnitude, or the range
 *   mse      the scale of least squared error
 *   hqq      half-quadratic
 *   gptq     the scales of mse, weighted by the inputs' second moments, and nearest-plane rounding on them
 *   auto     per product whichever of these has the least error at the product's output */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "algo/gptq.h"
#include "base/hash.h"
#include "search.h"

static const char *const algorithms[] = {"auto", "minmax", "mse", "hqq", "gptq"};

bool clq_search_algorithm_known(const char *name)
{
    for (size_t i = 0; i < sizeof algorithms / sizeof *algorithms; i++)
        if (strcmp(algorithms[i], name) == 0) return true;
    return false;
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
    return groups && (strcmp(s->algorithm, "gptq") == 0 || strcmp(s->algorithm, "auto") == 0);
}

/* Whether a mode has a form for a unit. Tables of 4 bits lie in pairs of bytes, and in whole groups. */
static bool has_form(const struct clq_search *s, const struct clq_mode *mode, const struct clq_unit *u)
{
    if (u->kind == CLQ_UNIT_PRODUCT) return !mode->products_only || strcmp(u->op_type, "Conv") != 0;
    if (u->kind != CLQ_UNIT_STORED) return false;
    if (mode->run == CLQ_RUN_STORED && mode->scheme.weight_bits == 8) return mode->scheme.act_bits == 32;
    const struct clq_const *w = clq_graph_const(&s->model.graph, s->model.graph.nodes[u->node].inputs[u->weight]);
    int64_t group = mode->scheme.weight_group > 0 ? mode->scheme.weight_group : w->shape[w->rank - 1];
    return mode->run == CLQ_RUN_ROWS4 && u->recurrent < 0 && w->shape[1] % 2 == 0 && w->shape[1] % group == 0;
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
static clq_status attempt(struct clq_group_weights *best, double *least, struct clq_search *s, struct clq_group_job *job, const char *name,
                          const float *moments, struct clq_error *err)
{
    struct clq_group_weights g;
    double *importance = NULL;
    bool gptq = strcmp(name, "gptq") == 0;
    CLQ_TRY(clq_groups_start(&g, &s->arena, job->n, job->k, job->mode, err));
    if (gptq && moments) {
        importance = malloc((job->k + 1) * sizeof *importance);
        if (!importance) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
        for (size_t i = 0; i < job->k; i++) importance[i] = (double)moments[i * job->k + i] + 1e-30;
    }
    job->fit = strcmp(name, "minmax") == 0 ? CLQ_FIT_RANGE : strcmp(name, "hqq") == 0 ? CLQ_FIT_HQQ : CLQ_FIT_MSE;
    job->importance = importance;
    clq_status st = clq_groups_quantize(&g, job, err);
    bool rounds = job->mode->kind != CLQ_WEIGHT_BINARY && !job->rounding.stochastic;
    if (st == CLQ_OK && gptq && moments && rounds) st = clq_gptq_round(&g, job, moments, s->ctx->pool, s->ctx->threads, err);
    free(importance);
    CLQ_TRY(st);
    float *scratch = moments ? malloc((2 * job->k + 1) * sizeof *scratch) : NULL;
    if (moments && !scratch) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    double e = moments ? clq_moments_error(&g, job->weight, moments, scratch) : 0;
    free(scratch);
    if (e >= *least) return CLQ_OK;
    *least = e;
    *best = g;
    return CLQ_OK;
}

static clq_status quantize_unit(struct clq_group_weights *out, struct clq_search *s, int i, int mode, struct clq_error *err)
{
    const struct clq_unit *u = &s->units.units[i];
    const struct clq_const *w = clq_graph_const(&s->model.graph, s->model.graph.nodes[u->node].inputs[u->weight]);
    struct clq_group_job job = {.mode = &s->modes[mode], .rounding = s->rounding};
    CLQ_TRY(check_finite(w, err));
    float *weight = by_output(w, u->weight_axis, &job.n, &job.k);
    if (!weight) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    const struct clq_tensor_record *r = u->n_in > 0 ? &s->tensors[u->in[0]] : NULL;
    const float *moments = r && r->moments && r->moment_k == job.k ? r->moments : NULL;
    double least = INFINITY;
    clq_status st = CLQ_OK;
    job.weight = weight;
    job.rounding.tensor = clq_fnv64(CLQ_FNV64_START, w->name, strlen(w->name));
    for (size_t a = 1; a < sizeof algorithms / sizeof *algorithms && st == CLQ_OK; a++) {
        bool all = strcmp(s->algorithm, "auto") == 0;
        if (strcmp(s->algorithm, algorithms[a]) != 0 && !(all && moments)) continue;
        st = attempt(out, &least, s, &job, algorithms[a], moments, err);
    }
    if (st == CLQ_OK && !out->codes) st = attempt(out, &least, s, &job, "mse", NULL, err);
    free(weight);
    return st;
}

clq_status clq_search_groups(struct clq_search *s, struct clq_error *err)
{
    for (int m = 2; m < s->n_modes; m++) {
        if (!in_groups(&s->modes[m])) continue;
        struct clq_group_weights *list = clq_arena_array(&s->arena, (size_t)s->units.n_units + 1, sizeof *list);
        if (!list) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
        for (int i = 0; i < s->units.n_units; i++) {
            if (!clq_context_progress(s->ctx, "quantizing weights", (double)i / (double)s->units.n_units)) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
            if (s->extra[m][i].capable) CLQ_TRY(quantize_unit(&list[i], s, i, m, err));
        }
        s->groups[m] = list;
    }
    return CLQ_OK;
}
