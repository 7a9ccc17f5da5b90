/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: the ONNX reader; what it accepts must be written, and what is written must be read again. */
#include <stdlib.h>

#include "formats/onnx.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct clq_model m, back;
    struct clq_error err;
    unsigned char *bytes;
    size_t k;
    if (clq_onnx_decode(&m, data, n, NULL, &err) != CLQ_OK) return 0;
    if (clq_onnx_encode(&bytes, &k, &m, &err) == CLQ_OK) {
        if (clq_onnx_decode(&back, bytes, k, NULL, &err) != CLQ_OK) abort();
        clq_model_release(&back);
        free(bytes);
    }
    clq_model_release(&m);
    return 0;
}
