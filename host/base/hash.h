/* SPDX-License-Identifier: Apache-2.0
 * Content hashes: FNV-1a for tables and keys, SHA-256 for models, plans, profiles and journals. They find changed
 * files; only SHA-256 resists somebody who wants two files to look alike. */
#ifndef CLQ_BASE_HASH_H
#define CLQ_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* FNV-1a, 64 bits. Start with CLQ_FNV64_START, or go on with an earlier result. */
#define CLQ_FNV64_START 14695981039346656037u
uint64_t clq_fnv64(uint64_t hash, const void *data, size_t bytes);

/* FNV-1a, 128 bits; hash[0] is the high half. clq_fnv128_start sets the offset basis. */
void clq_fnv128_start(uint64_t hash[2]);
void clq_fnv128(uint64_t hash[2], const void *data, size_t bytes);

struct clq_sha256 {
    uint32_t state[8];
    uint64_t bytes;
    unsigned char block[64];
};

void clq_sha256_start(struct clq_sha256 *sha);
void clq_sha256_add(struct clq_sha256 *sha, const void *data, size_t bytes);
void clq_sha256_finish(struct clq_sha256 *sha, unsigned char out[32]);

/* The digest of one span as 64 lower-case hexadecimal digits and a zero. */
void clq_sha256_hex(char out[65], const void *data, size_t bytes);
/* Any bytes as hexadecimal text; out holds 2 * bytes + 1. */
void clq_hex(char *out, const void *data, size_t bytes);

#endif
