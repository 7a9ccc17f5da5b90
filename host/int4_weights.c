/* SPDX-License-Identifier: Apache-2.0
 * Float weights to 4-bit codes in groups. */
#include <clquant/int4.h>

#include <math.h>
#include <string.h>

#include "base/size.h"
#include "buffers.h"
#include "kernels/ref/code.h"
#include "ops/convert.h"

size_t clq_int4_groups(size_t k, size_t group)
{
    return k == 0 ? 0 : group == 0 ? 1 : (k - 1) / group + 1;
}

/* Where one group's results go. */
struct place {
    uint8_t *row;       /* codes of the whole row */
    size_t first, n;    /* its elements */
    void *scale;
    size_t at;          /* of the scale and the zero point */
    uint8_t *zero_point; /* or NULL */
};

/* A scale as it is stored, or 0 where binary16 cannot hold it. Subnormal binary16 is fine: it is normal once widened. */
static float store_scale(void *scale, size_t at, double v, clq_dtype dtype)
{
    float f = (float)v;
    if (f < 0x1p-126f) f = 0x1p-126f;
    if (dtype == CLQ_DTYPE_F32) {
        ((float *)scale)[at] = f;
        return f;
    }
    uint16_t half = clq_to_f16(f);
    if (half == 0) half = 1;
    ((uint16_t *)scale)[at] = half;
    f = clq_from_f16(half);
    return isfinite(f) ? f : 0;
}

static bool quantize_group(const struct place *p, const float *w, clq_dtype dtype)
{
    float least = 0, most = 0;
    for (size_t i = 0; i < p->n; i++) {
        least = w[i] < least ? w[i] : least;
        most = w[i] > most ? w[i] : most;
    }
    const double reach = -least > most ? -(double)least : (double)most, range = (double)most - (double)least;
    double wanted = p->zero_point ? range / 15 : reach / 7;
    if (range == 0) wanted = 1;
    const float scale = store_scale(p->scale, p->at, wanted, dtype);
    if (scale == 0) return false;
    int32_t zero = 8, lo = 1;
    if (p->zero_point) {
        const double z = rint(-(double)least / (double)scale);
        zero = z > 15 ? 15 : (int32_t)z;
        lo = 0;
        p->zero_point[p->at] = (uint8_t)zero;
    }
    for (size_t i = 0; i < p->n; i++) {
        const size_t k = p->first + i;
        const unsigned code = (unsigned)clq_code_ref(w[i], scale, zero, lo, 15);
        uint8_t *byte = p->row + k / 2;
        *byte = (uint8_t)(k % 2 ? (*byte & 15u) | code << 4 : code);
    }
    return true;
}

static clq_status check(struct clq_error *err, const uint8_t *codes, const void *scale, const clq_int4_weights *w)
{
    size_t count;
    if (!w || !codes || !scale || !w->weight)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "clq_quantize_int4: %s is NULL", !w ? "weights" : !codes ? "codes" : scale ? "weight" : "scale");
    if (w->n < 1 || w->k < 1 || !clq_size_mul(&count, w->n, w->k) || count > PTRDIFF_MAX / 4)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "clq_quantize_int4: a weight of %zu x %zu is empty or does not fit into memory", w->n, w->k);
    if (w->scale_dtype != CLQ_DTYPE_F32 && w->scale_dtype != CLQ_DTYPE_F16)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "clq_quantize_int4: scale_dtype: expected float32 or float16, got %s", clq_dtype_name(w->scale_dtype));
    for (size_t i = 0; i < count; i++)
        if (!isfinite(w->weight[i])) return clq_fail(err, CLQ_ERR_NUMERIC, "clq_quantize_int4: weight[%zu] is %g", i, (double)w->weight[i]);
    return CLQ_OK;
}

clq_status clq_quantize_int4(clq_context *ctx, uint8_t *codes, void *scale, uint8_t *zero_point, const clq_int4_weights *w)
{
    if (!ctx) return CLQ_ERR_INVALID_ARGUMENT;
    CLQ_TRY(check(&ctx->error, codes, scale, w));
    const size_t group = w->group == 0 || w->group > w->k ? w->k : w->group, groups = clq_int4_groups(w->k, group), row = (w->k + 1) / 2;
    for (size_t n = 0; n < w->n; n++) {
        for (size_t i = 0; i < groups; i++) {
            const size_t first = i * group, left = w->k - first;
            const struct place p = {codes + n * row, first, left < group ? left : group, scale, n * groups + i, zero_point};
            if (!quantize_group(&p, w->weight + n * w->k + first, w->scale_dtype))
                return clq_fail(&ctx->error, CLQ_ERR_NUMERIC, "clq_quantize_int4: the scale of row %zu, group %zu exceeds float16", n, i);
        }
    }
    return CLQ_OK;
}
