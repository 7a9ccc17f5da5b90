/* SPDX-License-Identifier: Apache-2.0
 * Folds a scaling by one number, and an addition of one number, forward into the convolution that alone reads the result. The
 * addition only where the convolution has no padding, because padding adds zeros and not that number. */
#include <string.h>

#include "graph/simplify.h"

struct fold {
    struct clq_model *model;
    struct clq_uses uses;
    struct clq_map reader; /* value -> node that reads it last */
    struct clq_error *err;
};

static clq_status no_memory(struct fold *f)
{
    return clq_fail(f->err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

/* The operand of Mul or Add beside one constant number; NULL when it is not of that form. */
static const char *beside_number(const struct clq_model *m, const struct clq_node *n, float *number)
{
    for (int k = 0; k < 2; k++) {
        const struct clq_const *c = n->inputs[1 - k][0] ? clq_graph_const(&m->graph, n->inputs[1 - k]) : NULL;
        if (!c || c->dtype != CLQ_DTYPE_F32 || c->bytes != sizeof *number || c->rank > 1) continue;
        memcpy(number, c->data, sizeof *number);
        return n->inputs[k];
    }
    return NULL;
}

static bool has_padding(const struct clq_node *conv)
{
    const struct clq_attr *pads = clq_node_attr(conv, "pads"), *automatic = clq_node_attr(conv, "auto_pad");
    if (pads && pads->type != CLQ_ATTR_INTS) return true;
    if (automatic && automatic->type == CLQ_ATTR_STRING && strcmp(automatic->s, "NOTSET") != 0 && strcmp(automatic->s, "VALID") != 0) return true;
    for (size_t i = 0; pads && i < pads->n; i++)
        if (pads->ints[i] != 0) return true;
    return false;
}

/* conv(scale * x + shift) = conv'(x): new weights, and a new bias where shift is not 0. */
static clq_status rewrite(struct fold *f, struct clq_node *conv, double scale, double shift, const char *x)
{
    struct clq_model *m = f->model;
    struct clq_const w = *clq_graph_const(&m->graph, conv->inputs[1]); /* a copy: adding constants moves the list */
    const struct clq_const *b = conv->n_inputs > 2 && conv->inputs[2][0] ? clq_graph_const(&m->graph, conv->inputs[2]) : NULL;
    const float *old = w.data, *old_bias = b ? b->data : NULL;
    size_t n = w.bytes / sizeof(float), channels = (size_t)w.shape[0], per = channels ? n / channels : 0;
    float *nw = clq_arena_alloc(&m->arena, w.bytes), *nb = clq_arena_array(&m->arena, channels + 1, sizeof *nb);
    const char *wname = clq_arena_printf(&m->arena, "%s_scaled", w.name), *bname = clq_arena_printf(&m->arena, "%s_shifted", w.name);
    while (wname && clq_graph_const(&m->graph, wname)) wname = clq_arena_printf(&m->arena, "%s_", wname);
    while (bname && clq_graph_const(&m->graph, bname)) bname = clq_arena_printf(&m->arena, "%s_", bname);
    if (!nw || !nb || !wname || !bname) return no_memory(f);
    for (size_t c = 0; c < channels; c++) {
        double sum = 0;
        for (size_t i = 0; i < per; i++) {
            sum += (double)old[c * per + i];
            nw[c * per + i] = (float)((double)old[c * per + i] * scale);
        }
        nb[c] = (float)((old_bias ? (double)old_bias[c] : 0) + shift * sum);
    }
    if (!clq_graph_add_const(m, &m->graph, wname, CLQ_DTYPE_F32, w.rank, w.shape, nw, w.bytes, false)) return no_memory(f);
    conv->inputs[1] = wname;
    conv->inputs[0] = x;
    if (shift == 0) return CLQ_OK;
    int64_t shape = (int64_t)channels;
    if (!clq_graph_add_const(m, &m->graph, bname, CLQ_DTYPE_F32, 1, &shape, nb, channels * sizeof *nb, false)) return no_memory(f);
    if (conv->n_inputs > 2) conv->inputs[2] = bname;
    else if (!clq_node_add_input(m, conv, bname)) return no_memory(f);
    return CLQ_OK;
}

/* Folds node i into its reader. Mul with Add behind it: x * a + b = (x + b / a) * a, so the scale can still move. */
static clq_status fold_node(struct fold *f, int i, bool *changed)
{
    struct clq_graph *g = &f->model->graph;
    struct clq_node *n = &g->nodes[i];
    float number;
    bool mul = clq_node_is(n, "Mul"), add = clq_node_is(n, "Add");
    const char *x = (mul || add) && n->n_inputs == 2 ? beside_number(f->model, n, &number) : NULL;
    if (!x || clq_uses_count(&f->uses, n->outputs[0]) != 1) return CLQ_OK;
    int r = clq_map_get(&f->reader, n->outputs[0]);
    struct clq_node *conv = r < 0 ? NULL : &g->nodes[r];
    if (!conv || !clq_node_is(conv, "Conv") || conv->n_inputs < 2 || strcmp(conv->inputs[0], n->outputs[0]) != 0) return CLQ_OK;
    const struct clq_const *w = clq_graph_const(g, conv->inputs[1]);
    if (!w || w->dtype != CLQ_DTYPE_F32 || w->rank < 3 || w->bytes == 0) return CLQ_OK;
    if (conv->n_inputs > 2 && conv->inputs[2][0]) {
        const struct clq_const *b = clq_graph_const(g, conv->inputs[2]);
        if (!b || b->dtype != CLQ_DTYPE_F32 || b->bytes != (size_t)w->shape[0] * sizeof(float)) return CLQ_OK;
    }
    if (add && has_padding(conv)) return CLQ_OK;
    CLQ_TRY(rewrite(f, conv, mul ? (double)number : 1, add ? (double)number : 0, x));
    g->nodes[i].op_type = NULL;
    if (!clq_map_set(&f->reader, x, r)) return no_memory(f);
    *changed = true;
    return CLQ_OK;
}

static clq_status index_readers(struct fold *f)
{
    for (int i = 0; i < f->model->graph.n_nodes; i++)
        for (int k = 0; k < f->model->graph.nodes[i].n_inputs; k++)
            if (!clq_map_set(&f->reader, f->model->graph.nodes[i].inputs[k], i)) return no_memory(f);
    return CLQ_OK;
}

/* Turns Mul by a, Add of b into Add of b / a, Mul by a where that lets the scale move into a padded convolution. */
static clq_status swap_for_padding(struct fold *f, int i)
{
    struct clq_model *m = f->model;
    struct clq_node *mul = &m->graph.nodes[i];
    float a, b;
    const char *x = clq_node_is(mul, "Mul") && mul->n_inputs == 2 ? beside_number(m, mul, &a) : NULL;
    if (!x || a == 0 || clq_uses_count(&f->uses, mul->outputs[0]) != 1) return CLQ_OK;
    int r = clq_map_get(&f->reader, mul->outputs[0]);
    struct clq_node *add = r < 0 ? NULL : &m->graph.nodes[r];
    if (!add || !clq_node_is(add, "Add") || add->n_inputs != 2 || !beside_number(m, add, &b) || clq_uses_count(&f->uses, add->outputs[0]) != 1) return CLQ_OK;
    int c = clq_map_get(&f->reader, add->outputs[0]);
    if (c < 0 || !clq_node_is(&m->graph.nodes[c], "Conv") || !has_padding(&m->graph.nodes[c])) return CLQ_OK;
    float first = (float)((double)b / (double)a);
    const char *name = clq_arena_printf(&m->arena, "%s_before", add->outputs[0]);
    while (name && clq_graph_const(&m->graph, name)) name = clq_arena_printf(&m->arena, "%s_", name);
    if (!name || !clq_graph_add_const(m, &m->graph, name, CLQ_DTYPE_F32, 0, NULL, &first, sizeof first, true)) return no_memory(f);
    const char *scale = strcmp(mul->inputs[0], x) == 0 ? mul->inputs[1] : mul->inputs[0];
    mul->op_type = "Add";
    mul->inputs[0] = x;
    mul->inputs[1] = name;
    add->op_type = "Mul";
    add->inputs[0] = mul->outputs[0];
    add->inputs[1] = scale;
    return CLQ_OK;
}

clq_status clq_simplify_forward(struct clq_model *model, struct clq_error *err)
{
    struct fold f = {.model = model, .err = err};
    CLQ_TRY(clq_uses_start(&f.uses, model, err));
    clq_map_start(&f.reader, &f.uses.arena);
    clq_status st = index_readers(&f);
    for (int i = 0; i < model->graph.n_nodes && st == CLQ_OK; i++) st = swap_for_padding(&f, i);
    bool changed = true;
    while (changed && st == CLQ_OK) { /* a chain folds from its end */
        changed = false;
        for (int i = model->graph.n_nodes - 1; i >= 0 && st == CLQ_OK; i--)
            if (model->graph.nodes[i].op_type) st = fold_node(&f, i, &changed);
    }
    clq_uses_free(&f.uses);
    clq_model_compact(model);
    return st;
}
