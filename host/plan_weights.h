/* SPDX-License-Identifier: Apache-2.0
 * Weights that only calibration data can find again, as text inside a plan: so that it replays to the same bytes anywhere. */
#ifndef CLQ_PLAN_WEIGHTS_H
#define CLQ_PLAN_WEIGHTS_H

#include "algo/groups.h"

/* Base64 of one layer's scales, zero points, table, bias and codes; NULL when memory is out. */
const char *clq_plan_weights_text(struct clq_arena *arena, const struct clq_group_weights *g);
/* Fills g, which clq_groups_start has made. CLQ_ERR_INVALID_ARGUMENT names the layer and what is wrong with its text. */
clq_status clq_plan_weights_read(struct clq_group_weights *g, struct clq_arena *arena, const struct clq_mode *mode, const char *text, const char *layer,
                                 struct clq_error *err);

#endif
