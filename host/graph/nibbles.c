/* SPDX-License-Identifier: Apache-2.0
 * Constant 4-bit weights of a product, in any of the forms that files have, as the kernels take them: rows of outputs, even
 * elements in the low nibble, unsigned codes, one scale and zero point per group. */
#include <math.h>
#include <string.h>

#include "base/size.h"
#include "graph/integer.h"

static unsigned nibble(const uint8_t *codes, size_t at)
{
    return at % 2 ? codes[at / 2] >> 4 : codes[at / 2] & 15u;
}

static void put_nibble(uint8_t *codes, size_t row_bytes, size_t n, size_t k, unsigned code)
{
    uint8_t *to = &codes[n * row_bytes + k / 2];
    *to = (uint8_t)(*to | code << (k % 2 ? 4 : 0));
}

static clq_status allocate(struct clq_nibbles *w, struct clq_arena *arena, struct clq_error *err)
{
    size_t groups = (w->k + w->group - 1) / w->group, bytes;
    w->codes = clq_size_mul(&bytes, w->n, (w->k + 1) / 2) ? clq_arena_array(arena, bytes + 1, 1) : NULL;
    w->scale = clq_arena_array(arena, w->n * groups + 1, sizeof(float));
    w->zero = clq_arena_array(arena, w->n * groups + 1, 1);
    return w->codes && w->scale && w->zero ? CLQ_OK : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

/* Zero points that are all 8 are the kernels' default. */
static void drop_plain_zeros(struct clq_nibbles *w)
{
    size_t n = w->n * ((w->k + w->group - 1) / w->group);
    for (size_t i = 0; i < n; i++)
        if (w->zero[i] != 8) return;
    w->zero = NULL;
}

static bool usable(const struct clq_nibbles *w)
{
    size_t n = w->n * ((w->k + w->group - 1) / w->group), group = w->group < w->k ? w->group : w->k;
    for (size_t i = 0; i < n; i++)
        if (!isfinite(w->scale[i])) return false;
    return group <= (size_t)INT32_MAX / (15 * 128);
}

/* ---- DequantizeLinear of int4 or uint4 ---- */
static bool dequantized(const struct clq_program *p, int value, const struct clq_step **dq)
{
    if (value < 0 || p->values[value].producer < 0) return false;
    const struct clq_step *s = *dq = &p->steps[p->values[value].producer];
    if (!clq_op_is(s, "DequantizeLinear") || s->in[0] < 0 || s->in[1] < 0 || !p->values[s->in[0]].constant || !p->values[s->in[1]].constant) return false;
    const clq_tensor *c = &p->values[s->in[0]].t;
    if ((c->dtype != CLQ_DTYPE_S4 && c->dtype != CLQ_DTYPE_U4) || c->rank != 2 || p->values[s->in[1]].t.dtype != CLQ_DTYPE_F32) return false;
    return s->n_in < 3 || s->in[2] < 0 || (p->values[s->in[2]].constant && p->values[s->in[2]].t.dtype == c->dtype);
}

/* Which axis of the codes is K, and how scales lie: block > 0 along the K axis, or 0: one per output. */
static bool grouping(const struct clq_program *p, const struct clq_step *dq, int k_axis, size_t *group)
{
    const clq_tensor *c = &p->values[dq->in[0]].t, *s = &p->values[dq->in[1]].t;
    int64_t block = clq_node_int(dq->node, "block_size", 0), axis = clq_node_int(dq->node, "axis", 1), k = c->shape[k_axis];
    if (axis < 0) axis += 2;
    if (block == 0) {
        *group = (size_t)k;
        return s->rank == 1 && axis == 1 - k_axis && s->shape[0] == c->shape[1 - k_axis];
    }
    *group = (size_t)block;
    return block > 0 && axis == k_axis && s->rank == 2 && s->shape[1 - k_axis] == c->shape[1 - k_axis] && s->shape[k_axis] == (k + block - 1) / block;
}

static clq_status from_dequantize(struct clq_nibbles *w, struct clq_arena *arena, const struct clq_program *p, const struct clq_step *dq, int k_axis, bool *found,
                                  struct clq_error *err)
{
    const clq_tensor *c = &p->values[dq->in[0]].t;
    w->k = (size_t)c->shape[k_axis];
    w->n = (size_t)c->shape[1 - k_axis];
    if (w->k == 0 || w->n == 0 || !grouping(p, dq, k_axis, &w->group)) return CLQ_OK;
    CLQ_TRY(allocate(w, arena, err));
    const float *scale = p->values[dq->in[1]].t.data;
    const uint8_t *codes = c->data, *zero = dq->n_in > 2 && dq->in[2] >= 0 ? p->values[dq->in[2]].t.data : NULL;
    size_t groups = (w->k + w->group - 1) / w->group, row = (w->k + 1) / 2;
    unsigned flip = c->dtype == CLQ_DTYPE_S4 ? 8 : 0; /* two's complement to offset 8 */
    memset(w->codes, 0, w->n * row);
    for (size_t n = 0; n < w->n; n++) {
        for (size_t k = 0; k < w->k; k++) put_nibble(w->codes, row, n, k, nibble(codes, k_axis == 0 ? k * w->n + n : n * w->k + k) ^ flip);
        for (size_t g = 0; g < groups; g++) {
            size_t at = groups == 1 && p->values[dq->in[1]].t.rank == 1 ? n : k_axis == 0 ? g * w->n + n : n * groups + g;
            w->scale[n * groups + g] = scale[at];
            w->zero[n * groups + g] = (uint8_t)((zero ? nibble(zero, at) : 0) ^ flip);
        }
    }
    drop_plain_zeros(w);
    *found = usable(w);
    return CLQ_OK;
}

/* ---- MatMulNBits ---- */
static bool constant_of(const struct clq_program *p, const struct clq_step *s, int k, clq_dtype dtype, size_t count)
{
    size_t n = 0;
    if (k >= s->n_in || s->in[k] < 0) return false;
    const struct clq_value *v = &p->values[s->in[k]];
    return v->constant && v->t.dtype == dtype && clq_tensor_elements(&n, &v->t) == CLQ_OK && n == count;
}

static bool absent(const struct clq_step *s, int k)
{
    return k >= s->n_in || s->in[k] < 0;
}

static clq_status from_nbits(struct clq_nibbles *w, struct clq_arena *arena, const struct clq_program *p, const struct clq_step *s, bool *found, struct clq_error *err)
{
    int64_t k = clq_node_int(s->node, "K", 0), n = clq_node_int(s->node, "N", 0), block = clq_node_int(s->node, "block_size", 0);
    const bool real = clq_node_int(s->node, "accuracy_level", 0) != 4; /* only level 4 allows 8-bit rows */
    if (clq_node_int(s->node, "bits", 4) != 4 || (real && block % 8 != 0)) return CLQ_OK;
    if (k < 1 || n < 1 || block < 16 || k > 1 << 24 || n > 1 << 24 || block > 1 << 20 || !absent(s, 4)) return CLQ_OK;
    size_t groups = (size_t)((k + block - 1) / block), bytes = (size_t)block / 2, zeros = (groups + 1) / 2;
    if (!constant_of(p, s, 1, CLQ_DTYPE_U8, (size_t)n * groups * bytes) || !constant_of(p, s, 2, CLQ_DTYPE_F32, (size_t)n * groups)) return CLQ_OK;
    if (!absent(s, 3) && !constant_of(p, s, 3, CLQ_DTYPE_U8, (size_t)n * zeros)) return CLQ_OK;
    if (!absent(s, 5) && !constant_of(p, s, 5, CLQ_DTYPE_F32, (size_t)n)) return CLQ_OK;
    *w = (struct clq_nibbles){.n = (size_t)n, .k = (size_t)k, .group = (size_t)block, .bias = absent(s, 5) ? -1 : s->in[5], .real = real};
    CLQ_TRY(allocate(w, arena, err));
    const uint8_t *codes = p->values[s->in[1]].t.data, *zero = absent(s, 3) ? NULL : p->values[s->in[3]].t.data;
    memcpy(w->scale, p->values[s->in[2]].t.data, w->n * groups * sizeof(float));
    memset(w->codes, 0, w->n * ((w->k + 1) / 2));
    for (size_t o = 0; o < w->n; o++) {
        for (size_t i = 0; i < w->k; i++) put_nibble(w->codes, (w->k + 1) / 2, o, i, nibble(codes + o * groups * bytes, i));
        for (size_t g = 0; g < groups; g++) w->zero[o * groups + g] = (uint8_t)(zero ? nibble(zero + o * zeros, g) : 8);
    }
    drop_plain_zeros(w);
    *found = usable(w);
    return CLQ_OK;
}

/* Codes of 2, 4 or 8 bits, the lowest bits of a byte first. */
static unsigned code_at(const uint8_t *codes, size_t at, size_t bits)
{
    return (unsigned)(codes[at * bits / 8] >> at * bits % 8) & ((1u << bits) - 1);
}

clq_status clq_nbits_widen(struct clq_program *p, struct clq_step *s, struct clq_error *err)
{
    if (s->kind != CLQ_STEP_OP || strcmp(s->node->op_type, "MatMulNBits") != 0 || strcmp(s->node->domain, "com.microsoft") != 0) return CLQ_OK;
    int64_t k = clq_node_int(s->node, "K", 0), n = clq_node_int(s->node, "N", 0), block = clq_node_int(s->node, "block_size", 0), bits = clq_node_int(s->node, "bits", 4);
    const clq_tensor *x = &p->values[s->in[0]].t;
    if (k < 1 || n < 1 || block < 16 || k > 1 << 24 || n > 1 << 24 || block > 1 << 20 || (bits != 2 && bits != 4 && bits != 8)) return CLQ_OK;
    if (x->dtype != CLQ_DTYPE_F32 || x->rank < 2 || x->rank > 6 || x->shape[x->rank - 1] != k || !absent(s, 4)) return CLQ_OK;
    size_t groups = (size_t)((k + block - 1) / block), row = groups * (size_t)(block * bits) / 8, zeros = (groups * (size_t)bits + 7) / 8, count = 0;
    if (!constant_of(p, s, 1, CLQ_DTYPE_U8, (size_t)n * row) || !constant_of(p, s, 2, CLQ_DTYPE_F32, (size_t)n * groups)) return CLQ_OK;
    if (!absent(s, 3) && !constant_of(p, s, 3, CLQ_DTYPE_U8, (size_t)n * zeros)) return CLQ_OK;
    if ((!absent(s, 5) && !constant_of(p, s, 5, CLQ_DTYPE_F32, (size_t)n)) || clq_tensor_elements(&count, x) != CLQ_OK || count == 0) return CLQ_OK;
    clq_tensor t = {.dtype = CLQ_DTYPE_F32, .rank = 2, .shape = {n, k}};
    float *w = clq_arena_array(&p->arena, (size_t)n * (size_t)k, sizeof *w);
    t.data = w;
    int value = w ? clq_program_add_value(p, "", &t, true) : -1;
    if (value < 0) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    const uint8_t *codes = p->values[s->in[1]].t.data, *zero = absent(s, 3) ? NULL : p->values[s->in[3]].t.data;
    const float *scale = p->values[s->in[2]].t.data;
    for (size_t o = 0; o < (size_t)n; o++)
        for (size_t i = 0; i < (size_t)k; i++) {
            size_t g = i / (size_t)block;
            unsigned z = zero ? code_at(zero + o * zeros, g, (size_t)bits) : 1u << (bits - 1);
            w[o * (size_t)k + i] = ((float)code_at(codes + o * row, i, (size_t)bits) - (float)z) * scale[o * groups + g];
        }
    s->kind = CLQ_STEP_MATMUL;
    s->weight = value;
    s->bias = absent(s, 5) ? -1 : s->in[5];
    s->transpose_b = true;
    s->n_in = 1;
    return CLQ_OK;
}

clq_status clq_nibbles_of(struct clq_nibbles *w, struct clq_arena *arena, const struct clq_program *p, const struct clq_step *s, bool *found, struct clq_error *err)
{
    const struct clq_step *dq;
    *w = (struct clq_nibbles){.bias = -1};
    *found = false;
    if (strcmp(s->node->op_type, "MatMulNBits") == 0 && strcmp(s->node->domain, "com.microsoft") == 0) return from_nbits(w, arena, p, s, found, err);
    bool gemm = clq_op_is(s, "Gemm");
    if ((!gemm && !clq_op_is(s, "MatMul")) || s->n_in < 2 || !dequantized(p, s->in[1], &dq)) return CLQ_OK;
    if (gemm) {
        bool plain = clq_node_int(s->node, "transA", 0) == 0 && clq_node_float(s->node, "alpha", 1) == 1 && clq_node_float(s->node, "beta", 1) == 1;
        if (!plain || (!absent(s, 2) && !constant_of(p, s, 2, CLQ_DTYPE_F32, (size_t)p->values[s->out[0]].t.shape[1]))) return CLQ_OK;
        w->bias = absent(s, 2) ? -1 : s->in[2];
    }
    return from_dequantize(w, arena, p, dq, gemm && clq_node_int(s->node, "transB", 0) != 0 ? 1 : 0, found, err);
}
