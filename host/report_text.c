/* SPDX-License-Identifier: Apache-2.0
 * Growing, escaping and formatting of a report's text. */
#include "report_text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/size.h"
#include "base/utf8.h"

static void put(struct clq_page *p, const char *data, size_t n)
{
    size_t need;
    if (p->failed || !clq_size_add(&need, p->used, n)) {
        p->failed = true;
        return;
    }
    if (need > p->room) {
        size_t room;
        if (!clq_size_mul(&room, need, 2)) room = need;
        char *grown = realloc(p->text, room);
        if (!grown) {
            p->failed = true;
            return;
        }
        p->text = grown;
        p->room = room;
    }
    if (n) memcpy(p->text + p->used, data, n);
    p->used = need;
}

void clq_page_raw(struct clq_page *p, const char *markup)
{
    put(p, markup, strlen(markup));
}

void clq_page_format(struct clq_page *p, const char *format, ...)
{
    char text[512]; /* a sentence with numbers */
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof text) p->failed = true;
    else put(p, text, (size_t)n);
}

void clq_page_text(struct clq_page *p, const char *text)
{
    for (const char *s = text; *s; s++) switch (*s) {
        case '&': clq_page_raw(p, "&amp;"); break;
        case '<': clq_page_raw(p, "&lt;"); break;
        case '>': clq_page_raw(p, "&gt;"); break;
        case '"': clq_page_raw(p, "&quot;"); break;
        case '\'': clq_page_raw(p, "&#39;"); break;
        default: put(p, s, 1);
        }
}

void clq_page_json(struct clq_page *p, const char *json, size_t bytes)
{
    const char *end = json + bytes;
    while (json < end) {
        const char *next = memchr(json, '<', (size_t)(end - json));
        put(p, json, (size_t)((next ? next : end) - json));
        if (!next) return;
        clq_page_raw(p, "\\u003c");
        json = next + 1;
    }
}

void clq_page_time(struct clq_page *p, double us)
{
    if (!(us >= 0)) clq_page_raw(p, "-");
    else if (us < 1e3) clq_page_format(p, "%.1f &micro;s", us);
    else if (us < 1e6) clq_page_format(p, "%.3f ms", us * 1e-3);
    else clq_page_format(p, "%.3f s", us * 1e-6);
}

void clq_page_bytes(struct clq_page *p, double bytes)
{
    if (!(bytes >= 0)) clq_page_raw(p, "-");
    else if (bytes < 1e3) clq_page_format(p, "%.0f B", bytes);
    else if (bytes < 1e6) clq_page_format(p, "%.1f kB", bytes * 1e-3);
    else clq_page_format(p, "%.1f MB", bytes * 1e-6);
}

void clq_page_decibel(struct clq_page *p, double db)
{
    if (isnan(db)) clq_page_raw(p, "-");
    else if (isinf(db)) clq_page_raw(p, "exact");
    else clq_page_format(p, "%.2f dB", db);
}

/* Whether a character is a control character, in the C0 or the C1 set. */
static bool is_control(const unsigned char *s, size_t n)
{
    return (n == 1 && (*s < 0x20 || *s == 0x7f)) || (n == 2 && s[0] == 0xc2 && s[1] < 0xa0);
}

static char *clean(struct clq_arena *arena, const char *text, size_t *bytes)
{
    size_t n = strlen(text), room, used = 0;
    if (!clq_size_mul(&room, n, 4) || !clq_size_add(&room, room, 1)) return NULL;
    char *out = clq_arena_alloc(arena, room);
    if (!out) return NULL;
    for (size_t i = 0, k; i < n; i += k) {
        const unsigned char *s = (const unsigned char *)text + i;
        size_t length = clq_utf8_length(text + i, n - i);
        k = length ? length : 1;
        if (length && !is_control(s, length)) {
            memcpy(out + used, s, k);
            used += k;
        } else
            for (size_t b = 0; b < k; b++) used += (size_t)snprintf(out + used, 5, "\\x%02x", s[b]);
    }
    out[used] = 0;
    *bytes = used;
    return out;
}

const char *clq_page_clean(struct clq_arena *arena, const char *text)
{
    size_t bytes;
    return clean(arena, text, &bytes);
}

const char *clq_page_name(struct clq_arena *arena, const char *name)
{
    enum { MOST = 160, HALF = (MOST - 3) / 2 };
    size_t bytes;
    char *out = clean(arena, name, &bytes);
    if (!out || bytes <= MOST) return out;
    size_t head = HALF, tail = bytes - HALF;
    while (head > 0 && ((unsigned char)out[head] & 0xc0) == 0x80) head--;
    while (((unsigned char)out[tail] & 0xc0) == 0x80) tail++;
    memcpy(out + head, "...", 3);
    memmove(out + head + 3, out + tail, bytes - tail + 1);
    return out;
}

void clq_page_sha256(char out[45], const char *text, size_t bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct clq_sha256 sha;
    unsigned char d[33] = {0}; /* one more byte makes whole groups of three */
    clq_sha256_start(&sha);
    clq_sha256_add(&sha, text, bytes);
    clq_sha256_finish(&sha, d);
    for (int i = 0; i < 11; i++) {
        unsigned v = (unsigned)d[3 * i] << 16 | (unsigned)d[3 * i + 1] << 8 | d[3 * i + 2];
        for (int k = 0; k < 4; k++) out[4 * i + k] = digits[v >> (18 - 6 * k) & 63];
    }
    out[43] = '=';
    out[44] = 0;
}
