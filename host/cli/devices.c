/* SPDX-License-Identifier: Apache-2.0
 * clquant devices: the CPU and every OpenCL device, with the verdict of its self-test. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "out.h"

struct arguments {
    bool no_self_test;
};

static const struct cli_option options[] = {
    {"no-self-test", 0, CLI_FLAG, offsetof(struct arguments, no_self_test), NULL, 0, 0, "only list, which takes no time"},
    {NULL, 0, CLI_FLAG, 0, NULL, 0, 0, NULL},
};

static const struct cli_spec spec = {
    .name = "devices",
    .arguments = "",
    .summary = "Lists the CPU (instruction set, threads) and every OpenCL device. Each kernel family of a device is compared\n"
               "with the reference, bit for bit; a device that differs is refused, and the reason is printed.\n",
    .options = options,
    .example = "  clquant devices\n  clquant devices --json --no-self-test\n",
};

enum { MOST = 64 };

/* One line per kernel family. */
static void print_families(const char *families)
{
    while (*families) {
        const size_t n = strcspn(families, "\n");
        char *line = cli_print("%.*s", (int)n, families), *text = cli_printable(line, 0);
        printf("  %s\n", text);
        free(line);
        free(text);
        families += n + (families[n] == '\n');
    }
}

static void add_families(struct cli_json *j, const char *families)
{
    cli_json_object(j, "families");
    while (*families) {
        const size_t n = strcspn(families, "\n"), name = strcspn(families, ":");
        if (name < n) {
            char *key = cli_print("%.*s", (int)name, families), *value = cli_print("%.*s", (int)(n - name - 2), families + name + 2);
            cli_json_text(j, key, value);
            free(key);
            free(value);
        }
        families += n + (families[n] == '\n');
    }
    cli_json_end(j, '}');
}

static void print_table(const struct cli *cli, const clq_device_info *list, size_t n)
{
    static const char *const titles[] = {"device", "name", "type", "units", "memory", "driver", "usable"};
    struct cli_table t;
    cli_table_start(&t, 7, "lllrrll", titles);
    for (size_t i = 0; i < n; i++) {
        cli_cell(&t, "%s", list[i].id);
        cli_cell(&t, "%s", list[i].name);
        cli_cell(&t, "%s", list[i].type);
        cli_cell(&t, "%u", list[i].units);
        cli_cell_take(&t, cli_bytes((double)list[i].memory_bytes));
        cli_cell(&t, "%s", list[i].driver);
        cli_cell(&t, "%s", list[i].usable ? "yes" : "no");
    }
    cli_table_print(&t, 0);
    printf("\n");
    for (size_t i = 0; i < n; i++) {
        char *verdict = cli_printable(list[i].verdict, 0);
        printf("%s: %s\n", list[i].id, verdict);
        free(verdict);
        print_families(list[i].families);
    }
    if (n == 1) printf("no OpenCL device: everything runs on the CPU\n");
    printf("CPU kernels: %s, %d thread%s\n", clq_context_isa(cli->ctx), clq_context_threads(cli->ctx), clq_context_threads(cli->ctx) == 1 ? "" : "s");
}

static void print_json(const struct cli *cli, const clq_device_info *list, size_t n, bool tested)
{
    struct cli_json j;
    cli_json_start(&j);
    cli_json_text(&j, "isa", clq_context_isa(cli->ctx));
    cli_json_whole(&j, "threads", clq_context_threads(cli->ctx));
    cli_json_bool(&j, "self_tested", tested);
    cli_json_array(&j, "devices");
    for (size_t i = 0; i < n; i++) {
        cli_json_object(&j, NULL);
        cli_json_text(&j, "id", list[i].id);
        cli_json_text(&j, "name", list[i].name);
        cli_json_text(&j, "type", list[i].type);
        cli_json_text(&j, "driver", list[i].driver);
        cli_json_whole(&j, "units", list[i].units);
        cli_json_real(&j, "memory_bytes", (double)list[i].memory_bytes);
        cli_json_bool(&j, "usable", list[i].usable);
        cli_json_text(&j, "verdict", list[i].verdict);
        if (*list[i].families) add_families(&j, list[i].families);
        cli_json_end(&j, '}');
    }
    cli_json_end(&j, ']');
    cli_json_print(&j);
}

int cli_devices(struct cli *cli, int argc, char **argv)
{
    struct arguments a = {0};
    const char *none[1];
    int code = cli_parse(cli, &spec, &a, none, argc, argv);
    cli->opencl = !a.no_self_test;
    if (code == CLI_GO_ON) code = cli_open(cli);
    if (code != CLI_GO_ON) return code;
    clq_device_info *list = cli_alloc(MOST * sizeof *list);
    size_t n = 0;
    clq_status st = clq_devices_list(cli->ctx, list, MOST, &n, !a.no_self_test);
    if (st != CLQ_OK) code = cli_fail(cli, st);
    else {
        if (n > MOST) cli_note(cli, "%zu devices exist, the first %d are listed", n, MOST);
        n = n > MOST ? MOST : n;
        if (cli->json) print_json(cli, list, n, !a.no_self_test);
        else print_table(cli, list, n);
        code = CLI_DONE;
    }
    free(list);
    return code;
}
