/* SPDX-License-Identifier: Apache-2.0
 * Files by system calls: bounded reading, confined opening of external data, and writing that leaves either the old
 * or the complete new file. Must not know any format. */
#ifndef CLQ_BASE_FILE_H
#define CLQ_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* What makes two paths the same file. */
struct clq_file_id {
    uint64_t device, inode;
};

/* An open regular file. name is borrowed and used in messages. */
struct clq_file {
    int fd;
    uint64_t size; /* when it was opened */
    struct clq_file_id id;
    const char *name;
};

/* Opens a regular file for reading. FIFOs, devices and directories give CLQ_ERR_IO without waiting. */
clq_status clq_file_open(struct clq_file *out, const char *path, struct clq_error *err);

enum {
    CLQ_BELOW_LINKS = 1u << 0, /* the user allows symbolic and hard links */
    CLQ_BELOW_WALK = 1u << 1   /* do not use openat2: the way of older systems, for tests */
};

/* Opens location (n bytes, from a model file) below the directory of the file base_path. Absolute locations, "..",
 * backslashes and zero bytes are CLQ_ERR_FORMAT; without CLQ_BELOW_LINKS, symbolic links and files with more than one
 * hard link are CLQ_ERR_IO. */
clq_status clq_file_open_below(struct clq_file *out, const char *base_path, const char *location, size_t n,
                               unsigned flags, struct clq_error *err);

/* Reads exactly bytes at offset; a file that has become shorter is CLQ_ERR_IO. */
clq_status clq_file_pread(const struct clq_file *file, void *out, size_t bytes, uint64_t offset, struct clq_error *err);
void clq_file_close(struct clq_file *file);

/* A whole file in memory. free(data) releases it; data has one zero byte behind its end. */
struct clq_blob {
    unsigned char *data;
    size_t bytes;
    struct clq_file_id id;
};

/* Reads a whole regular file; one longer than limit is CLQ_ERR_FORMAT (limit 0: no limit). */
clq_status clq_file_read(struct clq_blob *out, const char *path, size_t limit, struct clq_error *err);

/* A file in the making: a temporary file beside its target. The caller owns the struct; after open every path must end
 * in commit or abort. */
struct clq_writer {
    int fd, dir_fd, slot;
    bool force;
    char temp[40];
    char *path; /* owned */
    const char *name; /* the last component, inside path */
    uint64_t written;
    unsigned char head[4096]; /* what the file must begin with when it is read again */
};

struct clq_writer_options {
    bool force;                       /* replace an existing file */
    const struct clq_file_id *inputs; /* the target must be none of these */
    size_t n_inputs;
    uint64_t bytes; /* reserved on disk in advance; 0: unknown */
};

/* CLQ_ERR_IO: the target exists and force is not set, is an input, is not a regular file, or the disk is full. */
clq_status clq_writer_open(struct clq_writer *w, const char *path, const struct clq_writer_options *options,
                           struct clq_error *err);
clq_status clq_writer_write(struct clq_writer *w, const void *data, size_t bytes, struct clq_error *err);
/* Verifies, syncs and renames; on failure the temporary file is removed and an existing target is untouched. */
clq_status clq_writer_commit(struct clq_writer *w, struct clq_error *err);
/* Removes the temporary file. Allowed on a zeroed, committed or aborted writer. */
void clq_writer_abort(struct clq_writer *w);

/* Opens, writes and commits one span. */
clq_status clq_file_write(const char *path, const void *data, size_t bytes, const struct clq_writer_options *options,
                          struct clq_error *err);

/* Removes the temporary files of every open writer of this process. Async-signal-safe; the process must end after it. */
void clq_file_abort_all(void);

#endif
