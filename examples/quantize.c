/* SPDX-License-Identifier: Apache-2.0
 * Quantizes a model through the installed headers alone:
 *
 *     quantize model.onnx calib.npz model.int8.onnx
 *
 * Build: cc quantize.c $(pkg-config --cflags --libs clquant) -o quantize */
#include <math.h>
#include <stdio.h>

#include <clquant/clquant.h>

/* What must be freed, in one place. */
struct job {
    clq_context *ctx;
    clq_model *model;
    clq_data *data;
    clq_result *result;
};

static void show_progress(void *user, const char *phase, double fraction)
{
    (void)user;
    fprintf(stderr, "\r%-24s %3.0f %%", phase, 100 * fraction);
}

static clq_status quantize(struct job *j, const char *const *paths)
{
    char plan[4096];
    clq_context_options context = {.progress = show_progress};
    clq_quantize_options options = {.min_sqnr_db = 20};
    clq_status st = clq_context_create(&j->ctx, &context);
    if (st == CLQ_OK) st = clq_model_load(&j->model, j->ctx, paths[0], NULL);
    if (st == CLQ_OK) st = clq_data_open(&j->data, j->ctx, j->model, paths[1], NULL);
    if (st == CLQ_OK) st = clq_quantize(&j->result, j->ctx, j->model, j->data, &options);
    if (st == CLQ_OK) st = clq_result_write(j->result, paths[2], false);
    snprintf(plan, sizeof plan, "%s.plan.json", paths[2]);
    if (st == CLQ_OK) st = clq_result_write_plan(j->result, plan, false);
    return st;
}

static void print_result(const clq_result *result)
{
    const clq_summary *s = clq_result_summary(result);
    for (size_t i = 0; i < clq_result_layer_count(result); i++) {
        const clq_layer_result *l = clq_result_layer(result, i);
        printf("%-5s %-32s %s\n", l->precision, l->name, l->reason);
    }
    printf("%zu -> %zu bytes, ", s->reference_bytes, s->model_bytes);
    if (isinf(s->sqnr_db)) printf("no error");
    else printf("%.2f dB", s->sqnr_db);
    printf(", %.2f x as fast\n%s\n", s->speedup, s->reason);
}

int main(int argc, char **argv)
{
    struct job j = {0};
    if (argc != 4) {
        fprintf(stderr, "usage: quantize MODEL DATA OUT\n");
        return 2;
    }
    clq_status st = quantize(&j, (const char *const *)argv + 1);
    fputc('\n', stderr);
    if (st == CLQ_OK) print_result(j.result);
    else fprintf(stderr, "%s: %s\n", clq_status_name(st), clq_error_message(j.ctx));
    clq_result_free(j.result);
    clq_data_free(j.data);
    clq_model_free(j.model);
    clq_context_free(j.ctx);
    return st != CLQ_OK;
}
