/* SPDX-License-Identifier: Apache-2.0
 * TopK and Unique. Ties go to the lower index. */
#include <stdlib.h>

#include "ops/convert.h"

struct entry {
    double real;
    int64_t integer, at;
};

static int compare_up(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->real != y->real) { /* NaN counts as the largest */
        if (x->real != x->real || y->real != y->real) {
            int nx = x->real != x->real, ny = y->real != y->real;
            if (nx != ny) return nx - ny;
        } else {
            return x->real < y->real ? -1 : 1;
        }
    }
    if (x->integer != y->integer) return x->integer < y->integer ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static int compare_down(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    struct entry p = *x, q = *y;
    p.at = q.at = 0;
    int c = compare_up(&q, &p);
    return c ? c : (x->at < y->at ? -1 : x->at > y->at);
}

static void load(struct entry *e, const clq_tensor *x, int64_t i, int64_t at)
{
    bool real = clq_is_real(x->dtype);
    *e = (struct entry){real ? clq_load_real(x, i) : 0.0, real ? 0 : clq_load_int(x, i), at};
}

static clq_status read_top_k(struct clq_op_call *call, int *axis, int64_t *k)
{
    const clq_tensor *x = &call->in[0];
    *k = 0;
    if (!clq_is_number(x->dtype)) return clq_op_bad_type(call, 0);
    CLQ_TRY(clq_op_axis(call, axis, clq_node_int(call->node, "axis", -1), x->rank));
    if (call->opset < 10) {
        *k = clq_node_int(call->node, "k", 0);
    } else {
        CLQ_TRY(clq_op_need_value(call, 1));
        if (call->in[1].dtype != CLQ_DTYPE_S64 || clq_op_count(&call->in[1]) != 1)
            return clq_op_fail(call, CLQ_ERR_FORMAT, "k is not one int64");
        *k = clq_op_int_at(&call->in[1], 0);
    }
    if (*k < 0 || *k > x->shape[*axis])
        return clq_op_fail(call, CLQ_ERR_FORMAT, "k is %lld, the axis has %lld elements", (long long)*k,
                           (long long)x->shape[*axis]);
    return CLQ_OK;
}

clq_op_fn clq_infer_top_k, clq_eval_top_k, clq_infer_unique, clq_eval_unique;

clq_status clq_infer_top_k(struct clq_op_call *call)
{
    int axis;
    int64_t k, shape[CLQ_MAX_RANK];
    CLQ_TRY(read_top_k(call, &axis, &k));
    memcpy(shape, call->in[0].shape, sizeof shape);
    shape[axis] = k;
    CLQ_TRY(clq_op_set_out(call, 0, call->in[0].dtype, call->in[0].rank, shape));
    return clq_op_set_out(call, 1, CLQ_DTYPE_S64, call->in[0].rank, shape);
}

clq_status clq_eval_top_k(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0];
    int axis;
    int64_t k;
    CLQ_TRY(read_top_k(call, &axis, &k));
    bool largest = clq_node_int(call->node, "largest", 1) != 0;
    int64_t outer = clq_op_span(x, 0, axis), dim = x->shape[axis], inner = clq_op_span(x, axis + 1, x->rank);
    size_t size = clq_op_size(x->dtype);
    struct entry *e = malloc(((size_t)dim + 1) * sizeof *e);
    if (!e) return clq_op_no_memory(call);
    for (int64_t u = 0; u < outer * inner; u++) {
        int64_t base = u / inner * dim * inner + u % inner;
        for (int64_t i = 0; i < dim; i++) load(&e[i], x, base + i * inner, i);
        qsort(e, (size_t)dim, sizeof *e, largest ? compare_down : compare_up);
        for (int64_t i = 0; i < k; i++) {
            int64_t to = (u / inner * k + i) * inner + u % inner;
            if (call->out[0].data)
                memcpy((char *)call->out[0].data + (size_t)to * size,
                       (const char *)x->data + (size_t)(base + e[i].at * inner) * size, size);
            if (call->n_out > 1 && call->out[1].data) ((int64_t *)call->out[1].data)[to] = e[i].at;
        }
    }
    free(e);
    return CLQ_OK;
}

/* ---- Unique ---- */

/* Slices along an axis (or elements of the flattened input) in order of first appearance, or sorted. */
struct unique {
    int64_t n, inner, outer; /* slices; elements before and after the axis */
    int64_t found;
    int64_t *first, *inverse, *count; /* [found], [n], [found] */
};

static int compare_slices(const clq_tensor *x, const struct unique *u, int64_t a, int64_t b)
{
    for (int64_t o = 0; o < u->outer; o++)
        for (int64_t i = 0; i < u->inner; i++) {
            struct entry p, q;
            load(&p, x, (o * u->n + a) * u->inner + i, 0);
            load(&q, x, (o * u->n + b) * u->inner + i, 0);
            int c = compare_up(&p, &q);
            if (c) return c;
        }
    return 0;
}

/* Heap sort of slice numbers, so that equal slices stay bounded in time; ties by number. */
static bool after(const clq_tensor *x, const struct unique *u, int64_t a, int64_t b)
{
    int c = compare_slices(x, u, a, b);
    return c > 0 || (c == 0 && a > b);
}

static void sift(const clq_tensor *x, const struct unique *u, int64_t *h, int64_t i, int64_t n)
{
    for (;;) {
        int64_t big = i, l = 2 * i + 1, r = l + 1;
        if (l < n && after(x, u, h[l], h[big])) big = l;
        if (r < n && after(x, u, h[r], h[big])) big = r;
        if (big == i) return;
        int64_t t = h[i];
        h[i] = h[big];
        h[big] = t;
        i = big;
    }
}

static int compare_pair(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return x[0] < y[0] ? -1 : x[0] > y[0];
}

static void free_unique(struct unique *u)
{
    free(u->first);
    free(u->inverse);
    free(u->count);
}

/* Orders the groups by first appearance instead of by value. */
static bool by_appearance(struct unique *u)
{
    int64_t(*pair)[3] = malloc(((size_t)u->found + 1) * sizeof *pair),
    *rank = malloc(((size_t)u->found + 1) * sizeof *rank);
    bool ok = pair && rank;
    for (int64_t i = 0; ok && i < u->found; i++) {
        pair[i][0] = u->first[i];
        pair[i][1] = i;
        pair[i][2] = u->count[i];
    }
    if (ok) qsort(pair, (size_t)u->found, sizeof *pair, compare_pair);
    for (int64_t i = 0; ok && i < u->found; i++) {
        rank[pair[i][1]] = i;
        u->first[i] = pair[i][0];
        u->count[i] = pair[i][2];
    }
    for (int64_t i = 0; ok && i < u->n; i++) u->inverse[i] = rank[u->inverse[i]];
    free(pair);
    free(rank);
    return ok;
}

static clq_status find_unique(struct clq_op_call *call, struct unique *u, int *axis)
{
    const clq_tensor *x = &call->in[0];
    *u = (struct unique){.n = clq_op_count(x), .inner = 1, .outer = 1};
    *axis = -1;
    if (!clq_is_number(x->dtype) || clq_op_size(x->dtype) == 0) return clq_op_bad_type(call, 0);
    CLQ_TRY(clq_op_need_value(call, 0));
    if (clq_node_attr(call->node, "axis")) {
        CLQ_TRY(clq_op_axis(call, axis, clq_node_int(call->node, "axis", 0), x->rank));
        u->n = x->shape[*axis];
        u->outer = clq_op_span(x, 0, *axis);
        u->inner = clq_op_span(x, *axis + 1, x->rank);
    }
    size_t n = (size_t)u->n + 1;
    int64_t *h = malloc(n * sizeof *h);
    u->first = malloc(n * sizeof *u->first);
    u->inverse = malloc(n * sizeof *u->inverse);
    u->count = calloc(n, sizeof *u->count);
    bool ok = h && u->first && u->inverse && u->count;
    for (int64_t i = 0; ok && i < u->n; i++) h[i] = i;
    for (int64_t i = u->n / 2 - 1; ok && i >= 0; i--) sift(x, u, h, i, u->n);
    for (int64_t i = u->n - 1; ok && i > 0; i--) {
        int64_t t = h[0];
        h[0] = h[i];
        h[i] = t;
        sift(x, u, h, 0, i);
    }
    for (int64_t i = 0; ok && i < u->n; i++) {
        if (i == 0 || compare_slices(x, u, h[i - 1], h[i]) != 0) u->first[u->found++] = h[i];
        u->inverse[h[i]] = u->found - 1;
        u->count[u->found - 1]++;
    }
    free(h);
    if (ok && clq_node_int(call->node, "sorted", 1) == 0) ok = by_appearance(u);
    if (ok) return CLQ_OK;
    free_unique(u);
    return clq_op_no_memory(call);
}

clq_status clq_infer_unique(struct clq_op_call *call)
{
    struct unique u;
    int axis;
    int64_t shape[CLQ_MAX_RANK];
    CLQ_TRY(find_unique(call, &u, &axis));
    int64_t found = u.found, n = u.n;
    free_unique(&u);
    memcpy(shape, call->in[0].shape, sizeof shape);
    if (axis >= 0)
        shape[axis] = found;
    else
        shape[0] = found;
    CLQ_TRY(clq_op_set_out(call, 0, call->in[0].dtype, axis < 0 ? 1 : call->in[0].rank, shape));
    CLQ_TRY(clq_op_set_out(call, 1, CLQ_DTYPE_S64, 1, &found));
    CLQ_TRY(clq_op_set_out(call, 2, CLQ_DTYPE_S64, 1, &n));
    return clq_op_set_out(call, 3, CLQ_DTYPE_S64, 1, &found);
}

clq_status clq_eval_unique(struct clq_op_call *call)
{
    const clq_tensor *x = &call->in[0];
    struct unique u;
    int axis;
    CLQ_TRY(find_unique(call, &u, &axis));
    size_t run = (size_t)u.inner * clq_op_size(x->dtype);
    for (int64_t o = 0; call->out[0].data && o < u.outer; o++)
        for (int64_t i = 0; i < u.found; i++)
            memcpy((char *)call->out[0].data + (size_t)(o * u.found + i) * run,
                   (const char *)x->data + (size_t)(o * u.n + u.first[i]) * run, run);
    const int64_t *lists[4] = {NULL, u.first, u.inverse, u.count};
    for (int i = 1; i < call->n_out && i < 4; i++)
        if (call->out[i].data)
            memcpy(call->out[i].data, lists[i], (size_t)clq_op_count(&call->out[i]) * sizeof(int64_t));
    free_unique(&u);
    return CLQ_OK;
}
