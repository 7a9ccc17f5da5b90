/* SPDX-License-Identifier: Apache-2.0
 * bench model --profile. */
#ifndef CLQ_CLI_BENCH_STEPS_H
#define CLQ_CLI_BENCH_STEPS_H

#include "cli.h"

/* Runs a model on the inputs and prints the time of each step; runs 0: as many as fit into 10 s, 21 to 200. The exit code. */
int cli_bench_steps(struct cli *cli, const clq_model *model, const clq_tensor *inputs, size_t runs);

/* How many runs of so many seconds fit into the time, at least 21 and at most 200. */
size_t cli_bench_fit(double seconds, double each);

#endif
