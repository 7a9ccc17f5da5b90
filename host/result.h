/* SPDX-License-Identifier: Apache-2.0
 * What a quantization leaves behind: the models, the search state that reports read, and the summary. */
#ifndef CLQ_RESULT_H
#define CLQ_RESULT_H

#include <clquant/frontier.h>

#include "base/file.h"
#include "scheduler/plan.h"
#include "search.h"

/* A plan of the frontier. */
struct clq_point {
    clq_plan_point public;
    uint8_t *mode;              /* [units] of the search's modes */
    bool *on_device;            /* [units] */
    struct clq_choice choice;   /* as its search ended */
};

struct clq_result {
    struct clq_context *ctx;
    struct clq_search search;
    bool searching;               /* search is to be released */
    const struct clq_model *source; /* as loaded; outlives the result */
    struct clq_model model;       /* the quantized one; empty when the float model is kept */
    clq_summary summary;
    clq_layer_result *layers;
    double predicted_noise;       /* of the plan, relative to the reference; < 0: unknown */
    struct clq_plan_data replay;  /* the plan that was given, if any */
    struct clq_plan_data plan;
    unsigned char *bytes;         /* the file that will be written */
    const char *copied_to;        /* where a kept float model went, NULL before */
    size_t n_bytes;
    struct clq_point *points;     /* of a frontier */
    size_t n_points;
};

/* The points of options->frontier_db into the result (frontier.c). request: of the plain search. */
clq_status clq_result_frontier(struct clq_result *r, const clq_quantize_options *options, const struct clq_choose_request *request, struct clq_error *err);

/* Fills result->plan from the search (plan_write.c). */
clq_status clq_result_fill_plan(struct clq_result *r, clq_data *data, const struct clq_quantize_options *options, struct clq_error *err);
/* Whether a list of modes such as "f32,int8" has this one. */
bool clq_mode_listed(const char *list, const char *mode);
/* A name as plans hold it: well-formed, and not longer than they allow. NULL when memory is out. */
const char *clq_plan_name(struct clq_arena *arena, const char *name);
/* The hash by which plans know a model (plan_write.c). */
clq_status clq_plan_model_hash(char out[65], const struct clq_model *model, struct clq_error *err);
/* In place of calibration and search: target, precisions, parameters, corrections and numbers of result->replay, into the
 * search (plan_replay.c). CLQ_ERR_INVALID_ARGUMENT: the plan does not fit the model. */
clq_status clq_result_replay(struct clq_result *r, uint8_t *mode, bool *on_device, const struct clq_quantize_options *options, struct clq_error *err);
/* How an output is written: never over a file that the model was read from, or that a kept float model was copied to. */
clq_status clq_result_output(struct clq_writer_options *out, struct clq_result *r, bool force, struct clq_error *err);
/* Reads a plan file into result->replay, and adds the modes that its choices name: they decide the opset, so they are known
 * before the search. */
clq_status clq_result_replay_modes(struct clq_result *r, const char *path, struct clq_error *err);

#endif
