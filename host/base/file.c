/* SPDX-License-Identifier: Apache-2.0
 * Reading: regular files only, opened without blocking, read with pread so that a file that shrinks meanwhile is an
 * error and never a signal. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/size.h"

enum { READ_FLAGS = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY };

/* Takes fd: fills out, or closes it. */
static clq_status adopt(struct clq_file *out, int fd, const char *name, bool single_link, struct clq_error *err)
{
    struct stat st;
    clq_status status = CLQ_OK;
    if (fstat(fd, &st) != 0)
        status = clq_fail(err, CLQ_ERR_IO, "'%s': %s", name, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        status = clq_fail(err, CLQ_ERR_IO, "'%s': expected a regular file, found a %s", name,
                          S_ISDIR(st.st_mode) ? "directory" : S_ISFIFO(st.st_mode) ? "FIFO" : "device or socket");
    else if (single_link && st.st_nlink > 1)
        status = clq_fail(err, CLQ_ERR_IO, "'%s': the file has %llu hard links; links need --follow-links", name,
                          (unsigned long long)st.st_nlink);
    if (status != CLQ_OK) {
        close(fd);
        return status;
    }
    *out = (struct clq_file){.fd = fd, .size = (uint64_t)st.st_size, .name = name,
                             .id = {(uint64_t)st.st_dev, (uint64_t)st.st_ino}};
    return CLQ_OK;
}

clq_status clq_file_open(struct clq_file *out, const char *path, struct clq_error *err)
{
    int fd = open(path, READ_FLAGS);
    if (fd < 0) return clq_fail(err, CLQ_ERR_IO, "'%s': %s", path, strerror(errno));
    return adopt(out, fd, path, false, err);
}

/* Every component of a location must be a plain name. */
static const char *location_fault(const char *location, size_t n)
{
    if (n == 0) return "is empty";
    if (n > 4096) return "is longer than 4096 bytes";
    if (memchr(location, 0, n)) return "holds a zero byte";
    if (memchr(location, '\\', n)) return "holds a backslash";
    if (location[0] == '/') return "is absolute";
    if (location[n - 1] == '/') return "ends in a slash";
    for (size_t i = 0; i < n;) {
        size_t end = i;
        while (end < n && location[end] != '/') end++;
        if (end - i == 2 && location[i] == '.' && location[i + 1] == '.') return "leaves the model's directory";
        if (end == i) return "has an empty component";
        i = end + 1;
    }
    return NULL;
}

/* Below dir without any symbolic link, one component after the other. Changes path. */
static int walk_below(int dir, char *path)
{
    int at = dup(dir);
    for (char *part = path; at >= 0;) {
        char *slash = strchr(part, '/');
        if (slash) *slash = 0;
        int flags = slash ? O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC : READ_FLAGS | O_NOFOLLOW;
        int next = openat(at, part, flags);
        int saved = errno;
        close(at);
        errno = saved;
        if (!slash) return next;
        at = next;
        part = slash + 1;
    }
    return -1;
}

static int open_below(int dir, char *path, unsigned flags)
{
    if (flags & CLQ_BELOW_LINKS) return openat(dir, path, READ_FLAGS);
    if (!(flags & CLQ_BELOW_WALK)) {
        struct open_how how = {.flags = READ_FLAGS,
                               .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
        long fd;
        int tries = 0;
        do fd = syscall(SYS_openat2, dir, path, &how, sizeof how);
        while (fd < 0 && (errno == EAGAIN || errno == EINTR) && ++tries < 16);
        if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) return (int)fd;
    }
    return walk_below(dir, path);
}

clq_status clq_file_open_below(struct clq_file *out, const char *base_path, const char *location, size_t n,
                               unsigned flags, struct clq_error *err)
{
    int shown = n > 200 ? 200 : (int)n;
    const char *fault = location_fault(location, n);
    if (fault) return clq_fail(err, CLQ_ERR_FORMAT, "external data location '%.*s' %s", shown, location, fault);
    const char *slash = strrchr(base_path, '/');
    char *dir_path = slash ? strndup(base_path, (size_t)(slash - base_path) + 1) : strdup(".");
    char *path = strndup(location, n);
    clq_status status;
    int dir = -1;
    if (!dir_path || !path) {
        status = clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "opening '%.*s': out of memory", shown, location);
    } else if ((dir = open(dir_path, O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0) {
        status = clq_fail(err, CLQ_ERR_IO, "directory '%s': %s", dir_path, strerror(errno));
    } else {
        int fd = open_below(dir, path, flags);
        if (fd < 0)
            status = clq_fail(err, CLQ_ERR_IO, "external data '%.*s': %s", shown, location,
                              errno == ELOOP ? "a symbolic link, which needs --follow-links" : strerror(errno));
        else
            status = adopt(out, fd, "external data", !(flags & CLQ_BELOW_LINKS), err);
    }
    if (dir >= 0) close(dir);
    free(dir_path);
    free(path);
    return status;
}

clq_status clq_file_pread(const struct clq_file *file, void *out, size_t bytes, uint64_t offset, struct clq_error *err)
{
    size_t done = 0;
    if (offset > INT64_MAX || bytes > INT64_MAX - offset)
        return clq_fail(err, CLQ_ERR_IO, "'%s': offset %llu is out of range", file->name, (unsigned long long)offset);
    while (done < bytes) {
        size_t want = bytes - done < (1u << 30) ? bytes - done : 1u << 30;
        ssize_t got = pread(file->fd, (char *)out + done, want, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return clq_fail(err, CLQ_ERR_IO, "'%s': %s", file->name, strerror(errno));
        if (got == 0)
            return clq_fail(err, CLQ_ERR_IO, "'%s': expected %zu bytes at offset %llu, the file ended after %zu",
                            file->name, bytes, (unsigned long long)offset, done);
        done += (size_t)got;
    }
    return CLQ_OK;
}

void clq_file_close(struct clq_file *file)
{
    if (file->fd >= 0) close(file->fd);
    file->fd = -1;
}

clq_status clq_file_read(struct clq_blob *out, const char *path, size_t limit, struct clq_error *err)
{
    struct clq_file file;
    size_t room;
    CLQ_TRY(clq_file_open(&file, path, err));
    struct clq_blob blob = {.bytes = (size_t)file.size, .id = file.id};
    clq_status status = CLQ_OK;
    if (limit && file.size > limit)
        status = clq_fail(err, CLQ_ERR_FORMAT, "'%s': expected at most %zu bytes, found %llu", path, limit,
                          (unsigned long long)file.size);
    else if (!clq_size_add(&room, blob.bytes, 1) || !(blob.data = malloc(room)))
        status = clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "'%s': no memory for %llu bytes", path,
                          (unsigned long long)file.size);
    else
        status = clq_file_pread(&file, blob.data, blob.bytes, 0, err);
    clq_file_close(&file);
    if (status != CLQ_OK) {
        free(blob.data);
        return status;
    }
    blob.data[blob.bytes] = 0;
    *out = blob;
    return CLQ_OK;
}
