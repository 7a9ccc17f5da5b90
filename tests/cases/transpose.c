/* SPDX-License-Identifier: Apache-2.0
 * Cases of transpose_u8 and transpose_u32: all pairs of sizes around the tiles, three rows or columns, and parts of larger arrays. */
#include <stdio.h>

#include "tests/harness.h"

static const size_t sizes[] = {0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 67, 130};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

static void describe(struct clq_case *c, size_t rows, size_t cols, size_t gap, size_t size)
{
    clq_case_label(c, "%zux%zu gap=%zu", rows, cols, gap);
    struct clq_transpose_args *t = clq_case_args(c, sizeof *t);
    const size_t xs = cols + gap, ys = rows + gap;
    const size_t n_x = rows > 0 ? ((rows - 1) * xs + cols) * size : 0, n_y = cols > 0 ? ((cols - 1) * ys + rows) * size : 0;
    uint8_t *x = clq_case_operand(c, "x", CLQ_IN, CLQ_ELEM_U8, n_x, (rows + cols) % 4);
    uint8_t *y = clq_case_operand(c, "y", CLQ_OUT, CLQ_ELEM_U8, n_y, rows % 3);
    clq_fill_codes(&c->rng, x, n_x, CLQ_CODES_UNIFORM);
    *t = (struct clq_transpose_args){.x = x, .y = y, .rows = rows, .cols = cols, .x_stride = xs, .y_stride = ys};
    c->bytes = 2.0 * (double)(rows * cols * size);
    c->operations = (double)(rows * cols);
}

static void prepare_any(struct clq_case *c, size_t index, size_t size)
{
    describe(c, sizes[index / N_SIZES], sizes[index % N_SIZES], index % 5 == 4 ? 3 : 0, size);
}

static void bench_any(struct clq_case *c, size_t index, size_t size)
{
    static const size_t shape[][2] = {{64, 3136}, {3136, 64}, {3, 50176}, {50176, 3}};
    describe(c, shape[index][0], shape[index][1], 0, size);
}

static void prepare_bytes(struct clq_case *c, size_t index) { prepare_any(c, index, 1); }
static void bench_bytes(struct clq_case *c, size_t index) { bench_any(c, index, 1); }
static void prepare_words(struct clq_case *c, size_t index) { prepare_any(c, index, 4); }
static void bench_words(struct clq_case *c, size_t index) { bench_any(c, index, 4); }

static void run_bytes(struct clq_case *c, const struct clq_kernels *k)
{
    k->transpose_u8(c->args);
}

static void run_words(struct clq_case *c, const struct clq_kernels *k)
{
    k->transpose_u32(c->args);
}

static void explain(const struct clq_case *c, size_t operand, size_t at, char *text, size_t bytes)
{
    const struct clq_transpose_args *t = c->args;
    snprintf(text, bytes, "byte %zu of operand %zu, %zu rows of y", at, operand, t->cols);
}

const struct clq_family clq_family_transpose_u8 = {
    .op = "transpose_u8", .n_tests = N_SIZES * N_SIZES, .n_benches = 4,
    .prepare = prepare_bytes, .prepare_bench = bench_bytes, .run = run_bytes, .explain = explain,
};

const struct clq_family clq_family_transpose_u32 = {
    .op = "transpose_u32", .n_tests = N_SIZES * N_SIZES, .n_benches = 4,
    .prepare = prepare_words, .prepare_bench = bench_words, .run = run_words, .explain = explain,
};
