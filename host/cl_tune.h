/* SPDX-License-Identifier: Apache-2.0
 * The search for the fastest variant of every kernel family of an OpenCL device. */
#ifndef CLQ_CL_TUNE_H
#define CLQ_CL_TUNE_H

#include "device_cl.h"
#include "tune_search.h"

struct clq_cl_tuned {
    struct clq_tuning tuning;
    clq_tune_row *rows; /* free() */
    size_t n;
};

struct clq_cl_tune_options {
    struct clq_cl_options device; /* prefer and few_rows are the tuner's */
    bool (*progress)(void *user, const char *family, double fraction); /* as in struct clq_tune_search */
    void *user;
};

/* Stopped by the caller: CLQ_ERR_INVALID_ARGUMENT "canceled", and nothing in *out. */
clq_status clq_cl_tune(struct clq_cl_tuned *out, int index, const struct clq_cl_tune_options *options, struct clq_error *err);

#endif
