/* SPDX-License-Identifier: Apache-2.0
 * What a quantization decided and what it was decided by. quantize.c has the order of the phases, quantize_search.c finds the
 * plan, decision.c judges it and says why. */
#ifndef CLQ_DECISION_H
#define CLQ_DECISION_H

#include "result.h"
#include "scheduler/compare.h"

struct clq_decision {
    uint8_t *mode;
    struct clq_budget budget;
    struct clq_choice choice;
    struct clq_comparison uniform, final;
    struct clq_accept_verdict speed, uniform_speed;
    bool proven;
    uint8_t *all;    /* uniform int8 */
    bool *all_on_device; /* its placement: all that the device can run */
    bool uniform_ok; /* it meets the budget, as measured */
    double score, score_reference; /* of the user's command, NAN without one */
};

double clq_eval_timeout(const clq_quantize_options *options);

/* The plan, into decision->mode; calibrator CLQ_CAL_COUNT: auto. */
clq_status clq_decision_search(struct clq_result *r, const clq_quantize_options *options, int calibrator, struct clq_decision *d, struct clq_error *err);
/* Compares and times the plan for good, and repairs or replaces it where it breaks a promise: r->model, decision->final and speed. */
clq_status clq_decision_prove(struct clq_result *r, const clq_quantize_options *options, struct clq_decision *d, struct clq_error *err);

/* Layers with their reasons, bounds, guard, and the summary. forced: nobody searched. */
clq_status clq_decision_judge(struct clq_result *r, const clq_quantize_options *options, struct clq_decision *d, bool forced, struct clq_error *err);

#endif
