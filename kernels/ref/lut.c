/* SPDX-License-Identifier: Apache-2.0
 * A 256-entry table over bytes, the specification. */
#include "kernels/functions.h"

void clq_lut_u8_ref(struct clq_lut_args *l)
{
    for (size_t i = 0; i < l->n; i++) l->y[i] = l->table[l->x[i]];
}
