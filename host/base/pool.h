/* SPDX-License-Identifier: Apache-2.0
 * Threads for short integer steps. Each has its own units, the same ones in every job of a size, and whoever is done takes the
 * others'. A thread that the system has taken away delays the few units that it holds and nothing else: there is no barrier to
 * spin at. The owner of the pool works too. One caller at a time. */
#ifndef CLQ_BASE_POOL_H
#define CLQ_BASE_POOL_H

#include <stddef.h>

#include "base/parallel.h"

struct clq_pool;

/* threads counts the caller: threads - 1 workers are started, fewer when the system refuses. NULL when memory is out. */
struct clq_pool *clq_pool_create(int threads);
void clq_pool_free(struct clq_pool *pool);

/* Runs body over ranges that cover 0 .. units - 1, with up to `threads` of the pool's threads, and returns when all is
 * done. pool NULL: in the caller. thread in body is below the pool's thread count. */
void clq_pool_for(struct clq_pool *pool, int threads, size_t units, clq_parallel_body *body, void *state);

#endif
