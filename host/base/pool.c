/* SPDX-License-Identifier: Apache-2.0
 * The pool. Each thread of a job has a run of its chunks, the same one in every job of that size, so that what it reads and
 * writes stays in its core's cache from job to job. A run is a 64-bit ticket: the job's number in the upper half, then the next
 * unclaimed chunk and the end, 16 bits each. Its owner claims half of what is left from the front, which spares calls; who has
 * nothing left takes single chunks from the back of the others' runs. Whoever claims a chunk by compare-and-swap knows that
 * the job cannot end before that chunk is done, so its other fields stay valid; nothing but tickets is read before. */
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNKS = 8 }; /* per thread: small enough to even out, large enough that claiming costs nothing */
enum { MOST_THREADS = 4096 }; /* whose chunks 16 bits count */
enum { SPINS = 4000 }; /* about 50 us of looking before a worker sleeps: longer than the gap between two steps */

struct worker {
    struct clq_pool *pool;
    pthread_t id;
    int number;
};

/* A cache line of its own. */
struct ticket {
    _Alignas(64) _Atomic uint64_t left;
};

struct clq_pool {
    int workers, workers_wanted;
    struct worker *list;
    struct ticket *tickets;   /* of the caller, then of the workers */
    _Alignas(64) _Atomic uint32_t job; /* the latest */
    _Alignas(64) _Atomic uint32_t done; /* chunks: runs of consecutive units */
    size_t units, chunks;
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

/* Where part i of `parts`, at most 2^16, begins, all of them together being `n`: the larger ones are spread evenly. */
static size_t part_begin(size_t n, size_t parts, size_t i)
{
    return n / parts * i + n % parts * i / parts;
}

/* Claims chunks *first to *end - 1 of job number `job`; false where none is left. */
static bool claim(struct ticket *ticket, uint32_t job, bool own, size_t *first, size_t *end)
{
    uint64_t t = atomic_load_explicit(&ticket->left, memory_order_acquire), rest;
    do {
        const size_t next = t >> 16 & 0xffff, last = t & 0xffff;
        if ((uint32_t)(t >> 32) != job || next >= last) return false;
        const size_t taken = own ? (last - next + 1) / 2 : 1;
        *first = own ? next : last - taken;
        *end = *first + taken;
        rest = own ? t + (taken << 16) : t - taken;
    } while (!atomic_compare_exchange_weak_explicit(&ticket->left, &t, rest, memory_order_acq_rel, memory_order_acquire));
    return true;
}

/* Claims and runs chunks of job number `job` until none is left: of its own run, then of the others'. */
static void work(struct clq_pool *p, uint32_t job, int thread, int threads)
{
    size_t first, end, count = 0;
    for (int i = 0; i < threads;) {
        if (!claim(&p->tickets[(thread + i) % threads], job, i == 0, &first, &end)) {
            i++;
            continue;
        }
        p->body(p->state, part_begin(p->units, p->chunks, first), part_begin(p->units, p->chunks, end), thread);
        count += end - first;
    }
    if (count > 0) atomic_fetch_add_explicit(&p->done, (uint32_t)count, memory_order_release);
}

static uint32_t current(struct clq_pool *p)
{
    return atomic_load_explicit(&p->job, memory_order_acquire);
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
        const int threads = atomic_load_explicit(&w->pool->allowed, memory_order_relaxed);
        if (w->number < threads) work(w->pool, job, w->number, threads);
    }
}

static void drop(struct clq_pool *p)
{
    free(p->list);
    free(p->tickets);
    free(p);
}

struct clq_pool *clq_pool_create(int threads)
{
    const size_t count = (size_t)(threads > 1 ? threads : 1);
    struct clq_pool *p = aligned_alloc(64, (sizeof *p + 63) / 64 * 64);
    if (!p) return NULL;
    memset(p, 0, sizeof *p);
    p->list = calloc(count, sizeof *p->list);
    p->tickets = aligned_alloc(64, count * sizeof *p->tickets);
    if (!p->list || !p->tickets || pthread_mutex_init(&p->lock, NULL) != 0) {
        drop(p);
        return NULL;
    }
    memset(p->tickets, 0, count * sizeof *p->tickets);
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
    drop(p);
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
    if (threads > p->workers + 1) threads = p->workers + 1;
    const size_t most = (size_t)threads * CHUNKS, chunks = units < most ? units : most;
    const uint32_t job = current(p) + 1;
    p->body = body;
    p->state = state;
    p->units = units;
    p->chunks = chunks;
    atomic_store_explicit(&p->done, 0, memory_order_relaxed);
    atomic_store_explicit(&p->allowed, threads, memory_order_relaxed);
    atomic_store_explicit(&p->core, core_here(), memory_order_relaxed);
    for (int i = 0; i < threads; i++) {
        const uint64_t begin = part_begin(chunks, (size_t)threads, (size_t)i), end = part_begin(chunks, (size_t)threads, (size_t)i + 1);
        atomic_store_explicit(&p->tickets[i].left, (uint64_t)job << 32 | begin << 16 | end, memory_order_release);
    }
    atomic_store(&p->job, job);
    if (atomic_load(&p->sleeping) > 0) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
    }
    work(p, job, 0, threads);
    wait_done(p, (uint32_t)chunks);
}
