/* SPDX-License-Identifier: Apache-2.0
 * Layout assignment: convolutions and pools work channels-last, elementwise operators follow their inputs, operators with axes
 * are rewritten where that is simple, and everything else sees the plain layout. Conversions are inserted where a value is
 * first needed in the other layout, and shared after that. */
#include <string.h>

#include "graph/integer.h"

/* Moves the channel axis of a shape of rank >= 3 between position 1 and the end. */
static void permute_shape(clq_tensor *t, enum clq_layout to)
{
    int64_t old[CLQ_MAX_RANK];
    memcpy(old, t->shape, sizeof old);
    int r = t->rank;
    if (to == CLQ_LAYOUT_LAST) {
        for (int d = 2; d < r; d++) t->shape[d - 1] = old[d];
        t->shape[r - 1] = old[1];
    } else {
        t->shape[1] = old[r - 1];
        for (int d = 2; d < r; d++) t->shape[d] = old[d - 1];
    }
}

/* Where a plain axis lies in the channels-last layout. */
static int64_t map_axis(int64_t axis, int rank)
{
    if (axis < 0) axis += rank;
    return axis == 0 ? 0 : axis == 1 ? rank - 1 : axis - 1;
}

struct pass {
    struct clq_program *p;
    struct clq_step *old; /* the steps before this pass */
    struct clq_error *err;
};

static clq_status no_memory(struct pass *a)
{
    return clq_fail(a->err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

/* Permutes a constant of rank >= 3 at compile time. */
static clq_status permute_constant(struct pass *a, int *out, int v)
{
    clq_tensor t = a->p->values[v].t;
    size_t bytes, size = clq_dtype_bits(t.dtype) / 8, outer = (size_t)t.shape[0], c = (size_t)t.shape[1], s = 1;
    if (size == 0 || clq_tensor_bytes(&bytes, &t) != CLQ_OK) return clq_fail(a->err, CLQ_ERR_UNSUPPORTED, "value '%s': cannot be permuted", a->p->values[v].name);
    for (int d = 2; d < t.rank; d++) s *= (size_t)t.shape[d];
    unsigned char *to = clq_arena_alloc(&a->p->arena, bytes);
    if (!to) return no_memory(a);
    const unsigned char *from = t.data;
    for (size_t n = 0; n < outer; n++)
        for (size_t i = 0; i < c; i++)
            for (size_t k = 0; k < s; k++) memcpy(to + ((n * s + k) * c + i) * size, from + ((n * c + i) * s + k) * size, size);
    permute_shape(&t, CLQ_LAYOUT_LAST);
    t.data = to;
    int made = clq_program_add_value(a->p, a->p->values[v].name, &t, true);
    if (made < 0) return no_memory(a);
    a->p->values[made].layout = CLQ_LAYOUT_LAST;
    *out = made;
    return CLQ_OK;
}

/* The value in the wanted layout, converting it when needed. */
static clq_status in_layout(struct pass *a, int *out, int v, enum clq_layout want)
{
    *out = v;
    if (v < 0) return CLQ_OK;
    struct clq_value *val = &a->p->values[v];
    if (val->t.rank < 3 || val->layout == want) return CLQ_OK;
    if (val->other >= 0) {
        *out = val->other;
        return CLQ_OK;
    }
    int made;
    if (val->constant && want == CLQ_LAYOUT_LAST) CLQ_TRY(permute_constant(a, &made, v));
    else {
        clq_tensor t = val->t;
        permute_shape(&t, want);
        made = clq_program_add_value(a->p, val->name, &t, false);
        struct clq_step *s = made < 0 ? NULL : clq_program_add_step(a->p, NULL, 1, 1);
        if (!s) return no_memory(a);
        s->kind = CLQ_STEP_LAYOUT;
        s->in[0] = v;
        s->out[0] = made;
        a->p->values[made].layout = want;
    }
    struct clq_value *from = &a->p->values[v], *to = &a->p->values[made];
    to->has_q = from->has_q;
    to->scale = from->scale;
    to->zero_point = from->zero_point;
    to->other = v;
    from->other = made;
    *out = made;
    return CLQ_OK;
}

static void set_output(struct pass *a, int v, enum clq_layout layout)
{
    if (v < 0) return;
    struct clq_value *val = &a->p->values[v];
    if (val->t.rank < 3 || layout == CLQ_LAYOUT_PLAIN) return;
    permute_shape(&val->t, CLQ_LAYOUT_LAST);
    val->layout = CLQ_LAYOUT_LAST;
}

/* A copy of a node with one integer attribute changed. */
static const struct clq_node *with_int(struct pass *a, const struct clq_node *node, const char *name, int64_t value)
{
    struct clq_node *n = clq_arena_alloc(&a->p->arena, sizeof *n);
    struct clq_attr *attrs = clq_arena_array(&a->p->arena, (size_t)node->n_attrs + 1, sizeof *attrs);
    if (!n || !attrs) return NULL;
    *n = *node;
    if (node->n_attrs) memcpy(attrs, node->attrs, (size_t)node->n_attrs * sizeof *attrs);
    n->attrs = attrs;
    for (int i = 0; i < n->n_attrs; i++)
        if (strcmp(attrs[i].name, name) == 0) {
            attrs[i].i = value;
            return n;
        }
    attrs[n->n_attrs++] = (struct clq_attr){.name = name, .type = CLQ_ATTR_INT, .i = value};
    return n;
}

static const struct clq_node *with_axes(struct pass *a, const struct clq_node *node, int rank)
{
    const struct clq_attr *axes = clq_node_attr(node, "axes");
    const struct clq_node *copy = with_int(a, node, "keepdims", 1);
    int64_t *mapped = axes ? clq_arena_array(&a->p->arena, axes->n + 1, sizeof *mapped) : NULL;
    if (!copy || !mapped) return NULL;
    for (size_t i = 0; i < axes->n; i++) mapped[i] = map_axis(axes->ints[i], rank);
    for (int i = 0; i < copy->n_attrs; i++)
        if (strcmp(copy->attrs[i].name, "axes") == 0) copy->attrs[i].ints = mapped;
    return copy;
}

/* A constant operand of a broadcast: raised to full rank and permuted. */
static clq_status broadcast_constant(struct pass *a, int *out, int v, int rank)
{
    clq_tensor t = a->p->values[v].t;
    int shift = rank - t.rank;
    for (int d = rank - 1; d >= 0; d--) t.shape[d] = d >= shift ? t.shape[d - shift] : 1;
    t.rank = rank;
    int made = clq_program_add_value(a->p, a->p->values[v].name, &t, true);
    if (made < 0) return no_memory(a);
    return permute_constant(a, out, made);
}

static bool is_last(const struct clq_program *p, int v)
{
    return v >= 0 && p->values[v].t.rank >= 3 && p->values[v].layout == CLQ_LAYOUT_LAST;
}

static size_t count(const clq_tensor *t)
{
    size_t n = 0;
    return clq_tensor_elements(&n, t) == CLQ_OK ? n : 0;
}

/* Whether an elementwise step can run channels-last: every operand has the output's rank, is a constant, or is scalar. */
static bool elementwise_last(const struct clq_program *p, const struct clq_step *s)
{
    int rank = p->values[s->out[0]].t.rank;
    bool any = false;
    if (rank < 3) return false;
    for (int k = 0; k < s->n_in; k++) {
        if (s->in[k] < 0) continue;
        const struct clq_value *v = &p->values[s->in[k]];
        if (v->t.rank == rank) any = any || is_last(p, s->in[k]);
        else if (!v->constant && count(&v->t) != 1) return false;
    }
    return any;
}

static clq_status elementwise(struct pass *a, struct clq_step *s, bool broadcast)
{
    int rank = a->p->values[s->out[0]].t.rank;
    for (int k = 0; k < s->n_in; k++) {
        if (s->in[k] < 0) continue;
        const struct clq_value *v = &a->p->values[s->in[k]];
        int made = s->in[k];
        if (v->t.rank == rank) CLQ_TRY(in_layout(a, &made, s->in[k], CLQ_LAYOUT_LAST));
        else if (broadcast && v->constant && count(&v->t) != 1) CLQ_TRY(broadcast_constant(a, &made, s->in[k], rank));
        s->in[k] = made;
    }
    set_output(a, s->out[0], CLQ_LAYOUT_LAST);
    return CLQ_OK;
}

/* Resize with constant per-axis scales or sizes. */
static clq_status permute_vector(struct pass *a, int *value, int rank)
{
    if (*value < 0) return CLQ_OK;
    clq_tensor t = a->p->values[*value].t;
    size_t n = count(&t), size = clq_dtype_bits(t.dtype) / 8;
    if (n != (size_t)rank || size == 0) return CLQ_OK;
    unsigned char *to = clq_arena_alloc(&a->p->arena, n * size);
    if (!to) return no_memory(a);
    for (int d = 0; d < rank; d++) memcpy(to + (size_t)map_axis(d, rank) * size, (const unsigned char *)t.data + (size_t)d * size, size);
    t.data = to;
    *value = clq_program_add_value(a->p, a->p->values[*value].name, &t, true);
    return *value < 0 ? no_memory(a) : CLQ_OK;
}

static bool resize_last(const struct clq_program *p, const struct clq_step *s)
{
    if (strcmp(s->node->op_type, "Resize") != 0 && strcmp(s->node->op_type, "Upsample") != 0) return false;
    if (s->kind != CLQ_STEP_OP && s->kind != CLQ_STEP_QMOVE) return false;
    if (!is_last(p, s->in[0]) || clq_node_attr(s->node, "axes") || clq_node_attr(s->node, "scales")) return false;
    for (int k = 1; k < s->n_in; k++)
        if (s->in[k] >= 0 && (!p->values[s->in[k]].constant || count(&p->values[s->in[k]].t) == 2 * (size_t)p->values[s->in[0]].t.rank)) return false;
    return true;
}

static bool reduce_last(const struct clq_program *p, const struct clq_step *s)
{
    if (s->kind != CLQ_STEP_OP || strncmp(s->node->op_type, "Reduce", 6) != 0 || !is_last(p, s->in[0])) return false;
    return clq_node_int(s->node, "keepdims", 1) == 1 && clq_node_attr(s->node, "axes") && s->n_in == 1;
}

/* Chooses and applies the layout of one step; *s is already in the new list. */
static clq_status assign(struct pass *a, struct clq_step *s)
{
    struct clq_program *p = a->p;
    int rank = s->n_out > 0 && s->out[0] >= 0 ? p->values[s->out[0]].t.rank : 0;
    switch (s->kind) {
    case CLQ_STEP_CONV:
    case CLQ_STEP_POOL:
    case CLQ_STEP_QCONV:
    case CLQ_STEP_QMAXPOOL:
    case CLQ_STEP_QAVGPOOL:
        CLQ_TRY(in_layout(a, &s->in[0], s->in[0], CLQ_LAYOUT_LAST));
        CLQ_TRY(in_layout(a, &s->residual, s->residual, CLQ_LAYOUT_LAST));
        set_output(a, s->out[0], CLQ_LAYOUT_LAST);
        return CLQ_OK;
    case CLQ_STEP_QUANTIZE:
    case CLQ_STEP_DEQUANTIZE:
    case CLQ_STEP_QLUT:
        if (is_last(p, s->in[0])) set_output(a, s->out[0], CLQ_LAYOUT_LAST);
        return CLQ_OK;
    case CLQ_STEP_QMUL: /* the kernel multiplies rows of channels */
        if (rank == 4 && count(&p->values[s->in[0]].t) != count(&p->values[s->in[1]].t)) return elementwise(a, s, false);
        break;
    default: break;
    }
    if (s->kind == CLQ_STEP_QADD || s->kind == CLQ_STEP_QMUL) {
        if (elementwise_last(p, s)) return elementwise(a, s, false);
    } else if (s->kind == CLQ_STEP_QCONCAT || clq_op_is(s, "Concat")) {
        if (elementwise_last(p, s)) {
            int64_t axis = map_axis(clq_node_int(s->node, "axis", 1), rank);
            if (s->kind == CLQ_STEP_QCONCAT) s->axis = (int)axis;
            else if (!(s->node = with_int(a, s->node, "axis", axis))) return no_memory(a);
            return elementwise(a, s, false);
        }
    } else if (s->kind == CLQ_STEP_OP && s->n_out == 1 && (s->op->flags & (CLQ_OP_UNARY | CLQ_OP_BINARY))) {
        if (elementwise_last(p, s)) return elementwise(a, s, (s->op->flags & CLQ_OP_BINARY) != 0);
    } else if (resize_last(p, s)) {
        for (int k = 1; k < s->n_in; k++) CLQ_TRY(permute_vector(a, &s->in[k], rank));
        set_output(a, s->out[0], CLQ_LAYOUT_LAST);
        return CLQ_OK;
    } else if (reduce_last(p, s)) {
        if (!(s->node = with_axes(a, s->node, rank))) return no_memory(a);
        set_output(a, s->out[0], CLQ_LAYOUT_LAST);
        return CLQ_OK;
    }
    for (int k = 0; k < s->n_in; k++) CLQ_TRY(in_layout(a, &s->in[k], s->in[k], CLQ_LAYOUT_PLAIN));
    return in_layout(a, &s->residual, s->residual, CLQ_LAYOUT_PLAIN);
}

clq_status clq_pass_layout(struct clq_program *p, struct clq_error *err)
{
    struct pass a = {.p = p, .old = p->steps, .err = err};
    int n_old = p->n_steps;
    p->steps = NULL;
    p->n_steps = p->cap_steps = 0;
    for (int i = 0; i < n_old; i++) {
        if (a.old[i].dead) continue;
        struct clq_step s = a.old[i]; /* worked on outside the list: conversions are added before it */
        CLQ_TRY(assign(&a, &s));
        if (!clq_program_add_step(p, &s, s.n_in, s.n_out)) return no_memory(&a);
    }
    for (int i = 0; i < p->n_outputs; i++) {
        int v = p->outputs[i], made;
        CLQ_TRY(in_layout(&a, &made, v, CLQ_LAYOUT_PLAIN));
        p->values[v].is_output = false;
        p->outputs[i] = made;
    }
    for (int i = 0; i < p->n_outputs; i++) p->values[p->outputs[i]].is_output = true;
    return CLQ_OK;
}
