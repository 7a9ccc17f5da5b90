/* SPDX-License-Identifier: Apache-2.0
 * The map: open addressing, linear probing, at most half full. */
#include "base/map.h"

#include <stdint.h>
#include <string.h>

static uint64_t hash(const char *s)
{
    uint64_t h = 14695981039346656037u;
    for (; *s; s++) h = (h ^ (unsigned char)*s) * 1099511628211u;
    return h ^ (h >> 29);
}

void clq_map_start(struct clq_map *map, struct clq_arena *arena)
{
    *map = (struct clq_map){.arena = arena};
}

static size_t slot(const struct clq_map *map, const char *key)
{
    size_t i = (size_t)hash(key) & (map->capacity - 1);
    while (map->keys[i] && strcmp(map->keys[i], key) != 0) i = (i + 1) & (map->capacity - 1);
    return i;
}

static bool grow(struct clq_map *map)
{
    struct clq_map old = *map;
    map->capacity = old.capacity ? old.capacity * 2 : 64;
    map->keys = clq_arena_array(map->arena, map->capacity, sizeof *map->keys);
    map->values = clq_arena_array(map->arena, map->capacity, sizeof *map->values);
    if (!map->keys || !map->values) {
        *map = old;
        return false;
    }
    for (size_t i = 0; i < old.capacity; i++)
        if (old.keys[i]) {
            size_t at = slot(map, old.keys[i]);
            map->keys[at] = old.keys[i];
            map->values[at] = old.values[i];
        }
    return true;
}

bool clq_map_set(struct clq_map *map, const char *key, int value)
{
    if (map->count * 2 >= map->capacity && !grow(map)) return false;
    size_t i = slot(map, key);
    if (!map->keys[i]) map->count++;
    map->keys[i] = key;
    map->values[i] = value;
    return true;
}

int clq_map_get(const struct clq_map *map, const char *key)
{
    if (map->capacity == 0) return -1;
    size_t i = slot(map, key);
    return map->keys[i] ? map->values[i] : -1;
}
