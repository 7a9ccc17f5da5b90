/* SPDX-License-Identifier: Apache-2.0
 * Printable text and tables. */
#include "out.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

size_t cli_utf8(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t n = s[0] == 0 ? 0 : s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if (n == 3 && ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0))) return 0;
    if (n == 4 && ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))) return 0;
    return n;
}

/* Not fit for a terminal: controls of ASCII and of Latin-1 (U+0080 to U+009F, which some terminals obey). */
static bool is_control(const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    return (n == 1 && (s[0] < 0x20 || s[0] == 0x7f)) || (n == 2 && s[0] == 0xc2 && s[1] < 0xa0);
}

static size_t columns_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++) n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* The byte at which column number col starts. */
static size_t byte_of(const char *text, size_t col)
{
    size_t i = 0;
    for (;; i++) {
        bool starts = ((unsigned char)text[i] & 0xc0) != 0x80;
        if (!text[i] || (starts && col == 0)) return i;
        col -= starts;
    }
}

static char *shorten(char *text, size_t most)
{
    size_t n = columns_of(text);
    if (most < 8 || n <= most) return text;
    size_t head = (most - 3) / 2, tail = most - 3 - head;
    char *out = cli_print("%.*s...%s", (int)byte_of(text, head), text, text + byte_of(text, n - tail));
    free(text);
    return out;
}

char *cli_printable(const char *text, size_t most)
{
    if (!text) text = "";
    char *out = cli_alloc(strlen(text) * 4 + 1), *to = out;
    while (*text) {
        size_t n = cli_utf8(text);
        if (n > 0 && !is_control(text, n)) {
            memcpy(to, text, n);
            to += n;
            text += n;
            continue;
        }
        for (size_t k = 0; k < (n ? n : 1); k++, text++) to += sprintf(to, "\\x%02x", (unsigned char)*text);
    }
    *to = 0;
    return shorten(out, most);
}

char *cli_shape(int rank, const int64_t *shape)
{
    if (rank < 0) return cli_print("unknown");
    char *out = cli_print("[");
    for (int d = 0; d < rank; d++) {
        const char *comma = d ? ", " : "";
        char *next = shape[d] < 0 ? cli_print("%s%s?", out, comma) : cli_print("%s%s%lld", out, comma, (long long)shape[d]);
        free(out);
        out = next;
    }
    char *all = cli_print("%s]", out);
    free(out);
    return all;
}

char *cli_bytes(double bytes)
{
    static const char *const unit[] = {"B", "kB", "MB", "GB", "TB"};
    size_t u = 0;
    while (bytes >= 1000 && u < 4) {
        bytes /= 1000;
        u++;
    }
    return cli_print("%.*f %s", u ? 1 : 0, bytes, unit[u]);
}

char *cli_time(double seconds)
{
    if (!(seconds >= 0)) return cli_print("-");
    if (seconds < 1e-3) return cli_print("%.1f us", seconds * 1e6);
    return seconds < 1 ? cli_print("%.3f ms", seconds * 1e3) : cli_print("%.3f s", seconds);
}

char *cli_decibel(double db)
{
    if (isnan(db)) return cli_print("-");
    return isinf(db) ? cli_print(db > 0 ? "exact" : "no signal") : cli_print("%.2f dB", db);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

void cli_sort(double *x, size_t n)
{
    qsort(x, n, sizeof *x, by_value);
}

/* ---- Tables ---- */
void cli_table_start(struct cli_table *t, int columns, const char *align, const char *const *titles)
{
    *t = (struct cli_table){.columns = columns, .align = align};
    for (int c = 0; titles && c < columns; c++) cli_cell(t, "%s", titles[c]);
}

void cli_cell_take(struct cli_table *t, char *text)
{
    if (t->n == t->capacity) {
        t->capacity = t->capacity ? t->capacity * 2 : 64;
        t->cells = cli_grow(t->cells, t->capacity * sizeof *t->cells);
    }
    t->cells[t->n++] = text;
}

void cli_cell(struct cli_table *t, const char *format, ...)
{
    char small[512], *text = small;
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    if (n >= (int)sizeof small) {
        text = cli_alloc((size_t)n + 1);
        vsnprintf(text, (size_t)n + 1, format, again);
    }
    va_end(again);
    cli_cell_take(t, cli_printable(n < 0 ? "" : text, 64));
    if (text != small) free(text);
}

static void print_row(const struct cli_table *t, const size_t *width, size_t row, int indent)
{
    printf("%*s", indent, "");
    for (int c = 0; c < t->columns; c++) {
        const char *text = t->cells[row * (size_t)t->columns + (size_t)c];
        size_t have = columns_of(text);
        int gap = have < width[c] ? (int)(width[c] - have) : 0;
        bool last = c + 1 == t->columns;
        if (t->align[c] == 'r') printf("%*s%s%s", gap, "", text, last ? "" : "  ");
        else printf("%s%*s", text, last ? 0 : gap + 2, "");
    }
    putchar('\n');
}

void cli_table_print(struct cli_table *t, int indent)
{
    enum { MOST = 16 };
    size_t width[MOST] = {0}, rows = t->n / (size_t)t->columns;
    for (size_t i = 0; i < rows * (size_t)t->columns; i++) {
        size_t n = columns_of(t->cells[i]), c = i % (size_t)t->columns;
        if (c < MOST && n > width[c]) width[c] = n;
    }
    for (size_t r = 0; r < rows && t->columns <= MOST; r++) print_row(t, width, r, indent);
    for (size_t i = 0; i < t->n; i++) free(t->cells[i]);
    free(t->cells);
    *t = (struct cli_table){0};
}
