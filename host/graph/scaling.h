/* SPDX-License-Identifier: Apache-2.0
 * Tensors whose channels can be divided by numbers without a change of the model's meaning: the numbers go into constants of
 * whatever makes the tensor, and into the weights of the products that read it. */
#ifndef CLQ_GRAPH_SCALING_H
#define CLQ_GRAPH_SCALING_H

#include "graph/units.h"

enum { CLQ_MAKERS_MOST = 6 };

struct clq_scalable {
    int tensor;             /* of the units */
    size_t channels;
    bool spatial;           /* they lie on axis 1, as convolutions read them; else on the last one */
    int product;            /* the node of a product that makes it, through Relu or attention at most; or -1: a normalization's gain and shift do */
    int n_makers;
    struct clq_maker {
        int node, input;    /* the constant */
        int axis;           /* of the channels */
    } maker[CLQ_MAKERS_MOST];
};

/* Whether tensor t is one: all its readers are products with constant weights along the same axis, and what makes it is a product, a normalization or
 * a multiplication by a vector, with additions of vectors, Relu and at most one attention whose values it is behind, each with one reader. */
bool clq_scalable_find(struct clq_scalable *out, const struct clq_model *model, const struct clq_units *units, int t);
/* Divides the tensor by scale [channels], positive, and multiplies its readers' weights; s is of the same model. */
clq_status clq_scalable_apply(struct clq_model *model, const struct clq_units *units, const struct clq_scalable *s, const float *scale, struct clq_error *err);
/* Whether a unit is a product that reads tensor t; its weight's axis of the inputs goes to *axis. */
bool clq_scalable_reader(int *axis, const struct clq_model *model, const struct clq_unit *u, int t);

#endif
