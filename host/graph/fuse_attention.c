/* SPDX-License-Identifier: Apache-2.0
 * Attention as exporters spell it out: a product of queries and keys, softmax of the scaled and masked scores, and their product
 * with values, one step in the slot of the last product. Operands are followed back through transposes, and multiples of queries
 * and keys, to where they are read with strides; a transpose that alone reads the result is written with strides. Inner values
 * must have no other reader. What is left without readers goes. */
#include <math.h>
#include <string.h>

#include "graph/patterns.h"

/* What the axes of an operand mean; rows of keys and values are keys. */
enum role { BATCH, HEAD, ROW, COLUMN, ROLES };

struct operand {
    int value;
    int axis[ROLES]; /* of the value, or -1: it has none, like an axis of 1 */
    double scale;
};

/* rank 2 to 4; turned: columns come before rows. */
static struct operand operand(int value, int rank, bool turned)
{
    struct operand o = {value, {rank - 4, rank - 3, rank - 2, rank - 1}, 1};
    for (int r = BATCH; r <= HEAD; r++) o.axis[r] = o.axis[r] < 0 ? -1 : o.axis[r];
    if (turned) {
        o.axis[ROW] = rank - 1;
        o.axis[COLUMN] = rank - 2;
    }
    return o;
}

/* perm[d]: the input's axis that becomes the output's axis d; shape inference has proven the range. */
static bool read_perm(const struct clq_step *s, int rank, int perm[CLQ_MAX_RANK])
{
    const struct clq_attr *a = clq_node_attr(s->node, "perm");
    if (a && (a->type != CLQ_ATTR_INTS || a->n != (size_t)rank)) return false;
    for (int d = 0; d < rank; d++) perm[d] = !a ? rank - 1 - d : (int)(a->ints[d] < 0 ? a->ints[d] + rank : a->ints[d]);
    return true;
}

/* One step towards the source of an operand; false at the end. */
static bool step_back(const struct clq_program *p, struct operand *o)
{
    double c;
    int perm[CLQ_MAX_RANK];
    const struct clq_value *v = &p->values[o->value];
    const int x = clq_pattern_multiple(p, o->value, &c);
    if (x >= 0 && isnormal((float)c) && isnormal((float)(o->scale * c)) && clq_pattern_same_shape(p, x, o->value)) {
        o->value = x;
        o->scale *= c;
        return true;
    }
    if (v->producer < 0) return false;
    const struct clq_step *s = &p->steps[v->producer];
    if (s->dead || !clq_op_is(s, "Transpose") || !read_perm(s, v->t.rank, perm)) return false;
    o->value = s->in[0];
    for (int r = 0; r < ROLES; r++)
        if (o->axis[r] >= 0) o->axis[r] = perm[o->axis[r]];
    return true;
}

/* As far back as the columns are still neighbors, unless they need not be. */
static void trace(const struct clq_program *p, struct operand *o, bool any_columns)
{
    for (struct operand at = *o; step_back(p, &at);)
        if (any_columns || at.axis[COLUMN] == p->values[at.value].t.rank - 1) *o = at;
}

/* The strides of an operand whose axes have these extents; those of batch and head may also be 1. */
static bool read_strides(const struct clq_program *p, const struct operand *o, const size_t extent[ROLES], struct clq_strides *out, size_t *column)
{
    const clq_tensor *t = &p->values[o->value].t;
    size_t n, stride[ROLES] = {0};
    if (t->dtype != CLQ_DTYPE_F32 || clq_tensor_elements(&n, t) != CLQ_OK || n == 0) return false;
    for (int r = 0; r < ROLES; r++) {
        const size_t size = o->axis[r] < 0 ? 1 : (size_t)t->shape[o->axis[r]];
        if (size != extent[r] && (r >= ROW || size != 1)) return false;
        stride[r] = r >= ROW || size > 1;
        for (int d = o->axis[r] + 1; d < t->rank; d++) stride[r] *= (size_t)t->shape[d];
    }
    *out = (struct clq_strides){stride[BATCH], stride[HEAD], stride[ROW]}; /* 0 where all images or heads share one */
    *column = stride[COLUMN];
    return true;
}

/* A mask has the scores' axes, or their last ones, or 1; its keys are neighbors. */
static bool read_mask(const struct clq_program *p, int value, const size_t extent[ROLES], struct clq_strides *out)
{
    const clq_tensor *t = &p->values[value].t;
    size_t stride[ROLES] = {0}, size = 1;
    for (int d = t->rank - 1, r = COLUMN; d >= 0 && r >= BATCH; d--, r--) {
        if (t->shape[d] != 1 && (size_t)t->shape[d] != extent[r]) return false;
        stride[r] = t->shape[d] == 1 ? 0 : size;
        size *= (size_t)t->shape[d];
    }
    *out = (struct clq_strides){stride[BATCH], stride[HEAD], stride[ROW]};
    return t->dtype == CLQ_DTYPE_F32 && t->rank <= ROLES && (stride[COLUMN] == 1 || extent[COLUMN] == 1);
}

/* The softmax over rows of scores that alone are multiplied with the values. */
static const struct clq_step *softmax_of(const struct clq_program *p, int value)
{
    const struct clq_value *v = &p->values[value];
    if (v->producer < 0 || v->is_output || v->uses != 1 || v->t.dtype != CLQ_DTYPE_F32) return NULL;
    const struct clq_step *s = &p->steps[v->producer];
    if (s->dead || (!clq_step_is_scores(s) && !(clq_op_is(s, "Softmax") && clq_pattern_rows(p, s)))) return NULL;
    return s;
}

/* The transpose that alone reads the step's result and keeps its columns, or -1. */
static int turned_result(const struct clq_program *p, const struct clq_step *s, struct operand *y)
{
    const int c = clq_program_find_consumer(p, s->out[0]), rank = p->values[s->out[0]].t.rank;
    int perm[CLQ_MAX_RANK];
    if (c < 0 || !clq_op_is(&p->steps[c], "Transpose") || !read_perm(&p->steps[c], rank, perm) || perm[rank - 1] != rank - 1) return -1;
    y->value = p->steps[c].out[0];
    for (int r = 0; r < ROLES; r++)
        for (int d = 0, was = y->axis[r]; was >= 0 && d < rank; d++)
            if (perm[d] == was) y->axis[r] = d;
    return c;
}

/* Query rows lie in lanes, 32 at a time: few rows, or few in the last block, are left to oneDNN. So are products with constants, which
 * it packs once, and CPUs without a version of their own: the plain-C one computes a score after the other. */
static bool worth_it(const struct clq_program *p, int keys, int values, size_t rows)
{
    const size_t block = 32, lanes = (rows + block - 1) / block * block;
    return rows >= lanes / 4 * 3 && !p->values[keys].constant && !p->values[values].constant && strcmp(p->ctx->kernels.variant.attention_f32, "ref") != 0;
}

void clq_pattern_attention(struct clq_program *p, int i)
{
    struct clq_step *s = &p->steps[i];
    const struct clq_step *softmax = clq_op_is(s, "MatMul") ? softmax_of(p, s->in[0]) : NULL;
    const struct clq_step *m = softmax ? clq_pattern_source(p, softmax->in[0], "MatMul", 1) : NULL;
    if (!m) return;
    const clq_tensor *out = &p->values[s->out[0]].t, *left = &p->values[m->in[0]].t, *right = &p->values[m->in[1]].t;
    const int rank = out->rank, mask = softmax->kind == CLQ_STEP_SOFTMAX && softmax->n_in > 1 ? softmax->in[1] : -1;
    if (rank < 2 || rank > 4 || left->rank != rank || right->rank != rank || p->values[s->in[1]].t.rank != rank) return;
    const size_t batch = rank > 3 ? (size_t)out->shape[rank - 4] : 1, heads = rank > 2 ? (size_t)out->shape[rank - 3] : 1;
    const size_t rows = (size_t)left->shape[rank - 2], size = (size_t)left->shape[rank - 1], keys = (size_t)right->shape[rank - 1];
    const size_t size_v = (size_t)out->shape[rank - 1];
    if (!worth_it(p, m->in[1], s->in[1], rows)) return;
    struct clq_attention_args a = {.batch = batch, .heads = heads, .rows = rows, .keys = keys, .size = size, .size_v = size_v};
    struct operand q = operand(m->in[0], rank, false), k = operand(m->in[1], rank, true), v = operand(s->in[1], rank, false);
    struct operand y = operand(s->out[0], rank, false);
    size_t column;
    trace(p, &q, false);
    trace(p, &k, true);
    for (struct operand at = v; step_back(p, &at) && at.scale == 1;)
        if (at.axis[COLUMN] == p->values[at.value].t.rank - 1) v = at;
    const int turned = turned_result(p, s, &y);
    a.scale = (float)((softmax->kind == CLQ_STEP_SOFTMAX ? (double)softmax->alpha : 1) * q.scale * k.scale);
    if (!isnormal(a.scale) || !read_strides(p, &q, (size_t[]){batch, heads, rows, size}, &a.of_q, &column) ||
        !read_strides(p, &v, (size_t[]){batch, heads, keys, size_v}, &a.of_v, &column) ||
        !read_strides(p, &y, (size_t[]){batch, heads, rows, size_v}, &a.of_y, &column) ||
        !read_strides(p, &k, (size_t[]){batch, heads, keys, size}, &a.of_k, &a.k_step) ||
        (mask >= 0 && !read_mask(p, mask, (size_t[]){batch, heads, rows, keys}, &a.of_mask)))
        return;
    int *in = clq_arena_array(&p->arena, 5, sizeof *in);
    if (!in) return; /* the steps stay apart */
    memcpy(in, (int[]){q.value, k.value, v.value, mask}, 4 * sizeof *in);
    s->kind = CLQ_STEP_ATTENTION;
    s->attention = a;
    s->in = in;
    s->n_in = mask >= 0 ? 4 : 3;
    if (turned < 0) return;
    p->steps[turned].dead = true;
    s->out = p->steps[turned].out;
    p->values[s->out[0]].producer = i;
}
