/* SPDX-License-Identifier: Apache-2.0
 * What the machine does while something is timed: steal time of /proc/stat, and how long a fixed chain of multiplications takes. */
#ifndef CLQ_WATCH_H
#define CLQ_WATCH_H

#include <stdint.h>

#include "scheduler/steady.h"

struct clq_watch {
    bool known;     /* the system counts steal time */
    uint64_t steal; /* so far, in ticks */
    double spin;    /* seconds */
};

/* The beginning of the first round. */
void clq_watch_start(struct clq_watch *w);
/* The end of a round, and the beginning of the next. Takes some 15 us. */
struct clq_round clq_watch_round(struct clq_watch *w);

#endif
