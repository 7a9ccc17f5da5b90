/* SPDX-License-Identifier: Apache-2.0
 * Writing: temporary file, reserve, write, read again, sync, rename, sync the directory. The table of temporary names
 * is this library's only writable global, because a signal handler has nothing else to look at. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SLOTS = 64, FREE = 0, FILLING = 1, ACTIVE = 2 };

static struct {
    atomic_int state;
    int dir_fd;
    char temp[sizeof((struct clq_writer *)0)->temp];
} active[SLOTS];

static int slot_take(void)
{
    for (int i = 0; i < SLOTS; i++) {
        int expected = FREE;
        if (atomic_compare_exchange_strong(&active[i].state, &expected, FILLING)) return i;
    }
    return -1;
}

void clq_file_abort_all(void)
{
    for (int i = 0; i < SLOTS; i++)
        if (atomic_load(&active[i].state) == ACTIVE) unlinkat(active[i].dir_fd, active[i].temp, 0);
}

static clq_status fail_errno(struct clq_writer *w, struct clq_error *err, const char *what)
{
    clq_status status = clq_fail(err, CLQ_ERR_IO, "'%s': %s: %s", w->path, what, strerror(errno));
    clq_writer_abort(w);
    return status;
}

/* The target may be absent, or a regular file if force is set, and never an input. */
static clq_status check_target(struct clq_writer *w, const struct clq_writer_options *o, mode_t *mode,
                               struct clq_error *err)
{
    struct stat link, st;
    *mode = 0;
    if (fstatat(w->dir_fd, w->name, &link, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? CLQ_OK : clq_fail(err, CLQ_ERR_IO, "'%s': %s", w->path, strerror(errno));
    bool found = fstatat(w->dir_fd, w->name, &st, 0) == 0;
    for (size_t i = 0; found && i < o->n_inputs; i++)
        if (o->inputs[i].device == (uint64_t)st.st_dev && o->inputs[i].inode == (uint64_t)st.st_ino)
            return clq_fail(err, CLQ_ERR_IO, "'%s': the output is the same file as an input", w->path);
    if (found && !S_ISREG(st.st_mode))
        return clq_fail(err, CLQ_ERR_IO, "'%s': exists and is not a regular file", w->path);
    if (!w->force) return clq_fail(err, CLQ_ERR_IO, "'%s': exists already, and replacing it was not asked for", w->path);
    if (found && !S_ISLNK(link.st_mode)) *mode = st.st_mode & 07777;
    return CLQ_OK;
}

static clq_status create_temp(struct clq_writer *w, struct clq_error *err)
{
    for (int tries = 0; tries < 16; tries++) {
        uint64_t number = (uint64_t)getpid() << 32 | (unsigned)tries;
        if (getrandom(&number, sizeof number, GRND_NONBLOCK) < 0) number ^= (uint64_t)(uintptr_t)w;
        snprintf(w->temp, sizeof w->temp, ".clq-%016llx.tmp", (unsigned long long)number);
        /* The name is published first: a signal between the two calls then removes nothing or the file. */
        memcpy(active[w->slot].temp, w->temp, sizeof w->temp);
        active[w->slot].dir_fd = w->dir_fd;
        atomic_store(&active[w->slot].state, ACTIVE);
        w->fd = openat(w->dir_fd, w->temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (w->fd >= 0) return CLQ_OK;
        atomic_store(&active[w->slot].state, FILLING);
        if (errno != EEXIST) break;
    }
    w->temp[0] = 0;
    return clq_fail(err, CLQ_ERR_IO, "'%s': cannot create a file in its directory: %s", w->path, strerror(errno));
}

static clq_status start(struct clq_writer *w, const struct clq_writer_options *o, struct clq_error *err)
{
    mode_t mode;
    const char *slash = strrchr(w->path, '/');
    w->name = slash ? slash + 1 : w->path;
    if (!w->name[0] || strcmp(w->name, ".") == 0 || strcmp(w->name, "..") == 0)
        return clq_fail(err, CLQ_ERR_IO, "'%s': is not a file name", w->path);
    char *dir = slash ? strndup(w->path, (size_t)(slash - w->path) + 1) : strdup(".");
    if (!dir) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "'%s': out of memory", w->path);
    w->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int saved = errno;
    free(dir);
    if (w->dir_fd < 0) return clq_fail(err, CLQ_ERR_IO, "'%s': its directory: %s", w->path, strerror(saved));
    CLQ_TRY(check_target(w, o, &mode, err));
    if ((w->slot = slot_take()) < 0)
        return clq_fail(err, CLQ_ERR_IO, "'%s': more than %d files are being written", w->path, SLOTS);
    CLQ_TRY(create_temp(w, err));
    if (mode && fchmod(w->fd, mode) != 0) return fail_errno(w, err, "keeping its mode");
    int full = o->bytes && o->bytes <= INT64_MAX ? posix_fallocate(w->fd, 0, (off_t)o->bytes) : 0;
    if (full != 0 && full != EOPNOTSUPP && full != EINVAL) {
        errno = full;
        return fail_errno(w, err, "reserving space");
    }
    return CLQ_OK;
}

clq_status clq_writer_open(struct clq_writer *w, const char *path, const struct clq_writer_options *options,
                           struct clq_error *err)
{
    static const struct clq_writer_options none;
    if (!options) options = &none;
    *w = (struct clq_writer){.fd = -1, .dir_fd = -1, .slot = -1, .force = options->force, .path = strdup(path)};
    if (!w->path) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "'%s': out of memory", path);
    clq_status status = start(w, options, err);
    if (status != CLQ_OK) clq_writer_abort(w);
    return status;
}

clq_status clq_writer_write(struct clq_writer *w, const void *data, size_t bytes, struct clq_error *err)
{
    const char *p = data;
    if (!w->path) return clq_fail(err, CLQ_ERR_IO, "the file was given up after an earlier failure");
    if (bytes && w->written < sizeof w->head) {
        size_t room = sizeof w->head - (size_t)w->written;
        memcpy(w->head + w->written, p, bytes < room ? bytes : room);
    }
    while (bytes > 0) {
        ssize_t n = write(w->fd, p, bytes < (1u << 30) ? bytes : 1u << 30);
        if (n < 0 && errno == EINTR) continue;
        if (n == 0) errno = EIO;
        if (n <= 0) return fail_errno(w, err, "writing");
        p += n;
        bytes -= (size_t)n;
        w->written += (uint64_t)n;
    }
    return CLQ_OK;
}

/* A reservation that was too large is cut; what is on disk must then begin and end as it was written. */
static bool verify(struct clq_writer *w)
{
    unsigned char seen[sizeof w->head];
    struct stat st;
    size_t n = w->written < sizeof seen ? (size_t)w->written : sizeof seen, at = 0;
    if (ftruncate(w->fd, (off_t)w->written) != 0 || fstat(w->fd, &st) != 0) return false;
    while (at < n) {
        ssize_t got = pread(w->fd, seen + at, n - at, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        at += (size_t)got;
    }
    errno = EIO;
    return (uint64_t)st.st_size == w->written && memcmp(seen, w->head, n) == 0;
}

static bool publish(struct clq_writer *w)
{
    if (w->force) return renameat(w->dir_fd, w->temp, w->dir_fd, w->name) == 0;
    if (renameat2(w->dir_fd, w->temp, w->dir_fd, w->name, RENAME_NOREPLACE) == 0) return true;
    if (errno != EINVAL && errno != ENOSYS) return false;
    return linkat(w->dir_fd, w->temp, w->dir_fd, w->name, 0) == 0 && unlinkat(w->dir_fd, w->temp, 0) == 0;
}

clq_status clq_writer_commit(struct clq_writer *w, struct clq_error *err)
{
    if (!w->path) return clq_fail(err, CLQ_ERR_IO, "the file was given up after an earlier failure");
    if (!verify(w)) return fail_errno(w, err, "reading it again");
    if (fsync(w->fd) != 0) return fail_errno(w, err, "syncing");
    int fd = w->fd;
    w->fd = -1;
    if (close(fd) != 0) return fail_errno(w, err, "closing");
    if (!publish(w)) return fail_errno(w, err, "renaming");
    w->temp[0] = 0;
    if (fsync(w->dir_fd) != 0 && errno != EINVAL) return fail_errno(w, err, "syncing its directory");
    clq_writer_abort(w);
    return CLQ_OK;
}

void clq_writer_abort(struct clq_writer *w)
{
    if (!w->path) return;
    if (w->fd >= 0) close(w->fd);
    if (w->temp[0]) unlinkat(w->dir_fd, w->temp, 0);
    if (w->slot >= 0) atomic_store(&active[w->slot].state, FREE);
    if (w->dir_fd >= 0) close(w->dir_fd);
    free(w->path);
    *w = (struct clq_writer){.fd = -1, .dir_fd = -1, .slot = -1};
}

clq_status clq_file_write(const char *path, const void *data, size_t bytes, const struct clq_writer_options *options,
                          struct clq_error *err)
{
    struct clq_writer w;
    struct clq_writer_options o = options ? *options : (struct clq_writer_options){0};
    o.bytes = bytes;
    CLQ_TRY(clq_writer_open(&w, path, &o, err));
    CLQ_TRY(clq_writer_write(&w, data, bytes, err));
    return clq_writer_commit(&w, err);
}
