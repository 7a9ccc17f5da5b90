/* SPDX-License-Identifier: Apache-2.0
 * clquant tune: the fastest kernels of the CPU and of OpenCL devices, kept in the user's cache. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/tune.h>

#include "cli.h"
#include "out.h"

struct arguments {
    bool dry_run, all;
};

static const struct cli_option options[] = {
    {"all", 0, CLI_FLAG, offsetof(struct arguments, all), NULL, 0, 0, "print every variant that was tried, not only the chosen ones"},
    {"dry-run", 0, CLI_FLAG, offsetof(struct arguments, dry_run), NULL, 0, 0, "search, but keep nothing"},
    {NULL, 0, CLI_FLAG, 0, NULL, 0, 0, NULL},
};

static const struct cli_spec spec = {
    .name = "tune",
    .arguments = "",
    .summary = "Searches the fastest variant of every kernel family of the CPU or an OpenCL device (--device cpu or opencl:N;\n"
               "without it, of all). The CPU's variants are the instruction sets that it has, for --threads threads.\n"
               "Each variant must first give every byte right; it replaces the default only where interleaved pairs show\n"
               "that it is at least a tenth faster. The result is kept in the user's cache for this device, driver and\n"
               "clquant, and used from then on. It changes how fast the device is, never a result. Ctrl-C keeps nothing.\n",
    .options = options,
    .example = "  clquant tune\n  clquant tune --device opencl:1 --all --json\n",
};

enum { MOST = 64 };

static const char *verdict(const clq_tune_row *r)
{
    if (!r->passed) return "refused";
    return r->chosen ? "chosen" : "slower";
}

static void print_table(const clq_tune_report *r, bool all)
{
    static const char *const titles[] = {"family", "variant", "time", "ratio", "pairs", "verdict"};
    struct cli_table t;
    char *name = cli_printable(r->name, 0);
    printf("%s: %s, searched in %.1f s\n", r->id, name, r->seconds);
    free(name);
    cli_table_start(&t, 6, "llrrrl", titles);
    for (size_t i = 0; i < r->n; i++) {
        const clq_tune_row *row = &r->rows[i];
        if (!all && !row->chosen) continue;
        cli_cell(&t, "%s", row->family);
        cli_cell(&t, "%s", row->variant);
        cli_cell_take(&t, cli_time(row->seconds > 0 ? row->seconds : -1));
        if (row->pairs) cli_cell(&t, "%.2f +-%.2f", row->ratio, row->spread / 2);
        else cli_cell(&t, "-");
        cli_cell(&t, "%d", row->pairs);
        cli_cell(&t, "%s", verdict(row));
    }
    cli_table_print(&t, 0);
    for (size_t i = 0; i < r->n; i++) {
        char *why = cli_printable(r->rows[i].why, 0);
        if (*why) printf("%s %s: %s\n", r->rows[i].family, r->rows[i].variant, why);
        free(why);
    }
    if (r->few_rows >= 0) printf("products of at most %d rows use the form for few rows (gemv)\n", r->few_rows);
}

static void add_report(struct cli_json *j, const clq_tune_report *r)
{
    cli_json_object(j, NULL);
    cli_json_text(j, "id", r->id);
    cli_json_text(j, "name", r->name);
    cli_json_text(j, "driver", r->driver);
    cli_json_real(j, "seconds", r->seconds);
    cli_json_whole(j, "few_rows", r->few_rows);
    cli_json_text(j, "note", r->note);
    cli_json_array(j, "variants");
    for (size_t i = 0; i < r->n; i++) {
        const clq_tune_row *row = &r->rows[i];
        cli_json_object(j, NULL);
        cli_json_text(j, "family", row->family);
        cli_json_text(j, "variant", row->variant);
        cli_json_text(j, "verdict", verdict(row));
        cli_json_real(j, "seconds", row->seconds);
        cli_json_real(j, "ratio", row->ratio);
        cli_json_real(j, "spread", row->spread);
        cli_json_whole(j, "pairs", row->pairs);
        cli_json_text(j, "why", row->why);
        cli_json_end(j, '}');
    }
    cli_json_end(j, ']');
    cli_json_end(j, '}');
}

/* Tunes one device after the other; the first failure ends it. */
static int tune_all(struct cli *cli, const struct arguments *a, char ids[][32], size_t n)
{
    const char *path = a->dry_run ? NULL : cli->tuning_path;
    struct cli_json j;
    int code = CLI_DONE;
    cli_json_start(&j);
    cli_json_text(&j, "path", path);
    cli_json_array(&j, "devices");
    for (size_t i = 0; i < n && code == CLI_DONE; i++) {
        clq_tune_report *r = NULL;
        clq_status st = clq_tune(cli->ctx, ids[i], path, &r);
        if (st != CLQ_OK) {
            code = cli_fail(cli, st);
            break;
        }
        cli_progress_clear(&cli->progress);
        if (*r->note) code = cli_system(cli, "%s", r->note);
        if (cli->json) add_report(&j, r);
        else print_table(r, a->all);
        clq_tune_report_free(r);
    }
    cli_json_end(&j, ']');
    if (cli->json && code == CLI_DONE) cli_json_print(&j);
    else cli_json_drop(&j);
    if (code == CLI_DONE && !cli->json && path) printf("kept in %s\n", path);
    return code;
}

int cli_tune(struct cli *cli, int argc, char **argv)
{
    struct arguments a = {0};
    const char *none[1];
    char ids[MOST][32];
    size_t n = 0, found = 0;
    cli->device = "auto"; /* all, where the user names none */
    int code = cli_parse(cli, &spec, &a, none, argc, argv);
    if (code != CLI_GO_ON) return code;
    const char *device = cli->device;
    cli->device = "cpu"; /* the devices are opened by the tuner */
    cli->opencl = true;
    code = cli_open(cli);
    if (code != CLI_GO_ON) return code;
    if (!a.dry_run && !cli->tuning_path) cli_note(cli, "there is no cache folder: the result is only printed");
    if (strcmp(device, "auto") != 0) {
        snprintf(ids[n++], sizeof ids[0], "%.31s", device);
        return tune_all(cli, &a, ids, n);
    }
    clq_device_info *list = cli_alloc(MOST * sizeof *list);
    clq_status st = clq_devices_list(cli->ctx, list, MOST, &found, false);
    for (size_t i = 0; st == CLQ_OK && i < found && i < MOST; i++) memcpy(ids[n++], list[i].id, sizeof ids[0]);
    free(list);
    return st == CLQ_OK ? tune_all(cli, &a, ids, n) : cli_fail(cli, st);
}
