/* SPDX-License-Identifier: Apache-2.0
 * What waits for values: collecting it while a program is inferred, and running one program after the other. */
#include "graph/stages.h"

#include <stdlib.h>
#include <string.h>

/* ---- Nested graphs ---- */
void clq_nested_start(struct clq_nested *walk, struct clq_arena *arena, const struct clq_graph *graph)
{
    *walk = (struct clq_nested){.arena = arena, .current = graph};
}

static bool push(struct clq_nested *w, const struct clq_graph *g)
{
    if (w->n == w->capacity) {
        int capacity = w->capacity ? w->capacity * 2 : 16;
        const struct clq_graph **fresh = clq_arena_array(w->arena, (size_t)capacity, sizeof *fresh);
        if (!fresh) return false;
        if (w->n) memcpy(fresh, w->todo, (size_t)w->n * sizeof *fresh);
        w->todo = fresh;
        w->capacity = capacity;
    }
    w->todo[w->n++] = g;
    return true;
}

clq_status clq_nested_next(struct clq_nested *w, const struct clq_graph **out, struct clq_error *err)
{
    for (int i = 0; w->current && i < w->current->n_nodes; i++) {
        const struct clq_node *n = &w->current->nodes[i];
        for (int k = 0; k < n->n_attrs; k++)
            if (n->attrs[k].type == CLQ_ATTR_GRAPH && !push(w, n->attrs[k].graph)) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    }
    w->current = w->n ? w->todo[--w->n] : NULL;
    *out = w->current;
    return CLQ_OK;
}

/* ---- Collecting the rest ---- */
static clq_status no_memory(struct clq_inference *f)
{
    return clq_fail(f->err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

clq_status clq_inference_defer(struct clq_inference *f, const struct clq_node *node)
{
    if (f->n_deferred == f->cap_deferred) {
        int capacity = f->cap_deferred ? f->cap_deferred * 2 : 64;
        const struct clq_node **fresh = clq_arena_array(&f->p->arena, (size_t)capacity, sizeof *fresh);
        if (!fresh) return no_memory(f);
        if (f->n_deferred) memcpy(fresh, f->deferred, (size_t)f->n_deferred * sizeof *fresh);
        f->deferred = fresh;
        f->cap_deferred = capacity;
    }
    f->deferred[f->n_deferred++] = node;
    for (int k = 0; k < node->n_outputs; k++)
        if (node->outputs[k][0] && !clq_map_set(&f->waiting, node->outputs[k], 0)) return no_memory(f);
    return CLQ_OK;
}

struct boundary {
    struct clq_inference *f;
    struct clq_rest *rest;
    struct clq_graph *graph; /* of the rest */
    struct clq_map taken;
    bool *bind;
};

static struct clq_value_info describe(const char *name, const clq_tensor *t)
{
    struct clq_value_info info = {.name = name, .dtype = t->dtype, .rank = -1}; /* any: the next run may find other rows */
    for (int d = 0; d < CLQ_MAX_RANK; d++) info.symbol[d] = "";
    return info;
}

/* A value of the program that the rest reads: a constant stays one, anything else becomes an input of the rest. */
static clq_status cross(struct boundary *b, const char *name)
{
    struct clq_program *p = b->f->p;
    int v = name[0] ? clq_map_get(&b->f->names, name) : -1;
    if (v < 0 || clq_map_get(&b->taken, name) >= 0) return CLQ_OK;
    if (!clq_map_set(&b->taken, name, 0)) return no_memory(b->f);
    const struct clq_value *value = &p->values[v];
    if (value->constant) {
        struct clq_const *c = &b->graph->consts[b->graph->n_consts++];
        *c = (struct clq_const){.name = name, .dtype = value->t.dtype, .rank = value->t.rank, .data = value->t.data};
        memcpy(c->shape, value->t.shape, sizeof c->shape);
        return clq_tensor_bytes(&c->bytes, &value->t) == CLQ_OK ? CLQ_OK
                                                               : clq_fail(b->f->err, CLQ_ERR_UNSUPPORTED, "value '%s': its size overflows", name);
    }
    int k = b->graph->n_inputs++, at = 0;
    while (at < p->n_outputs && p->outputs[at] != v) at++;
    if (at == p->n_outputs) p->outputs[p->n_outputs++] = v;
    b->graph->inputs[k] = describe(name, &value->t);
    b->rest->from[k] = at;
    b->bind[k] = value->decides;
    return CLQ_OK;
}

static clq_status cross_node(struct boundary *b, const struct clq_node *n)
{
    struct clq_arena arena = {0};
    struct clq_nested walk;
    const struct clq_graph shell = {.n_nodes = 1, .nodes = (struct clq_node *)(uintptr_t)n}, *g = &shell;
    clq_status st = CLQ_OK;
    for (clq_nested_start(&walk, &arena, g); g && st == CLQ_OK; st = st == CLQ_OK ? clq_nested_next(&walk, &g, b->f->err) : st) {
        for (int i = 0; i < g->n_nodes && st == CLQ_OK; i++)
            for (int k = 0; k < g->nodes[i].n_inputs && st == CLQ_OK; k++) st = cross(b, g->nodes[i].inputs[k]);
        for (int i = 0; i < g->n_outputs && st == CLQ_OK; i++) st = cross(b, g->outputs[i].name);
    }
    clq_arena_free(&arena);
    return st;
}

/* Outputs that are there already, and those that the rest makes. */
static clq_status outputs(struct clq_inference *f, struct clq_rest *rest, struct clq_graph *later)
{
    struct clq_program *p = f->p;
    const struct clq_graph *g = &p->model->graph;
    for (int i = 0; i < g->n_outputs; i++) {
        int v = clq_map_get(&f->names, g->outputs[i].name);
        if (v >= 0) {
            if (rest) rest->here[rest->n_here++] = i;
            p->outputs[p->n_outputs++] = v;
        } else if (rest && clq_map_get(&f->waiting, g->outputs[i].name) >= 0) {
            rest->later[later->n_outputs] = i;
            later->outputs[later->n_outputs++] = g->outputs[i];
        } else {
            return clq_fail(f->err, CLQ_ERR_FORMAT, "output '%s' is not produced by anything", g->outputs[i].name);
        }
    }
    return CLQ_OK;
}

static clq_status make_rest(struct clq_inference *f)
{
    struct clq_program *p = f->p;
    struct clq_arena *a = &p->arena;
    size_t values = f->names.count + 1, n_out = (size_t)p->model->graph.n_outputs + 1;
    if (f->options->stage >= CLQ_STAGE_MOST)
        return clq_fail(f->err, CLQ_ERR_UNSUPPORTED, "%s; more than %d such values follow each other", f->why, CLQ_STAGE_MOST);
    struct clq_rest *rest = clq_arena_array(a, 1, sizeof *rest);
    struct boundary b = {.f = f, .rest = rest, .bind = clq_arena_array(a, values, sizeof *b.bind)};
    if (!rest || !b.bind) return no_memory(f);
    struct clq_model *m = &rest->stage.model;
    *m = *p->model;
    m->arena = (struct clq_arena){0};
    m->mapping = NULL;
    m->graph = (struct clq_graph){.name = p->model->graph.name};
    b.graph = &m->graph;
    rest->why = f->why;
    rest->here = clq_arena_array(a, n_out, sizeof *rest->here);
    rest->later = clq_arena_array(a, n_out, sizeof *rest->later);
    rest->from = clq_arena_array(a, values, sizeof *rest->from);
    m->graph.nodes = clq_arena_array(a, (size_t)f->n_deferred, sizeof *m->graph.nodes);
    m->graph.consts = clq_arena_array(a, values, sizeof *m->graph.consts);
    m->graph.inputs = clq_arena_array(a, values, sizeof *m->graph.inputs);
    m->graph.outputs = clq_arena_array(a, n_out, sizeof *m->graph.outputs);
    if (!rest->here || !rest->later || !rest->from || !m->graph.nodes || !m->graph.consts || !m->graph.inputs || !m->graph.outputs) return no_memory(f);
    clq_map_start(&b.taken, a);
    CLQ_TRY(outputs(f, rest, &m->graph));
    for (int i = 0; i < f->n_deferred; i++) {
        m->graph.nodes[m->graph.n_nodes++] = *f->deferred[i];
        CLQ_TRY(cross_node(&b, f->deferred[i]));
    }
    rest->stage.ctx = p->ctx;
    rest->stage.options = *f->options;
    rest->stage.options.bind = b.bind;
    rest->stage.options.stage++;
    p->rest = rest;
    return CLQ_OK;
}

clq_status clq_inference_finish(struct clq_inference *f)
{
    struct clq_program *p = f->p;
    p->outputs = clq_arena_array(&p->arena, (size_t)p->model->graph.n_outputs + (size_t)p->n_values + 1, sizeof *p->outputs);
    if (!p->outputs) return no_memory(f);
    if (f->n_deferred) CLQ_TRY(make_rest(f));
    else CLQ_TRY(outputs(f, NULL, NULL));
    for (int i = 0; i < p->n_outputs; i++) p->values[p->outputs[i]].is_output = true;
    return CLQ_OK;
}

/* ---- Programs for a stage ---- */
bool clq_program_fits(const struct clq_program *p, const clq_tensor *inputs)
{
    for (int i = 0; i < p->n_inputs; i++) {
        const struct clq_value *v = &p->values[p->inputs[i]];
        const clq_tensor *a = &v->t, *b = &inputs[i];
        size_t bytes;
        if (a->dtype != b->dtype || a->rank != b->rank || memcmp(a->shape, b->shape, (size_t)a->rank * sizeof *a->shape) != 0) return false;
        if (v->constant && clq_tensor_bytes(&bytes, a) == CLQ_OK && bytes && memcmp(a->data, b->data, bytes) != 0) return false;
    }
    return true;
}

clq_status clq_stage_program(struct clq_program **out, struct clq_stage *stage, const clq_tensor *inputs, struct clq_error *err)
{
    for (int i = 0; i < CLQ_STAGE_KEEP; i++) {
        if (!stage->programs[i] || !clq_program_fits(stage->programs[i], inputs)) continue;
        stage->latest = i;
        *out = stage->programs[i];
        return CLQ_OK;
    }
    int at = (stage->latest + 1) % CLQ_STAGE_KEEP;
    clq_program_free(stage->programs[at]);
    stage->programs[at] = NULL;
    CLQ_TRY(clq_program_compile(&stage->programs[at], stage->ctx, &stage->model, inputs, &stage->options, err));
    stage->latest = at;
    *out = stage->programs[at];
    return CLQ_OK;
}

void clq_stage_free(struct clq_stage *stage)
{
    for (int i = 0; i < CLQ_STAGE_KEEP; i++) {
        clq_program_free(stage->programs[i]);
        stage->programs[i] = NULL;
    }
}

/* ---- Running ---- */
struct chain {
    clq_tensor *made;  /* outputs of the program that ran last */
    clq_tensor *given; /* inputs of the next one */
    int *where;        /* output i of the current model is output where[i] of the first one */
};

static void deliver(clq_tensor *outputs, int at, const clq_tensor *t)
{
    size_t bytes;
    void *to = outputs ? outputs[at].data : NULL;
    if (!outputs) return;
    outputs[at] = *t;
    if (!to) return;
    if (clq_tensor_bytes(&bytes, t) == CLQ_OK && bytes) memcpy(to, t->data, bytes);
    outputs[at].data = to;
}

/* Takes what p made; leaves the inputs of the stage behind it in c->given. */
static clq_status hand_on(struct clq_program *p, struct chain *c, clq_tensor *outputs, struct clq_error *err)
{
    const struct clq_rest *rest = p->rest;
    int n = rest ? rest->n_here : p->n_outputs;
    for (int i = 0; i < n; i++) deliver(outputs, c->where[rest ? rest->here[i] : i], &c->made[i]);
    if (!rest) return CLQ_OK;
    const struct clq_graph *g = &rest->stage.model.graph;
    clq_tensor *given = realloc(c->given, ((size_t)g->n_inputs + 1) * sizeof *given);
    if (given) c->given = given;
    if (!given) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    for (int k = 0; k < g->n_inputs; k++) given[k] = c->made[rest->from[k]];
    for (int i = 0; i < g->n_outputs; i++) c->where[i] = c->where[rest->later[i]]; /* later ascends, so nothing is overwritten early */
    return CLQ_OK;
}

static clq_status run_chain(struct clq_program *p, struct chain *c, const clq_tensor *inputs, clq_tensor *outputs, clq_tap_fn *tap, void *tap_state,
                            struct clq_error *err)
{
    for (;;) {
        clq_tensor *made = realloc(c->made, ((size_t)p->n_outputs + 1) * sizeof *made);
        if (made) c->made = made;
        if (!made) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
        memset(made, 0, ((size_t)p->n_outputs + 1) * sizeof *made);
        CLQ_TRY(clq_program_run(p, inputs, made, tap, tap_state, err));
        CLQ_TRY(hand_on(p, c, outputs, err));
        if (!p->rest) return CLQ_OK;
        inputs = c->given;
        CLQ_TRY(clq_stage_program(&p, &p->rest->stage, inputs, err));
    }
}

clq_status clq_stages_run(struct clq_program *p, const clq_tensor *inputs, clq_tensor *outputs, clq_tap_fn *tap, void *tap_state,
                          struct clq_error *err)
{
    if (!p->rest) return clq_program_run(p, inputs, outputs, tap, tap_state, err);
    int n = p->model->graph.n_outputs;
    struct chain c = {.where = calloc((size_t)n + 1, sizeof *c.where)};
    clq_status st = c.where ? CLQ_OK : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; c.where && i < n; i++) c.where[i] = i;
    if (st == CLQ_OK) st = run_chain(p, &c, inputs, outputs, tap, tap_state, err);
    free(c.made);
    free(c.given);
    free(c.where);
    return st;
}
