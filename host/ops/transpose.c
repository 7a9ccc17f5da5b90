/* SPDX-License-Identifier: Apache-2.0
 * Transpose, DepthToSpace and SpaceToDepth. Axes that stay neighbors are merged; what is left is either runs for
 * memcpy or exchanges of two axes, which go in blocks that fit the cache. */
#include "base/parallel.h"
#include "ops/util.h"

struct job {
    int rank;
    int64_t dim[CLQ_MAX_RANK], stride[CLQ_MAX_RANK]; /* of the result's axes; stride in the source */
    int64_t step[CLQ_MAX_RANK];                      /* stride in the result */
    int fast;                                        /* the result's axis with source stride 1 */
    const char *x;
    char *y;
    size_t size;
};

enum { BLOCK = 32 };

typedef uint32_t quad __attribute__((vector_size(16)));

/* Four by four words; both strides in words. */
static inline void transpose_quads(uint32_t *y, int64_t ys, const uint32_t *x, int64_t xs)
{
    quad a, b, c, d;
    memcpy(&a, x, 16);
    memcpy(&b, x + xs, 16);
    memcpy(&c, x + 2 * xs, 16);
    memcpy(&d, x + 3 * xs, 16);
    quad p = __builtin_shufflevector(a, b, 0, 4, 1, 5), q = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    quad r = __builtin_shufflevector(a, b, 2, 6, 3, 7), s = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    a = __builtin_shufflevector(p, q, 0, 1, 4, 5);
    b = __builtin_shufflevector(p, q, 2, 3, 6, 7);
    c = __builtin_shufflevector(r, s, 0, 1, 4, 5);
    d = __builtin_shufflevector(r, s, 2, 3, 6, 7);
    memcpy(y, &a, 16);
    memcpy(y + ys, &b, 16);
    memcpy(y + 2 * ys, &c, 16);
    memcpy(y + 3 * ys, &d, 16);
}

#define BLOCK_LOOP(T) \
    for (int64_t i = 0; i < rows; i++) \
        for (int64_t k = 0; k < cols; k++) ((T *)y)[i * ys + k] = ((const T *)x)[i + k * xs];

/* y[rows][cols] at row stride ys from x with column stride xs and row stride 1. */
static void block(char *y, int64_t ys, const char *x, int64_t xs, int64_t rows, int64_t cols, size_t size)
{
    if (size == 4) {
        int64_t r4 = rows & ~(int64_t)3, c4 = cols & ~(int64_t)3;
        uint32_t *yw = (uint32_t *)(void *)y;
        const uint32_t *xw = (const uint32_t *)(const void *)x;
        for (int64_t k = 0; k < c4; k += 4)
            for (int64_t i = 0; i < r4; i += 4) transpose_quads(yw + i * ys + k, ys, xw + i + k * xs, xs);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t k = i < r4 ? c4 : 0; k < cols; k++) yw[i * ys + k] = xw[i + k * xs];
    } else if (size == 1) {
        BLOCK_LOOP(uint8_t)
    } else if (size == 2) {
        BLOCK_LOOP(uint16_t)
    } else {
        BLOCK_LOOP(uint64_t)
    }
}

/* The source and result offsets of the outer coordinates, all axes but the last and `skip`. */
static void locate(const struct job *j, size_t unit, int skip, int64_t *from, int64_t *to)
{
    *from = *to = 0;
    for (int k = j->rank - 2; k >= 0; k--) {
        if (k == skip) continue;
        int64_t c = (int64_t)(unit % (size_t)j->dim[k]);
        unit /= (size_t)j->dim[k];
        *from += c * j->stride[k];
        *to += c * j->step[k];
    }
}

/* The last axis of the result is read with a stride: exchange it with the axis that has stride 1. */
static void run_exchange(void *state, size_t begin, size_t end, int thread)
{
    const struct job *j = state;
    int last = j->rank - 1, fast = j->fast;
    size_t blocks = ((size_t)j->dim[fast] + BLOCK - 1) / BLOCK;
    (void)thread;
    for (size_t u = begin; u < end; u++) {
        int64_t from, to, r = (int64_t)(u % blocks) * BLOCK;
        locate(j, u / blocks, fast, &from, &to);
        int64_t rows = j->dim[fast] - r < BLOCK ? j->dim[fast] - r : BLOCK;
        for (int64_t c = 0; c < j->dim[last]; c += BLOCK) {
            int64_t cols = j->dim[last] - c < BLOCK ? j->dim[last] - c : BLOCK;
            block(j->y + (size_t)(to + r * j->step[fast] + c) * j->size, j->step[fast],
                  j->x + (size_t)(from + r + c * j->stride[last]) * j->size, j->stride[last], rows, cols, j->size);
        }
    }
}

/* Rows of the result that follow each other. Short ones are copied in pieces whose size the compiler knows. */
static void copy_rows(char *y, const char *x, size_t bytes, size_t distance, size_t rows)
{
    enum { PIECE = 32, MOST = 512 };
    if (bytes % PIECE != 0 || bytes > MOST) {
        for (; rows > 0; rows--, y += bytes, x += distance) memcpy(y, x, bytes);
        return;
    }
    for (; rows > 0; rows--, y += bytes, x += distance)
        for (size_t at = 0; at < bytes; at += PIECE) memcpy(y + at, x + at, PIECE);
}

static void run_copy(void *state, size_t begin, size_t end, int thread)
{
    const struct job *j = state;
    const size_t bytes = (size_t)j->dim[j->rank - 1] * j->size, rows = (size_t)j->dim[j->rank - 2];
    (void)thread;
    for (size_t u = begin; u < end;) {
        const size_t left = rows - u % rows, n = left < end - u ? left : end - u;
        int64_t from, to;
        locate(j, u, -1, &from, &to);
        copy_rows(j->y + (size_t)to * j->size, j->x + (size_t)from * j->size, bytes, (size_t)j->stride[j->rank - 2] * j->size, n);
        u += n;
    }
}

/* y = x with axes permuted: axis k of the result is axis perm[k] of the source. No dimension is 0. */
static void permute(struct clq_op_call *call, void *y, const void *x, size_t size, int rank, const int64_t *shape,
                    const int *perm)
{
    struct job j = {.x = x, .y = y, .size = size, .fast = -1};
    int64_t stride[CLQ_MAX_RANK], s = 1;
    for (int k = rank - 1; k >= 0; s *= shape[k--]) stride[k] = s;
    for (int k = 0; k < rank; k++) {
        int64_t d = shape[perm[k]], from = stride[perm[k]];
        if (d == 1) continue;
        if (j.rank > 0 && j.stride[j.rank - 1] == from * d) {
            j.dim[j.rank - 1] *= d;
            j.stride[j.rank - 1] = from;
        } else {
            j.dim[j.rank] = d;
            j.stride[j.rank++] = from;
        }
    }
    if (j.rank <= 1) {
        memcpy(y, x, (size_t)s * size);
        return;
    }
    int64_t step = 1;
    for (int k = j.rank - 1; k >= 0; step *= j.dim[k--]) {
        j.step[k] = step;
        if (j.stride[k] == 1) j.fast = k;
    }
    int threads = clq_op_threads(call, (size_t)s);
    size_t outer = (size_t)(s / j.dim[j.rank - 1]);
    if (j.fast == j.rank - 1) {
        clq_parallel_for(threads, outer, run_copy, &j);
    } else {
        size_t blocks = ((size_t)j.dim[j.fast] + BLOCK - 1) / BLOCK;
        clq_parallel_for(threads, outer / (size_t)j.dim[j.fast] * blocks, run_exchange, &j);
    }
}

static clq_status read_perm(struct clq_op_call *call, int *perm)
{
    struct clq_op_ints p;
    unsigned mask;
    int rank = call->in[0].rank;
    if (clq_op_size(call->in[0].dtype) == 0) return clq_op_bad_type(call, 0);
    CLQ_TRY(clq_op_read_axes(call, &p, &mask, -1, "perm", rank));
    if (p.n >= 0 && p.n != rank) return clq_op_fail(call, CLQ_ERR_FORMAT, "perm has %d axes, expected %d", p.n, rank);
    for (int k = 0; k < rank; k++) perm[k] = p.n < 0 ? rank - 1 - k : (int)p.v[k];
    return CLQ_OK;
}

clq_op_fn clq_infer_transpose, clq_eval_transpose, clq_infer_depth_to_space, clq_eval_depth_to_space,
    clq_infer_space_to_depth, clq_eval_space_to_depth;

clq_status clq_infer_transpose(struct clq_op_call *call)
{
    int perm[CLQ_MAX_RANK];
    int64_t shape[CLQ_MAX_RANK];
    CLQ_TRY(read_perm(call, perm));
    for (int k = 0; k < call->in[0].rank; k++) shape[k] = call->in[0].shape[perm[k]];
    return clq_op_set_out(call, 0, call->in[0].dtype, call->in[0].rank, shape);
}

clq_status clq_eval_transpose(struct clq_op_call *call)
{
    int perm[CLQ_MAX_RANK];
    const clq_tensor *x = call->in;
    CLQ_TRY(read_perm(call, perm));
    permute(call, call->out[0].data, x->data, clq_op_size(x->dtype), x->rank, x->shape, perm);
    return CLQ_OK;
}

static clq_status read_block(struct clq_op_call *call, int64_t *b)
{
    *b = clq_node_int(call->node, "blocksize", 0);
    CLQ_TRY(clq_op_need_rank(call, 0, 4));
    if (clq_op_size(call->in[0].dtype) == 0) return clq_op_bad_type(call, 0);
    if (*b < 1 || *b > 32768) return clq_op_fail(call, CLQ_ERR_FORMAT, "blocksize %lld", (long long)*b);
    return CLQ_OK;
}

clq_status clq_infer_depth_to_space(struct clq_op_call *call)
{
    int64_t b;
    const int64_t *s = call->in[0].shape;
    CLQ_TRY(read_block(call, &b));
    if (s[1] % (b * b) != 0)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "%lld channels for blocks of %lld", (long long)s[1], (long long)b);
    return clq_op_set_out(call, 0, call->in[0].dtype, 4, (const int64_t[]){s[0], s[1] / (b * b), s[2] * b, s[3] * b});
}

clq_status clq_eval_depth_to_space(struct clq_op_call *call)
{
    int64_t b;
    const int64_t *s = call->in[0].shape;
    CLQ_TRY(read_block(call, &b));
    bool columns_first = strcmp(clq_node_string(call->node, "mode", "DCR"), "CRD") == 0;
    int64_t c = s[1] / (b * b), dcr[6] = {s[0], b, b, c, s[2], s[3]}, crd[6] = {s[0], c, b, b, s[2], s[3]};
    static const int dcr_perm[6] = {0, 3, 4, 1, 5, 2}, crd_perm[6] = {0, 1, 4, 2, 5, 3};
    permute(call, call->out[0].data, call->in[0].data, clq_op_size(call->in[0].dtype), 6, columns_first ? crd : dcr,
            columns_first ? crd_perm : dcr_perm);
    return CLQ_OK;
}

clq_status clq_infer_space_to_depth(struct clq_op_call *call)
{
    int64_t b;
    const int64_t *s = call->in[0].shape;
    CLQ_TRY(read_block(call, &b));
    if (s[2] % b != 0 || s[3] % b != 0)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "image %lldx%lld for blocks of %lld", (long long)s[2], (long long)s[3],
                           (long long)b);
    if (s[1] > CLQ_OP_MAX_ELEMENTS / (b * b)) return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "too many channels");
    return clq_op_set_out(call, 0, call->in[0].dtype, 4, (const int64_t[]){s[0], s[1] * b * b, s[2] / b, s[3] / b});
}

clq_status clq_eval_space_to_depth(struct clq_op_call *call)
{
    int64_t b;
    const int64_t *s = call->in[0].shape;
    CLQ_TRY(read_block(call, &b));
    static const int perm[6] = {0, 3, 5, 1, 2, 4};
    permute(call, call->out[0].data, call->in[0].data, clq_op_size(call->in[0].dtype), 6,
            (const int64_t[]){s[0], s[1], s[2] / b, b, s[3] / b, b}, perm);
    return CLQ_OK;
}
