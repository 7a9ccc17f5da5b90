/* SPDX-License-Identifier: Apache-2.0
 * The broadcasting driver: merges axes, walks rows and cuts large jobs into units by shape. */
#include "ops/pairs.h"

#include "base/parallel.h"

enum { UNIT = 8192 }; /* elements of one unit of work, about */

struct job {
    clq_pair_fn *fn;
    struct clq_bcast b;
    char *y;
    const char *in[2];
    size_t size_y, size_in; /* bytes of one element */
    size_t rows, rows_per_unit, n0;
};

static void run_flat(const struct job *j, size_t begin, size_t end)
{
    size_t from = begin * UNIT, to = end * UNIT < j->n0 ? end * UNIT : j->n0;
    int64_t sa = j->b.stride[0][0], sb = j->b.stride[1][0];
    j->fn(j->y + from * j->size_y, j->in[0] + from * (size_t)sa * j->size_in, j->in[1] + from * (size_t)sb * j->size_in,
          1, to - from, 0, sa, 0, sb);
}

/* Rows begin..end-1, as many at a time as share the outer coordinates. */
static void run_rows(const struct job *j, size_t begin, size_t end)
{
    const struct clq_bcast *b = &j->b;
    int r = b->rank;
    size_t n1 = (size_t)b->dim[r - 2];
    for (size_t row = begin; row < end;) {
        size_t inner = row % n1, outer = row / n1, n = n1 - inner < end - row ? n1 - inner : end - row;
        int64_t at[2] = {(int64_t)inner * b->stride[0][r - 2], (int64_t)inner * b->stride[1][r - 2]};
        for (int k = r - 3; k >= 0; k--) {
            int64_t c = (int64_t)(outer % (size_t)b->dim[k]);
            outer /= (size_t)b->dim[k];
            at[0] += c * b->stride[0][k];
            at[1] += c * b->stride[1][k];
        }
        j->fn(j->y + row * j->n0 * j->size_y, j->in[0] + (size_t)at[0] * j->size_in,
              j->in[1] + (size_t)at[1] * j->size_in, n, j->n0, b->stride[0][r - 2], b->stride[0][r - 1],
              b->stride[1][r - 2], b->stride[1][r - 1]);
        row += n;
    }
}

static void run_units(void *state, size_t begin, size_t end, int thread)
{
    const struct job *j = state;
    (void)thread;
    if (j->b.rank == 1) {
        run_flat(j, begin, end);
    } else {
        size_t to = end * j->rows_per_unit;
        run_rows(j, begin * j->rows_per_unit, to < j->rows ? to : j->rows);
    }
}

clq_status clq_pairs_run(struct clq_op_call *call, clq_pair_fn *fn, const clq_tensor *y, const clq_tensor *a,
                         const clq_tensor *b)
{
    size_t n = (size_t)clq_op_count(y);
    if (n == 0) return CLQ_OK;
    struct job j = {.fn = fn,
                    .y = y->data,
                    .in = {a->data, b->data},
                    .size_y = clq_op_size(y->dtype),
                    .size_in = clq_op_size(a->dtype)};
    clq_op_bcast_make(&j.b, 2, (const clq_tensor *const[]){a, b}, y);
    j.n0 = (size_t)j.b.dim[j.b.rank - 1];
    j.rows = n / j.n0;
    j.rows_per_unit = j.n0 >= UNIT ? 1 : UNIT / j.n0;
    size_t units = j.b.rank == 1 ? (j.n0 + UNIT - 1) / UNIT : (j.rows + j.rows_per_unit - 1) / j.rows_per_unit;
    clq_parallel_for(clq_op_threads(call, n), units, run_units, &j);
    return CLQ_OK;
}

clq_status clq_pairs_eval(struct clq_op_call *call, clq_pair_fn *const *table)
{
    clq_dtype t = call->in[0].dtype;
    if ((int)t >= CLQ_PAIR_TYPES || !table[t]) return clq_op_bad_type(call, 0);
    return clq_pairs_run(call, table[t], &call->out[0], &call->in[0], &call->in[1]);
}
