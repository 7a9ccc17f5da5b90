/* SPDX-License-Identifier: Apache-2.0
 * Device memory with canaries, and the operands of a run: device buffers, or host memory that is copied. */
#include "cl_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"

enum { CANARY_BYTE = 0xa7 };

static size_t canary(const struct clq_cl *cl) { return cl->options.exact_buffers ? 0 : CLQ_CL_CANARY; }

/* Queues a map of the span; *p is its address once the event has ended. */
static clq_status map(void **p, cl_event *event, struct clq_cl *cl, cl_mem mem, size_t at, size_t bytes, bool read,
                      struct clq_error *err)
{
    const cl_map_flags flags = read ? CL_MAP_READ : CL_MAP_WRITE_INVALIDATE_REGION;
    cl_int code = CL_SUCCESS;
    CLQ_TRY(clq_cl_count(cl, "clEnqueueMapBuffer", err));
    *p = clEnqueueMapBuffer(cl->queue, mem, CL_FALSE, flags, at, bytes, 0, NULL, event, &code);
    return clq_cl_check(cl, code, "clEnqueueMapBuffer", err);
}

static clq_status unmap(struct clq_cl *cl, cl_mem mem, void *p, struct clq_error *err)
{
    clq_status st = clq_cl_count(cl, "clEnqueueUnmapMemObject", err);
    if (cl->dead) return st;
    clq_status done =
        clq_cl_check(cl, clEnqueueUnmapMemObject(cl->queue, mem, p, 0, NULL, NULL), "clEnqueueUnmapMemObject", err);
    return st == CLQ_OK ? done : st;
}

/* Copies between host and device memory, with the deadline. The driver never holds an address of the caller's: a
 * command that ends after its deadline cannot touch memory that the caller has reused. */
static clq_status transfer(struct clq_cl *cl, cl_mem mem, size_t at, void *in, const void *out, size_t bytes,
                           struct clq_error *err)
{
    cl_event event = NULL;
    void *p = NULL;
    if (cl->dead) return clq_cl_kill(cl, err, "%s", cl->reason);
    if (bytes == 0) return CLQ_OK;
    CLQ_TRY(map(&p, &event, cl, mem, at, bytes, in != NULL, err));
    CLQ_TRY(clq_cl_wait(cl, event, err));
    if (in) memcpy(in, p, bytes);
    if (out) memcpy(p, out, bytes);
    return unmap(cl, mem, p, err);
}

static clq_status fill(struct clq_cl *cl, cl_mem mem, size_t at, size_t bytes, struct clq_error *err)
{
    const unsigned char pattern = CANARY_BYTE;
    CLQ_TRY(clq_cl_count(cl, "clEnqueueFillBuffer", err));
    cl_int code = clEnqueueFillBuffer(cl->queue, mem, &pattern, sizeof pattern, at, bytes, 0, NULL, NULL);
    return clq_cl_check(cl, code, "clEnqueueFillBuffer", err);
}

clq_status clq_cl_alloc(struct clq_cl_buffer *out, struct clq_cl *cl, size_t bytes, struct clq_error *err)
{
    const size_t edge = canary(cl);
    size_t padded, total;
    if (cl->dead) return clq_cl_kill(cl, err, "%s", cl->reason);
    if (!clq_size_add(&padded, bytes ? bytes : 1, edge) || !clq_size_add(&total, padded, edge) ||
        total > cl->info.max_alloc || cl->used > cl->info.memory || total > cl->info.memory - cl->used)
        return clq_fail(err, CLQ_ERR_DEVICE,
                        "OpenCL device '%s': %zu bytes asked, %zu in use, limits %llu per buffer and %llu in all",
                        cl->info.name, bytes, cl->used, (unsigned long long)cl->info.max_alloc,
                        (unsigned long long)cl->info.memory);
    cl_int code = CL_SUCCESS;
    cl_mem mem = clCreateBuffer(cl->context, CL_MEM_READ_WRITE, total, NULL, &code);
    CLQ_TRY(clq_cl_check(cl, code, "clCreateBuffer", err));
    struct clq_cl_buffer buffer = {mem, edge, bytes};
    if (edge) {
        clq_status st = fill(cl, mem, 0, edge, err);
        if (st == CLQ_OK) st = fill(cl, mem, edge + bytes, edge, err);
        if (st != CLQ_OK) {
            if (!cl->dead) clReleaseMemObject(mem);
            return st;
        }
    }
    cl->used += total;
    *out = buffer;
    return CLQ_OK;
}

/* A kernel that wrote outside of a buffer has damaged something else too: the device is turned off. */
static clq_status check_canaries(struct clq_cl *cl, const struct clq_cl_buffer *buffer, struct clq_error *err)
{
    unsigned char found[2][CLQ_CL_CANARY];
    const size_t edge = canary(cl);
    if (!edge) return CLQ_OK;
    CLQ_TRY(transfer(cl, buffer->mem, 0, found[0], NULL, edge, err));
    CLQ_TRY(transfer(cl, buffer->mem, edge + buffer->bytes, found[1], NULL, edge, err));
    for (int side = 0; side < 2; side++)
        for (size_t i = 0; i < edge; i++)
            if (found[side][i] != CANARY_BYTE)
                return clq_cl_kill(cl, err, "a kernel wrote %s a buffer of %zu bytes", side ? "behind" : "before",
                                   buffer->bytes);
    return CLQ_OK;
}

void clq_cl_release(struct clq_cl *cl, struct clq_cl_buffer *buffer)
{
    struct clq_error why = {""};
    if (!buffer->mem) return;
    /* Nobody reads a status here: a device that cannot even show its canaries refuses the next call instead. */
    if (!cl->dead && check_canaries(cl, buffer, &why) != CLQ_OK && !cl->dead)
        clq_cl_kill(cl, NULL, "a buffer of %zu bytes cannot be checked: %s", buffer->bytes, why.text);
    if (!cl->dead) clReleaseMemObject(buffer->mem);
    cl->used -= (buffer->bytes ? buffer->bytes : 1) + 2 * canary(cl);
    *buffer = (struct clq_cl_buffer){0};
}

clq_status clq_cl_reserve(struct clq_cl *cl, struct clq_cl_buffer *buffer, size_t bytes, struct clq_error *err)
{
    if (buffer->mem && buffer->bytes >= bytes) return CLQ_OK;
    clq_cl_release(cl, buffer);
    return clq_cl_alloc(buffer, cl, bytes, err);
}

clq_status clq_cl_upload(struct clq_cl *cl, const struct clq_cl_buffer *to, const void *from, size_t bytes,
                         struct clq_error *err)
{
    if (bytes > to->bytes)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "OpenCL: upload of %zu bytes into a buffer of %zu", bytes,
                        to->bytes);
    return transfer(cl, to->mem, to->offset, NULL, from, bytes, err);
}

clq_status clq_cl_download(void *to, struct clq_cl *cl, const struct clq_cl_buffer *from, size_t bytes,
                           struct clq_error *err)
{
    if (bytes > from->bytes)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "OpenCL: download of %zu bytes from a buffer of %zu", bytes,
                        from->bytes);
    return transfer(cl, from->mem, from->offset, to, NULL, bytes, err);
}

/* Stages host memory as the next operand. */
static clq_status bind_host(struct clq_cl_binding *b, struct clq_cl_operand *o, struct clq_error *err)
{
    struct clq_cl *cl = b->cl;
    struct clq_cl_buffer exact = {0}, *slot = cl->options.exact_buffers ? &exact : &cl->scratch[b->n];
    CLQ_TRY(clq_cl_reserve(cl, slot, o->bytes, err));
    o->mem = slot->mem;
    o->at = slot->offset;
    o->own = slot == &exact;
    if (o->own) cl->used -= o->bytes;
    return o->output ? CLQ_OK : transfer(cl, o->mem, o->at, NULL, o->host, o->bytes, err);
}

const struct clq_cl_operand *clq_cl_bind(struct clq_cl_binding *b, const struct clq_cl_buffer *buffer, const void *host,
                                         size_t bytes, bool output, struct clq_error *err)
{
    struct clq_cl_operand *o = &b->operand[b->n];
    *o = (struct clq_cl_operand){.bytes = bytes, .output = output};
    if (b->cl->dead) {
        b->status = clq_cl_kill(b->cl, err, "%s", b->cl->reason);
        return NULL;
    }
    if (buffer) {
        if (!buffer->mem || bytes > buffer->bytes) {
            b->status = clq_fail(err, CLQ_ERR_INVALID_ARGUMENT,
                                 "OpenCL: an operand needs %zu bytes, its buffer has %zu", bytes, buffer->bytes);
            return NULL;
        }
        o->mem = buffer->mem;
        o->at = buffer->offset;
        b->n++;
        return o;
    }
    b->host = true;
    o->host = (void *)(uintptr_t)host;
    for (int i = 0; i < b->n; i++) {
        /* In place: one object per piece of host memory, since two over the same bytes are undefined. */
        const struct clq_cl_operand *first = &b->operand[i];
        if (first->host != host || first->bytes < bytes) continue;
        o->mem = first->mem;
        o->at = first->at;
        b->n++;
        return o;
    }
    b->status = bind_host(b, o, err);
    b->n++;
    return b->status == CLQ_OK ? o : NULL;
}

clq_status clq_cl_unbind(struct clq_cl_binding *b, clq_status status, struct clq_error *err)
{
    struct clq_cl *cl = b->cl;
    bool waited = false;
    for (int i = 0; i < b->n && status == CLQ_OK; i++) {
        const struct clq_cl_operand *o = &b->operand[i];
        if (!o->output || !o->host) continue;
        status = transfer(cl, o->mem, o->at, o->host, NULL, o->bytes, err);
        waited = true;
    }
    if (cl->dead) return status;
    if (status == CLQ_OK && b->host && !waited) status = clq_cl_finish(cl, err);
    if (status == CLQ_OK && !b->host) status = clq_cl_check(cl, clFlush(cl->queue), "clFlush", err);
    for (int i = 0; i < b->n; i++)
        if (b->operand[i].own) clReleaseMemObject(b->operand[i].mem);
    return status;
}
