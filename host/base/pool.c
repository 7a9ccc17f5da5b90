/* SPDX-License-Identifier: Apache-2.0
 * The pool. A job is published by one 64-bit ticket: its number in the upper half, then how many chunks it has and the next
 * unclaimed one, 16 bits each. Whoever claims a chunk by compare-and-swap knows that the job cannot end before that chunk is
 * done, so its other fields stay valid; nothing but the ticket is read before. */
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum { CHUNKS = 8 }; /* per thread: small enough to even out, large enough that claiming costs nothing */
enum { MOST_THREADS = 4096 }; /* whose chunks 16 bits count */
enum { SPINS = 4000 }; /* about 50 us of looking before a worker sleeps: longer than the gap between two steps */

struct worker {
    struct clq_pool *pool;
    pthread_t id;
    int number;
};

struct clq_pool {
    int workers, workers_wanted;
    struct worker *list;
    _Atomic uint64_t ticket;
    _Atomic uint32_t done; /* chunks: runs of consecutive units */
    size_t units;
    _Atomic int allowed, sleeping;
    _Atomic int core; /* where the caller published; -1: unknown */
    _Atomic bool stop;
    clq_parallel_body *body; /* of the current job; published by ticket */
    void *state;
    pthread_mutex_t lock;
    pthread_cond_t wake;
};

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static size_t chunk_begin(const struct clq_pool *p, size_t chunks, size_t i)
{
    return p->units / chunks * i + (p->units % chunks < i ? p->units % chunks : i);
}

/* Claims and runs chunks of job number `job` until none is left. */
static void work(struct clq_pool *p, uint32_t job, int thread)
{
    uint64_t t = atomic_load_explicit(&p->ticket, memory_order_acquire);
    for (;;) {
        const size_t chunks = t >> 16 & 0xffff, i = t & 0xffff;
        if ((uint32_t)(t >> 32) != job || i >= chunks) return;
        if (!atomic_compare_exchange_weak_explicit(&p->ticket, &t, t + 1, memory_order_acq_rel, memory_order_acquire)) continue;
        p->body(p->state, chunk_begin(p, chunks, i), chunk_begin(p, chunks, i + 1), thread);
        atomic_fetch_add_explicit(&p->done, 1, memory_order_release);
        t = atomic_load_explicit(&p->ticket, memory_order_acquire);
    }
}

static uint32_t current(struct clq_pool *p)
{
    return (uint32_t)(atomic_load_explicit(&p->ticket, memory_order_acquire) >> 32);
}

/* Waits for a job other than `seen`: looks for a while, then sleeps. */
static uint32_t next_job(struct clq_pool *p, uint32_t seen)
{
    for (int i = 0; i < SPINS; i++) {
        uint32_t job = current(p);
        if (job != seen || atomic_load_explicit(&p->stop, memory_order_relaxed)) return job;
        pause_briefly();
    }
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleeping, 1);
    while (current(p) == seen && !atomic_load(&p->stop)) pthread_cond_wait(&p->wake, &p->lock);
    atomic_fetch_sub(&p->sleeping, 1);
    pthread_mutex_unlock(&p->lock);
    return current(p);
}

/* The system may wake a worker on the core of the caller, who is busy with the job, and leave it there for many
 * milliseconds while another core idles. A worker that finds itself there moves, and stays away from that core. */
#if defined(__linux__)
struct cores {
    cpu_set_t set;
    bool known;
};

static int core_here(void)
{
    return sched_getcpu();
}

/* Nothing to choose from where threads outnumber cores. */
static void find_cores(struct cores *c, int workers)
{
    c->known = sched_getaffinity(0, sizeof c->set, &c->set) == 0 && CPU_COUNT(&c->set) > workers;
}

static void leave_core(const struct cores *c, int core)
{
    if (!c->known || core < 0 || core >= CPU_SETSIZE || !CPU_ISSET(core, &c->set)) return;
    cpu_set_t others = c->set;
    CPU_CLR(core, &others);
    sched_setaffinity(0, sizeof others, &others); /* refused: it stays where it is, which is only slower */
}
#else
struct cores {
    bool known;
};

static int core_here(void)
{
    return -1;
}

static void find_cores(struct cores *c, int workers)
{
    (void)workers;
    c->known = false;
}

static void leave_core(const struct cores *c, int core)
{
    (void)c;
    (void)core;
}
#endif

static void *worker_main(void *argument)
{
    struct worker *w = argument;
    struct cores cores;
    uint32_t seen = 0;
    find_cores(&cores, w->pool->workers_wanted);
    leave_core(&cores, atomic_load(&w->pool->core));
    for (;;) {
        uint32_t job = next_job(w->pool, seen);
        if (atomic_load(&w->pool->stop)) return NULL;
        seen = job;
        const int core = atomic_load_explicit(&w->pool->core, memory_order_relaxed);
        if (core >= 0 && core == core_here()) leave_core(&cores, core);
        if (w->number < atomic_load_explicit(&w->pool->allowed, memory_order_relaxed)) work(w->pool, job, w->number);
    }
}

struct clq_pool *clq_pool_create(int threads)
{
    struct clq_pool *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->list = calloc((size_t)(threads > 1 ? threads : 1), sizeof *p->list);
    if (!p->list || pthread_mutex_init(&p->lock, NULL) != 0) {
        free(p->list);
        free(p);
        return NULL;
    }
    pthread_cond_init(&p->wake, NULL);
    p->workers_wanted = threads - 1;
    atomic_store(&p->core, core_here());
    for (int i = 1; i < threads; i++) {
        struct worker *w = &p->list[p->workers];
        *w = (struct worker){.pool = p, .number = p->workers + 1};
        if (pthread_create(&w->id, NULL, worker_main, w) != 0) break;
        p->workers++;
    }
    return p;
}

void clq_pool_free(struct clq_pool *p)
{
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop, true);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->workers; i++) pthread_join(p->list[i].id, NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p->list);
    free(p);
}

/* The last units are on their way in other threads: a moment of looking, then the core is given away. */
static void wait_done(struct clq_pool *p, uint32_t chunks)
{
    for (int i = 0; atomic_load_explicit(&p->done, memory_order_acquire) != chunks; i++) {
        if (i < SPINS) pause_briefly();
        else sched_yield();
    }
}

void clq_pool_for(struct clq_pool *p, int threads, size_t units, clq_parallel_body *body, void *state)
{
    if (units == 0) return;
    if (!p || p->workers == 0 || threads <= 1 || units == 1 || threads > MOST_THREADS) {
        body(state, 0, units, 0);
        return;
    }
    uint32_t job = current(p) + 1;
    p->body = body;
    p->state = state;
    p->units = units;
    size_t most = (size_t)threads * CHUNKS;
    uint32_t chunks = (uint32_t)(units < most ? units : most);
    atomic_store_explicit(&p->done, 0, memory_order_relaxed);
    atomic_store_explicit(&p->allowed, threads, memory_order_relaxed);
    atomic_store_explicit(&p->core, core_here(), memory_order_relaxed);
    atomic_store(&p->ticket, (uint64_t)job << 32 | (uint64_t)chunks << 16);
    if (atomic_load(&p->sleeping) > 0) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
    }
    work(p, job, 0);
    wait_done(p, chunks);
}
