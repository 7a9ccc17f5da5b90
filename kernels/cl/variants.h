/* SPDX-License-Identifier: Apache-2.0
 * Which OpenCL kernels exist per operation, in the order in which they are tried, and what each needs. Data only: the
 * choice is capability, then exact self-test, then measured speed, never a device's name. */
#ifndef CLQ_KERNELS_CL_VARIANTS_H
#define CLQ_KERNELS_CL_VARIANTS_H

#include <stddef.h>

/* Capabilities, as bits. */
enum {
    CLQ_CL_CAP_CPU = 1u << 0,    /* the device is a CPU: few wide work-items, no barriers */
    CLQ_CL_CAP_VNNI = 1u << 1,   /* that CPU is this host and has AVX512-VNNI, which the caller allows */
    CLQ_CL_CAP_LOCAL = 1u << 2,  /* a device that is no CPU, with 16 KiB of local memory and groups of 256 */
    CLQ_CL_CAP_DIVIDE = 1u << 3, /* the build can ask for correctly rounded division */
    CLQ_CL_CAP_DENORM = 1u << 4, /* subnormal numbers are kept */
    CLQ_CL_CAP_DOT_KHR = 1u << 5, /* cl_khr_integer_dot_product with packed operands */
    CLQ_CL_CAP_DOT_PTX = 1u << 6, /* NVIDIA, compute capability 6.1 or more: dp4a */
    CLQ_CL_CAP_LOCAL_ANY = 1u << 7 /* 16 KiB of local memory and groups of 256, CPUs included */
};

struct clq_cl_variant {
    const char *op;      /* the family's name */
    const char *name;    /* of the variant */
    const char *source;  /* file of kernels/cl without .cl */
    const char *entry;   /* kernel function */
    const char *options; /* -D flags */
    unsigned needs;      /* all of these bits */
    unsigned local[2];   /* work-group size, rounded down to what the device allows only where that is harmless: (1, 1)
                            and the sizes of "tile" are fixed */
    unsigned cover[2];   /* elements, columns or rows that one work-item (local > 1) or group covers per dimension; 0:
                            the launch decides */
};

extern const struct clq_cl_variant clq_cl_variants[];
extern const size_t clq_cl_variant_count;

/* The embedded text of kernels/cl/<name>, for example "common.clh"; generated at build time. A NULL name ends
 * the list. */
struct clq_cl_source {
    const char *name;
    const unsigned char *text;
    size_t bytes;
};
extern const struct clq_cl_source clq_cl_sources[];

#endif
