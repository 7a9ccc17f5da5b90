/* SPDX-License-Identifier: Apache-2.0
 * The program's lists, and the order of the passes. */
#include "graph/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "graph/stages.h"

/* Doubles a list on the arena when it is full. */
static bool reserve(struct clq_arena *arena, void **list, int count, int *capacity, size_t size)
{
    if (count < *capacity) return true;
    int cap = *capacity ? *capacity * 2 : 64;
    void *fresh = clq_arena_array(arena, (size_t)cap, size);
    if (!fresh) return false;
    if (count) memcpy(fresh, *list, (size_t)count * size);
    *list = fresh;
    *capacity = cap;
    return true;
}

int clq_program_add_value(struct clq_program *p, const char *name, const clq_tensor *t, bool constant)
{
    void *list = p->values;
    if (!reserve(&p->arena, &list, p->n_values, &p->cap_values, sizeof *p->values)) return -1;
    p->values = list;
    struct clq_value *v = &p->values[p->n_values];
    *v = (struct clq_value){.name = name, .t = *t, .constant = constant, .other = -1, .alias = -1, .producer = -1};
    return p->n_values++;
}

struct clq_step *clq_program_add_step(struct clq_program *p, const struct clq_step *like, int n_in, int n_out)
{
    void *list = p->steps;
    if (!reserve(&p->arena, &list, p->n_steps, &p->cap_steps, sizeof *p->steps)) return NULL;
    p->steps = list;
    int *in = clq_arena_array(&p->arena, (size_t)n_in + 1, sizeof *in);
    int *out = clq_arena_array(&p->arena, (size_t)n_out + 1, sizeof *out);
    if (!in || !out) return NULL;
    struct clq_step *s = &p->steps[p->n_steps++];
    if (like) *s = *like;
    else *s = (struct clq_step){.residual = -1, .weight = -1, .bias = -1, .alpha = 1};
    for (int i = 0; i < n_in; i++) in[i] = like && i < like->n_in ? like->in[i] : -1;
    for (int i = 0; i < n_out; i++) out[i] = like && i < like->n_out ? like->out[i] : -1;
    s->in = in;
    s->out = out;
    s->n_in = n_in;
    s->n_out = n_out;
    return s;
}

static void add_use(struct clq_program *p, int value)
{
    if (value >= 0) p->values[value].uses++;
}

static void count_once(struct clq_program *p)
{
    for (int v = 0; v < p->n_values; v++) {
        p->values[v].uses = p->values[v].is_output ? 1 : 0;
        p->values[v].producer = -1;
    }
    for (int i = 0; i < p->n_steps; i++) {
        struct clq_step *s = &p->steps[i];
        if (s->dead) continue;
        for (int k = 0; k < s->n_in; k++) add_use(p, s->in[k]);
        add_use(p, s->residual);
        add_use(p, s->weight);
        add_use(p, s->bias);
        for (int k = 0; k < s->n_out; k++)
            if (s->out[k] >= 0) p->values[s->out[k]].producer = i;
    }
}

void clq_program_count_uses(struct clq_program *p)
{
    count_once(p);
    /* Steps are in topological order, so one backward walk finds everything that nobody reads. */
    for (int i = p->n_steps - 1; i >= 0; i--) {
        struct clq_step *s = &p->steps[i];
        bool used = s->dead;
        for (int k = 0; k < s->n_out && !used; k++) used = s->out[k] >= 0 && p->values[s->out[k]].uses > 0;
        if (used) continue;
        s->dead = true;
        for (int k = 0; k < s->n_in; k++)
            if (s->in[k] >= 0) p->values[s->in[k]].uses--;
        if (s->residual >= 0) p->values[s->residual].uses--;
        if (s->weight >= 0) p->values[s->weight].uses--;
        if (s->bias >= 0) p->values[s->bias].uses--;
        for (int k = 0; k < s->n_out; k++)
            if (s->out[k] >= 0) p->values[s->out[k]].producer = -1;
    }
}

int clq_program_find_consumer(const struct clq_program *p, int value)
{
    if (p->values[value].uses != 1 || p->values[value].is_output) return -1;
    int start = p->values[value].producer;
    for (int i = start < 0 ? 0 : start + 1; i < p->n_steps; i++) {
        const struct clq_step *s = &p->steps[i];
        if (s->dead) continue;
        for (int k = 0; k < s->n_in; k++)
            if (s->in[k] == value) return i;
    }
    return -1; /* read as a fused residual */
}

bool clq_value_scalar_f32(const struct clq_program *p, int value, float *out)
{
    size_t n;
    if (value < 0) return false;
    const struct clq_value *v = &p->values[value];
    if (!v->constant || v->t.dtype != CLQ_DTYPE_F32 || clq_tensor_elements(&n, &v->t) != CLQ_OK || n != 1) return false;
    memcpy(out, v->t.data, sizeof *out);
    return true;
}

/* The operators that the graph runs itself. */
static bool is_control(const struct clq_node *n, int64_t opset)
{
    return clq_control_kind(n, opset) != CLQ_CONTROL_NONE;
}

struct listing {
    char text[768];
    size_t at;
    int missing;
};

static void list_missing(struct listing *l, const struct clq_model *model, const struct clq_graph *g)
{
    for (int i = 0; i < g->n_nodes; i++) {
        const struct clq_node *n = &g->nodes[i];
        int64_t opset = clq_model_opset(model, n->domain);
        if (is_control(n, opset) || clq_op_find(n->domain, n->op_type, opset)) continue;
        l->missing++;
        int w = snprintf(l->text + l->at, sizeof l->text - l->at, "%s%s%s%s (opset %lld, node '%s')", l->at ? ", " : "", n->domain,
                         n->domain[0] ? "." : "", n->op_type, (long long)opset, n->name);
        if (w > 0 && (size_t)w < sizeof l->text - l->at) l->at += (size_t)w;
    }
}

clq_status clq_program_check_supported(const struct clq_model *model, struct clq_error *err)
{
    struct clq_arena arena = {0};
    struct clq_nested nested;
    struct listing l = {.text = ""};
    const struct clq_graph *g = &model->graph;
    clq_nested_start(&nested, &arena, g);
    clq_status st = CLQ_OK;
    for (; g && st == CLQ_OK; st = clq_nested_next(&nested, &g, err)) list_missing(&l, model, g);
    clq_arena_free(&arena);
    if (st != CLQ_OK || l.missing == 0) return st;
    return clq_fail(err, CLQ_ERR_UNSUPPORTED, "%d unsupported operator%s: %s", l.missing, l.missing == 1 ? "" : "s", l.text);
}

static clq_status run_passes(struct clq_program *p, const clq_tensor *inputs, const struct clq_program_options *opt,
                             struct clq_error *err)
{
    CLQ_TRY(clq_pass_infer(p, inputs, opt, err));
    clq_program_count_uses(p);
    if (!opt->no_fusion) {
        if (!opt->no_integer) CLQ_TRY(clq_pass_integer(p, opt->sums_apart || opt->observable, err));
        CLQ_TRY(clq_pass_fold_dequantize(p, err));
        CLQ_TRY(clq_pass_patterns(p, opt->observable, err));
        CLQ_TRY(clq_pass_fuse(p, opt->observable, err));
        CLQ_TRY(clq_pass_layout(p, err));
    }
    clq_program_count_uses(p);
    CLQ_TRY(clq_pass_memory(p, opt->retain, err));
    return clq_pass_prepare(p, opt, err);
}

clq_status clq_program_compile(struct clq_program **out, struct clq_context *ctx, const struct clq_model *model,
                               const clq_tensor *inputs, const struct clq_program_options *options,
                               struct clq_error *err)
{
    static const struct clq_program_options defaults;
    CLQ_TRY(clq_program_check_supported(model, err));
    struct clq_program *p = calloc(1, sizeof *p);
    if (!p) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory while compiling the model");
    p->ctx = ctx;
    p->model = model;
    p->timed = options && options->timed;
    clq_status st = run_passes(p, inputs, options ? options : &defaults, err);
    if (st != CLQ_OK) {
        clq_program_free(p);
        return st;
    }
    *out = p;
    return CLQ_OK;
}

void clq_program_free(struct clq_program *p)
{
    if (!p) return;
    if (p->rest) clq_stage_free(&p->rest->stage);
    for (int i = 0; i < p->n_steps; i++) {
        clq_dnnl_step_free(p->steps[i].dnnl);
        for (int t = 0; t < p->steps[i].n_taps; t++) clq_dnnl_step_free(p->steps[i].taps[t]);
        clq_step_device_free(p, &p->steps[i]);
    }
    free(p->memory);
    free(p->scratch);
    clq_arena_free(&p->arena);
    free(p);
}
