/* SPDX-License-Identifier: Apache-2.0
 * Which OpenCL kernels exist per operation, in the order in which they are tried, and what each needs. Data, and the
 * pure functions that say what a device may be offered: the choice is capability, then exact self-test, then measured
 * speed, never a device's name. */
#ifndef CLQ_KERNELS_CL_VARIANTS_H
#define CLQ_KERNELS_CL_VARIANTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Capabilities, as bits. */
enum {
    CLQ_CL_CAP_CPU = 1u << 0,     /* the device is a CPU: few wide work-items, no barriers */
    CLQ_CL_CAP_VNNI = 1u << 1,    /* that CPU is this host and has AVX512-VNNI, which the caller allows */
    CLQ_CL_CAP_LOCAL = 1u << 2,   /* a device that is no CPU, with local memory of its own and groups of 256 */
    CLQ_CL_CAP_DIVIDE = 1u << 3,  /* the build can ask for correctly rounded division */
    CLQ_CL_CAP_DENORM = 1u << 4,  /* subnormal numbers are kept */
    CLQ_CL_CAP_DOT_KHR = 1u << 5, /* cl_khr_integer_dot_product */
    CLQ_CL_CAP_DOT_PTX = 1u << 6, /* NVIDIA, compute capability 6.1 or more: dp4a */
    CLQ_CL_CAP_DOT_ARM = 1u << 7, /* cl_arm_integer_dot_product_accumulate_int8 */
    CLQ_CL_CAP_DOT_AMD = 1u << 8, /* AMD's compiler: the source asks __has_builtin for the instruction */
    CLQ_CL_CAP_MMA = 1u << 9,     /* NVIDIA, compute capability 8.0 or more: mma.sync, ldmatrix, cp.async */
    CLQ_CL_CAP_BY_NAME = 1u << 10 /* the caller names the variant: stand-ins in plain C, for tests and tools */
};

/* What a device says of itself. */
struct clq_cl_facts {
    bool is_cpu, divide, denorm;
    bool vnni; /* the host has AVX512-VNNI and the caller allows it */
    size_t max_group;
    uint64_t local_memory;       /* bytes */
    const char *extensions;      /* separated by spaces; NULL: none */
    unsigned nv_major, nv_minor; /* compute capability, 0.0 where the device has none */
    bool by_name;
};

/* CLQ_CL_CAP_* bits. */
unsigned clq_cl_capabilities(const struct clq_cl_facts *facts);

/* How a variant wants its weights packed; the objects are drawn in gemm.cl, product_mma.cl and the depthwise files. */
enum clq_cl_layout {
    CLQ_CL_PANELS,        /* [np/64][kp/4][64][4], each tap of k padded to a multiple of 4 */
    CLQ_CL_PANELS_SIGNED, /* the same for kernels that read activations as int8 = uint8 - 128 */
    CLQ_CL_FRAGMENTS,     /* [np/64][kp/64][8][32][16]: the registers of mma.sync, lane by lane */
    CLQ_CL_TAPS,          /* depthwise: [taps][np]; the kernel subtracts the zero point */
    CLQ_CL_LANES,         /* depthwise: four taps per lane, channels in the order of the kernel's lanes */
    CLQ_CL_GROUPS,        /* 4-bit weights in groups, kernels/groups.h without the header, then the bias */
    CLQ_CL_GROUPS_FLIPPED /* the same for kernels that read activations as uint8 = int8 + 128 */
};

struct clq_cl_variant {
    const char *op;      /* the family's name */
    const char *name;    /* of the variant */
    const char *source;  /* file of kernels/cl without .cl */
    const char *entry;   /* kernel function */
    const char *options; /* -D flags */
    unsigned needs;      /* all of these bits */
    bool groups;         /* local is fixed, and cover is what one work-group covers, {rows, columns}; otherwise local is
                            rounded down to what the device allows */
    unsigned local[2];   /* work-group size */
    unsigned cover[2];   /* without groups: elements, columns or rows of one work-item; 0: the launch decides */
    unsigned local_bytes; /* of local memory */
    enum clq_cl_layout layout;
};

extern const struct clq_cl_variant clq_cl_variants[];
extern const size_t clq_cl_variant_count;

/* True where a device with these capabilities and resources may build the variant. */
bool clq_cl_admits(const struct clq_cl_variant *variant, unsigned capabilities, size_t max_group, uint64_t local_memory);

/* The embedded text of kernels/cl/<name>, for example "common.clh"; generated at build time. A NULL name ends
 * the list. */
struct clq_cl_source {
    const char *name;
    const unsigned char *text;
    size_t bytes;
};
extern const struct clq_cl_source clq_cl_sources[];

#endif
