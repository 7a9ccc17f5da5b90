/* SPDX-License-Identifier: Apache-2.0
 * A model's files as they are: the ONNX file byte for byte, and its external data under the same names beside it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/onnx.h"

enum { CHUNK = 1 << 18 };

struct copy {
    const struct clq_model *source;
    const struct clq_onnx_write_options *options;
    const char *to;
    struct clq_arena scratch;
    const char **made; /* files that did not exist before: removed on a failure */
    int n_made;
    struct clq_error *err;
};

static clq_status no_memory(struct copy *c)
{
    return clq_fail(c->err, CLQ_ERR_OUT_OF_MEMORY, "'%s': out of memory", c->to);
}

static unsigned link_flags(const struct clq_model *m)
{
    return m->external_links ? CLQ_BELOW_LINKS : 0;
}

/* The path of location beside the file base. */
static char *beside(struct clq_arena *arena, const char *base, const char *location)
{
    const char *slash = strrchr(base, '/');
    return clq_arena_printf(arena, "%.*s%s", slash ? (int)(slash - base) + 1 : 0, base, location);
}

/* The folders of path below the folder of the output: made where they are absent, never through a link. */
static clq_status make_folders(struct copy *c, char *path, size_t base)
{
    for (char *slash = strchr(path + base, '/'); slash; slash = strchr(slash + 1, '/')) {
        struct stat st;
        *slash = 0;
        clq_status status = CLQ_OK;
        if (mkdir(path, 0777) != 0 && errno != EEXIST) status = clq_fail(c->err, CLQ_ERR_IO, "'%s': a folder for external data: %s", path, strerror(errno));
        else if (lstat(path, &st) != 0 || !S_ISDIR(st.st_mode))
            status = clq_fail(c->err, CLQ_ERR_INVALID_ARGUMENT, "'%s': expected a folder for external data, found a link or a file", path);
        *slash = '/';
        CLQ_TRY(status);
    }
    return CLQ_OK;
}

/* Whether path already holds these bytes, as after a run that was cut off. */
static clq_status same_bytes(bool *same, struct copy *c, const struct clq_file *from, const char *path, unsigned char *a, unsigned char *b)
{
    struct clq_file old;
    *same = false;
    if (clq_file_open(&old, path, NULL) != CLQ_OK) return CLQ_OK;
    clq_status st = CLQ_OK;
    bool equal = old.size == from->size;
    for (uint64_t at = 0; st == CLQ_OK && equal && at < from->size; at += CHUNK) {
        size_t n = from->size - at < CHUNK ? (size_t)(from->size - at) : CHUNK;
        st = clq_file_pread(from, a, n, at, c->err);
        if (st == CLQ_OK) st = clq_file_pread(&old, b, n, at, c->err);
        if (st == CLQ_OK) equal = memcmp(a, b, n) == 0;
    }
    clq_file_close(&old);
    *same = st == CLQ_OK && equal;
    return st;
}

static clq_status stream(struct copy *c, const struct clq_file *from, const char *path, unsigned char *chunk)
{
    struct clq_writer w;
    struct clq_writer_options o = {.force = c->options->force, .inputs = c->options->inputs, .n_inputs = c->options->n_inputs, .bytes = from->size};
    struct stat there;
    bool existed = lstat(path, &there) == 0;
    if (existed && !o.force)
        return clq_fail(c->err, CLQ_ERR_INVALID_ARGUMENT, "'%s', external data of the float model that is kept, exists with other bytes; --force replaces it", path);
    CLQ_TRY(clq_writer_open(&w, path, &o, c->err));
    for (uint64_t at = 0; at < from->size; at += CHUNK) {
        size_t n = from->size - at < CHUNK ? (size_t)(from->size - at) : CHUNK;
        clq_status st = clq_file_pread(from, chunk, n, at, c->err);
        if (st == CLQ_OK) st = clq_writer_write(&w, chunk, n, c->err);
        if (st != CLQ_OK) {
            clq_writer_abort(&w);
            return st;
        }
    }
    CLQ_TRY(clq_writer_commit(&w, c->err));
    if (!existed) c->made[c->n_made++] = path;
    return CLQ_OK;
}

/* Nothing is to be done where both names are one file: the output lies in the model's own folder. */
static clq_status copy_external(struct copy *c, const char *location, const struct clq_file *from)
{
    char *path = beside(&c->scratch, c->to, location);
    unsigned char *chunks = path ? malloc(2 * CHUNK) : NULL;
    struct stat st;
    bool done = false;
    if (!chunks) return no_memory(c);
    clq_status status = CLQ_OK;
    if (stat(path, &st) == 0)
        done = (uint64_t)st.st_dev == from->id.device && (uint64_t)st.st_ino == from->id.inode;
    if (!done) status = make_folders(c, path, strlen(path) - strlen(location));
    if (!done && status == CLQ_OK) status = same_bytes(&done, c, from, path, chunks, chunks + CHUNK);
    if (!done && status == CLQ_OK) status = stream(c, from, path, chunks);
    free(chunks);
    return status;
}

static clq_status copy_all_external(struct copy *c)
{
    const struct clq_model *m = c->source;
    for (int i = 0; i < m->n_external; i++) {
        const char *name = strrchr(c->to, '/');
        if (strcmp(name ? name + 1 : c->to, m->external[i]) == 0)
            return clq_fail(c->err, CLQ_ERR_INVALID_ARGUMENT, "'%s': the model's external data has this name, choose another one", c->to);
        struct clq_file from;
        CLQ_TRY(clq_file_open_below(&from, m->path, m->external[i], strlen(m->external[i]), link_flags(m), c->err));
        clq_status st = copy_external(c, m->external[i], &from);
        clq_file_close(&from);
        CLQ_TRY(st);
    }
    return CLQ_OK;
}

/* The files must still be those that were read: decoded again, they have the same hash. */
static clq_status check_unchanged(struct copy *c)
{
    struct clq_model again;
    CLQ_TRY(clq_onnx_read_links(&again, c->source->path, c->source->external_links, c->err));
    bool same = memcmp(again.hash, c->source->hash, sizeof again.hash) == 0;
    clq_model_release(&again);
    return same ? CLQ_OK : clq_fail(c->err, CLQ_ERR_IO, "'%s' was changed after it was read", c->source->path);
}

clq_status clq_onnx_copy(const char *to, const struct clq_model *source, const struct clq_onnx_write_options *options, struct clq_error *err)
{
    struct copy c = {.source = source, .options = options, .to = to, .err = err};
    struct clq_writer_options o = {.force = options->force, .inputs = options->inputs, .n_inputs = options->n_inputs};
    struct clq_blob blob = {0};
    c.made = clq_arena_array(&c.scratch, (size_t)source->n_external + 1, sizeof *c.made);
    clq_status st = c.made ? check_unchanged(&c) : no_memory(&c);
    if (st == CLQ_OK) st = clq_file_read(&blob, source->path, 0, err);
    if (st == CLQ_OK) st = copy_all_external(&c);
    if (st == CLQ_OK) st = clq_file_write(to, blob.data, blob.bytes, &o, err);
    for (int i = 0; st != CLQ_OK && i < c.n_made; i++) unlink(c.made[i]);
    free(blob.data);
    clq_arena_free(&c.scratch);
    return st;
}

size_t clq_onnx_files(struct clq_file_id *out, size_t capacity, const struct clq_model *model, const char *beside_too)
{
    struct stat st;
    size_t n = 0;
    struct clq_arena scratch = {0};
    const char *bases[] = {model->path, beside_too};
    if (model->path && n < capacity && stat(model->path, &st) == 0) out[n++] = (struct clq_file_id){(uint64_t)st.st_dev, (uint64_t)st.st_ino};
    for (int i = 0; i < model->n_external; i++)
        for (int k = 0; k < 2 && n < capacity; k++) {
            const char *path = bases[k] ? beside(&scratch, bases[k], model->external[i]) : NULL;
            if (path && stat(path, &st) == 0) out[n++] = (struct clq_file_id){(uint64_t)st.st_dev, (uint64_t)st.st_ino};
        }
    clq_arena_free(&scratch);
    return n;
}
