/* SPDX-License-Identifier: Apache-2.0
 * The solver against brute force on small random problems, its tie rule, its answer to unreachable bounds, its speed on
 * 150 layers, and that CBC neither prints nor leaves signal handlers behind. */
#include "scheduler/solve.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define MAX_LAYERS 160
#define MAX_CANDIDATES 4
#define MAX_TENSORS 400
#define MAX_CONSUMERS 4

struct instance {
    struct clq_problem problem;
    struct clq_problem_layer layers[MAX_LAYERS];
    struct clq_candidate candidates[MAX_LAYERS][MAX_CANDIDATES];
    struct clq_tie ties[4];
    int tied[4][3];
    struct clq_problem_tensor tensors[MAX_TENSORS];
    int consumers[MAX_TENSORS][MAX_CONSUMERS];
    double convert[MAX_TENSORS][16];
};

static uint64_t state;

static uint64_t word(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static int below(int n)
{
    return (int)(word() % (uint64_t)n);
}

static double uniform(void)
{
    return (double)(word() >> 11) * 0x1p-53;
}

static void random_costs(struct clq_candidate *c, bool whole)
{
    c->time_us = whole ? below(6) : 1 + 99 * uniform();
    c->error = whole ? below(5) : pow(10, -9 + 12 * uniform());
    c->bytes = whole ? below(6) : below(100000);
    if (!whole && below(4) == 0) c->error = 0;
}

static void add_tensor(struct instance *in, int producer, int n, const int *consumers, bool whole)
{
    struct clq_problem *p = &in->problem;
    int t = p->n_tensors++;
    for (int i = 0; i < n; i++)
        in->consumers[t][i] = consumers[i];
    for (int i = 0; i < p->n_domains * p->n_domains; i++) {
        in->convert[t][i] = whole ? below(3) : 20 * uniform();
        if (below(40) == 0) in->convert[t][i] = INFINITY;
    }
    in->tensors[t] = (struct clq_problem_tensor){producer, n, in->consumers[t], in->convert[t]};
}

/* A chain with skips, domain 0 always possible, whole: small integer costs, so that ties abound. */
static void random_instance(struct instance *in, int n, bool whole)
{
    memset(in, 0, sizeof *in);
    struct clq_problem *p = &in->problem;
    p->n_domains = 1 + below(4);
    p->n_layers = n;
    p->layers = in->layers;
    p->ties = in->ties;
    p->tensors = in->tensors;
    for (int l = 0; l < n; l++) {
        in->layers[l] = (struct clq_problem_layer){"layer", 1 + below(MAX_CANDIDATES), in->candidates[l], 10, 10};
        for (int c = 0; c < in->layers[l].n_candidates; c++) {
            struct clq_candidate *k = &in->candidates[l][c];
            k->domain = c == 0 ? 0 : below(p->n_domains);
            k->domain_out = below(8) == 0 ? below(p->n_domains) : k->domain;
            k->weight_bits = 4 << below(4);
            k->act_bits = 8;
            random_costs(k, whole);
        }
    }
    add_tensor(in, CLQ_GRAPH_INPUT, 1, (int[]){0}, whole);
    for (int l = 0; l < n; l++) {
        int skip = l + 1 + below(3);
        if (l + 1 == n) add_tensor(in, l, 1, (int[]){CLQ_GRAPH_OUTPUT}, whole);
        else if (skip < n && skip != l + 1) add_tensor(in, l, 2, (int[]){l + 1, skip}, whole);
        else add_tensor(in, l, 1, (int[]){l + 1}, whole);
    }
    for (int i = below(3); i > 0; i--) {
        int *tied = in->tied[p->n_ties];
        in->ties[p->n_ties++] = (struct clq_tie){2 + below(2), tied};
        for (int j = 0; j < 3; j++)
            tied[j] = below(n);
    }
    p->objective = below(3);
    for (int a = 0; a < CLQ_AXIS_COUNT; a++)
        p->bound[a] = INFINITY;
}

static double rank_sum(const struct clq_problem *p, const int *choice)
{
    int rank[MAX_LAYERS * MAX_CANDIDATES], at = 0;
    double sum = 0;
    clq_problem_ranks(p, rank);
    for (int l = 0; l < p->n_layers; at += p->layers[l++].n_candidates)
        sum += rank[at + choice[l]];
    return sum;
}

/* What enumeration finds. With scale the violation is the sum of relative excesses. */
struct best {
    bool any, feasible;
    double objective, ranks, violation, least[CLQ_AXIS_COUNT];
};

static bool next_choice(const struct clq_problem *p, int *choice)
{
    for (int l = 0; l < p->n_layers; l++) {
        if (++choice[l] < p->layers[l].n_candidates) return true;
        choice[l] = 0;
    }
    return false;
}

/* What excesses are divided by, as solve.h says. */
static double scale_of(const struct clq_problem *p, int axis, const double *least)
{
    double scale = fmax(least[axis], p->bound[axis]), most = 0;
    for (int l = 0; l < p->n_layers; l++)
        for (int c = 0; c < p->layers[l].n_candidates; c++)
            most = fmax(most, clq_candidate_cost(&p->layers[l].candidates[c], axis));
    return scale > 0 ? scale : most > 0 ? most : 1;
}

static double violation_of(const struct clq_problem *p, const struct clq_totals *t, const double *least)
{
    double sum = 0;
    for (int a = 0; a < CLQ_AXIS_COUNT; a++)
        if (!clq_bound_met(t->axis[a], p->bound[a])) sum += (t->axis[a] - p->bound[a]) / scale_of(p, a, least);
    return sum;
}

static struct best brute_force(const struct clq_problem *p)
{
    struct best b = {.objective = INFINITY, .violation = INFINITY, .least = {INFINITY, INFINITY, INFINITY}};
    struct clq_totals t;
    for (int pass = 0; pass < 2; pass++) {
        int choice[MAX_LAYERS] = {0};
        do {
            if (clq_problem_evaluate(&t, p, choice, NULL) != CLQ_OK) continue;
            b.any = true;
            for (int a = 0; a < CLQ_AXIS_COUNT; a++)
                b.least[a] = fmin(b.least[a], t.axis[a]);
            if (pass == 0) continue;
            double v = violation_of(p, &t, b.least), objective = t.axis[p->objective], ranks = rank_sum(p, choice);
            if (v < b.violation) b.violation = v;
            if (v > 0) continue;
            b.feasible = true;
            if (objective > b.objective * (1 + 1e-12)) continue;
            if (objective < b.objective * (1 - 1e-12) || ranks < b.ranks) b.ranks = ranks;
            b.objective = fmin(b.objective, objective);
        } while (next_choice(p, choice));
    }
    return b;
}

/* Bounds somewhere between the least and the total of a random plan; every third one out of reach. */
static void random_bounds(struct clq_problem *p, const struct best *b)
{
    for (int a = 0; a < CLQ_AXIS_COUNT; a++) {
        if (below(2)) continue;
        struct clq_totals t;
        int choice[MAX_LAYERS];
        for (int tries = 0; tries < 50; tries++) {
            for (int l = 0; l < p->n_layers; l++)
                choice[l] = below(p->layers[l].n_candidates);
            if (clq_problem_evaluate(&t, p, choice, NULL) == CLQ_OK) break;
            t.axis[a] = b->least[a];
        }
        p->bound[a] = b->least[a] + (t.axis[a] - b->least[a]) * (below(2) ? 1 : uniform());
        if (below(6) == 0) p->bound[a] *= uniform();
    }
}

static int n_problems, n_infeasible, n_proven, n_cbc;

static void compare_one(struct instance *in, bool whole, bool search_only)
{
    struct clq_problem *p = &in->problem;
    struct best b = brute_force(p);
    if (b.any) random_bounds(p, &b);
    b = brute_force(p);
    struct clq_solution s;
    struct clq_error err = {""};
    int choice[MAX_LAYERS];
    clq_status st = clq_solve(&s, choice, p, &(struct clq_solve_options){.search_only = search_only}, &err);
    if (!b.any) {
        if (!search_only) assert_int_equal(st, CLQ_ERR_INVALID_ARGUMENT);
        return;
    }
    n_problems++;
    if (search_only) { /* a heuristic: what it returns must be true, not optimal */
        if (st == CLQ_OK && s.feasible) assert_true(b.feasible && s.totals.axis[p->objective] >= b.objective * (1 - 1e-9));
        return;
    }
    assert_int_equal(st, CLQ_OK);
    struct clq_totals again;
    assert_int_equal(clq_problem_evaluate(&again, p, choice, &err), CLQ_OK);
    assert_memory_equal(&again, &s.totals, sizeof again);
    assert_int_equal(s.feasible, b.feasible);
    n_proven += s.proven;
    n_cbc += s.from_cbc;
    if (s.feasible) {
        double got = s.totals.axis[p->objective];
        if (got > b.objective * (1 + CLQ_TIE_TOLERANCE))
            fail_msg("objective %.17g, brute force %.17g (%d layers)", got, b.objective, p->n_layers);
        if (whole && rank_sum(p, choice) > b.ranks)
            fail_msg("ranks %g, brute force %g at objective %g", rank_sum(p, choice), b.ranks, b.objective);
        return;
    }
    n_infeasible++;
    double v = violation_of(p, &s.totals, b.least), worst = 0;
    if (v > b.violation * (1 + 1e-6) + 1e-9) fail_msg("violation %.17g, brute force %.17g", v, b.violation);
    for (int a = 0; a < CLQ_AXIS_COUNT; a++) {
        if (isinf(p->bound[a])) continue;
        assert_true(fabs(s.least[a] - b.least[a]) <= 1e-6 * b.least[a] + 1e-12);
        worst = fmax(worst, (s.totals.axis[a] - p->bound[a]) / scale_of(p, a, b.least));
    }
    double named = (s.totals.axis[s.binding] - p->bound[s.binding]) / scale_of(p, s.binding, b.least);
    assert_true(named >= worst * (1 - 1e-6));
    assert_true(s.excess > 0);
}

static void random_against_brute_force(bool whole, bool search_only, int count)
{
    struct instance *in = malloc(sizeof *in);
    state = 0x9e3779b97f4a7c15u + (whole ? 1 : 0);
    n_problems = n_infeasible = n_proven = n_cbc = 0;
    for (int i = 0; i < count; i++) {
        random_instance(in, 1 + below(6), whole);
        compare_one(in, whole, search_only);
    }
    free(in);
    print_message("%d problems, %d without a plan, %d proven, %d from CBC\n", n_problems, n_infeasible, n_proven, n_cbc);
}

static void test_brute_force_real(void **unused)
{
    (void)unused;
    random_against_brute_force(false, false, 400);
    assert_true(n_infeasible > 20 && n_proven >= n_problems * 98 / 100);
}

static void test_brute_force_ties(void **unused)
{
    (void)unused;
    random_against_brute_force(true, false, 400);
    assert_true(n_infeasible > 20 && n_proven >= n_problems * 98 / 100);
}

/* Two problems on which CBC 2.10.8 with our first settings ends its process by an assertion. */
static void test_cbc_aborts(void **unused)
{
    (void)unused;
    struct instance *in = malloc(sizeof *in);
    for (int whole = 0; whole < 2; whole++) {
        state = whole ? 0x65ff19d94dfac05du : 0x8ea44c94ad39667fu;
        random_instance(in, 1 + below(7), whole);
        compare_one(in, whole, false);
    }
    free(in);
}

static void test_search_only_is_honest(void **unused)
{
    (void)unused;
    random_against_brute_force(false, true, 300);
}

/* A network like the ones that are planned: int8 is 1 to 4 times as fast, conversions cost, residual adds tie. */
static void large_instance(struct instance *in, int n)
{
    static int members[MAX_LAYERS][3];
    memset(in, 0, sizeof *in);
    struct clq_problem *p = &in->problem;
    p->n_domains = 3;
    p->n_layers = n;
    p->layers = in->layers;
    p->tensors = in->tensors;
    p->ties = in->ties;
    for (int l = 0; l < n; l++) {
        double f32 = 10 + 190 * uniform(), error = pow(10, -6 + 4 * uniform());
        in->layers[l] = (struct clq_problem_layer){"layer", 3, in->candidates[l], 1e4, 1e6};
        in->candidates[l][0] = (struct clq_candidate){"f32", 0, 0, 32, 32, f32, 0, 4e4};
        in->candidates[l][1] = (struct clq_candidate){"int8", 1, 1, 8, 8, f32 / (0.8 + 3 * uniform()), error, 1e4};
        in->candidates[l][2] = (struct clq_candidate){"int16", 2, 2, 8, 16, f32 / (0.7 + 2 * uniform()), error / 50, 1e4};
    }
    add_tensor(in, CLQ_GRAPH_INPUT, 1, (int[]){0}, false);
    for (int l = 0; l < n; l++) {
        int next = l + 1 < n ? l + 1 : CLQ_GRAPH_OUTPUT;
        if (l % 4 == 0 && l + 4 < n) add_tensor(in, l, 2, (int[]){next, l + 4}, false);
        else add_tensor(in, l, 1, (int[]){next}, false);
        for (int i = 0; i < 9; i++)
            in->convert[p->n_tensors - 1][i] = i % 4 == 0 ? 0 : 2 + 10 * uniform();
    }
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 3; j++)
            members[i][j] = (i * 31 + j * 4) % n;
        in->ties[p->n_ties++] = (struct clq_tie){3, members[i]};
    }
    for (int a = 0; a < CLQ_AXIS_COUNT; a++)
        p->bound[a] = INFINITY;
}

/* CPU time, the solver's child included. */
static double now(void)
{
    double sum = 0;
    for (int who = 0; who < 2; who++) {
        struct rusage u;
        getrusage(who ? RUSAGE_CHILDREN : RUSAGE_SELF, &u);
        sum += (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
    }
    return sum;
}

static void test_150_layers(void **unused)
{
    (void)unused;
    struct instance *in = malloc(sizeof *in);
    double slowest = 0;
    int n_found = 0;
    state = 42;
    for (int i = 0; i < 12; i++) {
        large_instance(in, 150);
        double total = 0;
        for (int l = 0; l < 150; l++)
            total += in->candidates[l][1].error;
        in->problem.objective = i % 3 == 2 ? CLQ_AXIS_ERROR : CLQ_AXIS_TIME;
        if (i % 3 == 2) in->problem.bound[CLQ_AXIS_TIME] = 150 * 105 * (0.5 + 0.05 * i / 3);
        else in->problem.bound[CLQ_AXIS_ERROR] = total * pow(10, -0.3 * i);
        if (i % 3 == 1) in->problem.bound[CLQ_AXIS_BYTES] = 150 * 2.2e4;
        struct clq_solution s, r;
        int choice[MAX_LAYERS], repeat[MAX_LAYERS];
        double start = now();
        assert_int_equal(clq_solve(&s, choice, &in->problem, NULL, NULL), CLQ_OK);
        double seconds = now() - start;
        assert_int_equal(clq_solve(&r, repeat, &in->problem, NULL, NULL), CLQ_OK);
        assert_memory_equal(choice, repeat, 150 * sizeof(int));
        assert_true(s.feasible);
        assert_int_equal(clq_solve(&r, repeat, &in->problem, &(struct clq_solve_options){.search_only = true}, NULL), CLQ_OK);
        print_message("  %.3f s proven %d from_cbc %d objective %.6g (search alone %.6g)\n", seconds, s.proven, s.from_cbc,
                      s.totals.axis[in->problem.objective], r.totals.axis[in->problem.objective]);
        n_found += r.feasible && r.totals.axis[in->problem.objective] <= 1.05 * s.totals.axis[in->problem.objective];
        slowest = fmax(slowest, seconds);
    }
    print_message("slowest of 12: %.3f s of CPU time; search alone within 5 %%: %d\n", slowest, n_found);
    assert_true(n_found >= 9);
    free(in);
}

static volatile sig_atomic_t interrupts;

static void on_interrupt(int sig)
{
    (void)sig;
    interrupts++;
}

static void solve_some(struct instance *in)
{
    struct clq_solution s;
    int choice[MAX_LAYERS];
    large_instance(in, 150);
    in->problem.bound[CLQ_AXIS_ERROR] = 1e-3;
    assert_int_equal(clq_solve(&s, choice, &in->problem, NULL, NULL), CLQ_OK);
    in->problem.bound[CLQ_AXIS_TIME] = 1; /* out of reach: the elastic program */
    assert_int_equal(clq_solve(&s, choice, &in->problem, NULL, NULL), CLQ_OK);
    assert_false(s.feasible);
    assert_int_equal(s.binding, CLQ_AXIS_TIME);
    for (int l = 0; l < 150; l++) /* an exhausted node limit */
        in->candidates[l][0].error = 1e-12;
    in->problem.bound[CLQ_AXIS_TIME] = INFINITY;
    assert_int_equal(clq_solve(&s, choice, &in->problem, &(struct clq_solve_options){.max_nodes = 1}, NULL), CLQ_OK);
}

/* CBC must not print, must not keep a signal handler, and an interrupt during the solve must arrive. */
static void test_quiet_and_signals(void **unused)
{
    (void)unused;
    struct instance *in = malloc(sizeof *in);
    char path[] = "/tmp/clq_test_solve_XXXXXX";
    int file = mkstemp(path), out = dup(1), errout = dup(2);
    struct sigaction act = {.sa_handler = on_interrupt}, seen;
    struct itimerspec soon = {.it_value = {.tv_nsec = 50000000}};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGINT};
    timer_t timer;
    state = 7;
    sigaction(SIGINT, &act, NULL);
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    fflush(stdout);
    dup2(file, 1);
    dup2(file, 2);
    timer_settime(timer, 0, &soon, NULL);
    solve_some(in);
    for (int i = 0; i < 200; i++) {
        struct clq_solution s;
        int choice[MAX_LAYERS];
        random_instance(in, 1 + below(6), true);
        in->problem.bound[below(3)] = below(20);
        clq_solve(&s, choice, &in->problem, NULL, NULL);
    }
    fflush(stdout);
    dup2(out, 1);
    dup2(errout, 2);
    assert_int_equal(lseek(file, 0, SEEK_END), 0);
    sigaction(SIGINT, NULL, &seen);
    assert_ptr_equal(seen.sa_handler, on_interrupt);
    assert_int_equal(interrupts, 1);
    timer_delete(timer);
    close(file);
    unlink(path);
    free(in);
}

static void expect_refused(const struct clq_problem *p, const char *part)
{
    struct clq_solution s;
    struct clq_error err = {""};
    int choice[MAX_LAYERS];
    assert_int_equal(clq_solve(&s, choice, p, NULL, &err), CLQ_ERR_INVALID_ARGUMENT);
    if (!strstr(err.text, part)) fail_msg("'%s' does not say '%s'", err.text, part);
}

static void test_malformed(void **unused)
{
    (void)unused;
    struct instance *in = malloc(sizeof *in);
    state = 11;
    large_instance(in, 12);
    struct clq_problem *p = &in->problem, kept = *p;
    in->candidates[3][1].error = -1;
    expect_refused(p, "error is -1");
    in->candidates[3][1].error = NAN;
    expect_refused(p, "error is");
    in->candidates[3][1].error = 0;
    in->candidates[5][2].domain = 3;
    expect_refused(p, "domain 3");
    in->candidates[5][2].domain = 2;
    in->convert[2][1] = NAN;
    expect_refused(p, "tensor 2");
    in->convert[2][1] = 1;
    in->consumers[4][0] = 12;
    expect_refused(p, "tensor 4");
    in->consumers[4][0] = in->tensors[4].producer;
    expect_refused(p, "tensor 4");
    in->consumers[4][0] = 4;
    p->bound[0] = NAN;
    expect_refused(p, "bound on time");
    *p = kept;
    p->n_domains = CLQ_MAX_DOMAINS + 1;
    expect_refused(p, "domains");
    *p = kept;
    in->layers[7].n_candidates = 0;
    expect_refused(p, "0 candidates");
    in->layers[7].n_candidates = 1;
    in->layers[8].n_candidates = 1;
    in->candidates[8][0].domain = 1;
    in->ties[0] = (struct clq_tie){2, (int[]){7, 8}};
    expect_refused(p, "no domain");
    in->ties[0].n = 0;
    for (int t = 0; t < p->n_tensors; t++)
        for (int i = 0; i < 9; i++)
            in->convert[t][i] = INFINITY;
    expect_refused(p, "conversion that does not exist");
    free(in);
    struct clq_problem empty = {.n_domains = 1, .bound = {0, 0, 0}};
    struct clq_solution s;
    int none;
    assert_int_equal(clq_solve(&s, &none, &empty, NULL, NULL), CLQ_OK);
    assert_true(s.feasible);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_brute_force_real), cmocka_unit_test(test_brute_force_ties),
        cmocka_unit_test(test_cbc_aborts),       cmocka_unit_test(test_search_only_is_honest), cmocka_unit_test(test_150_layers),
        cmocka_unit_test(test_quiet_and_signals), cmocka_unit_test(test_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
