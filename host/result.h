/* SPDX-License-Identifier: Apache-2.0
 * What a quantization leaves behind: the models, the search state that reports read, and the summary. */
#ifndef CLQ_RESULT_H
#define CLQ_RESULT_H

#include <clquant/quantize.h>

#include "scheduler/plan.h"
#include "search.h"

struct clq_result {
    struct clq_context *ctx;
    struct clq_search search;
    bool searching;               /* search is to be released */
    const struct clq_model *source; /* as loaded; outlives the result */
    struct clq_model model;       /* the quantized one; empty when the float model is kept */
    clq_summary summary;
    clq_layer_result *layers;
    struct clq_plan_data plan;
    unsigned char *bytes;         /* the file that will be written */
    size_t n_bytes;
};

/* Fills result->plan from the search (plan_write.c). */
clq_status clq_result_fill_plan(struct clq_result *r, const struct clq_quantize_options *options, struct clq_error *err);
/* Takes precisions, parameters and corrections from a plan file (plan_write.c). */
clq_status clq_search_load_plan(struct clq_search *s, bool *on_codes, const char *path, const struct clq_model *source, struct clq_error *err);

#endif
