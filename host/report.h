/* SPDX-License-Identifier: Apache-2.0
 * The parts of a report page. Internal to the files named report*. */
#ifndef CLQ_REPORT_H
#define CLQ_REPORT_H

#include "report_text.h"
#include "result.h"

/* A quantization without calibration: its parameters come from a plan, and there are no histograms. */
static inline bool clq_report_replayed(const struct clq_result *r)
{
    return r->replay.n_layers > 0;
}

/* The sortable table of all layers. Names of its rows refer to tensors by their index in the page's data. */
clq_status clq_report_layers(struct clq_page *p, struct clq_arena *scratch, const struct clq_result *r, struct clq_error *err);
/* The points of a frontier, nothing where there is none: all texts in it are ours. */
void clq_report_points(struct clq_page *p, const struct clq_result *r);
/* The JSON that host/report/page.js draws from: ranges, errors and histograms of all tensors. */
clq_status clq_report_data(struct clq_page *p, struct clq_arena *scratch, const struct clq_result *r, struct clq_error *err);

#endif
