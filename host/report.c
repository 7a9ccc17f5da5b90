/* SPDX-License-Identifier: Apache-2.0
 * Reports: one HTML page that needs nothing else. Its policy lets no script but our own run and nothing be fetched. */
#include "report.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/version.h>

#include "report_assets.h"

/* ---- Head ---- */
static void warning(struct clq_page *p, const char *text)
{
    clq_page_raw(p, "<p class=\"warning\">");
    clq_page_text(p, text);
    clq_page_raw(p, "</p>\n");
}

static void warnings(struct clq_page *p, const struct clq_result *r)
{
    const clq_summary *m = &r->summary;
    const char *budget = r->plan.options.budget;
    if (m->slower_than_float) warning(p, "Warning: this model is slower than float32.");
    if (!m->budget_met) warning(p, "Warning: the requested bound is not met.");
    if (strcmp(budget, "min-sqnr") == 0 && m->budget_met && m->sqnr_db_lower < r->plan.options.budget_value)
        warning(p, "Warning: unseen samples may miss the bound; see what they reach at 95 % below. More data narrows it.");
    if (m->synthetic) warning(p, "Warning: calibrated on synthetic data, good for timing alone.");
    if (*clq_context_fallback(r->ctx)) warning(p, clq_context_fallback(r->ctx));
    if (clq_report_replayed(r))
        warning(p, "This is the replay of a plan: layers, errors and times of layers are the plan's. Nothing was calibrated in this run, "
                   "so there are no histograms, and of each tensor's ranges only the chosen one is known.");
}

static void top(struct clq_page *p, const struct clq_result *r, const char *model)
{
    char digest[45];
    clq_page_sha256(digest, clq_report_js, strlen(clq_report_js));
    clq_page_raw(p, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" "
                    "content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-");
    clq_page_raw(p, digest);
    clq_page_raw(p, "'\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>");
    clq_page_text(p, model);
    clq_page_raw(p, " - clquant report</title>\n<style>\n");
    clq_page_raw(p, clq_report_css);
    clq_page_raw(p, "</style>\n</head>\n<body>\n<h1>");
    clq_page_text(p, model);
    clq_page_raw(p, "</h1>\n<p class=\"decision\">");
    clq_page_text(p, r->summary.reason);
    clq_page_raw(p, "</p>\n");
    warnings(p, r);
}

/* ---- Before and after ---- */
static void line(struct clq_page *p, const char *name)
{
    clq_page_format(p, "<tr><th scope=\"row\">%s</th><td class=\"n\">", name);
}

static void next_number(struct clq_page *p)
{
    clq_page_raw(p, "</td><td class=\"n\">");
}

static void next_note(struct clq_page *p)
{
    clq_page_raw(p, "</td><td>");
}

static void end_line(struct clq_page *p)
{
    clq_page_raw(p, "</td></tr>\n");
}

static void speed(struct clq_page *p, const clq_summary *m)
{
    double ratio = m->model_bytes ? (double)m->reference_bytes / (double)m->model_bytes : 1;
    line(p, "Size");
    clq_page_bytes(p, (double)m->reference_bytes);
    next_number(p);
    clq_page_bytes(p, (double)m->model_bytes);
    next_note(p);
    if (m->model_bytes == m->reference_bytes) clq_page_raw(p, "the same");
    else clq_page_format(p, "%.2f &times; %s", ratio < 1 ? 1 / ratio : ratio, ratio < 1 ? "larger" : "smaller");
    end_line(p);
    line(p, "Time per run");
    clq_page_time(p, m->reference_median_ms > 0 ? m->reference_median_ms * 1e3 : -1);
    next_number(p);
    double ms = m->kept_float ? m->reference_median_ms : m->median_ms;
    clq_page_time(p, ms > 0 ? ms * 1e3 : -1);
    next_note(p);
    if (m->speed_predicted && !m->kept_float) clq_page_format(p, "%.2f &times;, predicted for another machine", m->speedup);
    else if (m->speedup > 0 && !m->kept_float)
        clq_page_format(p, "%.2f &times; (95 %%: %.2f to %.2f; %zu pairs, %zu processes)", m->speedup, m->speedup_lo, m->speedup_hi, m->pairs, m->processes);
    end_line(p);
}

static void quality(struct clq_page *p, const clq_summary *m)
{
    line(p, "Output SQNR");
    clq_page_decibel(p, INFINITY);
    next_number(p);
    clq_page_decibel(p, m->sqnr_db);
    next_note(p);
    clq_page_format(p, "on %zu validation samples", m->validation_samples);
    if (!isnan(m->sqnr_db_lower)) clq_page_format(p, "; at least %.2f dB on unseen ones, at 95 %%", m->sqnr_db_lower);
    end_line(p);
    if (m->agreement >= 0) {
        line(p, "Agreement");
        clq_page_format(p, "100.00 %%</td><td class=\"n\">%.2f %%</td><td>same highest output", 100 * m->agreement);
        end_line(p);
    }
    if (m->top1 >= 0) {
        line(p, "Top-1");
        clq_page_format(p, "%.2f %%</td><td class=\"n\">%.2f %%</td><td>%+.2f points", m->top1_reference, m->top1, m->top1 - m->top1_reference);
        end_line(p);
    }
    if (m->uniform_speedup > 0) {
        line(p, "All layers in int8");
        next_number(p);
        clq_page_decibel(p, m->uniform_sqnr_db);
        clq_page_format(p, "</td><td>%.2f &times; float, for comparison", m->uniform_speedup);
        end_line(p);
    }
}

/* ---- How it came about ---- */
static void fact(struct clq_page *p, const char *name)
{
    clq_page_format(p, "<tr><th scope=\"row\">%s</th><td>", name);
}

static clq_status source(struct clq_page *p, struct clq_arena *scratch, const struct clq_result *r, struct clq_error *err)
{
    const struct clq_plan_data *plan = &r->plan;
    const char *calibrator = clq_page_name(scratch, r->summary.calibrator); /* a replayed plan may say anything */
    if (!calibrator) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    fact(p, "Model");
    clq_page_format(p, "%lld bytes, SHA-256 %.16s...", (long long)plan->model.bytes, plan->model.sha256);
    end_line(p);
    fact(p, "Calibration");
    clq_page_text(p, calibrator);
    clq_page_format(p, ", %zu samples", r->summary.calibration_samples);
    end_line(p);
    fact(p, "Data");
    for (size_t i = 0; i < plan->data.n_names; i++) {
        const char *name = clq_page_name(scratch, plan->data.names[i]);
        if (!name) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
        if (i == 4) clq_page_format(p, " and %zu more", plan->data.n_names - i);
        if (i >= 4) break;
        if (i) clq_page_raw(p, ", ");
        clq_page_text(p, name);
    }
    end_line(p);
    return CLQ_OK;
}

static void decision(struct clq_page *p, const struct clq_result *r)
{
    const clq_summary *m = &r->summary;
    const struct clq_plan_options *o = &r->plan.options;
    fact(p, "Layers");
    clq_page_format(p, "%d int8, %d float32", m->int8_layers, m->layers - m->int8_layers);
    end_line(p);
    fact(p, "Budget");
    if (strcmp(o->budget, "min-sqnr") == 0) clq_page_format(p, "output SQNR of at least %g dB", o->budget_value);
    else if (!isnan(o->budget_value)) {
        clq_page_text(p, o->budget);
        clq_page_format(p, " %g", o->budget_value);
    }
    else if (strcmp(o->budget, "max-drop") == 0) clq_page_format(p, "at most %g points of top-1 lost", o->budget_value);
    else if (!isnan(o->budget_value)) clq_page_format(p, "%s %g", o->budget, o->budget_value); /* a word of ours, or of a checked plan */
    else clq_page_raw(p, "none: one precision for all layers");
    clq_page_format(p, "; target %s, seed %lld", o->target, (long long)o->seed);
    end_line(p);
}

static void machine(struct clq_page *p, const struct clq_result *r)
{
    const struct clq_plan_device *d = &r->plan.device;
    fact(p, "Device");
    clq_page_text(p, d->name);
    clq_page_format(p, "; %s, %d thread%s", d->isa, d->threads, d->threads == 1 ? "" : "s");
    end_line(p);
    fact(p, "Versions");
    clq_page_format(p, "clquant %s, oneDNN %s", CLQ_VERSION, d->onednn);
    if (d->runtime) clq_page_format(p, "; times and outputs are those of %s", d->runtime);
    end_line(p);
    fact(p, "Effort");
    clq_page_format(p, "%.1f s, peak memory ", r->summary.seconds);
    clq_page_bytes(p, (double)r->summary.peak_rss_bytes);
    end_line(p);
}

static clq_status summary(struct clq_page *p, struct clq_arena *scratch, const struct clq_result *r, struct clq_error *err)
{
    clq_page_raw(p, "<h2>Summary</h2>\n<div class=\"side\">\n<div class=\"scroll\"><table><thead><tr><td></td><th scope=\"col\" class=\"n\">float32</th>"
                    "<th scope=\"col\" class=\"n\">written</th><td></td></tr></thead><tbody>\n");
    speed(p, &r->summary);
    quality(p, &r->summary);
    clq_page_raw(p, "</tbody></table></div>\n<div class=\"scroll\"><table><tbody>\n");
    CLQ_TRY(source(p, scratch, r, err));
    decision(p, r);
    machine(p, r);
    clq_page_raw(p, "</tbody></table></div>\n</div>\n");
    return CLQ_OK;
}

/* ---- The page ---- */
static clq_status histograms(struct clq_page *p, struct clq_arena *scratch, const struct clq_result *r, struct clq_error *err)
{
    clq_page_raw(p, "<section id=\"tensors\">\n<h2>Tensors</h2>\n<noscript><p>Histograms, sorting and filtering need JavaScript.</p></noscript>\n"
                    "<div class=\"controls\"><label>Tensor <select id=\"tensor\"></select></label>"
                    "<label><input type=\"checkbox\" id=\"log\" checked> logarithmic counts</label></div>\n"
                    "<figure><div id=\"plot\"></div><figcaption id=\"note\"></figcaption></figure>\n"
                    "<p class=\"hint\">What each calibrator would choose; dashed lines above. Clipped: part of the "
                    "values outside. Error: mean squared, by the histogram.</p>\n<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Calibrator</th><th scope=\"col\" class=\"n\">from</th>"
                    "<th scope=\"col\" class=\"n\">to</th><th scope=\"col\" class=\"n\">clipped</th><th scope=\"col\" class=\"n\">error</th></tr></thead>"
                    "<tbody id=\"ranges\"></tbody></table></div>\n</section>\n<script type=\"application/json\" id=\"data\">");
    CLQ_TRY(clq_report_data(p, scratch, r, err));
    clq_page_raw(p, "</script>\n<script>");
    clq_page_raw(p, clq_report_js);
    clq_page_raw(p, "</script>\n</body>\n</html>\n");
    return CLQ_OK;
}

static clq_status build(struct clq_page *p, struct clq_arena *scratch, const struct clq_result *r, struct clq_error *err)
{
    const char *model = clq_page_name(scratch, r->plan.model.path);
    if (!model) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    top(p, r, model);
    CLQ_TRY(summary(p, scratch, r, err));
    clq_report_points(p, r);
    CLQ_TRY(clq_report_layers(p, scratch, r, err));
    CLQ_TRY(histograms(p, scratch, r, err));
    return p->failed ? clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory") : CLQ_OK;
}

clq_status clq_result_write_report(clq_result *r, const char *html_path, bool force)
{
    if (!r || !html_path) return CLQ_ERR_INVALID_ARGUMENT;
    struct clq_error *err = &r->ctx->error;
    struct clq_page page = {0};
    struct clq_arena scratch = {0};
    locale_t plain = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0); /* style and data-v want a dot */
    if (!plain) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    locale_t old = uselocale(plain);
    clq_status st = build(&page, &scratch, r, err);
    uselocale(old);
    freelocale(plain);
    struct clq_writer_options o;
    if (st == CLQ_OK) st = clq_result_output(&o, r, force, err);
    if (st == CLQ_OK) st = clq_file_write(html_path, page.text, page.used, &o, err);
    clq_arena_free(&scratch);
    free(page.text);
    return st;
}
