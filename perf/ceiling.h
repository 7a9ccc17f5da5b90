/* SPDX-License-Identifier: Apache-2.0
 * What the cores can do together at this moment: instructions with all operands in registers, or memory. */
#ifndef CLQ_PERF_CEILING_H
#define CLQ_PERF_CEILING_H

#include <stdbool.h>

#include "perf/probe.h"

struct clq_ceiling {
    const struct clq_probe *probe; /* the instructions, or NULL: memory */
    bool copy;                     /* of memory: copying, otherwise reading */
    int cores;
    /* what clq_ceiling_find made */
    struct clq_pool *pool;
    char *memory;
    size_t bytes; /* of memory; 0: there is no ceiling of that kind */
    long loops;   /* of one look at the instructions */
};

/* Chooses between the instructions (probe, or NULL) and memory for work of so many operations and bytes, whichever allows
 * less; 0 where it does not count. */
void clq_ceiling_find(struct clq_ceiling *l, const struct clq_probe *probe, int cores, double operations, double bytes, bool copy);
bool clq_ceiling_exists(const struct clq_ceiling *l);
const char *clq_ceiling_name(const struct clq_ceiling *l); /* "vpdpbusd zmm", "read", "copy" or "" */
/* One look takes about so long from now on, 5 ms at most: what takes a core away hits it and the work alike. */
void clq_ceiling_last(struct clq_ceiling *l, double seconds);
/* One look: operations or bytes per second. */
double clq_ceiling_look(const struct clq_ceiling *l);
void clq_ceiling_drop(struct clq_ceiling *l);

#endif
