/* SPDX-License-Identifier: Apache-2.0
 * The shapes that every report measures, and shapes as text: "128x3072x768" is a product of M x N x K,
 * "56x56x64-128:k3:s2:p1:g1:d1" a convolution of an image of height x width x channels to 128 channels. */
#ifndef CLQ_TESTS_SUITE_H
#define CLQ_TESTS_SUITE_H

#include <stdbool.h>
#include <stddef.h>

struct clq_gemm_shape {
    size_t m, n, k;
};

/* Square kernels, strides and dilations; the same padding before and, at most, behind. Output pixels: oh x ow. */
struct clq_conv_shape {
    size_t h, w, ci, co, kernel, stride, pad_before, pad_behind, groups, dilation;
};

/* Ends with m == 0. "default": the 12 shapes of the bars; "transformer": the products of MiniLM, of BERT base at 128 and
 * 384 tokens, and of a 7-billion-parameter decoder at 1 and 128 tokens. NULL for an unknown name. */
const struct clq_gemm_shape *clq_suite_gemm(const char *name);

/* The products of one row: N x K as the decoder has them, m == 1. */
const struct clq_gemm_shape *clq_suite_gemv(void);

/* A convolution of a network, and how many of its layers have that shape. */
struct clq_layer {
    const char *network;
    struct clq_conv_shape shape;
    int count;
};
enum { CLQ_MAX_LAYERS = 160 };

/* The distinct convolutions of "efficientnet-lite0", "mobilenetv2", "resnet50", or of all three for NULL; 0 for an unknown
 * name. */
size_t clq_suite_layers(struct clq_layer out[CLQ_MAX_LAYERS], const char *network);

size_t clq_conv_out(const struct clq_conv_shape *s, size_t size);
bool clq_conv_depthwise(const struct clq_conv_shape *s);
double clq_conv_operations(const struct clq_conv_shape *s);

/* False for a text that is no such shape, or where a size is 0, above 2^20 or leaves no output. */
bool clq_gemm_shape_parse(struct clq_gemm_shape *out, const char *text);
bool clq_conv_shape_parse(struct clq_conv_shape *out, const char *text);
enum { CLQ_SHAPE_TEXT = 128 };
void clq_gemm_shape_text(char text[CLQ_SHAPE_TEXT], const struct clq_gemm_shape *s);
void clq_conv_shape_text(char text[CLQ_SHAPE_TEXT], const struct clq_conv_shape *s);

#endif
