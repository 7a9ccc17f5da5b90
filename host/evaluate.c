/* SPDX-License-Identifier: Apache-2.0
 * Evaluation of a model against a reference, labels and scores, and interleaved timing of two models. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/evaluate.h>

#include "classes.h"
#include "context.h"
#include "data.h"
#include "metrics.h"
#include "runner.h"
#include "scheduler/compare.h"
#include "scheduler/stats.h"
#include "watch.h"

struct sums {
    double signal, energy, dot, noise;
    size_t rows, agree, correct, correct_reference, values;
};

static size_t elements(const clq_tensor *t)
{
    size_t n = 0;
    return clq_tensor_elements(&n, t) == CLQ_OK ? n : 0;
}

static void add_errors(struct sums *s, const clq_tensor *y, const clq_tensor *r)
{
    if (y->dtype != CLQ_DTYPE_F32 || r->dtype != CLQ_DTYPE_F32) return;
    size_t n = elements(y) < elements(r) ? elements(y) : elements(r);
    const float *a = r->data, *b = y->data;
    s->values += n;
    for (size_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        s->signal += (double)a[i] * (double)a[i];
        s->energy += (double)b[i] * (double)b[i];
        s->dot += (double)a[i] * (double)b[i];
        s->noise += d * d;
    }
}

static clq_status add_classes(struct sums *s, const clq_tensor *y, const clq_tensor *r, const int64_t *labels, size_t n_labels, struct clq_error *err)
{
    const struct clq_classes c = clq_classes_of(y);
    if (labels) CLQ_TRY(clq_classes_fit_labels(&c, y, n_labels - s->rows, n_labels, err));
    if (c.rows > 0) CLQ_TRY(clq_metrics_same_shape(y, r, err));
    for (size_t i = 0; i < c.rows; i++) {
        size_t got = clq_argmax((const float *)y->data + i * c.classes, c.classes);
        size_t want = r ? clq_argmax((const float *)r->data + i * c.classes, c.classes) : 0;
        if (r) s->agree += got == want;
        if (!labels) continue;
        s->correct += (int64_t)got == labels[s->rows + i];
        s->correct_reference += r && (int64_t)want == labels[s->rows + i];
    }
    s->rows += c.rows;
    return CLQ_OK;
}

enum metric { CLASSES, EMBEDDINGS, SEQUENCES };

struct evaluation {
    clq_session *model, *reference;
    clq_tensor *in, *y, *r;
    int n_in, n_out, output, mask; /* output: that of the metric; mask: an input or -1 */
    enum metric metric;
    const clq_evaluate_options *options;
    struct sums sums;
    struct clq_embeddings embeddings;
    struct clq_sequences sequences;
};

static clq_status evaluate_one(struct evaluation *e, struct clq_context *ctx, clq_data *data, size_t i)
{
    const clq_evaluate_options *o = e->options;
    CLQ_TRY(clq_data_get(data, i, e->in));
    memset(e->y, 0, (size_t)e->n_out * sizeof *e->y);
    CLQ_TRY(clq_session_run(e->model, e->in, e->n_in, e->y, e->n_out));
    if (e->reference) {
        memset(e->r, 0, (size_t)e->n_out * sizeof *e->r);
        CLQ_TRY(clq_session_run(e->reference, e->in, e->n_in, e->r, e->n_out));
        for (int k = 0; k < e->n_out; k++) add_errors(&e->sums, &e->y[k], &e->r[k]);
    }
    const clq_tensor *y = &e->y[e->output], *r = e->reference ? &e->r[e->output] : NULL, *mask = e->mask >= 0 ? &e->in[e->mask] : NULL;
    if (e->metric == EMBEDDINGS) return clq_embeddings_add(&e->embeddings, y, r, mask, &ctx->error);
    if (e->metric == SEQUENCES) return clq_sequences_add(&e->sequences, y, r, mask, &ctx->error);
    return add_classes(&e->sums, y, r, o->labels, o->n_labels, &ctx->error);
}

static void finish_sums(clq_evaluation *out, const struct sums *s, bool reference, bool labels)
{
    double rows = s->rows ? (double)s->rows : 1;
    if (labels && s->rows) out->top1 = 100.0 * (double)s->correct / rows;
    if (labels && s->rows && reference) out->top1_reference = 100.0 * (double)s->correct_reference / rows;
    if (!reference) return;
    if (s->rows) out->agreement = (double)s->agree / rows;
    out->identical = s->noise == 0;
    out->sqnr_db = s->noise > 0 ? 10 * log10(s->signal / s->noise) : INFINITY;
    out->cosine = s->signal > 0 && s->energy > 0 ? s->dot / sqrt(s->signal * s->energy) : s->noise > 0 ? 0 : 1;
}

static clq_status finish(clq_evaluation *out, struct evaluation *e, struct clq_context *ctx, size_t samples)
{
    size_t counted = e->metric == EMBEDDINGS ? e->embeddings.samples : e->metric == SEQUENCES ? e->sequences.samples : e->sums.rows;
    *out = (clq_evaluation){.samples = counted ? counted : samples, .top1 = -1, .top1_reference = -1, .agreement = -1, .sqnr_db = NAN, .cosine = NAN,
                            .mean_cosine = NAN, .least_cosine = NAN, .spearman = NAN, .spearman_reference = NAN, .exact = NAN, .edit_rate = NAN,
                            .label_exact = NAN, .label_edit_rate = NAN, .label_exact_reference = NAN, .label_edit_rate_reference = NAN};
    finish_sums(out, &e->sums, e->reference != NULL, e->options->labels != NULL);
    if (e->metric == SEQUENCES) clq_sequences_finish(out, &e->sequences);
    return e->metric == EMBEDDINGS ? clq_embeddings_finish(out, &e->embeddings, e->reference != NULL, &ctx->error) : CLQ_OK;
}

static clq_status find_mask(int *mask, const char *name, const clq_model *model, int n_in, struct clq_error *err)
{
    *mask = -1;
    for (int i = 0; i < n_in; i++) {
        clq_value_desc d;
        CLQ_TRY(clq_model_input(&d, model, i));
        if (strcmp(d.name, name ? name : "attention_mask") == 0) *mask = i;
    }
    return *mask >= 0 || !name ? CLQ_OK : clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "mask: the model has no input '%s'", name);
}

static clq_status find_output(int *output, const char *name, const clq_model *model, int n_out, struct clq_error *err)
{
    for (int i = 0; name && i < n_out; i++) {
        clq_value_desc d;
        CLQ_TRY(clq_model_output(&d, model, i));
        if (strcmp(d.name, name) != 0) continue;
        *output = i;
        return CLQ_OK;
    }
    return name ? clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "output: the model has none of the name '%s'", name) : CLQ_OK;
}

/* Reads the options. */
static clq_status choose_metric(struct evaluation *e, const clq_model *model, struct clq_error *err)
{
    const clq_evaluate_options *o = e->options;
    if (!o->metric || strcmp(o->metric, "classes") == 0) e->metric = CLASSES;
    else if (strcmp(o->metric, "embeddings") == 0) e->metric = EMBEDDINGS;
    else if (strcmp(o->metric, "sequences") == 0) e->metric = SEQUENCES;
    else return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "metric '%s': expected classes, embeddings or sequences", o->metric);
    if (o->pool && strcmp(o->pool, "mean") != 0 && strcmp(o->pool, "first") != 0)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "pool '%s': expected mean or first", o->pool);
    e->mask = -1;
    if (e->metric == CLASSES) return CLQ_OK;
    e->embeddings = (struct clq_embeddings){.first = o->pool && strcmp(o->pool, "first") == 0, .scores = o->scores, .n_scores = o->n_scores};
    e->sequences = (struct clq_sequences){.has_blank = o->has_blank, .blank = o->blank, .labels = o->labels, .n_labels = o->n_labels, .label_length = o->label_length};
    CLQ_TRY(find_output(&e->output, o->output, model, e->n_out, err));
    /* A recognizer's positions are not those of its inputs: only the mask that was asked for counts there. */
    return e->metric == SEQUENCES && !o->mask ? CLQ_OK : find_mask(&e->mask, o->mask, model, e->n_in, err);
}

static clq_status start(struct evaluation *e, clq_context *ctx, const clq_model *model, const clq_model *reference, clq_data *data)
{
    if (reference && (clq_model_input_count(reference) != e->n_in || clq_model_output_count(reference) != e->n_out))
        return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "the reference has %d inputs and %d outputs, the model %d and %d",
                        clq_model_input_count(reference), clq_model_output_count(reference), e->n_in, e->n_out);
    CLQ_TRY(choose_metric(e, model, &ctx->error));
    e->in = calloc((size_t)e->n_in + 1, sizeof *e->in);
    e->y = calloc((size_t)e->n_out + 1, sizeof *e->y);
    e->r = calloc((size_t)e->n_out + 1, sizeof *e->r);
    if (!e->in || !e->y || !e->r) return clq_fail(&ctx->error, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    size_t per_get;
    if (e->options->labels && e->metric == CLASSES) CLQ_TRY(clq_data_labels(&per_get, data, e->options->n_labels));
    CLQ_TRY(clq_session_create(&e->model, ctx, model));
    return reference ? clq_session_create(&e->reference, ctx, reference) : CLQ_OK;
}

clq_status clq_evaluate_by(clq_evaluation *out, clq_context *ctx, const clq_model *model, const clq_model *reference, clq_data *data,
                           const clq_evaluate_options *options)
{
    const clq_evaluate_options none = {0};
    if (!out || !ctx || !model || !data) return CLQ_ERR_INVALID_ARGUMENT;
    struct evaluation e = {.n_in = clq_model_input_count(model), .n_out = clq_model_output_count(model), .options = options ? options : &none};
    clq_status st = start(&e, ctx, model, reference, data);
    size_t n = clq_data_count(data);
    for (size_t i = 0; i < n && st == CLQ_OK; i++) {
        if (!clq_context_progress(ctx, "evaluating", (double)i / (double)n)) st = clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "canceled");
        else st = evaluate_one(&e, ctx, data, i);
    }
    if (st == CLQ_OK) {
        clq_context_progress(ctx, "evaluating", 1);
        st = finish(out, &e, ctx, n);
    }
    clq_session_free(e.model);
    clq_session_free(e.reference);
    clq_embeddings_free(&e.embeddings);
    clq_sequences_free(&e.sequences);
    free(e.in);
    free(e.y);
    free(e.r);
    return st;
}

clq_status clq_evaluate(clq_evaluation *out, clq_context *ctx, const clq_model *model, const clq_model *reference, clq_data *data,
                        const int64_t *labels, size_t n_labels)
{
    const clq_evaluate_options o = {.labels = labels, .n_labels = n_labels};
    return clq_evaluate_by(out, ctx, model, reference, data, &o);
}

/* ---- Timing ---- */
static clq_status run_timed(double *seconds, clq_session *s, const clq_tensor *in, int n_in, clq_tensor *out, int n_out)
{
    memset(out, 0, (size_t)n_out * sizeof *out);
    double t = clq_now();
    CLQ_TRY(clq_session_run(s, in, n_in, out, n_out));
    *seconds = clq_now() - t;
    return CLQ_OK;
}

/* What is timed side by side. */
struct timed_pair {
    clq_session *model, *reference; /* reference: or NULL */
    const clq_tensor *in;
    clq_tensor *out;
    int n_in, n_out;
};

static clq_status time_one(struct clq_timing *pair, const struct timed_pair *p, bool candidate_first)
{
    if (candidate_first) CLQ_TRY(run_timed(&pair->candidate, p->model, p->in, p->n_in, p->out, p->n_out));
    if (p->reference) CLQ_TRY(run_timed(&pair->reference, p->reference, p->in, p->n_in, p->out, p->n_out));
    if (!candidate_first) CLQ_TRY(run_timed(&pair->candidate, p->model, p->in, p->n_in, p->out, p->n_out));
    if (!p->reference) pair->reference = pair->candidate;
    return CLQ_OK;
}

/* In turn, as they are timed, until one is warm and then the other alone: of two programs that are the same, the one that was warmed up
 * before the other ran at all stayed 1 % slower. */
static clq_status warm(const struct timed_pair *p)
{
    enum { MOST = 200 };
    double seconds[2][MOST];
    bool is_warm[2] = {false, !p->reference};
    clq_session *const sessions[2] = {p->model, p->reference};
    for (size_t i = 0; i < MOST && !(is_warm[0] && is_warm[1]); i++)
        for (int k = 0; k < 2; k++) {
            if (is_warm[k]) continue;
            CLQ_TRY(run_timed(&seconds[k][i], sessions[k], p->in, p->n_in, p->out, p->n_out));
            is_warm[k] = clq_is_warm(seconds[k], i + 1);
        }
    return CLQ_OK;
}

/* Pairs that steal time or a changing clock disturbed are repeated once; those that are disturbed again are marked. */
static clq_status time_pairs(struct clq_timing *pairs, size_t n, size_t *disturbed, struct clq_context *ctx, const struct timed_pair *p)
{
    struct clq_watch watch;
    *disturbed = 0;
    CLQ_TRY(warm(p));
    for (int again = 0; again < 2; again++) {
        clq_watch_start(&watch);
        for (size_t i = 0; i < n; i++) {
            if (again && !pairs[i].discard) continue;
            CLQ_TRY(time_one(&pairs[i], p, clq_pair_candidate_first(i)));
            const struct clq_round round = clq_watch_round(&watch);
            pairs[i].discard = clq_round_disturbed(&round);
            *disturbed += !again && pairs[i].discard;
            if (!clq_context_progress(ctx, "timing", again ? 1 : (double)(i + 1) / (double)n)) return clq_fail(&ctx->error, CLQ_ERR_INVALID_ARGUMENT, "canceled");
        }
    }
    return CLQ_OK;
}

static clq_status summarize(clq_pair_timing *out, const struct clq_timing *pairs, size_t n, bool reference, struct clq_error *err)
{
    struct clq_accept_verdict v;
    struct clq_accept_options o = {.min_pairs = 1, .min_processes = 1, .seed = 1};
    CLQ_TRY(clq_accept_plan(&v, pairs, n, &o, err));
    *out = (clq_pair_timing){.median_ms = v.candidate * 1e3, .pairs = v.pairs, .discarded = v.discarded};
    if (!reference) return CLQ_OK;
    out->reference_median_ms = v.reference * 1e3;
    out->speedup = v.speedup;
    out->speedup_lo = v.speedup_lo;
    out->speedup_hi = v.speedup_hi;
    out->faster = v.speed == CLQ_SPEED_FASTER;
    out->slower = v.speed == CLQ_SPEED_SLOWER;
    return CLQ_OK;
}

clq_status clq_time_pair(clq_pair_timing *out, clq_context *ctx, const clq_model *model, const clq_model *reference, const clq_tensor *inputs,
                         size_t pairs, double *seconds)
{
    if (!out || !ctx || !model || !inputs || pairs == 0) return CLQ_ERR_INVALID_ARGUMENT;
    int n_in = clq_model_input_count(model), n_out = clq_model_output_count(model);
    clq_session *a = NULL, *b = NULL;
    clq_tensor *y = calloc((size_t)n_out + 1, sizeof *y);
    struct clq_timing *t = calloc(pairs, sizeof *t);
    clq_status st = y && t ? CLQ_OK : clq_fail(&ctx->error, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    if (st == CLQ_OK) st = clq_session_create(&a, ctx, model);
    if (st == CLQ_OK && reference) st = clq_session_create(&b, ctx, reference);
    size_t disturbed = 0;
    const struct timed_pair p = {.model = a, .reference = b, .in = inputs, .out = y, .n_in = n_in, .n_out = n_out};
    if (st == CLQ_OK) st = time_pairs(t, pairs, &disturbed, ctx, &p);
    if (st == CLQ_OK) st = summarize(out, t, pairs, reference != NULL, &ctx->error);
    if (st == CLQ_OK) out->disturbed = disturbed;
    for (size_t i = 0; st == CLQ_OK && seconds && i < pairs; i++) {
        seconds[2 * i] = t[i].reference;
        seconds[2 * i + 1] = t[i].candidate;
    }
    clq_session_free(a);
    clq_session_free(b);
    free(y);
    free(t);
    return st;
}
