/* SPDX-License-Identifier: Apache-2.0
 * A bounded little-endian cursor: the only code of this folder that touches raw offsets. Every take returns false,
 * and leaves the cursor where it is, when fewer bytes are left than asked for. */
#ifndef CLQ_FORMATS_BYTES_H
#define CLQ_FORMATS_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/size.h"

struct clq_bytes {
    const unsigned char *data;
    size_t at, end; /* at <= end */
};

static inline struct clq_bytes clq_bytes_of(const void *data, size_t n)
{
    return (struct clq_bytes){data, 0, n};
}

static inline size_t clq_bytes_left(const struct clq_bytes *c)
{
    return c->end - c->at;
}

/* n bytes in place. */
CLQ_MUST_CHECK static inline bool clq_bytes_take(struct clq_bytes *c, const unsigned char **out, size_t n)
{
    if (n > c->end - c->at) return false;
    *out = c->data + c->at;
    c->at += n;
    return true;
}

CLQ_MUST_CHECK static inline bool clq_bytes_u8(struct clq_bytes *c, uint8_t *out)
{
    const unsigned char *p;
    if (!clq_bytes_take(c, &p, 1)) return false;
    *out = p[0];
    return true;
}

CLQ_MUST_CHECK static inline bool clq_bytes_u16(struct clq_bytes *c, uint16_t *out)
{
    const unsigned char *p;
    if (!clq_bytes_take(c, &p, 2)) return false;
    *out = (uint16_t)(p[0] | p[1] << 8);
    return true;
}

CLQ_MUST_CHECK static inline bool clq_bytes_u32(struct clq_bytes *c, uint32_t *out)
{
    const unsigned char *p;
    if (!clq_bytes_take(c, &p, 4)) return false;
    *out = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    return true;
}

/* A base-128 number of at most ten bytes that fits 64 bits. */
CLQ_MUST_CHECK static inline bool clq_bytes_varint(struct clq_bytes *c, uint64_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < 10 && i < c->end - c->at; i++) {
        unsigned char b = c->data[c->at + i];
        if (i == 9 && b > 1) return false;
        value |= (uint64_t)(b & 0x7f) << (7 * i);
        if (b & 0x80) continue;
        c->at += i + 1;
        *out = value;
        return true;
    }
    return false;
}

#endif
