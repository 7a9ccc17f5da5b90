/* SPDX-License-Identifier: Apache-2.0
 * The seam for long work on threads (short integer steps: pool.h): OpenMP in normal builds, own threads under ThreadSanitizer (libgomp is not instrumented).
 * Work is cut into units by shape; results never depend on the number of threads. */
#ifndef CLQ_BASE_PARALLEL_H
#define CLQ_BASE_PARALLEL_H

#include <stddef.h>

/* Runs body(state, begin, end, thread) over disjoint ranges that cover 0..units-1; thread < threads. With threads <= 1
 * or units <= 1 it runs in the caller. Must not be nested. */
typedef void clq_parallel_body(void *state, size_t begin, size_t end, int thread);
void clq_parallel_for(int threads, size_t units, clq_parallel_body *body, void *state);

/* The cores that affinity and cgroup limits leave to this process, at least 1. */
int clq_parallel_limit(void);

#endif
