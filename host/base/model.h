/* SPDX-License-Identifier: Apache-2.0
 * The model as data: what a format reader fills, what the passes rewrite and what a format writer stores. It mirrors
 * ONNX's graph, because that is the richest format that is read. Everything hangs on the model's arena; names are
 * unique strings of that arena and values are referred to by name. Must not know files, devices or kernels. */
#ifndef CLQ_BASE_MODEL_H
#define CLQ_BASE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clquant/tensor.h>

#include "base/arena.h"
#include "base/error.h"

struct clq_graph;

/* A constant array: an initializer or a tensor attribute. data is dense, row-major, little-endian, nibbles packed
 * low first, exactly as long as shape times type says; it points into the model's arena or its mapped file. */
struct clq_const {
    const char *name; /* "" for attributes */
    clq_dtype dtype;
    int rank;
    int64_t shape[CLQ_MAX_RANK];
    const void *data;
    size_t bytes;
};

enum clq_attr_type { /* numbers of ONNX AttributeProto.AttributeType */
    CLQ_ATTR_FLOAT = 1,
    CLQ_ATTR_INT = 2,
    CLQ_ATTR_STRING = 3,
    CLQ_ATTR_TENSOR = 4,
    CLQ_ATTR_GRAPH = 5,
    CLQ_ATTR_FLOATS = 6,
    CLQ_ATTR_INTS = 7,
    CLQ_ATTR_STRINGS = 8
};

struct clq_attr {
    const char *name;
    enum clq_attr_type type;
    float f;
    int64_t i;
    const char *s; /* terminated; s_len bytes may hold zeros before that */
    size_t s_len;
    size_t n; /* of floats, ints or strings */
    const float *floats;
    const int64_t *ints;
    const char *const *strings;
    const struct clq_const *tensor;
    struct clq_graph *graph;
};

struct clq_node {
    const char *name; /* the file's name, or its first output's name when that is empty or taken */
    const char *op_type;
    const char *domain; /* "" is the standard's; "ai.onnx" is read as "" */
    int n_inputs, n_outputs, n_attrs;
    const char **inputs; /* "" is an absent optional input */
    const char **outputs;
    struct clq_attr *attrs;
};

/* A graph input, output or recorded value. A dimension that is unknown is -1 and may have a symbol. */
struct clq_value_info {
    const char *name;
    clq_dtype dtype; /* NONE when unknown */
    int rank;        /* -1 when unknown */
    int64_t shape[CLQ_MAX_RANK];
    const char *symbol[CLQ_MAX_RANK]; /* "" or for example "batch" */
};

/* What a builder allocated last for a growing array; nobody else touches it. */
struct clq_grown {
    const void *array;
    int capacity;
};

struct clq_graph {
    const char *name;
    int n_nodes, n_consts, n_inputs, n_outputs, n_infos;
    struct clq_node *nodes; /* in topological order after reading */
    struct clq_const *consts;
    struct clq_value_info *inputs; /* without those that are also initializers */
    struct clq_value_info *outputs;
    struct clq_value_info *infos;
    struct clq_grown grown_nodes, grown_consts; /* zero, or as clq_graph_add_* left them */
};

struct clq_opset {
    const char *domain;
    int64_t version;
};

struct clq_metadata {
    const char *key, *value;
};

struct clq_model {
    struct clq_arena arena;
    struct clq_graph graph;
    int64_t ir_version;
    const char *producer;
    int n_opsets, n_metadata;
    struct clq_opset *opsets;
    struct clq_metadata *metadata;
    unsigned char hash[32]; /* SHA-256 of the file's bytes and of the external data that is used, in the order of its tensors */
    void *mapping;     /* the file's bytes, released by clq_model_release */
    size_t mapping_bytes;
    int n_external; /* files of external data */
    const char **external; /* [n_external]: their locations as the file says them, each once */
    uint64_t external_bytes; /* of those files */
    bool external_links;   /* they may lie behind links */
    const char *path;  /* of the file it was loaded from, or NULL */
    char sha256[65];   /* hash as text, "" when unknown; plans know a model by it */
    size_t file_bytes;
};

/* Lookups. They return NULL when there is nothing. */
const struct clq_attr *clq_node_attr(const struct clq_node *node, const char *name);
int64_t clq_node_int(const struct clq_node *node, const char *name, int64_t fallback);
float clq_node_float(const struct clq_node *node, const char *name, float fallback);
const char *clq_node_string(const struct clq_node *node, const char *name, const char *fallback);
struct clq_const *clq_graph_const(const struct clq_graph *graph, const char *name);
int64_t clq_model_opset(const struct clq_model *model, const char *domain); /* 0 when absent */

/* Frees arena and mapping, not the struct. */
void clq_model_release(struct clq_model *model);

/* Deep copy into out's (empty) arena; constants' data is shared with src, which must outlive out. */
clq_status clq_model_clone(struct clq_model *out, const struct clq_model *src, struct clq_error *err);

/* Builders used by readers and passes; all memory is the model's, and names are copied. They return NULL or false when
 * memory is out. A pointer to a node or constant is valid until the next one is added to the same graph. Adding an
 * attribute that exists replaces its value. */
struct clq_node *clq_graph_add_node(struct clq_model *model, struct clq_graph *graph, const char *domain,
                                    const char *op_type, const char *name);
bool clq_node_add_input(struct clq_model *model, struct clq_node *node, const char *value);
bool clq_node_add_output(struct clq_model *model, struct clq_node *node, const char *value);
struct clq_attr *clq_node_add_attr(struct clq_model *model, struct clq_node *node, const char *name,
                                   enum clq_attr_type type);
bool clq_node_set_int(struct clq_model *model, struct clq_node *node, const char *name, int64_t value);
/* Copies data (bytes long) when copy is true. */
struct clq_const *clq_graph_add_const(struct clq_model *model, struct clq_graph *graph, const char *name,
                                      clq_dtype dtype, int rank, const int64_t *shape, const void *data,
                                      size_t bytes, bool copy);
/* Orders nodes so that every input is produced before; CLQ_ERR_FORMAT names a value of a cycle, a value that nobody
 * produces or one that is produced twice. In a nested graph (not model->graph) an unknown value is an outer one.
 * Nested graphs themselves are not reordered. A valid order is left as it is. Iterative. */
clq_status clq_graph_sort(struct clq_model *model, struct clq_graph *graph, struct clq_error *err);

#endif
