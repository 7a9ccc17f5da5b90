/* SPDX-License-Identifier: Apache-2.0
 * Which outputs name a class, for top-1 and agreement. */
#ifndef CLQ_CLASSES_H
#define CLQ_CLASSES_H

#include <clquant/tensor.h>

#include "base/error.h"

struct clq_classes {
    size_t rows, classes; /* zero rows: the output has no classes */
};

/* A float32 output [samples, classes] or [samples, positions, classes] with two classes or more. Of a higher rank it is a
 * map: its last axis is a place, and the largest value along it means nothing. */
struct clq_classes clq_classes_of(const clq_tensor *output);
size_t clq_argmax(const float *x, size_t n);

/* CLQ_ERR_INVALID_ARGUMENT: labels are given for an output without classes, or fewer than has rows (left of them). */
clq_status clq_classes_fit_labels(const struct clq_classes *c, const clq_tensor *output, size_t left, size_t n_labels, struct clq_error *err);

#endif
