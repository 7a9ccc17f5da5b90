/* SPDX-License-Identifier: Apache-2.0
 * Maximum and mean over windows of an NHWC image of codes, the specification. */
#include "kernels/functions.h"
#include "kernels/ref/code.h"

struct window {
    uint8_t largest;
    int64_t sum, taps; /* of the codes, and how many lie inside the image */
};

static struct window look(const struct clq_pool_args *p, size_t row, size_t ox, size_t channel)
{
    struct window found = {0, 0, 0};
    const uint8_t *image = p->x + row / p->oh * p->h * p->w * p->c;
    for (size_t ky = 0; ky < p->kh; ky++) {
        /* A coordinate above the image wraps to a huge value, so one comparison finds both borders. */
        const size_t y = row % p->oh * p->stride_h + ky * p->dilation_h - p->pad_top;
        for (size_t kx = 0; kx < p->kw; kx++) {
            const size_t x = ox * p->stride_w + kx * p->dilation_w - p->pad_left;
            if (y >= p->h || x >= p->w) continue;
            const uint8_t code = image[(y * p->w + x) * p->c + channel];
            if (code > found.largest) found.largest = code;
            found.sum += code;
            found.taps++;
        }
    }
    return found;
}

void clq_maxpool_u8_ref(struct clq_pool_args *p)
{
    uint8_t *y = p->y + p->row_begin * p->ow * p->c;
    for (size_t row = p->row_begin; row < p->row_end; row++)
        for (size_t ox = 0; ox < p->ow; ox++)
            for (size_t c = 0; c < p->c; c++) *y++ = look(p, row, ox, c).largest;
}

void clq_avgpool_u8_ref(struct clq_pool_args *p)
{
    uint8_t *y = p->y + p->row_begin * p->ow * p->c;
    for (size_t row = p->row_begin; row < p->row_end; row++)
        for (size_t ox = 0; ox < p->ow; ox++)
            for (size_t c = 0; c < p->c; c++) {
                const struct window found = look(p, row, ox, c);
                const int64_t sum = found.sum - found.taps * p->zero_point_x;
                const float count = p->count_include_pad ? (float)(p->kh * p->kw) : (float)found.taps;
                const float mean = (float)sum * p->scale_x / count;
                *y++ = (uint8_t)clq_code_ref(mean, p->scale_y, p->zero_point_y, 0, 255);
            }
}
