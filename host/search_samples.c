/* SPDX-License-Identifier: Apache-2.0
 * Which samples calibrate, tune and judge, and the labels of those that judge. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "data.h"
#include "scheduler/stats.h"
#include "search.h"

enum { TUNING = 8 };

struct subset {
    clq_data *data;
    size_t *index;       /* ascending: compressed files are read forwards */
    struct clq_arena *arena;
    const struct clq_model *model;
    int n_inputs;
    clq_tensor **kept;   /* [count]: samples that stay in memory, or NULL where none do */
    size_t room;         /* bytes that may still be kept */
};

/* Keeps a copy of a sample that will be asked for many times. */
static clq_status keep_sample(struct subset *s, size_t i, const clq_tensor *inputs, struct clq_error *err)
{
    size_t total = 0, bytes;
    for (int k = 0; k < s->n_inputs; k++)
        if (clq_tensor_bytes(&bytes, &inputs[k]) != CLQ_OK || !clq_size_add(&total, total, bytes)) return CLQ_OK;
    if (total > s->room) return CLQ_OK;
    clq_tensor *copy = clq_arena_array(s->arena, (size_t)s->n_inputs + 1, sizeof *copy);
    if (!copy) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    for (int k = 0; k < s->n_inputs; k++) {
        clq_tensor_bytes(&bytes, &inputs[k]);
        copy[k] = inputs[k];
        copy[k].data = clq_arena_alloc(s->arena, bytes);
        if (!copy[k].data) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
        if (bytes) memcpy(copy[k].data, inputs[k].data, bytes);
    }
    s->room -= total;
    s->kept[i] = copy;
    return CLQ_OK;
}

/* NaN and infinity in data are told where they enter, not where they end. */
static clq_status check_finite(const struct clq_model *m, const clq_tensor *inputs, size_t sample, struct clq_error *err)
{
    for (int k = 0; k < m->graph.n_inputs; k++) {
        const float *x = inputs[k].data;
        size_t n = 0;
        if (inputs[k].dtype != CLQ_DTYPE_F32 || clq_tensor_elements(&n, &inputs[k]) != CLQ_OK) continue;
        for (size_t i = 0; i < n; i++)
            if (!isfinite(x[i]))
                return clq_fail(err, CLQ_ERR_NUMERIC, "input '%s': element %zu of sample %zu is %s", m->graph.inputs[k].name, i, sample,
                                isnan(x[i]) ? "NaN" : "infinite");
    }
    return CLQ_OK;
}

static clq_status get_subset(void *state, size_t i, clq_tensor *inputs, struct clq_error *err)
{
    struct subset *s = state;
    if (s->kept && s->kept[i]) {
        memcpy(inputs, s->kept[i], (size_t)s->n_inputs * sizeof *inputs);
        return CLQ_OK;
    }
    CLQ_TRY(clq_data_get(s->data, s->index[i], inputs)); /* messages go to the context, which owns the same error */
    CLQ_TRY(check_finite(s->model, inputs, s->index[i], err));
    return s->kept ? keep_sample(s, i, inputs, err) : CLQ_OK;
}

static int ascending(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return x < y ? -1 : x > y;
}

/* room: bytes of samples that may stay in memory. */
static clq_status make_subset(struct clq_search *s, struct clq_source *out, clq_data *data, const size_t *index, size_t n, size_t room, struct clq_error *err)
{
    struct subset *sub = clq_arena_alloc(&s->arena, sizeof *sub);
    size_t *copy = clq_arena_array(&s->arena, n + 1, sizeof *copy);
    clq_tensor **kept = room ? clq_arena_array(&s->arena, n + 1, sizeof *kept) : NULL;
    if (!sub || !copy || (room && !kept)) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    if (n) memcpy(copy, index, n * sizeof *copy);
    qsort(copy, n, sizeof *copy, ascending);
    *sub = (struct subset){.data = data, .index = copy, .arena = &s->arena, .model = &s->model, .n_inputs = s->model.graph.n_inputs, .kept = kept, .room = room};
    *out = (struct clq_source){.count = n, .index = copy, .get = get_subset, .state = sub};
    return CLQ_OK;
}

/* Labels follow their samples: rows of a batch are consecutive. */
static clq_status pick_labels(struct clq_search *s, struct clq_probe *probe, const clq_quantize_options *o, const clq_data *data, const size_t *index,
                              struct clq_error *err)
{
    size_t rows, n = probe->source.count;
    const int64_t *labels = o->labels;
    if (!labels) return CLQ_OK;
    CLQ_TRY(clq_data_labels(&rows, data, o->n_labels));
    int64_t *picked = clq_arena_array(&s->arena, n * rows + 1, sizeof *picked);
    if (!picked) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    for (size_t i = 0; i < n; i++)
        for (size_t r = 0; r < rows; r++) picked[i * rows + r] = labels[index[i] * rows + r];
    probe->labels = picked;
    probe->n_labels = n * rows;
    return CLQ_OK;
}

static void shuffle(size_t *index, size_t n, uint64_t seed)
{
    struct clq_random r = clq_random_start(seed, 1);
    for (size_t i = n; i > 1 && n <= UINT32_MAX; i--) {
        size_t k = clq_random_below(&r, (uint32_t)i), t = index[i - 1];
        index[i - 1] = index[k];
        index[k] = t;
    }
}

/* Without validation data a seeded quarter judges and the rest calibrates. Many samples are not all judged: a seeded draw is. */
clq_status clq_search_samples(struct clq_search *s, clq_data *data, const clq_quantize_options *o, struct clq_error *err)
{
    const size_t n = clq_data_count(data), most = o->labels ? CLQ_LABELED_VALIDATION : CLQ_VALIDATION;
    clq_data *judge = o->validation ? o->validation : data;
    size_t nv = o->validation ? clq_data_count(judge) : n > 1 ? (n + 3) / 4 : 1, all = n > nv ? n : nv;
    size_t *cal = clq_arena_array(&s->arena, all + 1, sizeof *cal), *val = clq_arena_array(&s->arena, all + 1, sizeof *val);
    if (!cal || !val) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    for (size_t i = 0; i < all; i++) cal[i] = val[i] = i;
    shuffle(val, o->validation ? nv : n, o->seed);
    if (nv > most) nv = most;
    size_t nc = n;
    if (!o->validation && n > 1) {
        nc = n - nv;
        memcpy(cal, val + nv, nc * sizeof *cal);
    }
    size_t tuning = o->tuning_samples ? o->tuning_samples : TUNING;
    const size_t room = (size_t)48 << 20;
    CLQ_TRY(make_subset(s, &s->calibration, data, cal, nc, 0, err));
    CLQ_TRY(make_subset(s, &s->tuning.source, data, cal, tuning < nc ? tuning : nc, room, err));
    CLQ_TRY(make_subset(s, &s->validation.source, judge, val, nv, room, err));
    qsort(val, nv, sizeof *val, ascending); /* labels in the order of the subset */
    return pick_labels(s, &s->validation, o, judge, val, err);
}
