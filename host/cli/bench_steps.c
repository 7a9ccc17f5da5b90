/* SPDX-License-Identifier: Apache-2.0
 * Where the time of a model goes: every step is timed in place, in runs that take turns with runs that read no clock inside,
 * so that the cost of looking can be seen. */
#include "bench_steps.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "out.h"

struct profile {
    clq_session *session;
    const clq_tensor *in;
    clq_tensor *out;
    int n_in, n_out, n_steps;
    size_t runs;
    double *step;           /* [n_steps][runs] */
    double *plain, *timed;  /* [runs]: whole runs without the steps' times, and with */
    double *before;         /* [n_steps]: seconds that a step had summed up */
    double *median;         /* [n_steps] */
    double sum, whole, looked_at; /* of the steps' medians; medians of whole runs */
};

/* Steps of one operator and arithmetic together. */
struct group {
    const char *op, *arithmetic;
    int steps;
    double seconds, macs;
};

static double median(double *x, size_t n)
{
    cli_sort(x, n);
    return n ? (x[(n - 1) / 2] + x[n / 2]) / 2 : NAN;
}

size_t cli_bench_fit(double seconds, double each)
{
    const double fit = each > 0 ? seconds / each : 200;
    return fit < 21 ? 21 : fit > 200 ? 200 : (size_t)fit;
}

static clq_status run(struct profile *p, double *seconds)
{
    memset(p->out, 0, (size_t)p->n_out * sizeof *p->out);
    double t = cli_now();
    clq_status st = clq_session_run(p->session, p->in, p->n_in, p->out, p->n_out);
    *seconds = cli_now() - t;
    return st;
}

static void read_steps(struct profile *p, size_t at)
{
    clq_session_step s;
    for (int i = 0; i < p->n_steps && clq_session_get_step(&s, p->session, i) == CLQ_OK; i++) {
        p->step[(size_t)i * p->runs + at] = s.seconds - p->before[i];
        p->before[i] = s.seconds;
    }
}

static clq_status timed_run(struct profile *p, size_t at)
{
    (void)clq_session_time_steps(p->session, true);
    clq_status st = run(p, &p->timed[at]);
    (void)clq_session_time_steps(p->session, false);
    if (st == CLQ_OK) read_steps(p, at);
    return st;
}

static clq_status measure(struct profile *p)
{
    clq_status st = CLQ_OK;
    for (size_t i = 0; i < p->runs && st == CLQ_OK && !cli_stopped(); i++) {
        const bool first = i % 2; /* ABBA */
        if (first) st = timed_run(p, i);
        if (st == CLQ_OK) st = run(p, &p->plain[i]);
        if (!first && st == CLQ_OK) st = timed_run(p, i);
    }
    return st;
}

/* Warms up, counts the steps and says how many runs fit into the time. */
static clq_status prepare(struct profile *p)
{
    clq_session_step s;
    double t = INFINITY;
    for (int i = 0; i < 3; i++) {
        double one;
        clq_status st = run(p, &one);
        if (st != CLQ_OK) return st;
        t = one < t ? one : t;
    }
    while (clq_session_get_step(&s, p->session, p->n_steps) == CLQ_OK) p->n_steps++;
    if (p->runs == 0) p->runs = cli_bench_fit(10, 2 * t);
    const size_t n = (size_t)p->n_steps + 1;
    p->step = cli_alloc(n * p->runs * sizeof *p->step);
    p->plain = cli_alloc(p->runs * sizeof *p->plain);
    p->timed = cli_alloc(p->runs * sizeof *p->timed);
    p->before = cli_alloc(n * sizeof *p->before);
    p->median = cli_alloc(n * sizeof *p->median);
    return CLQ_OK;
}

static void conclude(struct profile *p)
{
    for (int i = 0; i < p->n_steps; i++) p->sum += p->median[i] = median(p->step + (size_t)i * p->runs, p->runs);
    p->whole = median(p->plain, p->runs);
    p->looked_at = median(p->timed, p->runs);
}

/* "bias + residual + Gelu", for free(). */
static char *fused(const clq_session_step *s)
{
    const char *parts[3];
    int n = 0;
    if (s->bias) parts[n++] = "bias";
    if (s->residual) parts[n++] = "residual";
    if (s->activation) parts[n++] = s->activation;
    return cli_print("%s%s%s%s%s", n > 0 ? parts[0] : "", n > 1 ? " + " : "", n > 1 ? parts[1] : "", n > 2 ? " + " : "", n > 2 ? parts[2] : "");
}

static double elements(const clq_session_step *s)
{
    double n = 1;
    for (int d = 0; d < s->rank; d++) n *= (double)s->shape[d];
    return n;
}

static int group_steps(struct group *g, const struct profile *p)
{
    int n = 0;
    clq_session_step s;
    for (int i = 0; i < p->n_steps && clq_session_get_step(&s, p->session, i) == CLQ_OK; i++) {
        int k = 0;
        while (k < n && (strcmp(g[k].op, s.op) != 0 || strcmp(g[k].arithmetic, s.arithmetic) != 0)) k++;
        if (k == n) g[n++] = (struct group){.op = s.op, .arithmetic = s.arithmetic};
        g[k].steps++;
        g[k].seconds += p->median[i];
        g[k].macs += s.macs;
    }
    for (int i = 1; i < n; i++)
        for (int k = i; k > 0 && g[k].seconds > g[k - 1].seconds; k--) {
            struct group t = g[k];
            g[k] = g[k - 1];
            g[k - 1] = t;
        }
    return n;
}

/* 10^9 operations or bytes per second. */
static double rate(double amount, double seconds)
{
    return amount > 0 && seconds > 0 ? amount / seconds * 1e-9 : NAN;
}

static void cell_rate(struct cli_table *t, double macs, double bytes, double seconds)
{
    const double operations = rate(2 * macs, seconds), traffic = rate(bytes, seconds);
    if (!isnan(operations)) cli_cell(t, "%.0f GOPS", operations);
    else if (!isnan(traffic)) cli_cell(t, "%.1f GB/s", traffic);
    else cli_cell(t, "-");
}

static void print_text(const struct cli *cli, const struct profile *p)
{
    static const char *const titles[] = {"step", "operator", "with", "arithmetic", "kernel", "result", "K", "median", "share", "rate"};
    static const char *const sums[] = {"operator", "arithmetic", "steps", "sum", "share", "rate"};
    struct group *g = cli_alloc(((size_t)p->n_steps + 1) * sizeof *g);
    struct cli_table t;
    clq_session_step s;
    cli_table_start(&t, 10, "llllllrrrr", titles);
    for (int i = 0; i < p->n_steps && clq_session_get_step(&s, p->session, i) == CLQ_OK; i++) {
        cli_cell(&t, "%s", s.name);
        cli_cell(&t, "%s", s.op);
        cli_cell_take(&t, fused(&s));
        cli_cell(&t, "%s", s.arithmetic);
        cli_cell(&t, "%s", s.kernel);
        cli_cell_take(&t, cli_shape(s.rank, s.shape));
        if (s.macs > 0) cli_cell(&t, "%.0f", s.macs / elements(&s));
        else cli_cell(&t, "-");
        cli_cell_take(&t, cli_time(p->median[i]));
        cli_cell(&t, "%.1f %%", 100 * p->median[i] / p->sum);
        cell_rate(&t, s.macs, s.bytes, p->median[i]);
    }
    cli_table_print(&t, 0);
    puts("");
    const int n = group_steps(g, p);
    cli_table_start(&t, 6, "llrrrr", sums);
    for (int k = 0; k < n; k++) {
        cli_cell(&t, "%s", g[k].op);
        cli_cell(&t, "%s", g[k].arithmetic);
        cli_cell(&t, "%d", g[k].steps);
        cli_cell_take(&t, cli_time(g[k].seconds));
        cli_cell(&t, "%.1f %%", 100 * g[k].seconds / p->sum);
        cell_rate(&t, g[k].macs, 0, g[k].seconds);
    }
    cli_table_print(&t, 0);
    char *sum = cli_time(p->sum), *looked = cli_time(p->looked_at), *whole = cli_time(p->whole);
    printf("\nsteps together %s; a whole run with their times taken %s, without %s (medians of %zu runs each)\n", sum, looked, whole, p->runs);
    printf("%d thread%s, %s, %s\n", clq_context_threads(cli->ctx), clq_context_threads(cli->ctx) == 1 ? "" : "s", clq_context_isa(cli->ctx),
           clq_context_device(cli->ctx));
    free(sum);
    free(looked);
    free(whole);
    free(g);
}

static void json_step(struct cli_json *j, const clq_session_step *s, double seconds, double all)
{
    cli_json_object(j, NULL);
    cli_json_text(j, "name", s->name);
    cli_json_text(j, "operator", s->op);
    cli_json_bool(j, "bias", s->bias);
    cli_json_bool(j, "residual", s->residual);
    cli_json_text(j, "activation", s->activation);
    cli_json_text(j, "arithmetic", s->arithmetic);
    cli_json_text(j, "kernel", s->kernel);
    cli_json_dims(j, "shape", s->rank, s->shape);
    cli_json_real(j, "median_us", seconds * 1e6);
    cli_json_real(j, "share", seconds / all);
    cli_json_real(j, "macs", s->macs);
    cli_json_real(j, "bytes", s->bytes);
    cli_json_real(j, "gops", rate(2 * s->macs, seconds));
    cli_json_real(j, "gb_per_s", rate(s->bytes, seconds));
    cli_json_end(j, '}');
}

static void print_json(const struct cli *cli, const struct profile *p)
{
    struct cli_json j;
    clq_session_step s;
    cli_json_start(&j);
    cli_json_array(&j, "steps");
    for (int i = 0; i < p->n_steps && clq_session_get_step(&s, p->session, i) == CLQ_OK; i++) json_step(&j, &s, p->median[i], p->sum);
    cli_json_end(&j, ']');
    cli_json_real(&j, "steps_ms", p->sum * 1e3);
    cli_json_real(&j, "profiled_median_ms", p->looked_at * 1e3);
    cli_json_real(&j, "median_ms", p->whole * 1e3);
    cli_json_whole(&j, "runs", (long long)p->runs);
    cli_json_whole(&j, "threads", clq_context_threads(cli->ctx));
    cli_json_text(&j, "isa", clq_context_isa(cli->ctx));
    cli_json_text(&j, "device", clq_context_device(cli->ctx));
    cli_json_print(&j);
}

int cli_bench_steps(struct cli *cli, const clq_model *model, const clq_tensor *inputs, size_t runs)
{
    struct profile p = {.in = inputs, .n_in = clq_model_input_count(model), .n_out = clq_model_output_count(model), .runs = runs};
    p.out = cli_alloc(((size_t)p.n_out + 1) * sizeof *p.out);
    clq_status st = clq_session_create(&p.session, cli->ctx, model);
    if (st == CLQ_OK) st = prepare(&p);
    if (st == CLQ_OK) st = measure(&p);
    int code = CLI_DONE;
    if (st != CLQ_OK || cli_stopped()) code = cli_fail(cli, st);
    else {
        conclude(&p);
        if (cli->json) print_json(cli, &p);
        else print_text(cli, &p);
    }
    clq_session_free(p.session);
    free(p.out);
    free(p.step);
    free(p.plain);
    free(p.timed);
    free(p.before);
    free(p.median);
    return code;
}
