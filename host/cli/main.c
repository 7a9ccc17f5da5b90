/* SPDX-License-Identifier: Apache-2.0
 * The clquant command: which subcommands there are, and what holds for all of them. It uses public headers only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <clquant/version.h>

#include "cli.h"

static const struct {
    const char *name;
    cli_run *run;
    const char *what;
} commands[] = {
    {"devices", cli_devices, "the CPU and every OpenCL device, with self-test verdict"},
    {"inspect", cli_inspect, "inputs, outputs, operators and layers of a model"},
    {"quantize", cli_quantize, "write a quantized model, decided by measured error and time"},
    {"plan", cli_plan, "what can be had: error, time and size of several plans"},
    {"profile", cli_profile, "files of measured times: show, diff, merge"},
    {"run", cli_run_model, "run a model on arrays from files"},
    {"eval", cli_eval, "accuracy, and error against a reference"},
    {"check", cli_check, "compare with stored outputs (ONNX backend tests)"},
    {"bench", cli_bench, "time a model, or all kernels"},
    {"tune", cli_tune, "find the fastest kernels of the CPU and of OpenCL devices"},
    {"explain", cli_explain, "what a plan decided, and why"},
    {"diff", cli_diff, "what two plans decided differently"},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_help(void)
{
    printf("usage: clquant COMMAND ...\n\nQuantizes ONNX models on measured error and measured speed.\n\ncommands:\n");
    for (int i = 0; i < COMMANDS; i++) printf("  %-10s  %s\n", commands[i].name, commands[i].what);
    printf("\n'clquant help COMMAND' or 'clquant COMMAND --help' shows the options of one. Common options:\n");
    cli_print_common();
    printf("\nexit codes:\n"
           "  0    done\n"
           "  1    a comparison or a requested bound failed\n"
           "  2    bad usage or bad input\n"
           "  3    the model needs something unsupported\n"
           "  4    a device, memory or an output failed\n"
           "  130  interrupted\n"
           "\nexample:\n  clquant quantize model.onnx --data calib.npz -o model.int8.onnx\n");
}

static int dispatch(struct cli *cli, int argc, char **argv)
{
    const char *names[COMMANDS + 2];
    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(argv[0], commands[i].name) == 0) return commands[i].run(cli, argc - 1, argv + 1);
        names[i] = commands[i].name;
    }
    names[COMMANDS] = "help";
    names[COMMANDS + 1] = NULL;
    return cli_usage(cli, "unknown command '%s'; the nearest known one is %s", argv[0], cli_nearest(argv[0], names));
}

/* "help", "help quantize", "help bench model". */
static int help(struct cli *cli, int argc, char **argv)
{
    enum { MOST = 3 };
    char *words[MOST + 1];
    int n = 0;
    if (argc == 0) {
        print_help();
        return CLI_DONE;
    }
    while (n < argc && n < MOST - 1) {
        words[n] = argv[n];
        n++;
    }
    words[n++] = "--help";
    words[n] = NULL;
    return dispatch(cli, n, words);
}

static int run(struct cli *cli, int argc, char **argv)
{
    int used = 0, code = cli_parse_common(cli, &used, argc - 1, argv + 1);
    if (code != CLI_GO_ON) return code;
    argc -= 1 + used;
    argv += 1 + used;
    if (argc == 0) return cli_usage(cli, "a command is missing; see clquant --help");
    if (strcmp(argv[0], "--version") == 0 || strcmp(argv[0], "-V") == 0) {
        printf("clquant %s\n", CLQ_VERSION);
        return CLI_DONE;
    }
    if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) return help(cli, 0, NULL);
    if (strcmp(argv[0], "help") == 0) return help(cli, argc - 1, argv + 1);
    return dispatch(cli, argc, argv);
}

int main(int argc, char **argv)
{
    struct cli cli = {.argv = argv, .device = "cpu"};
    cli_catch_signals();
    cli_progress_start(&cli.progress, false);
    int code = run(&cli, argc, argv);
    code = cli_finish(&cli, code);
    cli_close(&cli);
    return code;
}
