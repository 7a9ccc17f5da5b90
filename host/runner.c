/* SPDX-License-Identifier: Apache-2.0
 * The runner: a small cache of programs, the least recently used one makes room. */
#include "runner.h"

#include "runtime.h"

#include <string.h>
#include <time.h>

#include "graph/stages.h"

double clq_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void clq_runner_start(struct clq_runner *out, struct clq_context *ctx, const struct clq_model *model, const struct clq_program_options *options)
{
    *out = (struct clq_runner){.ctx = ctx, .model = model};
    if (options) out->options = *options;
    out->options.partial = true;
}

void clq_runner_free(struct clq_runner *runner)
{
    if (runner->foreign) runner->ctx->runtime->close(runner->foreign);
    runner->foreign = NULL;
    for (int i = 0; i < CLQ_RUNNER_KEEP; i++) {
        clq_program_free(runner->programs[i]);
        runner->programs[i] = NULL;
    }
}

static clq_status find(struct clq_program **out, struct clq_runner *r, const clq_tensor *inputs, struct clq_error *err)
{
    int oldest = 0;
    for (int i = 0; i < CLQ_RUNNER_KEEP; i++) {
        if (r->programs[i] && clq_program_fits(r->programs[i], inputs)) {
            r->used[i] = ++r->clock;
            *out = r->programs[i];
            return CLQ_OK;
        }
        if (!r->programs[i] ? r->programs[oldest] != NULL : r->programs[oldest] && r->used[i] < r->used[oldest]) oldest = i;
    }
    clq_program_free(r->programs[oldest]);
    r->programs[oldest] = NULL;
    CLQ_TRY(clq_program_compile(&r->programs[oldest], r->ctx, r->model, inputs, &r->options, err));
    r->used[oldest] = ++r->clock;
    *out = r->programs[oldest];
    return CLQ_OK;
}

clq_status clq_runner_program(struct clq_program **out, struct clq_runner *runner, const clq_tensor *inputs, struct clq_error *err)
{
    return find(out, runner, inputs, err);
}

clq_status clq_runner_run(struct clq_runner *runner, const clq_tensor *inputs, clq_tensor *outputs, clq_tap_fn *tap, void *tap_state,
                          struct clq_error *err)
{
    struct clq_program *p;
    struct clq_runtime *runtime = runner->ctx->runtime;
    if (runtime && !tap) {
        if (!runner->foreign) CLQ_TRY(runtime->open(&runner->foreign, runtime, runner->model, err));
        return runtime->run(runner->foreign, inputs, outputs, err);
    }
    CLQ_TRY(find(&p, runner, inputs, err));
    return clq_stages_run(p, inputs, outputs, tap, tap_state, err);
}
