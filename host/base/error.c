/* SPDX-License-Identifier: Apache-2.0
 * Message text: formatting and escaping. */
#include "base/error.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The length of the well-formed UTF-8 sequence at s, or 0. */
static size_t utf8_length(const unsigned char *s)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if (n == 3 && ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0))) return 0;
    if (n == 4 && ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))) return 0;
    return n;
}

/* Copies text so that it is one printable line: what is not becomes \xNN. */
static void escape(char *out, size_t size, const char *text)
{
    size_t at = 0;
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        size_t n = utf8_length(s);
        bool plain = n > 1 || (n == 1 && *s >= 0x20 && *s != 0x7f);
        if (at + (plain ? n : 4) >= size) break;
        if (plain) {
            memcpy(out + at, s, n);
            at += n;
            s += n;
        } else {
            at += (size_t)snprintf(out + at, 5, "\\x%02x", *s);
            s++;
        }
    }
    out[at] = 0;
}

clq_status clq_fail(struct clq_error *err, clq_status status, const char *format, ...)
{
    if (!err) return status;
    char text[sizeof err->text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    escape(err->text, sizeof err->text, text);
    return status;
}
