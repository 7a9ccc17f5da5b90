/* SPDX-License-Identifier: Apache-2.0
 * The table of variants. "blocked" is the CPU shape of a generic kernel: one work-item per group walks a contiguous
 * span with vectors of 16. The names that hold "plain" have no special instruction: they stand in for the others where
 * indexing, layouts and barriers are tested, and run only by name. */
#include "kernels/cl/variants.h"

#include <string.h>

#define CLQ_BLOCKED_OPTIONS "-DCLQ_VEC=16 -DCLQ_BLOCKED=1"
#define CLQ_SPREAD_OPTIONS "-DCLQ_VEC=4 -DCLQ_BLOCKED=0"

#define CLQ_SPAN_ROWS(op, source)                                                                        \
    {op, "blocked", source, op, CLQ_BLOCKED_OPTIONS, CLQ_CL_CAP_CPU, false, {1, 1}, {0, 0}, 0, CLQ_CL_PANELS}, \
    {op, "generic", source, op, CLQ_SPREAD_OPTIONS, 0, false, {64, 1}, {0, 0}, 0, CLQ_CL_PANELS}
#define CLQ_WINDOW_ROWS(op, source, entry, needs)                                                        \
    {op, "blocked", source, entry, CLQ_BLOCKED_OPTIONS, CLQ_CL_CAP_CPU | (needs), false, {64, 1}, {0, 0}, 0, CLQ_CL_TAPS}, \
    {op, "generic", source, entry, CLQ_SPREAD_OPTIONS, needs, false, {64, 1}, {0, 0}, 0, CLQ_CL_TAPS}

/* F0 and F1. */
#define CLQ_GENERIC_ROW(op, source, entry)                                                               \
    {op, "generic", source, entry, "-DCLQ_ROWS=4", 0, false, {64, 1}, {1, 4}, 0, CLQ_CL_PANELS}
#define CLQ_X86_ROW(op, name, source, entry, options, rows, layout)                                      \
    {op, name, source, entry, options, CLQ_CL_CAP_CPU | CLQ_CL_CAP_VNNI, true, {1, 1}, {rows, 64}, 0, layout}
/* Many rows per group cost less each; few rows leave work for many cores. */
#define CLQ_X86_ROWS(op, conv)                                                                           \
    CLQ_X86_ROW(op, "x86_vnni", "product_x86", op, "-DCLQ_CONV=" #conv " -DCLQ_GROUP_ROWS=48", 48, CLQ_CL_PANELS), \
    CLQ_X86_ROW(op, "x86_vnni_12", "product_x86", op, "-DCLQ_CONV=" #conv " -DCLQ_GROUP_ROWS=12", 12, CLQ_CL_PANELS)

/* The same with 4-bit weights. */
#define CLQ_GENERIC_U4_ROW(op, options)                                                                  \
    {op, "generic", "gemm_u4", op, options, CLQ_CL_CAP_DENORM, false, {64, 1}, {1, 4}, 0, CLQ_CL_GROUPS}
#define CLQ_X86_U4_ROW(op, name, options, rows, bytes, layout)                                           \
    {op, name, "product_u4_x86", op, options, CLQ_CL_CAP_CPU | CLQ_CL_CAP_VNNI | CLQ_CL_CAP_DENORM, true, {1, 1}, \
     {rows, 64}, bytes, layout}

/* F2: rows x columns of results per group, 16 x 16 work-items. Local memory: two buffers of 8 words of k. */
#define CLQ_TILE_ROW(op, entry, name, dot, needs, rows, columns, layout)                                 \
    {op, name "_" #rows "x" #columns, "product_tile", entry,                                             \
     "-DCLQ_DOT=" #dot " -DCLQ_TM=" #rows "/16 -DCLQ_TN=" #columns "/16", needs, true, {16, 16}, {rows, columns}, \
     64 * (rows + 4 + columns), layout}
#define CLQ_TILE_ROWS(op, entry, name, dot, needs, layout)                                               \
    CLQ_TILE_ROW(op, entry, name, dot, needs, 64, 64, layout),                                           \
    CLQ_TILE_ROW(op, entry, name, dot, needs, 128, 64, layout),                                          \
    CLQ_TILE_ROW(op, entry, name, dot, needs, 128, 128, layout)
#define CLQ_ALL_TILE_ROWS(op, entry)                                                                     \
    CLQ_TILE_ROWS(op, entry, "tile_dp4a", 2, CLQ_CL_CAP_LOCAL | CLQ_CL_CAP_DOT_PTX, CLQ_CL_PANELS),      \
    CLQ_TILE_ROWS(op, entry, "tile_dot", 1, CLQ_CL_CAP_LOCAL | CLQ_CL_CAP_DOT_KHR, CLQ_CL_PANELS),       \
    CLQ_TILE_ROWS(op, entry, "tile_arm", 3, CLQ_CL_CAP_LOCAL | CLQ_CL_CAP_DOT_ARM, CLQ_CL_PANELS_SIGNED), \
    CLQ_TILE_ROWS(op, entry, "tile_amd", 4, CLQ_CL_CAP_LOCAL | CLQ_CL_CAP_DOT_AMD, CLQ_CL_PANELS_SIGNED), \
    CLQ_TILE_ROWS(op, entry, "tile", 0, CLQ_CL_CAP_LOCAL, CLQ_CL_PANELS)
#define CLQ_PLAIN_TILE_ROWS(op, entry)                                                                   \
    CLQ_TILE_ROWS(op, entry, "tile_plain", 0, CLQ_CL_CAP_BY_NAME, CLQ_CL_PANELS),                        \
    CLQ_TILE_ROW(op, entry, "tile_plain_signed", 5, CLQ_CL_CAP_BY_NAME, 64, 64, CLQ_CL_PANELS_SIGNED)

/* The products of few rows that belong to F2 and F5: a group has 256 work-items, 4 rows and so many columns. */
#define CLQ_GEMV_ROW(name, dot, columns, fragments, needs, layout)                                       \
    {"gemv_u8s8", name "_" #columns, "product_gemv", "gemv_u8s8",                                        \
     "-DCLQ_DOT=" #dot " -DCLQ_COLUMNS=" #columns " -DCLQ_FRAGMENTS=" #fragments, needs, true, {256, 1}, {4, columns}, \
     4096, layout}
#define CLQ_GEMV_ROWS(name, dot, fragments, needs, layout)                                               \
    CLQ_GEMV_ROW(name, dot, 16, fragments, needs, layout), CLQ_GEMV_ROW(name, dot, 64, fragments, needs, layout)

/* F2 with 4-bit weights: rows x 64 columns per group, and 4 rows x so many columns. */
#define CLQ_TILE_U4_ROW(name, dot, needs, rows)                                                          \
    {"gemm_s8u4", name "_" #rows "x64", "product_u4_tile", "gemm_s8u4", "-DCLQ_DOT=" #dot " -DCLQ_TM=" #rows "/16", \
     CLQ_CL_CAP_DENORM | (needs), true, {16, 16}, {rows, 64}, 64 * (rows + 4 + 64), CLQ_CL_GROUPS}
#define CLQ_TILE_U4_ROWS(name, dot, needs) CLQ_TILE_U4_ROW(name, dot, needs, 64), CLQ_TILE_U4_ROW(name, dot, needs, 128)
#define CLQ_GEMV_U4_ROW(name, dot, needs, columns)                                                       \
    {"gemv_s8u4", name "_" #columns, "product_u4_gemv", "gemv_s8u4", "-DCLQ_DOT=" #dot " -DCLQ_COLUMNS=" #columns, \
     CLQ_CL_CAP_DENORM | (needs), true, {256, 1}, {4, columns}, 16384, CLQ_CL_GROUPS}
#define CLQ_GEMV_U4_ROWS(name, dot, needs) CLQ_GEMV_U4_ROW(name, dot, needs, 16), CLQ_GEMV_U4_ROW(name, dot, needs, 64)

/* F5: rows x columns per group of 8 warps, of which warps_m share the rows; stages of 64 k in local memory. */
#define CLQ_MMA_ROW(name, options, needs, rows, columns, stages, share)                                  \
    {"gemm_u8s8", name "_" #rows "x" #columns, "product_mma", "gemm_u8s8",                               \
     options " -DCLQ_STAGES=" #stages, needs, true, {256, 1}, {rows, columns},                           \
     stages * 64 * (rows + columns) + share, CLQ_CL_FRAGMENTS}
#define CLQ_MMA_128x128 " -DCLQ_WARPS_M=2 -DCLQ_MI=4 -DCLQ_NI=4"
#define CLQ_MMA_128x64 " -DCLQ_WARPS_M=4 -DCLQ_MI=2 -DCLQ_NI=4"
#define CLQ_MMA_64x64 " -DCLQ_WARPS_M=2 -DCLQ_MI=2 -DCLQ_NI=2"

const struct clq_cl_variant clq_cl_variants[] = {
    CLQ_SPAN_ROWS("quantize_f32_u8", "quantize"),
    CLQ_SPAN_ROWS("quantize_f32_s8", "quantize"),
    CLQ_SPAN_ROWS("dequantize_u8_f32", "quantize"),
    CLQ_SPAN_ROWS("dequantize_s8_f32", "quantize"),
    CLQ_SPAN_ROWS("minmax_f32", "statistics"),
    CLQ_SPAN_ROWS("histogram_f32", "statistics"),
    CLQ_SPAN_ROWS("add_u8", "elementwise"),
    CLQ_SPAN_ROWS("mul_u8", "elementwise"),
    CLQ_SPAN_ROWS("lut_u8", "elementwise"),
    CLQ_SPAN_ROWS("flip_s8", "elementwise"),
    CLQ_WINDOW_ROWS("maxpool_u8", "pool", "maxpool_u8", 0),
    CLQ_WINDOW_ROWS("avgpool_u8", "pool", "avgpool_u8", CLQ_CL_CAP_DIVIDE),
    CLQ_X86_ROWS("gemm_u8s8", 0),
    CLQ_MMA_ROW("mma", "-DCLQ_MMA=1" CLQ_MMA_128x128, CLQ_CL_CAP_MMA, 128, 128, 3, 0),
    CLQ_MMA_ROW("mma", "-DCLQ_MMA=1" CLQ_MMA_128x64, CLQ_CL_CAP_MMA, 128, 64, 4, 0),
    CLQ_MMA_ROW("mma", "-DCLQ_MMA=1" CLQ_MMA_64x64, CLQ_CL_CAP_MMA, 64, 64, 4, 0),
    CLQ_ALL_TILE_ROWS("gemm_u8s8", "gemm_u8s8"),
    CLQ_GENERIC_ROW("gemm_u8s8", "gemm", "gemm_u8s8"),
    CLQ_PLAIN_TILE_ROWS("gemm_u8s8", "gemm_u8s8"),
    CLQ_MMA_ROW("mma_plain", "-DCLQ_MMA=0" CLQ_MMA_128x128, CLQ_CL_CAP_BY_NAME, 128, 128, 3, 24576),
    CLQ_MMA_ROW("mma_plain", "-DCLQ_MMA=0" CLQ_MMA_128x64, CLQ_CL_CAP_BY_NAME, 128, 64, 4, 16384),
    CLQ_MMA_ROW("mma_plain", "-DCLQ_MMA=0" CLQ_MMA_64x64, CLQ_CL_CAP_BY_NAME, 64, 64, 4, 12288),
    CLQ_MMA_ROW("mma_plain_late", "-DCLQ_MMA=0 -DCLQ_LATE=1" CLQ_MMA_64x64, CLQ_CL_CAP_BY_NAME, 64, 64, 2, 12288),
    CLQ_GEMV_ROWS("gemv_fragments", 2, 1, CLQ_CL_CAP_LOCAL | CLQ_CL_CAP_DOT_PTX | CLQ_CL_CAP_MMA, CLQ_CL_FRAGMENTS),
    CLQ_GEMV_ROWS("gemv_dp4a", 2, 0, CLQ_CL_CAP_LOCAL | CLQ_CL_CAP_DOT_PTX, CLQ_CL_PANELS),
    CLQ_GEMV_ROWS("gemv_dot", 1, 0, CLQ_CL_CAP_LOCAL | CLQ_CL_CAP_DOT_KHR, CLQ_CL_PANELS),
    CLQ_GEMV_ROWS("gemv_arm", 3, 0, CLQ_CL_CAP_LOCAL | CLQ_CL_CAP_DOT_ARM, CLQ_CL_PANELS_SIGNED),
    CLQ_GEMV_ROWS("gemv_amd", 4, 0, CLQ_CL_CAP_LOCAL | CLQ_CL_CAP_DOT_AMD, CLQ_CL_PANELS_SIGNED),
    CLQ_GEMV_ROWS("gemv", 0, 0, CLQ_CL_CAP_LOCAL, CLQ_CL_PANELS),
    CLQ_GEMV_ROWS("gemv_plain", 0, 0, CLQ_CL_CAP_BY_NAME, CLQ_CL_PANELS),
    CLQ_GEMV_ROWS("gemv_plain_signed", 5, 0, CLQ_CL_CAP_BY_NAME, CLQ_CL_PANELS_SIGNED),
    CLQ_GEMV_ROWS("gemv_plain_fragments", 0, 1, CLQ_CL_CAP_BY_NAME, CLQ_CL_FRAGMENTS),
    CLQ_X86_ROWS("conv_u8s8", 1),
    CLQ_ALL_TILE_ROWS("conv_u8s8", "conv_u8s8"),
    CLQ_X86_U4_ROW("gemm_s8u4", "x86_vnni", "-DCLQ_FEW=0", 112, 98304 + 2048 * 112, CLQ_CL_GROUPS_FLIPPED),
    CLQ_X86_U4_ROW("gemm_s8u4", "x86_vnni_28", "-DCLQ_FEW=0", 28, 98304 + 2048 * 112, CLQ_CL_GROUPS_FLIPPED),
    CLQ_TILE_U4_ROWS("tile_dp4a", 2, CLQ_CL_CAP_LOCAL | CLQ_CL_CAP_DOT_PTX),
    CLQ_TILE_U4_ROWS("tile_dot", 1, CLQ_CL_CAP_LOCAL | CLQ_CL_CAP_DOT_KHR),
    CLQ_TILE_U4_ROWS("tile_arm", 3, CLQ_CL_CAP_LOCAL | CLQ_CL_CAP_DOT_ARM),
    CLQ_TILE_U4_ROWS("tile_amd", 4, CLQ_CL_CAP_LOCAL | CLQ_CL_CAP_DOT_AMD),
    CLQ_TILE_U4_ROWS("tile", 0, CLQ_CL_CAP_LOCAL),
    CLQ_GENERIC_U4_ROW("gemm_s8u4", "-DCLQ_ROWS=4"),
    CLQ_TILE_U4_ROWS("tile_plain", 0, CLQ_CL_CAP_BY_NAME),
    CLQ_X86_U4_ROW("gemv_s8u4", "x86_vnni", "-DCLQ_FEW=1", 4, 0, CLQ_CL_GROUPS),
    CLQ_GEMV_U4_ROWS("gemv_dp4a", 2, CLQ_CL_CAP_LOCAL | CLQ_CL_CAP_DOT_PTX),
    CLQ_GEMV_U4_ROWS("gemv_dot", 1, CLQ_CL_CAP_LOCAL | CLQ_CL_CAP_DOT_KHR),
    CLQ_GEMV_U4_ROWS("gemv_arm", 3, CLQ_CL_CAP_LOCAL | CLQ_CL_CAP_DOT_ARM),
    CLQ_GEMV_U4_ROWS("gemv_amd", 4, CLQ_CL_CAP_LOCAL | CLQ_CL_CAP_DOT_AMD),
    CLQ_GEMV_U4_ROWS("gemv", 0, CLQ_CL_CAP_LOCAL),
    CLQ_GEMV_U4_ROWS("gemv_plain", 0, CLQ_CL_CAP_BY_NAME),
    CLQ_GENERIC_U4_ROW("gemm_g8u4", "-DCLQ_ROWS=4 -DCLQ_GROUPED=1"),
    CLQ_GENERIC_U4_ROW("gemm_f32u4", "-DCLQ_ROWS=4 -DCLQ_REAL=1"),
    CLQ_GENERIC_ROW("conv_u8s8", "conv", "conv_u8s8"),
    CLQ_PLAIN_TILE_ROWS("conv_u8s8", "conv_u8s8"),
    CLQ_GENERIC_ROW("conv_grouped_u8s8", "conv", "conv_u8s8"),
    CLQ_X86_ROW("conv_depthwise_u8s8", "x86_vnni", "depthwise_x86", "depthwise_u8s8", "", 1, CLQ_CL_LANES),
    CLQ_WINDOW_ROWS("conv_depthwise_u8s8", "conv", "depthwise_u8s8", 0),
};

const size_t clq_cl_variant_count = sizeof clq_cl_variants / sizeof *clq_cl_variants;

/* A whole word of the list: names are prefixes of each other. */
static bool has_extension(const char *list, const char *name)
{
    const size_t n = strlen(name);
    for (const char *at = list; at && (at = strstr(at, name)) != NULL; at += n)
        if ((at == list || at[-1] == ' ') && (at[n] == 0 || at[n] == ' ')) return true;
    return false;
}

unsigned clq_cl_capabilities(const struct clq_cl_facts *f)
{
    static const struct {
        const char *extension;
        unsigned cap;
    } by_extension[] = {
        {"cl_khr_integer_dot_product", CLQ_CL_CAP_DOT_KHR},
        {"cl_arm_integer_dot_product_accumulate_int8", CLQ_CL_CAP_DOT_ARM},
        {"cl_amd_device_attribute_query", CLQ_CL_CAP_DOT_AMD},
    };
    unsigned caps = 0;
    if (f->divide) caps |= CLQ_CL_CAP_DIVIDE;
    if (f->denorm) caps |= CLQ_CL_CAP_DENORM;
    if (f->by_name) caps |= CLQ_CL_CAP_BY_NAME;
    if (f->is_cpu) caps |= CLQ_CL_CAP_CPU | (f->vnni ? CLQ_CL_CAP_VNNI : 0);
    else if (f->max_group >= 256) caps |= CLQ_CL_CAP_LOCAL;
    for (size_t i = 0; i < sizeof by_extension / sizeof *by_extension; i++)
        if (has_extension(f->extensions, by_extension[i].extension)) caps |= by_extension[i].cap;
    if (!has_extension(f->extensions, "cl_nv_device_attribute_query")) return caps;
    if (f->nv_major > 6 || (f->nv_major == 6 && f->nv_minor >= 1)) caps |= CLQ_CL_CAP_DOT_PTX;
    if (f->nv_major >= 8) caps |= CLQ_CL_CAP_MMA;
    return caps;
}

bool clq_cl_admits(const struct clq_cl_variant *v, unsigned capabilities, size_t max_group, uint64_t local_memory)
{
    if (v->needs & ~capabilities) return false;
    return !v->groups || ((size_t)v->local[0] * v->local[1] <= max_group && v->local_bytes <= local_memory);
}
