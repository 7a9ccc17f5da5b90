/* SPDX-License-Identifier: Apache-2.0
 * Inputs of models from the command line: data sets, labels, single arrays. */
#ifndef CLQ_CLI_SAMPLES_H
#define CLQ_CLI_SAMPLES_H

#include <clquant/data.h>

#include "cli.h"

/* All open what they name, or print the reason and return the exit code; CLI_GO_ON means success. */
int cli_open_data(struct cli *cli, clq_data **out, const clq_model *model, const char *path, const clq_data_options *options);

/* Labels from a .npy of whole numbers; value is for free(). path NULL: none. */
struct cli_labels {
    int64_t *value;
    size_t n, length; /* in all, and in the last axis */
};
int cli_load_labels(struct cli *cli, struct cli_labels *out, const char *path);
/* Real numbers from a .npy; *scores is for free(). path NULL: none. */
int cli_load_scores(struct cli *cli, double **scores, size_t *n, const char *path);

/* The values of a whole-number tensor as int64_t, of floats of 8 and 4 bits the codes; false for other types. */
bool cli_read_whole(int64_t *out, const clq_tensor *t, size_t n);
/* The values of a real tensor as double (float16 and bfloat16 widened); false for other types. */
bool cli_read_real(double *out, const clq_tensor *t, size_t n);

#endif
