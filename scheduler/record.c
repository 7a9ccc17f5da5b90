/* SPDX-License-Identifier: Apache-2.0
 * Table-driven JSON records: see record.h. */
#include "scheduler/record.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Where a walk is, for messages. A path that is too long is cut. */
struct path {
    char text[400];
    size_t n;
};

static size_t push(struct path *path, const char *key, size_t index)
{
    size_t before = path->n, room = sizeof path->text - path->n;
    int n = key ? snprintf(path->text + path->n, room, "%s%s", path->n ? "." : "", key)
                : snprintf(path->text + path->n, room, "[%zu]", index);
    path->n += n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
    return before;
}

static void pop(struct path *path, size_t before)
{
    path->n = before;
    path->text[before] = 0;
}

static const char *shown(const struct path *path)
{
    return path->n ? path->text : "document";
}

#define MEMBER(type, record, field) ((type *)(void *)((char *)(record) + (field)->offset))
#define CONST_MEMBER(type, record, field) ((const type *)(const void *)((const char *)(record) + (field)->offset))

static size_t count_of(const void *record, const struct clq_field *f)
{
    return *(const size_t *)(const void *)((const char *)record + f->count_offset);
}

static clq_status check_number(double v, const struct clq_field *f, const struct path *path, clq_status bad, struct clq_error *err)
{
    if (v >= f->lo && v <= f->hi && isfinite(v)) return CLQ_OK;
    return clq_fail(err, bad, "%s: %.17g, expected %.9g to %.9g", shown(path), v, f->lo, f->hi);
}

static clq_status check_length(size_t n, const char *what, const struct clq_field *f, const struct path *path, clq_status bad,
                               struct clq_error *err)
{
    if ((double)n >= f->lo && (double)n <= f->hi) return CLQ_OK;
    return clq_fail(err, bad, "%s: %zu %s, expected %.0f to %.0f", shown(path), n, what, f->lo, f->hi);
}

/* Ranges of one member that is no struct. */
static clq_status check_plain(const void *record, const struct clq_field *f, const struct path *path, clq_status bad, struct clq_error *err)
{
    const char *text;
    double real;
    switch (f->kind) {
    case CLQ_FIELD_TEXT:
        text = *CONST_MEMBER(const char *, record, f);
        return check_length(text ? strlen(text) : 0, "bytes", f, path, bad, err);
    case CLQ_FIELD_INT:
        return check_number(*CONST_MEMBER(int, record, f), f, path, bad, err);
    case CLQ_FIELD_INT64:
        return check_number((double)*CONST_MEMBER(int64_t, record, f), f, path, bad, err);
    case CLQ_FIELD_NAME:
        return check_number(*CONST_MEMBER(int, record, f), f, path, bad, err);
    case CLQ_FIELD_REAL:
        return check_number(*CONST_MEMBER(double, record, f), f, path, bad, err);
    case CLQ_FIELD_REAL_OR_NULL:
        real = *CONST_MEMBER(double, record, f);
        return isfinite(real) ? check_number(real, f, path, bad, err) : CLQ_OK;
    case CLQ_FIELD_FLOAT:
        return check_number(*CONST_MEMBER(float, record, f), f, path, bad, err);
    case CLQ_FIELD_TEXTS:
    case CLQ_FIELD_FLOATS:
    case CLQ_FIELD_RECORDS:
        return check_length(count_of(record, f), "entries", f, path, bad, err);
    default:
        return CLQ_OK;
    }
}

static clq_status check_record(const void *record, const struct clq_record_table *table, struct path *path, struct clq_error *err)
{
    for (size_t i = 0; i < table->n_fields; i++) {
        const struct clq_field *f = &table->fields[i];
        size_t before = push(path, f->key, 0);
        CLQ_TRY(check_plain(record, f, path, CLQ_ERR_INVALID_ARGUMENT, err));
        if (f->kind == CLQ_FIELD_RECORD) CLQ_TRY(check_record((const char *)record + f->offset, f->table, path, err));
        size_t n = f->kind == CLQ_FIELD_RECORDS || f->kind == CLQ_FIELD_FLOATS ? count_of(record, f) : 0;
        for (size_t k = 0; k < n; k++) {
            size_t inner = push(path, NULL, k);
            if (f->kind == CLQ_FIELD_RECORDS)
                CLQ_TRY(check_record(*CONST_MEMBER(const char *, record, f) + k * f->table->size, f->table, path, err));
            else if (!isfinite((*CONST_MEMBER(const float *, record, f))[k]))
                return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "%s: not a finite number", shown(path));
            pop(path, inner);
        }
        pop(path, before);
    }
    return CLQ_OK;
}

clq_status clq_record_check(const void *record, const struct clq_record_table *table, struct clq_error *err)
{
    struct path path = {.n = 0};
    return check_record(record, table, &path, err);
}

static clq_json *write_list(const void *record, const struct clq_field *f)
{
    clq_json *list = clq_json_array();
    size_t n = count_of(record, f);
    bool ok = list != NULL;
    for (size_t k = 0; k < n && ok; k++) {
        if (f->kind == CLQ_FIELD_TEXTS)
            ok = clq_json_append(list, clq_json_string((*CONST_MEMBER(const char *const *, record, f))[k]));
        else if (f->kind == CLQ_FIELD_FLOATS)
            ok = clq_json_append(list, clq_json_real32((*CONST_MEMBER(const float *, record, f))[k]));
        else
            ok = clq_json_append(list, clq_record_write(*CONST_MEMBER(const char *, record, f) + k * f->table->size, f->table));
    }
    if (ok) return list;
    clq_json_free(list);
    return NULL;
}

static clq_json *write_field(const void *record, const struct clq_field *f)
{
    const char *text;
    switch (f->kind) {
    case CLQ_FIELD_TEXT:
        text = *CONST_MEMBER(const char *, record, f);
        return clq_json_string(text ? text : "");
    case CLQ_FIELD_INT:
        return clq_json_integer(*CONST_MEMBER(int, record, f));
    case CLQ_FIELD_INT64:
        return clq_json_integer(*CONST_MEMBER(int64_t, record, f));
    case CLQ_FIELD_BOOL:
        return clq_json_bool(*CONST_MEMBER(bool, record, f));
    case CLQ_FIELD_REAL:
    case CLQ_FIELD_REAL_OR_NULL:
        return clq_json_real(*CONST_MEMBER(double, record, f));
    case CLQ_FIELD_FLOAT:
        return clq_json_real32(*CONST_MEMBER(float, record, f));
    case CLQ_FIELD_NAME:
        return clq_json_string(f->names[*CONST_MEMBER(int, record, f)]);
    case CLQ_FIELD_RECORD:
        return clq_record_write((const char *)record + f->offset, f->table);
    default:
        return write_list(record, f);
    }
}

static bool is_list(const struct clq_field *f)
{
    return f->kind == CLQ_FIELD_TEXTS || f->kind == CLQ_FIELD_FLOATS || f->kind == CLQ_FIELD_RECORDS;
}

/* True for an optional member that says nothing. */
static bool left_out(const void *record, const struct clq_field *f)
{
    if (!f->optional) return false;
    if (is_list(f)) return count_of(record, f) == 0;
    if (f->kind == CLQ_FIELD_TEXT) {
        const char *text = *CONST_MEMBER(const char *, record, f);
        return !text || !*text;
    }
    if (f->kind == CLQ_FIELD_BOOL) return !*CONST_MEMBER(bool, record, f);
    if (f->kind == CLQ_FIELD_INT) return *CONST_MEMBER(int, record, f) == 0;
    if (f->kind == CLQ_FIELD_INT64) return *CONST_MEMBER(int64_t, record, f) == 0;
    return false;
}

clq_json *clq_record_write(const void *record, const struct clq_record_table *table)
{
    clq_json *object = clq_json_object();
    bool ok = object != NULL;
    for (size_t i = 0; i < table->n_fields && ok; i++)
        if (!left_out(record, &table->fields[i]))
            ok = clq_json_set(object, table->fields[i].key, write_field(record, &table->fields[i]));
    if (ok) return object;
    clq_json_free(object);
    return NULL;
}

static clq_status mistyped(const struct path *path, const char *expected, struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_FORMAT, "%s: expected %s", shown(path), expected);
}

static clq_status copy_text(const char **out, const clq_json *value, struct clq_arena *arena, const struct path *path,
                            struct clq_error *err)
{
    const char *text = clq_json_as_string(value, NULL);
    if (!text) return mistyped(path, "a text", err);
    *out = clq_arena_string(arena, text);
    return *out ? CLQ_OK : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "%s: out of memory", shown(path));
}

static clq_status read_name(int *out, const clq_json *value, const struct clq_field *f, const struct path *path, struct clq_error *err)
{
    const char *text = clq_json_as_string(value, NULL);
    if (!text) return mistyped(path, "a text", err);
    for (int i = 0; i <= (int)f->hi; i++)
        if (strcmp(f->names[i], text) == 0) {
            *out = i;
            return CLQ_OK;
        }
    return clq_fail(err, CLQ_ERR_FORMAT, "%s: unknown value '%.100s'", shown(path), text);
}

/* Integers must be written as such: 1.5 and 1e3 are mistyped. The two fallbacks differ in every bit. */
static bool as_integer(int64_t *out, const clq_json *value)
{
    *out = clq_json_as_integer(value, 0);
    return *out != 0 || clq_json_as_integer(value, -1) == 0;
}

static bool as_bool(bool *out, const clq_json *value)
{
    *out = clq_json_as_bool(value, false);
    return *out == clq_json_as_bool(value, true);
}

static clq_status read_record(void *record, const struct clq_record_table *table, const clq_json *object, struct clq_arena *arena,
                              struct path *path, struct clq_error *err);

static clq_status read_list(void *record, const struct clq_field *f, const clq_json *value, struct clq_arena *arena,
                            struct path *path, struct clq_error *err)
{
    if (!clq_json_is_array(value)) return mistyped(path, "a list", err);
    size_t n = clq_json_size(value);
    size_t size = f->kind == CLQ_FIELD_TEXTS ? sizeof(char *) : f->kind == CLQ_FIELD_FLOATS ? sizeof(float) : f->table->size;
    CLQ_TRY(check_length(n, "entries", f, path, CLQ_ERR_FORMAT, err));
    char *list = n ? clq_arena_array(arena, n, size) : NULL;
    if (n && !list) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "%s: out of memory for %zu entries", shown(path), n);
    for (size_t k = 0; k < n; k++) {
        const clq_json *item = clq_json_at(value, k);
        size_t before = push(path, NULL, k);
        if (f->kind == CLQ_FIELD_RECORDS) {
            CLQ_TRY(read_record(list + k * size, f->table, item, arena, path, err));
        } else if (f->kind == CLQ_FIELD_TEXTS) {
            CLQ_TRY(copy_text(&((const char **)(void *)list)[k], item, arena, path, err));
        } else {
            float v = (float)clq_json_as_real(item, NAN);
            if (!isfinite(v)) return mistyped(path, "a finite number", err);
            ((float *)(void *)list)[k] = v;
        }
        pop(path, before);
    }
    *MEMBER(void *, record, f) = list;
    *(size_t *)(void *)((char *)record + f->count_offset) = n;
    return CLQ_OK;
}

static clq_status read_field(void *record, const struct clq_field *f, const clq_json *value, struct clq_arena *arena,
                             struct path *path, struct clq_error *err)
{
    int64_t integer;
    switch (f->kind) {
    case CLQ_FIELD_TEXT:
        return copy_text(MEMBER(const char *, record, f), value, arena, path, err);
    case CLQ_FIELD_INT:
    case CLQ_FIELD_INT64:
        if (!as_integer(&integer, value)) return mistyped(path, "an integer", err);
        CLQ_TRY(check_number((double)integer, f, path, CLQ_ERR_FORMAT, err));
        if (f->kind == CLQ_FIELD_INT) *MEMBER(int, record, f) = (int)integer;
        else *MEMBER(int64_t, record, f) = integer;
        return CLQ_OK;
    case CLQ_FIELD_BOOL:
        return as_bool(MEMBER(bool, record, f), value) ? CLQ_OK : mistyped(path, "true or false", err);
    case CLQ_FIELD_REAL_OR_NULL:
        *MEMBER(double, record, f) = NAN;
        if (clq_json_is_null(value)) return CLQ_OK;
        /* fall through */
    case CLQ_FIELD_REAL:
        if (!clq_json_is_number(value)) return mistyped(path, "a number", err);
        *MEMBER(double, record, f) = clq_json_as_real(value, 0);
        return CLQ_OK;
    case CLQ_FIELD_FLOAT:
        if (!clq_json_is_number(value)) return mistyped(path, "a number", err);
        *MEMBER(float, record, f) = (float)clq_json_as_real(value, 0);
        return CLQ_OK;
    case CLQ_FIELD_NAME:
        return read_name(MEMBER(int, record, f), value, f, path, err);
    case CLQ_FIELD_RECORD:
        return read_record((char *)record + f->offset, f->table, value, arena, path, err);
    default:
        return read_list(record, f, value, arena, path, err);
    }
}

static clq_status read_record(void *record, const struct clq_record_table *table, const clq_json *object, struct clq_arena *arena,
                              struct path *path, struct clq_error *err)
{
    if (!clq_json_is_object(object)) return mistyped(path, "an object", err);
    size_t known = 0;
    for (size_t i = 0; i < table->n_fields; i++) {
        const struct clq_field *f = &table->fields[i];
        const clq_json *value = clq_json_get(object, f->key);
        size_t before = push(path, f->key, 0);
        if (value) {
            known++;
            CLQ_TRY(read_field(record, f, value, arena, path, err));
        } else if (!f->optional) {
            return clq_fail(err, CLQ_ERR_FORMAT, "%s: missing", shown(path));
        }
        if (value || !f->optional) CLQ_TRY(check_plain(record, f, path, CLQ_ERR_FORMAT, err));
        pop(path, before);
    }
    if (known == clq_json_size(object)) return CLQ_OK;
    for (size_t k = 0;; k++) {
        const char *key = clq_json_key(object, k);
        bool found = false;
        for (size_t i = 0; i < table->n_fields && key; i++)
            found |= strcmp(table->fields[i].key, key) == 0;
        if (!found) return clq_fail(err, CLQ_ERR_FORMAT, "%s: unknown member '%.100s'", shown(path), key ? key : "");
    }
}

clq_status clq_record_read(void *record, const struct clq_record_table *table, const clq_json *object,
                           struct clq_arena *arena, struct clq_error *err)
{
    struct path path = {.n = 0};
    return read_record(record, table, object, arena, &path, err);
}
