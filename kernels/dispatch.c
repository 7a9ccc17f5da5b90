/* SPDX-License-Identifier: Apache-2.0
 * Fills the kernel table: the reference first, then the compiled-in lists in ladder order; a later row wins. */
#include "kernels/functions.h"

#include <string.h>

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

const char *clq_kernels_variant(const struct clq_kernels *table, const char *op)
{
#define CLQ_OP(name, args, stem)                                                                                       \
    if (strcmp(#name, op) == 0) return table->variant.name;
#include "kernels/ops.def"
#undef CLQ_OP
    return NULL;
}

/* True for op itself and for op_plan and op_pack. */
static bool belongs(const char *name, const char *op)
{
    const size_t n = strlen(op);
    return strncmp(name, op, n) == 0 && (!name[n] || strcmp(name + n, "_plan") == 0 || strcmp(name + n, "_pack") == 0);
}

void clq_kernels_take(struct clq_kernels *out, const struct clq_kernels *from, const char *op)
{
#define CLQ_OP(name, args, stem)                                                                                       \
    if (belongs(#name, op)) {                                                                                          \
        out->name = from->name;                                                                                        \
        out->variant.name = from->variant.name;                                                                        \
    }
#include "kernels/ops.def"
#undef CLQ_OP
}
