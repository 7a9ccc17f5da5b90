/* SPDX-License-Identifier: Apache-2.0
 * The arena plan: lifetimes of values in steps, then fixed offsets, largest values first into the lowest gap that is free for
 * their whole life. Reshapes share memory with their input, and so do steps on rows that may overwrite it. */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "graph/integer.h"

enum { ALIGN = 64, SLACK = 64 };

static bool shares_memory(const struct clq_program *p, const struct clq_step *s)
{
    static const char *const types[] = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"};
    if ((s->kind != CLQ_STEP_OP && s->kind != CLQ_STEP_QMOVE) || s->node->domain[0] != 0 || s->in[0] < 0 || s->out[0] < 0) return false;
    if (s->n_out > 1 && s->out[1] >= 0 && p->values[s->out[1]].uses > 0) return false;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(s->node->op_type, types[i]) == 0) return !p->values[s->in[0]].constant;
    if (strcmp(s->node->op_type, "Cast") == 0 && p->values[s->in[0]].t.dtype == p->values[s->out[0]].t.dtype) return !p->values[s->in[0]].constant;
    return false;
}

static int root(const struct clq_program *p, int v)
{
    while (p->values[v].alias >= 0) v = p->values[v].alias;
    return v;
}

static void touch(struct clq_program *p, int v, int step)
{
    if (v < 0) return;
    struct clq_value *r = &p->values[root(p, v)];
    if (step < r->first) r->first = step;
    if (step > r->last) r->last = step;
}

static void lifetimes(struct clq_program *p, bool retain)
{
    for (int v = 0; v < p->n_values; v++) {
        p->values[v].first = p->n_steps;
        p->values[v].last = -1;
    }
    for (int i = 0; i < p->n_steps; i++) {
        struct clq_step *s = &p->steps[i];
        if (s->dead) continue;
        if (shares_memory(p, s)) p->values[s->out[0]].alias = s->in[0];
        for (int k = 0; k < s->n_in; k++) touch(p, s->in[k], i);
        for (int k = 0; k < s->n_out; k++) touch(p, s->out[k], i);
        touch(p, s->residual, i);
    }
    for (int i = 0; i < p->n_outputs; i++) touch(p, p->outputs[i], p->n_steps);
    if (!retain) return;
    for (int v = 0; v < p->n_values; v++)
        if (p->values[v].last >= 0) p->values[v].last = p->n_steps;
}

/* Rows of our own may be written over those that they are made of, where nobody reads these later: the caches hold one array
 * in place of two. */
static bool works_in_place(const struct clq_program *p, const struct clq_step *s, int i)
{
    const bool rows = s->kind == CLQ_STEP_LAYERNORM || clq_step_is_scores(s);
    if (s->dead || !rows) return false;
    const struct clq_value *x = &p->values[root(p, s->in[0])];
    return !x->constant && !x->is_input && x->last == i && (s->n_in < 2 || root(p, s->in[1]) != root(p, s->in[0]));
}

static void share_rows(struct clq_program *p)
{
    for (int i = 0; i < p->n_steps; i++) {
        const struct clq_step *s = &p->steps[i];
        if (!works_in_place(p, s, i)) continue;
        p->values[s->out[0]].alias = s->in[0];
        p->values[root(p, s->in[0])].last = p->values[s->out[0]].last;
    }
}

struct item {
    int value;
    size_t bytes;
};

static int by_size(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return x->value - y->value;
}

/* The lowest offset where value fits beside the n values already placed. */
static bool place(struct clq_program *p, const struct item *items, int n, struct clq_value *v, size_t *high)
{
    size_t at = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int i = 0; i < n; i++) {
            const struct clq_value *o = &p->values[items[i].value];
            if (o->last < v->first || o->first > v->last) continue;
            if (at < o->offset + o->bytes && o->offset < at + v->bytes) {
                at = o->offset + o->bytes;
                moved = true;
            }
        }
    }
    v->offset = at;
    size_t end;
    if (!clq_size_add(&end, at, v->bytes)) return false;
    if (end > *high) *high = end;
    return true;
}

clq_status clq_pass_memory(struct clq_program *p, bool retain, struct clq_error *err)
{
    lifetimes(p, retain);
    if (!retain) share_rows(p);
    struct item *items = clq_arena_array(&p->arena, (size_t)p->n_values + 1, sizeof *items);
    if (!items) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    int n = 0;
    for (int i = 0; i < p->n_values; i++) {
        struct clq_value *v = &p->values[i];
        if (v->constant || v->is_input || v->alias >= 0 || v->last < 0 || v->t.dtype == CLQ_DTYPE_NONE) continue;
        size_t bytes;
        if (clq_tensor_bytes(&bytes, &v->t) != CLQ_OK || !clq_size_add(&bytes, bytes, SLACK) || !clq_size_align(&v->bytes, bytes, ALIGN))
            return clq_fail(err, CLQ_ERR_UNSUPPORTED, "value '%s': its size overflows", v->name);
        items[n++] = (struct item){i, v->bytes};
    }
    qsort(items, (size_t)n, sizeof *items, by_size);
    size_t high = 0;
    for (int i = 0; i < n; i++)
        if (!place(p, items, i, &p->values[items[i].value], &high)) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "the activations' size overflows");
    p->memory_bytes = high;
    if (high > 0 && !(p->memory = aligned_alloc(ALIGN, high)))
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "activations need %zu bytes", high);
    for (int i = 0; i < n; i++) p->values[items[i].value].t.data = p->memory + p->values[items[i].value].offset;
    for (int i = 0; i < p->n_values; i++)
        if (p->values[i].alias >= 0) p->values[i].t.data = p->values[root(p, i)].t.data;
    return CLQ_OK;
}
