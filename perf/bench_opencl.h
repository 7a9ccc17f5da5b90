/* SPDX-License-Identifier: Apache-2.0
 * The cases on an OpenCL device: a kernel table whose entries call the device. */
#ifndef CLQ_PERF_BENCH_OPENCL_H
#define CLQ_PERF_BENCH_OPENCL_H

#include <stdbool.h>

#include "tests/harness.h"

/* Opens a device; false with the reason in *why. cpu: bits that CPU-shaped variants may use. */
bool clq_bench_cl_open(int index, unsigned cpu, const char **why);
void clq_bench_cl_close(void);
const char *clq_bench_cl_name(void);
int clq_bench_cl_units(void);
bool clq_bench_cl_is_cpu(void);

/* What the open device can do: bytes per second to it, from it, and of a pass over memory there (minimum and maximum), and
 * the seconds of one small kernel with waiting. false with the reason in *why. */
bool clq_bench_cl_rates(double rates[4], size_t bytes, double seconds, const char **why);

/* Builds and proves what an operation needs; its seconds, or < 0 when the device refuses it. */
double clq_bench_cl_build(const char *op);
const char *clq_bench_cl_variant(const char *op);

/* The table for one case. resident: operands stay on the device and runs are queued, so that clq_bench_cl_finish is
 * needed; otherwise every run carries its operands there and back. */
void clq_bench_cl_table(struct clq_kernels *out, const struct clq_case *c, bool resident);
void clq_bench_cl_finish(void);
/* Forgets the case; false when the device did not take it or failed. */
bool clq_bench_cl_done(void);

#endif
