/* SPDX-License-Identifier: Apache-2.0
 * See watch.h. */
#include "watch.h"

#include <math.h>
#include <stdio.h>

#include "runner.h"
#include "scheduler/compare.h"

static bool steal(uint64_t *ticks)
{
    char text[512];
    FILE *f = fopen("/proc/stat", "r");
    if (!f) return false;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    return clq_steal_ticks(ticks, text);
}

/* Each step waits for the one before it, so the time is that of so many cycles, whatever else the core can do. The least of
 * a few is taken: an interrupt is no other clock. */
static double spin(void)
{
    enum { TRIES = 3, STEPS = 4000 };
    double least = INFINITY;
    uint64_t x = 1;
    for (int k = 0; k < TRIES; k++) {
        double begin = clq_now();
        for (int i = 0; i < STEPS; i++) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            __asm__ volatile("" : "+r"(x));
        }
        least = fmin(least, clq_now() - begin);
    }
    return least;
}

void clq_watch_start(struct clq_watch *w)
{
    *w = (struct clq_watch){.spin = spin()};
    w->known = steal(&w->steal);
}

struct clq_round clq_watch_round(struct clq_watch *w)
{
    const struct clq_watch was = *w;
    clq_watch_start(w);
    return (struct clq_round){.stolen = was.known && w->known && w->steal != was.steal, .before = was.spin, .after = w->spin};
}
