/* SPDX-License-Identifier: Apache-2.0
 * The frontier of a report: a sortable table of all points, from which page.js draws speed-up over SQNR. */
#include <math.h>

#include "report.h"

static void number(struct clq_page *p, double value)
{
    if (isfinite(value)) clq_page_format(p, "<td class=\"n\" data-v=\"%.6g\">", value);
    else clq_page_raw(p, isinf(value) ? "<td class=\"n\" data-v=\"999\">" : "<td class=\"n\">");
}

static void decibel(struct clq_page *p, double db)
{
    number(p, db);
    clq_page_decibel(p, db);
    clq_page_raw(p, "</td>");
}

static void time(struct clq_page *p, double ms)
{
    number(p, ms > 0 ? ms : (double)NAN);
    clq_page_time(p, ms > 0 ? ms * 1e3 : -1);
    clq_page_raw(p, "</td>");
}

static void row(struct clq_page *p, const clq_plan_point *x, const char *same)
{
    clq_page_format(p, "<tr tabindex=\"0\" id=\"point-%s\" class=\"%s\" data-policy=\"%s\"><td class=\"name\">%s%s</td>", x->id, x->on_frontier ? "best" : "", x->policy,
                    x->id, x->budget_met || isnan(x->budget_db) ? "" : " (missed)");
    decibel(p, x->sqnr_db);
    decibel(p, x->predicted_sqnr_db);
    time(p, x->median_ms);
    time(p, x->predicted_ms);
    number(p, x->speedup);
    clq_page_format(p, "%.2f &times; (%.2f to %.2f)</td>", x->speedup, x->speedup_lo, x->speedup_hi);
    number(p, (double)x->bytes);
    clq_page_bytes(p, (double)x->bytes);
    clq_page_raw(p, "</td>");
    number(p, x->int8_layers);
    clq_page_format(p, "%d</td><td>%s</td><td class=\"reason\">%s</td></tr>\n", x->int8_layers, same, x->summary);
}

void clq_report_points(struct clq_page *p, const struct clq_result *r)
{
    static const char *const heads[] = {"SQNR", "predicted", "Time", "predicted", "Speed-up", "Size", "Layers in fewer bits"};
    if (r->n_points == 0) return;
    clq_page_raw(p, "<h2>Frontier</h2>\n<figure><div id=\"frontier\"></div></figure>\n<p class=\"hint\">Filled: no other point is as good in SQNR, speed-up and size, "
                    "and better in one. Speed-ups are over float32 with 95 % intervals, measured in one process. Pointing at a dot, or reaching it with the "
                    "Tab key, shows what it is and marks its row.</p>\n<div class=\"scroll\"><table id=\"points\" class=\"sortable\"><thead><tr>"
                    "<th scope=\"col\" class=\"name\" aria-sort=\"none\"><button type=\"button\">Point</button></th>");
    for (size_t k = 0; k < sizeof heads / sizeof *heads; k++)
        clq_page_format(p, "<th scope=\"col\" class=\"n\" aria-sort=\"none\"><button type=\"button\">%s</button></th>", heads[k]);
    clq_page_raw(p, "<th scope=\"col\" aria-sort=\"none\"><button type=\"button\">Same plan as</button></th><th scope=\"col\" class=\"reason\">Policy</th></tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < r->n_points; i++) {
        const clq_plan_point *x = &r->points[i].public;
        row(p, x, x->same_as == (int)i ? "" : r->points[x->same_as].public.id);
    }
    clq_page_raw(p, "</tbody></table></div>\n");
}
