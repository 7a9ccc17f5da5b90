/* SPDX-License-Identifier: Apache-2.0
 * Commands: fault counting, waiting with a deadline instead of an unbounded clFinish, and kernel launches. */
#include "cl_internal.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

clq_status clq_cl_kill(struct clq_cl *cl, struct clq_error *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!cl->dead) vsnprintf(cl->reason, sizeof cl->reason, format, args);
    va_end(args);
    cl->dead = true;
    return clq_fail(err, CLQ_ERR_DEVICE, "OpenCL device '%s' is off: %s", cl->info.name, cl->reason);
}

clq_status clq_cl_check(struct clq_cl *cl, cl_int code, const char *call, struct clq_error *err)
{
    if (code == CL_SUCCESS) return CLQ_OK;
    /* After these nothing of the context can be used: invalid context, invalid queue, device fault. */
    if (code == -34 || code == -36 || code == -9999)
        return clq_cl_kill(cl, err, "%s: %s (%d)", call, clq_cl_error_name(code), (int)code);
    return clq_fail(err, CLQ_ERR_DEVICE, "OpenCL device '%s': %s: %s (%d)", cl->info.name, call,
                    clq_cl_error_name(code), (int)code);
}

clq_status clq_cl_count(struct clq_cl *cl, const char *call, struct clq_error *err)
{
    if (cl->dead) return clq_cl_kill(cl, err, "%s", cl->reason);
    cl->enqueues++;
    return clq_cl_check(cl, cl->enqueues == cl->options.fail_at ? CL_OUT_OF_RESOURCES : CL_SUCCESS, call, err);
}

/* Shared with a callback that may come after the waiter has given up, so the last of the two frees it. */
struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t done;
    int users;
    bool fired;
};

static void waiter_leave(struct waiter *w, bool fire)
{
    pthread_mutex_lock(&w->lock);
    if (fire) {
        w->fired = true;
        pthread_cond_signal(&w->done);
    }
    const bool last = --w->users == 0;
    pthread_mutex_unlock(&w->lock);
    if (!last) return;
    pthread_cond_destroy(&w->done);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

static void CL_CALLBACK event_done(cl_event event, cl_int status, void *user)
{
    (void)event;
    (void)status;
    waiter_leave(user, true);
}

static struct waiter *waiter_create(void)
{
    pthread_condattr_t attr;
    struct waiter *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->users = 1;
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->done, &attr);
    pthread_condattr_destroy(&attr);
    return w;
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Sleeps until the callback fires or 5 ms have passed: the event's status decides, so a driver that forgets callbacks
 * only costs time. */
static void waiter_sleep(struct waiter *w)
{
    const int64_t until = now_ns() + 5000000;
    const struct timespec t = {(time_t)(until / 1000000000), (long)(until % 1000000000)};
    pthread_mutex_lock(&w->lock);
    while (!w->fired)
        if (pthread_cond_timedwait(&w->done, &w->lock, &t) == ETIMEDOUT) break;
    const bool fired = w->fired;
    pthread_mutex_unlock(&w->lock);
    if (fired) sched_yield(); /* the status may lag behind the callback by an instant */
}

/* True when the event has ended; *status is its execution status. A GPU is polled for a short while first, because a
 * callback costs more than a small kernel; on a CPU that would take the core from the kernel. */
static bool wait_until(struct clq_cl *cl, cl_event event, cl_int *status, int64_t deadline)
{
    const int64_t spin = cl->info.is_cpu ? 0 : now_ns() + 200000;
    struct waiter *w = NULL;
    bool ended = false;
    for (;;) {
        cl_int code = clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof *status, status, NULL);
        if (code != CL_SUCCESS) *status = code;
        if ((ended = *status <= CL_COMPLETE)) break;
        const int64_t now = now_ns();
        if (now > deadline) break;
        if (now < spin) continue;
        if (!w) {
            if (!(w = waiter_create())) continue;
            w->users = 2;
            if (clSetEventCallback(event, CL_COMPLETE, event_done, w) != CL_SUCCESS) w->users = 1;
            continue;
        }
        waiter_sleep(w);
    }
    if (w) waiter_leave(w, false);
    return ended;
}

/* Deadlines of a self-test in deadlines of a run. */
enum { TEST_PATIENCE = 6 };

clq_status clq_cl_wait(struct clq_cl *cl, cl_event event, struct clq_error *err)
{
    const bool hang = ++cl->waits == cl->options.hang_at;
    const unsigned limit_ms = cl->options.timeout_ms * (cl->testing ? TEST_PATIENCE : 1);
    const int64_t limit = (int64_t)limit_ms * 1000000;
    cl_int status = CL_COMPLETE, code = clFlush(cl->queue);
    if (code != CL_SUCCESS) return clq_cl_check(cl, code, "clFlush", err);
    if (hang || !wait_until(cl, event, &status, now_ns() + limit))
        return clq_cl_kill(cl, err, "a command did not end within %u ms", limit_ms);
    clReleaseEvent(event);
    if (status < 0) return clq_cl_kill(cl, err, "a command failed: %s (%d)", clq_cl_error_name(status), (int)status);
    return CLQ_OK;
}

clq_status clq_cl_finish(struct clq_cl *cl, struct clq_error *err)
{
    cl_event event = NULL;
    CLQ_TRY(clq_cl_count(cl, "clEnqueueMarkerWithWaitList", err));
    CLQ_TRY(
        clq_cl_check(cl, clEnqueueMarkerWithWaitList(cl->queue, 0, NULL, &event), "clEnqueueMarkerWithWaitList", err));
    return clq_cl_wait(cl, event, err);
}

void clq_cl_arg(struct clq_cl_launch *l, size_t size, const void *value)
{
    if (l->code == CL_SUCCESS) l->code = clSetKernelArg(l->family->kernel, l->index++, size, value);
}

void clq_cl_arg_mem(struct clq_cl_launch *l, cl_mem mem, size_t at)
{
    clq_cl_arg(l, sizeof mem, &mem);
    clq_cl_arg_u64(l, at);
}

void clq_cl_arg_u64(struct clq_cl_launch *l, uint64_t v)
{
    const cl_ulong u = v;
    clq_cl_arg(l, sizeof u, &u);
}

void clq_cl_arg_int(struct clq_cl_launch *l, int64_t v)
{
    const cl_uint u = (cl_uint)(uint64_t)v;
    clq_cl_arg(l, sizeof u, &u);
}

void clq_cl_arg_float(struct clq_cl_launch *l, float v)
{
    const cl_float f = v;
    clq_cl_arg(l, sizeof f, &f);
}

clq_status clq_cl_enqueue(struct clq_cl_launch *l, size_t items0, size_t items1, struct clq_error *err)
{
    const struct clq_cl_variant *v = l->family->variant;
    const size_t items[2] = {items0, items1};
    size_t global[2], local[2];
    for (int i = 0; i < 2; i++) {
        local[i] = v->local[i];
        if (!v->groups && local[i] > l->cl->max_group) local[i] = l->cl->max_group;
        global[i] = (items[i] + local[i] - 1) / local[i] * local[i];
    }
    CLQ_TRY(clq_cl_check(l->cl, l->code, "clSetKernelArg", err));
    CLQ_TRY(clq_cl_count(l->cl, "clEnqueueNDRangeKernel", err));
    cl_int code = clEnqueueNDRangeKernel(l->cl->queue, l->family->kernel, 2, NULL, global, local, 0, NULL, NULL);
    return clq_cl_check(l->cl, code, "clEnqueueNDRangeKernel", err);
}

size_t clq_cl_span_items(const struct clq_cl *cl, const struct clq_cl_variant *variant, size_t count)
{
    const bool blocked = variant->local[0] == 1;
    const size_t least = blocked ? 256 : 1, most = (size_t)cl->info.compute_units * (blocked ? 4 : 2048);
    size_t items = (count + least - 1) / least;
    if (items > most) items = most;
    return items ? items : 1;
}
