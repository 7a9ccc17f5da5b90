/* SPDX-License-Identifier: Apache-2.0
 * With e = w - q and r = M e, changing the value of column j by d changes the error e^T M e by M_jj d^2 - 2 r_j d. Its best
 * grid point is therefore the one nearest to q_j + r_j / M_jj, whatever the others are. The scales s of given codes c solve
 * the normal equations sum_h (c_g^T M_gh c_h) s_h = c_g^T (M w)_g. */
#include "algo/descent.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "ops/util.h"

enum { ROUNDS = 4, SWEEPS = 12 };

struct descent {
    struct clq_group_weights *g;
    const struct clq_group_job *job;
    const float *full;  /* [k][k], both triangles */
    float *vectors;     /* [threads][4 k] */
    double *systems;    /* [threads][groups (groups + 2)] */
    bool free_scales;
};

CLQ_CLONES static void accumulate(float *restrict y, const float *restrict x, float by, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = y[i] + by * x[i];
}

/* r = M (w - q) */
static void residual(float *r, float *q, const struct descent *d, size_t row)
{
    size_t k = d->g->k;
    const float *w = d->job->weight + row * k;
    memset(r, 0, k * sizeof *r);
    for (size_t j = 0; j < k; j++) {
        q[j] = clq_groups_value(d->g, row, j);
        accumulate(r, d->full + j * k, w[j] - q[j], k);
    }
}

/* One pass over the codes; how many changed. */
static size_t sweep(float *r, float *q, const struct descent *d, size_t row)
{
    struct clq_group_weights *g = d->g;
    size_t k = g->k, changed = 0;
    for (size_t j = 0; j < k; j++) {
        float m = d->full[j * k + j];
        if (!(m > 0)) continue;
        size_t at = row * g->groups + j / g->group;
        uint8_t *code = &g->codes[row * k + j], old = *code;
        *code = clq_groups_code(q[j] + r[j] / m, g->scale[at], g->zero[at], g, d->job, row * k + j);
        if (*code == old) continue;
        float v = clq_groups_value(g, row, j), by = v - q[j];
        if (!(m * by * by < 2 * r[j] * by)) {
            *code = old;
            continue;
        }
        accumulate(r, d->full + j * k, -by, k);
        q[j] = v;
        changed++;
    }
    return changed;
}

/* In place: the symmetric a [n][n], of which the upper triangle is read, and b; false when a is not positive definite. */
static bool solve(double *a, double *b, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        double *row = a + j * n, pivot = row[j];
        if (!(pivot > 0) || !isfinite(pivot)) return false;
        double inverse = 1 / sqrt(pivot);
        for (size_t i = j; i < n; i++) row[i] *= inverse;
        b[j] *= inverse;
        for (size_t i = j + 1; i < n; i++) {
            for (size_t c = i; c < n; c++) a[i * n + c] -= row[i] * row[c];
            b[i] -= row[i] * b[j];
        }
    }
    for (size_t j = n; j-- > 0;) {
        for (size_t i = j + 1; i < n; i++) b[j] -= a[j * n + i] * b[i];
        b[j] /= a[j * n + j];
    }
    return true;
}

/* New scales for the codes of a row; false when they stay. */
static bool refit(const struct descent *d, size_t row, float *y, float *z, double *a)
{
    struct clq_group_weights *g = d->g;
    size_t k = g->k, n = g->groups;
    double *b = a + n * n, mean = 0;
    float *scale = g->scale + row * n;
    const float *w = d->job->weight + row * k;
    for (size_t j = 0; j < k; j++) z[j] = clq_groups_value(g, row, j) / scale[j / g->group];
    memset(a, 0, (n * n + n) * sizeof *a);
    for (size_t i = 0; i < n; i++) {
        memset(y, 0, k * sizeof *y);
        for (size_t j = i * g->group; j < k && j < (i + 1) * g->group; j++) accumulate(y, d->full + j * k, z[j], k);
        for (size_t j = 0; j < k; j++) {
            b[i] += (double)y[j] * (double)w[j];
            if (j >= i * g->group) a[i * n + j / g->group] += (double)y[j] * (double)z[j];
        }
        mean += a[i * n + i] / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        double hold = 1e-5 * mean + DBL_MIN;
        a[i * n + i] += hold;
        b[i] += hold * (double)scale[i];
    }
    if (!solve(a, b, n)) return false;
    for (size_t i = 0; i < n; i++)
        if (!(b[i] > 0.5 * (double)scale[i] && b[i] < 2 * (double)scale[i]) || b[i] < (double)FLT_MIN) return false;
    for (size_t i = 0; i < n; i++) scale[i] = (float)b[i];
    return true;
}

static void descend_rows(void *state, size_t begin, size_t end, int thread)
{
    const struct descent *d = state;
    size_t k = d->g->k, n = d->g->groups;
    float *r = d->vectors + (size_t)thread * 4 * k, *q = r + k, *y = q + k, *z = y + k;
    double *a = d->systems + (size_t)thread * n * (n + 2);
    for (size_t row = begin; row < end; row++)
        for (int round = 0; round < ROUNDS; round++) {
            size_t changed = 0, more = 1;
            residual(r, q, d, row);
            for (int s = 0; s < SWEEPS && more > 0; s++) changed += more = sweep(r, q, d, row);
            if ((round > 0 && changed == 0) || !d->free_scales || !refit(d, row, y, z, a)) break;
        }
}

clq_status clq_descend(struct clq_group_weights *g, const struct clq_group_job *job, const float *second, struct clq_pool *pool, int threads, struct clq_error *err)
{
    size_t k = g->k, square, vectors, systems, t = (size_t)threads;
    bool sizes = clq_size_mul(&square, k, k) && clq_size_mul(&vectors, 4 * k * sizeof(float), t) &&
                 clq_size_mul(&systems, g->groups * (g->groups + 2) * sizeof(double), t);
    float *full = sizes ? malloc(square * sizeof *full + 4) : NULL;
    struct descent d = {.g = g, .job = job, .full = full, .vectors = sizes ? malloc(vectors + 4) : NULL, .systems = sizes ? malloc(systems + 8) : NULL,
                        .free_scales = job->mode->kind != CLQ_WEIGHT_CODEBOOK};
    bool ok = full && d.vectors && d.systems;
    for (size_t i = 0; ok && i < k; i++)
        for (size_t j = i; j < k; j++) full[i * k + j] = full[j * k + i] = second[i * k + j];
    if (ok) clq_pool_for(pool, threads, g->n, descend_rows, &d);
    free(full);
    free(d.vectors);
    free(d.systems);
    return ok ? CLQ_OK : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "second moments of %zu inputs: out of memory", k);
}
