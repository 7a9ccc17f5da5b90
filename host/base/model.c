/* SPDX-License-Identifier: Apache-2.0
 * The model as data: lookups, builders, deep copies. Ordering is in model_sort.c. */
#include "base/model.h"

#include <string.h>
#include <sys/mman.h>

#include "base/size.h"

const struct clq_attr *clq_node_attr(const struct clq_node *node, const char *name)
{
    for (int i = 0; i < node->n_attrs; i++)
        if (strcmp(node->attrs[i].name, name) == 0) return &node->attrs[i];
    return NULL;
}

int64_t clq_node_int(const struct clq_node *node, const char *name, int64_t fallback)
{
    const struct clq_attr *a = clq_node_attr(node, name);
    return a && a->type == CLQ_ATTR_INT ? a->i : fallback;
}

float clq_node_float(const struct clq_node *node, const char *name, float fallback)
{
    const struct clq_attr *a = clq_node_attr(node, name);
    return a && a->type == CLQ_ATTR_FLOAT ? a->f : fallback;
}

const char *clq_node_string(const struct clq_node *node, const char *name, const char *fallback)
{
    const struct clq_attr *a = clq_node_attr(node, name);
    return a && a->type == CLQ_ATTR_STRING ? a->s : fallback;
}

struct clq_const *clq_graph_const(const struct clq_graph *graph, const char *name)
{
    for (int i = 0; i < graph->n_consts; i++)
        if (graph->consts[i].name == name || strcmp(graph->consts[i].name, name) == 0) return &graph->consts[i];
    return NULL;
}

int64_t clq_model_opset(const struct clq_model *model, const char *domain)
{
    for (int i = 0; i < model->n_opsets; i++)
        if (strcmp(model->opsets[i].domain, domain) == 0) return model->opsets[i].version;
    return 0;
}

void clq_model_release(struct clq_model *model)
{
    clq_arena_free(&model->arena);
    if (model->mapping) munmap(model->mapping, model->mapping_bytes);
    *model = (struct clq_model){0};
}

/* Room for one more element behind n. In place only where the array is the one that this function made last. */
static void *grown(struct clq_arena *arena, void *array, int n, size_t size, struct clq_grown *known)
{
    if (known->array == array && array && n < known->capacity) return array;
    if (n > INT32_MAX / 4) return NULL;
    int capacity = n < 8 ? 16 : n * 2;
    void *fresh = clq_arena_array(arena, (size_t)capacity, size);
    if (!fresh) return NULL;
    if (n) memcpy(fresh, array, (size_t)n * size);
    *known = (struct clq_grown){fresh, capacity};
    return fresh;
}

struct clq_node *clq_graph_add_node(struct clq_model *model, struct clq_graph *graph, const char *domain,
                                    const char *op_type, const char *name)
{
    struct clq_node fresh = {.name = clq_arena_string(&model->arena, name ? name : ""),
                             .op_type = clq_arena_string(&model->arena, op_type),
                             .domain = clq_arena_string(&model->arena, domain ? domain : "")};
    void *nodes = grown(&model->arena, graph->nodes, graph->n_nodes, sizeof *graph->nodes, &graph->grown_nodes);
    if (!nodes || !fresh.name || !fresh.op_type || !fresh.domain) return NULL;
    graph->nodes = nodes;
    graph->nodes[graph->n_nodes] = fresh;
    return &graph->nodes[graph->n_nodes++];
}

/* Appends a copy of value to a list of names; lists are short, so each append copies the list. */
static bool append_name(struct clq_arena *arena, const char ***list, int *n, const char *value)
{
    const char **fresh = clq_arena_array(arena, (size_t)*n + 1, sizeof *fresh);
    char *copy = clq_arena_string(arena, value);
    if (!fresh || !copy) return false;
    if (*n) memcpy(fresh, *list, (size_t)*n * sizeof *fresh);
    fresh[*n] = copy;
    *list = fresh;
    ++*n;
    return true;
}

bool clq_node_add_input(struct clq_model *model, struct clq_node *node, const char *value)
{
    return append_name(&model->arena, &node->inputs, &node->n_inputs, value);
}

bool clq_node_add_output(struct clq_model *model, struct clq_node *node, const char *value)
{
    return append_name(&model->arena, &node->outputs, &node->n_outputs, value);
}

struct clq_attr *clq_node_add_attr(struct clq_model *model, struct clq_node *node, const char *name,
                                   enum clq_attr_type type)
{
    for (int i = 0; i < node->n_attrs; i++)
        if (strcmp(node->attrs[i].name, name) == 0) {
            node->attrs[i] = (struct clq_attr){.name = node->attrs[i].name, .type = type, .s = ""};
            return &node->attrs[i];
        }
    struct clq_attr *fresh = clq_arena_array(&model->arena, (size_t)node->n_attrs + 1, sizeof *fresh);
    char *copy = clq_arena_string(&model->arena, name);
    if (!fresh || !copy) return NULL;
    if (node->n_attrs) memcpy(fresh, node->attrs, (size_t)node->n_attrs * sizeof *fresh);
    fresh[node->n_attrs] = (struct clq_attr){.name = copy, .type = type, .s = ""};
    node->attrs = fresh;
    return &node->attrs[node->n_attrs++];
}

bool clq_node_set_int(struct clq_model *model, struct clq_node *node, const char *name, int64_t value)
{
    struct clq_attr *a = clq_node_add_attr(model, node, name, CLQ_ATTR_INT);
    if (a) a->i = value;
    return a != NULL;
}

struct clq_const *clq_graph_add_const(struct clq_model *model, struct clq_graph *graph, const char *name,
                                      clq_dtype dtype, int rank, const int64_t *shape, const void *data,
                                      size_t bytes, bool copy)
{
    if (rank < 0 || rank > CLQ_MAX_RANK) return NULL;
    struct clq_const fresh = {.name = clq_arena_string(&model->arena, name), .dtype = dtype, .rank = rank,
                              .data = data, .bytes = bytes};
    if (rank) memcpy(fresh.shape, shape, (size_t)rank * sizeof *shape);
    if (copy) {
        void *own = clq_arena_alloc(&model->arena, bytes);
        if (own && bytes) memcpy(own, data, bytes);
        fresh.data = own;
        if (!own) return NULL;
    }
    void *consts = grown(&model->arena, graph->consts, graph->n_consts, sizeof *graph->consts, &graph->grown_consts);
    if (!consts || !fresh.name) return NULL;
    graph->consts = consts;
    graph->consts[graph->n_consts] = fresh;
    return &graph->consts[graph->n_consts++];
}

/* Nested graphs that clone() has still to copy: a list instead of recursion. */
struct pending {
    struct clq_graph *to;
    const struct clq_graph *from;
    struct pending *next;
};

struct cloner {
    struct clq_arena *arena;
    struct pending *todo;
    bool failed;
};

static void *copy_bytes(struct cloner *c, const void *from, size_t n, size_t size)
{
    if (n == 0 || c->failed) return NULL;
    void *p = clq_arena_array(c->arena, n, size);
    if (p)
        memcpy(p, from, n * size);
    else
        c->failed = true;
    return p;
}

static const char *copy_text(struct cloner *c, const char *text)
{
    const char *p = text && !c->failed ? clq_arena_string(c->arena, text) : NULL;
    if (!p && text) c->failed = true;
    return p;
}

static const char **copy_names(struct cloner *c, const char *const *from, size_t n)
{
    const char **names = copy_bytes(c, from, n, sizeof *names);
    for (size_t i = 0; names && i < n; i++) names[i] = copy_text(c, from[i]);
    return names;
}

static void copy_attr(struct cloner *c, struct clq_attr *a)
{
    a->name = copy_text(c, a->name);
    a->s = a->s ? copy_bytes(c, a->s, a->s_len + 1, 1) : NULL;
    a->floats = copy_bytes(c, a->floats, a->floats ? a->n : 0, sizeof *a->floats);
    a->ints = copy_bytes(c, a->ints, a->ints ? a->n : 0, sizeof *a->ints);
    a->strings = copy_names(c, a->strings, a->strings ? a->n : 0);
    if (a->tensor) {
        struct clq_const *t = copy_bytes(c, a->tensor, 1, sizeof *t);
        if (t) t->name = copy_text(c, t->name);
        a->tensor = t;
    }
    if (a->graph) {
        struct pending *p = clq_arena_array(c->arena, 1, sizeof *p);
        struct clq_graph *g = clq_arena_array(c->arena, 1, sizeof *g);
        if (p && g) {
            *p = (struct pending){g, a->graph, c->todo};
            c->todo = p;
        } else {
            c->failed = true;
        }
        a->graph = g;
    }
}

static struct clq_value_info *copy_infos(struct cloner *c, const struct clq_value_info *from, int n)
{
    struct clq_value_info *infos = copy_bytes(c, from, (size_t)n, sizeof *infos);
    for (int i = 0; infos && i < n; i++) {
        infos[i].name = copy_text(c, infos[i].name);
        for (int k = 0; k < CLQ_MAX_RANK; k++) infos[i].symbol[k] = copy_text(c, infos[i].symbol[k]);
    }
    return infos;
}

static void copy_graph(struct cloner *c, struct clq_graph *to, const struct clq_graph *from)
{
    *to = *from;
    to->grown_nodes = to->grown_consts = (struct clq_grown){0};
    to->name = copy_text(c, from->name);
    to->nodes = copy_bytes(c, from->nodes, (size_t)from->n_nodes, sizeof *to->nodes);
    for (int i = 0; to->nodes && i < to->n_nodes; i++) {
        struct clq_node *n = &to->nodes[i];
        n->name = copy_text(c, n->name);
        n->op_type = copy_text(c, n->op_type);
        n->domain = copy_text(c, n->domain);
        n->inputs = copy_names(c, n->inputs, (size_t)n->n_inputs);
        n->outputs = copy_names(c, n->outputs, (size_t)n->n_outputs);
        n->attrs = copy_bytes(c, n->attrs, (size_t)n->n_attrs, sizeof *n->attrs);
        for (int k = 0; n->attrs && k < n->n_attrs; k++) copy_attr(c, &n->attrs[k]);
    }
    to->consts = copy_bytes(c, from->consts, (size_t)from->n_consts, sizeof *to->consts);
    for (int i = 0; to->consts && i < to->n_consts; i++) to->consts[i].name = copy_text(c, to->consts[i].name);
    to->inputs = copy_infos(c, from->inputs, from->n_inputs);
    to->outputs = copy_infos(c, from->outputs, from->n_outputs);
    to->infos = copy_infos(c, from->infos, from->n_infos);
}

clq_status clq_model_clone(struct clq_model *out, const struct clq_model *src, struct clq_error *err)
{
    struct clq_model copy = *src;
    copy.arena = (struct clq_arena){0};
    copy.mapping = NULL;
    copy.mapping_bytes = 0;
    struct cloner c = {.arena = &copy.arena};
    copy.producer = copy_text(&c, src->producer);
    copy.opsets = copy_bytes(&c, src->opsets, (size_t)src->n_opsets, sizeof *copy.opsets);
    for (int i = 0; copy.opsets && i < copy.n_opsets; i++) copy.opsets[i].domain = copy_text(&c, copy.opsets[i].domain);
    copy.metadata = copy_bytes(&c, src->metadata, (size_t)src->n_metadata, sizeof *copy.metadata);
    for (int i = 0; copy.metadata && i < copy.n_metadata; i++) {
        copy.metadata[i].key = copy_text(&c, copy.metadata[i].key);
        copy.metadata[i].value = copy_text(&c, copy.metadata[i].value);
    }
    copy_graph(&c, &copy.graph, &src->graph);
    while (c.todo && !c.failed) {
        struct pending *p = c.todo;
        c.todo = p->next;
        copy_graph(&c, p->to, p->from);
    }
    if (c.failed) {
        clq_arena_free(&copy.arena);
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "copying a model of %d nodes: out of memory", src->graph.n_nodes);
    }
    *out = copy;
    return CLQ_OK;
}
