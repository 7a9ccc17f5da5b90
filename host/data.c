/* SPDX-License-Identifier: Apache-2.0
 * Data sets: which array feeds which input, how samples are cut out of arrays, and synthetic samples. */
#include "data.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/size.h"
#include "context.h"
#include "formats/arrays.h"
#include "formats/onnx.h"
#include "graph/program.h"
#include "scheduler/stats.h"

/* One file: for every input the array, and how a sample is cut from it. */
struct file {
    clq_arrays *arrays;
    const char *path;
    int *array;     /* [inputs] */
    size_t samples;
};

struct clq_data {
    struct clq_context *ctx;
    struct clq_arena arena;
    int n_inputs;
    clq_value_desc *inputs;
    struct file *files;
    size_t n_files, samples, batch;
    size_t available; /* samples before the limit */
    bool synthetic;
    uint64_t seed;
    void **buffer;       /* [inputs] the current sample */
    size_t *capacity;
};

static clq_status no_memory(struct clq_data *d)
{
    return clq_fail(&d->ctx->error, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

/* The shape of sample rows: true when a row of the array (without its first axis) is the input without a batch dimension. */
static bool row_lacks_batch(const clq_value_desc *in, const clq_tensor *array)
{
    return in->rank > 0 && array->rank == in->rank;
}

static clq_status match(struct clq_data *d, const char *path, const struct file *f, int i, const clq_tensor *t)
{
    const clq_value_desc *in = &d->inputs[i];
    struct clq_error *err = &d->ctx->error;
    if (in->dtype != CLQ_DTYPE_NONE && t->dtype != in->dtype)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "'%s': input '%s' is %s, the array is %s", path, in->name, clq_dtype_name(in->dtype),
                        clq_dtype_name(t->dtype));
    if (in->rank >= 0 && t->rank != in->rank && t->rank != in->rank + 1)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "'%s': input '%s' has rank %d; the array has rank %d, expected %d (first axis: samples) or %d",
                        path, in->name, in->rank, t->rank, in->rank, in->rank + 1);
    int skip = t->rank == in->rank + 1 ? 1 : 0;
    for (int k = skip ? 0 : 1; k < in->rank; k++)
        if (in->shape[k] >= 0 && t->shape[k + skip] != in->shape[k])
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "'%s': input '%s' has %lld at axis %d, the array's samples have %lld", path, in->name,
                            (long long)in->shape[k], k, (long long)t->shape[k + skip]);
    if (i > 0 && (size_t)t->shape[0] != f->samples)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "'%s': input '%s' has %lld samples, the first input has %zu", path, in->name, (long long)t->shape[0], f->samples);
    return CLQ_OK;
}

static clq_status add_file(struct clq_data *d, const char *path)
{
    struct file *f = &d->files[d->n_files];
    struct clq_error *err = &d->ctx->error;
    CLQ_TRY(clq_arrays_open(&f->arrays, path, err));
    d->n_files++;
    f->path = clq_arena_string(&d->arena, path);
    f->array = clq_arena_array(&d->arena, (size_t)d->n_inputs + 1, sizeof(int));
    if (!f->array || !f->path) return no_memory(d);
    for (int i = 0; i < d->n_inputs; i++) {
        int a = clq_arrays_find(f->arrays, d->inputs[i].name);
        if (a < 0 && d->n_inputs == 1 && clq_arrays_count(f->arrays) == 1) a = 0;
        if (a < 0)
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "'%s' has no array for input '%s' (its first array is '%s')", path, d->inputs[i].name,
                            clq_arrays_count(f->arrays) ? clq_arrays_name(f->arrays, 0) : "");
        const clq_tensor *t = clq_arrays_info(f->arrays, (size_t)a);
        if (t->rank == 0 || t->shape[0] <= 0)
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "'%s': the array for input '%s' has no samples on its first axis", path, d->inputs[i].name);
        if (i == 0) f->samples = (size_t)t->shape[0];
        CLQ_TRY(match(d, path, f, i, t));
        f->array[i] = a;
    }
    if (!clq_size_add(&d->samples, d->samples, f->samples)) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "'%s': too many samples", path);
    return CLQ_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* All .npz and .npy files of a folder, by name. */
static clq_status add_folder(struct clq_data *d, const char *path)
{
    enum { MOST = 65536 };
    DIR *dir = opendir(path);
    if (!dir) return clq_fail(&d->ctx->error, CLQ_ERR_IO, "'%s': %s", path, strerror(errno));
    const char **names = clq_arena_array(&d->arena, MOST, sizeof *names);
    size_t n = 0;
    for (struct dirent *e; names && (e = readdir(dir)) != NULL;) {
        size_t len = strlen(e->d_name);
        if (len < 5 || (strcmp(e->d_name + len - 4, ".npy") != 0 && strcmp(e->d_name + len - 4, ".npz") != 0) || n == MOST) continue;
        names[n] = clq_arena_printf(&d->arena, "%s/%s", path, e->d_name);
        if (!names[n++]) names = NULL;
    }
    closedir(dir);
    if (!names) return no_memory(d);
    if (n == 0) return clq_fail(&d->ctx->error, CLQ_ERR_INVALID_ARGUMENT, "'%s' holds no .npz or .npy file", path);
    qsort(names, n, sizeof *names, by_name);
    d->files = clq_arena_array(&d->arena, n, sizeof *d->files);
    if (!d->files) return no_memory(d);
    for (size_t i = 0; i < n; i++) CLQ_TRY(add_file(d, names[i]));
    return CLQ_OK;
}

static clq_status open_path(struct clq_data *d, const char *path)
{
    struct stat st;
    if (strncmp(path, "synthetic:", 10) == 0) {
        char *end;
        long n = strtol(path + 10, &end, 10);
        if (end == path + 10 || *end || n < 1 || n > 1000000)
            return clq_fail(&d->ctx->error, CLQ_ERR_INVALID_ARGUMENT, "data '%s': expected synthetic:N with N from 1 to 1000000", path);
        d->synthetic = true;
        d->samples = (size_t)n;
        return CLQ_OK;
    }
    if (stat(path, &st) != 0) return clq_fail(&d->ctx->error, CLQ_ERR_IO, "'%s': %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode)) return add_folder(d, path);
    d->files = clq_arena_array(&d->arena, 1, sizeof *d->files);
    return d->files ? add_file(d, path) : no_memory(d);
}

static clq_status start(struct clq_data *d, const clq_model *model, const clq_data_options *options)
{
    d->n_inputs = clq_model_input_count(model);
    d->batch = options && options->batch > 1 ? options->batch : 1;
    d->seed = options ? options->seed : 0;
    size_t n = (size_t)d->n_inputs + 1;
    d->inputs = clq_arena_array(&d->arena, n, sizeof *d->inputs);
    d->buffer = clq_arena_array(&d->arena, n, sizeof *d->buffer);
    d->capacity = clq_arena_array(&d->arena, n, sizeof *d->capacity);
    if (!d->inputs || !d->buffer || !d->capacity) return no_memory(d);
    for (int i = 0; i < d->n_inputs; i++) {
        clq_model_input(&d->inputs[i], model, i);
        d->inputs[i].name = clq_arena_string(&d->arena, d->inputs[i].name);
        if (!d->inputs[i].name) return no_memory(d);
        if (d->batch > 1 && d->inputs[i].rank < 0)
            return clq_fail(&d->ctx->error, CLQ_ERR_INVALID_ARGUMENT, "batch %zu: the model does not tell the rank of input '%s'", d->batch, d->inputs[i].name);
        if (d->batch > 1 && d->inputs[i].rank > 0 && d->inputs[i].shape[0] >= 0 && d->inputs[i].shape[0] != (int64_t)d->batch)
            return clq_fail(&d->ctx->error, CLQ_ERR_INVALID_ARGUMENT, "batch %zu: input '%s' has a fixed first dimension", d->batch, d->inputs[i].name);
    }
    return CLQ_OK;
}

clq_status clq_data_open(clq_data **out, clq_context *ctx, const clq_model *model, const char *path, const clq_data_options *options)
{
    if (!out || !ctx || !model || !path) return CLQ_ERR_INVALID_ARGUMENT;
    struct clq_data *d = calloc(1, sizeof *d);
    if (!d) return clq_fail(&ctx->error, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    d->ctx = ctx;
    clq_status st = start(d, model, options);
    if (st == CLQ_OK) st = open_path(d, path);
    d->available = d->samples;
    if (st == CLQ_OK && options && options->limit && options->limit < d->samples) d->samples = options->limit;
    if (st == CLQ_OK && d->samples < d->batch)
        st = clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "data '%s': %zu samples do not fill one batch of %zu", path, d->samples, d->batch);
    if (st != CLQ_OK) {
        clq_data_free(d);
        return st;
    }
    *out = d;
    return CLQ_OK;
}

void clq_data_free(clq_data *d)
{
    if (!d) return;
    for (size_t i = 0; i < d->n_files; i++) clq_arrays_close(d->files[i].arrays);
    for (int i = 0; d->buffer && i < d->n_inputs; i++) free(d->buffer[i]);
    clq_arena_free(&d->arena);
    free(d);
}

size_t clq_data_count(const clq_data *data)
{
    return data->samples / data->batch;
}

clq_status clq_data_labels(size_t *per_get, const clq_data *data, size_t n_labels)
{
    size_t per_sample = n_labels % data->available == 0 ? n_labels / data->available : n_labels % data->samples == 0 ? n_labels / data->samples : 0;
    *per_get = per_sample * data->batch;
    if (per_sample > 0) return CLQ_OK;
    return clq_fail(&data->ctx->error, CLQ_ERR_INVALID_ARGUMENT, "labels: %zu are given for %zu samples", n_labels, data->available);
}

bool clq_data_is_synthetic(const clq_data *data)
{
    return data->synthetic;
}

size_t clq_data_file_count(const clq_data *data)
{
    return data->n_files;
}

const char *clq_data_file_path(const clq_data *data, size_t index)
{
    return data->files[index].path;
}

static clq_status hash_file(struct clq_sha256 *sha, uint64_t *left, const char *path, struct clq_error *err)
{
    enum { CHUNK = 1 << 16 };
    struct clq_file f;
    unsigned char *chunk = malloc(CHUNK);
    if (!chunk) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    clq_status st = clq_file_open(&f, path, err);
    if (st != CLQ_OK) {
        free(chunk);
        return st;
    }
    *left = f.size <= *left ? *left - f.size : 0;
    for (uint64_t at = 0; st == CLQ_OK && *left > 0 && at < f.size; at += CHUNK) {
        size_t n = f.size - at < CHUNK ? (size_t)(f.size - at) : CHUNK;
        st = clq_file_pread(&f, chunk, n, at, err);
        if (st == CLQ_OK) clq_sha256_add(sha, chunk, n);
    }
    clq_file_close(&f);
    free(chunk);
    return st;
}

clq_status clq_data_hash(struct clq_sha256 *sha, uint64_t *left, const clq_data *data, struct clq_error *err)
{
    for (size_t i = 0; i < data->n_files && *left > 0; i++) CLQ_TRY(hash_file(sha, left, data->files[i].path, err));
    return CLQ_OK;
}

static clq_status make_room(struct clq_data *d, int i, size_t bytes)
{
    if (bytes <= d->capacity[i]) return CLQ_OK;
    free(d->buffer[i]);
    d->buffer[i] = aligned_alloc(64, (bytes + 127) / 64 * 64);
    d->capacity[i] = d->buffer[i] ? bytes : 0;
    return d->buffer[i] ? CLQ_OK : no_memory(d);
}

/* Seeded noise: normal floats, small non-negative integers. */
static clq_status make_noise(struct clq_data *d, size_t index, clq_tensor *inputs)
{
    for (int i = 0; i < d->n_inputs; i++) {
        const clq_value_desc *in = &d->inputs[i];
        size_t n, bytes;
        clq_tensor *t = &inputs[i];
        *t = (clq_tensor){.dtype = in->dtype, .rank = in->rank < 0 ? 0 : in->rank};
        for (int k = 0; k < t->rank; k++) t->shape[k] = in->shape[k] >= 0 ? in->shape[k] : k == 0 ? (int64_t)d->batch : k == 1 ? 3 : 224;
        if (clq_tensor_elements(&n, t) != CLQ_OK || clq_tensor_bytes(&bytes, t) != CLQ_OK)
            return clq_fail(&d->ctx->error, CLQ_ERR_UNSUPPORTED, "input '%s': no synthetic data for its type", in->name);
        CLQ_TRY(make_room(d, i, bytes));
        t->data = d->buffer[i];
        struct clq_random r = clq_random_start(d->seed + (uint64_t)i, index);
        memset(t->data, 0, bytes);
        for (size_t k = 0; k < n; k++) {
            double sum = 0;
            if (t->dtype != CLQ_DTYPE_F32) {
                uint32_t v = clq_random_word(&r);
                if (t->dtype == CLQ_DTYPE_S64) ((int64_t *)t->data)[k] = v % 100;
                else if (t->dtype == CLQ_DTYPE_S32) ((int32_t *)t->data)[k] = (int32_t)(v % 100);
                else if (t->dtype == CLQ_DTYPE_U8 || t->dtype == CLQ_DTYPE_S8) ((uint8_t *)t->data)[k] = (uint8_t)v;
                else if (t->dtype == CLQ_DTYPE_BOOL) ((uint8_t *)t->data)[k] = v & 1;
                continue;
            }
            for (int j = 0; j < 4; j++) sum += (double)clq_random_word(&r) / 4294967296.0 - 0.5;
            ((float *)t->data)[k] = (float)(sum * sqrt(3.0));
        }
    }
    return CLQ_OK;
}

/* Copies one sample's row of input i behind what the buffer already holds. */
static clq_status read_row(struct clq_data *d, const struct file *f, size_t row, int i, size_t slot, clq_tensor *t)
{
    const clq_tensor *a = clq_arrays_info(f->arrays, (size_t)f->array[i]);
    clq_tensor r = {.dtype = a->dtype, .rank = a->rank - 1};
    size_t bytes;
    for (int k = 1; k < a->rank; k++) r.shape[k - 1] = a->shape[k];
    if (clq_tensor_bytes(&bytes, &r) != CLQ_OK) return clq_fail(&d->ctx->error, CLQ_ERR_INVALID_ARGUMENT, "input '%s': a sample's size overflows", d->inputs[i].name);
    if (slot == 0) {
        size_t all;
        if (!clq_size_mul(&all, bytes, d->batch)) return no_memory(d);
        CLQ_TRY(make_room(d, i, all ? all : 1));
        *t = r;
        if (row_lacks_batch(&d->inputs[i], a)) {
            for (int k = r.rank; k > 0; k--) t->shape[k] = r.shape[k - 1];
            t->shape[0] = (int64_t)d->batch;
            t->rank = r.rank + 1;
        } else if (d->batch > 1 && t->rank > 0) t->shape[0] *= (int64_t)d->batch;
        t->data = d->buffer[i];
    }
    return clq_arrays_rows(f->arrays, (size_t)f->array[i], (int64_t)row, (int64_t)row + 1, (char *)d->buffer[i] + slot * bytes, &d->ctx->error);
}

/* A scalar has no axis to stack along: all samples of a batch share one value. */
static clq_status check_scalars(const struct clq_data *d, size_t first, size_t slot, const clq_tensor *inputs)
{
    for (int i = 0; i < d->n_inputs; i++) {
        size_t bytes;
        const char *all = d->buffer[i];
        if (d->inputs[i].rank != 0 || clq_tensor_bytes(&bytes, &inputs[i]) != CLQ_OK || memcmp(all, all + slot * bytes, bytes) == 0) continue;
        return clq_fail(&d->ctx->error, CLQ_ERR_INVALID_ARGUMENT,
                        "batch %zu: input '%s' is a scalar, which is not batched; samples %zu and %zu differ in it", d->batch, d->inputs[i].name, first, first + slot);
    }
    return CLQ_OK;
}

clq_status clq_data_get(clq_data *d, size_t index, clq_tensor *inputs)
{
    if (!d || !inputs || index >= clq_data_count(d)) return CLQ_ERR_INVALID_ARGUMENT;
    if (d->synthetic) return make_noise(d, index, inputs);
    for (size_t slot = 0; slot < d->batch; slot++) {
        size_t row = index * d->batch + slot, f = 0;
        while (row >= d->files[f].samples) row -= d->files[f++].samples;
        for (int i = 0; i < d->n_inputs; i++) CLQ_TRY(read_row(d, &d->files[f], row, i, slot, &inputs[i]));
        CLQ_TRY(check_scalars(d, index * d->batch, slot, inputs));
    }
    return CLQ_OK;
}

/* ---- Arrays in memory ---- */
struct clq_bundle {
    struct clq_arena arena;
    size_t n;
    const char **names;
    clq_tensor *tensors;
    bool owned; /* data of each tensor by malloc */
};

static clq_status load_arrays(struct clq_bundle *b, const char *path, struct clq_error *err)
{
    const size_t limit = (size_t)4 << 30;
    clq_arrays *a;
    CLQ_TRY(clq_arrays_open(&a, path, err));
    size_t n = clq_arrays_count(a);
    b->owned = true;
    b->names = clq_arena_array(&b->arena, n + 1, sizeof *b->names);
    b->tensors = clq_arena_array(&b->arena, n + 1, sizeof *b->tensors);
    clq_status st = b->names && b->tensors ? CLQ_OK : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    for (size_t i = 0; i < n && st == CLQ_OK; i++) {
        st = clq_arrays_load(a, i, &b->tensors[i], limit, err);
        if (st != CLQ_OK) break;
        b->names[i] = clq_arena_string(&b->arena, clq_arrays_name(a, i));
        b->n++;
        if (!b->names[i]) st = clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    }
    clq_arrays_close(a);
    return st;
}

static clq_status load_pb(struct clq_bundle *b, const char *path, struct clq_error *err)
{
    struct clq_const c;
    CLQ_TRY(clq_tensor_pb_read(&c, &b->arena, path, err));
    b->names = clq_arena_array(&b->arena, 1, sizeof *b->names);
    b->tensors = clq_arena_array(&b->arena, 1, sizeof *b->tensors);
    if (!b->names || !b->tensors) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    b->names[0] = c.name;
    b->tensors[0] = (clq_tensor){.dtype = c.dtype, .rank = c.rank, .data = (void *)(uintptr_t)c.data};
    memcpy(b->tensors[0].shape, c.shape, sizeof c.shape);
    b->n = 1;
    return CLQ_OK;
}

clq_status clq_bundle_load(clq_bundle **out, clq_context *ctx, const char *path)
{
    if (!out || !ctx || !path) return CLQ_ERR_INVALID_ARGUMENT;
    struct clq_bundle *b = calloc(1, sizeof *b);
    if (!b) return clq_fail(&ctx->error, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    size_t n = strlen(path);
    clq_status st = n > 3 && strcmp(path + n - 3, ".pb") == 0 ? load_pb(b, path, &ctx->error) : load_arrays(b, path, &ctx->error);
    if (st != CLQ_OK) {
        clq_bundle_free(b);
        return st;
    }
    *out = b;
    return CLQ_OK;
}

void clq_bundle_free(clq_bundle *b)
{
    if (!b) return;
    for (size_t i = 0; b->owned && i < b->n; i++) free(b->tensors[i].data);
    clq_arena_free(&b->arena);
    free(b);
}

size_t clq_bundle_count(const clq_bundle *b)
{
    return b->n;
}

const char *clq_bundle_name(const clq_bundle *b, size_t index)
{
    return index < b->n ? b->names[index] : "";
}

const clq_tensor *clq_bundle_tensor(const clq_bundle *b, size_t index)
{
    return index < b->n ? &b->tensors[index] : NULL;
}

clq_status clq_array_save(clq_context *ctx, const char *path, const clq_tensor *tensor, bool force)
{
    if (!ctx || !path || !tensor) return CLQ_ERR_INVALID_ARGUMENT;
    struct clq_writer_options o = {.force = force};
    return clq_npy_write(path, tensor, &o, &ctx->error);
}
