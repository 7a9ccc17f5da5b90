/* SPDX-License-Identifier: Apache-2.0
 * The price of boundaries between float32 and codes, from mixed plans in place. */
#ifndef CLQ_SEARCH_BOUNDARIES_H
#define CLQ_SEARCH_BOUNDARIES_H

#include "search.h"

/* Every second unit on codes, by its distance from the inputs: over both, nearly every edge is a boundary in both directions. */
clq_status clq_search_alternate(uint8_t *on, struct clq_search *s, bool odd, struct clq_error *err);
/* Whether a plan converts tensor t: 0 to codes, 1 to float, -1 not. */
int clq_search_crossing(const struct clq_search *s, const uint8_t *on, int t);

/* A mixed plan that is being timed. */
struct clq_mixed {
    uint8_t *on;
    struct clq_model model;
    struct clq_program *program;
    double *total;   /* [passes] us of all steps */
    double *convert; /* [tensors][passes] us of conversions and layouts */
};
clq_status clq_mixed_start(struct clq_mixed *m, struct clq_search *s, bool odd, const clq_tensor *in, size_t passes, struct clq_error *err);
void clq_mixed_collect(struct clq_mixed *m, const struct clq_search *s, size_t passes, size_t pass);
/* Empties what a pass has collected. */
void clq_mixed_forget(struct clq_mixed *m, const struct clq_search *s, size_t passes, size_t pass);
void clq_mixed_end(struct clq_mixed *m); /* zeroed: nothing */

/* Raises convert_us to what the mixed plans show; outside_us is spent by no unit in any plan. */
void clq_search_boundaries(struct clq_search *s, struct clq_mixed mixed[2], size_t passes, double outside_us);

#endif
