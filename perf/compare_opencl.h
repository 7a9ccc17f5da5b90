/* SPDX-License-Identifier: Apache-2.0
 * A kernel of an OpenCL device that is this CPU beside our own kernel and a ceiling of the same cores, in interleaved rounds. */
#ifndef CLQ_PERF_COMPARE_OPENCL_H
#define CLQ_PERF_COMPARE_OPENCL_H

#include "base/pool.h"
#include "device_cl.h"

struct clq_race {
    struct clq_kernels kernels;
    struct clq_pool *pool;
    struct clq_cl *cl;
    struct clq_error err;
    int threads, rounds;
    /* The problem. */
    double work; /* per run: operations, or bytes */
    size_t units;
    char *scratch; /* of all threads */
    size_t stride;
    void (*native)(struct clq_race *race, size_t begin, size_t end, char *scratch);
    clq_status (*device)(struct clq_race *race);
    double (*ceiling)(struct clq_race *race); /* work per second of one thread */
};

struct clq_race_result {
    double native, device, rate, share, ratio; /* seconds, seconds, work per second and share of the ceiling of the device, native / device */
};

/* Ends the program where st is a failure. */
void clq_race_must(clq_status st, const struct clq_race *race);
/* Memory for n bytes at a multiple of 64, filled with noise; ends the program where there is none. */
void *clq_race_bytes(size_t n, unsigned seed);
void clq_race_native(struct clq_race *race);
struct clq_race_result clq_race_run(struct clq_race *race);

/* compare_opencl_u4.c: products with 4-bit weights. */
void clq_race_u4(struct clq_race *race);

#endif
