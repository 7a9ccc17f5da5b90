/* SPDX-License-Identifier: Apache-2.0
 * Embeddings and sequences. */
#include "metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "classes.h"
#include "scheduler/stats.h"

static clq_status no_memory(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

/* Whether a position of the mask [samples, positions] counts. */
static bool counts(const clq_tensor *mask, size_t at)
{
    if (!mask) return true;
    switch (mask->dtype) {
    case CLQ_DTYPE_S64: return ((const int64_t *)mask->data)[at] != 0;
    case CLQ_DTYPE_S32: return ((const int32_t *)mask->data)[at] != 0;
    case CLQ_DTYPE_F32: return ((const float *)mask->data)[at] != 0;
    default: return ((const uint8_t *)mask->data)[at] != 0;
    }
}

static clq_status check_mask(const clq_tensor *mask, size_t samples, size_t positions, struct clq_error *err)
{
    if (!mask) return CLQ_OK;
    bool known = mask->dtype == CLQ_DTYPE_S64 || mask->dtype == CLQ_DTYPE_S32 || mask->dtype == CLQ_DTYPE_F32 || mask->dtype == CLQ_DTYPE_BOOL ||
                 mask->dtype == CLQ_DTYPE_U8;
    if (!known || mask->rank != 2 || (size_t)mask->shape[0] != samples || (size_t)mask->shape[1] != positions)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "the mask is %s of rank %d, expected whole numbers [%zu, %zu] as the output has", clq_dtype_name(mask->dtype),
                        mask->rank, samples, positions);
    return CLQ_OK;
}

clq_status clq_metrics_same_shape(const clq_tensor *y, const clq_tensor *r, struct clq_error *err)
{
    if (!r || (y->dtype == r->dtype && y->rank == r->rank && memcmp(y->shape, r->shape, (size_t)y->rank * sizeof *y->shape) == 0)) return CLQ_OK;
    return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "the output and the reference's have different shapes or types");
}

/* ---- Embeddings ---- */
struct shape {
    size_t samples, positions, width;
};

static clq_status embedding_shape(struct shape *s, const clq_tensor *y, struct clq_error *err)
{
    if (y->dtype != CLQ_DTYPE_F32 || y->rank < 2 || y->rank > 3 || y->shape[y->rank - 1] < 1)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "the output is %s of rank %d, an embedding is float32 [samples, width] or [samples, positions, width]",
                        clq_dtype_name(y->dtype), y->rank);
    *s = (struct shape){(size_t)y->shape[0], y->rank == 3 ? (size_t)y->shape[1] : 1, (size_t)y->shape[y->rank - 1]};
    return CLQ_OK;
}

static void pool(double *to, const struct clq_embeddings *e, const clq_tensor *y, const struct shape *s, size_t sample, const clq_tensor *mask)
{
    const float *x = (const float *)y->data + sample * s->positions * s->width;
    double n = 0;
    for (size_t c = 0; c < s->width; c++) to[c] = 0;
    for (size_t p = 0; p < (e->first && s->positions > 0 ? 1 : s->positions); p++) {
        if (!e->first && y->rank == 3 && !counts(mask, sample * s->positions + p)) continue;
        for (size_t c = 0; c < s->width; c++) to[c] += (double)x[p * s->width + c];
        n++;
    }
    for (size_t c = 0; c < s->width && n > 1; c++) to[c] /= n;
}

/* Of vectors without a direction: 1 when they are equal, else 0. */
static double cosine(const double *a, const double *b, size_t n)
{
    double aa = 0, bb = 0, ab = 0;
    for (size_t i = 0; i < n; i++) {
        aa += a[i] * a[i];
        bb += b[i] * b[i];
        ab += a[i] * b[i];
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : aa == bb;
}

static clq_status start_embeddings(struct clq_embeddings *e, size_t width, struct clq_error *err)
{
    e->width = width;
    e->least = INFINITY;
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 2; k++) e->vector[i][k] = calloc(width, sizeof(double));
        e->alike[i] = calloc(e->n_scores + 1, sizeof(double));
        if (!e->vector[i][0] || !e->vector[i][1] || !e->alike[i]) return no_memory(err);
    }
    return CLQ_OK;
}

clq_status clq_embeddings_add(struct clq_embeddings *e, const clq_tensor *y, const clq_tensor *r, const clq_tensor *mask, struct clq_error *err)
{
    struct shape s = {0};
    CLQ_TRY(embedding_shape(&s, y, err));
    CLQ_TRY(clq_metrics_same_shape(y, r, err));
    if (y->rank == 3 && !e->first) CLQ_TRY(check_mask(mask, s.samples, s.positions, err));
    if (!e->vector[0][0]) CLQ_TRY(start_embeddings(e, s.width, err));
    if (s.width != e->width) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "embeddings of %zu and of %zu elements in one run", e->width, s.width);
    for (size_t i = 0; i < s.samples; i++) {
        size_t odd = e->samples % 2, pair = e->samples / 2;
        pool(e->vector[0][odd], e, y, &s, i, mask);
        if (r) {
            pool(e->vector[1][odd], e, r, &s, i, mask);
            double c = cosine(e->vector[0][odd], e->vector[1][odd], s.width);
            e->sum += c;
            e->least = c < e->least ? c : e->least;
        }
        if (e->scores && pair >= e->n_scores)
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "scores: %zu are given for the pairs of consecutive samples, there are more samples", e->n_scores);
        for (int k = 0; e->scores && odd && k < (r ? 2 : 1); k++) e->alike[k][pair] = cosine(e->vector[k][0], e->vector[k][1], s.width);
        e->samples++;
    }
    return CLQ_OK;
}

clq_status clq_embeddings_finish(clq_evaluation *out, struct clq_embeddings *e, bool reference, struct clq_error *err)
{
    if (reference && e->samples > 0) {
        out->mean_cosine = e->sum / (double)e->samples;
        out->least_cosine = e->least;
    }
    if (!e->scores) return CLQ_OK;
    if (e->samples != 2 * e->n_scores)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "scores: %zu are given for the pairs of consecutive samples, there are %zu samples", e->n_scores, e->samples);
    double *scratch = calloc(4 * e->n_scores + 1, sizeof *scratch);
    if (!scratch) return no_memory(err);
    out->spearman = clq_spearman(e->alike[0], e->scores, e->n_scores, scratch);
    if (reference) out->spearman_reference = clq_spearman(e->alike[1], e->scores, e->n_scores, scratch);
    free(scratch);
    return CLQ_OK;
}

void clq_embeddings_free(struct clq_embeddings *e)
{
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 2; k++) free(e->vector[i][k]);
        free(e->alike[i]);
    }
}

/* ---- Sequences ---- */
enum { SEQUENCE_MOST = 16384 }; /* the edit distance takes its square */

static clq_status sequence_shape(struct shape *s, const clq_tensor *y, struct clq_error *err)
{
    bool scores = y->dtype == CLQ_DTYPE_F32 && y->rank == 3 && y->shape[2] >= 2, codes = (y->dtype == CLQ_DTYPE_S64 || y->dtype == CLQ_DTYPE_S32) && y->rank == 2;
    if (!scores && !codes)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "the output is %s of rank %d, a sequence is float32 [samples, positions, classes] or whole numbers [samples, positions]",
                        clq_dtype_name(y->dtype), y->rank);
    *s = (struct shape){(size_t)y->shape[0], (size_t)y->shape[1], scores ? (size_t)y->shape[2] : 1};
    if (s->positions > SEQUENCE_MOST)
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "sequences of %zu positions, at most %d are compared", s->positions, SEQUENCE_MOST);
    return CLQ_OK;
}

static int64_t symbol(const clq_tensor *y, size_t at, size_t classes)
{
    if (y->dtype == CLQ_DTYPE_F32) return (int64_t)clq_argmax((const float *)y->data + at * classes, classes);
    return y->dtype == CLQ_DTYPE_S64 ? ((const int64_t *)y->data)[at] : ((const int32_t *)y->data)[at];
}

/* The symbols of a sample. keep, of as many entries as there are positions, or NULL: negative where a position does not count. */
static size_t decode(int64_t *to, const struct clq_sequences *q, const clq_tensor *y, const struct shape *s, size_t sample, const clq_tensor *mask, const int64_t *keep)
{
    size_t n = 0;
    int64_t last = 0;
    bool any = false;
    for (size_t p = 0; p < s->positions; p++) {
        if (!counts(mask, sample * s->positions + p) || (keep && keep[p] < 0)) continue;
        int64_t v = symbol(y, sample * s->positions + p, s->width);
        if (!q->has_blank || (v != q->blank && !(any && v == last))) to[n++] = v;
        last = v;
        any = true;
    }
    return n;
}

static size_t edit_distance(const int64_t *a, size_t n, const int64_t *b, size_t m, size_t *row)
{
    for (size_t j = 0; j <= m; j++) row[j] = j;
    for (size_t i = 0; i < n; i++) {
        size_t corner = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < m; j++) {
            size_t change = corner + (a[i] != b[j]), least = row[j] < row[j + 1] ? row[j] + 1 : row[j + 1] + 1;
            corner = row[j + 1];
            row[j + 1] = change < least ? change : least;
        }
    }
    return row[m];
}

static void match(struct clq_matches *to, const int64_t *a, size_t n, const int64_t *right, size_t m, size_t *row)
{
    size_t edits = edit_distance(a, n, right, m, row);
    to->n++;
    to->exact += edits == 0;
    to->edits += edits;
    to->length += m;
}

static clq_status need_room(struct clq_sequences *q, size_t symbols, struct clq_error *err)
{
    if (symbols < q->room) return CLQ_OK;
    q->room = symbols + 1;
    bool ok = true;
    for (int i = 0; i < 3; i++) {
        free(q->symbols[i]);
        q->symbols[i] = calloc(q->room, sizeof *q->symbols[i]);
        ok = ok && q->symbols[i];
    }
    free(q->row);
    q->row = calloc(q->room + 1, sizeof *q->row);
    return ok && q->row ? CLQ_OK : no_memory(err);
}

static clq_status check_labels(const struct clq_sequences *q, const struct shape *s, struct clq_error *err)
{
    if (!q->labels) return CLQ_OK;
    if (q->label_length == 0 || q->label_length > SEQUENCE_MOST || q->n_labels / q->label_length < q->samples + s->samples)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "labels: %zu sequences of %zu symbols are given, expected one of 1 to %d for every sample",
                        q->label_length ? q->n_labels / q->label_length : 0, q->label_length, SEQUENCE_MOST);
    if (!q->has_blank && q->label_length != s->positions)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "labels of %zu positions, the output has %zu; with a blank symbol they need not agree", q->label_length, s->positions);
    return CLQ_OK;
}

clq_status clq_sequences_add(struct clq_sequences *q, const clq_tensor *y, const clq_tensor *r, const clq_tensor *mask, struct clq_error *err)
{
    struct shape s = {0};
    CLQ_TRY(sequence_shape(&s, y, err));
    CLQ_TRY(clq_metrics_same_shape(y, r, err));
    CLQ_TRY(check_mask(mask, s.samples, s.positions, err));
    CLQ_TRY(check_labels(q, &s, err));
    CLQ_TRY(need_room(q, s.positions > q->label_length ? s.positions : q->label_length, err));
    for (size_t i = 0; i < s.samples; i++, q->samples++) {
        const int64_t *label = q->labels ? q->labels + q->samples * q->label_length : NULL, *keep = q->has_blank ? NULL : label;
        size_t n = decode(q->symbols[0], q, y, &s, i, mask, keep), m = r ? decode(q->symbols[1], q, r, &s, i, mask, keep) : 0, right = 0;
        if (r) match(&q->pair, q->symbols[0], n, q->symbols[1], m, q->row);
        if (!label) continue;
        for (size_t k = 0; k < q->label_length; k++)
            if (label[k] >= 0 && (q->has_blank || counts(mask, i * s.positions + k))) q->symbols[2][right++] = label[k];
        match(&q->model, q->symbols[0], n, q->symbols[2], right, q->row);
        if (r) match(&q->reference, q->symbols[1], m, q->symbols[2], right, q->row);
    }
    return CLQ_OK;
}

static void rates(double *exact, double *edit, const struct clq_matches *m)
{
    if (m->n == 0) return;
    *exact = (double)m->exact / (double)m->n;
    *edit = m->length > 0 ? (double)m->edits / (double)m->length : m->edits > 0 ? (double)INFINITY : 0;
}

void clq_sequences_finish(clq_evaluation *out, const struct clq_sequences *q)
{
    rates(&out->exact, &out->edit_rate, &q->pair);
    rates(&out->label_exact, &out->label_edit_rate, &q->model);
    rates(&out->label_exact_reference, &out->label_edit_rate_reference, &q->reference);
}

void clq_sequences_free(struct clq_sequences *q)
{
    for (int i = 0; i < 3; i++) free(q->symbols[i]);
    free(q->row);
}
