/* SPDX-License-Identifier: Apache-2.0
 * A program: a model compiled for fixed input shapes, as a list of steps over typed values in one arena. Passes rewrite
 * the list in the order of clq_program_compile; after it, running allocates nothing and decides nothing. */
#ifndef CLQ_GRAPH_PROGRAM_H
#define CLQ_GRAPH_PROGRAM_H

#include <stdbool.h>

#include "base/model.h"
#include "context.h"
#include "cpu_dnnl.h"
#include "ops/op.h"

enum clq_layout {
    CLQ_LAYOUT_PLAIN = 0,
    CLQ_LAYOUT_LAST = 1 /* channels last: shape holds N, spatial..., C */
};

struct clq_value {
    const char *name;
    clq_tensor t;      /* dtype and physical shape; data: the constant's array, or the place in the arena */
    bool constant;
    bool is_input, is_output;
    bool decides;      /* a shape waits for its value, see stages.h */
    bool hidden;       /* inside a fused pattern: no step computes it */
    enum clq_layout layout;
    int other;         /* the same value in the other layout, or -1 */
    int alias;         /* shares the memory of this value, or -1 */
    int producer;      /* step, or -1 */
    int uses;          /* by steps that are not dead, plus one when a graph output */
    int first, last;   /* lifetime in steps */
    size_t bytes, offset;
    bool has_q;        /* codes of a real value: real = (code - zero_point) * scale */
    float scale;
    int32_t zero_point;
};

enum clq_step_kind {
    CLQ_STEP_OP,       /* the operator's own eval */
    CLQ_STEP_CONV,     /* float, oneDNN: convolution (also transposed) with activation and residual */
    CLQ_STEP_MATMUL,   /* float, oneDNN */
    CLQ_STEP_POOL,     /* float, oneDNN */
    CLQ_STEP_SOFTMAX,    /* of in[0], or of alpha * in[0] + in[1] over the last axis */
    CLQ_STEP_ATTENTION,  /* of in[0], queries, in[1], keys, in[2], values, and in[3], the mask, if there is one: as attention says */
    CLQ_STEP_LAYERNORM,  /* act_a: epsilon */
    CLQ_STEP_QUANTIZE,   /* float -> u8, per tensor */
    CLQ_STEP_DEQUANTIZE, /* u8 -> float, per tensor */
    CLQ_STEP_QUANTIZE_ROWS, /* float -> u8 with zero point 128, and one scale per row in out[1] */
    CLQ_STEP_QCONV,
    CLQ_STEP_QGEMM,      /* float results may have in[1], one scale per row, and bias, residual and act of the float steps */
    CLQ_STEP_Q4GEMM,     /* 4-bit weights in groups on rows of codes, in[1]: their scales, or on real rows without in[1] */
    CLQ_STEP_QADD,
    CLQ_STEP_QMUL,
    CLQ_STEP_QLUT,     /* a unary function, or a change of scale, on codes */
    CLQ_STEP_QMAXPOOL,
    CLQ_STEP_QAVGPOOL,
    CLQ_STEP_QCONCAT,
    CLQ_STEP_QMOVE,    /* the operator's eval on codes */
    CLQ_STEP_LAYOUT    /* plain <-> channels last */
};

struct clq_step {
    enum clq_step_kind kind;
    bool dead;
    const struct clq_node *node; /* the node that names this step in plans and reports */
    const struct clq_op *op;
    int64_t opset;
    int n_in, n_out;
    int *in, *out;               /* value numbers, -1 absent */
    enum clq_act act;            /* fused, float steps */
    float act_a, act_b;
    int residual;                /* value added before act, or -1; of codes: as sum says */
    int weight, bias;            /* constants of a fused product, or -1 */
    float alpha;
    bool transpose_a, transpose_b;
    struct clq_window window;    /* CONV, POOL, QCONV, QPOOL */
    bool transposed, include_pad;
    int phase[2];                /* QCONV, transposed: the stride; its channels are [phase_h][phase_w][co] */
    void *phases;                /* QCONV, transposed: where they are computed, to be spread over the output */
    int8_t *weight_codes;        /* [n][k] or [co][kh][kw][ci/groups] */
    int32_t *bias_codes;         /* [channels] or NULL */
    float *multiplier;
    int64_t bound;
    int32_t lo, hi;              /* limits of the output code */
    struct clq_residual sum;         /* QCONV and QGEMM with codes and a residual; its codes are filled in by runs */
    float in_scale[2], out_scale;    /* Q steps: what the codes of the inputs and of the output mean */
    int32_t in_zero[2], out_zero;
    uint8_t *tables;             /* QLUT: 256; QCONCAT: 256 per input */
    bool *table_used;            /* QCONCAT: false where the codes are copied unchanged */
    int axis;                    /* QCONCAT */
    struct clq_dnnl_step *dnnl;
    struct clq_dnnl_step **taps; /* CONV over one wide row: a product per kernel column, summed; dnnl is NULL then */
    int n_taps;
    size_t tap_step;             /* floats between the columns' first inputs */
    struct clq_conv_args conv;   /* prepared */
    struct clq_gemm_args gemm;
    struct clq_gemm_u4_args gemm4;
    struct clq_attention_args attention;
    void *cl_object;             /* prepared on the OpenCL device, or NULL */
    bool on_device;              /* planned for the OpenCL device */
    double seconds;              /* summed over timed runs */
    uint64_t runs;
};

struct clq_program {
    struct clq_context *ctx;
    const struct clq_model *model;
    struct clq_arena arena;      /* the lists, constants folded at compile time, packed weights */
    int n_values, cap_values, n_steps, cap_steps;
    struct clq_value *values;
    struct clq_step *steps;
    int n_inputs, n_outputs;
    int *inputs, *outputs;       /* value numbers */
    unsigned char *memory;
    size_t memory_bytes;
    void *scratch;
    size_t scratch_bytes;        /* per thread */
    bool timed;
    struct clq_rest *rest;       /* what could not be compiled before this program has run, or NULL: stages.h */
};

struct clq_program_options {
    bool no_integer;      /* run Q/DQ in float, operator by operator: the oracle */
    bool no_fusion;       /* every node is a step of its own, plain layout: the slow oracle */
    bool sums_apart;      /* integer products leave additions to steps of their own, so that each unit is timed alone */
    bool observable;   /* fuses only what a unit of a plan holds too, so that taps see every tensor between units */
    bool retain;          /* keep every value's memory until the next run */
    const struct clq_map *device_nodes; /* names of nodes that run on the OpenCL device, or NULL */
    bool device_all;      /* every step that the device supports runs there */
    bool timed;           /* every run adds to the steps' seconds */
    bool partial;         /* nodes whose shapes wait for values become the program's rest; otherwise they are unsupported */
    const bool *bind;     /* per graph input, or NULL: its value is a constant of this program */
    int depth, stage;     /* nested graphs that are being run around this one; programs that run before it */
};

/* Compiles model for the given inputs (one tensor per graph input, in its order; data is read of bound inputs alone). The
 * model and ctx must outlive the program. CLQ_ERR_UNSUPPORTED lists all unsupported operators at once, by name and node. */
clq_status clq_program_compile(struct clq_program **out, struct clq_context *ctx, const struct clq_model *model,
                               const clq_tensor *inputs, const struct clq_program_options *options,
                               struct clq_error *err);
void clq_program_free(struct clq_program *program);

/* A tap sees every value that a step has just produced; plain or channels-last, float or codes. */
typedef clq_status clq_tap_fn(void *state, const struct clq_value *value, struct clq_error *err);

/* Runs once. inputs and outputs are in graph order; an output's data, when not NULL, receives the result, and its dtype
 * and shape are filled in any case (data stays valid inside the program until the next run when it was NULL). */
clq_status clq_program_run(struct clq_program *program, const clq_tensor *inputs, clq_tensor *outputs, clq_tap_fn *tap,
                           void *tap_state, struct clq_error *err);

/* Lists the unsupported operators of a model (opset, name, node); CLQ_OK when there are none. */
clq_status clq_program_check_supported(const struct clq_model *model, struct clq_error *err);

/* ---- For the passes ---- */
int clq_program_add_value(struct clq_program *p, const char *name, const clq_tensor *t, bool constant);
struct clq_step *clq_program_add_step(struct clq_program *p, const struct clq_step *like, int n_in, int n_out);
void clq_program_count_uses(struct clq_program *p); /* producers, uses; kills steps whose outputs nobody reads */
int clq_program_find_consumer(const struct clq_program *p, int value); /* the only live consumer step, or -1 */
bool clq_value_scalar_f32(const struct clq_program *p, int value, float *out);

clq_status clq_pass_infer(struct clq_program *p, const clq_tensor *inputs, const struct clq_program_options *options, struct clq_error *err);
clq_status clq_pass_integer(struct clq_program *p, bool sums_apart, struct clq_error *err);
clq_status clq_pass_fold_dequantize(struct clq_program *p, struct clq_error *err);
clq_status clq_pass_patterns(struct clq_program *p, bool observable, struct clq_error *err);
clq_status clq_pass_fuse(struct clq_program *p, bool observable, struct clq_error *err);
clq_status clq_pass_layout(struct clq_program *p, struct clq_error *err);
clq_status clq_pass_memory(struct clq_program *p, bool retain, struct clq_error *err);
clq_status clq_pass_prepare(struct clq_program *p, const struct clq_program_options *options, struct clq_error *err);
/* Softmax on rows of our own: of scores that are scaled or masked. oneDNN does the others, and not in place. */
static inline bool clq_step_is_scores(const struct clq_step *s)
{
    return s->kind == CLQ_STEP_SOFTMAX && (s->n_in > 1 || s->alpha != 1);
}
clq_status clq_step_run(struct clq_program *p, struct clq_step *step, struct clq_error *err);
/* Where the kernel of a QCONV step writes: its output, or the phases that are spread over the output behind it. */
void *clq_step_conv_output(struct clq_program *p, const struct clq_step *step);

/* The OpenCL side of steps (device_steps.c): prepares, runs and frees what a step keeps on the device. *done is false when
 * the step is not on the device or the device failed; the CPU then computes it. */
clq_status clq_step_device_prepare(struct clq_program *p, struct clq_step *step, struct clq_error *err);
clq_status clq_step_device_run(struct clq_program *p, struct clq_step *step, bool *done, struct clq_error *err);
void clq_step_device_free(struct clq_program *p, struct clq_step *step);

#endif
