/* SPDX-License-Identifier: Apache-2.0
 * Cases of attention_f32: all remainders of rows, keys and sizes, heads side by side in rows or one behind the other, keys as columns,
 * every kind of mask, chunks of keys, keys 2 KiB apart, and rows with infinities and NaN. Tests run the units out of order and on two
 * scratch buffers. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/harness.h"

struct sizes {
    size_t batch, heads, rows, keys, size, size_v;
};

/* What a test adds to the argument struct, which comes first. */
struct heads {
    struct clq_attention_args a;
    bool split;
};

enum mask { NO_MASK, KEYS, KEYS_OF_IMAGE, OF_HEAD, FULL, MASKS };

static const struct sizes large[] = {
    {1, 2, 33, 129, 32, 32}, {2, 1, 17, 300, 64, 64}, {1, 1, 70, 257, 5, 90}, {3, 2, 1, 128, 32, 16}, {1, 3, 64, 140, 40, 24}, {2, 2, 31, 1, 1, 1},
    {1, 8, 260, 15, 64, 8},
};
enum { N_SWEEP = 3 * 50, N_LARGE = MASKS * (sizeof large / sizeof *large) };

/* Heads side by side in rows of all heads, or [batch][heads][rows]; gap elements more between rows. */
static struct clq_strides strides_of(const struct sizes *s, size_t rows, size_t size, bool side_by_side, size_t gap)
{
    const size_t row = (side_by_side ? s->heads * size : size) + gap;
    return side_by_side ? (struct clq_strides){rows * row, size, row} : (struct clq_strides){s->heads * rows * row, rows * row, row};
}

/* Elements of an array whose last row ends it. */
static size_t extent(const struct clq_strides *t, const struct sizes *s, size_t rows, size_t last)
{
    return (s->batch - 1) * t->batch + (s->heads - 1) * t->head + (rows - 1) * t->row + last;
}

static const float *array(struct clq_case *c, const char *name, size_t n, enum clq_fill fill)
{
    float *x = clq_case_operand(c, name, CLQ_IN, CLQ_ELEM_F32, n, 0);
    clq_fill_f32(&c->rng, x, n, fill, 0.02f);
    return x;
}

static void describe_mask(struct clq_case *c, struct clq_attention_args *a, const struct sizes *s, enum mask kind, size_t variation)
{
    static const struct clq_strides none;
    const size_t rows = kind == FULL ? s->rows : 1, gap = kind == FULL ? variation % 3 : 0, row = s->keys + gap;
    a->of_mask = none;
    if (kind == FULL) a->of_mask = (struct clq_strides){s->heads * rows * row, rows * row, row};
    if (kind == OF_HEAD) a->of_mask.head = row;
    if (kind == KEYS_OF_IMAGE) a->of_mask.batch = row;
    if (kind == NO_MASK) return;
    const size_t n = extent(&a->of_mask, s, rows, s->keys);
    float *m = clq_case_operand(c, "mask", CLQ_IN, CLQ_ELEM_F32, n, 0);
    for (size_t i = 0; i < n; i++) {
        const uint32_t r = clq_rng_below(&c->rng, 4) ? 0 : clq_rng_u32(&c->rng) % 4;
        m[i] = r == 0 ? clq_rng_unit(&c->rng) : r == 1 || variation % 11 == 10 ? -INFINITY : r == 2 ? -3.402823466e38f : -10000.0f;
    }
    a->mask = m;
}

static void describe(struct clq_case *c, struct sizes s, enum mask kind, size_t variation)
{
    static const char *const names[] = {"no mask", "keys masked", "keys of images masked", "keys of heads masked", "scores masked"};
    static const enum clq_fill fills[] = {CLQ_FILL_UNIFORM, CLQ_FILL_UNIFORM, CLQ_FILL_SPARSE, CLQ_FILL_SPECIAL, CLQ_FILL_UNIFORM, CLQ_FILL_OUTLIER, CLQ_FILL_SUBNORMAL};
    const enum clq_fill fill = fills[variation % (sizeof fills / sizeof *fills)];
    struct heads *args = clq_case_args(c, sizeof *args);
    struct clq_attention_args *a = &args->a;
    args->split = true;
    const bool side = variation % 2 == 0, columns = variation % 5 == 3;
    *a = (struct clq_attention_args){.batch = s.batch, .heads = s.heads, .rows = s.rows, .keys = s.keys, .size = s.size, .size_v = s.size_v,
                                     .k_step = 1, .scale = variation % 4 == 3 ? 1.0f : 0.17f};
    a->of_q = strides_of(&s, s.rows, s.size, side, variation % 3);
    a->of_k = strides_of(&s, s.keys, s.size, side, 0);
    a->of_v = strides_of(&s, s.keys, s.size_v, !side, variation % 3);
    a->of_y = strides_of(&s, s.rows, s.size_v, side, 0);
    size_t n_k = extent(&a->of_k, &s, s.keys, s.size);
    if (columns) {
        a->of_k = (struct clq_strides){s.heads * s.keys * s.size, s.keys * s.size, 1};
        a->k_step = s.keys;
        n_k = s.batch * s.heads * s.keys * s.size;
    }
    a->q = array(c, "q", extent(&a->of_q, &s, s.rows, s.size), fill);
    a->k = array(c, "k", n_k, fill == CLQ_FILL_SPECIAL ? CLQ_FILL_UNIFORM : fill);
    a->v = array(c, "v", extent(&a->of_v, &s, s.keys, s.size_v), variation % 13 == 5 ? CLQ_FILL_SPECIAL : CLQ_FILL_UNIFORM);
    describe_mask(c, a, &s, kind, variation);
    a->y = clq_case_operand(c, "y", CLQ_OUT, CLQ_ELEM_F32, extent(&a->of_y, &s, s.rows, s.size_v), 0);
    clq_case_label(c, "%zu images, %zu heads of %zu x %zu, sizes %zu and %zu, %s%s, %s", s.batch, s.heads, s.rows, s.keys, s.size, s.size_v,
                   names[kind], columns ? ", keys as columns" : "", clq_fill_name(fill));
    c->operations = 2.0 * (double)(s.batch * s.heads * s.rows * s.keys) * (double)(s.size + s.size_v);
    c->bytes = 4.0 * (double)(s.batch * s.heads * (s.rows * (s.size + s.size_v) + s.keys * (s.size + s.size_v)));
}

static void prepare(struct clq_case *c, size_t index)
{
    if (index >= N_SWEEP) {
        describe(c, large[(index - N_SWEEP) / MASKS], (enum mask)((index - N_SWEEP) % MASKS), index * 2);
        return;
    }
    const size_t t = index / 3 + 1, way = index % 3;
    const struct sizes s = {1 + clq_rng_below(&c->rng, 2), 1 + clq_rng_below(&c->rng, 3), way == 0 ? t : 1 + clq_rng_below(&c->rng, 40),
                            way == 1 ? t : 1 + clq_rng_below(&c->rng, 40), way == 2 ? t : 1 + clq_rng_below(&c->rng, 36),
                            way == 2 ? t : 1 + clq_rng_below(&c->rng, 36)};
    describe(c, s, (enum mask)(index / 2 % MASKS), index);
}

static void prepare_bench(struct clq_case *c, size_t index)
{
    static const struct sizes benches[] = {{1, 12, 128, 128, 32, 32}, {1, 12, 128, 128, 64, 64}, {1, 12, 512, 512, 64, 64}, {1, 8, 77, 77, 64, 64}};
    describe(c, benches[index], KEYS, 0);
    ((struct heads *)c->args)->split = false;
}

static void setup(struct clq_case *c, const struct clq_kernels *k)
{
    struct clq_attention_args *a = &((struct heads *)c->args)->a;
    k->attention_f32_plan(a);
    for (size_t i = 0; i < 2; i++) clq_case_work(c, i, a->scratch_bytes);
}

/* Split: three units a call, the later calls first, on alternating scratch. */
static void run(struct clq_case *c, const struct clq_kernels *k)
{
    const struct heads *args = c->args;
    struct clq_attention_args a = args->a;
    const size_t most = args->split ? 3 : a.units;
    for (size_t end = a.units, call = 0; end > 0; end = a.unit_begin, call++) {
        a.unit_end = end;
        a.unit_begin = end < most ? 0 : end - most;
        a.scratch = c->work[call % 2].data;
        k->attention_f32(&a);
    }
}

static void explain(const struct clq_case *c, size_t operand, size_t at, char *text, size_t bytes)
{
    const struct clq_attention_args *a = &((const struct heads *)c->args)->a;
    snprintf(text, bytes, "element %zu of operand %zu, scale %g", at, operand, (double)a->scale);
}

const struct clq_family clq_family_attention_f32 = {
    .op = "attention_f32", .n_tests = N_SWEEP + N_LARGE, .n_benches = 4,
    .prepare = prepare, .prepare_bench = prepare_bench, .setup = setup, .run = run, .explain = explain,
};
