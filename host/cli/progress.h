/* SPDX-License-Identifier: Apache-2.0
 * The progress line: phase, part that is done and time left, on stderr. On a terminal one line is rewritten; elsewhere a
 * line is printed every few seconds. Nothing is shown for work that ends within two seconds. */
#ifndef CLQ_CLI_PROGRESS_H
#define CLQ_CLI_PROGRESS_H

#include <stdbool.h>

struct cli_progress {
    bool off, terminal, shown;
    char phase[64];
    double begin, phase_begin, last;
};

double cli_now(void); /* seconds of a steady clock */

void cli_progress_start(struct cli_progress *p, bool off);
void cli_progress_report(struct cli_progress *p, const char *phase, double fraction);
/* Removes the line from the terminal, before anything else is printed. */
void cli_progress_clear(struct cli_progress *p);

#endif
