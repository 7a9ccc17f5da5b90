/* SPDX-License-Identifier: Apache-2.0
 * FNV-1a after its published constants, SHA-256 after FIPS 180-4. */
#include "base/hash.h"

#include <string.h>

uint64_t clq_fnv64(uint64_t hash, const void *data, size_t bytes)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++) hash = (hash ^ p[i]) * 1099511628211u;
    return hash;
}

void clq_fnv128_start(uint64_t hash[2])
{
    hash[0] = 0x6c62272e07bb0142u;
    hash[1] = 0x62b821756295c58du;
}

/* The prime is 2^88 + 0x13b: the product is a shift by 88 and a small multiple. */
void clq_fnv128(uint64_t hash[2], const void *data, size_t bytes)
{
    const unsigned char *p = data;
    uint64_t hi = hash[0], lo = hash[1];
    for (size_t i = 0; i < bytes; i++) {
        lo ^= p[i];
        uint64_t low = (lo & 0xffffffffu) * 0x13b, high = (lo >> 32) * 0x13b + (low >> 32);
        hi = hi * 0x13b + (high >> 32) + (lo << 24);
        lo = (high << 32) | (low & 0xffffffffu);
    }
    hash[0] = hi;
    hash[1] = lo;
}

static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

/* The eight words keep their places, and the rounds turn around them. */
static void one_round(uint32_t a, uint32_t b, uint32_t c, uint32_t *d, uint32_t e, uint32_t f, uint32_t g, uint32_t *h, uint32_t kw)
{
    uint32_t t = *h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + kw;
    *d += t;
    *h = t + (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
}

static void compress(uint32_t state[8], const unsigned char *block)
{
    const uint32_t *k = round_constants;
    uint32_t w[64], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 |
               block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t x = w[i - 15], y = w[i - 2];
        w[i] = w[i - 16] + (rotate(x, 7) ^ rotate(x, 18) ^ x >> 3) + w[i - 7] + (rotate(y, 17) ^ rotate(y, 19) ^ y >> 10);
    }
    for (int i = 0; i < 64; i += 8) {
        one_round(a, b, c, &d, e, f, g, &h, k[i] + w[i]);
        one_round(h, a, b, &c, d, e, f, &g, k[i + 1] + w[i + 1]);
        one_round(g, h, a, &b, c, d, e, &f, k[i + 2] + w[i + 2]);
        one_round(f, g, h, &a, b, c, d, &e, k[i + 3] + w[i + 3]);
        one_round(e, f, g, &h, a, b, c, &d, k[i + 4] + w[i + 4]);
        one_round(d, e, f, &g, h, a, b, &c, k[i + 5] + w[i + 5]);
        one_round(c, d, e, &f, g, h, a, &b, k[i + 6] + w[i + 6]);
        one_round(b, c, d, &e, f, g, h, &a, k[i + 7] + w[i + 7]);
    }
    const uint32_t v[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; i++) state[i] += v[i];
}

void clq_sha256_start(struct clq_sha256 *sha)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(sha->state, start, sizeof start);
    sha->bytes = 0;
}

void clq_sha256_add(struct clq_sha256 *sha, const void *data, size_t bytes)
{
    const unsigned char *p = data;
    size_t held = sha->bytes % 64;
    sha->bytes += bytes;
    if (held) {
        size_t n = bytes < 64 - held ? bytes : 64 - held;
        memcpy(sha->block + held, p, n);
        if (held + n < 64) return;
        compress(sha->state, sha->block);
        p += n;
        bytes -= n;
    }
    for (; bytes >= 64; p += 64, bytes -= 64) compress(sha->state, p);
    if (bytes) memcpy(sha->block, p, bytes);
}

void clq_sha256_finish(struct clq_sha256 *sha, unsigned char out[32])
{
    unsigned char tail[72] = {0x80};
    uint64_t bits = sha->bytes * 8;
    size_t pad = (sha->bytes % 64 < 56 ? 56 : 120) - sha->bytes % 64;
    for (int i = 0; i < 8; i++) tail[pad + i] = (unsigned char)(bits >> (56 - 8 * i));
    clq_sha256_add(sha, tail, pad + 8);
    for (int i = 0; i < 32; i++) out[i] = (unsigned char)(sha->state[i / 4] >> (24 - 8 * (i % 4)));
}

void clq_hex(char *out, const void *data, size_t bytes)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++) {
        out[2 * i] = "0123456789abcdef"[p[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[p[i] & 15];
    }
    out[2 * bytes] = 0;
}

void clq_sha256_hex(char out[65], const void *data, size_t bytes)
{
    struct clq_sha256 sha;
    unsigned char digest[32];
    clq_sha256_start(&sha);
    if (bytes) clq_sha256_add(&sha, data, bytes);
    clq_sha256_finish(&sha, digest);
    clq_hex(out, digest, sizeof digest);
}
