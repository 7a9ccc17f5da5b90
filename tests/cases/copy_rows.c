/* SPDX-License-Identifier: Apache-2.0
 * Cases of copy_rows_u8: every row length around the pieces, with a table and without, rows that follow each other and not. */
#include <stdio.h>

#include "tests/harness.h"

static const size_t lengths[] = {0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 100, 257, 4099};
enum { N_LENGTHS = sizeof lengths / sizeof *lengths, PER_LENGTH = 4 };

static void describe(struct clq_case *c, size_t rows, size_t n, size_t x_gap, size_t y_gap, bool looked_up)
{
    clq_case_label(c, "rows=%zu n=%zu gaps=%zu,%zu%s", rows, n, x_gap, y_gap, looked_up ? " table" : "");
    struct clq_copy_rows_args *v = clq_case_args(c, sizeof *v);
    const size_t xs = n + x_gap, ys = n + y_gap, last = rows > 0 ? rows - 1 : 0;
    uint8_t *x = clq_case_operand(c, "x", CLQ_IN, CLQ_ELEM_U8, last * xs + n, n % 4);
    uint8_t *y = clq_case_operand(c, "y", CLQ_OUT, CLQ_ELEM_U8, last * ys + n, n % 3);
    uint8_t *table = clq_case_operand(c, "table", CLQ_IN, CLQ_ELEM_U8, 256, n % 4);
    clq_fill_codes(&c->rng, x, last * xs + n, CLQ_CODES_UNIFORM);
    clq_fill_codes(&c->rng, table, 256, CLQ_CODES_UNIFORM);
    *v = (struct clq_copy_rows_args){.x = x, .y = y, .rows = rows, .n = n, .x_stride = xs, .y_stride = ys, .table = looked_up ? table : NULL};
    c->bytes = 2.0 * (double)(rows * n);
    c->operations = (double)(rows * n);
}

static void prepare(struct clq_case *c, size_t index)
{
    const size_t at = index / PER_LENGTH, kind = index % PER_LENGTH;
    describe(c, kind == 0 ? at % 3 : 3 + at * 7 % 130, lengths[at], kind == 3 ? 5 : 0, kind * 3, kind >= 2);
}

static void prepare_bench(struct clq_case *c, size_t index)
{
    static const size_t n[] = {24, 256};
    describe(c, 3136, n[index / 2], 0, n[index / 2], index % 2);
}

static void run(struct clq_case *c, const struct clq_kernels *k)
{
    k->copy_rows_u8(c->args);
}

static void explain(const struct clq_case *c, size_t operand, size_t at, char *text, size_t bytes)
{
    const struct clq_copy_rows_args *v = c->args;
    snprintf(text, bytes, "row %zu, byte %zu of operand %zu", at / v->y_stride, at % v->y_stride, operand);
}

const struct clq_family clq_family_copy_rows_u8 = {
    .op = "copy_rows_u8", .n_tests = N_LENGTHS * PER_LENGTH, .n_benches = 4,
    .prepare = prepare, .prepare_bench = prepare_bench, .run = run, .explain = explain,
};
