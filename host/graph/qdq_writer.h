/* SPDX-License-Identifier: Apache-2.0
 * Shared by the files that write plans into models: new names, constants and nodes. */
#ifndef CLQ_GRAPH_QDQ_WRITER_H
#define CLQ_GRAPH_QDQ_WRITER_H

#include "base/map.h"
#include "graph/qdq.h"

struct clq_qdq_rows { /* a tensor quantized by rows: codes and scales, or NULL */
    const char *codes, *scale;
    const char *tensor_codes, *tensor_scale, *tensor_zero; /* with one scale */
};

struct clq_qdq_writer {
    struct clq_model *m;
    const struct clq_qdq_plan *plan;
    struct clq_map taken;       /* every name in use */
    const char **real;          /* [tensors] the dequantized value that units on codes read, or NULL */
    const char **scale, **zero; /* [tensors] constants, by group */
    struct clq_qdq_rows *rows;  /* [tensors] */
    const char **wide;          /* [tensors] the value that products read after 16 bits, or NULL */
    bool is_signed;             /* tensorrt: int8 activations */
    struct clq_error *err;
};

/* A new name built from base; NULL when memory is out, as with the others. */
const char *clq_qdq_fresh(struct clq_qdq_writer *w, const char *base, const char *suffix);
const char *clq_qdq_constant(struct clq_qdq_writer *w, const char *base, const char *suffix, clq_dtype dtype, int rank, const int64_t *shape,
                             const void *data, size_t bytes);
/* Adds y = Q(x) or y = DQ(x); axis < 0: per tensor; zero NULL: none. */
const char *clq_qdq_linear(struct clq_qdq_writer *w, bool quantize, const char *x, const char *scale, const char *zero, const char *y, int axis);
/* Writes a product of a mode that is neither f32 nor int8 (qdq_modes.c). */
clq_status clq_qdq_rewrite_mode(struct clq_qdq_writer *w, int unit);

#endif
