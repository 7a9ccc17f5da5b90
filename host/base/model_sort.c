/* SPDX-License-Identifier: Apache-2.0
 * The order of nodes: a depth-first walk with an explicit stack that keeps the file's order wherever it is valid. A
 * node also depends on the outer values that its nested graphs capture. Time is linear in nodes and names. */
#include "base/map.h"
#include "base/model.h"

/* Where a value comes from: a node's index, or GIVEN + i for inputs and constants. */
enum { GIVEN = 1 << 30 };

struct capture {
    const char *name;
    struct capture *next;
};

/* A nested graph that belongs to a node of the graph that is sorted. */
struct scope {
    const struct clq_graph *graph;
    const struct scope *parent;
    int node;
    struct clq_map defined;
    struct scope *next;
};

struct sorter {
    struct clq_arena arena;
    const struct clq_graph *graph;
    bool main; /* the outermost graph: every value must be produced in it */
    struct clq_map producer;
    struct capture **captures; /* per node */
    struct clq_error *err;
};

static clq_status no_memory(struct sorter *s)
{
    return clq_fail(s->err, CLQ_ERR_OUT_OF_MEMORY, "ordering %d nodes: out of memory", s->graph->n_nodes);
}

static clq_status define(struct sorter *s, const char *name, int where)
{
    if (clq_map_get(&s->producer, name) >= 0)
        return clq_fail(s->err, CLQ_ERR_FORMAT, "value '%s' is produced twice", name);
    return clq_map_set(&s->producer, name, where) ? CLQ_OK : no_memory(s);
}

static clq_status define_all(struct sorter *s)
{
    const struct clq_graph *g = s->graph;
    clq_map_start(&s->producer, &s->arena);
    for (int i = 0; i < g->n_inputs; i++) CLQ_TRY(define(s, g->inputs[i].name, GIVEN));
    for (int i = 0; i < g->n_consts; i++) CLQ_TRY(define(s, g->consts[i].name, GIVEN));
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_outputs; k++)
            if (g->nodes[i].outputs[k][0]) CLQ_TRY(define(s, g->nodes[i].outputs[k], i));
    return CLQ_OK;
}

static bool push_scopes(struct sorter *s, struct scope **todo, const struct clq_node *node, const struct scope *parent,
                        int owner)
{
    for (int k = 0; k < node->n_attrs; k++) {
        if (!node->attrs[k].graph) continue;
        struct scope *fresh = clq_arena_array(&s->arena, 1, sizeof *fresh);
        if (!fresh) return false;
        *fresh = (struct scope){.graph = node->attrs[k].graph, .parent = parent, .node = owner, .next = *todo};
        *todo = fresh;
    }
    return true;
}

/* Notes that a nested graph reads name, unless one of the graphs around it defines that. */
static bool capture(struct sorter *s, const struct scope *scope, const char *name)
{
    if (!name[0]) return true;
    for (const struct scope *p = scope; p; p = p->parent)
        if (clq_map_get(&p->defined, name) >= 0) return true;
    struct capture *c = clq_arena_array(&s->arena, 1, sizeof *c);
    if (!c) return false;
    *c = (struct capture){name, s->captures[scope->node]};
    s->captures[scope->node] = c;
    return true;
}

static bool scan_scope(struct sorter *s, struct scope *scope, struct scope **todo)
{
    const struct clq_graph *g = scope->graph;
    bool ok = true;
    clq_map_start(&scope->defined, &s->arena);
    for (int i = 0; ok && i < g->n_inputs; i++) ok = clq_map_set(&scope->defined, g->inputs[i].name, 0);
    for (int i = 0; ok && i < g->n_consts; i++) ok = clq_map_set(&scope->defined, g->consts[i].name, 0);
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; ok && k < g->nodes[i].n_outputs; k++)
            ok = clq_map_set(&scope->defined, g->nodes[i].outputs[k], 0);
    for (int i = 0; i < g->n_nodes; i++) {
        for (int k = 0; ok && k < g->nodes[i].n_inputs; k++) ok = capture(s, scope, g->nodes[i].inputs[k]);
        ok = ok && push_scopes(s, todo, &g->nodes[i], scope, scope->node);
    }
    for (int i = 0; ok && i < g->n_outputs; i++) ok = capture(s, scope, g->outputs[i].name);
    return ok;
}

static clq_status find_captures(struct sorter *s)
{
    struct scope *todo = NULL;
    s->captures = clq_arena_array(&s->arena, (size_t)s->graph->n_nodes, sizeof *s->captures);
    if (!s->captures) return no_memory(s);
    for (int i = 0; i < s->graph->n_nodes; i++)
        if (!push_scopes(s, &todo, &s->graph->nodes[i], NULL, i)) return no_memory(s);
    while (todo) {
        struct scope *scope = todo;
        todo = scope->next;
        if (!scan_scope(s, scope, &todo)) return no_memory(s);
    }
    return CLQ_OK;
}

struct frame {
    int node, input;
    struct capture *capture;
};

/* The next value that a frame's node needs, or NULL. */
static const char *next_need(const struct sorter *s, struct frame *f)
{
    const struct clq_node *n = &s->graph->nodes[f->node];
    while (f->input < n->n_inputs) {
        const char *name = n->inputs[f->input++];
        if (name[0]) return name;
    }
    struct capture *c = f->capture;
    if (!c) return NULL;
    f->capture = c->next;
    return c->name;
}

enum { NEW, OPEN, DONE };

static clq_status walk(struct sorter *s, int *order)
{
    int n = s->graph->n_nodes, depth = 0, placed = 0;
    unsigned char *state = clq_arena_array(&s->arena, (size_t)n, 1);
    struct frame *stack = clq_arena_array(&s->arena, (size_t)n, sizeof *stack);
    if (!state || !stack) return no_memory(s);
    for (int root = 0; root < n; root++) {
        if (state[root] != NEW) continue;
        state[root] = OPEN;
        stack[depth++] = (struct frame){root, 0, s->captures[root]};
        while (depth > 0) {
            struct frame *f = &stack[depth - 1];
            const char *name = next_need(s, f);
            if (!name) {
                state[f->node] = DONE;
                order[placed++] = f->node;
                depth--;
                continue;
            }
            int from = clq_map_get(&s->producer, name);
            if (from < 0 && s->main)
                return clq_fail(s->err, CLQ_ERR_FORMAT, "value '%s', needed by node '%s', is produced by nobody", name,
                                s->graph->nodes[f->node].name);
            if (from < 0 || from >= GIVEN || state[from] == DONE) continue;
            if (state[from] == OPEN)
                return clq_fail(s->err, CLQ_ERR_FORMAT, "value '%s' depends on itself (node '%s')", name,
                                s->graph->nodes[from].name);
            state[from] = OPEN;
            stack[depth++] = (struct frame){from, 0, s->captures[from]};
        }
    }
    return CLQ_OK;
}

static clq_status sort(struct sorter *s, struct clq_model *model, struct clq_graph *graph)
{
    int n = graph->n_nodes;
    CLQ_TRY(define_all(s));
    for (int i = 0; s->main && i < graph->n_outputs; i++)
        if (clq_map_get(&s->producer, graph->outputs[i].name) < 0)
            return clq_fail(s->err, CLQ_ERR_FORMAT, "graph output '%s' is produced by nobody", graph->outputs[i].name);
    CLQ_TRY(find_captures(s));
    int *order = clq_arena_array(&s->arena, (size_t)n, sizeof *order);
    if (!order) return no_memory(s);
    CLQ_TRY(walk(s, order));
    bool same = true;
    for (int i = 0; same && i < n; i++) same = order[i] == i;
    if (same) return CLQ_OK;
    struct clq_node *sorted = clq_arena_array(&model->arena, (size_t)n, sizeof *sorted);
    if (!sorted) return no_memory(s);
    for (int i = 0; i < n; i++) sorted[i] = graph->nodes[order[i]];
    graph->nodes = sorted;
    return CLQ_OK;
}

clq_status clq_graph_sort(struct clq_model *model, struct clq_graph *graph, struct clq_error *err)
{
    struct sorter s = {.graph = graph, .main = graph == &model->graph, .err = err};
    clq_status status = sort(&s, model, graph);
    clq_arena_free(&s.arena);
    return status;
}
