/* SPDX-License-Identifier: Apache-2.0
 * What quantize tells in the end: layers by precision, before and after, the most sensitive layers, the decision. */
#include "quantize_out.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "out.h"

/* ---- Layers by operator and precision ---- */
struct group {
    const char *op, *precision, *device;
    int count;
    double time_us;
};

static int by_group(const void *a, const void *b)
{
    const struct group *x = a, *y = b;
    int c = strcmp(x->op, y->op);
    if (c == 0) c = strcmp(x->precision, y->precision);
    return c ? c : strcmp(x->device, y->device);
}

static void print_groups(const clq_result *r)
{
    static const char *const titles[] = {"operator", "precision", "device", "layers", "time"};
    size_t n = clq_result_layer_count(r), groups = 0;
    if (n == 0) {
        printf("  the model has no layer that can be quantized\n");
        return;
    }
    struct group *g = cli_alloc((n + 1) * sizeof *g);
    for (size_t i = 0; i < n; i++) {
        const clq_layer_result *l = clq_result_layer(r, i);
        struct group one = {l->op_type, l->precision, l->device, 1, l->time_us > 0 ? l->time_us : 0};
        size_t k = 0;
        while (k < groups && by_group(&g[k], &one) != 0) k++;
        if (k == groups) g[groups++] = one;
        else {
            g[k].count++;
            g[k].time_us += one.time_us;
        }
    }
    qsort(g, groups, sizeof *g, by_group);
    struct cli_table t;
    cli_table_start(&t, 5, "lllrr", titles);
    for (size_t k = 0; k < groups; k++) {
        cli_cell(&t, "%s", g[k].op);
        cli_cell(&t, "%s", g[k].precision);
        cli_cell(&t, "%s", g[k].device);
        cli_cell(&t, "%d", g[k].count);
        cli_cell_take(&t, cli_time(g[k].time_us > 0 ? g[k].time_us * 1e-6 : -1));
    }
    cli_table_print(&t, 2);
    free(g);
}

/* ---- Before and after ---- */
static void cell_percent(struct cli_table *t, double points)
{
    if (points < 0) cli_cell(t, "-");
    else cli_cell(t, "%.2f %%", points);
}

static void cell_ms(struct cli_table *t, double ms)
{
    cli_cell_take(t, cli_time(ms > 0 ? ms * 1e-3 : -1));
}

static void print_comparison(const clq_summary *m)
{
    static const char *const titles[] = {"", "before", "after", ""};
    struct cli_table t;
    cli_table_start(&t, 4, "lrrl", titles);
    cli_cell(&t, "size");
    cli_cell_take(&t, cli_bytes((double)m->reference_bytes));
    cli_cell_take(&t, cli_bytes((double)m->model_bytes));
    double ratio = m->model_bytes > 0 ? (double)m->reference_bytes / (double)m->model_bytes : 1;
    if (m->model_bytes == m->reference_bytes) cli_cell(&t, "the same");
    else cli_cell(&t, "%.2f x %s", ratio < 1 ? 1 / ratio : ratio, ratio < 1 ? "larger" : "smaller");
    cli_cell(&t, "time");
    cell_ms(&t, m->reference_median_ms);
    cell_ms(&t, m->kept_float ? m->reference_median_ms : m->median_ms);
    if (m->speed_predicted && !m->kept_float) cli_cell(&t, "%.2f x, predicted for another machine", m->speedup);
    else if (m->speedup > 0 && !m->kept_float)
        cli_cell(&t, "%.2f x (95 %%: %.2f to %.2f; %zu pairs, %zu processes)", m->speedup, m->speedup_lo, m->speedup_hi, m->pairs, m->processes);
    else cli_cell(&t, "%s", "");
    cli_cell(&t, "output SQNR");
    cli_cell(&t, "exact");
    cli_cell_take(&t, cli_decibel(m->sqnr_db));
    if (isnan(m->sqnr_db_lower)) cli_cell(&t, "on %zu validation samples", m->validation_samples);
    else cli_cell(&t, "on %zu validation samples; unseen: at least %.2f dB (95 %%)", m->validation_samples, m->sqnr_db_lower);
    if (m->agreement >= 0) {
        cli_cell(&t, "agreement");
        cli_cell(&t, "100.00 %%");
        cell_percent(&t, 100 * m->agreement);
        if (m->kept_float) cli_cell(&t, "%s", "");
        else cli_cell(&t, "95 %%: %.2f to %.2f %%", 100 * m->agreement_lower, 100 * m->agreement_upper);
    }
    if (m->top1 >= 0) {
        cli_cell(&t, "top-1");
        cell_percent(&t, m->top1_reference);
        cell_percent(&t, m->top1);
        if (m->kept_float) cli_cell(&t, "%+.2f points", m->top1 - m->top1_reference);
        else cli_cell(&t, "%+.2f points; unseen: at most %.2f lost (95 %%)", m->top1 - m->top1_reference, m->top1_loss_upper);
    }
    if (!isnan(m->score)) {
        cli_cell(&t, "score");
        cli_cell(&t, "%g", m->score_reference);
        cli_cell(&t, "%g", m->score);
        cli_cell(&t, "%+g", m->score - m->score_reference);
    }
    cli_table_print(&t, 2);
    if (m->predicted_speedup > 0 && !m->speed_predicted && !m->kept_float) {
        printf("  the search expected %.2f x", m->predicted_speedup);
        if (m->layers_speedup > 0) printf(", %.2f x by the layers alone", m->layers_speedup);
        printf("\n");
    }
    if (m->uniform_speedup > 0) {
        char *db = cli_decibel(m->uniform_sqnr_db);
        printf("  for comparison, all layers in int8: %.2f x, %s\n", m->uniform_speedup, db);
        free(db);
    }
}

/* ---- The most sensitive layers ---- */
static int by_error(const void *a, const void *b)
{
    const clq_layer_result *x = *(const clq_layer_result *const *)a, *y = *(const clq_layer_result *const *)b;
    return x->error < y->error ? 1 : x->error > y->error ? -1 : strcmp(x->name, y->name);
}

static void print_sensitive(const clq_result *r)
{
    static const char *const titles[] = {"most sensitive layers", "operator", "alone in int8", "float32", "int8", "choice", "reason"};
    size_t n = clq_result_layer_count(r), known = 0;
    const clq_layer_result **list = cli_alloc((n + 1) * sizeof *list);
    for (size_t i = 0; i < n; i++)
        if (clq_result_layer(r, i)->error > 0) list[known++] = clq_result_layer(r, i);
    qsort(list, known, sizeof *list, by_error);
    struct cli_table t;
    if (known == 0) {
        free(list);
        return;
    }
    cli_table_start(&t, 7, "llrrrll", titles);
    for (size_t i = 0; i < known && i < 5; i++) {
        const clq_layer_result *l = list[i];
        cli_cell(&t, "%s", l->name);
        cli_cell(&t, "%s", l->op_type);
        cli_cell_take(&t, cli_decibel(-10 * log10(l->error)));
        cli_cell_take(&t, cli_time(l->f32_us * 1e-6));
        cli_cell_take(&t, cli_time(l->int8_us * 1e-6));
        cli_cell(&t, "%s", l->precision);
        cli_cell_take(&t, cli_printable(l->reason, 0));
    }
    printf("\n");
    cli_table_print(&t, 2);
    free(list);
}

void cli_quantize_text(const struct cli_quantized *q)
{
    const clq_summary *m = clq_result_summary(q->result);
    char *model = cli_printable(q->model, 0), *output = cli_printable(q->output, 0), *plan = cli_printable(q->plan, 0);
    char *reason = cli_printable(m->reason, 0), *rss = cli_bytes((double)m->peak_rss_bytes);
    char *report = q->report ? cli_printable(q->report, 0) : NULL;
    printf("%s -> %s\nplan: %s\n", model, output, plan);
    if (report) printf("report: %s\n", report);
    printf("\n");
    print_groups(q->result);
    printf("\n");
    print_comparison(m);
    print_sensitive(q->result);
    printf("\ndecision: %s\n", reason);
    if (m->slower_than_float) printf("warning: this model is slower than float32\n");
    if (!m->budget_met) printf("warning: the requested bound is not met: %s\n", m->binding);
    if (m->synthetic) printf("warning: calibrated on synthetic data, good for timing alone\n");
    if (m->pairs_unsure || m->rounds_unsure)
        printf("disturbed by steal time or another clock, and again when repeated: %zu of %zu pairs, %zu of %zu rounds\n", m->pairs_unsure, m->pairs, m->rounds_unsure,
               m->rounds);
    if (m->resumed) printf("%zu measurements are those of a run that was stopped\n", m->resumed);
    printf("calibrator %s, %zu calibration samples, %.1f s, peak memory %s\n", m->calibrator, m->calibration_samples, m->seconds, rss);
    free(model);
    free(output);
    free(plan);
    free(reason);
    free(report);
    free(rss);
}

/* ---- JSON ---- */
static double or_nan(double v)
{
    return v < 0 ? (double)NAN : v;
}

static void json_layers(struct cli_json *j, const clq_result *r)
{
    cli_json_array(j, "layers");
    for (size_t i = 0; i < clq_result_layer_count(r); i++) {
        const clq_layer_result *l = clq_result_layer(r, i);
        cli_json_object(j, NULL);
        cli_json_text(j, "name", l->name);
        cli_json_text(j, "op", l->op_type);
        cli_json_text(j, "precision", l->precision);
        cli_json_text(j, "device", l->device);
        cli_json_real(j, "error", or_nan(l->error));
        cli_json_real(j, "time_us", or_nan(l->time_us));
        cli_json_real(j, "f32_us", or_nan(l->f32_us));
        cli_json_real(j, "int8_us", or_nan(l->int8_us));
        cli_json_text(j, "reason", l->reason);
        cli_json_end(j, '}');
    }
    cli_json_end(j, ']');
}

static void json_summary(struct cli_json *j, const clq_summary *m)
{
    bool exact = isinf(m->sqnr_db);
    cli_json_real(j, "model_bytes", (double)m->model_bytes);
    cli_json_real(j, "reference_bytes", (double)m->reference_bytes);
    cli_json_real(j, "sqnr_db", m->sqnr_db);
    cli_json_real(j, "sqnr_db_lower", m->sqnr_db_lower);
    cli_json_bool(j, "identical", exact);
    cli_json_real(j, "cosine", m->cosine);
    cli_json_real(j, "cosine_lower", m->cosine_lower);
    cli_json_real(j, "agreement_lower", or_nan(m->agreement_lower));
    cli_json_real(j, "agreement_upper", or_nan(m->agreement_upper));
    cli_json_real(j, "top1_loss_upper", m->top1_loss_upper);
    cli_json_real(j, "agreement", or_nan(m->agreement));
    cli_json_real(j, "top1", or_nan(m->top1));
    cli_json_real(j, "top1_reference", or_nan(m->top1_reference));
    cli_json_real(j, "uniform_sqnr_db", m->uniform_speedup > 0 ? m->uniform_sqnr_db : (double)NAN);
    cli_json_real(j, "uniform_speedup", m->uniform_speedup > 0 ? m->uniform_speedup : (double)NAN);
    cli_json_real(j, "speedup", m->speedup > 0 ? m->speedup : (double)NAN);
    cli_json_real(j, "speedup_lo", m->speedup_lo > 0 ? m->speedup_lo : (double)NAN);
    cli_json_real(j, "speedup_hi", m->speedup_hi > 0 ? m->speedup_hi : (double)NAN);
    cli_json_real(j, "predicted_speedup", m->predicted_speedup > 0 ? m->predicted_speedup : (double)NAN);
    cli_json_real(j, "predicted_speedup_by_layers", m->layers_speedup > 0 ? m->layers_speedup : (double)NAN);
    cli_json_whole(j, "pairs", (long long)m->pairs);
    cli_json_whole(j, "processes", (long long)m->processes);
    cli_json_whole(j, "pairs_disturbed", (long long)m->pairs_disturbed);
    cli_json_whole(j, "pairs_unsure", (long long)m->pairs_unsure);
    cli_json_whole(j, "rounds", (long long)m->rounds);
    cli_json_whole(j, "rounds_disturbed", (long long)m->rounds_disturbed);
    cli_json_whole(j, "rounds_unsure", (long long)m->rounds_unsure);
    cli_json_real(j, "clock_drift", m->rounds ? m->clock_drift : (double)NAN);
    cli_json_real(j, "median_ms", m->median_ms > 0 ? m->median_ms : (double)NAN);
    cli_json_real(j, "reference_median_ms", m->reference_median_ms > 0 ? m->reference_median_ms : (double)NAN);
    cli_json_bool(j, "speed_predicted", m->speed_predicted);
    cli_json_bool(j, "kept_float", m->kept_float);
    cli_json_bool(j, "slower_than_float", m->slower_than_float);
    cli_json_bool(j, "budget_met", m->budget_met);
    cli_json_text(j, "binding", m->binding[0] ? m->binding : NULL);
    cli_json_real(j, "predicted_sqnr_db", m->predicted_sqnr_db);
    cli_json_real(j, "score", m->score);
    cli_json_real(j, "score_reference", m->score_reference);
    cli_json_bool(j, "synthetic", m->synthetic);
    cli_json_text(j, "reason", m->reason);
    cli_json_text(j, "calibrator", m->calibrator);
    cli_json_whole(j, "calibration_samples", (long long)m->calibration_samples);
    cli_json_whole(j, "validation_samples", (long long)m->validation_samples);
    cli_json_real(j, "seconds", m->seconds);
    cli_json_whole(j, "resumed", (long long)m->resumed);
    cli_json_real(j, "peak_rss_bytes", (double)m->peak_rss_bytes);
    cli_json_whole(j, "int8_layers", m->int8_layers);
}

void cli_quantize_json(const struct cli *cli, const struct cli_quantized *q)
{
    struct cli_json j;
    cli_json_start(&j);
    cli_json_text(&j, "model", q->model);
    cli_json_text(&j, "output", q->output);
    cli_json_text(&j, "plan", q->plan);
    cli_json_text(&j, "report", q->report);
    json_summary(&j, clq_result_summary(q->result));
    cli_json_text(&j, "device", clq_context_device(cli->ctx));
    cli_json_text(&j, "fallback", *clq_context_fallback(cli->ctx) ? clq_context_fallback(cli->ctx) : NULL);
    cli_json_text(&j, "isa", clq_context_isa(cli->ctx));
    cli_json_text(&j, "runtime", clq_context_runtime(cli->ctx));
    cli_json_whole(&j, "threads", clq_context_threads(cli->ctx));
    json_layers(&j, q->result);
    cli_json_print(&j);
}
