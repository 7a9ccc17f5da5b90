/* SPDX-License-Identifier: Apache-2.0
 *
 * tune.h - finds the fastest kernels of the CPU or an OpenCL device and keeps the result.
 *
 *     clq_tune_report *r;
 *     if (clq_tune(ctx, "opencl:0", "tuning.json", &r) == CLQ_OK) {
 *         for (size_t i = 0; i < r->n; i++)
 *             if (r->rows[i].chosen)
 *                 printf("%s: %s\n", r->rows[i].family, r->rows[i].variant);
 *         clq_tune_report_free(r);
 *     }
 *
 * All variants of a kernel give the same bytes: a result changes how fast a device is, never what it computes. A context
 * uses it when clq_context_options.tuning_path names the file.
 */
#ifndef CLQUANT_TUNE_H
#define CLQUANT_TUNE_H

#include <stdbool.h>
#include <stddef.h>

#include <clquant/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One variant of one kernel family. */
typedef struct clq_tune_row {
    char family[48], variant[48];
    bool passed;          /* built, and every byte of its self-test and of the timed problems was right */
    bool chosen;          /* at most one per family */
    double seconds;       /* rough time of the family's problems; 0: not timed */
    double ratio, spread; /* median and interquartile range of time / time of the incumbent in interleaved pairs; 0: it
                             was not compared, because it is the default or because it was far behind */
    int pairs;
    char why[160];        /* why it did not pass, "" otherwise */
} clq_tune_row;

typedef struct clq_tune_report {
    char id[32], name[128], driver[256];
    size_t n;
    clq_tune_row *rows;
    int few_rows;    /* products of at most so many rows use the form for few rows; -1: the device has none */
    double seconds;  /* that the search took */
    char note[256];  /* why the result was not kept, "" where it was or where no file was named */
} clq_tune_report;

/* Searches one device ("cpu", "opencl", "opencl:N") and puts the result into the file at path (NULL: nowhere), in the place of
 * the device's earlier one. The CPU with other threads or other instructions counts as another device: the context's are
 * searched. Takes seconds to a minute; progress and cancel are the context's. A search that is canceled or fails leaves the
 * file as it was.
 * CLQ_ERR_NO_DEVICE: there is no such device. CLQ_ERR_INVALID_ARGUMENT: device is something else, or "canceled". */
CLQ_API clq_status clq_tune(clq_context *ctx, const char *device, const char *path, clq_tune_report **out);
/* NULL is allowed. */
CLQ_API void clq_tune_report_free(clq_tune_report *report);

#ifdef __cplusplus
}
#endif
#endif
