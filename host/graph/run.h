/* SPDX-License-Identifier: Apache-2.0
 * Shared by the files that run steps. */
#ifndef CLQ_GRAPH_RUN_H
#define CLQ_GRAPH_RUN_H

#include "base/pool.h"
#include "graph/program.h"

static inline void *data(const struct clq_program *p, int v)
{
    return v < 0 ? NULL : p->values[v].t.data;
}

static inline size_t count(const clq_tensor *t)
{
    size_t n = 0;
    return clq_tensor_elements(&n, t) == CLQ_OK ? n : 0;
}

/* Work that is cut into units. */
struct job {
    struct clq_program *p;
    struct clq_step *s;
    size_t n;      /* elements, for chunked work */
};

static inline int threads_for(const struct clq_program *p, double work)
{
    return work < 1e5 ? 1 : p->ctx->threads;
}

/* Steps on rows (run_rows.c). */
void clq_step_scores(struct clq_program *p, struct clq_step *s);
void clq_step_attention(struct clq_program *p, struct clq_step *s);
void clq_step_layernorm(struct clq_program *p, struct clq_step *s);
void clq_step_quantize_rows(struct clq_program *p, struct clq_step *s);
/* What the kernels leave to do behind an integer product with float results. */
void clq_step_finish(struct clq_program *p, struct clq_step *s, const float *scale, const float *bias);

#endif
