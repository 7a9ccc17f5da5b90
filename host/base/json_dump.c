/* SPDX-License-Identifier: Apache-2.0
 * JSON text: shortest numbers with a dot in every locale, an explicit stack instead of recursion. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/size.h"

enum { STACK = 64 };

struct text {
    char *data;
    size_t used, room;
    bool failed;
};

static void put(struct text *t, const char *data, size_t n)
{
    size_t need;
    if (t->failed || !clq_size_add(&need, t->used, n) || !clq_size_add(&need, need, 1)) {
        t->failed = true;
        return;
    }
    if (need > t->room) {
        size_t room = need < 1024 ? 1024 : need;
        if (!clq_size_mul(&room, room, 2)) room = need;
        char *fresh = realloc(t->data, room);
        if (!fresh) {
            t->failed = true;
            return;
        }
        t->data = fresh;
        t->room = room;
    }
    memcpy(t->data + t->used, data, n);
    t->used += n;
    t->data[t->used] = 0;
}

static void put_text(struct text *t, const char *s)
{
    put(t, s, strlen(s));
}

static void put_string(struct text *t, const char *s, size_t n)
{
    put(t, "\"", 1);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        char code[8];
        if (c == '"' || c == '\\') {
            put(t, (char[]){'\\', (char)c}, 2);
        } else if (c == '\n') {
            put(t, "\\n", 2);
        } else if (c < 0x20 || c == 0x7f) {
            snprintf(code, sizeof code, "\\u%04x", c);
            put(t, code, 6);
        } else {
            put(t, s + i, 1);
        }
    }
    put(t, "\"", 1);
}

static void put_real(struct text *t, double value)
{
    char local[64], out[64];
    int n = 0;
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(local, sizeof local, "%.*g", digits, value);
        if (strtod(local, NULL) == value) break;
    }
    bool integral = true;
    for (const char *p = local; *p;) {
        if (strchr("0123456789+-eE", *p)) {
            if (*p == 'e' || *p == 'E') integral = false;
            out[n++] = *p++;
            continue;
        }
        out[n++] = '.'; /* the locale's decimal point, which may be several bytes */
        integral = false;
        while (*p && !strchr("0123456789+-eE", *p)) p++;
    }
    put(t, out, (size_t)n);
    if (integral) put(t, ".0", 2);
}

static void put_scalar(struct text *t, const json_t *v)
{
    char number[32];
    switch (json_typeof(v)) {
    case JSON_STRING: put_string(t, json_string_value(v), json_string_length(v)); break;
    case JSON_INTEGER:
        snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
        put_text(t, number);
        break;
    case JSON_REAL: put_real(t, json_real_value(v)); break;
    case JSON_TRUE: put_text(t, "true"); break;
    case JSON_FALSE: put_text(t, "false"); break;
    default: put_text(t, "null"); break;
    }
}

struct level {
    json_t *container;
    void *pair;   /* object: the next pair */
    size_t index; /* elements written */
};

static bool is_container(const json_t *v)
{
    return (json_is_array(v) && json_array_size(v) > 0) || (json_is_object(v) && json_object_size(v) > 0);
}

static void new_line(struct text *t, bool pretty, int depth)
{
    if (!pretty) return;
    put(t, "\n", 1);
    for (int i = 0; i < depth; i++) put(t, "  ", 2);
}

/* The next element of a level, its key already written; NULL at the end. */
static json_t *advance(struct text *t, struct level *l, bool pretty, int depth)
{
    bool object = json_is_object(l->container);
    json_t *v = NULL;
    if (object ? l->pair != NULL : l->index < json_array_size(l->container)) {
        if (l->index) put(t, ",", 1);
        new_line(t, pretty, depth);
        if (object) {
            const char *key = json_object_iter_key(l->pair);
            put_string(t, key, strlen(key));
            put_text(t, pretty ? ": " : ":");
            v = json_object_iter_value(l->pair);
            l->pair = json_object_iter_next(l->container, l->pair);
        } else {
            v = json_array_get(l->container, l->index);
        }
        l->index++;
    }
    return v;
}

static void put_value(struct text *t, json_t *root, bool pretty)
{
    struct level stack[STACK];
    int depth = 0;
    json_t *v = root;
    while (!t->failed) {
        if (v && is_container(v)) {
            if (depth == STACK) {
                t->failed = true;
                return;
            }
            put_text(t, json_is_object(v) ? "{" : "[");
            stack[depth++] = (struct level){v, json_is_object(v) ? json_object_iter(v) : NULL, 0};
        } else if (v) {
            if (json_is_array(v) || json_is_object(v))
                put_text(t, json_is_object(v) ? "{}" : "[]");
            else
                put_scalar(t, v);
        } else {
            depth--;
            new_line(t, pretty, depth);
            put_text(t, json_is_object(stack[depth].container) ? "}" : "]");
        }
        if (depth == 0) return;
        v = advance(t, &stack[depth - 1], pretty, depth);
    }
}

clq_status clq_json_dump(char **out, size_t *bytes, const clq_json *value, bool pretty, struct clq_error *err)
{
    struct text t = {0};
    if (!value) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "writing JSON: the value could not be built");
    put_value(&t, (json_t *)(uintptr_t)value, pretty);
    put(&t, "\n", 1);
    if (t.failed) {
        free(t.data);
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "writing JSON: out of memory, or nested deeper than %d", STACK);
    }
    *out = t.data;
    if (bytes) *bytes = t.used;
    return CLQ_OK;
}
