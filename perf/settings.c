/* SPDX-License-Identifier: Apache-2.0
 * Options are "--name VALUE" or "--name=VALUE"; words may stand between them. */
#include "perf/settings.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parallel.h"
#include "kernels/kernels.h"

enum kind { FLAG, TEXT, NUMBER };

static const struct option {
    const char *name, *letter, *metavar;
    enum kind kind;
    size_t offset;
    double least, most;
    bool common; /* every command takes it */
    const char *help;
} options[] = {
    {"suite", NULL, "NAME", TEXT, offsetof(struct clq_settings, suite), 0, 0, false, "which shapes, when none are given (default: default)"},
    {"type", NULL, "TYPE", TEXT, offsetof(struct clq_settings, type), 0, 0, false, "of the operands (default: all)"},
    {"zeros", NULL, "PART", NUMBER, offsetof(struct clq_settings, zeros), 0, 1, false, "part of the values that are zero (default: 0 and 0.9)"},
    {"threads", NULL, "N", NUMBER, offsetof(struct clq_settings, threads), 1, 1024, false, "threads, of the ceiling too (default: all cores)"},
    {"device", NULL, "DEVICE", TEXT, offsetof(struct clq_settings, device), 0, 0, true, "cpu (default), opencl, opencl:N, or all"},
    {"isa", NULL, "LEVEL", TEXT, offsetof(struct clq_settings, isa), 0, 0, true, "ref, avx2, avx_vnni, avx512, avx512_vnni, amx; neon, neon_dotprod, neon_i8mm (default: the best)"},
    {"seconds", NULL, "S", NUMBER, offsetof(struct clq_settings, seconds), 0.01, 60, true, "measured time per line (default 0.15, at least 21 rounds)"},
    {"json", NULL, NULL, FLAG, offsetof(struct clq_settings, json), 0, 0, true, "print one JSON object on stdout"},
    {"csv", NULL, NULL, FLAG, offsetof(struct clq_settings, csv), 0, 0, false, "print comma-separated values on stdout"},
    {"quiet", "-q", NULL, FLAG, offsetof(struct clq_settings, quiet), 0, 0, true, "no notes"},
};
enum { N_OPTIONS = sizeof options / sizeof *options };

int clq_bench_usage(const char *command, const char *what, const char *word)
{
    fprintf(stderr, "clquant bench %s: %s '%s'; see clquant bench %s --help\n", command, what, word, command);
    return 2;
}

static bool takes(const struct clq_bench_command *c, const struct option *o)
{
    char name[24];
    snprintf(name, sizeof name, " %s ", o->name);
    return o->common || strstr(c->options, name);
}

static int print_help(const struct clq_bench_command *c)
{
    printf("usage: clquant bench %s\n\noptions:\n", c->help);
    for (size_t i = 0; i < N_OPTIONS; i++) {
        char left[40];
        if (!takes(c, &options[i])) continue;
        snprintf(left, sizeof left, "%s%s--%s%s%s", options[i].letter ? options[i].letter : "  ", options[i].letter ? ", " : "  ", options[i].name,
                 options[i].metavar ? " " : "", options[i].metavar ? options[i].metavar : "");
        printf("  %-24s%s\n", left, options[i].help);
    }
    printf("\nexample:\n%s", c->example);
    return 0;
}

/* Threads above 1 where the command knows only one thread say so: the option is common to all commands of clquant. */
static int refuse(const struct clq_bench_command *c, const char *word, const char *value)
{
    if (strncmp(word, "--threads", 9) != 0) return clq_bench_usage(c->name, "unknown option", word);
    return value && strcmp(value, "1") == 0 ? -1 : clq_bench_usage(c->name, "it is timed on one thread, got", value ? value : word);
}

static int set(struct clq_settings *s, const struct clq_bench_command *c, const struct option *o, const char *value)
{
    char *to = (char *)s + o->offset, *end;
    if (o->kind == FLAG) {
        memcpy(to, &(bool){true}, sizeof(bool));
        return -1;
    }
    if (o->kind == TEXT) {
        memcpy(to, &value, sizeof value);
        return *value ? -1 : clq_bench_usage(c->name, "bad value", value);
    }
    const double v = strtod(value, &end);
    if (end == value || *end || !(v >= o->least) || v > o->most || (o->least == 1 && v != floor(v))) return clq_bench_usage(c->name, "bad value", value);
    memcpy(to, &v, sizeof v);
    return -1;
}

static const struct option *find(const struct clq_bench_command *c, const char *word, size_t n)
{
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const struct option *o = &options[i];
        const bool named = n > 2 && strncmp(word, "--", 2) == 0 && strlen(o->name) == n - 2 && strncmp(o->name, word + 2, n - 2) == 0;
        if (named || (o->letter && strcmp(o->letter, word) == 0)) return takes(c, o) ? o : NULL;
    }
    return NULL;
}

static const char *best_level(void)
{
    const char *best = "ref";
    for (const struct clq_cpu_level *l = clq_cpu_levels; l->name; l++)
        if ((l->mask & ~clq_cpu_detect()) == 0) best = l->name;
    return best;
}

static bool device_is_known(const char *v)
{
    char *end = NULL;
    static const char *const names[] = {"cpu", "opencl", "all", "auto"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(v, names[i]) == 0) return true;
    if (strncmp(v, "opencl:", 7) != 0 || v[7] < '0' || v[7] > '9') return false;
    return strtol(v + 7, &end, 10) <= 255 && *end == '\0';
}

/* Defaults, and what only the whole command line can say. */
static int complete(struct clq_settings *s)
{
    const char *isa = getenv("CLQ_ISA");
    if (!s->isa && isa && *isa && clq_cpu_parse(isa) != CLQ_CPU_UNKNOWN) s->isa = isa;
    if (!s->isa || strcmp(s->isa, "native") == 0) s->isa = best_level();
    if (clq_cpu_parse(s->isa) == CLQ_CPU_UNKNOWN) return clq_bench_usage(s->command, "bad value", s->isa);
    if ((clq_cpu_parse(s->isa) & ~clq_cpu_detect()) != 0) return clq_bench_usage(s->command, "this CPU lacks the instructions of", s->isa);
    if (!device_is_known(s->device)) return clq_bench_usage(s->command, "bad value", s->device);
    if (s->threads == 0) s->threads = clq_parallel_limit();
    return -1;
}

int clq_settings_read(struct clq_settings *s, const struct clq_bench_command *c, int argc, char **argv)
{
    size_t n_words = 0;
    *s = (struct clq_settings){.command = c->name, .device = "cpu", .suite = "default", .seconds = 0.15, .zeros = -1, .words = (const char *const *)argv + 1};
    for (int i = 1; i < argc; i++) {
        char *word = argv[i];
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) return print_help(c);
        if (word[0] != '-') {
            if (n_words == c->most_words) return clq_bench_usage(c->name, "unexpected argument", word);
            argv[1 + n_words++] = word;
            continue;
        }
        const size_t n = strcspn(word, "=");
        const struct option *o = find(c, word, n);
        const char *value = word[n] ? word + n + 1 : NULL;
        if (!value && (!o || o->kind != FLAG) && i + 1 < argc) value = argv[i + 1];
        const int code = o ? set(s, c, o, value ? value : "") : refuse(c, word, value);
        if (code >= 0) return code;
        if (value && !word[n]) i++;
    }
    s->n_words = n_words;
    return complete(s);
}

int clq_settings_opencl(const struct clq_settings *s)
{
    if (strncmp(s->device, "opencl:", 7) == 0) return atoi(s->device + 7);
    return strcmp(s->device, "opencl") == 0 || strcmp(s->device, "all") == 0 ? 0 : -1;
}

bool clq_settings_cpu(const struct clq_settings *s)
{
    return strncmp(s->device, "opencl", 6) != 0;
}
