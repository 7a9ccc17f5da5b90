/* SPDX-License-Identifier: Apache-2.0
 * Shared by the files that find float patterns of several nodes. */
#ifndef CLQ_GRAPH_PATTERNS_H
#define CLQ_GRAPH_PATTERNS_H

#include "graph/integer.h"

/* The step that produces a float value, if its type is given and nothing beyond `readers` reads of it; else NULL. */
struct clq_step *clq_pattern_source(const struct clq_program *p, int value, const char *type, int readers);
/* What a value, which nothing else reads, is a constant multiple of, and the constant; -1: nothing. The shapes may differ. */
int clq_pattern_multiple(const struct clq_program *p, int value, double *constant);
bool clq_pattern_same_shape(const struct clq_program *p, int a, int b);
/* The axis that a Softmax works on is the last one, alone. */
bool clq_pattern_rows(const struct clq_program *p, const struct clq_step *softmax);

/* Turns step number i, a product of softmax's result with values, into attention, and the transposes around it, where it is that. */
void clq_pattern_attention(struct clq_program *p, int i);

#endif
