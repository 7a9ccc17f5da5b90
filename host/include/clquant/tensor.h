/* SPDX-License-Identifier: Apache-2.0
 *
 * tensor.h - element types and the plain view of a dense array.
 *
 * A clq_tensor borrows its memory: it owns nothing and copies nothing. Data is dense, row-major (the last axis is
 * contiguous) and little-endian.
 *
 *     float x[2 * 3] = {0};
 *     clq_tensor t = {.dtype = CLQ_DTYPE_F32, .rank = 2, .shape = {2, 3}, .data = x};
 *     size_t bytes;
 *     clq_tensor_bytes(&bytes, &t);   // 24
 */
#ifndef CLQUANT_TENSOR_H
#define CLQUANT_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clquant/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CLQ_MAX_RANK 8

/* Element types. The numbers are those of ONNX TensorProto.DataType, so that no second table is needed. */
typedef enum clq_dtype {
    CLQ_DTYPE_NONE = 0,
    CLQ_DTYPE_F32 = 1,
    CLQ_DTYPE_U8 = 2,
    CLQ_DTYPE_S8 = 3,
    CLQ_DTYPE_U16 = 4,
    CLQ_DTYPE_S16 = 5,
    CLQ_DTYPE_S32 = 6,
    CLQ_DTYPE_S64 = 7,
    CLQ_DTYPE_STRING = 8, /* never has data in a clq_tensor */
    CLQ_DTYPE_BOOL = 9,   /* one byte, 0 or 1 */
    CLQ_DTYPE_F16 = 10,
    CLQ_DTYPE_F64 = 11,
    CLQ_DTYPE_U32 = 12,
    CLQ_DTYPE_U64 = 13,
    CLQ_DTYPE_BF16 = 16,
    CLQ_DTYPE_F8E4M3FN = 17,
    CLQ_DTYPE_F8E4M3FNUZ = 18,
    CLQ_DTYPE_F8E5M2 = 19,
    CLQ_DTYPE_F8E5M2FNUZ = 20,
    CLQ_DTYPE_U4 = 21, /* element 2i in the low nibble of byte i */
    CLQ_DTYPE_S4 = 22,
    CLQ_DTYPE_F4E2M1 = 23, /* packed as U4 */
    CLQ_DTYPE_F8E8M0 = 24, /* powers of two from 2^-127 to 2^127, and NaN */
    CLQ_DTYPE_U2 = 25,     /* element 4i in the lowest two bits of byte i */
    CLQ_DTYPE_S2 = 26
} clq_dtype;

/* A dense array. Rank 0 is a scalar with one element; a dimension of 0 is an empty array. */
typedef struct clq_tensor {
    clq_dtype dtype;
    int rank;                     /* 0 .. CLQ_MAX_RANK */
    int64_t shape[CLQ_MAX_RANK];  /* each >= 0; entries from rank on are ignored */
    void *data;                   /* borrowed; may be NULL when the array is empty */
} clq_tensor;

/* The size of one element in bits (4 and 2 for the packed types), or 0 for an unknown or variable type. */
CLQ_API unsigned clq_dtype_bits(clq_dtype dtype);

/* The name that messages and NPY users know: "float32", "int8", ... Never NULL. */
CLQ_API const char *clq_dtype_name(clq_dtype dtype);

/* The number of elements and of bytes (packed types round up to a whole byte).
 * CLQ_ERR_INVALID_ARGUMENT if the rank is out of range, a dimension is negative or the product overflows. */
CLQ_API clq_status clq_tensor_elements(size_t *out, const clq_tensor *tensor);
CLQ_API clq_status clq_tensor_bytes(size_t *out, const clq_tensor *tensor);

#ifdef __cplusplus
}
#endif
#endif
