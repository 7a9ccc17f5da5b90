/* SPDX-License-Identifier: Apache-2.0
 * Threads: OpenMP, or plain pthreads where a sanitizer must see every synchronization. */
#include "base/parallel.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
#include <pthread.h>

struct job {
    clq_parallel_body *body;
    void *state;
    size_t begin, end;
    int thread;
};

static void *job_run(void *p)
{
    struct job *j = p;
    j->body(j->state, j->begin, j->end, j->thread);
    return NULL;
}

static void run(int threads, size_t units, clq_parallel_body *body, void *state)
{
    enum { MAX = 64 };
    pthread_t id[MAX];
    struct job job[MAX];
    bool started[MAX] = {false};
    if (threads > MAX) threads = MAX;
    for (int t = 0; t < threads; t++) {
        size_t n = (size_t)threads, i = (size_t)t;
        job[t] = (struct job){body, state, units / n * i + (units % n < i ? units % n : i),
                              units / n * (i + 1) + (units % n < i + 1 ? units % n : i + 1), t};
        if (t > 0) started[t] = pthread_create(&id[t], NULL, job_run, &job[t]) == 0;
    }
    job_run(&job[0]);
    for (int t = 1; t < threads; t++) {
        if (started[t]) pthread_join(id[t], NULL);
        else job_run(&job[t]);
    }
}
#else
#include <omp.h>

static void run(int threads, size_t units, clq_parallel_body *body, void *state)
{
#pragma omp parallel num_threads(threads)
    {
        size_t n = (size_t)omp_get_num_threads(), i = (size_t)omp_get_thread_num();
        size_t begin = units / n * i + (units % n < i ? units % n : i);
        size_t end = units / n * (i + 1) + (units % n < i + 1 ? units % n : i + 1);
        if (begin < end) body(state, begin, end, (int)i);
    }
}
#endif

void clq_parallel_for(int threads, size_t units, clq_parallel_body *body, void *state)
{
    if (units == 0) return;
    if (threads > (int)(units < 1024 ? units : 1024)) threads = (int)(units < 1024 ? units : 1024);
    if (threads <= 1) body(state, 0, units, 0);
    else run(threads, units, body, state);
}

/* cgroup v2 "quota period", in whole cores; 0 when there is no limit. */
static int cgroup_limit(void)
{
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");
    long long quota = 0, period = 0;
    if (!f) return 0;
    int n = fscanf(f, "%lld %lld", &quota, &period);
    fclose(f);
    if (n != 2 || quota <= 0 || period <= 0) return 0;
    long long cores = (quota + period - 1) / period;
    return cores > 1024 ? 1024 : (int)cores;
}

int clq_parallel_limit(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
#ifdef CPU_COUNT
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) n = CPU_COUNT(&set);
#endif
    int limit = cgroup_limit();
    if (limit > 0 && limit < n) n = limit;
    return n < 1 ? 1 : (int)n;
}
