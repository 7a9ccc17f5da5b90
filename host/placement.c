/* SPDX-License-Identifier: Apache-2.0
 * See placement.h. */
#include "placement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static clq_status no_memory(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

static char *lines_of(const struct clq_model *m, const struct clq_units *units, const bool *on_device)
{
    char *text = NULL;
    size_t bytes;
    FILE *f = open_memstream(&text, &bytes);
    if (!f) return NULL;
    for (int i = 0; on_device && i < m->graph.n_nodes; i++) {
        const char *name = m->graph.nodes[i].name;
        int u = *name ? clq_map_get(&units->by_node, name) : -1;
        if (u >= 0 && on_device[u] && !strchr(name, '\n')) fprintf(f, "%s\n", name);
    }
    if (fclose(f) == 0) return text;
    free(text);
    return NULL;
}

void clq_placement_remove(struct clq_model *m)
{
    int n = 0;
    for (int i = 0; i < m->n_metadata; i++)
        if (strcmp(m->metadata[i].key, CLQ_PLACEMENT_KEY) != 0) m->metadata[n++] = m->metadata[i];
    m->n_metadata = n;
}

clq_status clq_placement_write(struct clq_model *m, const struct clq_units *units, const bool *on_device, struct clq_error *err)
{
    char *text = lines_of(m, units, on_device);
    const char *value = text ? clq_arena_string(&m->arena, text) : NULL;
    struct clq_metadata *all = clq_arena_array(&m->arena, (size_t)m->n_metadata + 1, sizeof *all);
    free(text);
    if (!value || !all) return no_memory(err);
    clq_placement_remove(m);
    if (m->n_metadata > 0) memcpy(all, m->metadata, (size_t)m->n_metadata * sizeof *all);
    all[m->n_metadata++] = (struct clq_metadata){CLQ_PLACEMENT_KEY, value};
    m->metadata = all;
    return CLQ_OK;
}

clq_status clq_placement_read(bool *placed, struct clq_map *names, struct clq_arena *arena, const struct clq_model *m, struct clq_error *err)
{
    const char *text = NULL;
    for (int i = 0; i < m->n_metadata; i++)
        if (strcmp(m->metadata[i].key, CLQ_PLACEMENT_KEY) == 0) text = m->metadata[i].value;
    *placed = text != NULL;
    clq_map_start(names, arena);
    if (!text) return CLQ_OK;
    char *rest = clq_arena_string(arena, text);
    if (!rest) return no_memory(err);
    for (char *line; (line = strsep(&rest, "\n")) != NULL;)
        if (*line && !clq_map_set(names, line, 1)) return no_memory(err);
    return CLQ_OK;
}
