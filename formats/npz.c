/* SPDX-License-Identifier: Apache-2.0
 * NPZ: a zip archive of <name>.npy members, stored or deflated. Nothing is inflated here but what the caller has
 * already compared with the member's own header. */
#include "formats/npz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

#include "base/size.h"
#include "formats/arrays.h"
#include "formats/npy.h"

struct clq_npz {
    zip_t *zip;
    const char *what; /* the file's name, borrowed */
};

struct clq_npz_stream {
    zip_file_t *file;
    const char *what;
};

enum { MAX_MEMBERS = 65535, INFLATE_MOST = 1032 };

clq_status clq_npz_open(struct clq_npz **out, struct clq_file *file, struct clq_error *err)
{
    int code = 0;
    struct clq_npz *npz = malloc(sizeof *npz);
    if (!npz) {
        clq_file_close(file);
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "'%s': out of memory", file->name);
    }
    *npz = (struct clq_npz){.what = file->name};
    npz->zip = zip_fdopen(file->fd, ZIP_CHECKCONS, &code);
    if (!npz->zip) {
        zip_error_t e;
        zip_error_init_with_code(&e, code);
        clq_status status = code == ZIP_ER_MEMORY ? CLQ_ERR_OUT_OF_MEMORY : CLQ_ERR_FORMAT;
        clq_fail(err, status, "'%s': not a sound zip archive: %s", file->name, zip_error_strerror(&e));
        zip_error_fini(&e);
        clq_file_close(file);
        free(npz);
        return status;
    }
    file->fd = -1;
    zip_int64_t n = zip_get_num_entries(npz->zip, 0);
    if (n < 0 || n > MAX_MEMBERS) {
        clq_npz_close(npz);
        return clq_fail(err, CLQ_ERR_FORMAT, "'%s': expected at most %d members, found %lld", file->name, MAX_MEMBERS,
                        (long long)n);
    }
    *out = npz;
    return CLQ_OK;
}

void clq_npz_close(struct clq_npz *npz)
{
    if (!npz) return;
    zip_discard(npz->zip);
    free(npz);
}

size_t clq_npz_count(const struct clq_npz *npz)
{
    return (size_t)zip_get_num_entries(npz->zip, 0);
}

clq_status clq_npz_member(struct clq_npz_member *out, struct clq_npz *npz, size_t i, struct clq_error *err)
{
    zip_stat_t st;
    if (zip_stat_index(npz->zip, i, ZIP_FL_ENC_RAW, &st) != 0)
        return clq_fail(err, CLQ_ERR_FORMAT, "'%s': member %zu: %s", npz->what, i, zip_strerror(npz->zip));
    zip_uint64_t need = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    if ((st.valid & need) != need)
        return clq_fail(err, CLQ_ERR_FORMAT, "'%s': member %zu has no complete directory entry", npz->what, i);
    size_t n = strlen(st.name);
    *out = (struct clq_npz_member){.name = st.name};
    if (n < 5 || strcmp(st.name + n - 4, ".npy") != 0) return CLQ_OK;
    if (st.encryption_method != ZIP_EM_NONE)
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "'%s': member '%s' is encrypted", npz->what, st.name);
    if (st.comp_method != ZIP_CM_STORE && st.comp_method != ZIP_CM_DEFLATE)
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "'%s': member '%s' has compression method %u; only stored (0) and deflate (8) are read",
                        npz->what, st.name, st.comp_method);
    bool stored = st.comp_method == ZIP_CM_STORE;
    if (stored ? st.size != st.comp_size : st.size / INFLATE_MOST > st.comp_size)
        return clq_fail(err, CLQ_ERR_FORMAT, "'%s': member '%s' declares %llu bytes, but %llu stored bytes cannot hold them",
                        npz->what, st.name, (unsigned long long)st.size, (unsigned long long)st.comp_size);
    out->n = n - 4;
    out->bytes = st.size;
    return CLQ_OK;
}

clq_status clq_npz_stream(struct clq_npz_stream **out, struct clq_npz *npz, size_t i, struct clq_error *err)
{
    struct clq_npz_stream *s = malloc(sizeof *s);
    if (!s) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "'%s': out of memory", npz->what);
    *s = (struct clq_npz_stream){zip_fopen_index(npz->zip, i, 0), npz->what};
    if (!s->file) {
        free(s);
        return clq_fail(err, CLQ_ERR_FORMAT, "'%s': member %zu: %s", npz->what, i, zip_strerror(npz->zip));
    }
    *out = s;
    return CLQ_OK;
}

clq_status clq_npz_read(struct clq_npz_stream *stream, void *out, size_t bytes, bool last, struct clq_error *err)
{
    unsigned char extra;
    for (size_t done = 0; done < bytes;) {
        size_t want = bytes - done < (1u << 30) ? bytes - done : 1u << 30;
        zip_int64_t got = zip_fread(stream->file, (char *)out + done, want);
        if (got < 0)
            return clq_fail(err, CLQ_ERR_FORMAT, "'%s': a member cannot be inflated: %s", stream->what,
                            zip_file_strerror(stream->file));
        if (got == 0)
            return clq_fail(err, CLQ_ERR_FORMAT, "'%s': a member ends %zu bytes too early", stream->what, bytes - done);
        done += (size_t)got;
    }
    zip_int64_t more = last ? zip_fread(stream->file, &extra, 1) : 0;
    if (more == 0) return CLQ_OK;
    return clq_fail(err, CLQ_ERR_FORMAT, "'%s': a member %s", stream->what,
                    more > 0 ? "is longer than it declares" : zip_file_strerror(stream->file));
}

void clq_npz_stream_close(struct clq_npz_stream *stream)
{
    if (!stream) return;
    zip_fclose(stream->file);
    free(stream);
}

/* Adds one member; its bytes are copied into memory that the archive frees. */
static clq_status add_member(zip_t *zip, const char *name, const clq_tensor *tensor, bool deflate, struct clq_error *err)
{
    unsigned char head[256], *copy = NULL;
    size_t n, bytes, whole;
    char *file_name = NULL;
    CLQ_TRY(clq_npy_header(head, &n, tensor, err));
    if (clq_tensor_bytes(&bytes, tensor) != CLQ_OK || !clq_size_add(&whole, bytes, n))
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "array '%s': its shape is out of range", name);
    size_t name_n = strlen(name);
    if (!(copy = malloc(whole)) || !(file_name = malloc(name_n + 5))) {
        free(copy);
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "array '%s': no memory for %zu bytes", name, whole);
    }
    memcpy(copy, head, n);
    if (bytes) memcpy(copy + n, tensor->data, bytes);
    memcpy(file_name, name, name_n);
    memcpy(file_name + name_n, ".npy", 5);
    clq_status status = CLQ_OK;
    zip_source_t *source = zip_source_buffer(zip, copy, whole, 1);
    if (!source) free(copy);
    zip_int64_t at = source ? zip_file_add(zip, file_name, source, 0) : -1;
    /* 1980-01-01, the first date that zip knows: a time would make equal arrays differ. */
    if (at < 0 || zip_file_set_dostime(zip, (zip_uint64_t)at, 0, 1 << 5 | 1, 0) != 0 ||
        zip_set_file_compression(zip, (zip_uint64_t)at, deflate ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 6) != 0) {
        status = clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "array '%s': %s", name, zip_strerror(zip));
        if (source && at < 0) zip_source_free(source);
    }
    free(file_name);
    return status;
}

/* The finished archive's bytes out of its in-memory source. */
static clq_status collect(unsigned char **out, size_t *bytes, zip_source_t *source, struct clq_error *err)
{
    zip_stat_t st;
    if (zip_source_stat(source, &st) != 0 || !(st.valid & ZIP_STAT_SIZE) || zip_source_open(source) != 0)
        return clq_fail(err, CLQ_ERR_INTERNAL, "NPZ: the archive in memory cannot be read");
    unsigned char *data = malloc(st.size ? st.size : 1);
    bool ok = data && zip_source_read(source, data, st.size) == (zip_int64_t)st.size;
    zip_source_close(source);
    if (!ok) {
        free(data);
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "NPZ: no memory for %llu bytes", (unsigned long long)st.size);
    }
    *out = data;
    *bytes = st.size;
    return CLQ_OK;
}

clq_status clq_npz_write(const char *path, size_t n, const char *const *names, const clq_tensor *tensors, bool deflate,
                         const struct clq_writer_options *options, struct clq_error *err)
{
    unsigned char *data = NULL;
    size_t bytes = 0;
    zip_error_t e;
    zip_error_init(&e);
    zip_source_t *source = zip_source_buffer_create(NULL, 0, 0, &e);
    zip_t *zip = source ? zip_open_from_source(source, ZIP_TRUNCATE, &e) : NULL;
    zip_error_fini(&e);
    if (!zip) {
        if (source) zip_source_free(source);
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "NPZ: out of memory");
    }
    zip_source_keep(source);
    clq_status status = CLQ_OK;
    for (size_t i = 0; status == CLQ_OK && i < n; i++) status = add_member(zip, names[i], &tensors[i], deflate, err);
    if (status == CLQ_OK && zip_close(zip) != 0)
        status = clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "NPZ: %s", zip_strerror(zip));
    else if (status == CLQ_OK)
        zip = NULL;
    if (zip) zip_discard(zip);
    if (status == CLQ_OK) status = collect(&data, &bytes, source, err);
    zip_source_free(source);
    if (status == CLQ_OK) status = clq_file_write(path, data, bytes, options, err);
    free(data);
    return status;
}
