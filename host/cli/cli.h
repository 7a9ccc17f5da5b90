/* SPDX-License-Identifier: Apache-2.0
 * What all subcommands share: the common options, the context, exit codes, messages and signals. Everything that is not
 * a result goes to stderr; with --json stdout carries exactly one JSON object. */
#ifndef CLQ_CLI_H
#define CLQ_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include <clquant/model.h>

#include "options.h"
#include "progress.h"

enum cli_exit {
    CLI_DONE = 0,
    CLI_FAILED = 1,      /* a comparison or a requested bound failed */
    CLI_USAGE = 2,       /* bad usage or bad input */
    CLI_UNSUPPORTED = 3, /* the model needs something that does not exist here */
    CLI_SYSTEM = 4,      /* a device, memory or an output failed */
    CLI_INTERRUPTED = 130
};

struct cli {
    /* common options */
    bool json, quiet, force, require_device, follow_links;
    const char *device, *isa;
    long long threads;
    /* of the commands that run models; NULL: our own kernels */
    const char *measure;
    /* state */
    char **argv;      /* of main, for starting again */
    const char *name; /* of the subcommand, for messages */
    clq_context *ctx;
    bool opencl;       /* the command opens OpenCL devices itself: they get the user's cache, as --device's does */
    char *tuning_path; /* the user's tuning file, or NULL where there is no cache folder */
    struct cli_progress progress;
    bool opening;     /* the context is being created: log lines are kept, not printed */
    char kept[1024];
};

/* Subcommands: argv are the words after the name; the result is the exit code. */
typedef int cli_run(struct cli *cli, int argc, char **argv);
cli_run cli_devices, cli_inspect, cli_quantize, cli_run_model, cli_eval, cli_check, cli_bench, cli_diff, cli_explain, cli_plan, cli_profile, cli_tune;

/* ---- Messages: one line on stderr each ---- */
int cli_usage(struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));  /* returns CLI_USAGE */
int cli_system(struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3))); /* returns CLI_SYSTEM */
void cli_note(struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));  /* not with --quiet */

/* Prints the context's message and returns the exit code that the status stands for; after a signal, the code of the signal. */
int cli_fail(struct cli *cli, clq_status status);
/* The same for something that was being written. */
int cli_fail_output(struct cli *cli, clq_status status);

/* ---- Context and models ---- */

/* CLI_GO_ON or the exit code. The first call of a process may start the command anew with another environment: nothing
 * may have been printed or written before it. */
int cli_open(struct cli *cli);
void cli_close(struct cli *cli);
int cli_load(struct cli *cli, clq_model **out, const char *path);

/* ---- Signals ---- */
void cli_catch_signals(void);
bool cli_stopped(void);
int cli_stop_code(void);
/* Between hold and release a second Ctrl-C does not end the process at once, so that no output stays half written. */
void cli_hold(void);
void cli_release(void);

/* Flushes stdout; a result that could not be printed is a failure. */
int cli_finish(struct cli *cli, int code);

/* Memory or the end of the process with code 4. */
void *cli_alloc(size_t bytes);
void *cli_grow(void *old, size_t bytes);
char *cli_print(const char *format, ...) __attribute__((format(printf, 1, 2))); /* for free() */

#endif
