/* SPDX-License-Identifier: Apache-2.0
 * Fills the kernel table: the reference first, then the compiled-in lists in ladder order; a later row wins. */
#include "kernels/functions.h"

void clq_kernels_init(struct clq_kernels *out, unsigned cpu)
{
#define CLQ_OP(name, args, stem)                                                                                       \
    out->name = clq_##name##_ref;                                                                                      \
    out->variant.name = "ref";
#include "kernels/ops.def"
#undef CLQ_OP

#define CLQ_KERNEL(op, version, needs)                                                                                 \
    if ((cpu & (needs)) == (needs)) {                                                                                  \
        out->op = clq_##op##_##version;                                                                                \
        out->variant.op = #version;                                                                                    \
    }
#define CLQ_KERNEL_FILE(stem)
#include "kernels/versions.def"
#undef CLQ_KERNEL_FILE
#undef CLQ_KERNEL
    (void)cpu; /* not read where no list is compiled in */
}
