/* SPDX-License-Identifier: Apache-2.0
 * Declares every version of every kernel from the .def files: clq_<op>_<variant>. For kernel sources, dispatch.c and
 * tests; everything else goes through struct clq_kernels. */
#ifndef CLQ_KERNELS_FUNCTIONS_H
#define CLQ_KERNELS_FUNCTIONS_H

#include "kernels/kernels.h"

#define CLQ_OP(name, args, stem)                                                                                       \
    typedef void clq_##name##_fn(struct args *);                                                                       \
    void clq_##name##_ref(struct args *);
#include "kernels/ops.def"
#undef CLQ_OP

#define CLQ_KERNEL(op, version, needs) clq_##op##_fn clq_##op##_##version;
#define CLQ_KERNEL_FILE(stem)
#include "kernels/versions.def"
#undef CLQ_KERNEL_FILE
#undef CLQ_KERNEL

#endif
