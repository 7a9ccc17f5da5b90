/* SPDX-License-Identifier: Apache-2.0
 * Every core has a thread of its own and they start together; the ceiling is the sum of their rates. */
#include "perf/ceiling.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "kernels/kernels.h"

enum { PAGE = 4096 };

struct look {
    const struct clq_ceiling *l;
    atomic_int waiting;
    _Atomic double sum;
};

/* A core that does not come within 20 ms is taken by somebody else: the others begin without it. */
static void meet(struct look *k)
{
    const double begin = clq_probe_now();
    atomic_fetch_sub(&k->waiting, 1);
    while (atomic_load(&k->waiting) > 0 && clq_probe_now() - begin < 20e-3) {}
}

static void look_of_core(void *state, size_t begin, size_t end, int thread)
{
    struct look *k = state;
    const struct clq_ceiling *l = k->l;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        double rate;
        if (l->cores > 1) meet(k);
        if (l->probe) {
            rate = l->probe->run(l->loops);
        } else {
            const size_t part = l->bytes / (size_t)l->cores;
            rate = l->copy ? clq_probe_copy(l->memory + i * part, part) : clq_probe_read(l->memory + i * part, part);
        }
        double old = atomic_load(&k->sum);
        while (!atomic_compare_exchange_weak(&k->sum, &old, old + rate)) {}
    }
}

double clq_ceiling_look(const struct clq_ceiling *l)
{
    struct look k = {.l = l, .waiting = l->cores};
    clq_pool_for(l->pool, l->cores, (size_t)l->cores, look_of_core, &k);
    return k.sum;
}

static double best_look(const struct clq_ceiling *l)
{
    double best = 0;
    for (int i = 0; i < 7; i++) {
        const double v = clq_ceiling_look(l);
        if (v > best) best = v;
    }
    return best;
}

void clq_ceiling_find(struct clq_ceiling *l, const struct clq_probe *probe, int cores, double operations, double bytes, bool copy)
{
    const size_t grain = 2 * PAGE * (size_t)cores;
    *l = (struct clq_ceiling){.copy = copy, .cores = cores, .loops = 20000, .pool = cores > 1 ? clq_pool_create(cores) : NULL};
    if (cores > 1 && !l->pool) l->cores = 1;
    if (probe && (probe->needs & ~clq_cpu_detect()) != 0) probe = NULL;
    if (operations <= 0) probe = NULL;
    if (bytes > 0) {
        l->bytes = ((size_t)bytes + grain - 1) / grain * grain;
        l->memory = aligned_alloc(PAGE, l->bytes);
        if (l->memory) memset(l->memory, 1, l->bytes);
        else l->bytes = 0;
    }
    if (probe && l->bytes) {
        const double by_memory = bytes / best_look(l);
        l->probe = probe;
        if (by_memory > operations / best_look(l)) l->probe = NULL;
    } else {
        l->probe = probe;
    }
}

bool clq_ceiling_exists(const struct clq_ceiling *l)
{
    return l->probe || l->bytes > 0;
}

const char *clq_ceiling_name(const struct clq_ceiling *l)
{
    return l->probe ? l->probe->name : l->bytes == 0 ? "" : l->copy ? "copy" : "read";
}

void clq_ceiling_last(struct clq_ceiling *l, double seconds)
{
    if (!l->probe) return;
    l->loops = 2000;
    l->probe->run(l->loops);
    double t = clq_probe_now();
    l->probe->run(l->loops);
    t = clq_probe_now() - t;
    const double times = (seconds < 5e-3 ? seconds : 5e-3) / t;
    if (times > 1) l->loops = (long)((double)l->loops * times);
}

void clq_ceiling_drop(struct clq_ceiling *l)
{
    clq_pool_free(l->pool);
    free(l->memory);
    *l = (struct clq_ceiling){0};
}
