/* SPDX-License-Identifier: Apache-2.0
 * onnx_copy IN OUT: reads a model and writes it, for checks against other programs (onnx_roundtrip.py). */
#include <stdio.h>

#include "formats/format.h"

int main(int argc, char **argv)
{
    struct clq_model model;
    struct clq_error err = {""};
    if (argc != 3) return 2;
    clq_status status = clq_model_read(&model, argv[1], &err);
    if (status == CLQ_OK) status = clq_model_write(argv[2], &model, true, &err);
    if (status != CLQ_OK) fprintf(stderr, "%s: %s\n", clq_status_name(status), err.text);
    clq_model_release(&model);
    return status == CLQ_OK ? 0 : 1;
}
