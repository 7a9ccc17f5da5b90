/* SPDX-License-Identifier: Apache-2.0
 * Data sets, labels and the values of tensors of any type. */
#include "samples.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int cli_open_data(struct cli *cli, clq_data **out, const clq_model *model, const char *path, const clq_data_options *options)
{
    clq_status st = clq_data_open(out, cli->ctx, model, path, options);
    return st == CLQ_OK ? CLI_GO_ON : cli_fail(cli, st);
}

/* Element i of a packed type. */
static unsigned packed_at(const void *p, size_t i, unsigned bits)
{
    return ((const uint8_t *)p)[i * bits / 8] >> (i * bits % 8) & ((1u << bits) - 1);
}

bool cli_read_whole(int64_t *out, const clq_tensor *t, size_t n)
{
    const void *p = t->data;
    for (size_t i = 0; i < n; i++) {
        switch (t->dtype) {
        case CLQ_DTYPE_U8:
        case CLQ_DTYPE_BOOL: out[i] = ((const uint8_t *)p)[i]; break;
        case CLQ_DTYPE_S8: out[i] = ((const int8_t *)p)[i]; break;
        case CLQ_DTYPE_U16: out[i] = ((const uint16_t *)p)[i]; break;
        case CLQ_DTYPE_S16: out[i] = ((const int16_t *)p)[i]; break;
        case CLQ_DTYPE_S32: out[i] = ((const int32_t *)p)[i]; break;
        case CLQ_DTYPE_U32: out[i] = ((const uint32_t *)p)[i]; break;
        case CLQ_DTYPE_S64:
        case CLQ_DTYPE_U64: out[i] = ((const int64_t *)p)[i]; break;
        case CLQ_DTYPE_U4:
        case CLQ_DTYPE_F4E2M1: out[i] = packed_at(p, i, 4); break;
        case CLQ_DTYPE_S4: out[i] = (int)(packed_at(p, i, 4) ^ 8) - 8; break;
        case CLQ_DTYPE_U2: out[i] = packed_at(p, i, 2); break;
        case CLQ_DTYPE_S2: out[i] = (int)(packed_at(p, i, 2) ^ 2) - 2; break;
        case CLQ_DTYPE_F8E4M3FN:
        case CLQ_DTYPE_F8E4M3FNUZ:
        case CLQ_DTYPE_F8E5M2:
        case CLQ_DTYPE_F8E5M2FNUZ:
        case CLQ_DTYPE_F8E8M0: out[i] = ((const uint8_t *)p)[i]; break;
        default: return false;
        }
    }
    return true;
}

static double widen_f16(uint16_t h)
{
    int exponent = h >> 10 & 31;
    double fraction = h & 1023, sign = h & 0x8000 ? -1.0 : 1.0;
    if (exponent == 31) return fraction > 0 ? (double)NAN : sign * (double)INFINITY;
    return sign * (exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24));
}

static double widen_bf16(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return (double)f;
}

bool cli_read_real(double *out, const clq_tensor *t, size_t n)
{
    const void *p = t->data;
    for (size_t i = 0; i < n; i++) {
        switch (t->dtype) {
        case CLQ_DTYPE_F32: out[i] = (double)((const float *)p)[i]; break;
        case CLQ_DTYPE_F64: out[i] = ((const double *)p)[i]; break;
        case CLQ_DTYPE_F16: out[i] = widen_f16(((const uint16_t *)p)[i]); break;
        case CLQ_DTYPE_BF16: out[i] = widen_bf16(((const uint16_t *)p)[i]); break;
        default: return false;
        }
    }
    return true;
}

/* The one array of a file, in *bundle, which the caller frees in any case. */
static int load_array(struct cli *cli, clq_bundle **bundle, const clq_tensor **t, size_t *n, const char *what, const char *path)
{
    clq_status st = clq_bundle_load(bundle, cli->ctx, path);
    if (st != CLQ_OK) return cli_fail(cli, st);
    *t = clq_bundle_count(*bundle) == 1 ? clq_bundle_tensor(*bundle, 0) : NULL;
    if (!*t) return cli_usage(cli, "%s '%s': expected one array, found %zu", what, path, clq_bundle_count(*bundle));
    if (clq_tensor_elements(n, *t) != CLQ_OK || *n == 0) return cli_usage(cli, "%s '%s': the array is empty", what, path);
    return CLI_GO_ON;
}

int cli_load_labels(struct cli *cli, struct cli_labels *out, const char *path)
{
    clq_bundle *bundle = NULL;
    const clq_tensor *t = NULL;
    *out = (struct cli_labels){0};
    if (!path) return CLI_GO_ON;
    int code = load_array(cli, &bundle, &t, &out->n, "labels", path);
    if (code == CLI_GO_ON) {
        out->value = cli_alloc(out->n * sizeof *out->value);
        out->length = t->rank > 0 ? (size_t)t->shape[t->rank - 1] : 1;
        if (!cli_read_whole(out->value, t, out->n)) {
            code = cli_usage(cli, "labels '%s': expected whole numbers, found %s", path, clq_dtype_name(t->dtype));
            free(out->value);
            out->value = NULL;
        }
    }
    clq_bundle_free(bundle);
    return code;
}

int cli_load_scores(struct cli *cli, double **scores, size_t *n, const char *path)
{
    clq_bundle *bundle = NULL;
    const clq_tensor *t = NULL;
    if (!path) return CLI_GO_ON;
    int code = load_array(cli, &bundle, &t, n, "scores", path);
    if (code == CLI_GO_ON) {
        *scores = cli_alloc(*n * sizeof **scores);
        if (!cli_read_real(*scores, t, *n)) code = cli_usage(cli, "scores '%s': expected real numbers, found %s", path, clq_dtype_name(t->dtype));
        for (size_t i = 0; i < *n && code == CLI_GO_ON; i++)
            if (!isfinite((*scores)[i])) code = cli_usage(cli, "scores '%s': element %zu is not finite", path, i);
    }
    clq_bundle_free(bundle);
    return code;
}
