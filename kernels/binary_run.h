/* SPDX-License-Identifier: Apache-2.0
 * Sum, product and residual as the vector versions share them. A version includes this behind its own
 *   struct binary, constants(args, up)   what a call's arguments become; up: 128 for codes of int8, which are those of uint8 with
 *                                        the top bit flipped
 *   CLQ_BINARY_CODES, block()            so many codes; turn flips the top bit of what is read and written
 *   rest()                               fewer codes than that; binary_rest.h has one */
#ifndef CLQ_KERNELS_BINARY_RUN_H
#define CLQ_KERNELS_BINARY_RUN_H

#include "kernels/functions.h"
#include "kernels/quotients.h"
#include "kernels/residual.h"

static inline __attribute__((always_inline)) void clq_binary_row(const uint8_t *a, const uint8_t *b, uint8_t *y, size_t n,
                                                                 const struct binary *p, bool multiply, bool turn)
{
    size_t i = 0;
    for (; i + CLQ_BINARY_CODES <= n; i += CLQ_BINARY_CODES) block(a + i, b + i, y + i, p, multiply, turn);
    if (i < n) rest(a + i, b + i, y + i, n - i, p, multiply, turn);
}

static inline void clq_binary_add(struct clq_binary_u8_args *v)
{
    if (clq_quotient_add(v)) {
        const struct binary p = constants(v, 0);
        clq_binary_row(v->a, v->b, v->y, v->n, &p, false, false);
    } else {
        clq_add_u8_ref(v);
    }
}

static inline void clq_binary_mul(struct clq_binary_u8_args *v)
{
    if (clq_quotient_mul(v)) {
        const struct binary p = constants(v, 0);
        clq_binary_row(v->a, v->b, v->y, v->n, &p, true, false);
    } else {
        clq_mul_u8_ref(v);
    }
}

static inline void clq_binary_residual(const struct clq_residual_rows *r)
{
    const struct clq_binary_u8_args *v = &r->add;
    if (!clq_quotient_add(v)) {
        clq_residual_ref(r);
        return;
    }
    const struct binary p = constants(v, r->is_signed ? 128 : 0);
    for (size_t i = 0; i < r->rows; i++) {
        if (r->is_signed)
            clq_binary_row(v->a + i * r->ld_y, v->b + i * r->ld_r, v->y + i * r->ld_y, v->n, &p, false, true);
        else
            clq_binary_row(v->a + i * r->ld_y, v->b + i * r->ld_r, v->y + i * r->ld_y, v->n, &p, false, false);
    }
}

#endif
