/* SPDX-License-Identifier: Apache-2.0
 * Second moments and the errors that follow from them. */
#include "algo/moments.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "ops/util.h"

clq_status clq_moments_start(struct clq_moments *m, struct clq_arena *arena, size_t k, struct clq_error *err)
{
    size_t square;
    *m = (struct clq_moments){.k = k};
    if (clq_size_mul(&square, k, k)) m->second = clq_arena_array(arena, square + 1, sizeof *m->second);
    m->sum = clq_arena_array(arena, k + 1, sizeof *m->sum);
    return m->second && m->sum ? CLQ_OK : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "second moments of %zu inputs: out of memory", k);
}

struct rows {
    struct clq_moments *to;
    const float *x;
    size_t rows;
};

CLQ_CLONES static void add_row(float *restrict to, const float *restrict x, size_t rows, size_t k, size_t i)
{
    size_t r = 0;
    for (; r + 4 <= rows; r += 4) {
        const float *restrict x0 = x + r * k, *restrict x1 = x0 + k, *restrict x2 = x1 + k, *restrict x3 = x2 + k;
        float a = x0[i], b = x1[i], c = x2[i], d = x3[i];
        for (size_t j = i; j < k; j++) to[j] += (a * x0[j] + b * x1[j]) + (c * x2[j] + d * x3[j]);
    }
    for (; r < rows; r++) {
        float a = x[r * k + i];
        for (size_t j = i; j < k; j++) to[j] += a * x[r * k + j];
    }
}

static void add_rows(void *state, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct rows *m = state;
    size_t k = m->to->k;
    for (size_t i = begin; i < end; i++) {
        add_row(m->to->second + i * k, m->x, m->rows, k, i);
        for (size_t r = 0; r < m->rows; r++) m->to->sum[i] += (double)m->x[r * k + i];
    }
}

void clq_moments_add(struct clq_moments *m, const float *x, size_t rows, struct clq_pool *pool, int threads)
{
    struct rows job = {m, x, rows};
    m->rows += rows;
    clq_pool_for(pool, threads, m->k, add_rows, &job);
}

void clq_moments_center(float *to, const struct clq_moments *m)
{
    size_t k = m->k;
    for (size_t i = 0; i < k; i++)
        for (size_t j = i; j < k; j++)
            to[i * k + j] = m->rows ? (float)((double)m->second[i * k + j] - m->sum[i] * (m->sum[j] / (double)m->rows)) : m->second[i * k + j];
}

CLQ_CLONES static void accumulate(float *restrict y, const float *restrict x, float by, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = y[i] + by * x[i];
}

/* v^T M v with the upper triangle: the strict part counts twice. */
static double quadratic(const float *v, const float *second, float *scratch, size_t k)
{
    double sum = 0;
    memset(scratch, 0, k * sizeof *scratch);
    for (size_t i = 0; i < k; i++) accumulate(scratch + i, second + i * k + i, v[i], k - i);
    for (size_t j = 0; j < k; j++) sum += (double)v[j] * (2 * (double)scratch[j] - (double)second[j * k + j] * (double)v[j]);
    return sum;
}

struct errors {
    const struct clq_group_weights *g;
    const float *weight, *second;
    float *scratch; /* [threads][2 k] */
    double *row;
};

static void row_errors(void *state, size_t begin, size_t end, int thread)
{
    const struct errors *s = state;
    size_t k = s->g->k;
    float *scratch = s->scratch + (size_t)thread * 2 * k, *e = scratch + k;
    for (size_t r = begin; r < end; r++) {
        for (size_t i = 0; i < k; i++) e[i] = s->weight[r * k + i] - clq_groups_value(s->g, r, i);
        s->row[r] = quadratic(e, s->second, scratch, k);
    }
}

clq_status clq_moments_error(double *out, const struct clq_group_weights *g, const float *weight, const float *second, struct clq_pool *pool, int threads,
                             struct clq_error *err)
{
    size_t bytes;
    struct errors s = {.g = g, .weight = weight, .second = second, .row = malloc((g->n + 1) * sizeof(double))};
    if (clq_size_mul(&bytes, g->k * 2 * sizeof(float), (size_t)threads)) s.scratch = malloc(bytes + 1);
    bool ok = s.scratch && s.row;
    *out = 0;
    if (ok) clq_pool_for(pool, threads, g->n, row_errors, &s);
    for (size_t r = 0; ok && r < g->n; r++) *out += s.row[r];
    free(s.scratch);
    free(s.row);
    return ok ? CLQ_OK : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}
