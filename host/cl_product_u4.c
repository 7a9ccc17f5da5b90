/* SPDX-License-Identifier: Apache-2.0
 * Products with 4-bit weights in groups: packing once, and runs. The packed object is drawn in kernels/cl/gemm_u4.cl. */
#include "cl_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "kernels/groups.h"
#include "kernels/limbs.h"

enum { MAX_K = 1 << 24, MAX_N = 1 << 24, FLIPPED_GAP = 64 };

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
    clq_cl_find_gemv(cl, CLQ_CL_GEMM_U4, CLQ_CL_GEMV_U4);
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

/* What a run reads: rows of codes with a scale each or per group, or of integers with the units of their pieces. */
struct rows {
    enum clq_cl_family family;
    const void *a;
    const float *scale;
    size_t lda, element, scales; /* per row */
};

static clq_status run(struct clq_cl *cl, const struct clq_cl_u4 *w, const struct clq_gemm_u4_args *g, const struct rows *r, const struct clq_cl_io *io,
                      struct clq_error *err)
{
    struct clq_cl_launch l;
    struct clq_cl_binding b = {.cl = cl};
    size_t in = g->m - 1, out = g->m - 1;
    if (!clq_size_mul(&in, in, r->lda) || !clq_size_add(&in, in, w->k) || !clq_size_mul(&in, in, r->element) || !clq_size_mul(&out, out, g->ldy) ||
        !clq_size_add(&out, out, w->n) || !clq_size_mul(&out, out, 4) || r->lda < w->k || g->ldy < w->n || g->m > INT32_MAX)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "OpenCL: 4-bit product m=%zu with strides %zu and %zu is out of range", g->m, r->lda, g->ldy);
    CLQ_TRY(clq_cl_begin(&l, cl, r->family, err));
    const struct clq_cl_operand *a = clq_cl_bind(&b, io->x, r->a, in, false, err);
    const struct clq_cl_operand *s = a ? clq_cl_bind(&b, io->b, r->scale, 4 * g->m * r->scales, false, err) : NULL;
    /* Bytes between the rows of a staged output would be overwritten with stale ones: such a run needs them in. */
    const bool gaps = !io->y && g->ldy > w->n;
    const struct clq_cl_operand *y = s ? clq_cl_bind(&b, io->y, g->y, out, !gaps, err) : NULL;
    if (!y) return clq_cl_unbind(&b, b.status, err);
    if (gaps) b.operand[2].output = true;
    /* Flipped rows have a gap, for the reason of clq_groups_distance. */
    const bool flips = l.family->variant->layout == CLQ_CL_GROUPS_FLIPPED && !g->flipped;
    const size_t lda = flips ? (w->k + 63) / 64 * 64 + FLIPPED_GAP : r->lda;
    clq_status st = flips ? clq_cl_flip(cl, a, g->m, w->k, r->lda, lda, err) : CLQ_OK;
    if (flips) clq_cl_arg_mem(&l, cl->flipped.mem, cl->flipped.offset);
    else clq_cl_arg_mem(&l, a->mem, a->at);
    clq_cl_arg_u64(&l, lda);
    clq_cl_arg_mem(&l, s->mem, s->at / 4);
    clq_cl_arg_mem(&l, w->buffer.mem, w->buffer.offset);
    clq_cl_arg_mem(&l, y->mem, y->at / 4);
    clq_cl_arg_u64(&l, g->ldy);
    const int64_t rest[] = {(int64_t)g->m, (int64_t)w->n, (int64_t)w->k, (int64_t)w->group, g->flipped || flips ? 128 : 0, w->f16, w->zeros, w->biased, (int64_t)r->scales};
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) clq_cl_arg_int(&l, rest[i]);
    if (st == CLQ_OK) st = clq_cl_enqueue_product(&l, g->m, w->n, err);
    return clq_cl_unbind(&b, st, err);
}

clq_status clq_cl_gemm_u4(struct clq_cl *cl, const struct clq_cl_u4 *w, const struct clq_gemm_u4_args *g, const struct clq_cl_io *io,
                          struct clq_error *err)
{
    static const struct clq_cl_io no_io;
    const bool few = g->m <= cl->few_rows && cl->family[CLQ_CL_GEMV_U4].kernel;
    const struct rows r = {.family = few ? CLQ_CL_GEMV_U4 : CLQ_CL_GEMM_U4, .a = g->a, .scale = g->scale_a, .lda = g->lda, .element = 1, .scales = 1};
    return g->m == 0 ? CLQ_OK : run(cl, w, g, &r, io ? io : &no_io, err);
}

clq_status clq_cl_gemm_u4_grouped(struct clq_cl *cl, const struct clq_cl_u4 *w, const struct clq_gemm_u4_args *g, struct clq_error *err)
{
    static const struct clq_cl_io no_io;
    const struct rows r = {
        .family = CLQ_CL_GEMM_U4_GROUPED, .a = g->a, .scale = g->scale_a, .lda = g->lda, .element = 1, .scales = (w->k - 1) / w->group + 1};
    return g->m == 0 ? CLQ_OK : run(cl, w, g, &r, &no_io, err);
}

/* ---- Real rows ---- */

static struct clq_limbs limbs_of(const float *x, size_t n)
{
    uint32_t most = 0, bits;
    for (size_t i = 0; i < n; i++) {
        memcpy(&bits, x + i, sizeof bits);
        bits &= INT32_MAX;
        if (bits > most) most = bits;
    }
    return clq_limbs_of(most);
}

/* Writes the integers of one row and returns the number of its pieces, whose units it writes unless that is NULL. */
static size_t split_row(int32_t *q, float *unit, const float *x, const struct clq_cl_u4 *w)
{
    size_t pieces = 0;
    for (size_t begin = 0, end, group = w->group; begin < w->k; begin = end, pieces++) {
        const size_t stop = w->k - begin / group * group < group ? w->k : (begin / group + 1) * group;
        end = stop - begin < CLQ_U4_PIECE ? stop : begin + CLQ_U4_PIECE;
        if (!unit) continue;
        const struct clq_limbs l = limbs_of(x + begin, end - begin);
        unit[pieces] = l.unit;
        for (size_t k = begin; k < end; k++) {
            float v; /* the caller's rows may lie at any address */
            memcpy(&v, x + k, sizeof v);
            q[k] = isfinite(l.unit) ? (int32_t)rintf(v * l.inverse) : 0;
        }
    }
    return pieces;
}

clq_status clq_cl_gemm_u4_real(struct clq_cl *cl, const struct clq_cl_u4 *w, const struct clq_gemm_u4_args *g, struct clq_error *err)
{
    static const struct clq_cl_io no_io;
    if (g->m == 0) return CLQ_OK;
    struct rows r = {.family = CLQ_CL_GEMM_U4_REAL, .lda = w->k, .element = 4, .scales = split_row(NULL, NULL, NULL, w)};
    size_t each, bytes;
    if (!clq_size_add(&each, w->k, r.scales) || !clq_size_mul(&bytes, g->m, each) || !clq_size_mul(&bytes, bytes, 4)) bytes = SIZE_MAX;
    int32_t *q = bytes > PTRDIFF_MAX ? NULL : malloc(bytes);
    if (!q) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "OpenCL: out of memory for %zu rows of a 4-bit product", g->m);
    float *unit = (float *)(q + g->m * w->k);
    for (size_t i = 0; i < g->m; i++) split_row(q + i * w->k, unit + i * r.scales, (const float *)g->a + i * g->lda, w);
    r.a = q;
    r.scale = unit;
    clq_status st = run(cl, w, g, &r, &no_io, err);
    free(q);
    return st;
}
