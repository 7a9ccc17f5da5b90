/* SPDX-License-Identifier: Apache-2.0
 * Floating types of 8 and 4 bits: every code's value, and the nearest code of a number. */
#include <math.h>

#include "ops/convert.h"

struct small {
    int exponent_bits, mantissa_bits, bias;
    unsigned largest;  /* code of the largest finite magnitude */
    unsigned infinity; /* code, or the type's NaN where it has no infinity */
    unsigned nan;
    bool unsigned_nan; /* the only NaN is what would be minus zero */
};

static const struct small e4m3fn = {4, 3, 7, 0x7e, 0x7f, 0x7f, false}, e4m3fnuz = {4, 3, 8, 0x7f, 0x80, 0x80, true},
                          e5m2 = {5, 2, 15, 0x7b, 0x7c, 0x7e, false}, e5m2fnuz = {5, 2, 16, 0x7f, 0x80, 0x80, true},
                          e2m1 = {2, 1, 1, 0x7, 0x7, 0x8, false}; /* NaN gives minus zero, as in the standard's examples */

static const struct small *kind_of(clq_dtype t)
{
    switch (t) {
    case CLQ_DTYPE_F8E4M3FN: return &e4m3fn;
    case CLQ_DTYPE_F8E4M3FNUZ: return &e4m3fnuz;
    case CLQ_DTYPE_F8E5M2: return &e5m2;
    case CLQ_DTYPE_F8E5M2FNUZ: return &e5m2fnuz;
    default: return &e2m1;
    }
}

bool clq_is_small_float(clq_dtype t)
{
    return (t >= CLQ_DTYPE_F8E4M3FN && t <= CLQ_DTYPE_F8E5M2FNUZ) || t == CLQ_DTYPE_F4E2M1 || t == CLQ_DTYPE_F8E8M0;
}

double clq_from_small(clq_dtype t, unsigned code)
{
    if (t == CLQ_DTYPE_F8E8M0) return code == 0xff ? (double)NAN : ldexp(1.0, (int)code - 127);
    const struct small *k = kind_of(t);
    int width = k->exponent_bits + k->mantissa_bits;
    unsigned magnitude = code & ((1u << width) - 1), exponent = magnitude >> k->mantissa_bits, fraction = magnitude & ((1u << k->mantissa_bits) - 1);
    bool negative = code >> width & 1;
    if (k->unsigned_nan ? code == k->nan : magnitude > k->largest) {
        if (!k->unsigned_nan && magnitude == k->infinity && k->infinity != k->nan) return negative ? -(double)INFINITY : (double)INFINITY;
        return (double)NAN;
    }
    double v = exponent ? ldexp((double)(fraction + (1u << k->mantissa_bits)), (int)exponent - k->bias - k->mantissa_bits)
                        : ldexp((double)fraction, 1 - k->bias - k->mantissa_bits);
    return negative ? -v : v;
}

static unsigned to_e8m0(float x, bool saturate, enum clq_round round)
{
    int e;
    if (x != x) return 0xff;
    if (isinf(x)) return saturate ? 0xfe : 0xff;
    float m = frexpf(fabsf(x), &e); /* m in [0.5, 1): x = 2m * 2^(e-1) */
    if (m == 0.0f) return 0;
    e--;
    if ((round == CLQ_ROUND_UP && m > 0.5f) || (round == CLQ_ROUND_NEAREST && m >= 0.75f)) e++;
    if (e > 127) return saturate ? 0xfe : 0xff;
    return e < -127 ? 0 : (unsigned)(e + 127);
}

/* The magnitude's code, rounded half to even in units of the last place; may be larger than the largest. */
static unsigned nearest(const struct small *k, float a)
{
    int e;
    frexpf(a, &e);
    e--; /* a = f * 2^e, 1 <= f < 2 */
    int least = 1 - k->bias;
    if (e < least) e = least;
    double units = rint(ldexp((double)a, k->mantissa_bits - e)); /* 2^m .. 2^(m+1) for normal numbers */
    if (units > 64.0) return 0x100;
    unsigned n = (unsigned)units, one = 1u << k->mantissa_bits;
    return n < one ? n : ((unsigned)(e + k->bias) << k->mantissa_bits) + (n - one);
}

unsigned clq_to_small(clq_dtype t, float x, bool saturate, enum clq_round round)
{
    if (t == CLQ_DTYPE_F8E8M0) return to_e8m0(x, saturate, round);
    const struct small *k = kind_of(t);
    int width = k->exponent_bits + k->mantissa_bits;
    unsigned sign = signbit(x) ? 1u << width : 0;
    if (x != x) return k->unsigned_nan || k == &e2m1 ? k->nan : k->nan | sign;
    unsigned code = isinf(x) ? 0x1000 : nearest(k, fabsf(x));
    if (code > k->largest) {
        if (saturate || k == &e2m1) code = k->largest;
        else if (k->unsigned_nan) return k->nan;
        else code = k->infinity;
    }
    return k->unsigned_nan && code == 0 ? 0 : code | sign;
}
