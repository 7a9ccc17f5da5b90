/* SPDX-License-Identifier: Apache-2.0
 * Range and histogram of binary32 values, the specification. Non-finite and tiny values are found by their bits. */
#include <math.h>

#include "kernels/functions.h"
#include "kernels/ref/code.h"

#define MAGNITUDE 0x7fffffffu
#define INFINITE 0x7f800000u
#define SMALLEST_NORMAL 0x00800000u

void clq_minmax_f32_ref(struct clq_minmax_args *m)
{
    for (size_t i = 0; i < m->n; i++) {
        float x = clq_load_ref(m->x, i);
        const uint32_t bits = clq_bits_ref(x), magnitude = bits & MAGNITUDE;
        if (magnitude >= INFINITE) {
            m->n_nan += magnitude > INFINITE;
            m->n_pos_inf += bits == INFINITE;
            m->n_neg_inf += bits == (INFINITE | ~MAGNITUDE);
            continue;
        }
        if (magnitude < SMALLEST_NORMAL) x = 0;
        if (x < m->min) m->min = x;
        if (x > m->max) m->max = x;
    }
}

void clq_histogram_f32_ref(struct clq_histogram_args *h)
{
    const float factor = ldexpf(1, (int)h->log2_bins - h->exponent);
    const uint32_t last = (1u << h->log2_bins) - 1;
    for (size_t i = 0; i < h->n; i++) {
        const float x = clq_load_ref(h->x, i);
        const uint32_t bits = clq_bits_ref(x), magnitude = bits & MAGNITUDE;
        if (magnitude >= INFINITE) continue;
        const bool negative = bits > MAGNITUDE && magnitude >= SMALLEST_NORMAL;
        const float place = fabsf(x) * factor;
        const uint32_t bin = place < (float)last ? (uint32_t)place : last;
        (negative ? h->negative : h->positive)[bin]++;
    }
}
