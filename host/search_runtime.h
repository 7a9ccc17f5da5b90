/* SPDX-License-Identifier: Apache-2.0
 * Searching with the times of another maker's runtime. It times nodes and whole models; what a change of precision between
 * two units costs it does not say, so that is found from mixed plans, and whole plans are timed before one is taken. */
#ifndef CLQ_SEARCH_RUNTIME_H
#define CLQ_SEARCH_RUNTIME_H

#include "search.h"

/* In place of timing our own steps: the units' times and the conversions, from profiles of four whole models. */
clq_status clq_runtime_times(struct clq_search *s, const clq_tensor *inputs, struct clq_error *err);

/* Times whole plans: solves again with what they took in mind, tries uniform int8, and then switches groups of units
 * to and fro while that makes the model faster and keeps it within the budget. Writes the best into choice. */
clq_status clq_runtime_refine(struct clq_choice *choice, struct clq_search *s, const struct clq_choose_request *request, struct clq_error *err);

#endif
