/* SPDX-License-Identifier: Apache-2.0
 * Named arrays: where each one's bytes are, and reading rows of it. */
#include "formats/arrays.h"

#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/size.h"
#include "formats/npy.h"
#include "formats/npz.h"

struct member {
    const char *name;
    struct clq_npy npy;
    size_t index;                  /* in the archive */
    struct clq_npz_stream *stream; /* NULL until it is read */
    size_t at;                     /* the stream's place in the data */
    void *whole;                   /* a Fortran-order array in C order */
};

struct clq_arrays {
    struct clq_arena arena;
    char *path;
    struct clq_file file;
    struct clq_npz *npz; /* NULL for an NPY file */
    size_t n;
    struct member *members;
};

void clq_arrays_close(clq_arrays *a)
{
    if (!a) return;
    for (size_t i = 0; i < a->n; i++) {
        clq_npz_stream_close(a->members[i].stream);
        free(a->members[i].whole);
    }
    clq_npz_close(a->npz);
    clq_file_close(&a->file);
    clq_arena_free(&a->arena);
    free(a);
}

static clq_status no_memory(const clq_arrays *a, struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "'%s': out of memory", a->path);
}

static clq_status open_npy(clq_arrays *a, unsigned char *head, struct clq_error *err)
{
    size_t n = a->file.size < CLQ_NPY_HEAD ? (size_t)a->file.size : CLQ_NPY_HEAD;
    a->members = clq_arena_array(&a->arena, 1, sizeof *a->members);
    if (!a->members) return no_memory(a, err);
    a->members[0].name = "";
    CLQ_TRY(clq_file_pread(&a->file, head, n, 0, err));
    CLQ_TRY(clq_npy_parse(&a->members[0].npy, head, n, a->file.size, a->path, err));
    a->n = 1;
    return CLQ_OK;
}

/* Inflates no more than the member's header. */
static clq_status member_header(clq_arrays *a, struct member *m, uint64_t total, unsigned char *head,
                                struct clq_error *err)
{
    struct clq_npz_stream *s;
    size_t n = total < CLQ_NPY_HEAD ? (size_t)total : CLQ_NPY_HEAD;
    CLQ_TRY(clq_npz_stream(&s, a->npz, m->index, err));
    clq_status status = clq_npz_read(s, head, n, false, err);
    clq_npz_stream_close(s);
    return status == CLQ_OK ? clq_npy_parse(&m->npy, head, n, total, m->name, err) : status;
}

static clq_status open_npz(clq_arrays *a, unsigned char *head, struct clq_error *err)
{
    struct clq_map names;
    struct clq_npz_member z;
    CLQ_TRY(clq_npz_open(&a->npz, &a->file, err));
    size_t n = clq_npz_count(a->npz);
    a->members = clq_arena_array(&a->arena, n, sizeof *a->members);
    if (!a->members) return no_memory(a, err);
    clq_map_start(&names, &a->arena);
    for (size_t i = 0; i < n; i++) {
        struct member *m = &a->members[a->n];
        CLQ_TRY(clq_npz_member(&z, a->npz, i, err));
        if (z.n == 0) continue;
        *m = (struct member){.name = clq_arena_bytes(&a->arena, z.name, z.n), .index = i};
        if (!m->name) return no_memory(a, err);
        if (clq_map_get(&names, m->name) >= 0)
            return clq_fail(err, CLQ_ERR_FORMAT, "'%s': two members are named '%s'", a->path, m->name);
        if (!clq_map_set(&names, m->name, 0)) return no_memory(a, err);
        CLQ_TRY(member_header(a, m, z.bytes, head, err));
        a->n++;
    }
    return CLQ_OK;
}

static clq_status open_any(clq_arrays *a, struct clq_error *err)
{
    unsigned char magic[4] = {0};
    struct clq_file_id id;
    CLQ_TRY(clq_file_open(&a->file, a->path, err));
    id = a->file.id;
    size_t n = a->file.size < sizeof magic ? (size_t)a->file.size : sizeof magic;
    CLQ_TRY(clq_file_pread(&a->file, magic, n, 0, err));
    bool zip = memcmp(magic, "PK\x03\x04", 4) == 0 || memcmp(magic, "PK\x05\x06", 4) == 0;
    if (!zip && memcmp(magic, "\x93NUM", 4) != 0)
        return clq_fail(err, CLQ_ERR_FORMAT, "'%s': is neither NPY nor NPZ", a->path);
    unsigned char *head = malloc(CLQ_NPY_HEAD);
    if (!head) return no_memory(a, err);
    clq_status status = zip ? open_npz(a, head, err) : open_npy(a, head, err);
    free(head);
    a->file.id = id;
    return status;
}

clq_status clq_arrays_open(clq_arrays **out, const char *path, struct clq_error *err)
{
    clq_arrays *a = calloc(1, sizeof *a);
    if (!a) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "'%s': out of memory", path);
    a->file.fd = -1;
    a->path = clq_arena_string(&a->arena, path);
    clq_status status = a->path ? open_any(a, err) : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "'%s': out of memory", path);
    if (status != CLQ_OK)
        clq_arrays_close(a);
    else
        *out = a;
    return status;
}

size_t clq_arrays_count(const clq_arrays *arrays)
{
    return arrays->n;
}

const char *clq_arrays_name(const clq_arrays *arrays, size_t i)
{
    return arrays->members[i].name;
}

const clq_tensor *clq_arrays_info(const clq_arrays *arrays, size_t i)
{
    return &arrays->members[i].npy.tensor;
}

struct clq_file_id clq_arrays_id(const clq_arrays *arrays)
{
    return arrays->file.id;
}

int clq_arrays_find(const clq_arrays *arrays, const char *name)
{
    for (size_t i = 0; i < arrays->n; i++)
        if (strcmp(arrays->members[i].name, name) == 0) return (int)i;
    return -1;
}

/* Moves the stream to a place in the data by reading what is before it. */
static clq_status seek(clq_arrays *a, struct member *m, size_t at, struct clq_error *err)
{
    unsigned char skipped[16384];
    if (m->stream && m->at > at) {
        clq_npz_stream_close(m->stream);
        m->stream = NULL;
    }
    if (!m->stream) {
        CLQ_TRY(clq_npz_stream(&m->stream, a->npz, m->index, err));
        for (size_t left = m->npy.offset; left > 0;) {
            size_t n = left < sizeof skipped ? left : sizeof skipped;
            CLQ_TRY(clq_npz_read(m->stream, skipped, n, false, err));
            left -= n;
        }
        m->at = 0;
    }
    while (m->at < at) {
        size_t n = at - m->at < sizeof skipped ? at - m->at : sizeof skipped;
        CLQ_TRY(clq_npz_read(m->stream, skipped, n, false, err));
        m->at += n;
    }
    return CLQ_OK;
}

/* bytes at a place in the data, as they are in the file. */
static clq_status read_at(clq_arrays *a, struct member *m, size_t at, size_t bytes, void *out, struct clq_error *err)
{
    if (!a->npz) return clq_file_pread(&a->file, out, bytes, (uint64_t)m->npy.offset + at, err);
    clq_status status = seek(a, m, at, err);
    if (status == CLQ_OK) status = clq_npz_read(m->stream, out, bytes, at + bytes == m->npy.bytes, err);
    if (status == CLQ_OK) {
        m->at = at + bytes;
    } else {
        clq_npz_stream_close(m->stream);
        m->stream = NULL;
    }
    return status;
}

/* to (C order) from from (Fortran order): an odometer over the C index, with the Fortran offset beside it. */
static void reorder(unsigned char *to, const unsigned char *from, const clq_tensor *t, size_t elements, size_t size)
{
    size_t index[CLQ_MAX_RANK] = {0}, stride[CLQ_MAX_RANK], offset = 0, step = 1;
    for (int i = 0; i < t->rank; i++) {
        stride[i] = step;
        step *= (size_t)t->shape[i];
    }
    for (size_t e = 0; e < elements; e++) {
        memcpy(to + e * size, from + offset * size, size);
        for (int i = t->rank - 1; i >= 0; i--) {
            offset += stride[i];
            if (++index[i] < (size_t)t->shape[i]) break;
            offset -= stride[i] * (size_t)t->shape[i];
            index[i] = 0;
        }
    }
}

static clq_status hold_whole(clq_arrays *a, struct member *m, struct clq_error *err)
{
    const clq_tensor *t = &m->npy.tensor;
    size_t size = clq_dtype_bits(t->dtype) / 8, bytes = m->npy.bytes;
    unsigned char *raw = malloc(bytes ? bytes : 1), *sorted = malloc(bytes ? bytes : 1);
    clq_status status = raw && sorted ? read_at(a, m, 0, bytes, raw, err) : no_memory(a, err);
    if (status == CLQ_OK) {
        reorder(sorted, raw, t, bytes / size, size);
        clq_npy_native(&m->npy, sorted, bytes / size);
        m->whole = sorted;
        sorted = NULL;
    }
    free(raw);
    free(sorted);
    return status;
}

/* A span of the data, native and in C order. Its borders are those of elements. */
static clq_status read_span(clq_arrays *a, struct member *m, size_t at, size_t bytes, void *out, struct clq_error *err)
{
    if (bytes == 0) return CLQ_OK;
    if (m->npy.fortran) {
        if (!m->whole) CLQ_TRY(hold_whole(a, m, err));
        memcpy(out, (const char *)m->whole + at, bytes);
        return CLQ_OK;
    }
    CLQ_TRY(read_at(a, m, at, bytes, out, err));
    clq_npy_native(&m->npy, out, bytes / (clq_dtype_bits(m->npy.tensor.dtype) / 8));
    return CLQ_OK;
}

clq_status clq_arrays_rows(clq_arrays *a, size_t i, int64_t begin, int64_t end, void *out, struct clq_error *err)
{
    struct member *m = &a->members[i];
    int64_t rows = m->npy.tensor.rank ? m->npy.tensor.shape[0] : 1;
    if (begin < 0 || end < begin || end > rows)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "array '%s': rows %lld to %lld of %lld do not exist", m->name,
                        (long long)begin, (long long)end, (long long)rows);
    size_t row = rows ? m->npy.bytes / (size_t)rows : 0;
    return read_span(a, m, row * (size_t)begin, row * (size_t)(end - begin), out, err);
}

clq_status clq_arrays_load(clq_arrays *a, size_t i, clq_tensor *out, size_t limit, struct clq_error *err)
{
    struct member *m = &a->members[i];
    if (limit && m->npy.bytes > limit)
        return clq_fail(err, CLQ_ERR_FORMAT, "array '%s': expected at most %zu bytes, found %zu", m->name, limit,
                        m->npy.bytes);
    void *data = malloc(m->npy.bytes ? m->npy.bytes : 1);
    if (!data) return no_memory(a, err);
    clq_status status = read_span(a, m, 0, m->npy.bytes, data, err);
    if (status != CLQ_OK) {
        free(data);
        return status;
    }
    *out = m->npy.tensor;
    out->data = data;
    return CLQ_OK;
}

clq_status clq_npy_write(const char *path, const clq_tensor *tensor, const struct clq_writer_options *options,
                         struct clq_error *err)
{
    unsigned char head[256];
    size_t n, bytes;
    struct clq_writer w;
    struct clq_writer_options o = options ? *options : (struct clq_writer_options){0};
    CLQ_TRY(clq_npy_header(head, &n, tensor, err));
    if (clq_tensor_bytes(&bytes, tensor) != CLQ_OK)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "'%s': the array's shape is out of range", path);
    o.bytes = (uint64_t)n + bytes;
    CLQ_TRY(clq_writer_open(&w, path, &o, err));
    CLQ_TRY(clq_writer_write(&w, head, n, err));
    CLQ_TRY(clq_writer_write(&w, tensor->data, bytes, err));
    return clq_writer_commit(&w, err);
}
