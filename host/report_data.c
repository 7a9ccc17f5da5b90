/* SPDX-License-Identifier: Apache-2.0
 * The data of a report: one object per tensor, in the order of the units' tensors, and its histogram in a few hundred bins. */
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "report.h"

enum { PAGE_BINS = 256 };

/* Bin i of both sides together, in ascending order of value: -CLQ_HIST_BINS is the lowest. */
static uint64_t bin(const struct clq_hist *h, int i)
{
    return i < 0 ? h->negative[-i - 1] : h->positive[i];
}

/* The bins from the first to the last that holds something, merged by a power of two until they are few. */
static clq_json *histogram(const struct clq_hist *h)
{
    int first = -CLQ_HIST_BINS, last = CLQ_HIST_BINS - 1, merge = 1;
    while (first < last && bin(h, first) == 0) first++;
    while (last > first && bin(h, last) == 0) last--;
    while ((last - first) / merge + 2 > PAGE_BINS) merge *= 2;
    first -= ((first % merge) + merge) % merge; /* groups are aligned: none holds values of both signs */
    double width = ldexp(1, h->exponent - CLQ_HIST_LOG2);
    clq_json *o = clq_json_object(), *counts = clq_json_array();
    bool ok = clq_json_set(o, "lo", clq_json_real(first * width)) && clq_json_set(o, "step", clq_json_real(merge * width));
    for (int i = first; ok && i <= last; i += merge) {
        uint64_t sum = 0;
        for (int k = i; k < i + merge && k < CLQ_HIST_BINS; k++) sum += bin(h, k);
        ok = clq_json_append(counts, clq_json_integer((int64_t)sum));
    }
    if (!clq_json_set(o, "counts", counts) || !ok) {
        clq_json_free(o);
        return NULL;
    }
    return o;
}

/* [lo, hi, part of the values outside]; the last is null where nothing was counted. */
static clq_json *range(const struct clq_range *g, bool counted)
{
    clq_json *a = clq_json_array();
    bool ok = clq_json_append(a, clq_json_real32(g->lo)) && clq_json_append(a, clq_json_real32(g->hi)) &&
              clq_json_append(a, counted ? clq_json_real(g->clipped) : clq_json_null());
    if (ok) return a;
    clq_json_free(a);
    return NULL;
}

/* Everything that a group shares. A plan tells the chosen range alone. */
static bool set_group(clq_json *o, const struct clq_search *s, int t, bool replayed)
{
    const struct clq_tensor_record *rec = &s->tensors[t];
    int shift = s->target == CLQ_TARGET_TENSORRT ? 128 : 0;
    bool counted = rec->hist->count > 0, ok = true;
    clq_json *ranges = clq_json_array(), *errors = clq_json_array();
    for (int m = 0; m < CLQ_CAL_COUNT; m++) {
        bool known = !replayed || m == (int)rec->method;
        ok = ok && clq_json_append(ranges, known ? range(&rec->range[m], counted) : clq_json_null()) &&
             clq_json_append(errors, counted || (replayed && rec->error[m] > 0) ? clq_json_real(rec->error[m]) : clq_json_null());
    }
    ok = clq_json_set(o, "ranges", ranges) && ok;
    ok = clq_json_set(o, "errors", errors) && ok;
    return ok && clq_json_set(o, "method", clq_json_integer(rec->method)) && clq_json_set(o, "scale", clq_json_real32(s->params[t].scale)) &&
           clq_json_set(o, "zero_point", clq_json_integer(s->params[t].zero_point - shift)) &&
           clq_json_set(o, "hist", counted ? histogram(rec->hist) : clq_json_null()) &&
           clq_json_set(o, "count", clq_json_integer((int64_t)rec->hist->count)) &&
           clq_json_set(o, "min", counted ? clq_json_real32(rec->hist->min) : clq_json_null()) &&
           clq_json_set(o, "max", counted ? clq_json_real32(rec->hist->max) : clq_json_null());
}

static bool set_tensors(clq_json *list, struct clq_arena *scratch, const struct clq_result *r)
{
    const struct clq_search *s = &r->search;
    bool *held = clq_arena_array(scratch, (size_t)s->units.n_tensors + 1, sizeof *held);
    if (!held) return false;
    for (int i = 0; i < s->units.n_units; i++) {
        const struct clq_unit *u = &s->units.units[i];
        if (!s->records[i].on_codes) continue;
        held[u->out] = true;
        for (int k = 0; k < u->n_in; k++) held[u->in[k]] = true;
    }
    for (int t = 0; t < s->units.n_tensors; t++) {
        const struct clq_unit_tensor *tensor = &s->units.tensors[t];
        const char *name = clq_page_name(scratch, tensor->name);
        clq_json *o = clq_json_object();
        bool ok = name && clq_json_set(o, "name", clq_json_string(name)) && clq_json_set(o, "group", clq_json_integer(tensor->group)) &&
                  clq_json_set(o, "quantized", clq_json_bool(held[t])) && (tensor->group != t || set_group(o, s, t, clq_report_replayed(r)));
        if (!clq_json_append(list, o) || !ok) return false;
    }
    return true;
}

clq_status clq_report_data(struct clq_page *p, struct clq_arena *scratch, const struct clq_result *r, struct clq_error *err)
{
    clq_json *doc = clq_json_object(), *methods = clq_json_array(), *tensors = clq_json_array();
    bool ok = tensors != NULL;
    for (int m = 0; m < CLQ_CAL_COUNT; m++) ok = ok && clq_json_append(methods, clq_json_string(clq_calibrator_name((enum clq_calibrator)m)));
    ok = ok && set_tensors(tensors, scratch, r);
    ok = clq_json_set(doc, "methods", methods) && ok;
    ok = clq_json_set(doc, "tensors", tensors) && ok;
    char *text = NULL;
    size_t bytes;
    clq_status st = ok ? clq_json_dump(&text, &bytes, doc, false, err) : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    if (st == CLQ_OK) clq_page_json(p, text, bytes);
    free(text);
    clq_json_free(doc);
    return st;
}
