/* SPDX-License-Identifier: Apache-2.0
 * What evaluate.h calls embeddings and sequences: sums over samples, fed with the outputs of one run after the other. */
#ifndef CLQ_METRICS_H
#define CLQ_METRICS_H

#include <clquant/evaluate.h>

#include "base/error.h"

/* Refuses where type or shape of an output and its reference differ; r NULL: nothing to compare. */
clq_status clq_metrics_same_shape(const clq_tensor *y, const clq_tensor *r, struct clq_error *err);

/* Adding takes the model's output y, the reference's r or NULL, and the mask input or NULL. */
struct clq_embeddings {
    bool first;                  /* of the positions; else their mean */
    const double *scores;
    size_t n_scores;
    double *vector[2][2];        /* [model, reference][even, odd sample], of width elements */
    size_t width, samples;
    double sum, least;           /* of the cosines to the reference */
    double *alike[2];            /* [model, reference][n_scores] */
};
clq_status clq_embeddings_add(struct clq_embeddings *e, const clq_tensor *y, const clq_tensor *r, const clq_tensor *mask, struct clq_error *err);
clq_status clq_embeddings_finish(clq_evaluation *out, struct clq_embeddings *e, bool reference, struct clq_error *err);
void clq_embeddings_free(struct clq_embeddings *e);

/* How sequences compare with the right ones. */
struct clq_matches {
    size_t n, exact, edits, length;
};
struct clq_sequences {
    bool has_blank;
    int64_t blank;
    const int64_t *labels;       /* [samples][label_length] or NULL */
    size_t n_labels, label_length, samples;
    struct clq_matches pair, model, reference; /* model and reference with each other, and each with the labels */
    int64_t *symbols[3];         /* of the model, the reference, the labels */
    size_t *row;                 /* of the edit distance */
    size_t room;
};
clq_status clq_sequences_add(struct clq_sequences *s, const clq_tensor *y, const clq_tensor *r, const clq_tensor *mask, struct clq_error *err);
void clq_sequences_finish(clq_evaluation *out, const struct clq_sequences *s);
void clq_sequences_free(struct clq_sequences *s);

#endif
