/* SPDX-License-Identifier: Apache-2.0
 * A program of another maker that runs whole models, and that measuring can use in place of our own kernels: error and
 * speed are then those of the runtime that will serve the model. Runners hand models to it (runner.h). */
#ifndef CLQ_RUNTIME_H
#define CLQ_RUNTIME_H

#include "base/model.h"

/* The time of one node in one run, by the name that the runtime gives it: the model's, or one that holds it. */
typedef void clq_node_time_fn(void *state, const char *node, double us, double spread_us);

struct clq_runtime {
    const char *name;    /* "onnxruntime" */
    const char *version; /* of the library: "1.32.0" */
    const char *spec;    /* what opens the same one in another process: "onnxruntime:/path/of/libonnxruntime.so" */

    /* The model must outlive the session. CLQ_ERR_UNSUPPORTED: the runtime does not take it, in its own words. */
    clq_status (*open)(void **session, struct clq_runtime *runtime, const struct clq_model *model, struct clq_error *err);
    /* As clq_program_run: an output's data, when not NULL, receives the result; otherwise it stays valid until the next run. */
    clq_status (*run)(void *session, const clq_tensor *inputs, clq_tensor *outputs, struct clq_error *err);
    void (*close)(void *session); /* NULL is allowed */
    /* Runs the model so many times and visits every node of it that the runtime says a time for, in the order in which
     * they run. */
    clq_status (*profile)(struct clq_runtime *runtime, const struct clq_model *model, const clq_tensor *inputs, int runs,
                          clq_node_time_fn *visit, void *state, struct clq_error *err);
    void (*free)(struct clq_runtime *runtime);
};

/* Opens what text names: "onnxruntime", or "onnxruntime:PATH" with the path of the library. threads: of the runtime's own
 * pool. CLQ_ERR_INVALID_ARGUMENT: another text. CLQ_ERR_NO_DEVICE: no such library, or one that cannot be used; the message
 * says why. */
clq_status clq_runtime_open(struct clq_runtime **out, const char *text, int threads, struct clq_error *err);
/* NULL is allowed. */
void clq_runtime_close(struct clq_runtime *runtime);

#endif
