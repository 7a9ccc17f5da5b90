/* SPDX-License-Identifier: Apache-2.0
 * Ceilings of this machine, to be measured beside every kernel: what one core can issue with all operands in registers,
 * and what it can read or copy from a working set of a given size. */
#ifndef CLQ_PERF_PROBE_H
#define CLQ_PERF_PROBE_H

#include <stddef.h>

double clq_probe_now(void); /* seconds of a steady clock */

/* A register loop. */
struct clq_probe {
    const char *name;          /* the instructions */
    double (*run)(long loops); /* operations per second; a multiplication and an addition are two */
    unsigned needs;            /* CLQ_CPU_* bits */
};
extern const struct clq_probe clq_probes[]; /* ends with a NULL name */

/* The ceiling of an integer product on a level of clq_cpu_levels, or NULL where there is none ("ref"). */
const struct clq_probe *clq_probe_of(const char *level, int signed_activations);

/* Bytes per second. memory: bytes of working set, a multiple of 4096, 64-byte aligned. Copying moves one half onto the
 * other and counts what is read plus what is written. */
double clq_probe_read(const char *memory, size_t bytes);
double clq_probe_copy(char *memory, size_t bytes);

#endif
