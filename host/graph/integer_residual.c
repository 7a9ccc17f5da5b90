/* SPDX-License-Identifier: Apache-2.0
 * An addition of codes moves into the product that one of its operands comes from: the kernel adds the residual to each block of
 * its results, with the bits of the steps apart (clq_residual of kernels.h). */
#include "graph/integer.h"

/* Whether step i is a product of codes that can add to its results, and step `sum` alone reads them. */
static bool takes_residual(const struct clq_program *p, int i, int sum)
{
    const struct clq_step *s = &p->steps[i];
    if ((s->kind != CLQ_STEP_QCONV && s->kind != CLQ_STEP_QGEMM) || s->transposed || s->residual >= 0) return false;
    return p->values[s->out[0]].t.dtype == CLQ_DTYPE_U8 && clq_program_find_consumer(p, s->out[0]) == sum;
}

/* The product stays where it is, so the residual must be there by then. */
static void fuse(struct clq_program *p, int sum, int side)
{
    struct clq_step *s = &p->steps[sum];
    const int i = p->values[s->in[side]].producer, other = s->in[1 - side];
    if (i < 0 || p->values[other].producer >= i || !takes_residual(p, i, sum)) return;
    struct clq_step *product = &p->steps[i];
    product->residual = other;
    product->sum = (struct clq_residual){
        .scale_q = s->in_scale[side], .scale_r = s->in_scale[1 - side], .scale_y = s->out_scale, .zero_point_q = s->in_zero[side],
        .zero_point_r = s->in_zero[1 - side], .zero_point_y = s->out_zero, .lo = s->lo, .hi = s->hi,
    };
    product->out[0] = s->out[0];
    p->values[s->out[0]].producer = i;
    s->dead = true;
}

void clq_integer_residuals(struct clq_program *p)
{
    for (int i = 0; i < p->n_steps; i++)
        for (int side = 0; side < 2 && !p->steps[i].dead && p->steps[i].kind == CLQ_STEP_QADD; side++) fuse(p, i, side);
    clq_program_count_uses(p);
}
