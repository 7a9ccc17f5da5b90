/* SPDX-License-Identifier: Apache-2.0
 * Times of nodes by onnxruntime's own profiler: it writes one event for every node of every run into a file. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "ort.h"
#include "scheduler/stats.h"

enum { WARM = 5 };
#define MOST_BYTES ((size_t)512 << 20) /* of the profile's text */

struct event {
    const char *name; /* the node's, without the profiler's suffix; n bytes */
    size_t n;
    double us;
    size_t order;
};

/* All events of one name. */
struct node {
    size_t first, last, order; /* first .. last - 1; order of the earliest */
};

static int by_name(const void *a, const void *b)
{
    const struct event *x = a, *y = b;
    size_t n = x->n < y->n ? x->n : y->n;
    int c = memcmp(x->name, y->name, n);
    if (c == 0) c = x->n < y->n ? -1 : x->n > y->n;
    return c;
}

static int by_order(const void *a, const void *b)
{
    const struct node *x = a, *y = b;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* Groups events, sorted by name, into nodes in the order of their first runs. */
static size_t group(struct node *nodes, const struct event *events, size_t n)
{
    size_t count = 0;
    for (size_t first = 0, last; first < n; first = last) {
        struct node *o = &nodes[count++];
        *o = (struct node){first, first, events[first].order};
        for (last = first; last < n && by_name(&events[first], &events[last]) == 0; last++)
            if (events[last].order < o->order) o->order = events[last].order;
        o->last = last;
    }
    qsort(nodes, count, sizeof *nodes, by_order);
    return count;
}

/* One node's events: the mean of the faster three quarters, as whole microseconds leave little to a median. A name that
 * several nodes have counts for all of them. */
static void visit_node(struct event *e, size_t n, int runs, double *us, clq_node_time_fn *visit, void *state)
{
    char name[512];
    size_t use = n - n / 4;
    double sum = 0;
    for (size_t i = 0; i < n; i++) us[i] = e[i].us;
    double low = clq_quantile(us, n, 0.25), spread = clq_quantile(us, n, 0.75) - low;
    clq_select(us, n, use - 1); /* the smaller ones are now in front */
    for (size_t i = 0; i < use; i++) sum += us[i];
    snprintf(name, sizeof name, "%.*s", (int)(e->n < 500 ? e->n : 500), e->name);
    visit(state, name, sum / (double)use * ((double)n / runs), spread);
}

static size_t read_events(struct event *out, const clq_json *doc)
{
    static const char suffix[] = "_kernel_time";
    size_t n = 0, all = clq_json_size(doc);
    for (size_t i = 0; i < all; i++) {
        const clq_json *e = clq_json_at(doc, i);
        const char *name = clq_json_as_string(clq_json_get(e, "name"), "");
        size_t len = strlen(name), tail = sizeof suffix - 1;
        double us = clq_json_as_real(clq_json_get(e, "dur"), -1);
        if (strcmp(clq_json_as_string(clq_json_get(e, "cat"), ""), "Node") != 0 || us < 0) continue;
        if (len <= tail || strcmp(name + len - tail, suffix) != 0) continue;
        out[n] = (struct event){name, len - tail, us, n};
        n++;
    }
    return n;
}

clq_status clq_ort_read_profile(const char *path, int runs, clq_node_time_fn *visit, void *state, struct clq_error *err)
{
    clq_json *doc;
    CLQ_TRY(clq_json_read(&doc, path, MOST_BYTES, err));
    size_t most = clq_json_size(doc);
    struct event *events = calloc(most + 1, sizeof *events);
    struct node *nodes = calloc(most + 1, sizeof *nodes);
    double *us = calloc(most + 1, sizeof *us);
    clq_status st = events && nodes && us ? CLQ_OK : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    size_t n = st == CLQ_OK ? read_events(events, doc) : 0;
    if (st == CLQ_OK && n == 0) st = clq_fail(err, CLQ_ERR_UNSUPPORTED, "onnxruntime's profile names no node: this build of it does not profile");
    if (st == CLQ_OK) qsort(events, n, sizeof *events, by_name);
    size_t count = st == CLQ_OK ? group(nodes, events, n) : 0;
    for (size_t i = 0; i < count; i++) visit_node(&events[nodes[i].first], nodes[i].last - nodes[i].first, runs, us, visit, state);
    free(us);
    free(nodes);
    free(events);
    clq_json_free(doc);
    return st;
}

/* Runs, ends the profile and names its file (for free()). */
static clq_status collect(char **file, struct clq_ort *ort, const struct clq_model *model, const clq_tensor *inputs, int runs, const char *prefix,
                          struct clq_error *err)
{
    ort_object *allocator = NULL;
    void *session;
    char *name = NULL;
    CLQ_TRY(clq_ort_open(&session, ort, model, prefix, err));
    clq_status st = CLQ_OK;
    for (int i = 0; i < runs && st == CLQ_OK; i++) st = clq_ort_run(session, inputs, NULL, err);
    ort_status *ended = ort->api.default_allocator(&allocator); /* after a failed run too: the file is there and has to go */
    if (!ended) ended = ort->api.end_profiling(clq_ort_handle(session), allocator, &name);
    if (st == CLQ_OK) st = clq_ort_check(ort, ended, CLQ_ERR_INTERNAL, "the profile", err);
    else if (ended) ort->api.release_status(ended);
    *file = name ? strdup(name) : NULL;
    if (st == CLQ_OK && !*file) st = clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    if (name && allocator) ort->api.release_status(ort->api.allocator_free(allocator, name));
    clq_ort_close(session);
    return st;
}

clq_status clq_ort_profile(struct clq_runtime *runtime, const struct clq_model *model, const clq_tensor *inputs, int runs, clq_node_time_fn *visit,
                           void *state, struct clq_error *err)
{
    char folder[256], prefix[300], *file = NULL;
    const char *base = getenv("TMPDIR");
    if (!base || !base[0] || strlen(base) > 200) base = "/tmp";
    snprintf(folder, sizeof folder, "%s/clquant-XXXXXX", base);
    if (!mkdtemp(folder)) return clq_fail(err, CLQ_ERR_IO, "'%s': %s", folder, strerror(errno));
    snprintf(prefix, sizeof prefix, "%s/profile", folder);
    clq_status st = collect(&file, (struct clq_ort *)runtime, model, inputs, runs + WARM, prefix, err);
    if (st == CLQ_OK) st = clq_ort_read_profile(file, runs + WARM, visit, state, err);
    if (file) unlink(file);
    free(file);
    rmdir(folder);
    return st;
}
