/* SPDX-License-Identifier: Apache-2.0
 * What each unit does to the output alone: which units have an integer form, and their errors in every mode. */
#include <math.h>
#include <string.h>

#include "search.h"

static clq_status no_memory(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

static clq_status canceled(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
}

const struct clq_program_options clq_search_first_stage = {.partial = true, .sums_apart = true};

/* The integer step that carries a unit's name, or -1. */
static int integer_step(const struct clq_program *p, const char *name)
{
    for (int i = 0; i < p->n_steps; i++) {
        const struct clq_step *st = &p->steps[i];
        if (!st->dead && st->node && st->kind >= CLQ_STEP_QCONV && st->kind <= CLQ_STEP_QMOVE && strcmp(st->node->name, name) == 0) return i;
    }
    return -1;
}

/* Builds the model with every capable unit on codes and drops the units that have no integer step, until all have. */
clq_status clq_search_capable(struct clq_search *s, struct clq_error *err)
{
    int n = s->units.n_units;
    uint8_t *on = clq_arena_array(&s->arena, (size_t)n + 1, sizeof *on);
    clq_tensor *in = clq_arena_array(&s->arena, (size_t)s->model.graph.n_inputs + 1, sizeof *in);
    if (!on || !in) return no_memory(err);
    clq_search_all_int8(on, s);
    CLQ_TRY(s->calibration.get(s->calibration.state, 0, in, err));
    for (int round = 0; round < 8; round++) {
        struct clq_model m;
        struct clq_program *p;
        int lost = 0;
        CLQ_TRY(clq_search_model(&m, s, on, err));
        clq_status st = clq_program_compile(&p, s->ctx, &m, in, &clq_search_first_stage, err);
        for (int i = 0; st == CLQ_OK && i < n; i++)
            if (on[i] && integer_step(p, s->units.units[i].name) < 0) {
                bool aliased = s->units.units[i].kind == CLQ_UNIT_MOVE; /* a reshape may have become a change of scale */
                on[i] = 0;
                s->records[i].capable = false;
                s->records[i].reason = aliased ? "its layout change has no integer form here" : "no integer kernel takes this form";
                lost++;
            }
        if (st == CLQ_OK) clq_program_free(p);
        clq_model_release(&m);
        CLQ_TRY(st);
        if (lost == 0) break;
    }
    return CLQ_OK;
}

/* The noise of one unit alone in one mode. */
static clq_status error_alone(double *noise, struct clq_search *s, uint8_t *on, int i, int mode, struct clq_error *err)
{
    struct clq_comparison c;
    on[i] = (uint8_t)mode;
    clq_status st = clq_search_compare_plan(&c, s, &s->tuning, on, err);
    on[i] = 0;
    if (st == CLQ_OK) *noise = c.noise;
    return st;
}

static clq_status mode_errors(struct clq_search *s, uint8_t *on, struct clq_error *err)
{
    int n = s->units.n_units;
    for (int m = 2; m < s->n_modes; m++)
        for (int i = 0; i < n; i++) {
            struct clq_mode_record *r = &s->extra[m][i];
            if (!clq_context_progress(s->ctx, "measuring errors", (double)((m - 1) * n + i) / (double)(n * (s->n_modes - 1)))) return canceled(err);
            if (!r->capable) continue;
            CLQ_TRY(error_alone(&r->noise, s, on, i, m, err));
            if (!isfinite(r->noise)) r->capable = false;
        }
    return CLQ_OK;
}

/* Output error of each unit alone on codes, and in each other mode. */
clq_status clq_search_errors(struct clq_search *s, struct clq_error *err)
{
    int n = s->units.n_units;
    uint8_t *on = clq_arena_array(&s->arena, (size_t)n + 1, sizeof *on);
    if (!on) return no_memory(err);
    for (int i = 0; i < n; i++) {
        if (!clq_context_progress(s->ctx, "measuring errors", (double)i / (double)(n * (s->n_modes - 1)))) return canceled(err);
        if (!s->records[i].capable) continue;
        s->records[i].noise = 0; /* moving codes adds nothing */
        if (s->units.units[i].kind == CLQ_UNIT_MOVE) continue;
        CLQ_TRY(error_alone(&s->records[i].noise, s, on, i, 1, err));
        if (isfinite(s->records[i].noise)) continue;
        s->records[i].capable = false;
        s->records[i].noise = -1;
        s->records[i].reason = "in int8 it makes the output infinite or NaN";
    }
    CLQ_TRY(mode_errors(s, on, err));
    clq_context_progress(s->ctx, "measuring errors", 1);
    return CLQ_OK;
}
