/* SPDX-License-Identifier: Apache-2.0
 * Cases of lut_u8: random, identity and reversed tables, in place and not. */
#include <stdio.h>

#include "tests/harness.h"

static const size_t sizes[] = {0,  1,  2,  3,  15, 16,  17,  31,  32,  33,  35,
                               63, 64, 65, 67, 127, 128, 129, 131, 256, 1009, 100003};
enum { N_SIZES = sizeof sizes / sizeof *sizes, PER_SIZE = 6 };

static void describe(struct clq_case *c, size_t n, size_t slack, size_t kind)
{
    static const char *const kinds[] = {"random", "identity", "reversed"};
    const bool in_place = kind >= 3;
    clq_case_label(c, "n=%zu slack=%zu %s%s", n, slack, kinds[kind % 3], in_place ? " y=x" : "");
    struct clq_lut_args *l = clq_case_args(c, sizeof *l);
    uint8_t *x = clq_case_operand(c, "x", in_place ? CLQ_INOUT : CLQ_IN, CLQ_ELEM_U8, n, slack);
    uint8_t *y = in_place ? x : clq_case_operand(c, "y", CLQ_OUT, CLQ_ELEM_U8, n, slack * 3 % 4);
    uint8_t *table = clq_case_operand(c, "table", CLQ_IN, CLQ_ELEM_U8, 256, slack);
    clq_fill_codes(&c->rng, x, n, CLQ_CODES_UNIFORM);
    for (size_t i = 0; i < n && n == 256; i++)
        x[i] = (uint8_t)i;
    clq_fill_codes(&c->rng, table, 256, CLQ_CODES_UNIFORM);
    for (size_t i = 0; i < 256 && kind % 3; i++)
        table[i] = (uint8_t)(kind % 3 == 1 ? i : 255 - i);
    *l = (struct clq_lut_args){.x = x, .y = y, .n = n, .table = table};
    c->bytes = 2.0 * (double)n;
    c->operations = (double)n;
}

static void prepare(struct clq_case *c, size_t index)
{
    describe(c, sizes[index / PER_SIZE], index % 4, index % PER_SIZE);
}

static void prepare_bench(struct clq_case *c, size_t index)
{
    describe(c, index ? (size_t)1 << 22 : (size_t)1 << 16, 0, 0);
}

static void run(struct clq_case *c, const struct clq_kernels *k)
{
    k->lut_u8(c->args);
}

static void explain(const struct clq_case *c, size_t operand, size_t at, char *text, size_t bytes)
{
    snprintf(text, bytes, "x=%u of operand %zu", c->operand[0].initial[at], operand);
}

const struct clq_family clq_family_lut_u8 = {
    .op = "lut_u8", .n_tests = N_SIZES * PER_SIZE, .n_benches = 2,
    .prepare = prepare, .prepare_bench = prepare_bench, .run = run, .explain = explain,
};
