/* SPDX-License-Identifier: Apache-2.0
 * Runs a model on inputs of any shape: programs are compiled on demand and kept for the shapes seen last. Where the context
 * has a runtime of another maker, that runs the model instead. */
#ifndef CLQ_RUNNER_H
#define CLQ_RUNNER_H

#include "graph/program.h"

enum { CLQ_RUNNER_KEEP = 6 };

struct clq_runner {
    struct clq_context *ctx;
    const struct clq_model *model;
    struct clq_program_options options;
    struct clq_program *programs[CLQ_RUNNER_KEEP];
    uint64_t used[CLQ_RUNNER_KEEP], clock;
    void *foreign; /* the runtime's session, or NULL */
};

/* model must be simplified and outlive the runner; options may be NULL. Nothing is compiled yet. */
void clq_runner_start(struct clq_runner *out, struct clq_context *ctx, const struct clq_model *model, const struct clq_program_options *options);
void clq_runner_free(struct clq_runner *runner);
/* Our own program for these inputs' types and shapes, whoever runs the model. Where shapes wait for values it is the first stage
 * only, and has a rest; clq_runner_run runs all of it. */
clq_status clq_runner_program(struct clq_program **out, struct clq_runner *runner, const clq_tensor *inputs, struct clq_error *err);
/* A tap needs our own program. */
clq_status clq_runner_run(struct clq_runner *runner, const clq_tensor *inputs, clq_tensor *outputs, clq_tap_fn *tap, void *tap_state,
                          struct clq_error *err);

/* Where samples come from: sample i fills one tensor per graph input; the data lives until the next call. */
typedef clq_status clq_sample_fn(void *state, size_t index, clq_tensor *inputs, struct clq_error *err);
struct clq_source {
    size_t count;
    const size_t *index; /* [count]: what users know the samples by */
    clq_sample_fn *get;
    void *state;
};

double clq_now(void); /* seconds, monotonic */

#endif
