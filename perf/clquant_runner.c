/* SPDX-License-Identifier: Apache-2.0
 * clquant as a resident process with the protocol of perf/rivals/README.md, so that comparisons drive it and its rivals alike:
 *   clquant_runner MODEL --inputs DATA.npz [--threads N] [--batch N] [--device D] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <clquant/clquant.h>

enum { MAX_VALUES = 64 };

struct runner {
    clq_context *ctx;
    clq_model *model;
    clq_session *session;
    clq_data *data;
    clq_tensor in[MAX_VALUES], out[MAX_VALUES];
    int n_in, n_out;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int fail(struct runner *r)
{
    printf("{\"error\": \"");
    for (const char *s = r->ctx ? clq_error_message(r->ctx) : "no context"; *s; s++) /* messages are printable */
        printf(*s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
    printf("\"}\n");
    fflush(stdout);
    return 1;
}

static clq_status run_once(struct runner *r)
{
    memset(r->out, 0, sizeof r->out);
    return clq_session_run(r->session, r->in, r->n_in, r->out, r->n_out);
}

static int serve_run(struct runner *r, long n)
{
    printf("{\"seconds\": [");
    for (long i = 0; i < n; i++) {
        double t = now();
        if (run_once(r) != CLQ_OK) return fail(r);
        printf("%s%.9f", i ? ", " : "", now() - t);
    }
    printf("]}\n");
    fflush(stdout);
    return 0;
}

static int set_up(struct runner *r, int argc, char **argv)
{
    const char *inputs = NULL;
    clq_context_options o = {.threads = 1};
    clq_data_options d = {0};
    for (int i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--inputs") == 0) inputs = argv[i + 1];
        else if (strcmp(argv[i], "--threads") == 0) o.threads = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--batch") == 0) d.batch = (size_t)atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--device") == 0) o.device = argv[i + 1];
        else if (strcmp(argv[i], "--isa") == 0) o.isa = argv[i + 1];
    }
    if (argc < 2 || !inputs || clq_context_create(&r->ctx, &o) != CLQ_OK) return fail(r);
    if (clq_model_load(&r->model, r->ctx, argv[1], NULL) != CLQ_OK) return fail(r);
    r->n_in = clq_model_input_count(r->model);
    r->n_out = clq_model_output_count(r->model);
    if (r->n_in > MAX_VALUES || r->n_out > MAX_VALUES) return fail(r);
    if (clq_session_create(&r->session, r->ctx, r->model) != CLQ_OK) return fail(r);
    if (clq_data_open(&r->data, r->ctx, r->model, inputs, &d) != CLQ_OK || clq_data_get(r->data, 0, r->in) != CLQ_OK || run_once(r) != CLQ_OK) return fail(r);
    printf("{\"ready\": true, \"runtime\": \"clquant\", \"version\": \"%s\", \"threads\": %d, \"isa\": \"%s\"}\n", CLQ_VERSION, clq_context_threads(r->ctx),
           clq_context_isa(r->ctx));
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv)
{
    struct runner r = {0};
    char line[256];
    int rc = set_up(&r, argc, argv);
    while (rc == 0 && fgets(line, sizeof line, stdin)) {
        if (strncmp(line, "run ", 4) == 0) rc = serve_run(&r, atol(line + 4));
        else if (strncmp(line, "quit", 4) == 0) break;
        else {
            printf("{\"error\": \"unknown command\"}\n");
            fflush(stdout);
        }
    }
    clq_data_free(r.data);
    clq_session_free(r.session);
    clq_model_free(r.model);
    clq_context_free(r.ctx);
    return rc;
}
