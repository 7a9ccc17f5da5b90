/* SPDX-License-Identifier: Apache-2.0
 * A 256-entry table over bytes, 16 at a time; bits of ref/lut.c. An instruction looks up 64 entries; codes beyond them, which
 * are lowered by 64 from one to the next, leave the result as it is. */
#include <arm_neon.h>

#include "kernels/functions.h"

void clq_lut_u8_neon(struct clq_lut_args *l)
{
    uint8x16x4_t rows[4];
    for (int i = 0; i < 4; i++) rows[i] = vld1q_u8_x4(l->table + 64 * i);
    const uint8x16_t width = vdupq_n_u8(64);
    size_t i = 0;
    for (; i + 16 <= l->n; i += 16) {
        uint8x16_t x = vld1q_u8(l->x + i), y = vqtbl4q_u8(rows[0], x);
        x = vsubq_u8(x, width);
        y = vqtbx4q_u8(y, rows[1], x);
        x = vsubq_u8(x, width);
        y = vqtbx4q_u8(y, rows[2], x);
        x = vsubq_u8(x, width);
        vst1q_u8(l->y + i, vqtbx4q_u8(y, rows[3], x));
    }
    struct clq_lut_args tail = {l->x + i, l->y + i, l->n - i, l->table};
    clq_lut_u8_ref(&tail);
}
