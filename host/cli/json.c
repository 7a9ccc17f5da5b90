/* SPDX-License-Identifier: Apache-2.0
 * Writing JSON. Bytes that are not UTF-8 become the four characters \xNN, as in messages and tables. */
#include "out.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static void add(struct cli_json *j, const char *text, size_t n)
{
    if (n > j->capacity - j->bytes) {
        j->capacity = (j->capacity + n) * 2;
        j->text = cli_grow(j->text, j->capacity);
    }
    memcpy(j->text + j->bytes, text, n);
    j->bytes += n;
}

static void add_text(struct cli_json *j, const char *text)
{
    add(j, text, strlen(text));
}

static void add_string(struct cli_json *j, const char *s)
{
    char code[8];
    add(j, "\"", 1);
    while (*s) {
        size_t n = cli_utf8(s);
        unsigned char c = (unsigned char)*s;
        if (n == 0) {
            snprintf(code, sizeof code, "\\\\x%02x", c);
            add_text(j, code);
        } else if (c == '"' || c == '\\') {
            snprintf(code, sizeof code, "\\%c", c);
            add_text(j, code);
        } else if (c < 0x20 || c == 0x7f) {
            snprintf(code, sizeof code, "\\u%04x", c);
            add_text(j, code);
        } else add(j, s, n);
        s += n ? n : 1;
    }
    add(j, "\"", 1);
}

/* Comma, line and key in front of a value. */
static void lead(struct cli_json *j, const char *key)
{
    if (j->depth > 0) {
        add_text(j, j->first ? "\n" : ",\n");
        for (int d = 0; d < j->depth; d++) add_text(j, "  ");
    }
    j->first = false;
    if (!key) return;
    add_string(j, key);
    add_text(j, ": ");
}

static void open_group(struct cli_json *j, const char *key, const char *bracket)
{
    lead(j, key);
    add_text(j, bracket);
    j->depth++;
    j->first = true;
}

void cli_json_start(struct cli_json *j)
{
    *j = (struct cli_json){0};
    open_group(j, NULL, "{");
}

void cli_json_object(struct cli_json *j, const char *key)
{
    open_group(j, key, "{");
}

void cli_json_array(struct cli_json *j, const char *key)
{
    open_group(j, key, "[");
}

void cli_json_end(struct cli_json *j, char bracket)
{
    j->depth--;
    if (!j->first) {
        add_text(j, "\n");
        for (int d = 0; d < j->depth; d++) add_text(j, "  ");
    }
    j->first = false;
    add(j, &bracket, 1);
}

void cli_json_text(struct cli_json *j, const char *key, const char *value)
{
    lead(j, key);
    if (value) add_string(j, value);
    else add_text(j, "null");
}

void cli_json_real(struct cli_json *j, const char *key, double value)
{
    char text[40];
    lead(j, key);
    if (!isfinite(value)) {
        add_text(j, "null");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    add_text(j, text);
}

void cli_json_whole(struct cli_json *j, const char *key, long long value)
{
    char text[24];
    lead(j, key);
    snprintf(text, sizeof text, "%lld", value);
    add_text(j, text);
}

void cli_json_bool(struct cli_json *j, const char *key, bool value)
{
    lead(j, key);
    add_text(j, value ? "true" : "false");
}

void cli_json_dims(struct cli_json *j, const char *key, int rank, const int64_t *shape)
{
    char text[24];
    lead(j, key);
    if (rank < 0) {
        add_text(j, "null");
        return;
    }
    add_text(j, "[");
    for (int d = 0; d < rank; d++) {
        snprintf(text, sizeof text, "%lld", (long long)shape[d]);
        if (d) add_text(j, ", ");
        add_text(j, shape[d] < 0 ? "null" : text);
    }
    add_text(j, "]");
}

void cli_json_print(struct cli_json *j)
{
    while (j->depth > 0) cli_json_end(j, '}');
    add_text(j, "\n");
    fwrite(j->text, 1, j->bytes, stdout);
    cli_json_drop(j);
}

void cli_json_drop(struct cli_json *j)
{
    free(j->text);
    *j = (struct cli_json){0};
}
