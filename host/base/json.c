/* SPDX-License-Identifier: Apache-2.0
 * The layer over jansson: limits before its parser sees a byte, builders, typed reading. Writing is in json_dump.c. */
#include "base/json.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"
#include "base/utf8.h"

enum { MAX_DEPTH = 32 };

clq_json *clq_json_object(void)
{
    return json_object();
}

clq_json *clq_json_array(void)
{
    return json_array();
}

clq_json *clq_json_integer(int64_t value)
{
    return json_integer((json_int_t)value);
}

clq_json *clq_json_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* The double that is printed with the few digits that name the float: 0.1f is kept as 0.1. */
clq_json *clq_json_real32(float value)
{
    char text[64];
    for (int digits = 1; isfinite(value) && digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        double wide = strtod(text, NULL);
        if ((float)wide == value) return json_real(wide);
    }
    return clq_json_real(value);
}

clq_json *clq_json_bool(bool value)
{
    return json_boolean(value);
}

clq_json *clq_json_null(void)
{
    return json_null();
}

/* A copy in which every byte is part of well-formed UTF-8; free() releases it. */
static char *clean_text(const char *text, size_t n, size_t *out_n)
{
    size_t room;
    if (!clq_size_mul(&room, n, 4) || !clq_size_add(&room, room, 1)) return NULL;
    char *out = malloc(room);
    size_t at = 0;
    for (size_t i = 0; out && i < n;) {
        size_t k = clq_utf8_length(text + i, n - i);
        if (k == 0) {
            at += (size_t)snprintf(out + at, 5, "\\x%02x", (unsigned char)text[i]);
            i++;
            continue;
        }
        memcpy(out + at, text + i, k);
        at += k;
        i += k;
    }
    if (out) out[at] = 0;
    *out_n = at;
    return out;
}

clq_json *clq_json_string_n(const char *text, size_t n)
{
    size_t clean_n;
    char *clean = clean_text(text, n, &clean_n);
    json_t *value = clean ? json_stringn_nocheck(clean, clean_n) : NULL;
    free(clean);
    return value;
}

clq_json *clq_json_string(const char *text)
{
    return text ? clq_json_string_n(text, strlen(text)) : json_null();
}

bool clq_json_set(clq_json *object, const char *key, clq_json *value)
{
    size_t n;
    char *clean = clean_text(key, strlen(key), &n);
    if (!clean) {
        json_decref(value);
        return false;
    }
    bool ok = json_object_set_new_nocheck(object, clean, value) == 0;
    free(clean);
    return ok;
}

bool clq_json_append(clq_json *array, clq_json *value)
{
    return json_array_append_new(array, value) == 0;
}

void clq_json_free(clq_json *value)
{
    json_decref(value);
}

/* The deepest nesting of a text; what is inside strings does not count. */
static int nesting(const char *text, size_t bytes)
{
    int depth = 0, deepest = 0;
    bool quoted = false;
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            if (++depth > deepest) deepest = depth;
            if (deepest > MAX_DEPTH) return deepest;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return deepest;
}

clq_status clq_json_parse(clq_json **out, const char *text, size_t bytes, const char *what, struct clq_error *err)
{
    json_error_t fault;
    if (nesting(text, bytes) > MAX_DEPTH)
        return clq_fail(err, CLQ_ERR_FORMAT, "%s: JSON nested deeper than %d", what, MAX_DEPTH);
    json_t *value = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &fault);
    if (!value)
        return clq_fail(err, json_error_code(&fault) == json_error_out_of_memory ? CLQ_ERR_OUT_OF_MEMORY : CLQ_ERR_FORMAT,
                        "%s: JSON at byte %d (line %d): %s", what, fault.position, fault.line, fault.text);
    *out = value;
    return CLQ_OK;
}

clq_status clq_json_read(clq_json **out, const char *path, size_t limit, struct clq_error *err)
{
    struct clq_blob blob;
    CLQ_TRY(clq_file_read(&blob, path, limit, err));
    clq_status status = clq_json_parse(out, (const char *)blob.data, blob.bytes, path, err);
    free(blob.data);
    return status;
}

const clq_json *clq_json_get(const clq_json *object, const char *key)
{
    return json_object_get(object, key);
}

size_t clq_json_size(const clq_json *value)
{
    return json_is_array(value) ? json_array_size(value) : json_object_size(value);
}

const clq_json *clq_json_at(const clq_json *array, size_t i)
{
    return json_array_get(array, i);
}

/* jansson's iterator takes a mutable object but does not change it. */
const char *clq_json_key(const clq_json *object, size_t i)
{
    json_t *o = (json_t *)(uintptr_t)object;
    void *it = json_object_iter(o);
    while (it && i-- > 0) it = json_object_iter_next(o, it);
    return it ? json_object_iter_key(it) : NULL;
}

bool clq_json_is_object(const clq_json *value)
{
    return json_is_object(value);
}

bool clq_json_is_array(const clq_json *value)
{
    return json_is_array(value);
}

bool clq_json_is_string(const clq_json *value)
{
    return json_is_string(value);
}

bool clq_json_is_number(const clq_json *value)
{
    return json_is_number(value);
}

bool clq_json_is_null(const clq_json *value)
{
    return !value || json_is_null(value);
}

int64_t clq_json_as_integer(const clq_json *value, int64_t fallback)
{
    return json_is_integer(value) ? (int64_t)json_integer_value(value) : fallback;
}

double clq_json_as_real(const clq_json *value, double fallback)
{
    return json_is_number(value) ? json_number_value(value) : fallback;
}

bool clq_json_as_bool(const clq_json *value, bool fallback)
{
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

const char *clq_json_as_string(const clq_json *value, const char *fallback)
{
    return json_is_string(value) ? json_string_value(value) : fallback;
}

static clq_status expect(bool ok, const clq_json *value, const char *key, const char *type, struct clq_error *err)
{
    if (ok) return CLQ_OK;
    return clq_fail(err, CLQ_ERR_FORMAT, "JSON member '%s': expected %s, found %s", key, type,
                    value ? "another type" : "nothing");
}

clq_status clq_json_get_integer(int64_t *out, const clq_json *object, const char *key, struct clq_error *err)
{
    const json_t *v = json_object_get(object, key);
    CLQ_TRY(expect(json_is_integer(v), v, key, "an integer", err));
    *out = (int64_t)json_integer_value(v);
    return CLQ_OK;
}

clq_status clq_json_get_real(double *out, const clq_json *object, const char *key, struct clq_error *err)
{
    const json_t *v = json_object_get(object, key);
    CLQ_TRY(expect(json_is_number(v), v, key, "a number", err));
    *out = json_number_value(v);
    return CLQ_OK;
}

clq_status clq_json_get_bool(bool *out, const clq_json *object, const char *key, struct clq_error *err)
{
    const json_t *v = json_object_get(object, key);
    CLQ_TRY(expect(json_is_boolean(v), v, key, "true or false", err));
    *out = json_is_true(v);
    return CLQ_OK;
}

clq_status clq_json_get_string(const char **out, const clq_json *object, const char *key, struct clq_error *err)
{
    const json_t *v = json_object_get(object, key);
    CLQ_TRY(expect(json_is_string(v), v, key, "a string", err));
    *out = json_string_value(v);
    return CLQ_OK;
}
