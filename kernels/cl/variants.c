/* SPDX-License-Identifier: Apache-2.0
 * The table of variants. "blocked" is the CPU shape of a generic kernel: one work-item per group walks a contiguous
 * span with vectors of 16. "tile_plain" has no dot instruction; it stands in for the others where their indexing is
 * tested. */
#include "kernels/cl/variants.h"

#define CLQ_BLOCKED_OPTIONS "-DCLQ_VEC=16 -DCLQ_BLOCKED=1"
#define CLQ_SPREAD_OPTIONS "-DCLQ_VEC=4 -DCLQ_BLOCKED=0"

#define CLQ_SPAN_ROWS(op, source)                                                                \
    {op, "blocked", source, op, CLQ_BLOCKED_OPTIONS, CLQ_CL_CAP_CPU, {1, 1}, {0, 0}},            \
    {op, "generic", source, op, CLQ_SPREAD_OPTIONS, 0, {64, 1}, {0, 0}}
#define CLQ_WINDOW_ROWS(op, source, entry, needs)                                                \
    {op, "blocked", source, entry, CLQ_BLOCKED_OPTIONS, CLQ_CL_CAP_CPU | (needs), {64, 1}, {0, 0}}, \
    {op, "generic", source, entry, CLQ_SPREAD_OPTIONS, needs, {64, 1}, {0, 0}}
#define CLQ_TILE_ROW(op, name, entry, options, needs)                                            \
    {op, name, "product_tile", entry, options, needs, {16, 16}, {64, 64}}
#define CLQ_TILE_ROWS(op, entry)                                                                 \
    CLQ_TILE_ROW(op, "tile_dp4a", entry, "-DCLQ_DOT=2", CLQ_CL_CAP_LOCAL | CLQ_CL_CAP_DOT_PTX),  \
    CLQ_TILE_ROW(op, "tile_dot", entry, "-DCLQ_DOT=1", CLQ_CL_CAP_LOCAL | CLQ_CL_CAP_DOT_KHR),   \
    CLQ_TILE_ROW(op, "tile", entry, "-DCLQ_DOT=0", CLQ_CL_CAP_LOCAL)

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
    {"gemm_u8s8", "x86_vnni", "product_x86", "gemm_u8s8", "", CLQ_CL_CAP_CPU | CLQ_CL_CAP_VNNI, {1, 1}, {12, 64}},
    CLQ_TILE_ROWS("gemm_u8s8", "gemm_u8s8"),
    {"gemm_u8s8", "generic", "gemm", "gemm_u8s8", "-DCLQ_ROWS=4", 0, {64, 1}, {1, 4}},
    CLQ_TILE_ROW("gemm_u8s8", "tile_plain", "gemm_u8s8", "-DCLQ_DOT=0", CLQ_CL_CAP_LOCAL_ANY),
    {"conv_u8s8", "x86_vnni", "product_x86", "conv_u8s8", "", CLQ_CL_CAP_CPU | CLQ_CL_CAP_VNNI, {1, 1}, {12, 64}},
    CLQ_TILE_ROWS("conv_u8s8", "conv_u8s8"),
    {"conv_u8s8", "generic", "conv", "conv_u8s8", "-DCLQ_ROWS=4", 0, {64, 1}, {1, 4}},
    CLQ_TILE_ROW("conv_u8s8", "tile_plain", "conv_u8s8", "-DCLQ_DOT=0", CLQ_CL_CAP_LOCAL_ANY),
    {"conv_grouped_u8s8", "generic", "conv", "conv_u8s8", "-DCLQ_ROWS=4", 0, {64, 1}, {1, 4}},
    {"conv_depthwise_u8s8", "x86_vnni", "depthwise_x86", "depthwise_u8s8", "", CLQ_CL_CAP_CPU | CLQ_CL_CAP_VNNI, {1, 1},
     {1, 64}},
    CLQ_WINDOW_ROWS("conv_depthwise_u8s8", "conv", "depthwise_u8s8", 0),
};

const size_t clq_cl_variant_count = sizeof clq_cl_variants / sizeof *clq_cl_variants;
