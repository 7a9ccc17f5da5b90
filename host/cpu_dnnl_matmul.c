/* SPDX-License-Identifier: Apache-2.0
 * Batched matrix products with broadcasting, with a constant or a computed right side. */
#include <string.h>

#include "cpu_dnnl_step.h"

enum { MAX_BATCH = 4, MAX_DIMS = MAX_BATCH + 2 };

/* One product as oneDNN takes it: dims of all operands aligned, a and b with their strides. */
struct product {
    int batch_rank;
    int64_t a_dims[MAX_DIMS], a_strides[MAX_DIMS], b_dims[MAX_DIMS], b_strides[MAX_DIMS], y_dims[MAX_DIMS];
    int64_t bias_dims[MAX_DIMS];
    const float *weight, *bias;
    bool residual;
    struct clq_dnnl_epilogue epilogue;
    const char *prefer;
};

struct layouts {
    dnnl_memory_desc_t a, b, b_plain, bias, y;
};

static bool same_kind(int64_t a0, int64_t b0, int64_t a1, int64_t b1)
{
    return (a0 == b0 && a1 == b1) || (a0 == 1 && a1 == 1) || (b0 == 1 && b1 == 1);
}

/* Drops batch dimensions of one and joins neighbors that broadcast alike: oneDNN is fastest with few dimensions. */
static int join_batch(int64_t a[MAX_BATCH], int64_t b[MAX_BATCH], const struct clq_dnnl_matmul *d)
{
    int n = 0;
    for (int i = 0; i < d->batch_rank; i++) {
        int64_t x = d->batch_a[i], y = d->batch_b[i];
        if (x == 1 && y == 1) continue;
        if (n > 0 && same_kind(a[n - 1], b[n - 1], x, y)) {
            a[n - 1] *= x;
            b[n - 1] *= y;
        } else {
            a[n] = x;
            b[n++] = y;
        }
    }
    return n;
}

static clq_status matmul_check(const struct clq_dnnl_matmul *d, struct clq_error *err)
{
    int64_t a[MAX_DIMS], b[MAX_DIMS], y[MAX_DIMS];
    int n = d->batch_rank;
    if (n < 0 || n > MAX_BATCH)
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "matrix product: %d batch dimensions, expected 0 to %d", n,
                        MAX_BATCH);
    for (int i = 0; i < n; i++) {
        a[i] = d->batch_a[i];
        b[i] = d->batch_b[i];
        y[i] = a[i] > b[i] ? a[i] : b[i];
        if (a[i] != b[i] && a[i] != 1 && b[i] != 1)
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "matrix product: batch dimension %d is %lld and %lld", i,
                            (long long)a[i], (long long)b[i]);
        if (d->weight && b[i] != 1)
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "matrix product: a constant right side has batch %lld, "
                            "expected 1", (long long)b[i]);
    }
    a[n] = y[n] = d->m;
    a[n + 1] = b[n] = d->k;
    b[n + 1] = y[n + 1] = d->n;
    CLQ_TRY(clq_dnnl_dims("matrix product, left side", n + 2, a, err));
    CLQ_TRY(clq_dnnl_dims("matrix product, right side", n + 2, b, err));
    return clq_dnnl_dims("matrix product, result", n + 2, y, err);
}

/* Row-major strides of a stack of [rows, cols], stored as [cols, rows] when swapped. */
static void stack(int64_t *dims, int64_t *strides, int batch_rank, int64_t rows, int64_t cols, bool swapped)
{
    /* With one row or column both orders are the same bytes; the plain one never confuses a leading dimension. */
    if (rows == 1 || cols == 1) swapped = false;
    dims[batch_rank] = rows;
    dims[batch_rank + 1] = cols;
    strides[batch_rank] = swapped ? 1 : cols;
    strides[batch_rank + 1] = swapped ? rows : 1;
    int64_t s = rows * cols;
    for (int i = batch_rank - 1; i >= 0; i--) {
        strides[i] = s;
        s *= dims[i];
    }
}

static void describe(struct product *p, const struct clq_dnnl_matmul *d)
{
    int64_t m = d->m;
    int n = join_batch(p->a_dims, p->b_dims, d);
    if (n == 1 && p->b_dims[0] == 1 && !d->transpose_a) { /* one right side for all: the batch is more rows */
        m *= p->a_dims[0];
        n = 0;
    }
    p->batch_rank = n;
    stack(p->a_dims, p->a_strides, n, m, d->k, d->transpose_a);
    stack(p->b_dims, p->b_strides, n, d->k, d->n, d->transpose_b);
    for (int i = 0; i < n; i++) {
        p->y_dims[i] = p->a_dims[i] > p->b_dims[i] ? p->a_dims[i] : p->b_dims[i];
        p->bias_dims[i] = 1;
    }
    p->y_dims[n] = m;
    p->bias_dims[n] = 1;
    p->y_dims[n + 1] = p->bias_dims[n + 1] = d->n;
    p->weight = d->weight;
    p->bias = d->bias;
    p->residual = d->residual;
    p->epilogue = (struct clq_dnnl_epilogue){.alpha = d->alpha, .act = d->act, .a = d->a, .b = d->b};
    /* Few rows times a computed, transposed right side: brgemm copies all of b first (2.6 times slower at 1 row). */
    if (!d->weight && p->b_strides[n] == 1 && d->n > 1 && m < 8) p->prefer = "gemm:jit";
}

static double nanoseconds(const struct product *p)
{
    double a = 1, b = 1, y = 1;
    for (int i = 0; i < p->batch_rank + 2; i++) {
        a *= (double)p->a_dims[i];
        b *= (double)p->b_dims[i];
        y *= (double)p->y_dims[i];
    }
    return y * (double)p->a_dims[p->batch_rank + 1] / CLQ_DNNL_PRODUCTS + (a + b + y) / CLQ_DNNL_ELEMENTS;
}

static clq_status bind(struct clq_dnnl_step *step, struct clq_dnnl_exec *exec, struct clq_dnnl *dnnl,
                       const struct product *p, const struct layouts *l, const_dnnl_primitive_desc_t pd,
                       const struct clq_dnnl_epilogue *e, struct clq_error *err)
{
    int post = 0;
    CLQ_TRY(clq_dnnl_exec_create(step, exec, dnnl, pd, err));
    CLQ_TRY(clq_dnnl_bind(exec, dnnl, DNNL_ARG_SRC, &l->a, CLQ_DNNL_A, err));
    CLQ_TRY(clq_dnnl_bind(exec, dnnl, DNNL_ARG_DST, &l->y, CLQ_DNNL_Y, err));
    if (p->weight) {
        const dnnl_memory_desc_t *b = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
        CLQ_TRY(clq_dnnl_bind_constant(step, exec, dnnl, DNNL_ARG_WEIGHTS, b, &l->b_plain, p->weight, err));
    } else {
        CLQ_TRY(clq_dnnl_bind(exec, dnnl, DNNL_ARG_WEIGHTS, &l->b, CLQ_DNNL_B, err));
    }
    if (e->form == CLQ_DNNL_BINARY)
        CLQ_TRY(clq_dnnl_bind(exec, dnnl, DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, &l->y,
                              CLQ_DNNL_RESIDUAL, err));
    if (e->form != CLQ_DNNL_PLAIN) post = 1;
    if (!p->bias) return CLQ_OK;
    int arg = e->bias ? DNNL_ARG_ATTR_MULTIPLE_POST_OP(post) | DNNL_ARG_SRC_1 : DNNL_ARG_BIAS;
    return clq_dnnl_bind_constant(step, exec, dnnl, arg, &l->bias, &l->bias, p->bias, err);
}

static clq_status form(struct clq_dnnl_step *step, struct clq_dnnl_exec *exec, struct clq_dnnl *dnnl,
                       const struct product *p, const struct layouts *l, enum clq_dnnl_form how, struct clq_error *err)
{
    dnnl_matmul_desc_t op;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    struct clq_dnnl_epilogue e = p->epilogue;
    /* oneDNN scales its own bias too, so with alpha the bias is added behind it. */
    bool own_bias = p->bias && e.alpha == 1.0f;
    e.form = how;
    e.y = &l->y;
    e.bias = p->bias && !own_bias ? &l->bias : NULL;
    CLQ_TRY(clq_dnnl_check(dnnl_matmul_desc_init(&op, &l->a, &l->b, own_bias ? &l->bias : NULL, &l->y),
                           "matrix product", err));
    CLQ_TRY(clq_dnnl_attr(&attr, &e, err));
    const char *prefer = step->name[0] ? step->name : p->prefer;
    clq_status st = clq_dnnl_choose(&pd, dnnl, &op, attr, prefer, CLQ_DNNL_NO_REFERENCE, err);
    if (st == CLQ_OK) st = bind(step, exec, dnnl, p, l, pd, &e, err);
    if (pd) dnnl_primitive_desc_destroy(pd);
    dnnl_primitive_attr_destroy(attr);
    return st;
}

static clq_status prepare(struct clq_dnnl_step *step, struct clq_dnnl *dnnl, const struct product *p,
                          struct clq_error *err)
{
    struct layouts l;
    int nd = p->batch_rank + 2;
    CLQ_TRY(clq_dnnl_strided(&l.a, nd, p->a_dims, p->a_strides, err));
    CLQ_TRY(clq_dnnl_strided(&l.b_plain, nd, p->b_dims, p->b_strides, err));
    CLQ_TRY(clq_dnnl_strided(&l.b, nd, p->b_dims, p->weight ? NULL : p->b_strides, err));
    CLQ_TRY(clq_dnnl_dense(&l.y, nd, p->y_dims, err));
    CLQ_TRY(clq_dnnl_dense(&l.bias, nd, p->bias_dims, err));
    step->two_inputs = !p->weight;
    step->residual = p->residual;
    step->y_bytes = dnnl_memory_desc_get_size(&l.y);
    if (!p->residual) return form(step, &step->main, dnnl, p, &l, CLQ_DNNL_PLAIN, err);
    clq_status st = form(step, &step->main, dnnl, p, &l, CLQ_DNNL_BINARY, err);
    if (st != CLQ_OK && st != CLQ_ERR_UNSUPPORTED) return st;
    return form(step, &step->sum, dnnl, p, &l, CLQ_DNNL_SUM, err);
}

static clq_status create(struct clq_dnnl_step **out, struct clq_dnnl *dnnl, const struct product *p,
                         struct clq_error *err)
{
    struct clq_dnnl_step *step = NULL;
    CLQ_TRY(clq_dnnl_step_new(&step, err));
    step->threads = clq_dnnl_threads(dnnl, nanoseconds(p));
    int saved = clq_dnnl_enter(step->threads);
    clq_status st = prepare(step, dnnl, p, err);
    clq_dnnl_leave(saved);
    if (st == CLQ_OK) *out = step;
    else clq_dnnl_step_free(step);
    return st;
}

clq_status clq_dnnl_matmul(struct clq_dnnl_step **out, struct clq_dnnl *dnnl, const struct clq_dnnl_matmul *d,
                           struct clq_error *err)
{
    struct product p = {0};
    CLQ_TRY(matmul_check(d, err));
    describe(&p, d);
    return create(out, dnnl, &p, err);
}

clq_status clq_dnnl_upsample(struct clq_dnnl_step **out, struct clq_dnnl *dnnl, const struct clq_dnnl_upsample *d,
                             struct clq_error *err)
{
    struct product p = {.batch_rank = 2, .a_dims = {d->rows, 1}, .b_dims = {1, d->kh},
                        .y_dims = {d->rows, d->kh, d->w, d->n}, .bias_dims = {1, 1, 1, d->n}, .weight = d->weight,
                        .bias = d->bias, .epilogue = {.alpha = 1, .act = d->act, .a = d->a, .b = d->b}};
    stack(p.a_dims, p.a_strides, 2, d->w, d->k, false);
    stack(p.b_dims, p.b_strides, 2, d->k, d->n, false);
    return create(out, dnnl, &p, err);
}
