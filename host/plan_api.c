/* SPDX-License-Identifier: Apache-2.0
 * Plans for readers outside the library: views of the scheduler's data. */
#include <clquant/plan.h>

#include <stdlib.h>

#include "context.h"
#include "scheduler/plan.h"

struct clq_plan {
    struct clq_plan_data data;
};

clq_status clq_plan_load(clq_plan **out, clq_context *ctx, const char *path)
{
    if (!out || !ctx || !path) return CLQ_ERR_INVALID_ARGUMENT;
    struct clq_plan *plan = calloc(1, sizeof *plan);
    if (!plan) return clq_fail(&ctx->error, CLQ_ERR_OUT_OF_MEMORY, "out of memory for a plan");
    clq_status st = clq_plan_read(&plan->data, path, &ctx->error);
    if (st != CLQ_OK) {
        free(plan);
        return st;
    }
    *out = plan;
    return CLQ_OK;
}

void clq_plan_free(clq_plan *plan)
{
    if (!plan) return;
    clq_plan_release(&plan->data);
    free(plan);
}

static const char *text(const char *s)
{
    return s ? s : "";
}

clq_status clq_plan_describe(clq_plan_info *out, const clq_plan *plan)
{
    if (!out || !plan) return CLQ_ERR_INVALID_ARGUMENT;
    const struct clq_plan_data *d = &plan->data;
    const struct clq_plan_results *r = &d->results;
    *out = (clq_plan_info){
        .version = d->version,
        .clquant = text(d->clquant),
        .model = text(d->model.path),
        .model_sha256 = text(d->model.sha256),
        .device = text(d->device.name),
        .isa = text(d->device.isa),
        .runtime = d->device.runtime && *d->device.runtime ? d->device.runtime : "clquant",
        .threads = d->device.threads,
        .target = text(d->options.target),
        .calibrator = text(d->options.calibrator),
        .budget = text(d->options.budget),
        .budget_value = d->options.budget_value,
        .samples = d->data.samples,
        .validation_samples = d->data.validation_samples,
        .synthetic = d->data.synthetic,
        .sqnr_db = r->sqnr_db,
        .identical = r->identical,
        .speedup = r->speedup,
        .speedup_lo = r->speedup_lo,
        .speedup_hi = r->speedup_hi,
        .kept_float = r->kept_float,
        .slower_than_float = r->slower_than_float,
        .budget_met = r->budget_met,
        .reason = text(r->reason),
        .layers = d->n_layers,
    };
    return CLQ_OK;
}

clq_status clq_plan_layer_get(clq_plan_layer_info *out, const clq_plan *plan, size_t index)
{
    if (!out || !plan || index >= plan->data.n_layers) return CLQ_ERR_INVALID_ARGUMENT;
    const struct clq_plan_layer *l = &plan->data.layers[index];
    *out = (clq_plan_layer_info){text(l->name), text(l->op), text(l->reason), l->n_outputs ? text(l->outputs[0]) : "", l->n_candidates, (size_t)l->choice};
    return CLQ_OK;
}

clq_status clq_plan_candidate_get(clq_plan_candidate_info *out, const clq_plan *plan, size_t layer, size_t candidate)
{
    if (!out || !plan || layer >= plan->data.n_layers || candidate >= plan->data.layers[layer].n_candidates) return CLQ_ERR_INVALID_ARGUMENT;
    const struct clq_plan_candidate *c = &plan->data.layers[layer].candidates[candidate];
    *out = (clq_plan_candidate_info){text(c->scheme.mode), text(c->scheme.device), c->error, c->sqnr_db, c->time_us, c->boundary_us, c->timings, c->bytes};
    return CLQ_OK;
}

clq_status clq_plan_tensor_get(clq_plan_tensor_info *out, const clq_plan *plan, const char *name)
{
    static const clq_dtype dtypes[] = {CLQ_DTYPE_U8, CLQ_DTYPE_S8, CLQ_DTYPE_U16, CLQ_DTYPE_S16};
    if (!out || !plan || !name) return CLQ_ERR_INVALID_ARGUMENT;
    const struct clq_plan_tensor *t = clq_plan_tensor_find(&plan->data, name);
    if (!t) return CLQ_ERR_INVALID_ARGUMENT;
    *out = (clq_plan_tensor_info){dtypes[t->dtype], t->scale, t->zero_point, t->min, t->max, text(t->method)};
    return CLQ_OK;
}
