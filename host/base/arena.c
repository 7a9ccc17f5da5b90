/* SPDX-License-Identifier: Apache-2.0
 * The arena: a list of blocks, the newest in front. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

enum { ALIGN = 64, BLOCK = 64 * 1024 };

struct clq_arena_block {
    struct clq_arena_block *next;
    size_t used, size;
    void *memory;
};

static struct clq_arena_block *block_create(size_t size)
{
    struct clq_arena_block *b = malloc(sizeof *b);
    if (!b) return NULL;
    b->memory = aligned_alloc(ALIGN, size);
    if (!b->memory) {
        free(b);
        return NULL;
    }
    b->next = NULL;
    b->used = 0;
    b->size = size;
    return b;
}

static void *take(struct clq_arena *arena, size_t bytes, size_t align)
{
    struct clq_arena_block *b = arena->head;
    size_t at;
    if (!b || !clq_size_align(&at, b->used, align) || !clq_size_span(at, bytes, b->size)) {
        size_t size = BLOCK;
        if (bytes > BLOCK / 4 && !clq_size_align(&size, bytes, ALIGN)) return NULL;
        struct clq_arena_block *fresh = block_create(size);
        if (!fresh) return NULL;
        if (b && size != BLOCK) { /* a block of its own: keep filling the current one */
            fresh->next = b->next;
            b->next = fresh;
        } else {
            fresh->next = b;
            arena->head = fresh;
        }
        b = fresh;
        at = 0;
    }
    b->used = at + bytes;
    void *p = (char *)b->memory + at;
    memset(p, 0, bytes);
    return p;
}

void *clq_arena_alloc(struct clq_arena *arena, size_t bytes)
{
    return take(arena, bytes ? bytes : 1, ALIGN);
}

void *clq_arena_array(struct clq_arena *arena, size_t count, size_t size)
{
    size_t bytes;
    return clq_size_mul(&bytes, count, size) ? take(arena, bytes ? bytes : 1, bytes >= ALIGN ? ALIGN : 16) : NULL;
}

char *clq_arena_bytes(struct clq_arena *arena, const void *data, size_t n)
{
    size_t bytes;
    char *p = clq_size_add(&bytes, n, 1) ? take(arena, bytes, 1) : NULL;
    if (p && n) memcpy(p, data, n);
    return p;
}

char *clq_arena_string(struct clq_arena *arena, const char *text)
{
    return clq_arena_bytes(arena, text, strlen(text));
}

char *clq_arena_printf(struct clq_arena *arena, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *p = n < 0 ? NULL : take(arena, (size_t)n + 1, 1);
    if (p) vsnprintf(p, (size_t)n + 1, format, again);
    va_end(again);
    return p;
}

void clq_arena_free(struct clq_arena *arena)
{
    struct clq_arena_block *b = arena->head;
    while (b) {
        struct clq_arena_block *next = b->next;
        free(b->memory);
        free(b);
        b = next;
    }
    arena->head = NULL;
}
