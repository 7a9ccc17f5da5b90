/* SPDX-License-Identifier: Apache-2.0
 * Reading is one pass over the file that checks every seal; values are read again when they are asked for. */
#include "base/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"

enum { MAGIC = 8, HEAD = MAGIC + 32 * CLQ_JOURNAL_PARTS + CLQ_JOURNAL_SEAL, BEFORE = 16 + 4 };
static const unsigned char magic[MAGIC] = {'C', 'L', 'Q', 'J', 'R', 'N', 'L', 1};
static const double SYNC_SECONDS = 1; /* a power failure costs at most so much work and the record after it */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void put_number(unsigned char *to, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) to[i] = (unsigned char)(v >> 8 * i);
}

static uint64_t take_number(const unsigned char *from, int bytes)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++) v |= (uint64_t)from[i] << 8 * i;
    return v;
}

static void half_digest(unsigned char out[CLQ_JOURNAL_SEAL], struct clq_sha256 *sha)
{
    unsigned char digest[32];
    clq_sha256_finish(sha, digest);
    memcpy(out, digest, CLQ_JOURNAL_SEAL);
}

static void start_seal(struct clq_sha256 *sha, const struct clq_journal *j, size_t number, const unsigned char before[BEFORE])
{
    unsigned char n[8];
    put_number(n, number, 8);
    clq_sha256_start(sha);
    clq_sha256_add(sha, j->seal, sizeof j->seal);
    clq_sha256_add(sha, n, sizeof n);
    clq_sha256_add(sha, before, BEFORE);
}

/* ---- System calls that do all or fail ---- */
static bool read_at(int fd, void *out, size_t bytes, uint64_t at)
{
    unsigned char *to = out;
    while (bytes > 0) {
        ssize_t n = pread(fd, to, bytes, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        to += n;
        at += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return true;
}

static bool write_at(int fd, const void *data, size_t bytes, uint64_t at)
{
    const unsigned char *from = data;
    while (bytes > 0) {
        ssize_t n = pwrite(fd, from, bytes, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        from += n;
        at += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return true;
}

/* ---- Records ---- */
static bool remember(struct clq_journal *j, struct clq_journal_key key, uint64_t at, size_t bytes)
{
    if (j->n == j->room) {
        size_t room = j->room ? 2 * j->room : 256;
        struct clq_journal_record *more = realloc(j->records, room * sizeof *more);
        if (!more) return false;
        j->records = more;
        j->room = room;
    }
    j->records[j->n++] = (struct clq_journal_record){.key = key, .at = at, .bytes = (uint32_t)bytes};
    return true;
}

/* Whether a whole record lies at j->end of a file of this size; it is then remembered, and the end moves behind it. */
static bool read_record(struct clq_journal *j, uint64_t size, clq_status *st)
{
    unsigned char before[BEFORE], seal[CLQ_JOURNAL_SEAL], wanted[CLQ_JOURNAL_SEAL], chunk[4096];
    struct clq_sha256 sha;
    if (size - j->end < BEFORE + CLQ_JOURNAL_SEAL || !read_at(j->fd, before, BEFORE, j->end)) return false;
    const uint64_t bytes = take_number(before + 16, 4), at = j->end + BEFORE;
    if (bytes > CLQ_JOURNAL_MAX_VALUE || bytes > size - at || size - at - bytes < CLQ_JOURNAL_SEAL) return false;
    start_seal(&sha, j, j->n, before);
    for (uint64_t done = 0; done < bytes;) {
        size_t n = bytes - done < sizeof chunk ? (size_t)(bytes - done) : sizeof chunk;
        if (!read_at(j->fd, chunk, n, at + done)) return false;
        clq_sha256_add(&sha, chunk, n);
        done += n;
    }
    half_digest(wanted, &sha);
    if (!read_at(j->fd, seal, sizeof seal, at + bytes) || memcmp(seal, wanted, sizeof seal) != 0) return false;
    if (!remember(j, (struct clq_journal_key){{take_number(before, 8), take_number(before + 8, 8)}}, at, (size_t)bytes)) {
        *st = CLQ_ERR_OUT_OF_MEMORY;
        return false;
    }
    j->end = at + bytes + CLQ_JOURNAL_SEAL;
    return true;
}

/* ---- Opening ---- */
static void make_head(unsigned char head[HEAD], const struct clq_journal_job *job)
{
    struct clq_sha256 sha;
    memcpy(head, magic, MAGIC);
    memcpy(head + MAGIC, job->digest, sizeof job->digest);
    clq_sha256_start(&sha);
    clq_sha256_add(&sha, head, HEAD - CLQ_JOURNAL_SEAL);
    half_digest(head + HEAD - CLQ_JOURNAL_SEAL, &sha);
}

/* What keeps the file from being this job's journal, NULL: nothing. A head that was torn is no job's. */
static const char *other_job(const unsigned char *found, const unsigned char *wanted, const struct clq_journal_job *job)
{
    for (int k = 0; k < CLQ_JOURNAL_PARTS; k++)
        if (memcmp(found + MAGIC + 32 * k, wanted + MAGIC + 32 * k, 32) != 0) return job->name[k];
    return memcmp(found, wanted, HEAD) != 0 ? "job" : NULL;
}

static clq_status start_anew(struct clq_journal *j, const unsigned char head[HEAD], struct clq_error *err)
{
    if (ftruncate(j->fd, 0) != 0 || !write_at(j->fd, head, HEAD, 0)) return clq_fail(err, CLQ_ERR_IO, "'%s': %s", j->path, strerror(errno));
    j->end = HEAD;
    return CLQ_OK;
}

static clq_status read_head(struct clq_journal *j, const struct clq_journal_job *job, uint64_t size, bool must, char *reason, size_t room, struct clq_error *err)
{
    unsigned char head[HEAD], found[HEAD] = {0};
    const size_t n = size < HEAD ? (size_t)size : HEAD;
    struct clq_error why = {""};
    make_head(head, job);
    memcpy(j->seal, head + HEAD - CLQ_JOURNAL_SEAL, CLQ_JOURNAL_SEAL);
    if (!read_at(j->fd, found, n, 0)) return clq_fail(err, CLQ_ERR_IO, "'%s': %s", j->path, strerror(errno));
    if (memcmp(found, magic, n < MAGIC - 1 ? n : MAGIC - 1) != 0)
        return clq_fail(err, CLQ_ERR_FORMAT, "'%s': it is no journal of clquant, and is left as it is", j->path);
    if (n >= MAGIC && found[MAGIC - 1] != magic[MAGIC - 1])
        clq_fail(&why, CLQ_OK, "journal '%s' is of format %d, expected %d", j->path, found[MAGIC - 1], magic[MAGIC - 1]);
    else if (n < HEAD) clq_fail(&why, CLQ_OK, size == 0 ? "journal '%s' is empty" : "journal '%s' ends within its head", j->path);
    else {
        const char *other = other_job(found, head, job);
        if (!other) {
            j->end = HEAD;
            return CLQ_OK;
        }
        clq_fail(&why, CLQ_OK, "journal '%s' belongs to another %s", j->path, other);
    }
    if (must) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: nothing to continue from", why.text);
    if (size > 0 && room > 0) {
        size_t length = strlen(why.text) < room ? strlen(why.text) : room - 1;
        memcpy(reason, why.text, length);
        reason[length] = 0;
    }
    return start_anew(j, head, err);
}

static clq_status read_all(struct clq_journal *j, const struct clq_journal_job *job, bool must, char *reason, size_t room, struct clq_error *err)
{
    struct stat file;
    clq_status st = CLQ_OK;
    if (fstat(j->fd, &file) != 0) return clq_fail(err, CLQ_ERR_IO, "'%s': %s", j->path, strerror(errno));
    if (!S_ISREG(file.st_mode)) return clq_fail(err, CLQ_ERR_IO, "'%s': expected a regular file", j->path);
    for (int tries = 0; flock(j->fd, LOCK_EX | LOCK_NB) != 0; tries++) { /* a solver's process outlives its killed parent by an instant */
        if (errno != EINTR && (errno != EWOULDBLOCK || tries == 50))
            return clq_fail(err, CLQ_ERR_IO, "'%s': %s", j->path, errno == EWOULDBLOCK ? "another process is at work on it" : strerror(errno));
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    struct stat there; /* the other process may have written on, or removed its journal */
    if (fstat(j->fd, &file) != 0 || lstat(j->path, &there) != 0) return clq_fail(err, CLQ_ERR_IO, "'%s': %s", j->path, strerror(errno));
    if (file.st_dev != there.st_dev || file.st_ino != there.st_ino)
        return clq_fail(err, CLQ_ERR_IO, "'%s': another process was at work on it and has removed it", j->path);
    const uint64_t size = (uint64_t)file.st_size;
    CLQ_TRY(read_head(j, job, size, must, reason, room, err));
    if (size <= HEAD || j->end != HEAD || reason[0]) return CLQ_OK;
    while (read_record(j, size, &st)) continue;
    if (st != CLQ_OK) return clq_fail(err, st, "out of memory");
    j->found = j->n;
    j->cut = size - j->end;
    if (j->cut > 0 && ftruncate(j->fd, (off_t)j->end) != 0) return clq_fail(err, CLQ_ERR_IO, "'%s': %s", j->path, strerror(errno));
    return CLQ_OK;
}

clq_status clq_journal_open(struct clq_journal *j, const char *path, const struct clq_journal_job *job, bool must, char *reason, size_t room, struct clq_error *err)
{
    if (room > 0) reason[0] = 0;
    *j = (struct clq_journal){.fd = -1, .path = strdup(path), .synced = now()};
    if (!j->path) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    j->fd = open(path, O_RDWR | (must ? 0 : O_CREAT) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0666);
    clq_status st = j->fd >= 0 ? read_all(j, job, must, reason, room, err)
                               : clq_fail(err, CLQ_ERR_IO, "'%s': %s%s", path, strerror(errno), must ? ": nothing to continue from" : "");
    if (st != CLQ_OK) clq_journal_close(j);
    return st;
}

/* ---- Use ---- */
static struct clq_journal_record *record_of(const struct clq_journal *j, struct clq_journal_key key)
{
    for (size_t i = 0; j->fd >= 0 && i < j->n; i++)
        if (j->records[i].key.h[0] == key.h[0] && j->records[i].key.h[1] == key.h[1]) return &j->records[i];
    return NULL;
}

bool clq_journal_size(size_t *bytes, const struct clq_journal *j, struct clq_journal_key key)
{
    const struct clq_journal_record *r = record_of(j, key);
    if (r) *bytes = r->bytes;
    return r != NULL;
}

bool clq_journal_find(struct clq_journal *j, struct clq_journal_key key, void *value, size_t bytes)
{
    struct clq_journal_record *r = record_of(j, key);
    if (!r || r->bytes != bytes || !read_at(j->fd, value, bytes, r->at)) return false;
    j->used += !r->used && (size_t)(r - j->records) < j->found;
    r->used = true;
    return true;
}

static void stop_keeping(struct clq_journal *j)
{
    int e = errno;
    if (ftruncate(j->fd, (off_t)j->end) != 0) errno = e; /* a torn record is left out by who reads it */
    close(j->fd);
    j->fd = -1;
    errno = e;
}

clq_status clq_journal_append(struct clq_journal *j, struct clq_journal_key key, const void *value, size_t bytes, struct clq_error *err)
{
    unsigned char before[BEFORE], seal[CLQ_JOURNAL_SEAL];
    struct clq_sha256 sha;
    if (j->fd < 0 || bytes > CLQ_JOURNAL_MAX_VALUE) return CLQ_OK;
    put_number(before, key.h[0], 8);
    put_number(before + 8, key.h[1], 8);
    put_number(before + 16, bytes, 4);
    start_seal(&sha, j, j->n, before);
    clq_sha256_add(&sha, value, bytes);
    half_digest(seal, &sha);
    const uint64_t at = j->end + BEFORE;
    if (!write_at(j->fd, before, BEFORE, j->end) || !write_at(j->fd, value, bytes, at) || !write_at(j->fd, seal, sizeof seal, at + bytes)) {
        stop_keeping(j);
        return clq_fail(err, CLQ_ERR_IO, "journal '%s': %s; from here on nothing is kept for a later run", j->path, strerror(errno));
    }
    if (!remember(j, key, at, bytes)) {
        stop_keeping(j);
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    }
    j->end = at + bytes + CLQ_JOURNAL_SEAL;
    if (now() - j->synced < SYNC_SECONDS) return CLQ_OK;
    (void)fdatasync(j->fd); /* what the disk refuses now, the next write tells */
    j->synced = now();
    return CLQ_OK;
}

void clq_journal_close(struct clq_journal *j)
{
    if (j->fd >= 0) close(j->fd);
    free(j->path);
    free(j->records);
    *j = (struct clq_journal){.fd = -1};
}

void clq_journal_remove(struct clq_journal *j)
{
    struct stat mine, there;
    if (j->fd >= 0 && fstat(j->fd, &mine) == 0 && lstat(j->path, &there) == 0 && mine.st_dev == there.st_dev && mine.st_ino == there.st_ino) unlink(j->path);
    clq_journal_close(j);
}
