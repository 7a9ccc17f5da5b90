/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: the NPY header; a header that passes must describe exactly the bytes there are. */
#include <stdlib.h>

#include "formats/npy.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct clq_npy npy;
    struct clq_error err;
    size_t bytes, head = n < CLQ_NPY_HEAD ? n : CLQ_NPY_HEAD;
    if (clq_npy_parse(&npy, data, head, n, "fuzz", &err) != CLQ_OK) return 0;
    if (clq_tensor_bytes(&bytes, &npy.tensor) != CLQ_OK || bytes != npy.bytes || npy.offset + npy.bytes != n) abort();
    return 0;
}
