/* SPDX-License-Identifier: Apache-2.0
 * JSON values: strict and bounded reading, writing that does not depend on the locale. The only home of jansson.
 *
 *     clq_json *doc = clq_json_object();
 *     bool ok = clq_json_set(doc, "layers", clq_json_integer(12)) && clq_json_set(doc, "scale", clq_json_real32(0.1f));
 *
 * Builders return NULL when memory is out; set and append take their value in any case, also NULL, and then return
 * false, so that calls can be nested and checked once. */
#ifndef CLQ_BASE_JSON_H
#define CLQ_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct json_t clq_json;

clq_json *clq_json_object(void);
clq_json *clq_json_array(void);
clq_json *clq_json_integer(int64_t value);
/* The shortest text that reads back as the same number; null when it is not finite. */
clq_json *clq_json_real(double value);
clq_json *clq_json_real32(float value);
clq_json *clq_json_bool(bool value);
clq_json *clq_json_null(void);
/* Any bytes: what is not UTF-8 becomes the four characters \xNN. NULL text is null. */
clq_json *clq_json_string(const char *text);
clq_json *clq_json_string_n(const char *text, size_t n);
bool clq_json_set(clq_json *object, const char *key, clq_json *value);
bool clq_json_append(clq_json *array, clq_json *value);
void clq_json_free(clq_json *value);

/* Reads text. what names the source in messages. Refused as CLQ_ERR_FORMAT: duplicate keys, nesting deeper than 32,
 * trailing bytes, zero bytes, invalid UTF-8, numbers out of range, and documents that are not an object or array. */
clq_status clq_json_parse(clq_json **out, const char *text, size_t bytes, const char *what, struct clq_error *err);
/* Reads a file of at most limit bytes. */
clq_status clq_json_read(clq_json **out, const char *path, size_t limit, struct clq_error *err);

/* Writes text with keys in their order of insertion and a newline at the end; indented by two blanks when pretty is
 * set. Frees nothing; *out is freed by free(). */
clq_status clq_json_dump(char **out, size_t *bytes, const clq_json *value, bool pretty, struct clq_error *err);

/* Looking. They accept NULL values. The strings belong to the document. */
const clq_json *clq_json_get(const clq_json *object, const char *key);
size_t clq_json_size(const clq_json *array_or_object);
const clq_json *clq_json_at(const clq_json *array, size_t i);
/* The i-th pair of an object in the order of the text; NULL past the end. Going through all is quadratic: for small
 * objects. */
const char *clq_json_key(const clq_json *object, size_t i);
bool clq_json_is_object(const clq_json *value);
bool clq_json_is_array(const clq_json *value);
bool clq_json_is_string(const clq_json *value);
bool clq_json_is_number(const clq_json *value);
bool clq_json_is_null(const clq_json *value); /* also true for an absent value */

/* Typed members: CLQ_ERR_FORMAT names the key when it is absent or of another type. Reals accept integers. */
clq_status clq_json_get_integer(int64_t *out, const clq_json *object, const char *key, struct clq_error *err);
clq_status clq_json_get_real(double *out, const clq_json *object, const char *key, struct clq_error *err);
clq_status clq_json_get_bool(bool *out, const clq_json *object, const char *key, struct clq_error *err);
clq_status clq_json_get_string(const char **out, const clq_json *object, const char *key, struct clq_error *err);
/* The value itself, or the fallback when it is absent or of another type. */
int64_t clq_json_as_integer(const clq_json *value, int64_t fallback);
double clq_json_as_real(const clq_json *value, double fallback);
bool clq_json_as_bool(const clq_json *value, bool fallback);
const char *clq_json_as_string(const clq_json *value, const char *fallback);

#endif
