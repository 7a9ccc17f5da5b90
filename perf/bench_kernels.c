/* SPDX-License-Identifier: Apache-2.0
 * bench kernels: the cases of the tests, timed beside the ceilings of this machine. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "perf/bench.h"
#include "perf/bench_opencl.h"
#include "perf/settings.h"

struct report {
    const struct clq_settings *s;
    clq_json *rows;
    bool failed;
};

/* ---- Output ---- */
static void print_rate(double per_second, const char *unit)
{
    if (per_second > 0) printf("  %8.1f %s", per_second * 1e-9, unit);
    else printf("  %8s %s", "-", unit);
}

static void add(clq_json *row, struct report *r, const char *key, clq_json *value)
{
    if (!clq_json_set(row, key, value)) r->failed = true;
}

static void keep(struct report *r, const struct clq_case *c, const char *target, const char *variant, const struct clq_bench *b, double reference)
{
    clq_json *row = clq_json_object();
    add(row, r, "op", clq_json_string(c->family->op));
    add(row, r, "case", clq_json_string(c->label));
    add(row, r, "target", clq_json_string(target));
    add(row, r, "variant", clq_json_string(variant));
    add(row, r, "seconds", clq_json_real(b->seconds));
    add(row, r, "spread", clq_json_real(b->spread));
    add(row, r, "gops", b->operations > 0 ? clq_json_real(b->operations * 1e-9) : clq_json_null());
    add(row, r, "gb_per_s", b->bytes > 0 ? clq_json_real(b->bytes * 1e-9) : clq_json_null());
    add(row, r, "ceiling", clq_json_string(b->ceiling));
    add(row, r, "share", b->share >= 0 ? clq_json_real(b->share) : clq_json_null());
    add(row, r, "speedup_over_reference", reference > 0 ? clq_json_real(reference / b->seconds) : clq_json_null());
    if (!clq_json_append(r->rows, row)) r->failed = true;
}

static void show(struct report *r, const struct clq_case *c, const char *target, const char *variant, const struct clq_bench *b, double reference)
{
    if (r->s->json) {
        keep(r, c, target, variant, b, reference);
        return;
    }
    printf("%-18s %-44.44s %-18s %-12s %10.2f us +-%2.0f%%", c->family->op, c->label, target, variant, b->seconds * 1e6, 50 * b->spread);
    print_rate(b->operations, "GOPS");
    print_rate(b->bytes, "GB/s");
    if (b->share >= 0) printf("  %4.0f %% of %-14s", 100 * b->share, b->ceiling);
    if (reference > 0) printf("  %6.1f x ref", reference / b->seconds);
    printf("\n");
    fflush(stdout);
}

static void show_ceilings(const struct clq_settings *s, clq_json *doc)
{
    clq_json *list = clq_json_object();
    if (!s->json) printf("ceilings of one core, all operands in registers:\n");
    for (const struct clq_probe *p = clq_probes; p->name; p++) {
        if ((p->needs & ~clq_cpu_detect()) != 0) continue;
        double best = 0;
        for (int i = 0; i < 40; i++) {
            double v = p->run(20000);
            if (v > best) best = v;
        }
        if (s->json) clq_json_set(list, p->name, clq_json_real(best * 1e-9));
        else printf("  %-16s %8.1f GOPS\n", p->name, best * 1e-9);
    }
    if (!s->json) printf("\n");
    clq_json_set(doc, "ceilings_gops", list);
}

/* ---- The cases ---- */

/* The reference's time where it is short enough to be worth having. */
static double reference_time(const struct clq_family *family, size_t index)
{
    struct clq_case c;
    struct clq_kernels k;
    clq_kernels_init(&k, 0);
    clq_case_begin(&c, family, index, true, CLQ_SEED);
    double t = -1;
    if (c.operations < 3e8 && c.bytes < 3e7) {
        if (family->setup) family->setup(&c, &k);
        t = clq_bench_quickly(&c, &k);
    }
    clq_case_end(&c);
    return t;
}

static void bench_cpu(struct report *r, const struct clq_family *family, size_t index, double reference)
{
    const char *level = r->s->isa;
    struct clq_kernels k;
    struct clq_case c;
    struct clq_bench b;
    clq_kernels_init(&k, clq_cpu_parse(level) & clq_cpu_detect());
    const char *variant = clq_variant(&k, family->op);
    struct clq_bench_options o = {.seconds = r->s->seconds, .cores = 1, .level = variant};
    clq_case_begin(&c, family, index, true, CLQ_SEED);
    if (family->setup) family->setup(&c, &k);
    clq_bench_case(&b, &c, &k, &o);
    show(r, &c, "cpu", variant, &b, reference);
    clq_case_end(&c);
}

static void bench_opencl(struct report *r, const struct clq_family *family, size_t index, double reference)
{
    static const char *const targets[] = {"opencl+transfers", "opencl"};
    bool cpu = clq_bench_cl_is_cpu();
    for (int resident = 0; resident < 2; resident++) {
        struct clq_kernels k;
        struct clq_case c;
        struct clq_bench b;
        const char *variant = clq_bench_cl_variant(family->op);
        const char *level = cpu && strncmp(variant, "x86_", 4) == 0 ? r->s->isa : "";
        struct clq_bench_options o = {.seconds = r->s->seconds, .cores = clq_bench_cl_units(), .level = level, .finish = clq_bench_cl_finish};
        clq_case_begin(&c, family, index, true, CLQ_SEED);
        clq_bench_cl_table(&k, &c, resident);
        if (family->setup) family->setup(&c, &k);
        clq_bench_case(&b, &c, &k, &o);
        if (!cpu) b.share = -1; /* the ceilings are the CPU's */
        if (clq_bench_cl_done()) show(r, &c, targets[resident], variant, &b, reference);
        else if (!r->s->quiet) fprintf(stderr, "clquant bench kernels: %s %s: the device does not take it\n", family->op, c.label);
        clq_case_end(&c);
    }
}

static bool run(struct report *r)
{
    const struct clq_settings *s = r->s;
    const char *op = s->n_words ? s->words[0] : "";
    bool found = false;
    for (const struct clq_family *const *f = clq_families; *f; f++) {
        if (strncmp((*f)->op, op, strlen(op)) != 0) continue;
        found = true;
        bool opencl = clq_settings_opencl(s) >= 0;
        if (opencl) {
            double build = clq_bench_cl_build((*f)->op);
            if (build < 0) opencl = false;
            if (!s->quiet)
                fprintf(stderr, "clquant bench kernels: %s on %s: %s%.2f s\n", (*f)->op, clq_bench_cl_name(), build < 0 ? "refused, " : "built and proven in ",
                        build < 0 ? 0.0 : build);
        }
        for (size_t i = 0; i < (*f)->n_benches && (clq_settings_cpu(s) || opencl); i++) {
            double reference = reference_time(*f, i);
            if (clq_settings_cpu(s)) bench_cpu(r, *f, i, reference);
            if (opencl) bench_opencl(r, *f, i, reference);
        }
    }
    return found;
}

static int print_json(clq_json *doc, struct report *r)
{
    struct clq_error err = {""};
    char *text = NULL;
    size_t n = 0;
    if (r->failed || clq_json_dump(&text, &n, doc, true, &err) != CLQ_OK) {
        fprintf(stderr, "clquant bench kernels: out of memory %s\n", err.text);
        return 4;
    }
    fwrite(text, 1, n, stdout);
    free(text);
    return 0;
}

static int bench_kernels(const struct clq_settings *s)
{
    const char *why = "";
    const int opencl = clq_settings_opencl(s);
    if (opencl >= 0 && !clq_bench_cl_open(opencl, clq_cpu_parse(s->isa), &why)) {
        fprintf(stderr, "clquant bench kernels: %s\n", why);
        return 4;
    }
    clq_json *doc = clq_json_object();
    struct report r = {.s = s, .rows = clq_json_array()};
    clq_json_set(doc, "isa", clq_json_string(s->isa));
    if (opencl >= 0) clq_json_set(doc, "opencl_device", clq_json_string(clq_bench_cl_name()));
    show_ceilings(s, doc);
    bool found = run(&r);
    if (!clq_json_set(doc, "kernels", r.rows)) r.failed = true;
    const int code = !found ? clq_bench_usage("kernels", "no kernel's name begins with", s->words[0]) : s->json ? print_json(doc, &r) : 0;
    clq_json_free(doc);
    if (opencl >= 0) clq_bench_cl_close();
    return code;
}

const struct clq_bench_command clq_bench_kernels = {
    .name = "kernels",
    .options = " ",
    .most_words = 1,
    .help = "kernels [OPERATION] [options]\n\n"
            "Times the cases that the tests use, on one core, and prints for each the median time of a run, its rate, and the share\n"
            "of the ceiling that was measured in turn with it: the instructions of the kernel's family with all operands in\n"
            "registers, or the memory bandwidth for a working set of the same size, whichever allows less. On an OpenCL device times\n"
            "are printed with transfers and with the operands on the device. OPERATION is the beginning of a kernel's name.",
    .example = "  clquant bench kernels\n"
               "  clquant bench kernels gemm --device all --json\n",
    .run = bench_kernels,
};
