/* SPDX-License-Identifier: Apache-2.0
 *
 * model.h - loads models, describes them, and runs them.
 *
 *     clq_model *model;
 *     if (clq_model_load(&model, ctx, "model.onnx", NULL) != CLQ_OK)
 *         puts(clq_error_message(ctx));
 *     clq_session *session;
 *     clq_session_create(&session, ctx, model);
 *     clq_tensor y[1] = {{0}};
 *     clq_session_run(session, &x, 1, y, 1);      // y[0].data lives until the next run
 *     clq_session_free(session);
 *     clq_model_free(model);
 */
#ifndef CLQUANT_MODEL_H
#define CLQUANT_MODEL_H

#include <clquant/context.h>
#include <clquant/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct clq_model clq_model;
typedef struct clq_session clq_session;

typedef struct clq_model_options {
    bool follow_links; /* external data may lie behind symbolic or hard links (default: refused) */
} clq_model_options;

/* Reads a model file (ONNX, IR 3 to 13, opset 7 to 25). Every byte is checked; nothing is executed.
 * CLQ_ERR_IO: cannot be read. CLQ_ERR_FORMAT: malformed. CLQ_ERR_UNSUPPORTED: a construct that is not known. */
CLQ_API clq_status clq_model_load(clq_model **out, clq_context *ctx, const char *path, const clq_model_options *options);
CLQ_API void clq_model_free(clq_model *model);

/* One input or output. A dimension of -1 is not fixed by the model. */
typedef struct clq_value_desc {
    const char *name; /* the model's */
    clq_dtype dtype;
    int rank; /* -1: unknown */
    int64_t shape[CLQ_MAX_RANK];
} clq_value_desc;

CLQ_API int clq_model_input_count(const clq_model *model);
CLQ_API int clq_model_output_count(const clq_model *model);
/* CLQ_ERR_INVALID_ARGUMENT: index out of range. */
CLQ_API clq_status clq_model_input(clq_value_desc *out, const clq_model *model, int index);
CLQ_API clq_status clq_model_output(clq_value_desc *out, const clq_model *model, int index);

typedef struct clq_model_summary {
    int64_t ir_version, opset;
    int nodes, constants;
    size_t parameters;       /* elements of all constants of float or code type */
    size_t parameter_bytes;
    int quantized_nodes;     /* QuantizeLinear, DequantizeLinear and integer operators already in the file */
    int unsupported;         /* nodes that cannot be executed */
} clq_model_summary;
CLQ_API clq_status clq_model_summarize(clq_model_summary *out, const clq_model *model);

/* Visits the operator types in descending order of frequency. */
typedef void clq_operator_fn(void *user, const char *domain, const char *op_type, int count, bool supported);
CLQ_API clq_status clq_model_operators(const clq_model *model, clq_operator_fn *visit, void *user);

/* Visits the layers that can be quantized: name, operator, parameters, multiply-accumulates. Shapes come from inputs
 * (one tensor per input, data not read), or from the model with every unknown dimension set to 1 when inputs is NULL. */
typedef void clq_layer_fn(void *user, const char *name, const char *op_type, double parameters, double macs);
CLQ_API clq_status clq_model_layers(clq_context *ctx, const clq_model *model, const clq_tensor *inputs, clq_layer_fn *visit, void *user);

/* A model made ready to run. The model and the context must outlive it. Programs are compiled for the input shapes they
 * meet. CLQ_ERR_UNSUPPORTED lists all operators that cannot run. */
CLQ_API clq_status clq_session_create(clq_session **out, clq_context *ctx, const clq_model *model);
CLQ_API void clq_session_free(clq_session *session);

/* Runs once. inputs: one tensor per model input, in order. outputs: one per model output; dtype and shape are written, and
 * data too when it is NULL (borrowed until the next run); otherwise the result is copied there.
 * CLQ_ERR_INVALID_ARGUMENT names the input that does not fit. */
CLQ_API clq_status clq_session_run(clq_session *session, const clq_tensor *inputs, int n_inputs, clq_tensor *outputs, int n_outputs);

/* After a run: how many steps ran in float32, on 8-bit codes, and on the OpenCL device. */
typedef struct clq_session_stats {
    int float_steps, integer_steps, device_steps, other_steps;
} clq_session_stats;
CLQ_API clq_status clq_session_describe(clq_session_stats *out, const clq_session *session);

/* Whether runs from now on take the time of every step: two readings of the clock each, about 50 ns. Off at first. */
CLQ_API clq_status clq_session_time_steps(clq_session *session, bool on);

/* One step of the program that ran last: what is left of the model's nodes once they are fused, in the order of execution. */
typedef struct clq_session_step {
    const char *name;       /* of the node that the step is known by, "" for none; all texts live as long as the session */
    const char *op;         /* the operator of that node, or what a step does for which the model has no node: "QuantizeRows", ... */
    const char *kernel;     /* what computes it: the version of an integer kernel, "oneDNN", "OpenCL", or "C" */
    const char *arithmetic; /* "float32", "int8" or "int4" (the weights; rows may be float) for products, else the result's type. 4-bit
                             * weights of a product with 32 rows and more are "int8": they are expanded when the model is compiled */
    bool bias, residual;    /* fused behind a product, and */
    const char *activation; /* after them; NULL: none */
    int rank;               /* of the first result, as it lies in memory: channels may be last */
    int64_t shape[CLQ_MAX_RANK];
    double macs;            /* multiply-accumulates; 0: not a product */
    double bytes;           /* of its operands, constants but for weights left out, and of its results: each once */
    double seconds;         /* summed over the timed runs of this program */
    uint64_t runs;
} clq_session_step;

/* Step index of the session's last run, from 0; CLQ_ERR_INVALID_ARGUMENT beyond the last one, and where another runtime
 * runs the model. Steps that only name another's memory are left out. */
CLQ_API clq_status clq_session_get_step(clq_session_step *out, const clq_session *session, int index);

#ifdef __cplusplus
}
#endif
#endif
