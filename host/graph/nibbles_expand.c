/* SPDX-License-Identifier: Apache-2.0
 * 4-bit weights in groups as 8-bit codes with one scale per output, for products of many rows: the sums then run along all of K,
 * as those of int8-dynamic, instead of being scaled group by group. README.md says when, and what it costs. */
#include <math.h>

#include "base/size.h"
#include "graph/integer.h"

/* The weights of one output: w = RN32((code - zero) * scale of the group). */
struct output {
    const uint8_t *codes, *zero; /* zero NULL: 8 */
    const float *scale;
    size_t k, group, groups;
};

static struct output output_of(const struct clq_nibbles *w, size_t n)
{
    size_t groups = (w->k + w->group - 1) / w->group;
    return (struct output){w->codes + n * ((w->k + 1) / 2), w->zero ? w->zero + n * groups : NULL, w->scale + n * groups, w->k, w->group, groups};
}

static int code_at(const struct output *o, size_t k)
{
    return k % 2 ? o->codes[k / 2] >> 4 : o->codes[k / 2] & 15;
}

static int zero_of(const struct output *o, size_t g)
{
    return o->zero ? o->zero[g] : 8;
}

static size_t end_of(const struct output *o, size_t g)
{
    return o->k - g * o->group < o->group ? o->k : (g + 1) * o->group;
}

/* One scale for all groups needs no rounding: the codes less their zero points. Otherwise the largest magnitude gets 127. */
static float scale_of(const struct output *o, bool *exact)
{
    float most = 0;
    *exact = true;
    for (size_t g = 0; g < o->groups; g++) {
        int reach = 0;
        for (size_t k = g * o->group; k < end_of(o, g); k++) {
            int away = code_at(o, k) - zero_of(o, g);
            if (away < 0) away = -away;
            if (away > reach) reach = away;
        }
        most = fmaxf(most, (float)reach * fabsf(o->scale[g]));
        if (o->scale[g] != o->scale[0]) *exact = false;
    }
    return *exact ? o->scale[0] : fmaxf(most / 127.0f, CLQ_SMALLEST_SCALE);
}

/* The codes of a group's 16 values, and their squared errors. */
struct steps {
    int8_t code[16];
    double error[16];
};

static void steps_of(struct steps *s, const struct output *o, size_t g, float scale, bool exact)
{
    for (int c = 0; c < 16; c++) {
        const int away = c - zero_of(o, g);
        const float w = (float)away * o->scale[g];
        s->code[c] = (int8_t)(exact ? away : (int)rintf(fmaxf(-127, fminf(127, w / scale))));
        const double error = exact ? 0 : (double)s->code[c] * (double)scale - (double)w;
        s->error[c] = error * error;
    }
}

/* Writes the codes where to is not NULL; returns the sum of their magnitudes. share: the squared errors, of those that rounding to
 * 4 bits cost, a group's scale squared / 12 per weight. */
static int64_t expand_output(int8_t *to, double *share, const struct output *o, float scale, bool exact)
{
    int64_t sum = 0;
    double added = 0, own = 0;
    for (size_t g = 0; g < o->groups; g++) {
        const double step = (double)o->scale[g];
        struct steps s;
        steps_of(&s, o, g, scale, exact);
        for (size_t k = g * o->group; k < end_of(o, g); k++) {
            const int c = code_at(o, k), code = s.code[c];
            if (to) to[k] = (int8_t)code;
            sum += code < 0 ? -code : code;
            added += s.error[c];
        }
        own += (double)(end_of(o, g) - g * o->group) * step * step / 12;
    }
    *share = added > 0 ? added / own : 0;
    return sum;
}

/* Codes are written where they are not NULL. share: of all outputs, on average. */
static bool expand(int8_t *codes, float *scale, double *share, int64_t *most, const struct clq_nibbles *w)
{
    *most = 0;
    *share = 0;
    for (size_t n = 0; n < w->n; n++) {
        const struct output o = output_of(w, n);
        bool exact;
        double own;
        scale[n] = scale_of(&o, &exact);
        if (!isfinite(scale[n])) return false;
        const int64_t sum = expand_output(codes ? codes + n * w->k : NULL, &own, &o, scale[n], exact);
        if (sum > *most) *most = sum;
        *share += own / (double)w->n;
    }
    return *most <= INT32_MAX / 128 && *share * CLQ_EXPAND_SHARE <= 1;
}

clq_status clq_nibbles_expand(struct clq_step *s, struct clq_program *p, const struct clq_nibbles *w, bool *done, struct clq_error *err)
{
    float *scale = clq_arena_array(&p->arena, w->n + 1, sizeof *scale);
    double share;
    int64_t most;
    size_t bytes;
    if (!scale) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    *done = expand(NULL, scale, &share, &most, w);
    if (!*done) return CLQ_OK;
    s->weight_codes = clq_size_mul(&bytes, w->n, w->k) ? clq_arena_array(&p->arena, bytes + 1, 1) : NULL;
    if (!s->weight_codes) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    expand(s->weight_codes, scale, &share, &most, w);
    s->multiplier = scale;
    s->bound = most * 128;
    s->in_zero[0] = 128;
    s->kind = CLQ_STEP_QGEMM;
    return CLQ_OK;
}
