/* SPDX-License-Identifier: Apache-2.0
 * Operands of a problem on a device, one run, and its result. */
#include "cl_attempt.h"

#include <stdlib.h>

clq_status clq_cl_attempt_begin(struct clq_cl_attempt *a, struct clq_cl *cl, const struct clq_tune_problem *p,
                                struct clq_error *err)
{
    *a = (struct clq_cl_attempt){.cl = cl, .problem = p};
    if (p->kind == CLQ_TUNE_GEMM) CLQ_TRY(clq_cl_prepare_gemm(&a->weight, cl, false, &p->args.gemm, err));
    if (p->kind == CLQ_TUNE_CONV) CLQ_TRY(clq_cl_prepare_conv(&a->weight, cl, &p->args.conv, err));
    if (p->kind == CLQ_TUNE_GEMM_U4) CLQ_TRY(clq_cl_prepare_u4(&a->u4, cl, &p->args.u4, err));
    CLQ_TRY(clq_cl_alloc(&a->x, cl, p->x_bytes, err));
    CLQ_TRY(clq_cl_upload(cl, &a->x, p->x, p->x_bytes, err));
    if (p->b) {
        CLQ_TRY(clq_cl_alloc(&a->b, cl, p->b_bytes, err));
        CLQ_TRY(clq_cl_upload(cl, &a->b, p->b, p->b_bytes, err));
    }
    return clq_cl_alloc(&a->y, cl, p->y_bytes, err);
}

clq_status clq_cl_attempt_run(struct clq_cl_attempt *a, struct clq_error *err)
{
    const struct clq_tune_problem *p = a->problem;
    const struct clq_cl_io one = {.x = &a->x, .y = &a->y}, two = {.x = &a->x, .b = &a->b, .y = &a->y};
    switch (p->kind) {
    case CLQ_TUNE_GEMM: return clq_cl_gemm(a->cl, a->weight, &p->args.gemm, &one, err);
    case CLQ_TUNE_GEMM_U4: return clq_cl_gemm_u4(a->cl, a->u4, &p->args.u4, &two, err);
    case CLQ_TUNE_CONV: return clq_cl_conv(a->cl, a->weight, &p->args.conv, &one, err);
    case CLQ_TUNE_QUANTIZE_U8: return clq_cl_quantize(a->cl, false, &p->args.quantize, &one, err);
    case CLQ_TUNE_QUANTIZE_S8: return clq_cl_quantize(a->cl, true, &p->args.quantize, &one, err);
    case CLQ_TUNE_DEQUANTIZE_U8: return clq_cl_dequantize(a->cl, false, &p->args.dequantize, &one, err);
    case CLQ_TUNE_DEQUANTIZE_S8: return clq_cl_dequantize(a->cl, true, &p->args.dequantize, &one, err);
    case CLQ_TUNE_ADD: return clq_cl_add(a->cl, &p->args.binary, &two, err);
    case CLQ_TUNE_MUL: return clq_cl_mul(a->cl, &p->args.binary, &two, err);
    case CLQ_TUNE_LUT: return clq_cl_lut(a->cl, &p->args.lut, &one, err);
    case CLQ_TUNE_GEMM_S8: break;
    }
    return clq_fail(err, CLQ_ERR_INTERNAL, "tuning: a problem that devices are not given");
}

clq_status clq_cl_attempt_check(struct clq_cl_attempt *a, struct clq_error *err)
{
    const struct clq_tune_problem *p = a->problem;
    unsigned char *got = malloc(p->y_bytes);
    if (!got) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "tuning: out of memory");
    clq_status st = clq_cl_attempt_run(a, err);
    if (st == CLQ_OK) st = clq_cl_download(got, a->cl, &a->y, p->y_bytes, err);
    if (st == CLQ_OK) st = clq_tune_problem_compare(p, got, err);
    free(got);
    return st;
}

void clq_cl_attempt_end(struct clq_cl_attempt *a)
{
    if (!a->cl) return;
    clq_cl_release(a->cl, &a->x);
    clq_cl_release(a->cl, &a->b);
    clq_cl_release(a->cl, &a->y);
    clq_cl_weight_free(a->cl, a->weight);
    clq_cl_u4_free(a->cl, a->u4);
    *a = (struct clq_cl_attempt){0};
}
