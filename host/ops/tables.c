/* SPDX-License-Identifier: Apache-2.0
 * Copies through one offset table per axis: see struct clq_tables. Trailing axes that are read in order become one run
 * for memcpy, and a row that repeats the one before it is copied from there. */
#include <stdlib.h>

#include "base/parallel.h"
#include "ops/util.h"

bool clq_tables_alloc(struct clq_tables *out, int rank, const int64_t *shape)
{
    size_t n = 1;
    for (int k = 0; k < rank; k++) n += (size_t)shape[k];
    int64_t *p = malloc(n * sizeof *p);
    if (!p) return false;
    out->rank = rank;
    out->memory = p;
    for (int k = 0; k < rank; k++) {
        out->dim[k] = shape[k];
        out->table[k] = p;
        p += shape[k];
    }
    return true;
}

struct segment {
    size_t at, n; /* entries of the last table */
    int64_t from; /* source offset, -1 for fill */
};

struct job {
    struct clq_tables *t;
    char *y;
    const char *x;
    size_t size, run; /* bytes of an element, elements that stay together */
    char fill[8];
    struct segment *segments;
    size_t n_segments;
};

static void fill_elements(char *y, size_t n, size_t size, const char *fill)
{
    for (size_t i = 0; i < n; i++) memcpy(y + i * size, fill, size);
}

#define PICK(T) \
    { \
        T zero; \
        memcpy(&zero, j->fill, sizeof zero); \
        for (int64_t i = 0; i < n; i++) ((T *)y)[i] = t[i] < 0 ? zero : ((const T *)x)[t[i]]; \
    }

/* One element per entry, from anywhere. */
static void pick_row(const struct job *j, char *y, const char *x)
{
    const int64_t *t = j->t->table[j->t->rank - 1], n = j->t->dim[j->t->rank - 1];
    if (j->size == 1)
        PICK(uint8_t)
    else if (j->size == 2)
        PICK(uint16_t)
    else if (j->size == 4)
        PICK(uint32_t)
    else
        PICK(uint64_t)
}

static void copy_row(const struct job *j, char *y, const char *x)
{
    if (!j->segments) {
        pick_row(j, y, x);
        return;
    }
    for (size_t s = 0; s < j->n_segments; s++) {
        const struct segment *g = &j->segments[s];
        char *to = y + g->at * j->run * j->size;
        if (g->from < 0)
            fill_elements(to, g->n * j->run, j->size, j->fill);
        else
            memcpy(to, x + (size_t)g->from * j->size, g->n * j->run * j->size);
    }
}

/* The sum of the outer tables for a row, or -1; same: only the last outer coordinate moved, to an equal offset. */
static int64_t row_offset(const struct clq_tables *t, size_t row, bool *same)
{
    int64_t offset = 0;
    *same = false;
    for (int k = t->rank - 2; k >= 0; k--) {
        size_t c = row % (size_t)t->dim[k];
        row /= (size_t)t->dim[k];
        if (k == t->rank - 2) *same = c > 0 && t->table[k][c] == t->table[k][c - 1];
        if (t->table[k][c] < 0) offset = -1;
        if (offset >= 0) offset += t->table[k][c];
    }
    return offset;
}

static void copy_rows(void *state, size_t begin, size_t end, int thread)
{
    const struct job *j = state;
    size_t n = (size_t)j->t->dim[j->t->rank - 1] * j->run, bytes = n * j->size;
    (void)thread;
    for (size_t row = begin; row < end; row++) {
        bool same;
        int64_t offset = row_offset(j->t, row, &same);
        char *y = j->y + row * bytes;
        if (same && row > begin)
            memcpy(y, y - bytes, bytes);
        else if (offset < 0)
            fill_elements(y, n, j->size, j->fill);
        else
            copy_row(j, y, j->x + (size_t)offset * j->size);
    }
}

/* Takes trailing axes that are read in order into the run; returns their offset. */
static int64_t absorb(struct clq_tables *t, size_t *run)
{
    int64_t base = 0;
    *run = 1;
    while (t->rank > 0) {
        const int64_t *e = t->table[t->rank - 1], n = t->dim[t->rank - 1];
        if (e[0] < 0) break;
        for (int64_t i = 1; i < n; i++)
            if (e[i] != e[0] + i * (int64_t)*run) return base;
        base += e[0];
        *run *= (size_t)n;
        t->rank--;
    }
    return base;
}

/* Groups entries of the last table that are read in order. Single elements are better picked one by one. */
static bool make_segments(struct job *j)
{
    const int64_t *e = j->t->table[j->t->rank - 1];
    size_t n = (size_t)j->t->dim[j->t->rank - 1], count = 1;
    for (size_t i = 1; i < n; i++)
        count += !(e[i] < 0 ? e[i - 1] < 0 : e[i - 1] >= 0 && e[i] == e[i - 1] + (int64_t)j->run);
    if (j->run == 1 && count > n / 4) return true;
    j->segments = malloc(count * sizeof *j->segments);
    if (!j->segments) return false;
    for (size_t i = 0; i < n; i++) {
        bool joins = i > 0 && (e[i] < 0 ? e[i - 1] < 0 : e[i - 1] >= 0 && e[i] == e[i - 1] + (int64_t)j->run);
        if (joins)
            j->segments[j->n_segments - 1].n++;
        else
            j->segments[j->n_segments++] = (struct segment){i, 1, e[i]};
    }
    return true;
}

clq_status clq_tables_run(struct clq_op_call *call, struct clq_tables *t, void *y, const void *x, size_t size,
                          const void *fill)
{
    struct job j = {.t = t, .y = y, .size = size};
    size_t total = size, rows = 1;
    for (int k = 0; k < t->rank; k++) total *= (size_t)t->dim[k];
    if (total == 0) return CLQ_OK;
    if (fill) memcpy(j.fill, fill, size);
    j.x = (const char *)x + (size_t)absorb(t, &j.run) * size;
    if (t->rank == 0) {
        memcpy(y, j.x, j.run * size);
        return CLQ_OK;
    }
    if (!make_segments(&j)) return clq_op_no_memory(call);
    for (int k = 0; k < t->rank - 1; k++) rows *= (size_t)t->dim[k];
    clq_parallel_for(clq_op_threads(call, total / 4), rows, copy_rows, &j);
    free(j.segments);
    return CLQ_OK;
}
