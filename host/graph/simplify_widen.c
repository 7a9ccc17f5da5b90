/* SPDX-License-Identifier: Apache-2.0
 * float16 and bfloat16 models compute in float32 and keep their types at the borders: constants are widened, inputs and
 * outputs get a Cast. What this pass leaves alone is widened around every operator instead (ops/registry.c). */
#include <string.h>

#include "graph/simplify.h"
#include "ops/convert.h"

static bool is_narrow(int64_t t)
{
    return t == CLQ_DTYPE_F16 || t == CLQ_DTYPE_BF16;
}

struct pass {
    struct clq_model *model;
    struct clq_error *err;
};

static clq_status no_memory(struct pass *w)
{
    return clq_fail(w->err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

static bool produced(const struct clq_graph *g, const char *name)
{
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_outputs; k++)
            if (strcmp(g->nodes[i].outputs[k], name) == 0) return true;
    return false;
}

/* Only models whose borders are known, and in which no operator looks at the bits. */
static bool applies(const struct clq_model *m)
{
    const struct clq_graph *g = &m->graph;
    bool any = false;
    for (int i = 0; i < g->n_consts; i++) any = any || is_narrow(g->consts[i].dtype);
    for (int i = 0; i < g->n_inputs; i++) any = any || is_narrow(g->inputs[i].dtype);
    if (!any) return false;
    for (int i = 0; i < g->n_nodes; i++)
        if (clq_node_is(&g->nodes[i], "BitCast") || g->nodes[i].domain[0]) return false;
    for (int i = 0; i < g->n_outputs; i++)
        if (g->outputs[i].dtype == CLQ_DTYPE_NONE || !produced(g, g->outputs[i].name)) return false;
    return true;
}

static const void *widened(struct pass *w, clq_dtype type, size_t bytes, const void *data)
{
    size_t n = bytes / sizeof(uint16_t);
    const uint16_t *x = data;
    float *y = clq_arena_array(&w->model->arena, n + 1, sizeof *y);
    for (size_t i = 0; y && i < n; i++) y[i] = type == CLQ_DTYPE_F16 ? clq_from_f16(x[i]) : clq_from_bf16(x[i]);
    return y;
}

static clq_status widen_const(struct pass *w, struct clq_const *c)
{
    if (!is_narrow(c->dtype)) return CLQ_OK;
    c->data = widened(w, c->dtype, c->bytes, c->data);
    if (!c->data) return no_memory(w);
    c->dtype = CLQ_DTYPE_F32;
    c->bytes *= 2;
    return CLQ_OK;
}

/* Attributes that name a type or hold values. */
static clq_status widen_attributes(struct pass *w, struct clq_node *n)
{
    static const char *const names[] = {"to", "dtype", "output_dtype", "output_datatype"};
    for (int i = 0; i < n->n_attrs; i++) {
        struct clq_attr *a = &n->attrs[i];
        for (int k = 0; k < 4 && a->type == CLQ_ATTR_INT; k++)
            if (strcmp(a->name, names[k]) == 0 && is_narrow(a->i)) a->i = CLQ_DTYPE_F32;
        if (a->type != CLQ_ATTR_TENSOR || !is_narrow(a->tensor->dtype)) continue;
        struct clq_const *c = clq_arena_array(&w->model->arena, 1, sizeof *c);
        if (!c) return no_memory(w);
        *c = *a->tensor;
        CLQ_TRY(widen_const(w, c));
        a->tensor = c;
    }
    return CLQ_OK;
}

static const char *fresh_name(struct pass *w, const char *base)
{
    const struct clq_graph *g = &w->model->graph;
    const char *name = clq_arena_printf(&w->model->arena, "%s_wide", base);
    while (name) {
        bool taken = produced(g, name) || clq_graph_const(g, name);
        for (int i = 0; i < g->n_inputs; i++) taken = taken || strcmp(g->inputs[i].name, name) == 0;
        if (!taken) return name;
        name = clq_arena_printf(&w->model->arena, "%s_", name);
    }
    return NULL;
}

static clq_status cast(struct pass *w, const char *from, const char *to, clq_dtype type)
{
    struct clq_node *n = clq_graph_add_node(w->model, &w->model->graph, "", "Cast", to);
    bool ok = n && clq_node_add_input(w->model, n, from) && clq_node_add_output(w->model, n, to) && clq_node_set_int(w->model, n, "to", type);
    return ok ? CLQ_OK : no_memory(w);
}

static clq_status widen_input(struct pass *w, const struct clq_value_info *v)
{
    const char *wide = fresh_name(w, v->name);
    if (!wide) return no_memory(w);
    clq_model_rename(w->model, v->name, wide);
    return cast(w, v->name, wide, CLQ_DTYPE_F32);
}

static clq_status narrow_output(struct pass *w, const struct clq_value_info *v)
{
    struct clq_graph *g = &w->model->graph;
    const char *wide = fresh_name(w, v->name);
    if (!wide) return no_memory(w);
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_outputs; k++)
            if (strcmp(g->nodes[i].outputs[k], v->name) == 0) g->nodes[i].outputs[k] = wide;
    clq_model_rename(w->model, v->name, wide);
    return cast(w, wide, v->name, v->dtype);
}

clq_status clq_simplify_widen(struct clq_model *model, struct clq_error *err)
{
    struct pass w = {model, err};
    struct clq_graph *g = &model->graph;
    if (!applies(model)) return CLQ_OK;
    int kept = 0;
    for (int i = 0; i < g->n_infos; i++)
        if (!is_narrow(g->infos[i].dtype)) g->infos[kept++] = g->infos[i];
    g->n_infos = kept;
    for (int i = 0; i < g->n_consts; i++) CLQ_TRY(widen_const(&w, &g->consts[i]));
    for (int i = 0; i < g->n_nodes; i++) CLQ_TRY(widen_attributes(&w, &g->nodes[i]));
    for (int i = 0; i < g->n_inputs; i++)
        if (is_narrow(g->inputs[i].dtype)) CLQ_TRY(widen_input(&w, &g->inputs[i]));
    for (int i = 0; i < g->n_outputs; i++)
        if (is_narrow(g->outputs[i].dtype)) CLQ_TRY(narrow_output(&w, &g->outputs[i]));
    return clq_graph_sort(model, g, err);
}
