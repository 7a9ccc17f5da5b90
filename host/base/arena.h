/* SPDX-License-Identifier: Apache-2.0
 * A growing block of memory that is freed at once: models and plans live in one. Allocations are 64-byte aligned,
 * zeroed, and NULL when memory is out. Must not know what is stored in it. */
#ifndef CLQ_BASE_ARENA_H
#define CLQ_BASE_ARENA_H

#include <stddef.h>

struct clq_arena_block;
struct clq_arena {
    struct clq_arena_block *head; /* zero-initialized is a valid empty arena */
};

void *clq_arena_alloc(struct clq_arena *arena, size_t bytes);
/* count * size, checked. */
void *clq_arena_array(struct clq_arena *arena, size_t count, size_t size);
/* Copies of a C string, and of n bytes with a terminating zero added. */
char *clq_arena_string(struct clq_arena *arena, const char *text);
char *clq_arena_bytes(struct clq_arena *arena, const void *data, size_t n);
char *clq_arena_printf(struct clq_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
void clq_arena_free(struct clq_arena *arena);

#endif
