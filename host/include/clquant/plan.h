/* SPDX-License-Identifier: Apache-2.0
 *
 * plan.h - reads the plan that is written beside a quantized model: every layer, its candidates with measured error and
 * time, the choice and the reason.
 *
 *     clq_plan *plan;
 *     clq_plan_layer_info layer;
 *     if (clq_plan_load(&plan, ctx, "model.int8.onnx.plan.json") == CLQ_OK)
 *         for (size_t i = 0; clq_plan_layer_get(&layer, plan, i) == CLQ_OK; i++)
 *             printf("%s: %s\n", layer.name, layer.reason);
 *     clq_plan_free(plan);
 *
 * All strings belong to the plan and live as long as it does. A number that was not measured is NaN.
 */
#ifndef CLQUANT_PLAN_H
#define CLQUANT_PLAN_H

#include <clquant/context.h>
#include <clquant/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct clq_plan clq_plan;

/* Reads and checks a plan file of any origin. The plan is independent of the context, except that messages go there.
 * CLQ_ERR_IO: cannot be read. CLQ_ERR_FORMAT: malformed; the message names the JSON path. */
CLQ_API clq_status clq_plan_load(clq_plan **out, clq_context *ctx, const char *path);
CLQ_API void clq_plan_free(clq_plan *plan);

/* What the whole plan says. */
typedef struct clq_plan_info {
    int version;
    const char *clquant;             /* version of the library that made it */
    const char *model, *model_sha256; /* file name and hash of the float model */
    const char *device, *isa;        /* where the times were measured */
    const char *runtime;             /* whose times and outputs they are: "clquant", or "onnxruntime 1.32.0" and the like */
    int threads;
    const char *target, *calibrator;
    const char *budget;              /* "min-sqnr", "max-drop", "uniform" or "none" */
    double budget_value;             /* dB or points */
    int64_t samples, validation_samples;
    bool synthetic;                  /* calibrated on noise: good for timing alone */
    double sqnr_db;                  /* NaN with identical: no error at all */
    bool identical;
    double speedup, speedup_lo, speedup_hi;
    bool kept_float, slower_than_float, budget_met;
    const char *reason;              /* the decision in one sentence */
    size_t layers;
} clq_plan_info;
CLQ_API clq_status clq_plan_describe(clq_plan_info *out, const clq_plan *plan);

/* One layer. */
typedef struct clq_plan_layer_info {
    const char *name, *op_type, *reason;
    const char *output;  /* name of its first output tensor, "" when the plan names none */
    size_t candidates;
    size_t choice;       /* index of the chosen candidate */
} clq_plan_layer_info;
/* CLQ_ERR_INVALID_ARGUMENT: index past the end. */
CLQ_API clq_status clq_plan_layer_get(clq_plan_layer_info *out, const clq_plan *plan, size_t index);

/* One way to compute a layer, with what was measured. */
typedef struct clq_plan_candidate_info {
    const char *precision; /* "f32", "int8", ... */
    const char *device;    /* "cpu", "opencl:0", ... */
    double error;          /* relative noise power that it alone adds at the network's outputs, >= 0 */
    double sqnr_db;        /* the same in dB, NaN: no error at all */
    double time_us;        /* the layer in place */
    double boundary_us;    /* conversions that it adds with the neighbors as chosen */
    int timings;           /* how many times time_us is the median of; 0: not measured */
    double bytes;          /* weights and scales in the file */
} clq_plan_candidate_info;
CLQ_API clq_status clq_plan_candidate_get(clq_plan_candidate_info *out, const clq_plan *plan, size_t layer, size_t candidate);

/* The codes of a quantized tensor. */
typedef struct clq_plan_tensor_info {
    clq_dtype dtype;
    float scale;
    int zero_point;
    float least, most;   /* the range that the codes cover */
    const char *method;  /* the calibrator that gave it */
} clq_plan_tensor_info;
/* CLQ_ERR_INVALID_ARGUMENT: the plan has no codes for a tensor of that name. */
CLQ_API clq_status clq_plan_tensor_get(clq_plan_tensor_info *out, const clq_plan *plan, const char *name);

#ifdef __cplusplus
}
#endif
#endif
