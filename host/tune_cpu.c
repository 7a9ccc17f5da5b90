/* SPDX-License-Identifier: Apache-2.0
 * Every variant gets a kernel table that differs from the default in one operation, and must give the reference's bytes. */
#include "tune_cpu.h"

#include <stdlib.h>
#include <string.h>

#include "tune_problem.h"

enum { MOST_LEVELS = 8 };

/* The operations that are tuned, each on the problems of these families. */
static const struct {
    const char *op, *families[2];
} operations[] = {
    {"gemm_u8s8", {"gemm_u8s8", "gemv_u8s8"}},
    {"gemm_s8s8", {"gemm_s8s8", NULL}},
    {"conv_u8s8", {"conv_u8s8", "conv_depthwise_u8s8"}},
    {"quantize_f32_u8", {"quantize_f32_u8", NULL}},
    {"quantize_f32_s8", {"quantize_f32_s8", NULL}},
    {"dequantize_u8_f32", {"dequantize_u8_f32", NULL}},
    {"dequantize_s8_f32", {"dequantize_s8_f32", NULL}},
    {"add_u8", {"add_u8", NULL}},
    {"mul_u8", {"mul_u8", NULL}},
    {"lut_u8", {"lut_u8", NULL}},
};
enum { N_OPERATIONS = sizeof operations / sizeof *operations };

/* One operation under search. */
struct course {
    struct clq_context *ctx;
    const char *op;
    struct clq_kernels tables[MOST_LEVELS]; /* one per variant, the default first */
    size_t variants, problems;
    struct clq_tune_problem *problem[CLQ_TUNE_PROBLEMS];
};

struct runner {
    struct clq_tune_solver solver[CLQ_TUNE_PROBLEMS];
};

/* The table of a level with the CPU's features. */
static bool level_table(struct clq_kernels *out, const struct clq_cpu_level *level, unsigned cpu)
{
    if ((cpu & level->mask) != level->mask) return false;
    clq_kernels_init(out, level->mask);
    return true;
}

/* The distinct variants of an operation, from the highest level down; the reference only where there is nothing else. */
static size_t find_variants(struct clq_kernels *tables, unsigned cpu, const char *op)
{
    const struct clq_cpu_level *level = clq_cpu_levels;
    size_t n = 0;
    clq_kernels_init(&tables[n++], cpu);
    while (level->name) level++;
    while (level-- > clq_cpu_levels + 1) {
        struct clq_kernels t;
        bool known = !level_table(&t, level, cpu);
        for (size_t i = 0; i < n && !known; i++) known = strcmp(clq_kernels_variant(&tables[i], op), clq_kernels_variant(&t, op)) == 0;
        if (!known && n < MOST_LEVELS) tables[n++] = t;
    }
    return n;
}

size_t clq_tune_cpu_count(const struct clq_context *ctx)
{
    struct clq_kernels tables[MOST_LEVELS];
    size_t n = 0;
    for (size_t i = 0; i < N_OPERATIONS; i++) n += find_variants(tables, ctx->cpu, operations[i].op);
    return n;
}

bool clq_tune_cpu_choose(struct clq_kernels *kernels, unsigned cpu, const struct clq_tuning *tuning)
{
    struct clq_kernels tables[MOST_LEVELS];
    bool changed = false;
    for (size_t i = 0; i < tuning->n; i++)
        for (size_t o = 0; o < N_OPERATIONS; o++) {
            const char *op = operations[o].op;
            if (strcmp(op, tuning->choice[i].family) != 0 || strcmp(clq_kernels_variant(kernels, op), tuning->choice[i].variant) == 0) continue;
            const size_t n = find_variants(tables, cpu, op);
            for (size_t v = 0; v < n; v++) {
                if (strcmp(clq_kernels_variant(&tables[v], op), tuning->choice[i].variant) != 0) continue;
                clq_kernels_take(kernels, &tables[v], op);
                changed = true;
            }
        }
    return changed;
}

static const char *variant(void *user, size_t i)
{
    const struct course *c = user;
    return clq_kernels_variant(&c->tables[i], c->op);
}

static void end(void *runner)
{
    struct runner *r = runner;
    for (size_t i = 0; i < CLQ_TUNE_PROBLEMS; i++) clq_tune_solver_end(&r->solver[i]);
    free(r);
}

static clq_status run(void *runner, size_t problem, struct clq_error *err)
{
    struct runner *r = runner;
    (void)err;
    clq_tune_solver_run(&r->solver[problem]);
    return CLQ_OK;
}

static clq_status finish(void *runner, struct clq_error *err)
{
    (void)runner;
    (void)err;
    return CLQ_OK;
}

static clq_status begin(void **runner, void *user, size_t i, struct clq_error *err)
{
    const struct course *c = user;
    struct runner *r = *runner = calloc(1, sizeof *r);
    if (!r) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "tuning: out of memory");
    for (size_t p = 0; p < c->problems; p++) {
        struct clq_tune_solver *s = &r->solver[p];
        CLQ_TRY(clq_tune_solver_begin(s, c->problem[p], &c->tables[i], c->ctx->pool, c->ctx->threads, err));
        clq_tune_solver_run(s);
        CLQ_TRY(clq_tune_problem_compare(c->problem[p], s->y, err));
    }
    return CLQ_OK;
}

static clq_status add_problems(struct course *c, const char *family, const struct clq_kernels *reference, struct clq_error *err)
{
    for (size_t i = 0; i < clq_tune_problem_count(family); i++, c->problems++)
        CLQ_TRY(clq_tune_problem_create(&c->problem[c->problems], family, i, false, reference, err));
    return CLQ_OK;
}

static clq_status tune_operation(struct clq_tune_search *s, struct course *c, size_t o, struct clq_error *err)
{
    struct clq_tune_family family = {.name = c->op, .variants = c->variants, .user = c,
                                     .variant = variant, .begin = begin, .run = run, .finish = finish, .end = end};
    struct clq_kernels reference;
    clq_kernels_init(&reference, 0);
    for (size_t i = 0; i < 2 && operations[o].families[i]; i++) CLQ_TRY(add_problems(c, operations[o].families[i], &reference, err));
    family.problems = c->problems;
    return clq_tune_search(s, &family, err);
}

clq_status clq_tune_cpu(struct clq_tune_search *s, struct clq_context *ctx, struct clq_error *err)
{
    clq_status st = CLQ_OK;
    struct course *c = malloc(sizeof *c);
    if (!c) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "tuning: out of memory");
    for (size_t o = 0; o < N_OPERATIONS && st == CLQ_OK; o++) {
        *c = (struct course){.ctx = ctx, .op = operations[o].op};
        c->variants = find_variants(c->tables, ctx->cpu, c->op);
        st = tune_operation(s, c, o, err);
        for (size_t i = 0; i < c->problems; i++) clq_tune_problem_free(c->problem[i]);
    }
    free(c);
    return st;
}
