/* SPDX-License-Identifier: Apache-2.0
 * An append-only file of finished work: what a stopped job had done is found there by the same job, started again. Must not
 * know what its records mean.
 *
 * Little-endian: 8 bytes of magic, the digests of the job, a seal over both; then records of a key, a length, the value and
 * a seal. A seal is half a SHA-256 of the head's seal, the record's number and all of it, so records cannot change places
 * or come from another job. The first record that is torn or damaged ends the journal; it and what follows are cut off. */
#ifndef CLQ_BASE_JOURNAL_H
#define CLQ_BASE_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { CLQ_JOURNAL_PARTS = 5, CLQ_JOURNAL_SEAL = 16, CLQ_JOURNAL_MAX_VALUE = 1 << 30 };

/* What a job is known by: every part is the digest of something that its results depend on. */
struct clq_journal_job {
    const char *name[CLQ_JOURNAL_PARTS]; /* of each part, for messages: "model", "data", ... */
    unsigned char digest[CLQ_JOURNAL_PARTS][32];
};

struct clq_journal_key {
    uint64_t h[2];
};

struct clq_journal {
    int fd;          /* -1: nothing is kept, and nothing is found */
    char *path;      /* owned */
    struct clq_journal_record {
        struct clq_journal_key key;
        uint64_t at; /* of the value */
        uint32_t bytes;
        bool used;
    } *records;      /* owned */
    size_t n, room;
    size_t found;    /* of them, when it was opened */
    size_t used;     /* of these, asked for since */
    uint64_t end, cut; /* where the next record goes; bytes that were cut off when it was opened */
    double synced;   /* when it was last forced to disk */
    unsigned char seal[CLQ_JOURNAL_SEAL];
};

/* Opens or makes a journal, and holds a lock on it. Of another job: with must CLQ_ERR_INVALID_ARGUMENT, otherwise it is
 * emptied; reason [room] then says why, and is "" elsewhere. With must there has to be one. A file that is no journal is
 * CLQ_ERR_FORMAT and stays as it is; CLQ_ERR_IO: it cannot be opened, or another process holds it. On failure fd is -1. */
clq_status clq_journal_open(struct clq_journal *j, const char *path, const struct clq_journal_job *job, bool must, char *reason, size_t room,
                            struct clq_error *err);
/* Whether there is a record of this key with a value of exactly so many bytes; it is read into value. */
bool clq_journal_find(struct clq_journal *j, struct clq_journal_key key, void *value, size_t bytes);
/* The bytes of its value; false: there is none. */
bool clq_journal_size(size_t *bytes, const struct clq_journal *j, struct clq_journal_key key);
/* Adds a record. When it cannot be written nothing more is kept: one message, CLQ_ERR_IO. */
clq_status clq_journal_append(struct clq_journal *j, struct clq_journal_key key, const void *value, size_t bytes, struct clq_error *err);
/* The file stays. Allowed on a zeroed struct with fd -1, and again. */
void clq_journal_close(struct clq_journal *j);
/* Its work is done: the file goes. */
void clq_journal_remove(struct clq_journal *j);

#endif
