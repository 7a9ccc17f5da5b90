/* SPDX-License-Identifier: Apache-2.0
 * Results as text: names made printable, tables whose columns line up, and JSON that is always valid UTF-8. */
#ifndef CLQ_CLI_OUT_H
#define CLQ_CLI_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <clquant/tensor.h>

/* ---- Text ---- */

/* The length of the well-formed UTF-8 sequence at the start of text (a zero byte ends it), 0 when there is none. */
size_t cli_utf8(const char *text);
/* A copy for free() in which control characters and bytes that are not UTF-8 are \xNN; with most > 0 the middle of
 * anything longer than most columns is left out. */
char *cli_printable(const char *text, size_t most);
/* "[1, 3, 224, 224]"; -1 is printed as ?. For free(). */
char *cli_shape(int rank, const int64_t *shape);
/* "358.3 kB", "12 B". For free(). */
char *cli_bytes(double bytes);
/* "49.8 us", "8.312 ms", "1.250 s"; "-" for none (negative or NaN). For free(). */
char *cli_time(double seconds);
/* 22.31 dB; "exact" for no error at all; "-" for not known (NaN). For free(). */
char *cli_decibel(double db);

/* ---- Numbers ---- */
/* Ascending. */
void cli_sort(double *x, size_t n);

/* ---- Tables ---- */
struct cli_table {
    int columns;
    const char *align; /* one letter per column: l or r */
    char **cells;
    size_t n, capacity;
};

/* titles: one per column, NULL for a table without a heading. */
void cli_table_start(struct cli_table *t, int columns, const char *align, const char *const *titles);
/* Adds the next cell, row by row. The text is made printable and shortened to 64 columns. */
void cli_cell(struct cli_table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Adds a text that was made by one of the functions above, and frees it. */
void cli_cell_take(struct cli_table *t, char *text);
/* Prints all rows, each after indent blanks, and frees the table. */
void cli_table_print(struct cli_table *t, int indent);

/* ---- JSON ---- */

/* A document in memory, printed at the end: a failure before that leaves stdout empty. Keys are NULL inside arrays. */
struct cli_json {
    char *text;
    size_t bytes, capacity;
    int depth;
    bool first;
};

void cli_json_start(struct cli_json *j); /* opens the object */
void cli_json_object(struct cli_json *j, const char *key);
void cli_json_array(struct cli_json *j, const char *key);
void cli_json_end(struct cli_json *j, char bracket); /* '}' or ']' */
void cli_json_text(struct cli_json *j, const char *key, const char *value); /* NULL: null */
/* The shortest decimal text that reads back as the same number; null when it is not finite. */
void cli_json_real(struct cli_json *j, const char *key, double value);
void cli_json_whole(struct cli_json *j, const char *key, long long value);
void cli_json_bool(struct cli_json *j, const char *key, bool value);
void cli_json_dims(struct cli_json *j, const char *key, int rank, const int64_t *shape); /* -1 becomes null */
void cli_json_print(struct cli_json *j); /* closes the object, prints and frees it */
void cli_json_drop(struct cli_json *j);  /* frees without printing */

#endif
