/* SPDX-License-Identifier: Apache-2.0
 * Rows of bytes copied to another distance, through a table or not; bits of ref/copy_rows.c. */
#include "kernels/copy_rows.h"
#include "kernels/functions.h"

void clq_copy_rows_u8_avx2(struct clq_copy_rows_args *v)
{
    clq_copy_rows_run(v, clq_lut_u8_avx2);
}
