/* SPDX-License-Identifier: Apache-2.0
 * Products with 4-bit weights in groups: packing once, and runs. The packed object is drawn in kernels/cl/gemm_u4.cl. */
#include "cl_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "kernels/groups.h"

enum { MAX_K = 1 << 24, MAX_N = 1 << 24, ROWS = 4 };

struct clq_cl_u4 {
    struct clq_cl_buffer buffer;
    size_t n, k, group;
    bool f16, zeros, biased;
};

bool clq_cl_supports_u4(const struct clq_cl *cl, const struct clq_gemm_u4_args *g)
{
    (void)cl;
    return g->n > 0 && g->k > 0 && g->n <= MAX_N && g->k <= MAX_K && g->m <= INT32_MAX && (g->group % 8 == 0 || g->group >= g->k);
}

static clq_status pack(struct clq_cl_u4 *w, struct clq_cl *cl, const struct clq_gemm_u4_args *g, struct clq_error *err)
{
    const struct clq_groups p = clq_groups_make(g);
    const size_t panels = clq_groups_bytes(&p), columns = clq_groups_panels(g->n) * CLQ_GROUPS_WIDTH;
    char *data = calloc(1, panels + 4 * columns);
    if (!data) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "OpenCL: out of memory for a packed weight of %zu bytes", panels);
    clq_groups_pack(data, g);
    if (g->bias) memcpy(data + panels, g->bias, 4 * g->n);
    const size_t bytes = panels - sizeof p + 4 * columns;
    clq_status st = clq_cl_alloc(&w->buffer, cl, bytes, err);
    if (st == CLQ_OK) st = clq_cl_upload(cl, &w->buffer, data + sizeof p, bytes, err);
    if (st != CLQ_OK) clq_cl_release(cl, &w->buffer);
    free(data);
    return st;
}

clq_status clq_cl_prepare_u4(struct clq_cl_u4 **out, struct clq_cl *cl, const struct clq_gemm_u4_args *g, struct clq_error *err)
{
    struct clq_cl_launch l;
    if (!clq_cl_supports_u4(cl, g))
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "OpenCL device '%s': 4-bit product n=%zu k=%zu group=%zu is out of its range",
                        cl->info.name, g->n, g->k, g->group);
    CLQ_TRY(clq_cl_begin(&l, cl, CLQ_CL_GEMM_U4, err));
    struct clq_cl_u4 *w = malloc(sizeof *w);
    if (!w) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "OpenCL: out of memory for a weight");
    *w = (struct clq_cl_u4){
        .n = g->n,
        .k = g->k,
        .group = g->group < g->k ? g->group : g->k,
        .f16 = g->scale_f16,
        .zeros = g->zero_point != NULL,
        .biased = g->bias != NULL,
    };
    clq_status st = pack(w, cl, g, err);
    if (st == CLQ_OK) *out = w;
    else free(w);
    return st;
}

void clq_cl_u4_free(struct clq_cl *cl, struct clq_cl_u4 *weight)
{
    if (!weight) return;
    clq_cl_release(cl, &weight->buffer);
    free(weight);
}

clq_status clq_cl_gemm_u4(struct clq_cl *cl, const struct clq_cl_u4 *w, const struct clq_gemm_u4_args *g, const struct clq_cl_io *io,
                          struct clq_error *err)
{
    static const struct clq_cl_io no_io;
    struct clq_cl_launch l;
    struct clq_cl_binding b = {.cl = cl};
    if (g->m == 0) return CLQ_OK;
    if (!io) io = &no_io;
    size_t in = g->m - 1, out = g->m - 1;
    if (!clq_size_mul(&in, in, g->lda) || !clq_size_add(&in, in, w->k) || !clq_size_mul(&out, out, g->ldy) ||
        !clq_size_add(&out, out, w->n) || !clq_size_mul(&out, out, 4) || g->lda < w->k || g->ldy < w->n || g->m > INT32_MAX)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "OpenCL: 4-bit product m=%zu with strides %zu and %zu is out of range", g->m, g->lda, g->ldy);
    CLQ_TRY(clq_cl_begin(&l, cl, CLQ_CL_GEMM_U4, err));
    const struct clq_cl_operand *a = clq_cl_bind(&b, io->x, g->a, in, false, err);
    const struct clq_cl_operand *s = a ? clq_cl_bind(&b, io->b, g->scale_a, 4 * g->m, false, err) : NULL;
    /* Bytes between the rows of a staged output would be overwritten with stale ones: such a run needs them in. */
    const bool gaps = !io->y && g->ldy > w->n;
    const struct clq_cl_operand *y = s ? clq_cl_bind(&b, io->y, g->y, out, !gaps, err) : NULL;
    if (!y) return clq_cl_unbind(&b, b.status, err);
    if (gaps) b.operand[2].output = true;
    clq_cl_arg_mem(&l, a->mem, a->at);
    clq_cl_arg_u64(&l, g->lda);
    clq_cl_arg_mem(&l, s->mem, s->at / 4);
    clq_cl_arg_mem(&l, w->buffer.mem, w->buffer.offset);
    clq_cl_arg_mem(&l, y->mem, y->at / 4);
    clq_cl_arg_u64(&l, g->ldy);
    const int64_t rest[] = {(int64_t)g->m, (int64_t)w->n, (int64_t)w->k, (int64_t)w->group, g->flipped ? 128 : 0, w->f16, w->zeros, w->biased};
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) clq_cl_arg_int(&l, rest[i]);
    return clq_cl_unbind(&b, clq_cl_enqueue(&l, w->n, (g->m + ROWS - 1) / ROWS, err), err);
}
