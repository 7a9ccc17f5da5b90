/* SPDX-License-Identifier: Apache-2.0
 * Whether the machine was the same while something was timed: processor time that a hypervisor took away, and a clock that
 * changed. Pure functions over what was seen around each round. */
#ifndef CLQ_SCHEDULER_STEADY_H
#define CLQ_SCHEDULER_STEADY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define CLQ_STEADY_DRIFT 0.05 /* less is what a fixed amount of work differs by on an idle machine */

/* What lay around one round of timing. */
struct clq_round {
    bool stolen;          /* /proc/stat counted steal ticks meanwhile */
    double before, after; /* seconds that the same fixed work took; 0: not measured */
};

/* What a measurement of several rounds was like. */
struct clq_steadiness {
    size_t rounds;
    size_t disturbed; /* were repeated, for either reason */
    size_t stolen, drifted;
    size_t unsure;    /* disturbed again when they were repeated: they count all the same */
    double drift;     /* the largest relative change of the clock, 0.08: 8 % */
};

/* By what part the clock changed within the round. */
double clq_round_drift(const struct clq_round *r);
bool clq_round_disturbed(const struct clq_round *r);
/* The same beside the others: disturbed[i] is also set where the clock was another one than in most rounds. seen counts;
 * CLQ_ERR_OUT_OF_MEMORY only. */
clq_status clq_rounds_judge(bool *disturbed, struct clq_steadiness *seen, const struct clq_round *rounds, size_t n, struct clq_error *err);
/* One line that names what was seen, "" where nothing was. what: "times of layers". */
void clq_steadiness_text(char *out, size_t room, const struct clq_steadiness *s, const char *what);

#endif
