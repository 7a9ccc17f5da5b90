/* SPDX-License-Identifier: Apache-2.0
 * Rewrites a model into the form that everything after it works on: weights are initializers, batch norms are folded, no-ops
 * are gone, spelled-out activations have their name. The result means the same to within float rounding. */
#ifndef CLQ_GRAPH_SIMPLIFY_H
#define CLQ_GRAPH_SIMPLIFY_H

#include "base/map.h"
#include "base/model.h"

/* Runs all passes in place. */
clq_status clq_model_simplify(struct clq_model *model, struct clq_error *err);

/* Raises the default opset so that a quantized file is valid: 13 for per-axis Q/DQ, 14 where HardSwish is used, 21
 * for 4-bit weights in blocks. Rewrites
 * the operators that changed on the way; CLQ_ERR_UNSUPPORTED names one that cannot be rewritten. */
clq_status clq_model_upgrade(struct clq_model *model, int64_t opset, struct clq_error *err);

/* Shared by the passes: who produces and who reads a value. Names map to node numbers; readers are counted. */
struct clq_uses {
    struct clq_arena arena;
    struct clq_map producer, count;
};
clq_status clq_uses_start(struct clq_uses *uses, const struct clq_model *model, struct clq_error *err);
void clq_uses_free(struct clq_uses *uses);
struct clq_node *clq_uses_producer(const struct clq_uses *uses, struct clq_model *model, const char *value);
int clq_uses_count(const struct clq_uses *uses, const char *value);
/* Nodes with op_type NULL are dropped. */
void clq_model_compact(struct clq_model *model);
/* Every reader of from reads to instead. */
void clq_model_rename(struct clq_model *model, const char *from, const char *to);
bool clq_node_is(const struct clq_node *n, const char *type);

clq_status clq_simplify_constants(struct clq_model *model, struct clq_error *err);
clq_status clq_simplify_identity(struct clq_model *model, struct clq_error *err);
clq_status clq_simplify_widen(struct clq_model *model, struct clq_error *err);
clq_status clq_simplify_affine(struct clq_model *model, struct clq_error *err);
clq_status clq_simplify_forward(struct clq_model *model, struct clq_error *err);
clq_status clq_simplify_activations(struct clq_model *model, struct clq_error *err);
clq_status clq_simplify_qlinear(struct clq_model *model, struct clq_error *err);
clq_status clq_simplify_dead(struct clq_model *model, struct clq_error *err);

#endif
