/* SPDX-License-Identifier: Apache-2.0
 *
 * frontier.h - what can be had: error, time and size of the plans of several policies at several budgets, measured alike, and
 * which of them no other one beats in all three.
 *
 *     double db[] = {15, 20, 25, 30};
 *     clq_quantize_options opt = {.frontier_db = db, .n_frontier_db = 4};
 *     if (clq_quantize(&result, ctx, model, data, &opt) == CLQ_OK)
 *         for (size_t i = 0; i < clq_result_point_count(result); i++)
 *             printf("%s: %.2f dB\n", clq_result_point(result, i)->id, clq_result_point(result, i)->sqnr_db);
 */
#ifndef CLQUANT_FRONTIER_H
#define CLQUANT_FRONTIER_H

#include <clquant/quantize.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct clq_plan_point {
    const char *id;          /* "uniform-int8", "bits-only@20", "measured@20" (ours), ...; "measured@int8-time": the
                              * least error in the time of uniform int8 */
    const char *policy;      /* who chose */
    const char *summary;     /* one sentence about the policy */
    double budget_db;        /* NaN for a policy that has one answer whatever the budget, and for a bound on the time */
    bool budget_met;         /* as measured on the validation samples: sqnr_db_kept is enough */
    double sqnr_db, predicted_sqnr_db; /* +inf: no error */
    double cosine;
    double sqnr_db_kept;      /* the SQNR that counts for a budget: what is sure of it, by the 95 % bound, at least 0.5 and at most 2 dB below sqnr_db */
    double median_ms, predicted_ms;
    double speedup, speedup_lo, speedup_hi; /* over float32, measured in this process: a look, not the proof */
    size_t bytes;            /* of the file */
    int int8_layers;         /* in any mode but f32 */
    bool on_frontier;        /* no other point is as good in SQNR, speed-up and size and better in one */
    int same_as;             /* index of the first point with the same plan: its own, where it is the first */
} clq_plan_point;

CLQ_API size_t clq_result_point_count(const clq_result *result);
/* NULL: index past the end. */
CLQ_API const clq_plan_point *clq_result_point(const clq_result *result, size_t index);
/* Writes the model of a point; what holds for clq_result_write holds here. */
CLQ_API clq_status clq_result_write_point(clq_result *result, size_t index, const char *model_path, bool force);

#ifdef __cplusplus
}
#endif
#endif
