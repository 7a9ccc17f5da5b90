/* SPDX-License-Identifier: Apache-2.0
 * Preloaded into the command: an OpenCL device that fails half-way. From launch CLQ_TEST_FAIL_AT on (counted from 1; 0: none)
 * every launch of a kernel is refused. CLQ_TEST_LAUNCHES names a file that gets the number of launches in the end. */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

typedef cl_int launch_fn(cl_command_queue, cl_kernel, cl_uint, const size_t *, const size_t *, const size_t *, cl_uint, const cl_event *, cl_event *);

static atomic_ullong launches;

__attribute__((visibility("default"))) cl_int
clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint dims, const size_t *offset, const size_t *global, const size_t *local, cl_uint n_events,
                       const cl_event *events, cl_event *event)
{
    const char *at = getenv("CLQ_TEST_FAIL_AT");
    launch_fn *real;
    *(void **)&real = dlsym(RTLD_NEXT, "clEnqueueNDRangeKernel");
    const unsigned long long n = atomic_fetch_add(&launches, 1) + 1, from = at ? strtoull(at, NULL, 10) : 0;
    if (!real || (from && n >= from)) return CL_OUT_OF_RESOURCES;
    return real(queue, kernel, dims, offset, global, local, n_events, events, event);
}

__attribute__((destructor)) static void tell(void)
{
    const char *path = getenv("CLQ_TEST_LAUNCHES");
    FILE *f = path && atomic_load(&launches) ? fopen(path, "w") : NULL;
    if (!f) return;
    fprintf(f, "%llu\n", (unsigned long long)atomic_load(&launches));
    fclose(f);
}
