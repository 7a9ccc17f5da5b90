/* SPDX-License-Identifier: Apache-2.0
 * The text of a report while it grows. What comes from a file goes through clq_page_text only, which no name can leave. */
#ifndef CLQ_REPORT_TEXT_H
#define CLQ_REPORT_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"

struct clq_page {
    char *text; /* free() releases it */
    size_t used, room;
    bool failed; /* memory was out; everything after that was dropped */
};

/* Markup of our own. */
void clq_page_raw(struct clq_page *p, const char *markup);
/* The same with values in it that cannot be markup: numbers, words of this library. */
void clq_page_format(struct clq_page *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Any text: the characters that mean something in elements and quoted attributes are escaped. */
void clq_page_text(struct clq_page *p, const char *text);
/* JSON for a script element: "<" only stands in strings there, and is written as an escape. */
void clq_page_json(struct clq_page *p, const char *json, size_t bytes);

/* Values as people read them; "-" for what is not known (negative or NaN). */
void clq_page_time(struct clq_page *p, double us);
void clq_page_bytes(struct clq_page *p, double bytes);
void clq_page_decibel(struct clq_page *p, double db); /* +inf: "exact" */

/* A text from outside as pages show it: control characters and bytes that are not UTF-8 are \xNN. NULL when memory is out. */
const char *clq_page_clean(struct clq_arena *arena, const char *text);
/* The same for names: the middle of a long one is left out. */
const char *clq_page_name(struct clq_arena *arena, const char *name);

/* The digest of a text as Content-Security-Policy wants it; out holds 45 bytes. */
void clq_page_sha256(char out[45], const char *text, size_t bytes);

#endif
