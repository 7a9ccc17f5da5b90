/* SPDX-License-Identifier: Apache-2.0
 * Classes of outputs. */
#include "classes.h"

struct clq_classes clq_classes_of(const clq_tensor *y)
{
    size_t n = 0;
    if (y->dtype != CLQ_DTYPE_F32 || y->rank < 2 || y->rank > 3 || y->shape[y->rank - 1] < 2) return (struct clq_classes){0, 0};
    size_t classes = (size_t)y->shape[y->rank - 1];
    return clq_tensor_elements(&n, y) == CLQ_OK && n > 0 ? (struct clq_classes){n / classes, classes} : (struct clq_classes){0, 0};
}

size_t clq_argmax(const float *x, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

clq_status clq_classes_fit_labels(const struct clq_classes *c, const clq_tensor *y, size_t left, size_t n_labels, struct clq_error *err)
{
    if (c->rows == 0)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "labels: the first output has rank %d, expected [samples, classes] or [samples, positions, classes]", y->rank);
    if (c->rows > left) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "labels: %zu are given, the first output has more rows", n_labels);
    return CLQ_OK;
}
