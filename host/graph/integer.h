/* SPDX-License-Identifier: Apache-2.0
 * Shared by the files of the integer pass: what the codes of a Q/DQ graph mean, and one function per operator family. */
#ifndef CLQ_GRAPH_INTEGER_H
#define CLQ_GRAPH_INTEGER_H

#include "graph/program.h"

/* A value of codes and what they mean. */
struct clq_codes {
    int value;
    float scale;
    int32_t zero;
};

/* A constant weight as signed codes with zero point 0: data [channels][rest] in the caller's order is left to it. */
struct clq_weight {
    const struct clq_value *codes; /* int8 or uint8 constant, in the file's order */
    int32_t shift;                 /* subtracted from each code */
    const float *scale;            /* [n_scale] */
    int n_scale;                   /* 1 or channels */
    int axis;                      /* of the scales when n_scale > 1 */
};

/* True when the float value is the dequantization of codes. */
bool clq_codes_source(const struct clq_program *p, int value, struct clq_codes *out);
/* The step that alone reads the float value and quantizes it, or -1. */
int clq_codes_sink(const struct clq_program *p, int value, struct clq_codes *out);
/* True when the float value is the dequantization of a constant. */
bool clq_weight_source(const struct clq_program *p, int value, struct clq_weight *out);
/* The code of a real value: numerics.md 1 for uint8. */
int32_t clq_code_of(float x, float scale, int32_t zero);
bool clq_op_is(const struct clq_step *s, const char *type);

/* Each tries to turn step number i into integer steps; false when it is not of that family or not possible.
 * *err is set and status returned only when memory is out. */
typedef clq_status clq_integer_fn(struct clq_program *p, int i, bool *done, struct clq_error *err);
clq_integer_fn clq_integer_conv, clq_integer_transposed, clq_integer_matmul, clq_integer_unary, clq_integer_binary, clq_integer_pool,
    clq_integer_concat, clq_integer_move, clq_integer_requantize;

/* The smallest scale of a row of zeros, and the longest row whose sums of products of 8-bit codes fit int32. */
#define CLQ_SMALLEST_SCALE 1.17549435e-38f
#define CLQ_ROWS_MOST_K 131071
/* Additions of codes into the products before them (integer_residual.c). */
void clq_integer_residuals(struct clq_program *p);
/* Products on rows that are quantized while running (integer_rows.c). */
clq_status clq_integer_rows(struct clq_program *p, struct clq_error *err);

/* Constant 4-bit weights as struct clq_gemm_u4_args takes them. */
struct clq_nibbles {
    size_t n, k, group;
    uint8_t *codes, *zero; /* zero NULL: 8 */
    float *scale;
    int bias;              /* value, or -1 */
    bool real;             /* rows stay real */
};
/* *found: the step is a product with such weights. Their arrays live in the arena. */
clq_status clq_nibbles_of(struct clq_nibbles *out, struct clq_arena *arena, const struct clq_program *p, const struct clq_step *s, bool *found,
                          struct clq_error *err);

/* Products of at least so many rows of codes get 8-bit weights, where that adds at most 1 / CLQ_EXPAND_SHARE to the noise of rounding to
 * 4 bits (README.md). A number of rows decides, never a device, an instruction set or a thread count. */
enum { CLQ_EXPAND_ROWS = 32, CLQ_EXPAND_SHARE = 10 };
/* Makes s a QGEMM step with the weights of w; *done is false, and s as it was, where sums or the noise say no. */
clq_status clq_nibbles_expand(struct clq_step *s, struct clq_program *p, const struct clq_nibbles *w, bool *done, struct clq_error *err);

/* MatMulNBits with constant weights that stays in float becomes a float product. */
clq_status clq_nbits_widen(struct clq_program *p, struct clq_step *s, struct clq_error *err);

/* Fills a 256-entry table: op (NULL: identity) applied to the dequantized codes, quantized again. */
clq_status clq_integer_table(struct clq_program *p, uint8_t *table, const struct clq_step *op, const struct clq_codes *from,
                             const struct clq_codes *to, struct clq_error *err);
/* Adds a table step in place of step i's slot. */
void clq_integer_make_lut(struct clq_step *s, const struct clq_step *like, int from, int to, uint8_t *table);

#endif
