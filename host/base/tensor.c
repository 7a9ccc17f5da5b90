/* SPDX-License-Identifier: Apache-2.0
 * Element types and array sizes. */
#include <clquant/tensor.h>

#include "base/size.h"

static const struct {
    clq_dtype dtype;
    unsigned bits;
    const char *name;
} types[] = {
    {CLQ_DTYPE_F32, 32, "float32"},  {CLQ_DTYPE_U8, 8, "uint8"},      {CLQ_DTYPE_S8, 8, "int8"},
    {CLQ_DTYPE_U16, 16, "uint16"},   {CLQ_DTYPE_S16, 16, "int16"},    {CLQ_DTYPE_S32, 32, "int32"},
    {CLQ_DTYPE_S64, 64, "int64"},    {CLQ_DTYPE_STRING, 0, "string"}, {CLQ_DTYPE_BOOL, 8, "bool"},
    {CLQ_DTYPE_F16, 16, "float16"},  {CLQ_DTYPE_F64, 64, "float64"},  {CLQ_DTYPE_U32, 32, "uint32"},
    {CLQ_DTYPE_U64, 64, "uint64"},   {CLQ_DTYPE_BF16, 16, "bfloat16"}, {CLQ_DTYPE_U4, 4, "uint4"},
    {CLQ_DTYPE_S4, 4, "int4"},       {CLQ_DTYPE_U2, 2, "uint2"},      {CLQ_DTYPE_S2, 2, "int2"},
    {CLQ_DTYPE_F8E4M3FN, 8, "float8e4m3fn"}, {CLQ_DTYPE_F8E4M3FNUZ, 8, "float8e4m3fnuz"},
    {CLQ_DTYPE_F8E5M2, 8, "float8e5m2"},     {CLQ_DTYPE_F8E5M2FNUZ, 8, "float8e5m2fnuz"},
    {CLQ_DTYPE_F8E8M0, 8, "float8e8m0"},     {CLQ_DTYPE_F4E2M1, 4, "float4e2m1"},
};

unsigned clq_dtype_bits(clq_dtype dtype)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].dtype == dtype) return types[i].bits;
    return 0;
}

const char *clq_dtype_name(clq_dtype dtype)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].dtype == dtype) return types[i].name;
    return dtype == CLQ_DTYPE_NONE ? "none" : "unknown";
}

clq_status clq_tensor_elements(size_t *out, const clq_tensor *tensor)
{
    size_t n = 1, d;
    if (tensor->rank < 0 || tensor->rank > CLQ_MAX_RANK) return CLQ_ERR_INVALID_ARGUMENT;
    for (int i = 0; i < tensor->rank; i++)
        if (!clq_size_from_i64(&d, tensor->shape[i]) || !clq_size_mul(&n, n, d)) return CLQ_ERR_INVALID_ARGUMENT;
    *out = n;
    return CLQ_OK;
}

clq_status clq_tensor_bytes(size_t *out, const clq_tensor *tensor)
{
    size_t n;
    unsigned bits = clq_dtype_bits(tensor->dtype);
    if (bits == 0 || clq_tensor_elements(&n, tensor) != CLQ_OK || !clq_size_bits(out, n, bits))
        return CLQ_ERR_INVALID_ARGUMENT;
    return CLQ_OK;
}
