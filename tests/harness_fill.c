/* SPDX-License-Identifier: Apache-2.0
 * The seeded generator and the biased inputs of the harness. */
#include <math.h>
#include <string.h>

#include "tests/harness.h"

struct clq_rng clq_rng_make(uint64_t seed, const char *name, size_t index)
{
    uint64_t h = 0xcbf29ce484222325u ^ seed;
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    h = (h ^ index) * 0x9e3779b97f4a7c15u;
    h ^= h >> 29;
    return (struct clq_rng){h ? h : 1};
}

/* xorshift64*, upper half. */
uint32_t clq_rng_u32(struct clq_rng *rng)
{
    uint64_t s = rng->state;
    s ^= s >> 12;
    s ^= s << 25;
    s ^= s >> 27;
    rng->state = s;
    return (uint32_t)((s * 2685821657736338717u) >> 32);
}

size_t clq_rng_below(struct clq_rng *rng, size_t n)
{
    return clq_rng_u32(rng) % n;
}

int clq_rng_range(struct clq_rng *rng, int least, int most)
{
    return least + (int)clq_rng_below(rng, (size_t)(most - least) + 1);
}

float clq_rng_unit(struct clq_rng *rng)
{
    return (float)(clq_rng_u32(rng) >> 8) * 0x1p-24f;
}

static float from_bits(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static float special(struct clq_rng *rng)
{
    const uint32_t sign = clq_rng_u32(rng) & 0x80000000u;
    switch (clq_rng_below(rng, 4)) {
    case 0:
        return from_bits(sign | 0x7f800001u | (clq_rng_u32(rng) & 0x7fffffu)); /* quiet and signaling */
    case 1:
        return from_bits(sign | 0x7f800000u);
    case 2:
        return from_bits(sign);
    default:
        return from_bits(sign | 0x7f7fffffu);
    }
}

/* Half of them within 2 ulp of 0 or of 2^-126, where the normal numbers begin. */
static float tiny(struct clq_rng *rng)
{
    const uint32_t sign = clq_rng_u32(rng) & 0x80000000u;
    switch (clq_rng_below(rng, 4)) {
    case 0:
        return from_bits(sign | (uint32_t)clq_rng_range(rng, 0, 2));
    case 1:
        return from_bits(sign | (uint32_t)clq_rng_range(rng, 0x007ffffe, 0x00800002));
    default:
        return from_bits(sign | (clq_rng_u32(rng) & 0x00ffffffu));
    }
}

static float halfway(struct clq_rng *rng, float scale)
{
    const float at = ((float)clq_rng_range(rng, -260, 260) + 0.5f) * scale;
    uint32_t bits;
    memcpy(&bits, &at, sizeof bits);
    return from_bits(bits + (uint32_t)clq_rng_range(rng, -3, 3));
}

static float draw(struct clq_rng *rng, enum clq_fill fill, float scale)
{
    const float uniform = (clq_rng_unit(rng) - 0.5f) * 400 * scale;
    switch (fill) {
    case CLQ_FILL_LOW:
        return -300 * scale * (1 + clq_rng_unit(rng));
    case CLQ_FILL_HIGH:
        return 300 * scale * (1 + clq_rng_unit(rng));
    case CLQ_FILL_HALFWAY:
        return halfway(rng, scale);
    case CLQ_FILL_SUBNORMAL:
        return tiny(rng);
    case CLQ_FILL_SPECIAL:
        return clq_rng_below(rng, 3) ? uniform : special(rng);
    case CLQ_FILL_SPARSE:
        return clq_rng_below(rng, 10) ? 0 : fabsf(uniform);
    case CLQ_FILL_BITS:
        return from_bits(clq_rng_u32(rng));
    default:
        return uniform;
    }
}

void clq_fill_f32(struct clq_rng *rng, float *x, size_t n, enum clq_fill fill, float scale)
{
    const size_t outlier = fill == CLQ_FILL_OUTLIER && n ? clq_rng_below(rng, n) : n;
    for (size_t i = 0; i < n; i++) {
        const float v = i == outlier ? 3e38f : draw(rng, fill, scale);
        memcpy((char *)x + i * sizeof v, &v, sizeof v);
    }
}

const char *clq_fill_name(enum clq_fill fill)
{
    static const char *const names[CLQ_FILL_COUNT] = {"uniform", "low",     "high",   "halfway", "subnormal",
                                                      "special", "outlier", "sparse", "bits"};
    return names[fill];
}

void clq_fill_codes(struct clq_rng *rng, void *x, size_t n, enum clq_fill_codes fill)
{
    static const unsigned char extremes[4] = {0, 127, 128, 255};
    unsigned char *codes = x;
    for (size_t i = 0; i < n; i++) {
        switch (fill) {
        case CLQ_CODES_LOW:
            codes[i] = 0;
            break;
        case CLQ_CODES_HIGH:
            codes[i] = 255;
            break;
        case CLQ_CODES_EXTREME:
            codes[i] = extremes[clq_rng_u32(rng) >> 30];
            break;
        default:
            codes[i] = (unsigned char)(clq_rng_u32(rng) >> 24);
        }
    }
}

const char *clq_codes_name(enum clq_fill_codes fill)
{
    static const char *const names[CLQ_CODES_COUNT] = {"uniform", "low", "high", "extreme"};
    return names[fill];
}

void clq_fill_residual(struct clq_rng *rng, struct clq_residual *r, enum clq_out out)
{
    static const float scales[][3] = {
        {0.05f, 0.03f, 0.06f},          {0.05f, 0.05f, 0.05f},
        {0.5f, 0.25f, 1.0f},            /* half-way points everywhere */
        {1.0f, 1.0f, 0x1p-20f},         /* the quotient passes every 16-bit limit */
        {0x1p-20f, 0x1p-19f, 1.0f},     {0x1p-40f, 0x1p-41f, 0x1p-40f}, /* outside the range of the fast path */
        {0x1p127f, 0x1p127f, 1.0f},     /* infinity minus infinity */
        {0x1p-126f, 0x1p-126f, 0x1p-126f},
    };
    const size_t kind = clq_rng_below(rng, 2) ? 0 : clq_rng_below(rng, sizeof scales / sizeof *scales);
    const int below = out == CLQ_OUT_S8 ? 128 : 0;
    r->scale_q = scales[kind][0];
    r->scale_r = scales[kind][1];
    r->scale_y = scales[kind][2];
    r->zero_point_q = clq_rng_range(rng, 0, 255) - below;
    r->zero_point_r = clq_rng_range(rng, 0, 255) - below;
    r->zero_point_y = clq_rng_range(rng, 0, 255) - below;
    r->lo = clq_rng_below(rng, 2) ? r->zero_point_y : -below;
    r->hi = clq_rng_below(rng, 2) ? clq_rng_range(rng, r->lo, 255 - below) : 255 - below;
}
