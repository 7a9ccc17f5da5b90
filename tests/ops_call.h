/* SPDX-License-Identifier: Apache-2.0
 * Builds one operator call from literals: op_start, op_input and op_int/op_ints/op_float/op_string, then op_run. Memory
 * is static per call and freed by op_end. */
#ifndef CLQ_TESTS_OPS_CALL_H
#define CLQ_TESTS_OPS_CALL_H

#include <stdlib.h>
#include <string.h>

#include "ops/op.h"

enum { OP_MAX = 12 };

struct op_test {
    struct clq_node node;
    struct clq_attr attrs[OP_MAX];
    const char *names[2 * OP_MAX];
    clq_tensor in[OP_MAX], out[OP_MAX];
    struct clq_op_call call;
    struct clq_error err;
    const struct clq_op *op;
};

static inline void op_start(struct op_test *t, const char *type, int64_t opset, int outputs)
{
    memset(t, 0, sizeof *t);
    for (int i = 0; i < 2 * OP_MAX; i++) t->names[i] = "v";
    t->node = (struct clq_node){.name = "n",
                                .op_type = type,
                                .domain = "",
                                .n_outputs = outputs,
                                .inputs = t->names,
                                .outputs = t->names + OP_MAX,
                                .attrs = t->attrs};
    t->call = (struct clq_op_call){
        .node = &t->node, .opset = opset, .n_out = outputs, .in = t->in, .out = t->out, .threads = 1, .err = &t->err};
    t->op = clq_op_find("", type, opset);
}

static inline void op_input(struct op_test *t, clq_dtype dtype, int rank, const int64_t *shape, const void *data)
{
    clq_tensor *x = &t->in[t->node.n_inputs++];
    t->call.n_in = t->node.n_inputs;
    *x = (clq_tensor){.dtype = dtype, .rank = rank, .data = (void *)data};
    for (int k = 0; k < rank && k < CLQ_MAX_RANK; k++) x->shape[k] = shape[k];
}

static inline struct clq_attr *op_attr(struct op_test *t, const char *name, enum clq_attr_type type)
{
    struct clq_attr *a = &t->attrs[t->node.n_attrs++];
    a->name = name;
    a->type = type;
    return a;
}

static inline void op_int(struct op_test *t, const char *name, int64_t v)
{
    op_attr(t, name, CLQ_ATTR_INT)->i = v;
}

static inline void op_float(struct op_test *t, const char *name, float v)
{
    op_attr(t, name, CLQ_ATTR_FLOAT)->f = v;
}

static inline void op_string(struct op_test *t, const char *name, const char *v)
{
    struct clq_attr *a = op_attr(t, name, CLQ_ATTR_STRING);
    a->s = v;
    a->s_len = strlen(v);
}

static inline void op_ints(struct op_test *t, const char *name, size_t n, const int64_t *v)
{
    struct clq_attr *a = op_attr(t, name, CLQ_ATTR_INTS);
    a->n = n;
    a->ints = v;
}

static inline clq_status op_infer(struct op_test *t)
{
    return clq_op_infer(t->op, &t->call);
}

/* Infers, allocates and evaluates. */
static inline clq_status op_run(struct op_test *t)
{
    clq_status st = op_infer(t);
    for (int i = 0; st == CLQ_OK && i < t->node.n_outputs; i++) {
        size_t bytes;
        if (t->out[i].dtype == CLQ_DTYPE_NONE) continue;
        st = clq_tensor_bytes(&bytes, &t->out[i]);
        if (st == CLQ_OK && !(t->out[i].data = malloc(bytes + 1))) st = CLQ_ERR_OUT_OF_MEMORY;
    }
    return st == CLQ_OK ? clq_op_eval(t->op, &t->call) : st;
}

static inline void op_end(struct op_test *t)
{
    for (int i = 0; i < OP_MAX; i++) free(t->out[i].data);
    memset(t->out, 0, sizeof t->out);
}

/* The same numbers in every run. */
static inline uint32_t op_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* To be freed; within -10 .. 10. */
static inline float *op_random_floats(uint32_t *seed, size_t n)
{
    float *p = malloc((n + 1) * sizeof *p);
    for (size_t i = 0; p && i < n; i++) p[i] = (float)(op_random(seed) % 2001) / 100.0f - 10.0f;
    return p;
}

/* Whether output `out` has this shape. */
static inline bool op_has_shape(const struct op_test *t, int out, int rank, const int64_t *shape)
{
    bool same = t->out[out].rank == rank;
    for (int k = 0; same && k < rank; k++) same = t->out[out].shape[k] == shape[k];
    return same;
}

#define SHAPE(...) ((const int64_t[]){__VA_ARGS__})
#define F32(...) ((const float[]){__VA_ARGS__})
#define S64(...) ((const int64_t[]){__VA_ARGS__})
#define U8(...) ((const uint8_t[]){__VA_ARGS__})

#endif
