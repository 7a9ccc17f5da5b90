/* SPDX-License-Identifier: Apache-2.0
 * A map from strings to small integers, on an arena: keys are borrowed and must outlive the map. */
#ifndef CLQ_BASE_MAP_H
#define CLQ_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"

struct clq_map {
    struct clq_arena *arena;
    size_t capacity, count;
    const char **keys;
    int *values;
};

/* Starts an empty map whose tables live in arena. */
void clq_map_start(struct clq_map *map, struct clq_arena *arena);
/* Adds or replaces; false when memory is out. value >= 0. */
bool clq_map_set(struct clq_map *map, const char *key, int value);
/* The value, or -1. */
int clq_map_get(const struct clq_map *map, const char *key);

#endif
