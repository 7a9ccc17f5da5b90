/* SPDX-License-Identifier: Apache-2.0
 * Compiled programs and verdicts on disk, in a folder that the caller named: magic, key, length and hash before the bytes. A damaged
 * file never reaches a driver, because drivers crash on such input. Must not know OpenCL's calls. */
#include "cl_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_PATH = 4096, MAX_BYTES = 1 << 28 };

/* The file: this header, then bytes of program. */
struct header {
    char magic[8];
    uint64_t key[2], bytes, hash;
};
static const char MAGIC[8] = {'C', 'L', 'Q', 'B', 'I', 'N', '0', '1'};

void clq_cl_key_add(struct clq_cl_key *key, const void *data, size_t bytes)
{
    const unsigned char *p = data;
    uint64_t a = key->hash[0] ? key->hash[0] : 0xcbf29ce484222325u,
             b = key->hash[1] ? key->hash[1] : 0x9ae16a3b2f90404fu;
    for (size_t i = 0; i < bytes; i++) {
        a = (a ^ p[i]) * 0x100000001b3u;
        b = (b + p[i]) * 0x100000001b3u ^ b >> 29;
    }
    key->hash[0] = a;
    key->hash[1] = b;
}

static uint64_t fnv(const unsigned char *data, size_t bytes)
{
    struct clq_cl_key key = {{0, 0}};
    clq_cl_key_add(&key, data, bytes);
    return key.hash[0];
}

static bool file_name(char *out, const char *dir, struct clq_cl_key key, const char *suffix)
{
    int n = snprintf(out, MAX_PATH, "%s/%016llx%016llx.clqbin%s", dir, (unsigned long long)key.hash[0],
                     (unsigned long long)key.hash[1], suffix);
    return n > 0 && n < MAX_PATH;
}

/* Reads or writes everything; false on any failure. */
static bool move_all(int fd, void *in, const void *out, size_t bytes)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = in ? read(fd, (char *)in + done, bytes - done) : write(fd, (const char *)out + done, bytes - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

void clq_cl_cache_drop(const char *dir, struct clq_cl_key key)
{
    char path[MAX_PATH];
    if (file_name(path, dir, key, "")) unlink(path);
}

bool clq_cl_cache_load(unsigned char **out, size_t *bytes, const char *dir, struct clq_cl_key key)
{
    char path[MAX_PATH];
    struct header h;
    struct stat st;
    unsigned char *data = NULL;
    if (!file_name(path, dir, key, "")) return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return false;
    bool ok = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && move_all(fd, &h, NULL, sizeof h) &&
              memcmp(h.magic, MAGIC, sizeof MAGIC) == 0 && h.key[0] == key.hash[0] && h.key[1] == key.hash[1] &&
              h.bytes > 0 && h.bytes <= MAX_BYTES && (uint64_t)st.st_size == sizeof h + h.bytes;
    ok = ok && (data = malloc((size_t)h.bytes)) != NULL && move_all(fd, data, NULL, (size_t)h.bytes) &&
         fnv(data, (size_t)h.bytes) == h.hash;
    close(fd);
    if (!ok) {
        free(data);
        unlink(path);
        return false;
    }
    *out = data;
    *bytes = (size_t)h.bytes;
    return true;
}

void clq_cl_cache_store(const char *dir, struct clq_cl_key key, const unsigned char *data, size_t bytes)
{
    char path[MAX_PATH], temporary[MAX_PATH], suffix[32];
    struct header h = {.key = {key.hash[0], key.hash[1]}, .bytes = bytes, .hash = fnv(data, bytes)};
    if (bytes == 0 || bytes > MAX_BYTES) return;
    memcpy(h.magic, MAGIC, sizeof MAGIC);
    snprintf(suffix, sizeof suffix, ".%ld.tmp", (long)getpid());
    if (!file_name(path, dir, key, "") || !file_name(temporary, dir, key, suffix)) return;
    mkdir(dir, 0700);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return;
    bool ok = move_all(fd, NULL, &h, sizeof h) && move_all(fd, NULL, data, bytes);
    ok = close(fd) == 0 && ok;
    if (!ok || rename(temporary, path) != 0) unlink(temporary);
}
