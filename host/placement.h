/* SPDX-License-Identifier: Apache-2.0
 * Which layers of a model run on the OpenCL device: a search decides it, the file's metadata carries it to whoever runs the file
 * with a device. Other runtimes do not look at it. */
#ifndef CLQ_PLACEMENT_H
#define CLQ_PLACEMENT_H

#include "base/map.h"
#include "graph/units.h"

/* Node names, one a line; empty: everything runs on the CPU. Without this key all that the device supports runs there. */
#define CLQ_PLACEMENT_KEY "clquant.opencl"

/* on_device: [units], or NULL for none. A node whose name holds a line break stays on the CPU. */
clq_status clq_placement_write(struct clq_model *model, const struct clq_units *units, const bool *on_device, struct clq_error *err);

/* Takes away what an earlier search said. */
void clq_placement_remove(struct clq_model *model);

/* *placed: whether the model says it. The names live in arena. */
clq_status clq_placement_read(bool *placed, struct clq_map *names, struct clq_arena *arena, const struct clq_model *model, struct clq_error *err);

#endif
