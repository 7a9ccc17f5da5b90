/* SPDX-License-Identifier: Apache-2.0
 * Loads a model and prints what it is: "clquant VERSION: N nodes". */
#include <clquant/clquant.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    clq_context *ctx = NULL;
    clq_model *model = NULL;
    clq_model_summary summary = {0};
    if (argc != 2 || clq_context_create(&ctx, NULL) != CLQ_OK) return 1;
    clq_status st = clq_model_load(&model, ctx, argv[1], NULL);
    if (st == CLQ_OK) st = clq_model_summarize(&summary, model);
    if (st == CLQ_OK) printf("clquant %s: %d nodes\n", CLQ_VERSION, summary.nodes);
    else fprintf(stderr, "%s: %s\n", clq_status_name(st), clq_error_message(ctx));
    clq_model_free(model);
    clq_context_free(ctx);
    return st != CLQ_OK;
}
