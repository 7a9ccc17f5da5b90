/* SPDX-License-Identifier: Apache-2.0
 * Padding: which rows of the activations cannot reach the output, so that they do not count where inputs are summed up. An input
 * of zeros and ones is a mask where changing the other inputs at its zeros leaves the float outputs as they are: that is
 * tried, not guessed from names. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "search.h"

enum { TRIED = 8 }; /* samples that are looked at for one with padding */

static clq_status no_memory(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

static bool is_integer(const clq_tensor *t)
{
    return t->dtype == CLQ_DTYPE_S64 || t->dtype == CLQ_DTYPE_S32;
}

static int64_t element(const clq_tensor *t, size_t i)
{
    return t->dtype == CLQ_DTYPE_S64 ? ((const int64_t *)t->data)[i] : ((const int32_t *)t->data)[i];
}

/* Rows of a mask; 0 where this is none, or hides nothing. */
static size_t mask_rows(const clq_tensor *t)
{
    size_t n, zeros = 0;
    if (!is_integer(t) || t->rank != 2 || clq_tensor_elements(&n, t) != CLQ_OK) return 0;
    for (size_t i = 0; i < n; i++) {
        int64_t v = element(t, i);
        if (v != 0 && v != 1) return 0;
        zeros += v == 0;
    }
    return zeros > 0 && zeros < n ? n : 0;
}

/* to gets other values of the same tensor where the mask is 0; false where none changes. */
static bool disturb(clq_tensor *to, const clq_tensor *from, const clq_tensor *mask, void *copy, size_t bytes, size_t n)
{
    size_t width = bytes / n, live = 0;
    bool changed = false;
    memcpy(copy, from->data, bytes);
    *to = *from;
    to->data = copy;
    for (size_t i = 0; i < n; i++) {
        if (element(mask, i) != 0) {
            live = i;
            continue;
        }
        memcpy((char *)copy + i * width, (const char *)from->data + live * width, width);
        changed = changed || element(from, i) != element(from, live);
    }
    return changed;
}

struct kept {
    float *values; /* NULL: no float output */
    size_t n;
};

/* Energies of the float outputs, and of how they differ from those kept before; infinite where one has another number of values:
 * shapes may depend on the inputs. */
static double compare(double *signal, const clq_tensor *a, const struct kept *kept, int n_outputs)
{
    double noise = 0;
    for (int k = 0; k < n_outputs; k++) {
        size_t n = 0;
        if (a[k].dtype != CLQ_DTYPE_F32 || clq_tensor_elements(&n, &a[k]) != CLQ_OK) continue;
        if (n != kept[k].n) return INFINITY;
        for (size_t i = 0; i < n; i++) {
            double d = (double)((const float *)a[k].data)[i] - (double)kept[k].values[i];
            noise += d * d;
            *signal += (double)kept[k].values[i] * (double)kept[k].values[i];
        }
    }
    return noise;
}

/* Whether rows that this input marks with 0 reach no output on this sample. */
static clq_status hides(bool *out, struct clq_search *s, const clq_tensor *in, int mask, clq_tensor *other, clq_tensor *result, struct clq_arena *arena,
                        struct clq_error *err)
{
    const struct clq_graph *g = &s->model.graph;
    size_t rows = mask_rows(&in[mask]), bytes, n;
    struct kept *kept = clq_arena_array(arena, (size_t)g->n_outputs + 1, sizeof *kept);
    bool changed = false;
    *out = false;
    if (!kept) return no_memory(err);
    for (int k = 0; k < g->n_inputs; k++) {
        other[k] = in[k];
        if (k == mask || !is_integer(&in[k]) || clq_tensor_bytes(&bytes, &in[k]) != CLQ_OK || clq_tensor_elements(&n, &in[k]) != CLQ_OK || n != rows) continue;
        void *copy = clq_arena_alloc(arena, bytes);
        if (!copy) return no_memory(err);
        changed = disturb(&other[k], &in[k], &in[mask], copy, bytes, n) || changed;
    }
    if (!changed) return CLQ_OK;
    memset(result, 0, (size_t)g->n_outputs * sizeof *result);
    CLQ_TRY(clq_runner_run(&s->reference, in, result, NULL, NULL, err));
    for (int k = 0; k < g->n_outputs; k++) {
        if (result[k].dtype != CLQ_DTYPE_F32 || clq_tensor_bytes(&bytes, &result[k]) != CLQ_OK || bytes == 0) continue;
        kept[k] = (struct kept){clq_arena_alloc(arena, bytes), bytes / sizeof(float)};
        if (!kept[k].values) return no_memory(err);
        memcpy(kept[k].values, result[k].data, bytes);
    }
    memset(result, 0, (size_t)g->n_outputs * sizeof *result);
    CLQ_TRY(clq_runner_run(&s->reference, other, result, NULL, NULL, err));
    double signal = 0, noise = compare(&signal, result, kept, g->n_outputs);
    *out = signal > 0 && noise <= 1e-9 * signal;
    return CLQ_OK;
}

clq_status clq_search_find_mask(struct clq_search *s, struct clq_error *err)
{
    struct clq_arena arena = {0};
    size_t n_in = (size_t)s->model.graph.n_inputs + 1, n_out = (size_t)s->model.graph.n_outputs + 1;
    clq_tensor *in = clq_arena_array(&arena, n_in, sizeof *in), *other = clq_arena_array(&arena, n_in, sizeof *other);
    clq_tensor *result = clq_arena_array(&arena, n_out, sizeof *result);
    clq_status st = in && other && result ? CLQ_OK : no_memory(err);
    s->mask = -1;
    for (size_t i = 0; i < s->calibration.count && i < TRIED && st == CLQ_OK && s->mask < 0; i++) {
        st = s->calibration.get(s->calibration.state, i, in, err);
        for (int k = 0; k < s->model.graph.n_inputs && st == CLQ_OK && s->mask < 0; k++) {
            bool found = false;
            if (mask_rows(&in[k]) > 0) st = hides(&found, s, in, k, other, result, &arena, err);
            if (found) s->mask = k;
        }
    }
    clq_arena_free(&arena);
    if (st == CLQ_OK && s->mask >= 0)
        clq_context_log(s->ctx, "input '%s' marks padding: rows that cannot reach the output do not count", s->model.graph.inputs[s->mask].name);
    return st;
}

size_t clq_search_live_rows(const float **out, float *room, const struct clq_search *s, const clq_tensor *inputs, const float *x, size_t rows, size_t k)
{
    const clq_tensor *mask = s->mask >= 0 ? &inputs[s->mask] : NULL;
    size_t n, live = 0;
    *out = x;
    if (!mask || !is_integer(mask) || clq_tensor_elements(&n, mask) != CLQ_OK || n != rows) return rows;
    for (size_t r = 0; r < rows; r++)
        if (element(mask, r) != 0) memcpy(room + live++ * k, x + r * k, k * sizeof *room);
    *out = room;
    return live;
}
