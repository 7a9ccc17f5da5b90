/* SPDX-License-Identifier: Apache-2.0
 * The CPU as a device that is tuned: the variants of an operation are those that the steps of the ladder have for it, the
 * highest being the default. */
#ifndef CLQ_TUNE_CPU_H
#define CLQ_TUNE_CPU_H

#include "context.h"
#include "tune_search.h"

/* How many variants there are in all. */
size_t clq_tune_cpu_count(const struct clq_context *ctx);
/* Searches with the context's threads and instructions; s has room for all variants. */
clq_status clq_tune_cpu(struct clq_tune_search *s, struct clq_context *ctx, struct clq_error *err);
/* Puts the choices into a table whose instructions are cpu. A variant that does not exist there is passed over. True if an
 * entry has changed. */
bool clq_tune_cpu_choose(struct clq_kernels *kernels, unsigned cpu, const struct clq_tuning *tuning);

#endif
