/* SPDX-License-Identifier: Apache-2.0
 * Loop and Scan: the body is a model of its own, compiled once per shape of its inputs and run once per iteration. (If is
 * inlined while a program is inferred.) */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "graph/stages.h"

enum { MOST_ITERATIONS = 1 << 17 };
static const size_t most_bytes = (size_t)1 << 30; /* of everything that one node collects */

enum clq_control clq_control_kind(const struct clq_node *n, int64_t opset)
{
    if (n->domain[0]) return CLQ_CONTROL_NONE;
    if (strcmp(n->op_type, "If") == 0) return CLQ_CONTROL_IF;
    if (strcmp(n->op_type, "Loop") == 0) return CLQ_CONTROL_LOOP;
    return strcmp(n->op_type, "Scan") == 0 && opset >= 9 ? CLQ_CONTROL_SCAN : CLQ_CONTROL_NONE;
}

/* An array that is carried from one iteration to the next, or that grows by one slice per iteration. */
struct held {
    clq_tensor t;
    size_t bytes, room;
};

struct loop {
    struct clq_inference *f;
    const struct clq_node *node;
    const struct clq_graph *body;
    struct clq_arena arena;
    struct clq_stage stage;
    int n_states, n_scans;
    struct held *states, *next, *scans; /* next: what an iteration made, which may lie in states */
    clq_tensor *in, *made; /* of the body */
    size_t total;
};

static clq_status failed(struct loop *l, clq_status st, const char *what)
{
    return clq_fail(l->f->err, st, "node '%s' (%s): %s", l->node->name, l->node->op_type, what);
}

static clq_status reserve(struct loop *l, struct held *h, size_t bytes)
{
    if (bytes <= h->room) return CLQ_OK;
    size_t room = bytes < h->room * 2 ? h->room * 2 : bytes;
    if (!clq_size_add(&l->total, l->total, room - h->room) || l->total > most_bytes)
        return failed(l, CLQ_ERR_UNSUPPORTED, "its results need more than 1 GiB");
    void *fresh = realloc(h->t.data, room);
    if (!fresh) return failed(l, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    h->t.data = fresh;
    h->room = room;
    return CLQ_OK;
}

static clq_status hold(struct loop *l, struct held *h, const clq_tensor *t)
{
    size_t bytes;
    if (clq_tensor_bytes(&bytes, t) != CLQ_OK) return failed(l, CLQ_ERR_UNSUPPORTED, "a carried value has no known size");
    CLQ_TRY(reserve(l, h, bytes ? bytes : 1));
    void *data = h->t.data;
    if (bytes) memcpy(data, t->data, bytes);
    h->t = *t;
    h->t.data = data;
    h->bytes = bytes;
    return CLQ_OK;
}

/* Appends a slice; all slices have the type and shape of the first one. */
static clq_status collect(struct loop *l, struct held *h, const clq_tensor *t, int64_t iteration)
{
    size_t bytes, all;
    if (clq_tensor_bytes(&bytes, t) != CLQ_OK || t->rank >= CLQ_MAX_RANK || clq_dtype_bits(t->dtype) % 8 != 0)
        return failed(l, CLQ_ERR_UNSUPPORTED, "an output that is collected has an unsupported type or rank");
    if (iteration == 0) {
        void *data = h->t.data;
        h->t = *t;
        h->t.data = data;
    }
    bool same = t->dtype == h->t.dtype && t->rank == h->t.rank;
    for (int d = 0; same && d < t->rank; d++) same = t->shape[d] == h->t.shape[d];
    if (!same) return failed(l, CLQ_ERR_UNSUPPORTED, "an output that is collected changes its type or shape");
    if (!clq_size_add(&all, h->bytes, bytes)) return failed(l, CLQ_ERR_UNSUPPORTED, "its results overflow");
    CLQ_TRY(reserve(l, h, all ? all : 1));
    if (bytes) memcpy((char *)h->t.data + h->bytes, t->data, bytes);
    h->bytes = all;
    return CLQ_OK;
}

/* The outer values that the body reads become its constants. */
static clq_status capture(struct loop *l, struct clq_graph *g, struct clq_map *taken, const char *name)
{
    int v = name[0] ? clq_map_get(&l->f->names, name) : -1;
    if (v < 0 || clq_map_get(taken, name) >= 0) return CLQ_OK;
    const clq_tensor *t = &l->f->p->values[v].t;
    struct clq_const *c = &g->consts[g->n_consts++];
    *c = (struct clq_const){.name = name, .dtype = t->dtype, .rank = t->rank, .data = t->data};
    memcpy(c->shape, t->shape, sizeof c->shape);
    return clq_map_set(taken, name, 0) && clq_tensor_bytes(&c->bytes, t) == CLQ_OK ? CLQ_OK : failed(l, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

static clq_status capture_all(struct loop *l, struct clq_graph *g)
{
    struct clq_nested walk;
    struct clq_map taken;
    const struct clq_graph *inner = l->body;
    clq_map_start(&taken, &l->arena);
    for (int i = 0; i < l->body->n_consts; i++)
        if (!clq_map_set(&taken, l->body->consts[i].name, 0)) return failed(l, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; i < l->body->n_inputs; i++)
        if (!clq_map_set(&taken, l->body->inputs[i].name, 0)) return failed(l, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    clq_nested_start(&walk, &l->arena, inner);
    while (inner) {
        for (int i = 0; i < inner->n_nodes; i++)
            for (int k = 0; k < inner->nodes[i].n_inputs; k++) CLQ_TRY(capture(l, g, &taken, inner->nodes[i].inputs[k]));
        for (int i = 0; i < inner->n_outputs; i++) CLQ_TRY(capture(l, g, &taken, inner->outputs[i].name));
        CLQ_TRY(clq_nested_next(&walk, &inner, l->f->err));
    }
    return CLQ_OK;
}

static clq_status start(struct loop *l, int n_in, int n_out)
{
    const struct clq_attr *a = clq_node_attr(l->node, "body");
    if (!a || a->type != CLQ_ATTR_GRAPH) return failed(l, CLQ_ERR_FORMAT, "attribute 'body' is not a graph");
    if (l->f->options->depth >= CLQ_NESTED_MOST) return failed(l, CLQ_ERR_UNSUPPORTED, "loops are nested too deeply");
    l->body = a->graph;
    if (l->body->n_inputs != n_in || l->body->n_outputs != n_out)
        return clq_fail(l->f->err, CLQ_ERR_FORMAT, "node '%s' (%s): the body has %d inputs and %d outputs, expected %d and %d", l->node->name,
                        l->node->op_type, l->body->n_inputs, l->body->n_outputs, n_in, n_out);
    struct clq_graph g = *l->body;
    g.consts = clq_arena_array(&l->arena, (size_t)g.n_consts + l->f->names.count + 1, sizeof *g.consts);
    g.inputs = clq_arena_array(&l->arena, (size_t)n_in + 1, sizeof *g.inputs);
    l->states = clq_arena_array(&l->arena, (size_t)l->n_states + 1, sizeof *l->states);
    l->next = clq_arena_array(&l->arena, (size_t)l->n_states + 1, sizeof *l->next);
    l->scans = clq_arena_array(&l->arena, (size_t)l->n_scans + 1, sizeof *l->scans);
    l->in = clq_arena_array(&l->arena, (size_t)n_in + 1, sizeof *l->in);
    l->made = clq_arena_array(&l->arena, (size_t)n_out + 1, sizeof *l->made);
    if (!g.consts || !g.inputs || !l->states || !l->next || !l->scans || !l->in || !l->made) return failed(l, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    if (g.n_consts) memcpy(g.consts, l->body->consts, (size_t)g.n_consts * sizeof *g.consts);
    for (int i = 0; i < n_in; i++) {
        g.inputs[i] = l->body->inputs[i];
        g.inputs[i].rank = -1; /* exporters write the shape of the first iteration */
    }
    CLQ_TRY(capture_all(l, &g));
    l->stage.ctx = l->f->p->ctx;
    l->stage.model = *l->f->p->model;
    l->stage.model.arena = (struct clq_arena){0};
    l->stage.model.mapping = NULL;
    l->stage.model.graph = g;
    l->stage.options = *l->f->options;
    l->stage.options.bind = NULL;
    l->stage.options.partial = true;
    l->stage.options.stage = 0;
    l->stage.options.depth++;
    return CLQ_OK;
}

/* Runs the body on l->in and takes its states, which are the outputs from first on, and its slices behind them. */
static clq_status iterate(struct loop *l, int first, int64_t iteration)
{
    struct clq_program *p;
    memset(l->made, 0, ((size_t)l->body->n_outputs + 1) * sizeof *l->made);
    CLQ_TRY(clq_stage_program(&p, &l->stage, l->in, l->f->err));
    CLQ_TRY(clq_stages_run(p, l->in, l->made, NULL, NULL, l->f->err));
    for (int i = 0; i < l->n_states; i++) CLQ_TRY(hold(l, &l->next[i], &l->made[first + i]));
    for (int i = 0; i < l->n_scans; i++) CLQ_TRY(collect(l, &l->scans[i], &l->made[first + l->n_states + i], iteration));
    struct held *old = l->states;
    l->states = l->next;
    l->next = old;
    return CLQ_OK;
}

static void release(struct loop *l)
{
    clq_stage_free(&l->stage);
    for (int i = 0; l->states && i < l->n_states; i++) free(l->states[i].t.data);
    for (int i = 0; l->next && i < l->n_states; i++) free(l->next[i].t.data);
    for (int i = 0; l->scans && i < l->n_scans; i++) free(l->scans[i].t.data);
    clq_arena_free(&l->arena);
}

static clq_status give(struct loop *l, clq_tensor *out, const struct held *h)
{
    *out = h->t;
    out->data = clq_arena_alloc(&l->f->p->arena, h->bytes);
    if (!out->data) return failed(l, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    if (h->bytes) memcpy(out->data, h->t.data, h->bytes);
    return CLQ_OK;
}

/* A collected output: iteration is a new axis. Without iterations the body's declared shape says what is missing. */
static clq_status stack(struct loop *l, clq_tensor *out, struct held *h, const struct clq_value_info *declared, int64_t count, int axis, bool reverse)
{
    if (count == 0) {
        if (declared->dtype == CLQ_DTYPE_NONE || declared->rank < 0 || declared->rank >= CLQ_MAX_RANK)
            return failed(l, CLQ_ERR_UNSUPPORTED, "no iteration, and an output whose type the body does not declare");
        h->t = (clq_tensor){.dtype = declared->dtype, .rank = declared->rank, .data = h->t.data};
        for (int d = 0; d < declared->rank; d++) h->t.shape[d] = declared->shape[d] < 0 ? 0 : declared->shape[d];
    }
    int rank = h->t.rank;
    if (axis < 0) axis += rank + 1;
    if (axis < 0 || axis > rank) return failed(l, CLQ_ERR_FORMAT, "an axis of a collected output is out of range");
    *out = h->t;
    out->rank = rank + 1;
    size_t outer = 1, inner = clq_dtype_bits(h->t.dtype) / 8;
    for (int d = 0; d < rank; d++) {
        out->shape[d < axis ? d : d + 1] = h->t.shape[d];
        if (d < axis) outer *= (size_t)h->t.shape[d];
        else inner *= (size_t)h->t.shape[d];
    }
    out->shape[axis] = count;
    out->data = clq_arena_alloc(&l->f->p->arena, h->bytes);
    if (!out->data) return failed(l, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    size_t n = (size_t)count;
    for (size_t i = 0; h->bytes && i < n; i++)
        for (size_t o = 0; o < outer; o++)
            memcpy((char *)out->data + (o * n + (reverse ? n - 1 - i : i)) * inner, (const char *)h->t.data + (i * outer + o) * inner, inner);
    return CLQ_OK;
}

/* ---- Loop ---- */
static clq_status one_bool(struct loop *l, const clq_tensor *t, bool *out)
{
    size_t n;
    if (t->dtype != CLQ_DTYPE_BOOL || clq_tensor_elements(&n, t) != CLQ_OK || n != 1) return failed(l, CLQ_ERR_FORMAT, "a condition is not one bool");
    *out = *(const uint8_t *)t->data != 0;
    return CLQ_OK;
}

static clq_status run_loop(struct loop *l, const clq_tensor *in, clq_tensor *out)
{
    const struct clq_node *n = l->node;
    if (n->n_inputs < 2 || n->n_outputs < n->n_inputs - 2) return failed(l, CLQ_ERR_FORMAT, "it has fewer inputs or outputs than Loop needs");
    l->n_states = n->n_inputs - 2;
    l->n_scans = n->n_outputs - l->n_states;
    CLQ_TRY(start(l, 2 + l->n_states, 1 + n->n_outputs));
    int64_t most = INT64_MAX, iteration = 0;
    size_t count;
    uint8_t truth = 1;
    bool go_on = true;
    if (in[0].dtype != CLQ_DTYPE_NONE) {
        if (in[0].dtype != CLQ_DTYPE_S64 || clq_tensor_elements(&count, &in[0]) != CLQ_OK || count != 1)
            return failed(l, CLQ_ERR_FORMAT, "the trip count is not one int64");
        most = *(const int64_t *)in[0].data;
    }
    clq_tensor condition = {.dtype = CLQ_DTYPE_BOOL, .data = &truth};
    if (in[1].dtype != CLQ_DTYPE_NONE) {
        CLQ_TRY(one_bool(l, &in[1], &go_on));
        truth = go_on;
        condition.rank = in[1].rank;
        memcpy(condition.shape, in[1].shape, sizeof condition.shape);
    }
    for (int i = 0; i < l->n_states; i++) CLQ_TRY(hold(l, &l->states[i], &in[2 + i]));
    for (; go_on && iteration < most; iteration++) {
        if (iteration == MOST_ITERATIONS) return failed(l, CLQ_ERR_UNSUPPORTED, "more than 131072 iterations");
        l->in[0] = (clq_tensor){.dtype = CLQ_DTYPE_S64, .data = &iteration};
        l->in[1] = condition;
        for (int i = 0; i < l->n_states; i++) l->in[2 + i] = l->states[i].t;
        CLQ_TRY(iterate(l, 1, iteration));
        CLQ_TRY(one_bool(l, &l->made[0], &go_on));
        truth = go_on;
    }
    for (int i = 0; i < l->n_states; i++) CLQ_TRY(give(l, &out[i], &l->states[i]));
    for (int i = 0; i < l->n_scans; i++)
        CLQ_TRY(stack(l, &out[l->n_states + i], &l->scans[i], &l->body->outputs[1 + l->n_states + i], iteration, 0, false));
    return CLQ_OK;
}

/* ---- Scan ---- */
static clq_status setting(struct loop *l, int64_t *out, const char *name, int i, int n)
{
    const struct clq_attr *a = clq_node_attr(l->node, name);
    *out = 0;
    if (!a) return CLQ_OK;
    if (a->type != CLQ_ATTR_INTS || a->n != (size_t)n)
        return clq_fail(l->f->err, CLQ_ERR_FORMAT, "node '%s' (Scan): attribute '%s' is not a list of %d integers", l->node->name, name, n);
    *out = a->ints[i];
    return CLQ_OK;
}

/* Where scan input i has its slices. */
static clq_status scan_axis(struct loop *l, const clq_tensor *t, int i, int n, int *axis, bool *reverse, int64_t *length)
{
    int64_t a, direction;
    CLQ_TRY(setting(l, &a, "scan_input_axes", i, n));
    CLQ_TRY(setting(l, &direction, "scan_input_directions", i, n));
    if (t->rank < 1 || a < -t->rank || a >= t->rank || clq_dtype_bits(t->dtype) % 8 != 0)
        return failed(l, CLQ_ERR_FORMAT, "an axis of a scan input is out of range");
    *axis = (int)(a < 0 ? a + t->rank : a);
    *reverse = direction != 0;
    if (*length >= 0 && *length != t->shape[*axis]) return failed(l, CLQ_ERR_FORMAT, "its scan inputs have different lengths");
    *length = t->shape[*axis];
    return CLQ_OK;
}

static clq_status slice(struct loop *l, struct held *to, const clq_tensor *t, int axis, int64_t at)
{
    size_t outer = 1, inner = clq_dtype_bits(t->dtype) / 8, n = (size_t)t->shape[axis];
    clq_tensor shape = {.dtype = t->dtype, .rank = t->rank - 1};
    for (int d = 0; d < t->rank; d++) {
        if (d < axis) outer *= (size_t)t->shape[d];
        if (d > axis) inner *= (size_t)t->shape[d];
        if (d != axis) shape.shape[d < axis ? d : d - 1] = t->shape[d];
    }
    CLQ_TRY(reserve(l, to, outer * inner + 1));
    shape.data = to->t.data;
    to->t = shape;
    for (size_t o = 0; inner && o < outer; o++) memcpy((char *)to->t.data + o * inner, (const char *)t->data + (o * n + (size_t)at) * inner, inner);
    return CLQ_OK;
}

static clq_status scan_iterations(struct loop *l, const clq_tensor *in, int n_slices, struct held *slices, int64_t *length)
{
    int axis[CLQ_NESTED_MOST * 4];
    bool reverse[CLQ_NESTED_MOST * 4];
    if (n_slices > CLQ_NESTED_MOST * 4) return failed(l, CLQ_ERR_UNSUPPORTED, "more than 48 scan inputs");
    for (int i = 0; i < n_slices; i++) CLQ_TRY(scan_axis(l, &in[l->n_states + i], i, n_slices, &axis[i], &reverse[i], length));
    if (*length > MOST_ITERATIONS) return failed(l, CLQ_ERR_UNSUPPORTED, "more than 131072 iterations");
    for (int64_t k = 0; k < *length; k++) {
        for (int i = 0; i < l->n_states; i++) l->in[i] = l->states[i].t;
        for (int i = 0; i < n_slices; i++) {
            CLQ_TRY(slice(l, &slices[i], &in[l->n_states + i], axis[i], reverse[i] ? *length - 1 - k : k));
            l->in[l->n_states + i] = slices[i].t;
        }
        CLQ_TRY(iterate(l, 0, k));
    }
    return CLQ_OK;
}

static clq_status run_scan(struct loop *l, const clq_tensor *in, clq_tensor *out)
{
    const struct clq_node *n = l->node;
    int64_t given = clq_node_int(n, "num_scan_inputs", 0), length = -1;
    if (given < 1 || given > n->n_inputs || n->n_outputs < n->n_inputs - given) return failed(l, CLQ_ERR_FORMAT, "num_scan_inputs does not fit its inputs");
    int n_slices = (int)given;
    l->n_states = n->n_inputs - n_slices;
    l->n_scans = n->n_outputs - l->n_states;
    CLQ_TRY(start(l, n->n_inputs, n->n_outputs));
    struct held *slices = clq_arena_array(&l->arena, (size_t)n_slices, sizeof *slices);
    if (!slices) return failed(l, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; i < l->n_states; i++) CLQ_TRY(hold(l, &l->states[i], &in[i]));
    clq_status st = scan_iterations(l, in, n_slices, slices, &length);
    for (int i = 0; i < n_slices; i++) free(slices[i].t.data);
    for (int i = 0; st == CLQ_OK && i < l->n_states; i++) st = give(l, &out[i], &l->states[i]);
    for (int i = 0; st == CLQ_OK && i < l->n_scans; i++) {
        int64_t axis, reverse;
        st = setting(l, &axis, "scan_output_axes", i, l->n_scans);
        if (st == CLQ_OK) st = setting(l, &reverse, "scan_output_directions", i, l->n_scans);
        if (st == CLQ_OK && (axis < -CLQ_MAX_RANK || axis > CLQ_MAX_RANK)) st = failed(l, CLQ_ERR_FORMAT, "an axis of a collected output is out of range");
        if (st == CLQ_OK) st = stack(l, &out[l->n_states + i], &l->scans[i], &l->body->outputs[l->n_states + i], length, (int)axis, reverse != 0);
    }
    return st;
}

clq_status clq_control_run(struct clq_inference *f, const struct clq_node *node, const clq_tensor *in, clq_tensor *out)
{
    struct loop *l = calloc(1, sizeof *l);
    if (!l) return clq_fail(f->err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    l->f = f;
    l->node = node;
    for (int i = 0; i < node->n_inputs; i++)
        if (in[i].dtype == CLQ_DTYPE_NONE && !(clq_control_kind(node, 99) == CLQ_CONTROL_LOOP && i < 2)) {
            free(l);
            return clq_fail(f->err, CLQ_ERR_FORMAT, "node '%s' (%s): input %d is absent", node->name, node->op_type, i);
        }
    clq_status st = clq_control_kind(node, 99) == CLQ_CONTROL_LOOP ? run_loop(l, in, out) : run_scan(l, in, out);
    release(l);
    free(l);
    return st;
}
