/* SPDX-License-Identifier: Apache-2.0
 * Checked arithmetic for every number that comes from a file. Each function returns false on overflow and must be
 * checked; the output is then untouched. Must not know any format. */
#ifndef CLQ_BASE_SIZE_H
#define CLQ_BASE_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLQ_MUST_CHECK __attribute__((warn_unused_result))

CLQ_MUST_CHECK static inline bool clq_size_add(size_t *out, size_t a, size_t b)
{
    size_t r;
    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

CLQ_MUST_CHECK static inline bool clq_size_mul(size_t *out, size_t a, size_t b)
{
    size_t r;
    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

CLQ_MUST_CHECK static inline bool clq_size_sub(size_t *out, size_t a, size_t b)
{
    if (b > a) return false;
    *out = a - b;
    return true;
}

/* Rounds up to a multiple of align, a power of two. */
CLQ_MUST_CHECK static inline bool clq_size_align(size_t *out, size_t a, size_t align)
{
    size_t r;
    if (align == 0 || (align & (align - 1)) != 0 || !clq_size_add(&r, a, align - 1)) return false;
    *out = r & ~(align - 1);
    return true;
}

/* Bytes for n elements of the given number of bits, the last byte padded. */
CLQ_MUST_CHECK static inline bool clq_size_bits(size_t *out, size_t n, unsigned bits)
{
    if (bits == 0 || bits > 64) return false;
    if (bits % 8 == 0) return clq_size_mul(out, n, bits / 8);
    size_t whole = n / 8, rest = n % 8, a;
    if (!clq_size_mul(&a, whole, bits)) return false;
    return clq_size_add(out, a, (rest * bits + 7) / 8);
}

/* True if [offset, offset + length) lies inside [0, size). */
CLQ_MUST_CHECK static inline bool clq_size_span(size_t offset, size_t length, size_t size)
{
    return length <= size && offset <= size - length;
}

/* A non-negative file number as size_t. */
CLQ_MUST_CHECK static inline bool clq_size_from_i64(size_t *out, int64_t v)
{
    if (v < 0 || (uint64_t)v > SIZE_MAX) return false;
    *out = (size_t)v;
    return true;
}

#endif
