/* SPDX-License-Identifier: Apache-2.0
 * Integer convolution over NHWC, the specification: sums in int64; a tap outside the image has the value zero_point_x
 * and therefore adds nothing. One unit is one output row of one image; nothing is packed. */
#include "kernels/functions.h"
#include "kernels/ref/requantize.h"
#include "kernels/residual.h"

void clq_conv_u8s8_plan_ref(struct clq_conv_args *c)
{
    c->packed_bytes = 0;
    c->scratch_bytes = 0;
    c->units = c->batch * c->oh;
}

void clq_conv_u8s8_pack_ref(struct clq_conv_args *c)
{
    (void)c;
}

/* The exact sum of one output pixel and channel, without the bias. */
static int64_t window_sum(const struct clq_conv_args *c, size_t image, size_t oy, size_t ox, size_t n)
{
    const size_t cg = c->ci / c->groups, first = n / (c->co / c->groups) * cg;
    const int8_t *w = c->weight + n * c->kh * c->kw * cg;
    int64_t v = 0;
    for (size_t ky = 0; ky < c->kh; ky++) {
        for (size_t kx = 0; kx < c->kw; kx++, w += cg) {
            const size_t iy = oy * c->stride_h + ky * c->dilation_h, ix = ox * c->stride_w + kx * c->dilation_w;
            if (iy < c->pad_top || iy - c->pad_top >= c->h || ix < c->pad_left || ix - c->pad_left >= c->w) continue;
            const uint8_t *x = c->x + ((image * c->h + iy - c->pad_top) * c->w + ix - c->pad_left) * c->ci + first;
            for (size_t i = 0; i < cg; i++) v += (x[i] - c->zero_point_x) * w[i];
        }
    }
    return v;
}

void clq_conv_u8s8_ref(struct clq_conv_args *c)
{
    for (size_t row = c->unit_begin; row < c->unit_end; row++) {
        for (size_t ox = 0; ox < c->ow; ox++) {
            for (size_t n = 0; n < c->co; n++) {
                const int64_t v = window_sum(c, row / c->oh, row % c->oh, ox, n) + (c->bias ? c->bias[n] : 0);
                const float *multiplier = c->out == CLQ_OUT_S32 ? NULL : c->multiplier + n;
                clq_store_ref(c->y, (row * c->ow + ox) * c->co + n, c->out, v, multiplier, c->zero_point_y, c->lo,
                              c->hi);
            }
        }
        clq_residual_pixels(c, row / c->oh, row % c->oh, 1, 0, c->co, clq_residual_ref);
    }
}
