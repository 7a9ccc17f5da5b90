/* SPDX-License-Identifier: Apache-2.0
 * See steady.h. */
#include "scheduler/steady.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "scheduler/stats.h"

static double change(double a, double b)
{
    return a > 0 && b > 0 ? fmax(a, b) / fmin(a, b) - 1 : 0;
}

double clq_round_drift(const struct clq_round *r)
{
    return change(r->before, r->after);
}

bool clq_round_disturbed(const struct clq_round *r)
{
    return r->stolen || clq_round_drift(r) > CLQ_STEADY_DRIFT;
}

static double mean(const struct clq_round *r)
{
    return r->before > 0 && r->after > 0 ? (r->before + r->after) / 2 : 0;
}

clq_status clq_rounds_judge(bool *disturbed, struct clq_steadiness *seen, const struct clq_round *rounds, size_t n, struct clq_error *err)
{
    double *spins = calloc(n + 1, sizeof *spins), usual;
    size_t known = 0;
    if (!spins) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory for %zu rounds", n);
    for (size_t i = 0; i < n; i++)
        if (mean(&rounds[i]) > 0) spins[known++] = mean(&rounds[i]);
    usual = known ? clq_median(spins, known) : 0;
    free(spins);
    *seen = (struct clq_steadiness){.rounds = n};
    for (size_t i = 0; i < n; i++) {
        double drift = fmax(clq_round_drift(&rounds[i]), change(mean(&rounds[i]), usual));
        bool drifted = drift > CLQ_STEADY_DRIFT;
        seen->stolen += rounds[i].stolen;
        seen->drifted += drifted;
        seen->drift = fmax(seen->drift, drift);
        seen->disturbed += disturbed[i] = rounds[i].stolen || drifted;
    }
    return CLQ_OK;
}

void clq_steadiness_text(char *out, size_t room, const struct clq_steadiness *s, const char *what)
{
    char unsure[100] = "";
    if (room > 0) out[0] = 0;
    if (s->disturbed == 0) return;
    if (s->unsure) snprintf(unsure, sizeof unsure, "; %zu of them were disturbed again and count all the same: less sure", s->unsure);
    snprintf(out, room, "%s: %zu of %zu rounds were disturbed and repeated (steal time in %zu, another clock in %zu, by up to %.0f %%)%s", what, s->disturbed,
             s->rounds, s->stolen, s->drifted, 100 * s->drift, unsure);
}
