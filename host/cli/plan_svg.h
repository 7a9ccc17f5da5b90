/* SPDX-License-Identifier: Apache-2.0
 * The points of a frontier as a drawing. */
#ifndef CLQ_CLI_PLAN_SVG_H
#define CLQ_CLI_PLAN_SVG_H

#include <stdio.h>

#include <clquant/frontier.h>

/* One self-contained SVG: speed-up over SQNR, filled where no other point is better in all three. */
void cli_plan_svg(FILE *f, const clq_result *result);

#endif
