/* SPDX-License-Identifier: Apache-2.0
 * The error of a row w rounded to q on inputs with second moments M is |R (w - q)|^2 for the Cholesky factor M = R^T R. Going
 * from the last column to the first, the best real value of column j given the errors e of the later ones is
 * w_j + sum_{i > j} R_ji e_i / R_jj: nearest-plane rounding, which is GPTQ without an inverse matrix. */
#include "algo/gptq.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "ops/util.h"

CLQ_CLONES static void accumulate(float *restrict y, const float *restrict x, float by, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = y[i] + by * x[i];
}

CLQ_CLONES static void subtract(double *restrict y, const double *restrict x, double by, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = y[i] - by * x[i];
}

/* In place: the upper triangle of a becomes R. False when a is not positive definite. */
static bool cholesky(double *a, size_t k)
{
    for (size_t j = 0; j < k; j++) {
        double *row = a + j * k, pivot = row[j];
        if (!(pivot > 0) || !isfinite(pivot)) return false;
        double inverse = 1 / sqrt(pivot);
        for (size_t i = j; i < k; i++) row[i] *= inverse;
        for (size_t i = j + 1; i < k; i++) subtract(a + i * k + i, row + i, row[i], k - i);
    }
    return true;
}

struct plane {
    struct clq_group_weights *g;
    const struct clq_group_job *job;
    const size_t *order; /* column of each place, the smallest moment first */
    const float *below;  /* [k][k]: row j holds R_0j .. R_jj */
    float *scratch;      /* [threads][2 k] */
};

static void round_rows(void *state, size_t begin, size_t end, int thread)
{
    struct plane *p = state;
    struct clq_group_weights *g = p->g;
    size_t k = g->k;
    float *pull = p->scratch + (size_t)thread * k;
    for (size_t r = begin; r < end; r++) {
        memset(pull, 0, k * sizeof *pull);
        for (size_t j = k; j-- > 0;) {
            size_t c = p->order[j], at = r * g->groups + c / g->group;
            const float *row = p->below + j * k;
            float w = p->job->weight[r * k + c], target = w + pull[j] / row[j];
            g->codes[r * k + c] = clq_groups_code(target, g->scale[at], g->zero[at], g, p->job, r * k + c);
            accumulate(pull, row, w - clq_groups_value(g, r, c), j);
        }
    }
}

struct place {
    double moment;
    size_t column;
};

static int by_moment(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->moment != y->moment) return x->moment < y->moment ? -1 : 1;
    return x->column < y->column ? -1 : x->column > y->column;
}

/* R of the moments with damping, columns in order; stored by columns in below. */
static bool factor(float *below, double *a, const float *second, const size_t *order, size_t k, double damping)
{
    double mean = 0;
    for (size_t i = 0; i < k; i++) mean += (double)second[i * k + i] / (double)k;
    if (!(mean > 0)) return false;
    for (size_t i = 0; i < k; i++)
        for (size_t j = i; j < k; j++) {
            size_t x = order[i] < order[j] ? order[i] : order[j], y = order[i] < order[j] ? order[j] : order[i];
            a[i * k + j] = (double)second[x * k + y] + (i == j ? damping * mean : 0);
        }
    if (!cholesky(a, k)) return false;
    for (size_t j = 0; j < k; j++)
        for (size_t i = 0; i <= j; i++) below[j * k + i] = (float)a[i * k + j];
    return true;
}

clq_status clq_gptq_round(struct clq_group_weights *g, const struct clq_group_job *job, const float *second, struct clq_pool *pool, int threads,
                          struct clq_error *err)
{
    size_t k = g->k, square, bytes, scratch;
    bool sizes = clq_size_mul(&square, k, k) && clq_size_mul(&bytes, square, sizeof(double)) && clq_size_mul(&scratch, k * sizeof(float), (size_t)threads);
    double *a = sizes ? malloc(bytes + 8) : NULL;
    float *below = sizes ? malloc(square * sizeof *below + 4) : NULL, *pull = sizes ? malloc(scratch + 4) : NULL;
    struct place *places = malloc((k + 1) * sizeof *places);
    size_t *order = malloc((k + 1) * sizeof *order);
    clq_status st = a && below && pull && places && order ? CLQ_OK : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "second moments of %zu inputs: out of memory", k);
    for (size_t i = 0; st == CLQ_OK && i < k; i++) places[i] = (struct place){(double)second[i * k + i], i};
    if (st == CLQ_OK) qsort(places, k, sizeof *places, by_moment);
    for (size_t i = 0; st == CLQ_OK && i < k; i++) order[i] = places[i].column;
    bool good = false;
    for (double damping = 0.01; st == CLQ_OK && !good && damping < 10; damping *= 10) good = factor(below, a, second, order, k, damping);
    if (good) {
        struct plane p = {g, job, order, below, pull};
        clq_pool_for(pool, threads, g->n, round_rows, &p);
    }
    free(a);
    free(below);
    free(pull);
    free(places);
    free(order);
    return st;
}
