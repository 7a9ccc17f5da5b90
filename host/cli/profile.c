/* SPDX-License-Identifier: Apache-2.0
 * clquant profile: what is in files of measured times, how two of them differ, and several as one. */
#include <clquant/profile.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "files.h"
#include "out.h"

enum { MOST = 16 };

struct arguments {
    const char *output;
};

static const struct cli_option options[] = {
    {"output", 'o', CLI_TEXT, offsetof(struct arguments, output), "OUT.json", 0, 0, "merge: the file that is written"},
    {NULL, 0, CLI_FLAG, 0, NULL, 0, 0, NULL},
};

static const char *const positional[MOST + 1] = {"show|diff|merge", "FILE"};

static const struct cli_spec spec = {
    .name = "profile",
    .arguments = "show|diff|merge FILE...",
    .summary = "Files of measured times, as clquant quantize keeps them in the cache folder. show: the devices in a file, and how much\n"
               "was measured on each. diff: the same work in two files. merge: all files as one; of two times for the same work\n"
               "on the same device the one with more timings stays.\n",
    .options = options,
    .least = 2,
    .most = MOST + 1,
    .positional = positional,
    .example = "  clquant profile show phone.json\n  clquant profile diff before.json after.json\n  clquant profile merge a.json b.json -o both.json\n",
};

static void cell_environment(struct cli_table *t, const clq_profile_environment_info *e)
{
    cli_cell(t, "%s", e->device);
    cli_cell(t, "%s", e->isa);
    cli_cell(t, "%d", e->threads);
    cli_cell(t, "%s", e->driver[0] ? e->driver : "-");
    cli_cell(t, "%s", e->clquant);
}

static void json_environment(struct cli_json *j, const clq_profile_environment_info *e)
{
    cli_json_text(j, "device", e->device);
    cli_json_text(j, "driver", e->driver);
    cli_json_text(j, "isa", e->isa);
    cli_json_whole(j, "threads", e->threads);
    cli_json_text(j, "clquant", e->clquant);
    cli_json_text(j, "onednn", e->onednn);
    cli_json_text(j, "kernel_hash", e->kernel_hash);
}

static void show(const struct cli *cli, const clq_profile_file *f)
{
    static const char *const titles[] = {"device", "ISA", "threads", "driver", "clquant", "times"};
    clq_profile_environment_info e;
    struct cli_json j;
    struct cli_table t;
    if (cli->json) {
        cli_json_start(&j);
        cli_json_array(&j, "environments");
    } else cli_table_start(&t, 6, "llrllr", titles);
    for (size_t i = 0; clq_profile_environment_get(&e, f, i) == CLQ_OK; i++) {
        if (cli->json) {
            cli_json_object(&j, NULL);
            json_environment(&j, &e);
            cli_json_whole(&j, "entries", (long long)e.entries);
            cli_json_end(&j, '}');
        } else {
            cell_environment(&t, &e);
            cli_cell(&t, "%zu", e.entries);
        }
    }
    if (cli->json) {
        cli_json_end(&j, ']');
        cli_json_print(&j);
    } else cli_table_print(&t, 0);
}

/* The same work in two environments. */
struct shared {
    size_t both, only_a, only_b;
    double median; /* b / a, NaN where nothing is in both */
};

static struct shared compare(const clq_profile_file *a, size_t ea, const clq_profile_file *b, size_t eb)
{
    clq_profile_environment_info ia = {.entries = 0}, ib = {.entries = 0};
    clq_profile_entry_info w;
    struct shared s = {.median = NAN};
    double us;
    (void)clq_profile_environment_get(&ia, a, ea);
    (void)clq_profile_environment_get(&ib, b, eb);
    double *ratio = cli_alloc((ia.entries + 1) * sizeof *ratio);
    for (size_t i = 0; clq_profile_entry_get(&w, a, ea, i) == CLQ_OK; i++)
        if (clq_profile_same_work(&us, b, eb, &w) && w.time_us > 0) ratio[s.both++] = us / w.time_us;
    cli_sort(ratio, s.both);
    if (s.both) s.median = ratio[s.both / 2];
    s.only_a = ia.entries - s.both;
    s.only_b = ib.entries - s.both;
    free(ratio);
    return s;
}

enum { MOST_PAIRS = 10000 }; /* of environments: a table that people read */

static size_t environments(const clq_profile_file *file)
{
    clq_profile_environment_info e;
    size_t n = 0;
    while (n <= MOST_PAIRS && clq_profile_environment_get(&e, file, n) == CLQ_OK) n++;
    return n;
}

static void diff(const struct cli *cli, const clq_profile_file *a, const clq_profile_file *b)
{
    static const char *const titles[] = {"first", "second", "same work", "only first", "only second", "second / first"};
    clq_profile_environment_info ia, ib;
    struct cli_json j;
    struct cli_table t;
    if (cli->json) {
        cli_json_start(&j);
        cli_json_array(&j, "pairs");
    } else cli_table_start(&t, 6, "llrrrr", titles);
    for (size_t i = 0; clq_profile_environment_get(&ia, a, i) == CLQ_OK; i++)
        for (size_t k = 0; clq_profile_environment_get(&ib, b, k) == CLQ_OK; k++) {
            struct shared s = compare(a, i, b, k);
            if (cli->json) {
                cli_json_object(&j, NULL);
                cli_json_text(&j, "first", ia.device);
                cli_json_text(&j, "second", ib.device);
                cli_json_whole(&j, "both", (long long)s.both);
                cli_json_whole(&j, "only_first", (long long)s.only_a);
                cli_json_whole(&j, "only_second", (long long)s.only_b);
                cli_json_real(&j, "median_ratio", s.median);
                cli_json_end(&j, '}');
                continue;
            }
            cli_cell(&t, "%s, %s, %d threads", ia.device, ia.isa, ia.threads);
            cli_cell(&t, "%s, %s, %d threads", ib.device, ib.isa, ib.threads);
            cli_cell(&t, "%zu", s.both);
            cli_cell(&t, "%zu", s.only_a);
            cli_cell(&t, "%zu", s.only_b);
            if (isnan(s.median)) cli_cell(&t, "-");
            else cli_cell(&t, "%.3f", s.median);
        }
    if (cli->json) {
        cli_json_end(&j, ']');
        cli_json_print(&j);
    } else cli_table_print(&t, 0);
}

static int merge(struct cli *cli, const struct arguments *a, clq_profile_file **files, int n)
{
    clq_profile_joined sum = {0}, one;
    for (int i = 1; i < n; i++) {
        clq_status st = clq_profile_join(&one, cli->ctx, files[0], files[i]);
        if (st != CLQ_OK) return cli_fail(cli, st);
        sum.added += one.added;
        sum.replaced += one.replaced;
        sum.kept += one.kept;
    }
    clq_status st = clq_profile_write(files[0], cli->ctx, a->output, cli->force);
    if (st != CLQ_OK) return cli_fail_output(cli, st);
    if (cli->json) {
        struct cli_json j;
        cli_json_start(&j);
        cli_json_text(&j, "output", a->output);
        cli_json_whole(&j, "added", (long long)sum.added);
        cli_json_whole(&j, "replaced", (long long)sum.replaced);
        cli_json_whole(&j, "kept", (long long)sum.kept);
        cli_json_print(&j);
    } else printf("%zu times added, %zu replaced, %zu kept\n", sum.added, sum.replaced, sum.kept);
    return CLI_DONE;
}

static int check(struct cli *cli, const struct arguments *a, const char **words, int n)
{
    const char *what = words[0];
    bool merges = strcmp(what, "merge") == 0;
    int wanted = strcmp(what, "show") == 0 ? 1 : strcmp(what, "diff") == 0 ? 2 : merges ? 0 : -1;
    if (wanted < 0) return cli_usage(cli, "expected show, diff or merge, got '%s'", what);
    if (wanted > 0 && n != wanted) return cli_usage(cli, "%s: expected %d file%s, got %d", what, wanted, wanted == 1 ? "" : "s", n);
    if (merges != (a->output != NULL)) return cli_usage(cli, merges ? "-o is missing: the file to write" : "-o is for merge");
    return merges ? cli_check_output(cli, a->output, words + 1, n) : CLI_GO_ON;
}

int cli_profile(struct cli *cli, int argc, char **argv)
{
    struct arguments a = {0};
    const char *words[MOST + 1];
    clq_profile_file *files[MOST] = {NULL};
    int code = cli_parse(cli, &spec, &a, words, argc, argv), n = 0;
    if (code != CLI_GO_ON) return code;
    while (n < MOST && words[n + 1]) n++;
    code = check(cli, &a, words, n);
    if (code == CLI_GO_ON) code = cli_open(cli);
    for (int i = 0; i < n && code == CLI_GO_ON; i++) {
        clq_status st = clq_profile_open(&files[i], cli->ctx, words[i + 1]);
        if (st != CLQ_OK) code = cli_fail(cli, st);
    }
    if (code == CLI_GO_ON) {
        code = CLI_DONE;
        bool differs = strcmp(words[0], "diff") == 0;
        size_t first = differs ? environments(files[0]) : 0, second = differs ? environments(files[1]) : 0;
        if (strcmp(words[0], "show") == 0) show(cli, files[0]);
        else if (differs && first * second > MOST_PAIRS)
            code = cli_usage(cli, "diff: %zu and %zu devices in the files, expected at most %d pairs", first, second, MOST_PAIRS);
        else if (differs) diff(cli, files[0], files[1]);
        else code = merge(cli, &a, files, n);
    }
    for (int i = 0; i < n; i++) clq_profile_close(files[i]);
    return code;
}
