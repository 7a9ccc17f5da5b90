/* SPDX-License-Identifier: Apache-2.0
 * Maximum and mean over windows of an NHWC image of codes, 16 channels at a time; bits of ref/pool.c. The last channels
 * are read and written as bytes through a buffer, or as an overlapping step where there are 16 or more. */
#include <arm_neon.h>
#include <string.h>

#include "kernels/functions.h"
#include "kernels/pool_window.h"

/* 16 channels from x, of which the first `lanes` exist. */
static inline uint8x16_t load(const uint8_t *x, size_t lanes)
{
    uint8_t part[16] = {0};
    if (lanes >= 16) return vld1q_u8(x);
    for (size_t i = 0; i < lanes; i++) part[i] = x[i];
    return vld1q_u8(part);
}

static inline void store(uint8_t *y, size_t lanes, uint8x16_t v)
{
    uint8_t part[16];
    if (lanes >= 16) {
        vst1q_u8(y, v);
        return;
    }
    vst1q_u8(part, v);
    memcpy(y, part, lanes);
}

static inline __attribute__((always_inline)) uint8x16_t largest(const struct clq_pool_window *w, size_t channel,
                                                                size_t lanes)
{
    uint8x16_t best = vdupq_n_u8(0);
    for (size_t ky = 0; ky < w->rows; ky++) {
        const uint8_t *x = w->x + ky * w->row_step + channel;
        for (size_t kx = 0; kx < w->columns; kx++, x += w->column_step) best = vmaxq_u8(best, load(x, lanes));
    }
    return best;
}

static void largest_step(const struct clq_pool_args *p, const struct clq_pool_window *w, size_t channel, uint8_t *y)
{
    const size_t at = clq_pool_step_start(channel, p->c, 16), lanes = p->c - at;
    store(y + at, lanes, lanes >= 16 ? largest(w, at, 16) : largest(w, at, lanes));
}

void clq_maxpool_u8_neon(struct clq_pool_args *p)
{
    clq_pool_each(p, 16, largest_step);
}

/* Sums of 16 channels: 16-bit lanes hold up to 257 codes of 255, then they are emptied into 32-bit lanes. */
struct sums {
    uint16x8_t low, high;
    uint32x4_t wide[4];
};

static inline void empty(struct sums *s)
{
    s->wide[0] = vaddw_u16(s->wide[0], vget_low_u16(s->low));
    s->wide[1] = vaddw_high_u16(s->wide[1], s->low);
    s->wide[2] = vaddw_u16(s->wide[2], vget_low_u16(s->high));
    s->wide[3] = vaddw_high_u16(s->wide[3], s->high);
    s->low = s->high = vdupq_n_u16(0);
}

static inline __attribute__((always_inline)) void add_up(struct sums *s, const struct clq_pool_window *w,
                                                         size_t channel, size_t lanes)
{
    size_t room = 257;
    *s = (struct sums){.low = vdupq_n_u16(0), .high = vdupq_n_u16(0)};
    for (int i = 0; i < 4; i++) s->wide[i] = vdupq_n_u32(0);
    for (size_t ky = 0; ky < w->rows; ky++) {
        const uint8_t *x = w->x + ky * w->row_step + channel;
        for (size_t left = w->columns; left;) {
            const size_t now = left < room ? left : room;
            for (size_t kx = 0; kx < now; kx++, x += w->column_step) {
                const uint8x16_t codes = load(x, lanes);
                s->low = vaddw_u8(s->low, vget_low_u8(codes));
                s->high = vaddw_high_u8(s->high, codes);
            }
            left -= now;
            room -= now;
            if (!room) {
                empty(s);
                room = 257;
            }
        }
    }
    empty(s);
}

/* Two true divisions: few results per tap, and no condition on the scales. */
static inline uint16x4_t mean(const struct clq_pool_args *p, uint32x4_t sum, int32_t offset, float count)
{
    const float32x4_t low = vdupq_n_f32((float)(0 - p->zero_point_y));
    const float32x4_t high = vdupq_n_f32((float)(255 - p->zero_point_y));
    float32x4_t f = vcvtq_f32_s32(vsubq_s32(vreinterpretq_s32_u32(sum), vdupq_n_s32(offset)));
    f = vdivq_f32(vmulq_f32(f, vdupq_n_f32(p->scale_x)), vdupq_n_f32(count));
    f = vdivq_f32(f, vdupq_n_f32(p->scale_y));
    f = vminq_f32(vmaxq_f32(f, low), high);
    return vqmovun_s32(vaddq_s32(vcvtnq_s32_f32(f), vdupq_n_s32(p->zero_point_y)));
}

static uint8x16_t means(const struct clq_pool_args *p, const struct sums *s, size_t taps)
{
    const int32_t offset = (int32_t)taps * p->zero_point_x;
    const float count = (float)(p->count_include_pad ? p->kh * p->kw : taps);
    uint16x4_t part[4];
    for (int i = 0; i < 4; i++) part[i] = mean(p, s->wide[i], offset, count);
    return vmovn_high_u16(vmovn_u16(vcombine_u16(part[0], part[1])), vcombine_u16(part[2], part[3]));
}

static void mean_step(const struct clq_pool_args *p, const struct clq_pool_window *w, size_t channel, uint8_t *y)
{
    const size_t at = clq_pool_step_start(channel, p->c, 16), lanes = p->c - at;
    struct sums s;
    if (lanes >= 16)
        add_up(&s, w, at, 16);
    else
        add_up(&s, w, at, lanes);
    store(y + at, lanes, means(p, &s, w->rows * w->columns));
}

void clq_avgpool_u8_neon(struct clq_pool_args *p)
{
    if (p->kh > INT32_MAX / 255 / p->kw) /* a sum could leave 32 bits */
        clq_avgpool_u8_ref(p);
    else
        clq_pool_each(p, 16, mean_step);
}
