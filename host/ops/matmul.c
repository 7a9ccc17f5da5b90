/* SPDX-License-Identifier: Apache-2.0
 * MatMul and Gemm: straightforward row-by-row products, the oracle of the fast paths. The order of the sums depends on
 * k alone. */
#include "ops/matmul.h"

#include <stdlib.h>

#include "base/parallel.h"

/* y[rows][n] = a[rows][k] * b[k][n], ascending k, four terms per pass over a row. */
CLQ_CLONES static void product_f32(float *y, const float *a, const float *b, int64_t rows, int64_t n, int64_t k)
{
    for (int64_t i = 0; i < rows; i++, y += n, a += k) {
        int64_t p = 0;
        memset(y, 0, (size_t)n * sizeof *y);
        for (; p + 4 <= k; p += 4) {
            const float *b0 = b + p * n, *b1 = b0 + n, *b2 = b1 + n, *b3 = b2 + n;
            float a0 = a[p], a1 = a[p + 1], a2 = a[p + 2], a3 = a[p + 3];
            CLQ_IVDEP
            for (int64_t j = 0; j < n; j++) y[j] = (((y[j] + a0 * b0[j]) + a1 * b1[j]) + a2 * b2[j]) + a3 * b3[j];
        }
        for (; p < k; p++) {
            CLQ_IVDEP
            for (int64_t j = 0; j < n; j++) y[j] = y[j] + a[p] * b[p * n + j];
        }
    }
}

/* The other types: A accumulates. */
#define PRODUCT(suffix, T, A) \
    static void product_##suffix(T *y, const T *a, const T *b, int64_t rows, int64_t n, int64_t k) \
    { \
        for (int64_t i = 0; i < rows; i++) \
            for (int64_t j = 0; j < n; j++) { \
                A s = 0; \
                for (int64_t p = 0; p < k; p++) s += (A)a[i * k + p] * (A)b[p * n + j]; \
                y[i * n + j] = (T)s; \
            } \
    }
PRODUCT(f64, double, double)
PRODUCT(s32, int32_t, uint32_t)
PRODUCT(s64, int64_t, uint64_t)

/* Exact sums of widened codes. */
CLQ_CLONES static void product_wide(int64_t *y, const int32_t *a, const int32_t *b, int64_t rows, int64_t n, int64_t k)
{
    for (int64_t i = 0; i < rows; i++, y += n, a += k) {
        memset(y, 0, (size_t)n * sizeof *y);
        for (int64_t p = 0; p < k; p++) {
            CLQ_IVDEP
            for (int64_t j = 0; j < n; j++) y[j] = y[j] + (int64_t)a[p] * b[p * n + j];
        }
    }
}

/* A batched product with numpy's rules for axes. */
struct product {
    int64_t m, n, k, batch;
    int rank;                                                                  /* of the batch axes */
    int64_t dim[CLQ_MAX_RANK], stride_a[CLQ_MAX_RANK], stride_b[CLQ_MAX_RANK]; /* strides in matrices */
    clq_dtype dtype;
    const char *a, *b;
    char *y;
    size_t size, size_y;
    bool wide;             /* int32 operands, int64 result */
    int64_t block, blocks; /* rows of one unit, units per matrix */
};

static void run_rows(void *state, size_t begin, size_t end, int thread)
{
    const struct product *p = state;
    (void)thread;
    for (size_t u = begin; u < end; u++) {
        int64_t batch = (int64_t)u / p->blocks, row = (int64_t)u % p->blocks * p->block, at = 0, bt = 0, rest = batch;
        int64_t rows = p->m - row < p->block ? p->m - row : p->block;
        for (int i = p->rank - 1; i >= 0; i--) {
            at += rest % p->dim[i] * p->stride_a[i];
            bt += rest % p->dim[i] * p->stride_b[i];
            rest /= p->dim[i];
        }
        const void *a = p->a + (size_t)((at * p->m + row) * p->k) * p->size,
                   *b = p->b + (size_t)(bt * p->k * p->n) * p->size;
        void *y = p->y + (size_t)((batch * p->m + row) * p->n) * p->size_y;
        if (p->wide)
            product_wide(y, a, b, rows, p->n, p->k);
        else if (p->dtype == CLQ_DTYPE_F32)
            product_f32(y, a, b, rows, p->n, p->k);
        else if (p->dtype == CLQ_DTYPE_F64)
            product_f64(y, a, b, rows, p->n, p->k);
        else if (p->size == 4)
            product_s32(y, a, b, rows, p->n, p->k);
        else
            product_s64(y, a, b, rows, p->n, p->k);
    }
}

static void run_product(struct clq_op_call *call, struct product *p)
{
    p->size = clq_op_size(p->dtype);
    p->size_y = p->wide ? sizeof(int64_t) : p->size;
    if (p->m == 0 || p->n == 0 || p->batch == 0) return;
    p->block = 4;
    p->blocks = (p->m + p->block - 1) / p->block;
    double work = (double)p->batch * (double)p->m * (double)p->n * (double)p->k;
    clq_parallel_for(work < 32768.0 ? 1 : call->threads, (size_t)(p->batch * p->blocks), run_rows, p);
}

/* Aligns the batch axes of a and b; fills the result's shape. */
static clq_status plan_matmul(struct clq_op_call *call, struct product *p, const clq_tensor *a, const clq_tensor *b,
                              int *rank, int64_t *shape)
{
    *p = (struct product){.dtype = a->dtype, .batch = 1};
    *rank = 0;
    if (a->rank < 1 || b->rank < 1) return clq_op_fail(call, CLQ_ERR_FORMAT, "a scalar operand");
    p->m = a->rank == 1 ? 1 : a->shape[a->rank - 2];
    p->k = a->shape[a->rank - 1];
    p->n = b->rank == 1 ? 1 : b->shape[b->rank - 1];
    int64_t kb = b->rank == 1 ? b->shape[0] : b->shape[b->rank - 2];
    if (kb != p->k)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "inner dimensions %lld and %lld differ", (long long)p->k,
                           (long long)kb);
    int na = a->rank > 2 ? a->rank - 2 : 0, nb = b->rank > 2 ? b->rank - 2 : 0;
    int64_t sa = 1, sb = 1;
    p->rank = na > nb ? na : nb;
    for (int i = p->rank - 1; i >= 0; i--) {
        int64_t da = i - (p->rank - na) < 0 ? 1 : a->shape[i - (p->rank - na)];
        int64_t db = i - (p->rank - nb) < 0 ? 1 : b->shape[i - (p->rank - nb)];
        if (da != db && da != 1 && db != 1)
            return clq_op_fail(call, CLQ_ERR_FORMAT, "batch dimensions %lld and %lld differ", (long long)da,
                               (long long)db);
        p->dim[i] = da == 1 ? db : da;
        p->stride_a[i] = da == 1 ? 0 : sa;
        p->stride_b[i] = db == 1 ? 0 : sb;
        sa *= da;
        sb *= db;
        shape[i] = p->dim[i];
    }
    *rank = p->rank;
    if (a->rank > 1) shape[(*rank)++] = p->m;
    if (b->rank > 1) shape[(*rank)++] = p->n;
    return CLQ_OK;
}

static clq_status check_types(struct clq_op_call *call)
{
    clq_dtype t = call->in[0].dtype;
    bool known = t == CLQ_DTYPE_F32 || t == CLQ_DTYPE_F64 || t == CLQ_DTYPE_S32 || t == CLQ_DTYPE_S64 ||
                 t == CLQ_DTYPE_U32 || t == CLQ_DTYPE_U64;
    return known ? clq_op_need_same_type(call, 1) : clq_op_bad_type(call, 0);
}

clq_op_fn clq_infer_matmul, clq_eval_matmul, clq_infer_gemm, clq_eval_gemm;

clq_status clq_infer_matmul(struct clq_op_call *call)
{
    struct product p;
    int rank;
    int64_t shape[2 * CLQ_MAX_RANK];
    CLQ_TRY(check_types(call));
    CLQ_TRY(plan_matmul(call, &p, &call->in[0], &call->in[1], &rank, shape));
    return clq_op_set_out(call, 0, p.dtype, rank, shape);
}

clq_status clq_eval_matmul(struct clq_op_call *call)
{
    struct product p;
    int rank;
    int64_t shape[2 * CLQ_MAX_RANK];
    CLQ_TRY(plan_matmul(call, &p, &call->in[0], &call->in[1], &rank, shape));
    for (int i = 0; i < p.rank; i++) p.batch *= p.dim[i];
    p.a = call->in[0].data;
    p.b = call->in[1].data;
    p.y = call->out[0].data;
    run_product(call, &p);
    return CLQ_OK;
}

clq_status clq_matmul_int_shape(struct clq_op_call *call, const clq_tensor *a, const clq_tensor *b, int *rank,
                                int64_t *shape)
{
    struct product p;
    return plan_matmul(call, &p, a, b, rank, shape);
}

clq_status clq_matmul_int_run(struct clq_op_call *call, const clq_tensor *a, const int32_t *av, const clq_tensor *b,
                              const int32_t *bv, int64_t *sum)
{
    struct product p;
    int rank;
    int64_t shape[2 * CLQ_MAX_RANK];
    CLQ_TRY(plan_matmul(call, &p, a, b, &rank, shape));
    for (int i = 0; i < p.rank; i++) p.batch *= p.dim[i];
    p.dtype = CLQ_DTYPE_S32;
    p.wide = true;
    p.a = (const char *)av;
    p.b = (const char *)bv;
    p.y = (char *)sum;
    run_product(call, &p);
    return CLQ_OK;
}

/* ---- Gemm ---- */

static clq_status plan_gemm(struct clq_op_call *call, struct product *p, bool *ta, bool *tb)
{
    const clq_tensor *a = &call->in[0], *b = &call->in[1];
    *ta = clq_node_int(call->node, "transA", 0) != 0;
    *tb = clq_node_int(call->node, "transB", 0) != 0;
    *p = (struct product){.dtype = a->dtype, .batch = 1};
    CLQ_TRY(check_types(call));
    CLQ_TRY(clq_op_need_rank(call, 0, 2));
    CLQ_TRY(clq_op_need_rank(call, 1, 2));
    p->m = a->shape[*ta];
    p->k = a->shape[!*ta];
    p->n = b->shape[!*tb];
    if (b->shape[*tb] != p->k)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "inner dimensions %lld and %lld differ", (long long)p->k,
                           (long long)b->shape[*tb]);
    if (!clq_op_has(call, 2)) return CLQ_OK;
    const clq_tensor *c = &call->in[2];
    CLQ_TRY(clq_op_need_same_type(call, 2));
    int64_t rows = c->rank < 2 ? 1 : c->shape[0], cols = c->rank < 1 ? 1 : c->shape[c->rank - 1];
    if (c->rank > 2 || (rows != 1 && rows != p->m) || (cols != 1 && cols != p->n))
        return clq_op_fail(call, CLQ_ERR_FORMAT, "C does not broadcast to %lldx%lld", (long long)p->m, (long long)p->n);
    return CLQ_OK;
}

clq_status clq_infer_gemm(struct clq_op_call *call)
{
    struct product p;
    bool ta, tb;
    CLQ_TRY(plan_gemm(call, &p, &ta, &tb));
    return clq_op_set_out(call, 0, p.dtype, 2, (const int64_t[]){p.m, p.n});
}

/* A transposed copy of t, to be freed. */
static char *flipped(const clq_tensor *t)
{
    size_t size = clq_op_size(t->dtype);
    int64_t rows = t->shape[0], cols = t->shape[1];
    char *y = malloc((size_t)(rows * cols) * size + 1);
    for (int64_t j = 0; y && j < cols; j++)
        for (int64_t i = 0; i < rows; i++)
            memcpy(y + (size_t)(j * rows + i) * size, (const char *)t->data + (size_t)(i * cols + j) * size, size);
    return y;
}

#define FINISH(T, cast) \
    for (int64_t i = 0; i < p->m; i++) \
        for (int64_t j = 0; j < p->n; j++) { \
            T *y = (T *)call->out[0].data + i * p->n + j; \
            *y = (T)((cast)alpha * (cast)*y); \
            if (c) *y = (T)((cast)*y + (cast)beta * (cast)((const T *)c->data)[i * row + j * col]); \
        }

static void add_c(struct clq_op_call *call, const struct product *p)
{
    const clq_tensor *c = clq_op_has(call, 2) ? &call->in[2] : NULL;
    float alpha = clq_node_float(call->node, "alpha", 1.0f), beta = clq_node_float(call->node, "beta", 1.0f);
    int64_t rows = c && c->rank == 2 ? c->shape[0] : 1, cols = c && c->rank > 0 ? c->shape[c->rank - 1] : 1;
    int64_t row = rows == 1 ? 0 : cols, col = cols == 1 ? 0 : 1;
    if (p->dtype == CLQ_DTYPE_F32) {
        FINISH(float, float)
    } else if (p->dtype == CLQ_DTYPE_F64) {
        FINISH(double, double)
    } else if (p->size == 4) {
        FINISH(int32_t, int64_t)
    } else {
        FINISH(int64_t, int64_t)
    }
}

clq_status clq_eval_gemm(struct clq_op_call *call)
{
    struct product p;
    bool ta, tb;
    CLQ_TRY(plan_gemm(call, &p, &ta, &tb));
    char *a = ta ? flipped(&call->in[0]) : NULL, *b = tb ? flipped(&call->in[1]) : NULL;
    if ((ta && !a) || (tb && !b)) {
        free(a);
        free(b);
        return clq_op_no_memory(call);
    }
    p.a = ta ? a : call->in[0].data;
    p.b = tb ? b : call->in[1].data;
    p.y = call->out[0].data;
    run_product(call, &p);
    add_c(call, &p);
    free(a);
    free(b);
    return CLQ_OK;
}
