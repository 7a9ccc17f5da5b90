/* SPDX-License-Identifier: Apache-2.0
 * One line per measurement; means of shares are geometric. */
#include "perf/rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/version.h>

void clq_cpu_name(char *name, size_t bytes)
{
    char line[512];
    FILE *f = fopen("/proc/cpuinfo", "r");
    name[0] = '\0';
    while (f && fgets(line, sizeof line, f)) {
        const char *at = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !at) continue;
        snprintf(name, bytes, "%.*s", (int)strcspn(at + 2, "\n"), at + 2);
        break;
    }
    if (f) fclose(f);
}

bool clq_report_head(clq_json *doc, const struct clq_settings *s)
{
    char name[256];
    clq_cpu_name(name, sizeof name);
    return clq_json_set(doc, "command", clq_json_string(s->command)) && clq_json_set(doc, "version", clq_json_string(CLQ_VERSION)) &&
           clq_json_set(doc, "cpu", clq_json_string(name)) && clq_json_set(doc, "isa", clq_json_string(s->isa)) &&
           clq_json_set(doc, "threads", clq_json_integer((int64_t)s->threads));
}

int clq_report_print(clq_json *doc, const struct clq_settings *s)
{
    struct clq_error err = {""};
    char *text = NULL;
    size_t n = 0;
    const clq_status st = clq_json_dump(&text, &n, doc, true, &err);
    clq_json_free(doc);
    if (st != CLQ_OK) {
        fprintf(stderr, "clquant bench %s: %s\n", s->command, err.text);
        return 4;
    }
    fwrite(text, 1, n, stdout);
    free(text);
    return 0;
}

void clq_rows_start(struct clq_rows *r, const struct clq_settings *s)
{
    *r = (struct clq_rows){.s = s, .list = s->json ? clq_json_array() : NULL};
    if (s->csv) printf("op,type,shape,layers,device,kernel,threads,seconds,spread,gops,gb_per_s,ceiling,ceiling_per_s,share\n");
}

static clq_json *rate(double per_second)
{
    return per_second > 0 ? clq_json_real(per_second * 1e-9) : clq_json_null();
}

static clq_json *object_of(const struct clq_row *w)
{
    const struct clq_bench *b = &w->bench;
    clq_json *o = clq_json_object();
    bool ok = clq_json_set(o, "op", clq_json_string(w->op)) && clq_json_set(o, "type", clq_json_string(w->type)) &&
              clq_json_set(o, "shape", clq_json_string(w->shape)) && clq_json_set(o, "layers", w->layers ? clq_json_integer(w->layers) : clq_json_null()) &&
              clq_json_set(o, "device", clq_json_string(w->device)) && clq_json_set(o, "kernel", clq_json_string(w->kernel)) &&
              clq_json_set(o, "threads", clq_json_integer(w->threads)) && clq_json_set(o, "seconds", clq_json_real(b->seconds)) &&
              clq_json_set(o, "spread", clq_json_real(b->spread)) && clq_json_set(o, "gops", rate(b->operations)) &&
              clq_json_set(o, "gb_per_s", rate(b->bytes)) && clq_json_set(o, "ceiling", clq_json_string(b->ceiling)) &&
              clq_json_set(o, "ceiling_per_s", b->share >= 0 ? rate(b->limit) : clq_json_null()) &&
              clq_json_set(o, "share", b->share >= 0 ? clq_json_real(b->share) : clq_json_null());
    if (ok) return o;
    clq_json_free(o);
    return NULL;
}

static void print_line(const struct clq_row *w)
{
    const struct clq_bench *b = &w->bench;
    char count[16] = "";
    if (w->layers) snprintf(count, sizeof count, "%dx", w->layers);
    printf("%-11s %-10s %3s %-38s %-8s %-12s %d thread%s %11.2f us +-%2.0f%%", w->op, w->type, count, w->shape, w->device, w->kernel, w->threads,
           w->threads == 1 ? " " : "s", b->seconds * 1e6, 50 * b->spread);
    const bool memory = b->operations <= 0 || strcmp(b->ceiling, "read") == 0 || strcmp(b->ceiling, "copy") == 0;
    printf(" %8.1f %s", (memory ? b->bytes : b->operations) * 1e-9, memory ? "GB/s" : "GOPS");
    if (b->share >= 0) printf("  %4.0f %% of %.1f (%s)", 100 * b->share, b->limit * 1e-9, b->ceiling);
    printf("\n");
}

static void print_csv(const struct clq_row *w)
{
    const struct clq_bench *b = &w->bench;
    printf("%s,%s,%s,%d,\"%s\",%s,%d,%.9g,%.4f,", w->op, w->type, w->shape, w->layers ? w->layers : 1, w->device, w->kernel, w->threads, b->seconds, b->spread);
    if (b->operations > 0) printf("%.6g", b->operations * 1e-9);
    printf(",%.6g,%s,", b->bytes * 1e-9, b->ceiling);
    if (b->share >= 0) printf("%.6g,%.4f", b->limit * 1e-9, b->share);
    else printf(",");
    printf("\n");
}

static void count(struct clq_rows *r, const struct clq_row *w)
{
    size_t i = 0;
    while (i < r->groups && (strcmp(r->group[i].type, w->type) != 0 || strcmp(r->group[i].device, w->device) != 0)) i++;
    if (i == CLQ_MAX_GROUPS || !(w->bench.share > 0)) return;
    struct clq_group *g = &r->group[i];
    if (i == r->groups) {
        *g = (struct clq_group){.type = w->type, .worst = INFINITY};
        snprintf(g->device, sizeof g->device, "%s", w->device);
        r->groups++;
    }
    g->log_share += log(w->bench.share);
    g->seconds += w->bench.seconds * w->layers;
    g->n++;
    if (w->bench.share < g->worst) {
        g->worst = w->bench.share;
        snprintf(g->worst_shape, sizeof g->worst_shape, "%s", w->shape);
    }
}

void clq_rows_add(struct clq_rows *r, const struct clq_row *w)
{
    r->n++;
    count(r, w);
    if (r->s->json) {
        if (!clq_json_append(r->list, object_of(w))) r->failed = true;
    } else if (r->s->csv) {
        print_csv(w);
    } else {
        print_line(w);
    }
    fflush(stdout);
}

static clq_json *means(const struct clq_rows *r)
{
    clq_json *list = clq_json_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < r->groups; i++) {
        const struct clq_group *g = &r->group[i];
        clq_json *o = clq_json_object();
        ok = clq_json_set(o, "type", clq_json_string(g->type)) && clq_json_set(o, "device", clq_json_string(g->device)) &&
             clq_json_set(o, "lines", clq_json_integer((int64_t)g->n)) && clq_json_set(o, "mean_share", clq_json_real(exp(g->log_share / (double)g->n))) &&
             clq_json_set(o, "worst_share", clq_json_real(g->worst)) && clq_json_set(o, "worst_shape", clq_json_string(g->worst_shape)) &&
             clq_json_set(o, "seconds_of_layers", g->seconds > 0 ? clq_json_real(g->seconds) : clq_json_null());
        ok = clq_json_append(list, o) && ok;
    }
    return list;
}

int clq_rows_end(struct clq_rows *r)
{
    if (r->s->json) {
        clq_json *doc = clq_json_object();
        bool ok = clq_report_head(doc, r->s) && clq_json_set(doc, "means", means(r));
        ok = clq_json_set(doc, "lines", r->list) && ok;
        if (ok && !r->failed) return clq_report_print(doc, r->s);
        fprintf(stderr, "clquant bench %s: out of memory\n", r->s->command);
        clq_json_free(doc);
        return 4;
    }
    for (size_t i = 0; i < r->groups && !r->s->csv && r->n > 1; i++) {
        const struct clq_group *g = &r->group[i];
        printf("%s%s on %s: geometric mean of the shares %.1f %%, worst %.1f %% (%s)", i ? "" : "\n", g->type, g->device,
               100 * exp(g->log_share / (double)g->n), 100 * g->worst, g->worst_shape);
        if (g->seconds > 0) printf("; all layers together %.3f ms", 1e3 * g->seconds);
        printf("\n");
    }
    return 0;
}
