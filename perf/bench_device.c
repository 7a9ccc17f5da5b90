/* SPDX-License-Identifier: Apache-2.0
 * bench device: what this machine can do at most, by which everything else is judged. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "perf/bench_opencl.h"
#include "perf/ceiling.h"
#include "perf/rows.h"
#include "scheduler/stats.h"

enum { LOOKS = 31 };

struct report {
    const struct clq_settings *s;
    clq_json *lines;
    bool failed;
};

static void line(struct report *r, const char *device, const char *what, int threads, double value, const char *unit)
{
    if (r->s->csv) {
        printf("\"%s\",%s,%d,%.6g,%s\n", device, what, threads, value, unit);
    } else if (!r->s->json) {
        printf("%-40.40s %-26s %2d thread%s %10.1f %s\n", device, what, threads, threads == 1 ? " " : "s", value, unit);
    } else {
        clq_json *o = clq_json_object();
        if (!clq_json_set(o, "device", clq_json_string(device)) || !clq_json_set(o, "what", clq_json_string(what)) ||
            !clq_json_set(o, "threads", clq_json_integer(threads)) || !clq_json_set(o, "value", clq_json_real(value)) ||
            !clq_json_set(o, "unit", clq_json_string(unit)))
            r->failed = true;
        if (!clq_json_append(r->lines, o)) r->failed = true;
    }
    fflush(stdout);
}

/* The median of some looks within the time per line. */
static double median_look(const struct report *r, const struct clq_ceiling *l)
{
    double v[LOOKS], begin = clq_probe_now();
    size_t n = 0;
    clq_ceiling_look(l);
    while (n < LOOKS && (n < 3 || clq_probe_now() - begin < r->s->seconds)) v[n++] = clq_ceiling_look(l);
    return clq_median(v, n) * 1e-9;
}

static void instructions(struct report *r, int threads)
{
    for (const struct clq_probe *p = clq_probes; p->name; p++) {
        struct clq_ceiling l;
        if ((p->needs & ~(clq_cpu_detect() & clq_cpu_parse(r->s->isa))) != 0) continue;
        clq_ceiling_find(&l, p, threads, 1, 0, false);
        clq_ceiling_last(&l, 2e-3);
        line(r, "cpu", p->name, threads, median_look(r, &l), "GOPS");
        clq_ceiling_drop(&l);
    }
}

static void memory(struct report *r, int threads)
{
    static const struct {
        const char *read, *copy;
        double bytes; /* of each thread; the largest is shared by all */
    } sizes[] = {{"read 32 KiB", "copy 32 KiB", 32 << 10}, {"read 1 MiB", "copy 1 MiB", 1 << 20}, {"read 32 MiB", "copy 32 MiB", 32 << 20}, {"read 1 GiB", "copy 1 GiB", 1 << 30}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int copy = 0; copy < 2; copy++) {
            struct clq_ceiling l;
            const double bytes = i == 3 ? sizes[i].bytes * (copy + 1) : sizes[i].bytes * threads;
            clq_ceiling_find(&l, NULL, threads, 0, bytes, copy);
            line(r, "cpu", copy ? sizes[i].copy : sizes[i].read, threads, median_look(r, &l), "GB/s");
            clq_ceiling_drop(&l);
        }
}

static bool opencl(struct report *r, int index)
{
    const char *why = "";
    double v[4];
    if (!clq_bench_cl_open(index, clq_cpu_parse(r->s->isa), &why) || !clq_bench_cl_rates(v, (size_t)64 << 20, r->s->seconds, &why)) {
        fprintf(stderr, "clquant bench device: %s\n", why);
        return false;
    }
    const char *name = clq_bench_cl_name();
    const int units = clq_bench_cl_units();
    line(r, name, "to the device 64 MiB", units, v[0] * 1e-9, "GB/s");
    line(r, name, "from the device 64 MiB", units, v[1] * 1e-9, "GB/s");
    line(r, name, "min and max of 64 MiB", units, v[2] * 1e-9, "GB/s");
    line(r, name, "one small kernel", units, v[3] * 1e6, "us");
    clq_bench_cl_close();
    return true;
}

static int bench_device(const struct clq_settings *s)
{
    struct report r = {.s = s, .lines = clq_json_array()};
    const int threads = (int)s->threads, index = clq_settings_opencl(s);
    if (s->csv) printf("device,what,threads,value,unit\n");
    if (clq_settings_cpu(s)) {
        instructions(&r, 1);
        if (threads > 1) instructions(&r, threads);
        memory(&r, 1);
        if (threads > 1) memory(&r, threads);
    }
    if (index >= 0 && !opencl(&r, index)) {
        clq_json_free(r.lines);
        return 4;
    }
    clq_json *doc = clq_json_object();
    bool ok = clq_report_head(doc, s);
    ok = clq_json_set(doc, "lines", r.lines) && ok && !r.failed;
    if (s->json && ok) return clq_report_print(doc, s);
    clq_json_free(doc);
    return ok ? 0 : 4;
}

const struct clq_bench_command clq_bench_device = {
    .name = "device",
    .options = " threads csv ",
    .help = "device [options]\n\n"
            "Measures what this machine can do: integer and float instructions with all operands in registers, reading and copying\n"
            "(bytes read plus written) of working sets from cache to memory, on one thread and on all; of an OpenCL device transfers,\n"
            "a pass over memory on the device, and the time of a small kernel.",
    .example = "  clquant bench device\n"
               "  clquant bench device --device all --json\n",
    .run = bench_device,
};
