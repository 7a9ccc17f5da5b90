/* SPDX-License-Identifier: Apache-2.0
 * Messages, exit codes, the context and signals. */
#include "cli.h"

#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "out.h"

/* ---- Messages ---- */
static void print_line(struct cli *cli, const char *format, va_list args)
{
    char text[4096];
    vsnprintf(text, sizeof text, format, args);
    char *line = cli_printable(text, 0);
    cli_progress_clear(&cli->progress);
    fprintf(stderr, "clquant%s%s: %s\n", cli->name ? " " : "", cli->name ? cli->name : "", line);
    free(line);
}

int cli_usage(struct cli *cli, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print_line(cli, format, args);
    va_end(args);
    return CLI_USAGE;
}

int cli_system(struct cli *cli, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print_line(cli, format, args);
    va_end(args);
    return CLI_SYSTEM;
}

void cli_note(struct cli *cli, const char *format, ...)
{
    va_list args;
    if (cli->quiet) return;
    va_start(args, format);
    print_line(cli, format, args);
    va_end(args);
}

static int code_of(clq_status status, bool output)
{
    switch (status) {
    case CLQ_OK: return CLI_DONE;
    case CLQ_ERR_BUDGET: return CLI_FAILED;
    case CLQ_ERR_INVALID_ARGUMENT:
    case CLQ_ERR_FORMAT:
    case CLQ_ERR_NUMERIC: return CLI_USAGE;
    case CLQ_ERR_IO: return output ? CLI_SYSTEM : CLI_USAGE;
    case CLQ_ERR_UNSUPPORTED: return CLI_UNSUPPORTED;
    case CLQ_ERR_OUT_OF_MEMORY:
    case CLQ_ERR_NO_DEVICE:
    case CLQ_ERR_DEVICE:
    case CLQ_ERR_BUILD:
    case CLQ_ERR_INTERNAL: return CLI_SYSTEM;
    }
    return CLI_SYSTEM;
}

static int fail(struct cli *cli, clq_status status, bool output)
{
    if (cli_stopped()) {
        cli_progress_clear(&cli->progress);
        fprintf(stderr, "clquant %s: interrupted\n", cli->name);
        return cli_stop_code();
    }
    const char *text = cli->ctx ? clq_error_message(cli->ctx) : cli->kept;
    cli_usage(cli, "%s", *text ? text : clq_status_name(status));
    return code_of(status, output);
}

int cli_fail(struct cli *cli, clq_status status)
{
    return fail(cli, status, false);
}

int cli_fail_output(struct cli *cli, clq_status status)
{
    return fail(cli, status, true);
}

/* ---- Context ---- */
static void on_log(void *user, const char *line)
{
    struct cli *cli = user;
    if (cli->opening) snprintf(cli->kept, sizeof cli->kept, "%s", line);
    else cli_note(cli, "%s", line);
}

static void on_progress(void *user, const char *phase, double fraction)
{
    struct cli *cli = user;
    cli_progress_report(&cli->progress, phase, fraction);
}

static bool on_cancel(void *user)
{
    (void)user;
    return cli_stopped();
}

/* The OpenMP runtime reads its wait policy only when a process starts. Its default, spinning, makes two threads up to a
 * thousand times slower as soon as another process takes one of the cores, so the command starts itself once more with
 * the passive policy. Who sets a policy keeps it. */
static void start_passive(struct cli *cli)
{
    if (cli->threads == 1 || getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return;
    char *own = cli_own_path();
    setenv("OMP_WAIT_POLICY", "passive", 1);
    if (own) execv(own, cli->argv);
    free(own);
}

int cli_open(struct cli *cli)
{
    start_passive(cli);
    const char *isa = cli->isa ? cli->isa : getenv("CLQ_ISA");
    clq_context_options opt = {.threads = (int)cli->threads, .device = cli->device, .require_device = cli->require_device,
                               .isa = isa && *isa ? isa : NULL, .runtime = cli->measure, .log = on_log, .progress = on_progress, .cancel = on_cancel, .user = cli};
    const char *why = NULL;
    const bool cached = cli->opencl || strcmp(cli->device, "cpu") != 0;
    char *folder = cached ? cli_cache_folder(&why) : cli_cache_path(), *programs = cached && folder ? cli_print("%s/opencl", folder) : NULL;
    if (folder) cli->tuning_path = cli_print("%s/tuning.json", folder);
    opt.cl_cache_dir = programs;
    opt.tuning_path = cli->tuning_path;
    cli_progress_start(&cli->progress, cli->quiet);
    if (opt.isa) setenv("CLQ_ISA", opt.isa, 1); /* timing processes inherit the limit */
    cli->opening = true;
    clq_status st = clq_context_create(&cli->ctx, &opt);
    cli->opening = false;
    free(folder);
    free(programs);
    if (st != CLQ_OK) return cli_fail(cli, st);
    if (*clq_context_fallback(cli->ctx)) cli_note(cli, "%s", clq_context_fallback(cli->ctx));
    return CLI_GO_ON;
}

void cli_close(struct cli *cli)
{
    cli_progress_clear(&cli->progress);
    clq_context_free(cli->ctx);
    cli->ctx = NULL;
    free(cli->tuning_path);
    cli->tuning_path = NULL;
}

int cli_load(struct cli *cli, clq_model **out, const char *path)
{
    clq_model_options opt = {.follow_links = cli->follow_links};
    clq_status st = clq_model_load(out, cli->ctx, path, &opt);
    if (st == CLQ_OK || cli_stopped()) return st == CLQ_OK ? CLI_GO_ON : cli_fail(cli, st);
    const char *text = clq_error_message(cli->ctx);
    if (strstr(text, path)) return cli_fail(cli, st);
    cli_usage(cli, "'%s': %s", path, text);
    return code_of(st, false);
}

int cli_finish(struct cli *cli, int code)
{
    cli_progress_clear(&cli->progress);
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    return cli_system(cli, "the result could not be written to standard output");
}

/* ---- Signals. The only state that a handler can reach is static; atomic, because any thread may be given the signal. ---- */
static atomic_int stop_signal, held;
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "a signal handler may use lock-free atomics only");

static void on_signal(int number)
{
    if (atomic_exchange(&stop_signal, number) && !held) _exit(128 + number);
}

void cli_catch_signals(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction old;
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN) sigaction(numbers[i], &action, NULL);
    }
}

bool cli_stopped(void)
{
    return stop_signal != 0;
}

int cli_stop_code(void)
{
    return 128 + stop_signal;
}

void cli_hold(void)
{
    held = 1;
}

void cli_release(void)
{
    held = 0;
}

/* ---- Memory ---- */
static void *or_end(void *p)
{
    if (p) return p;
    fputs("clquant: out of memory\n", stderr);
    _exit(CLI_SYSTEM);
}

void *cli_alloc(size_t bytes)
{
    return or_end(calloc(1, bytes ? bytes : 1));
}

void *cli_grow(void *old, size_t bytes)
{
    return or_end(realloc(old, bytes ? bytes : 1));
}

char *cli_print(const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *out = cli_alloc(n < 0 ? 1 : (size_t)n + 1);
    if (n > 0) vsnprintf(out, (size_t)n + 1, format, again);
    va_end(again);
    return out;
}
