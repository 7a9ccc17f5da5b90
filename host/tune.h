/* SPDX-License-Identifier: Apache-2.0
 * Between a context and the tuning file: the key of a device, and what a device is opened with. */
#ifndef CLQ_TUNE_H
#define CLQ_TUNE_H

#include "context.h"
#ifdef CLQ_HAVE_OPENCL
#include "device_cl.h"
#endif

/* Puts what the context's tuning file says of the CPU, with these instructions and threads, into the kernel table. */
clq_status clq_tune_apply_cpu(struct clq_context *ctx, struct clq_error *err);

#ifdef CLQ_HAVE_OPENCL
enum { CLQ_TUNE_PREFER = 2048 };

/* Sets prefer (its text goes to text) and few_rows from the file at path, if it has an entry that holds for the device. One
 * line goes to the log where the file or the entry is not used. */
clq_status clq_tune_apply(struct clq_cl_options *options, char text[CLQ_TUNE_PREFER], struct clq_context *ctx,
                          const struct clq_cl_info *device, const char *path, struct clq_error *err);
#endif

#endif
