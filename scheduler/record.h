/* SPDX-License-Identifier: Apache-2.0
 * Structs as JSON objects, driven by tables: one row per member says its key, type and range, and the same row writes,
 * reads and checks it. Reading trusts nothing: unknown, missing and mistyped members, values out of range and lists that
 * are too long give one line with the JSON path. */
#ifndef CLQ_SCHEDULER_RECORD_H
#define CLQ_SCHEDULER_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/json.h"

enum clq_field_kind {      /* the member's C type */
    CLQ_FIELD_TEXT,        /* const char *; NULL is written as "" */
    CLQ_FIELD_INT,         /* int */
    CLQ_FIELD_INT64,       /* int64_t */
    CLQ_FIELD_BOOL,        /* bool */
    CLQ_FIELD_REAL,        /* double, finite */
    CLQ_FIELD_REAL_OR_NULL,/* double; what is not finite is written as null and read as NAN */
    CLQ_FIELD_FLOAT,       /* float, finite, exact */
    CLQ_FIELD_NAME,        /* int: an index into names[] */
    CLQ_FIELD_TEXTS,       /* const char **, count beside it */
    CLQ_FIELD_FLOATS,      /* float *, count beside it */
    CLQ_FIELD_RECORD,      /* a struct inside the struct */
    CLQ_FIELD_RECORDS      /* struct *, count beside it */
};

struct clq_record_table;
struct clq_field {
    const char *key;
    enum clq_field_kind kind;
    bool optional;              /* may be absent: stays zero, and zero (or an empty list) is not written */
    size_t offset;
    size_t count_offset;        /* a size_t, for the kinds with a count */
    double lo, hi;              /* of a number; of a text's or list's length */
    const char *const *names;   /* CLQ_FIELD_NAME: hi + 1 of them */
    const struct clq_record_table *table;
};
struct clq_record_table {
    size_t size; /* of the struct */
    size_t n_fields;
    const struct clq_field *fields;
};

/* The object, or NULL when memory is out. The record must have passed clq_record_check. */
clq_json *clq_record_write(const void *record, const struct clq_record_table *table);
/* Fills a zeroed record from an object; texts and lists are copied to the arena. CLQ_ERR_FORMAT. */
clq_status clq_record_read(void *record, const struct clq_record_table *table, const clq_json *object,
                           struct clq_arena *arena, struct clq_error *err);
/* The ranges of the table, for a record that was made by code. CLQ_ERR_INVALID_ARGUMENT. */
clq_status clq_record_check(const void *record, const struct clq_record_table *table, struct clq_error *err);

#endif
