/* SPDX-License-Identifier: Apache-2.0
 * Cases of gemm_s8u4, gemm_g8u4 and gemm_f32u4: every row, column and depth remainder, all group sizes and groups that end ragged, one group per
 * channel, both forms of activations, scales and zero points, blocks of rows, one to eleven segments, and extreme operands.
 * Tests run the units out of order and on two scratch buffers. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/harness.h"

struct sizes {
    size_t m, n, k, group;
};

/* Codes with a scale per row, per group of a row, and real rows. */
enum rows { BY_ROW, BY_GROUP, REAL };

/* What a test adds to the argument struct, which comes first. */
struct product {
    struct clq_gemm_u4_args g;
    enum rows rows;
    bool split;
};

static const struct sizes large[] = {
    {600, 70, 136, 32},    {1030, 3, 40, 16},     {97, 200, 96, 24},      {20, 65, 1024, 128},    {9, 100, 1056, 32},
    {13, 33, 2048, 64},    {1, 130, 3080, 256},   {3, 64, 5120, 32},      {17, 10, 6152, 128},    {4, 31, 7168, 16},
    {10, 7, 11272, 128},   {2, 9, 11264, 512},    {11, 40, 1536, 1536},   {8, 129, 2049, 4096},   {30, 20, 4000, 1000},
    {12, 5, 1101, 1101},   {1, 2, 20000, 2048},   {10, 34, 1500, 72},     {25, 300, 520, 520},    {64, 1, 1, 1},
    {300, 300, 300, 32},   {5, 1000, 200, 64},    {33, 64, 1100, 100},    {7, 12, 90, 7},         {1, 1, 70000, 32},
    {18, 40, 64, 32},      {24, 17, 96, 32},      {16, 33, 224, 32},      {40, 40, 320, 64},      {9, 20, 108, 32},
};
static const size_t groups[] = {16, 32, 64, 128, 256, 8, 40, SIZE_MAX};
enum {
    N_TAILS = 70,
    N_SWEEP = 4 * N_TAILS,
    N_LARGE = 3 * (sizeof large / sizeof *large),
    N_LIMITS = 4
};

static uint16_t half_bits(struct clq_rng *rng)
{
    const uint32_t r = clq_rng_u32(rng);
    if (r % 16 == 0) return (uint16_t)(r >> 22); /* zero and subnormals */
    return (uint16_t)((5 + (r >> 8) % 12) << 10 | (r >> 20 & 1023));
}

static void fill_scales(struct clq_case *c, void *scale, size_t n, bool half, size_t variation)
{
    static const float size[] = {0.01f, 0x1p-126f, 0x1p90f, 1.0f};
    for (size_t i = 0; i < n; i++) {
        const uint16_t bits = half_bits(&c->rng);
        const float v = size[variation % 4] * (1 + clq_rng_unit(&c->rng));
        if (half)
            memcpy((char *)scale + 2 * i, &bits, 2);
        else
            memcpy((char *)scale + 4 * i, &v, 4);
    }
}

/* Real rows: of all kinds, at the ends of the units' range, and beside the powers of two where the unit changes. */
static const char *fill_reals(struct clq_case *c, float *a, size_t n, size_t variation)
{
    enum { KINDS = CLQ_FILL_COUNT + 3 };
    static const float size[] = {1, 0x1p-130f, 0x1p118f};
    const size_t kind = variation % KINDS;
    if (kind == CLQ_FILL_BITS || kind >= CLQ_FILL_COUNT) {
        for (size_t i = 0; i < n; i++) {
            const float edge = nextafterf(0x1p23f, 0) - (float)clq_rng_below(&c->rng, 70000);
            const float v = kind == CLQ_FILL_BITS ? ldexpf(clq_rng_unit(&c->rng) - 0.5f, (int)clq_rng_below(&c->rng, 40) - 20)
                                                  : edge * (clq_rng_below(&c->rng, 2) ? 0x1p-22f : -0x1p-22f);
            const float sized = v * size[kind % 3];
            memcpy((char *)a + 4 * i, &sized, 4);
        }
        return kind == CLQ_FILL_BITS ? "wide" : "edge";
    }
    clq_fill_f32(&c->rng, a, n, (enum clq_fill)kind, 0.05f);
    return clq_fill_name((enum clq_fill)kind);
}

static void describe(struct clq_case *c, struct sizes s, size_t variation, enum rows rows)
{
    const bool real = rows == REAL;
    struct product *p = clq_case_args(c, sizeof *p);
    struct clq_gemm_u4_args *g = &p->g;
    const enum clq_fill_codes fill = (enum clq_fill_codes)(variation / 3 % CLQ_CODES_COUNT);
    const enum clq_fill_codes codes = (enum clq_fill_codes)(variation / 5 % CLQ_CODES_COUNT);
    const size_t count = (s.k - 1) / s.group + 1, row = (s.k + 1) / 2;
    *g = (struct clq_gemm_u4_args){.m = s.m, .n = s.n, .k = s.k, .group = s.group};
    p->rows = rows;
    p->split = true;
    g->lda = s.k + (variation % 3 == 2 ? variation % 7 : 0);
    g->ldy = s.n + (variation % 4 == 3 ? variation % 5 : 0);
    g->flipped = variation % 2 == 1;
    g->scale_f16 = variation / 2 % 2 == 1;
    const size_t n_scales = s.m * (rows == BY_GROUP ? count : 1), n_a = (s.m - 1) * g->lda + s.k, n_y = (s.m - 1) * g->ldy + s.n, unit = g->scale_f16 ? 2 : 4;
    uint8_t *a = clq_case_operand(c, "a", CLQ_IN, real ? CLQ_ELEM_F32 : g->flipped ? CLQ_ELEM_U8 : CLQ_ELEM_S8, n_a, variation % 4);
    uint8_t *w = clq_case_operand(c, "weight", CLQ_IN, CLQ_ELEM_U8, s.n * row, 0);
    void *scale = clq_case_operand(c, "scale", CLQ_IN, CLQ_ELEM_U8, s.n * count * unit, 0);
    uint8_t *zero = clq_case_operand(c, "zero point", CLQ_IN, CLQ_ELEM_U8, s.n * count, 0);
    float *scale_a = clq_case_operand(c, "scale_a", CLQ_IN, CLQ_ELEM_F32, n_scales, 0);
    float *bias = clq_case_operand(c, "bias", CLQ_IN, CLQ_ELEM_F32, s.n, 0);
    const char *filled = clq_codes_name(fill);
    if (real) {
        filled = fill_reals(c, (float *)(void *)a, n_a, variation);
    } else {
        clq_fill_codes(&c->rng, a, n_a, fill);
        if (fill == CLQ_CODES_LOW) memset(a, g->flipped ? 0 : 128, n_a);
        if (fill == CLQ_CODES_HIGH) memset(a, g->flipped ? 255 : 127, n_a);
    }
    clq_case_label(c, "%zux%zux%zu group %zu lda+%zu ldy+%zu%s %s scales%s, %s times %s", s.m, s.n, s.k, s.group,
                   g->lda - s.k, g->ldy - s.n, g->flipped && !real ? " flipped" : "", g->scale_f16 ? "f16" : "f32",
                   variation % 5 > 1 ? ", zero points" : "", filled, clq_codes_name(codes));
    clq_fill_codes(&c->rng, w, s.n * row, codes);
    fill_scales(c, scale, s.n * count, g->scale_f16, variation / 7);
    for (size_t i = 0; i < s.n * count; i++)
        zero[i] = (uint8_t)(variation % 5 == 3 ? clq_rng_below(&c->rng, 16) : clq_rng_below(&c->rng, 2) * 15);
    for (size_t i = 0; i < n_scales; i++) scale_a[i] = (clq_rng_unit(&c->rng) + 0.01f) * 0.02f;
    for (size_t i = 0; i < s.n; i++) bias[i] = clq_rng_unit(&c->rng) - 0.5f;
    g->a = a;
    g->weight = w;
    g->scale = scale;
    g->zero_point = variation % 5 > 1 ? zero : NULL;
    g->scale_a = scale_a;
    g->bias = variation % 3 == 1 ? bias : NULL;
    g->y = clq_case_operand(c, "y", CLQ_OUT, CLQ_ELEM_F32, n_y, 0);
    c->bytes = (double)(s.m * s.k * (real ? 4 : 1) + s.n * row + s.n * count * unit + 4 * s.m * s.n);
    c->operations = 2.0 * (double)s.m * (double)s.n * (double)s.k;
}

/* The largest sums of one group that fit int32: -128 * -15 * 1118481 and its mirror, one step of K less as well. */
static void describe_limit(struct clq_case *c, size_t index)
{
    const struct sizes s = {index < 2 ? 2 : 9, 2, 1118481 - index % 2, SIZE_MAX};
    describe(c, s, 3, BY_ROW);
    struct clq_gemm_u4_args *g = &((struct product *)c->args)->g;
    memset(c->operand[0].memory.data, 0, c->operand[0].memory.bytes); /* flipped: -128 */
    const size_t row = (s.k + 1) / 2;
    memset(c->operand[1].memory.data, 0, row);
    memset(c->operand[1].memory.data + row, 255, row);
    c->operand[3].memory.data[0] = 15;
    c->operand[3].memory.data[1] = 0;
    clq_case_label(c, "%zux%zux%zu at the limit of int32", g->m, g->n, g->k);
}

static void prepare_any(struct clq_case *c, size_t index, enum rows rows)
{
    if (index < N_SWEEP) {
        const size_t t = index % N_TAILS + 1, way = index / N_TAILS;
        const size_t group = groups[clq_rng_below(&c->rng, sizeof groups / sizeof *groups)];
        const struct sizes s = {way == 0 ? t : 1 + clq_rng_below(&c->rng, 20),
                                way == 1 ? 2 * t - 1 : 1 + clq_rng_below(&c->rng, 90),
                                way == 2 ? t : 1 + clq_rng_below(&c->rng, 300), group};
        describe(c, s, index, rows);
    } else {
        describe(c, large[(index - N_SWEEP) / 3], index + (index - N_SWEEP) % 3 * 13, rows);
    }
}

static void prepare(struct clq_case *c, size_t index)
{
    if (index < N_SWEEP + N_LARGE) prepare_any(c, index, BY_ROW);
    else describe_limit(c, index - N_SWEEP - N_LARGE);
}

static void prepare_grouped(struct clq_case *c, size_t index)
{
    prepare_any(c, index, BY_GROUP);
}

static void prepare_real(struct clq_case *c, size_t index)
{
    prepare_any(c, index, REAL);
}

/* Variations 1 and 3 take flipped activations; 3 has scales of 16 bits, and both no zero points; see describe. */
static const struct {
    struct sizes s;
    size_t variation;
} benches[] = {
    {{512, 4096, 4096, 32}, 1},  {{512, 4096, 4096, 128}, 1}, {{512, 4096, 4096, 32}, 11}, {{512, 4096, 4096, 32}, 3},
    {{64, 4096, 4096, 32}, 1},   {{16, 4096, 4096, 32}, 1},   {{4, 4096, 4096, 32}, 11},   {{1, 4096, 4096, 32}, 1},
    {{1, 4096, 4096, 32}, 11},   {{1, 4096, 4096, 128}, 11},
};
enum { N_BENCHES = sizeof benches / sizeof *benches };

static void prepare_bench(struct clq_case *c, size_t index)
{
    describe(c, benches[index].s, benches[index].variation, BY_ROW);
    ((struct product *)c->args)->split = false;
}

static void prepare_grouped_bench(struct clq_case *c, size_t index)
{
    describe(c, benches[index].s, benches[index].variation, BY_GROUP);
    ((struct product *)c->args)->split = false;
}

static void prepare_real_bench(struct clq_case *c, size_t index)
{
    describe(c, benches[index].s, benches[index].variation, REAL);
    clq_fill_f32(&c->rng, (float *)(void *)c->operand[0].memory.data, c->operand[0].memory.bytes / 4, CLQ_FILL_UNIFORM, 0.01f);
    ((struct product *)c->args)->split = false;
}

enum { WORK_PACKED, WORK_SCRATCH, WORK_SCRATCH_TOO };

static void setup(struct clq_case *c, const struct clq_kernels *k)
{
    struct product *p = c->args;
    struct clq_gemm_u4_args *g = &p->g;
    k->gemm_s8u4_plan(g);
    const size_t packed_bytes = g->packed_bytes;
    if (p->rows == BY_GROUP) k->gemm_g8u4_plan(g);
    if (p->rows == REAL) k->gemm_f32u4_plan(g);
    g->packed = clq_case_work(c, WORK_PACKED, packed_bytes);
    clq_case_work(c, WORK_SCRATCH_TOO, g->scratch_bytes);
    g->scratch = clq_case_work(c, WORK_SCRATCH, g->scratch_bytes);
    k->gemm_s8u4_pack(g);
}

/* Split: two or three units a call, the later calls first, on alternating scratch. */
static void run(struct clq_case *c, const struct clq_kernels *k)
{
    const struct product *p = c->args;
    struct clq_gemm_u4_args g = p->g;
    for (size_t end = g.units, call = 0; end > 0; call++) {
        const size_t taken = !p->split || end < 2 + call % 2 ? end : 2 + call % 2;
        g.unit_end = end;
        g.unit_begin = end - taken;
        g.scratch = c->work[WORK_SCRATCH + call % 2].data;
        (p->rows == REAL ? k->gemm_f32u4 : p->rows == BY_GROUP ? k->gemm_g8u4 : k->gemm_s8u4)(&g);
        end -= taken;
    }
}

static void explain(const struct clq_case *c, size_t operand, size_t at, char *text, size_t bytes)
{
    const struct clq_gemm_u4_args *g = &((const struct product *)c->args)->g;
    snprintf(text, bytes, "row %zu, column %zu of operand %zu", at / g->ldy, at % g->ldy, operand);
}

const struct clq_family clq_family_gemm_s8u4 = {
    .op = "gemm_s8u4",
    .n_tests = N_SWEEP + N_LARGE + N_LIMITS,
    .n_benches = N_BENCHES,
    .prepare = prepare,
    .prepare_bench = prepare_bench,
    .setup = setup,
    .run = run,
    .explain = explain,
};

const struct clq_family clq_family_gemm_g8u4 = {
    .op = "gemm_g8u4",
    .n_tests = N_SWEEP + N_LARGE,
    .n_benches = N_BENCHES,
    .prepare = prepare_grouped,
    .prepare_bench = prepare_grouped_bench,
    .setup = setup,
    .run = run,
    .explain = explain,
};

const struct clq_family clq_family_gemm_f32u4 = {
    .op = "gemm_f32u4",
    .n_tests = N_SWEEP + N_LARGE,
    .n_benches = N_BENCHES,
    .prepare = prepare_real,
    .prepare_bench = prepare_real_bench,
    .setup = setup,
    .run = run,
    .explain = explain,
};
