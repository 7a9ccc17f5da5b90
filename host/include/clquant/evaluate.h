/* SPDX-License-Identifier: Apache-2.0
 *
 * evaluate.h - how good a model is on samples: against labels or scores, and against another model, usually the float one.
 *
 *     clq_evaluation e;
 *     if (clq_evaluate(&e, ctx, quantized, model, data, NULL, 0) == CLQ_OK) printf("%.2f dB\n", e.sqnr_db);
 *
 * What is right depends on what the model is for, so there are three metrics. All of them come with the SQNR and the cosine
 * of all outputs.
 *
 *     classes      top-1 and agreement of a float32 output [samples, classes] or [samples, positions, classes]
 *     embeddings   one vector per sample: its cosine to the reference's, and the rank correlation (Spearman's) of the cosines of
 *                  pairs with scores that people gave them
 *     sequences    one sequence of symbols per sample, the largest class at every position: exact matches and edit distance
 */
#ifndef CLQUANT_EVALUATE_H
#define CLQUANT_EVALUATE_H

#include <clquant/data.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A zeroed struct asks for classes without labels. */
typedef struct clq_evaluate_options {
    const char *metric;     /* NULL or "classes", "embeddings", "sequences" */
    const char *output;     /* the output that the metric looks at, by name; NULL: the first. Classes always take the first */
    const int64_t *labels;  /* classes: one per row. Sequences: label_length per sample, the symbols of the right answer and
                             * negative numbers where there is none */
    size_t n_labels;        /* in all */
    size_t label_length;    /* of sequences */
    const char *pool;       /* embeddings [samples, positions, width] become one vector: NULL or "mean" of the positions, "first" */
    const char *mask;       /* the input [samples, positions] that is 0 where a position is padding, which does not count. NULL: none
                             * for sequences; for embeddings "attention_mask" if the model has such an input */
    const double *scores;   /* embeddings: of samples 0 and 1, 2 and 3, ...; higher means more alike */
    size_t n_scores;
    bool has_blank;         /* sequences: symbols repeat and `blank` separates them, as with CTC: repeats are merged, blanks dropped */
    int64_t blank;
} clq_evaluate_options;

/* Numbers that were not asked for, or need a reference that is not there, are NaN; the three in points and parts are < 0. */
typedef struct clq_evaluation {
    size_t samples;
    double top1, top1_reference; /* points; < 0: no labels or no reference */
    double agreement;            /* part with the same argmax as the reference; < 0: no reference, or no classes (as in clq_summary) */
    double sqnr_db, cosine;      /* against the reference; NaN without one, +inf when identical */
    bool identical;
    /* embeddings */
    double mean_cosine, least_cosine;      /* of a sample's vector to the reference's */
    double spearman, spearman_reference;   /* -1 to 1, of the pairs' cosines with the scores; NaN where all of either are equal */
    /* sequences: part that match exactly, and edit distance per symbol of the right answer, which may exceed 1 */
    double exact, edit_rate;                           /* against the reference */
    double label_exact, label_edit_rate;               /* against the labels */
    double label_exact_reference, label_edit_rate_reference; /* the reference against the labels */
} clq_evaluation;

/* Runs model, and reference when it is not NULL, on all samples. labels may be NULL. */
CLQ_API clq_status clq_evaluate(clq_evaluation *out, clq_context *ctx, const clq_model *model, const clq_model *reference, clq_data *data,
                                const int64_t *labels, size_t n_labels);
/* The same with any metric. CLQ_ERR_INVALID_ARGUMENT names what does not fit: an output's shape, labels, scores, an input. */
CLQ_API clq_status clq_evaluate_by(clq_evaluation *out, clq_context *ctx, const clq_model *model, const clq_model *reference, clq_data *data,
                                   const clq_evaluate_options *options);

/* ---- Timing ---- */
typedef struct clq_pair_timing {
    double median_ms, reference_median_ms;
    double speedup, speedup_lo, speedup_hi; /* reference / model: median of paired ratios, bootstrap interval of 95 % */
    size_t pairs;
    size_t disturbed; /* pairs that steal time or a changing clock disturbed: they were timed once more */
    size_t discarded; /* of these, disturbed again: they are not among pairs */
    bool faster, slower;                    /* beyond noise */
} clq_pair_timing;

/* Interleaved timing of two models on one sample: warm-up, then pairs in the order ABBA. reference may be NULL: then only
 * median_ms is measured. seconds receives pairs times 2 raw values (reference, model) when it is not NULL. */
CLQ_API clq_status clq_time_pair(clq_pair_timing *out, clq_context *ctx, const clq_model *model, const clq_model *reference,
                                 const clq_tensor *inputs, size_t pairs, double *seconds);

#ifdef __cplusplus
}
#endif
#endif
