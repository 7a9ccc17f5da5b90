/* SPDX-License-Identifier: Apache-2.0
 * Every legal variant of a family runs on a device that is opened for it alone, and must pass its self-test and give the
 * problems' bytes before it is timed. Then the same device and weight with and without the form for few rows. */
#include "cl_tune.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cl_attempt.h"

enum { PREFER = 2048 };

struct tuner {
    const struct clq_cl_tune_options *options;
    int index;
    struct clq_tune_search search;
    struct clq_kernels host; /* say what is expected: they are proven equal to the reference */
    bool large;
    char prefer[PREFER]; /* what was chosen so far */
};

/* One family under search. */
struct course {
    const struct tuner *t;
    enum clq_cl_family family;
    const struct clq_cl_variant *const *legal;
    struct clq_tune_problem *problem[CLQ_TUNE_PROBLEMS];
    size_t problems;
};

/* A variant on a device of its own: choices of one do not touch another. */
struct runner {
    struct clq_cl *cl;
    struct clq_cl_attempt attempt[CLQ_TUNE_PROBLEMS];
};

/* ---- The search in one family ---- */
static const char *variant(void *user, size_t i)
{
    return ((const struct course *)user)->legal[i]->name;
}

static clq_status begin(void **runner, void *user, size_t i, struct clq_error *err)
{
    const struct course *c = user;
    const struct clq_cl_variant *v = c->legal[i];
    char prefer[PREFER + 2 * CLQ_TUNING_NAME];
    struct clq_cl_options o = c->t->options->device;
    struct runner *r = *runner = calloc(1, sizeof *r);
    if (!r) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "tuning: out of memory");
    snprintf(prefer, sizeof prefer, "%s %s=%s", c->t->prefer, v->op, v->name);
    o.prefer = prefer;
    o.few_rows = 0;
    CLQ_TRY(clq_cl_open(&r->cl, c->t->index, &o, err));
    CLQ_TRY(clq_cl_ready(r->cl, c->family, err));
    if (strcmp(clq_cl_variant(r->cl, c->family), v->name) != 0) {
        const char *why = clq_cl_refused(r->cl, c->family);
        return clq_fail(err, CLQ_ERR_BUILD, "%.150s", *why ? why : "it does not fit the other choices");
    }
    for (size_t p = 0; p < c->problems; p++) {
        CLQ_TRY(clq_cl_attempt_begin(&r->attempt[p], r->cl, c->problem[p], err));
        CLQ_TRY(clq_cl_attempt_check(&r->attempt[p], err));
    }
    return CLQ_OK;
}

static clq_status run(void *runner, size_t problem, struct clq_error *err)
{
    return clq_cl_attempt_run(&((struct runner *)runner)->attempt[problem], err);
}

static clq_status finish(void *runner, struct clq_error *err)
{
    return clq_cl_finish(((struct runner *)runner)->cl, err);
}

static void end(void *runner)
{
    struct runner *r = runner;
    for (size_t i = 0; i < CLQ_TUNE_PROBLEMS; i++) clq_cl_attempt_end(&r->attempt[i]);
    clq_cl_close(r->cl);
    free(r);
}

static clq_status tune_family(struct tuner *t, enum clq_cl_family family, const struct clq_cl_variant *const *legal,
                              size_t n_legal, struct clq_error *err)
{
    struct course c = {.t = t, .family = family, .legal = legal};
    const char *name = clq_cl_family_name(family);
    clq_status st = CLQ_OK;
    for (; c.problems < clq_tune_problem_count(name) && st == CLQ_OK; c.problems += st == CLQ_OK)
        st = clq_tune_problem_create(&c.problem[c.problems], name, c.problems, t->large, &t->host, err);
    const struct clq_tune_family f = {.name = name, .variants = n_legal, .problems = c.problems, .user = &c,
                                      .variant = variant, .begin = begin, .run = run, .finish = finish, .end = end};
    const size_t before = t->search.tuning->n;
    if (st == CLQ_OK) st = clq_tune_search(&t->search, &f, err);
    for (size_t i = 0; i < c.problems; i++) clq_tune_problem_free(c.problem[i]);
    if (st != CLQ_OK || t->search.tuning->n == before) return st;
    const size_t used = strlen(t->prefer);
    snprintf(t->prefer + used, sizeof t->prefer - used, " %s=%s", name, t->search.tuning->choice[before].variant);
    return CLQ_OK;
}

/* ---- Up to how many rows the GEMV form wins: the same device and weight, without and with it. One number serves weights of 8
 * and of 4 bits; 8 bits decide where a device has both forms. ---- */
struct rows {
    struct clq_cl *cl;
    struct clq_cl_attempt attempt;
    size_t m;
};

struct rows_runner {
    struct rows *rows;
    size_t few_rows;
};

static const char *rows_variant(void *user, size_t i)
{
    (void)user;
    return i ? "few_rows" : "all_rows";
}

static clq_status rows_run(void *runner, size_t problem, struct clq_error *err)
{
    const struct rows_runner *r = runner;
    (void)problem;
    r->rows->cl->few_rows = r->few_rows;
    return clq_cl_attempt_run(&r->rows->attempt, err);
}

static clq_status rows_begin(void **runner, void *user, size_t i, struct clq_error *err)
{
    struct rows *rows = user;
    struct rows_runner *r = *runner = calloc(1, sizeof *r);
    if (!r) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "tuning: out of memory");
    *r = (struct rows_runner){rows, i ? rows->m : 0};
    rows->cl->few_rows = r->few_rows;
    return clq_cl_attempt_check(&rows->attempt, err);
}

static clq_status rows_finish(void *runner, struct clq_error *err)
{
    return clq_cl_finish(((const struct rows_runner *)runner)->rows->cl, err);
}

static clq_status compare_rows(bool *take, struct tuner *t, struct clq_cl *cl, enum clq_cl_family family, size_t m, struct clq_error *err)
{
    struct clq_tune_problem *problem = NULL;
    struct rows rows = {.cl = cl, .m = m};
    clq_tune_row row[2];
    struct clq_tuning tuning = {0};
    struct clq_tune_search search = t->search;
    const struct clq_tune_family f = {.name = clq_cl_family_name(family), .variants = 2, .problems = 1, .user = &rows,
                                      .variant = rows_variant, .begin = rows_begin, .run = rows_run, .finish = rows_finish, .end = free};
    search.rows = row;
    search.n = 0;
    search.tuning = &tuning;
    CLQ_TRY(clq_tune_problem_rows(&problem, clq_cl_family_name(family), m, t->large, &t->host, err));
    clq_status st = clq_cl_attempt_begin(&rows.attempt, cl, problem, err);
    if (st == CLQ_OK) st = clq_tune_search(&search, &f, err);
    clq_cl_attempt_end(&rows.attempt);
    clq_tune_problem_free(problem);
    *take = st == CLQ_OK && row[1].chosen;
    return st;
}

static clq_status tune_rows(struct tuner *t, enum clq_cl_family family, struct clq_error *err)
{
    static const size_t rows[] = {1, 4, 8, 16};
    struct clq_cl_options o = t->options->device;
    struct clq_tuning *tuning = t->search.tuning;
    struct clq_cl *cl = NULL;
    clq_status st = CLQ_OK;
    bool take = true;
    o.prefer = t->prefer;
    CLQ_TRY(clq_cl_open(&cl, t->index, &o, err));
    if (clq_cl_ready(cl, family, NULL) == CLQ_OK) tuning->few_rows = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && st == CLQ_OK && take && tuning->few_rows >= 0; i++) {
        st = compare_rows(&take, t, cl, family, rows[i], err);
        if (st == CLQ_OK && take) tuning->few_rows = (int)rows[i];
    }
    clq_cl_close(cl);
    return st;
}

/* The variants of a family that the device may be offered. */
static size_t find_legal(const struct clq_cl_variant **out, const struct clq_cl *cl, enum clq_cl_family family)
{
    size_t n = 0;
    if (clq_tune_problem_count(clq_cl_family_name(family)) == 0) return 0;
    for (size_t i = 0; i < clq_cl_variant_count; i++)
        if (strcmp(clq_cl_variants[i].op, clq_cl_family_name(family)) == 0 && clq_cl_allows(cl, &clq_cl_variants[i]))
            out[n++] = &clq_cl_variants[i];
    return n;
}

static clq_status tune_all(struct tuner *t, const struct clq_cl *cl, const struct clq_cl_variant **legal, struct clq_error *err)
{
    bool gemv = false, gemv_u4 = false;
    for (int f = 0; f < CLQ_CL_FAMILIES; f++) t->search.total += find_legal(legal, cl, (enum clq_cl_family)f);
    for (int f = 0; f < CLQ_CL_FAMILIES; f++) {
        const size_t n = find_legal(legal, cl, (enum clq_cl_family)f);
        if (n == 0) continue;
        CLQ_TRY(tune_family(t, (enum clq_cl_family)f, legal, n, err));
        gemv = gemv || f == CLQ_CL_GEMV;
        gemv_u4 = gemv_u4 || f == CLQ_CL_GEMV_U4;
    }
    return gemv || gemv_u4 ? tune_rows(t, gemv ? CLQ_CL_GEMV : CLQ_CL_GEMV_U4, err) : CLQ_OK;
}

clq_status clq_cl_tune(struct clq_cl_tuned *out, int index, const struct clq_cl_tune_options *options, struct clq_error *err)
{
    struct tuner t = {.options = options, .index = index, .search = {.progress = options->progress, .user = options->user}};
    struct clq_cl_options o = options->device;
    struct clq_cl *cl = NULL;
    *out = (struct clq_cl_tuned){.tuning = {.few_rows = -1}};
    o.prefer = NULL;
    CLQ_TRY(clq_cl_open(&cl, index, &o, err));
    clq_kernels_init(&t.host, clq_cpu_detect());
    t.large = !clq_cl_describe(cl)->is_cpu;
    t.search.tuning = &out->tuning;
    out->rows = t.search.rows = calloc(clq_cl_variant_count, sizeof *out->rows);
    const struct clq_cl_variant **legal = calloc(clq_cl_variant_count, sizeof *legal);
    clq_status st = out->rows && legal ? tune_all(&t, cl, legal, err) : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "tuning: out of memory");
    out->n = t.search.n;
    free(legal);
    clq_cl_close(cl);
    if (st != CLQ_OK) {
        free(out->rows);
        *out = (struct clq_cl_tuned){.tuning = {.few_rows = -1}};
    }
    return st;
}
