/* SPDX-License-Identifier: Apache-2.0
 * Declares every reference kernel: clq_<op>_ref for each row of ops.def. */
#ifndef CLQ_KERNELS_REF_REF_H
#define CLQ_KERNELS_REF_REF_H

#include "kernels/kernels.h"

#define CLQ_OP(name, args) void clq_##name##_ref(struct args *);
#include "kernels/ops.def"
#undef CLQ_OP

#endif
