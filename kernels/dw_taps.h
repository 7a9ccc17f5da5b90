/* SPDX-License-Identifier: Apache-2.0
 * Where the taps of a depthwise convolution lie. Static, so that each ISA folder compiles its own copy. */
#ifndef CLQ_KERNELS_DW_TAPS_H
#define CLQ_KERNELS_DW_TAPS_H

#include "kernels/kernels.h"

/* Points the taps of output pixel (oy, ox) into the image; a tap outside reads pad. Both begin at the wanted channel. */
static inline void clq_dw_taps_point(const struct clq_conv_args *c, const uint8_t **tap, const uint8_t *pad,
                                     const uint8_t *image, size_t oy, size_t ox)
{
    for (size_t ky = 0; ky < c->kh; ky++) {
        const size_t iy = oy * c->stride_h + ky * c->dilation_h;
        const bool row = iy >= c->pad_top && iy - c->pad_top < c->h;
        for (size_t kx = 0; kx < c->kw; kx++) {
            const size_t ix = ox * c->stride_w + kx * c->dilation_w;
            const bool inside = row && ix >= c->pad_left && ix - c->pad_left < c->w;
            *tap++ = inside ? image + ((iy - c->pad_top) * c->w + ix - c->pad_left) * c->ci : pad;
        }
    }
}

/* Rows of output are cut into about 16 bands, all images together. */
static inline size_t clq_dw_taps_bands(const struct clq_conv_args *c)
{
    const size_t wanted = c->batch == 0 ? 1 : (16 + c->batch - 1) / c->batch;
    return wanted < c->oh ? wanted : c->oh;
}

#endif
