/* SPDX-License-Identifier: Apache-2.0
 * Chooses calibrators by measured output error: one for all tensors, then others where histograms recommend them. */
#include <math.h>
#include <stdlib.h>

#include "search.h"

enum { TRIALS = 24 };

static clq_status no_memory(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

static clq_status noise_of_all(double *out, struct clq_search *s, enum clq_calibrator method, const uint8_t *on, struct clq_error *err)
{
    struct clq_comparison c;
    clq_search_params(s, method);
    CLQ_TRY(clq_search_compare_plan(&c, s, &s->tuning, on, err));
    *out = c.noise;
    return CLQ_OK;
}

struct trial {
    int tensor;
    enum clq_calibrator method;
    double gain; /* histogram error now minus then, relative */
};

static int by_gain(const void *a, const void *b)
{
    const struct trial *x = a, *y = b;
    if (x->gain != y->gain) return x->gain < y->gain ? 1 : -1;
    return x->tensor - y->tensor;
}

/* Single changes that the histograms recommend are tried on the whole network, and kept when its output agrees. */
static clq_status refine(struct clq_search *s, const uint8_t *on, double best, struct clq_error *err)
{
    struct trial *t = clq_arena_array(&s->arena, (size_t)s->units.n_tensors * CLQ_CAL_COUNT + 1, sizeof *t);
    int n = 0;
    if (!t) return no_memory(err);
    for (int i = 0; i < s->units.n_tensors; i++) {
        struct clq_tensor_record *r = &s->tensors[i];
        for (int m = 0; r->hist && m < CLQ_CAL_COUNT; m++)
            if (r->error[m] < r->error[r->method] * 0.98) t[n++] = (struct trial){i, (enum clq_calibrator)m, 1 - r->error[m] / r->error[r->method]};
    }
    qsort(t, (size_t)n, sizeof *t, by_gain);
    if (n > TRIALS) n = TRIALS;
    for (int k = 0; k < n; k++) {
        double noise;
        if (!clq_context_progress(s->ctx, "choosing calibrators", (double)(k + CLQ_CAL_COUNT) / (n + CLQ_CAL_COUNT)))
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
        enum clq_calibrator before = s->tensors[t[k].tensor].method;
        s->tensors[t[k].tensor].method = t[k].method;
        CLQ_TRY(noise_of_all(&noise, s, CLQ_CAL_COUNT, on, err));
        if (noise < best) best = noise;
        else s->tensors[t[k].tensor].method = before;
    }
    return CLQ_OK;
}

clq_status clq_search_calibrators(struct clq_search *s, struct clq_error *err)
{
    uint8_t *on = clq_arena_array(&s->arena, (size_t)s->units.n_units + 1, sizeof *on);
    double best = INFINITY;
    enum clq_calibrator method = CLQ_CAL_MINMAX;
    if (!on) return no_memory(err);
    if (!clq_search_all_int8(on, s)) { /* nothing to compare: the ranges are only shown */
        clq_search_params(s, CLQ_CAL_COUNT);
        return CLQ_OK;
    }
    for (int m = 0; m < CLQ_CAL_COUNT; m++) {
        double noise;
        if (!clq_context_progress(s->ctx, "choosing calibrators", (double)m / (CLQ_CAL_COUNT + TRIALS)))
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
        CLQ_TRY(noise_of_all(&noise, s, (enum clq_calibrator)m, on, err));
        clq_context_log(s->ctx, "calibrator %s: output SQNR %.2f dB with every layer on 8 bits", clq_calibrator_name((enum clq_calibrator)m),
                        noise > 0 ? -10 * log10(noise) : INFINITY);
        if (noise < best) {
            best = noise;
            method = (enum clq_calibrator)m;
        }
    }
    for (int t = 0; t < s->units.n_tensors; t++) s->tensors[t].method = method;
    CLQ_TRY(refine(s, on, best, err));
    clq_search_params(s, CLQ_CAL_COUNT);
    clq_context_progress(s->ctx, "choosing calibrators", 1);
    return CLQ_OK;
}
