/* SPDX-License-Identifier: Apache-2.0
 * The search for the fastest variant of every kernel family of one device: every candidate is checked exactly before it
 * is timed, and only the rule of scheduler/compare.h moves the choice away from the default. */
#ifndef CLQ_CL_TUNE_H
#define CLQ_CL_TUNE_H

#include "device_cl.h"
#include "scheduler/tuning.h"

struct clq_cl_candidate {
    enum clq_cl_family family;
    char variant[CLQ_TUNING_NAME];
    bool passed, chosen;
    double seconds;       /* of the family's problems, one run each; 0: not timed */
    double ratio, spread; /* to the incumbent that it was compared with; 0: dropped before that */
    int pairs;
    char why[160]; /* why it did not pass, "" otherwise */
};

struct clq_cl_tuned {
    struct clq_tuning tuning;
    struct clq_cl_candidate *candidate; /* free() */
    size_t n;
};

struct clq_cl_tune_options {
    struct clq_cl_options device; /* prefer and few_rows are the tuner's */
    /* Called between measurements; false stops. family: its name; fraction of the whole, 0 to 1. */
    bool (*progress)(void *user, const char *family, double fraction);
    void *user;
};

/* Stopped by the caller: CLQ_ERR_INVALID_ARGUMENT "canceled", and nothing in *out. */
clq_status clq_cl_tune(struct clq_cl_tuned *out, int index, const struct clq_cl_tune_options *options, struct clq_error *err);

#endif
