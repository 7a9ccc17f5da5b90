/* SPDX-License-Identifier: Apache-2.0
 * Progress and the estimate of what is left: the phase's own pace so far. */
#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const double quiet_seconds = 2, terminal_step = 0.1, file_step = 5;

double cli_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void cli_progress_start(struct cli_progress *p, bool off)
{
    *p = (struct cli_progress){.off = off, .terminal = isatty(STDERR_FILENO) == 1};
    p->begin = p->phase_begin = cli_now();
}

static void print_left(char *out, size_t bytes, double seconds)
{
    long s = (long)(seconds + 0.5);
    if (s < 60) snprintf(out, bytes, "%ld s", s < 1 ? 1 : s);
    else if (s < 3600) snprintf(out, bytes, "%ld min %ld s", s / 60, s % 60);
    else snprintf(out, bytes, "%ld h %ld min", s / 3600, s / 60 % 60);
}

void cli_progress_report(struct cli_progress *p, const char *phase, double fraction)
{
    double now = cli_now();
    if (p->off) return;
    if (strncmp(p->phase, phase, sizeof p->phase - 1) != 0) {
        snprintf(p->phase, sizeof p->phase, "%s", phase);
        p->phase_begin = now;
    }
    if (now - p->begin < quiet_seconds || now - p->last < (p->terminal ? terminal_step : file_step)) return;
    fraction = fraction < 0 ? 0 : fraction > 1 ? 1 : fraction;
    p->last = now;
    char left[48] = "";
    double spent = now - p->phase_begin;
    bool known = fraction > 0 && fraction < 1 && spent > 1;
    if (known) print_left(left, sizeof left, spent * (1 - fraction) / fraction);
    fprintf(stderr, "%s%s: %3.0f %%%s%s%s", p->terminal ? "\r\033[K" : "clquant: ", p->phase, 100 * fraction, known ? ", " : "", left,
            known ? " left" : "");
    if (!p->terminal) fputc('\n', stderr);
    fflush(stderr);
    p->shown = p->terminal;
}

void cli_progress_clear(struct cli_progress *p)
{
    if (p->shown) fputs("\r\033[K", stderr);
    p->shown = false;
}
