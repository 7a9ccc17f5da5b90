/* SPDX-License-Identifier: Apache-2.0
 * One quantization of the example network as tests need it: few samples, few timed pairs, every log line counted. No test
 * depends on who wins a timing. */
#ifndef CLQ_TESTS_QUANTIZE_FIXTURE_H
#define CLQ_TESTS_QUANTIZE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <clquant/quantize.h>

#include "base/file.h"

#define EXAMPLE CLQ_TEST_EXAMPLE "/"

struct run {
    const char *model;      /* NULL: model.onnx */
    int threads;
    const char *isa;
    clq_quantize_options options;
    bool write_nothing;
    size_t samples;         /* 0: 24 */
    const char *data;       /* NULL: the example's */
    clq_progress_fn *progress;
};

struct ran {
    clq_status status;
    char message[2048];
    unsigned char *bytes;   /* of the written model */
    size_t n;
    clq_summary summary;
    char choices[256];      /* 'q' or 'f' of every layer */
    char lines[64][400];    /* the log */
    size_t n_lines;
};

static inline void log_line(void *user, const char *line)
{
    struct ran *r = user;
    if (r->n_lines < 64) snprintf(r->lines[r->n_lines++], sizeof r->lines[0], "%s", line);
}

static inline size_t lines_with(const struct ran *r, const char *part)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_lines; i++) n += strstr(r->lines[i], part) != NULL;
    return n;
}

static inline const char *scratch(const char *name)
{
    static char paths[16][400];
    static int next;
    char *p = paths[next++ % 16];
    snprintf(p, sizeof paths[0], "%s/%s", CLQ_TEST_SCRATCH, name);
    return p;
}

static inline struct clq_blob slurp(const char *path)
{
    struct clq_error err = {""};
    struct clq_blob b = {0};
    if (clq_file_read(&b, path, 0, &err) != CLQ_OK) fail_msg("%s", err.text);
    return b;
}

static inline void spit(const char *path, const void *data, size_t n)
{
    struct clq_error err = {""};
    if (clq_file_write(path, data, n, &(struct clq_writer_options){.force = true}, &err) != CLQ_OK) fail_msg("%s", err.text);
}

static inline void take_result(struct ran *out, clq_result *r)
{
    out->summary = *clq_result_summary(r);
    size_t n = clq_result_layer_count(r);
    assert_true(n < sizeof out->choices);
    for (size_t i = 0; i < n; i++) out->choices[i] = strcmp(clq_result_layer(r, i)->precision, "int8") == 0 ? 'q' : 'f';
}

/* plan_to: where the plan goes, or NULL. The caller frees bytes. */
static inline void quantize(struct ran *out, const struct run *run, const char *plan_to)
{
    clq_context *ctx;
    clq_model *model;
    clq_data *data;
    clq_result *result = NULL;
    memset(out, 0, sizeof *out);
    clq_context_options c = {.threads = run->threads, .isa = run->isa, .log = log_line, .progress = run->progress, .user = out};
    clq_data_options d = {.limit = run->samples ? run->samples : 24};
    const char *samples = run->data ? run->data : EXAMPLE "calib.npz";
    clq_quantize_options o = run->options;
    if (!o.timing_pairs) o.timing_pairs = 10;
    assert_int_equal(clq_context_create(&ctx, &c), CLQ_OK);
    if (clq_model_load(&model, ctx, run->model ? run->model : EXAMPLE "model.onnx", NULL) != CLQ_OK) fail_msg("%s", clq_error_message(ctx));
    if (clq_data_open(&data, ctx, model, samples, &d) != CLQ_OK) fail_msg("%s", clq_error_message(ctx));
    out->status = clq_quantize(&result, ctx, model, data, &o);
    snprintf(out->message, sizeof out->message, "%s", out->status == CLQ_OK ? "" : clq_error_message(ctx));
    if (out->status == CLQ_OK) {
        const char *to = CLQ_TEST_SCRATCH "/out.onnx";
        take_result(out, result);
        if (clq_result_write(result, to, true) != CLQ_OK) fail_msg("%s", clq_error_message(ctx));
        if (plan_to && clq_result_write_plan(result, plan_to, true) != CLQ_OK) fail_msg("%s", clq_error_message(ctx));
        struct clq_blob b = slurp(to);
        out->bytes = b.data;
        out->n = b.bytes;
    }
    clq_result_free(result);
    clq_data_free(data);
    clq_model_free(model);
    clq_context_free(ctx);
}

static inline void must(const struct ran *r)
{
    if (r->status != CLQ_OK) fail_msg("%s: %s", clq_status_name(r->status), r->message);
}

#endif
