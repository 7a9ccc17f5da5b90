/* SPDX-License-Identifier: Apache-2.0
 * The layer table of a report. Bars are linear: errors share the scale of the worst layer, times that of the slowest. */
#include <math.h>
#include <string.h>

#include "report.h"

/* What all rows share. */
struct table {
    double most_error, most_us;
    bool device; /* a device was measured: one more column */
};

static struct table measure(const struct clq_search *s)
{
    struct table t = {0};
    for (int i = 0; i < s->units.n_units; i++) {
        const struct clq_unit_record *r = &s->records[i];
        t.most_error = fmax(t.most_error, r->noise);
        t.most_us = fmax(t.most_us, fmax(r->f32_us, fmax(r->int8_us, r->device_us)));
        t.device = t.device || r->device_us >= 0;
    }
    return t;
}

/* class: n numbers, v other values that are sorted by data-v; page.js knows both. */
static void head(struct clq_page *p, const char *class, const char *sort, const char *text)
{
    clq_page_format(p, "<th scope=\"col\" class=\"%s\" aria-sort=\"%s\"><button type=\"button\">%s</button></th>", class, sort, text);
}

static void heads(struct clq_page *p, const struct table *t)
{
    clq_page_raw(p, "<thead><tr>");
    head(p, "n", "ascending", "#");
    head(p, "name", "none", "Layer");
    head(p, "", "none", "Operator");
    head(p, "", "none", "Precision");
    head(p, "", "none", "Device");
    head(p, "n", "none", "Error alone");
    clq_page_raw(p, "<th scope=\"col\">Error</th>");
    head(p, "n", "none", "float32");
    head(p, "n", "none", "int8");
    if (t->device) head(p, "n", "none", "int8, OpenCL");
    clq_page_raw(p, "<th scope=\"col\">Time</th>");
    head(p, "reason", "none", "Reason");
    clq_page_raw(p, "</tr></thead>\n");
}

static void bar(struct clq_page *p, const char *class, double part)
{
    clq_page_format(p, "<span class=\"bar%s\" style=\"width:%.1f%%\"></span>", class, 100 * part);
}

static void cell_time(struct clq_page *p, double us)
{
    if (us >= 0) clq_page_format(p, "<td class=\"n\" data-v=\"%.6g\">", us);
    else clq_page_raw(p, "<td class=\"n\">");
    clq_page_time(p, us);
    clq_page_raw(p, "</td>");
}

static void cells_error(struct clq_page *p, const struct table *t, double noise)
{
    if (noise >= 0) clq_page_format(p, "<td class=\"n\" data-v=\"%.6g\">", noise);
    else clq_page_raw(p, "<td class=\"n\">");
    clq_page_decibel(p, noise < 0 ? (double)NAN : noise > 0 ? -10 * log10(noise) : (double)INFINITY);
    clq_page_raw(p, "</td><td class=\"bars\">");
    if (noise > 0) bar(p, " e", noise / t->most_error);
    clq_page_raw(p, "</td>");
}

static void cells_time(struct clq_page *p, const struct table *t, const struct clq_unit_record *r)
{
    const double us[] = {r->f32_us, r->capable ? r->int8_us : -1, r->device_us};
    const bool used[] = {!r->mode, r->on_codes && !r->on_device, r->on_device};
    for (int k = 0; k < (t->device ? 3 : 2); k++) cell_time(p, us[k]);
    clq_page_raw(p, "<td class=\"bars\">");
    for (int k = 0; k < 3; k++)
        if (us[k] > 0) bar(p, k == 0 ? used[k] ? "" : " unused" : used[k] ? " i" : " i unused", us[k] / t->most_us);
    clq_page_raw(p, "</td>");
}

static clq_status row(struct clq_page *p, struct clq_arena *scratch, const struct table *t, const struct clq_result *r, int i, struct clq_error *err)
{
    const clq_layer_result *l = &r->layers[i];
    const char *name = clq_page_name(scratch, l->name), *reason = clq_page_clean(scratch, l->reason);
    if (!name || !reason) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    clq_page_format(p, "<tr%s><td class=\"n\" data-v=\"%d\">%d</td>", strcmp(l->precision, "f32") == 0 ? "" : " class=\"int8\"", i, i + 1);
    clq_page_format(p, "<td class=\"name\"><button type=\"button\" data-t=\"%d\">", r->search.units.units[i].out);
    clq_page_text(p, *name ? name : "(no name)");
    clq_page_raw(p, "</button></td><td>");
    clq_page_text(p, l->op_type);
    clq_page_format(p, "</td><td class=\"precision\">%s</td><td>%s</td>", l->precision, l->device);
    cells_error(p, t, l->error);
    cells_time(p, t, &r->search.records[i]);
    clq_page_raw(p, "<td class=\"reason\">");
    clq_page_text(p, reason);
    clq_page_raw(p, "</td></tr>\n");
    return CLQ_OK;
}

clq_status clq_report_layers(struct clq_page *p, struct clq_arena *scratch, const struct clq_result *r, struct clq_error *err)
{
    struct table t = measure(&r->search);
    clq_page_raw(p, "<h2>Layers</h2>\n<div class=\"controls\"><label>Show layers with <input type=\"search\" id=\"filter\"></label>"
                    "<span id=\"shown\" role=\"status\"></span>"
                    "<span><span class=\"key e\"></span>error</span><span><span class=\"key\"></span>float32 time</span>"
                    "<span><span class=\"key i\"></span>int8 time</span><span>pale: measured, not chosen</span></div>\n"
                    "<p class=\"hint\">Error alone: the output SQNR with this layer alone in int8. Its bar is the "
                    "error energy, the worst layer being full. Times are medians in place. A layer's name shows its output's "
                    "histogram.</p>\n<div class=\"scroll\"><table id=\"layers\" class=\"sortable\">\n");
    heads(p, &t);
    clq_page_raw(p, "<tbody>\n");
    for (int i = 0; i < r->summary.layers; i++) CLQ_TRY(row(p, scratch, &t, r, i, err));
    clq_page_raw(p, "</tbody></table></div>\n");
    if (r->summary.layers == 0) clq_page_raw(p, "<p>The model has no layer that can be quantized.</p>\n");
    return CLQ_OK;
}
