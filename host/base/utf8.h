/* SPDX-License-Identifier: Apache-2.0
 * Well-formed UTF-8, after table 3-7 of the Unicode standard. */
#ifndef CLQ_BASE_UTF8_H
#define CLQ_BASE_UTF8_H

#include <stddef.h>

/* The length of the sequence that text starts with, at most n bytes; 0 when it is not well formed. */
static inline size_t clq_utf8_length(const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t k = n == 0 ? 0 : s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
    if (k > n) return 0;
    for (size_t i = 1; i < k; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if (k == 3 && ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0))) return 0;
    if (k == 4 && ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))) return 0;
    return k;
}

#endif
