/* SPDX-License-Identifier: Apache-2.0
 * The operators of com.microsoft that quantized files carry, by what they are defined as: dequantize, the standard operator,
 * quantize. */
#include "ops/chain.h"
#include "ops/convert.h"

typedef clq_status run_fn(struct clq_chain *c);

static clq_status run(struct clq_op_call *call, bool data, run_fn *fn)
{
    struct clq_chain c;
    clq_chain_start(&c, call, data);
    clq_status st = fn(&c);
    clq_chain_end(&c);
    return st;
}

#define OPERATOR(name, fn) \
    clq_op_fn clq_infer_##name, clq_eval_##name; \
    clq_status clq_infer_##name(struct clq_op_call *call) \
    { \
        return run(call, false, fn); \
    } \
    clq_status clq_eval_##name(struct clq_op_call *call) \
    { \
        return run(call, true, fn); \
    }

/* ---- Codes in, codes out ---- */

/* The real values of input x, whose scale and zero point follow it; one of each. */
static clq_status real(struct clq_chain *c, int x, clq_tensor *out)
{
    clq_tensor codes = clq_chain_input(c, x), scale = clq_chain_input(c, x + 1), zero = clq_chain_input(c, x + 2);
    if (codes.dtype == CLQ_DTYPE_NONE || scale.dtype != CLQ_DTYPE_F32 || clq_op_count(&scale) != 1)
        return clq_op_fail(c->call, CLQ_ERR_FORMAT, "input %d is absent, or its scale is not one float32", x);
    return clq_chain_dequantize(c, &codes, &scale, &zero, 0, out);
}

/* Output 0: y as codes. Without a zero point they have the type of input x. */
static clq_status codes(struct clq_chain *c, const clq_tensor *y, int scale, int zero, int x)
{
    clq_tensor s = clq_chain_input(c, scale), z = clq_chain_input(c, zero), out;
    static const uint8_t nothing;
    if (s.dtype != CLQ_DTYPE_F32 || clq_op_count(&s) != 1) return clq_op_fail(c->call, CLQ_ERR_FORMAT, "the output scale is not one float32");
    if (z.dtype == CLQ_DTYPE_NONE) z = (clq_tensor){.dtype = c->call->in[x].dtype, .data = (void *)(uintptr_t)&nothing};
    if (z.dtype != CLQ_DTYPE_U8 && z.dtype != CLQ_DTYPE_S8) return clq_op_bad_type(c->call, x);
    CLQ_TRY(clq_chain_quantize(c, y, &s, &z, &out));
    return clq_chain_output(c, 0, &out);
}

/* One operand: x, scale, zero, output scale, output zero. */
static clq_status one(struct clq_chain *c, const char *type, int64_t opset)
{
    clq_tensor x, y;
    if (clq_node_int(c->call->node, "channels_last", 0) != 0)
        return clq_op_fail(c->call, CLQ_ERR_UNSUPPORTED, "channels_last is not supported");
    CLQ_TRY(real(c, 0, &x));
    CLQ_TRY(clq_chain_same(c, type, opset, 1, &x, &y));
    return codes(c, &y, 3, 4, 0);
}

static clq_status two(struct clq_chain *c, const char *type)
{
    clq_tensor in[2], y;
    CLQ_TRY(real(c, 0, &in[0]));
    CLQ_TRY(real(c, 3, &in[1]));
    CLQ_TRY(clq_chain_plain(c, type, 2, in, &y));
    return codes(c, &y, 6, 7, 0);
}

static clq_status add(struct clq_chain *c)
{
    return two(c, "Add");
}

static clq_status mul(struct clq_chain *c)
{
    return two(c, "Mul");
}

static clq_status sigmoid(struct clq_chain *c)
{
    return one(c, "Sigmoid", 13);
}

static clq_status leaky_relu(struct clq_chain *c)
{
    return one(c, "LeakyRelu", 13);
}

static clq_status softmax(struct clq_chain *c)
{
    return one(c, "Softmax", clq_node_int(c->call->node, "opset", 13) < 13 ? 11 : 13);
}

static clq_status average_pool(struct clq_chain *c)
{
    return one(c, "AveragePool", 11);
}

static clq_status global_average_pool(struct clq_chain *c)
{
    return one(c, "GlobalAveragePool", 1);
}

static clq_status reduce_mean(struct clq_chain *c)
{
    return one(c, "ReduceMean", 13);
}

OPERATOR(ms_qlinear_add, add)
OPERATOR(ms_qlinear_mul, mul)
OPERATOR(ms_qlinear_sigmoid, sigmoid)
OPERATOR(ms_qlinear_leaky_relu, leaky_relu)
OPERATOR(ms_qlinear_softmax, softmax)
OPERATOR(ms_qlinear_average_pool, average_pool)
OPERATOR(ms_qlinear_global_average_pool, global_average_pool)
OPERATOR(ms_qlinear_reduce_mean, reduce_mean)

/* Output scale and zero point first, then a triple per operand. */
static clq_status concat(struct clq_chain *c)
{
    enum { MOST = 64 };
    clq_tensor in[MOST], y;
    int n = (c->call->n_in - 2) / 3;
    if (n < 1 || n > MOST || c->call->n_in != 2 + 3 * n)
        return clq_op_fail(c->call, CLQ_ERR_FORMAT, "%d inputs, expected 2 and three for each of up to %d operands", c->call->n_in, MOST);
    for (int i = 0; i < n; i++) CLQ_TRY(real(c, 2 + 3 * i, &in[i]));
    CLQ_TRY(clq_chain_same(c, "Concat", 13, n, in, &y));
    return codes(c, &y, 0, 1, 2);
}

static clq_status where(struct clq_chain *c)
{
    clq_tensor in[3] = {clq_chain_input(c, 0)}, y;
    CLQ_TRY(real(c, 1, &in[1]));
    CLQ_TRY(real(c, 4, &in[2]));
    CLQ_TRY(clq_chain_plain(c, "Where", 3, in, &y));
    return codes(c, &y, 7, 8, 1);
}

OPERATOR(ms_qlinear_concat, concat)
OPERATOR(ms_qlinear_where, where)

/* ---- Products ---- */

/* y + input i, where that is present. */
static clq_status biased(struct clq_chain *c, clq_tensor *y, int i)
{
    clq_tensor bias = clq_chain_input(c, i), sum;
    if (bias.dtype == CLQ_DTYPE_NONE) return CLQ_OK;
    CLQ_TRY(clq_chain_plain(c, "Add", 2, (const clq_tensor[]){*y, bias}, &sum));
    *y = sum;
    return CLQ_OK;
}

/* A matrix of codes with a scale and zero point each, or one per column. */
static clq_status columns(struct clq_chain *c, int b, int scale, int zero, clq_tensor *out)
{
    clq_tensor codes = clq_chain_input(c, b), s = clq_chain_input(c, scale), z = clq_chain_input(c, zero);
    if (s.dtype != CLQ_DTYPE_F32) return clq_op_bad_type(c->call, scale);
    return clq_chain_dequantize(c, &codes, &s, &z, codes.rank - 1, out);
}

/* A, B, a_scale, b_scale, a_zero, b_zero, bias. */
static clq_status integer_to_float(struct clq_chain *c)
{
    clq_tensor in[2], y, a = clq_chain_input(c, 0), s = clq_chain_input(c, 2), z = clq_chain_input(c, 4);
    if (s.dtype != CLQ_DTYPE_F32 || clq_op_count(&s) != 1) return clq_op_fail(c->call, CLQ_ERR_UNSUPPORTED, "a scale of A that is not one float32");
    CLQ_TRY(clq_chain_dequantize(c, &a, &s, &z, 0, &in[0]));
    CLQ_TRY(columns(c, 1, 3, 5, &in[1]));
    CLQ_TRY(clq_chain_plain(c, "MatMul", 2, in, &y));
    CLQ_TRY(biased(c, &y, 6));
    return clq_chain_output(c, 0, &y);
}

/* A, B, b_scale, b_zero, bias: A is quantized here. */
static clq_status dynamic_quantize(struct clq_chain *c)
{
    clq_tensor in[2], y, a[3], x = clq_chain_input(c, 0);
    CLQ_TRY(clq_chain_op(c, "DynamicQuantizeLinear", 11, NULL, 0, 1, &x, 3, a));
    CLQ_TRY(clq_chain_dequantize(c, &a[0], &a[1], &a[2], 0, &in[0]));
    CLQ_TRY(columns(c, 1, 2, 3, &in[1]));
    CLQ_TRY(clq_chain_plain(c, "MatMul", 2, in, &y));
    CLQ_TRY(biased(c, &y, 4));
    return clq_chain_output(c, 0, &y);
}

/* A, a_scale, a_zero, B, b_scale, b_zero, C (int32, scale a_scale * b_scale), y_scale, y_zero. */
static clq_status gemm(struct clq_chain *c)
{
    clq_tensor in[3], y, b = clq_chain_input(c, 3), s = clq_chain_input(c, 4), z = clq_chain_input(c, 5), bias = clq_chain_input(c, 6);
    bool turned = clq_node_int(c->call->node, "transB", 0) != 0;
    if (s.dtype != CLQ_DTYPE_F32) return clq_op_bad_type(c->call, 4);
    CLQ_TRY(real(c, 0, &in[0]));
    CLQ_TRY(clq_chain_dequantize(c, &b, &s, &z, turned ? 0 : 1, &in[1]));
    in[2] = bias;
    if (bias.dtype != CLQ_DTYPE_NONE) {
        clq_tensor scale, none = {.dtype = CLQ_DTYPE_NONE}, alpha = {.dtype = CLQ_DTYPE_F32}, a_scale = clq_chain_input(c, 1);
        float value = clq_node_float(c->call->node, "alpha", 1);
        alpha.data = &value;
        CLQ_TRY(clq_chain_plain(c, "Mul", 2, (const clq_tensor[]){s, a_scale}, &scale));
        CLQ_TRY(clq_chain_plain(c, "Mul", 2, (const clq_tensor[]){scale, alpha}, &scale));
        CLQ_TRY(clq_chain_dequantize(c, &bias, &scale, &none, bias.rank - 1, &in[2]));
    }
    CLQ_TRY(clq_chain_same(c, "Gemm", 13, 3, in, &y));
    return clq_op_has(c->call, 7) ? codes(c, &y, 7, 8, 0) : clq_chain_output(c, 0, &y);
}

OPERATOR(ms_matmul_integer_to_float, integer_to_float)
OPERATOR(ms_dynamic_quantize_matmul, dynamic_quantize)
OPERATOR(ms_qgemm, gemm)

/* ---- MatMulNBits: B is [N][blocks][block * bits / 8], the lowest bits first, blocks along K ---- */
struct packed {
    int64_t k, n, block, blocks, bits;
    clq_tensor b, scale, zero;
};

static clq_status read_packed(struct clq_chain *c, struct packed *p)
{
    const struct clq_node *n = c->call->node;
    *p = (struct packed){.k = clq_node_int(n, "K", 0), .n = clq_node_int(n, "N", 0), .block = clq_node_int(n, "block_size", 0),
                         .bits = clq_node_int(n, "bits", 4), .b = clq_chain_input(c, 1), .scale = clq_chain_input(c, 2), .zero = clq_chain_input(c, 3)};
    if (p->k < 1 || p->n < 1 || p->k > CLQ_OP_MAX_ELEMENTS || p->n > CLQ_OP_MAX_ELEMENTS / p->k || p->block < 16 || p->block > 4096 ||
        (p->block & (p->block - 1)) != 0)
        return clq_op_fail(c->call, CLQ_ERR_FORMAT, "K %lld, N %lld, block_size %lld", (long long)p->k, (long long)p->n, (long long)p->block);
    if (p->bits != 2 && p->bits != 4 && p->bits != 8) return clq_op_fail(c->call, CLQ_ERR_UNSUPPORTED, "%lld bits", (long long)p->bits);
    if (clq_op_has(c->call, 4)) return clq_op_fail(c->call, CLQ_ERR_UNSUPPORTED, "g_idx is not supported");
    p->blocks = (p->k + p->block - 1) / p->block;
    CLQ_TRY(clq_op_need_type(c->call, 1, CLQ_DTYPE_U8));
    if (!clq_is_real(p->scale.dtype)) return clq_op_bad_type(c->call, 2);
    if (clq_op_count(&p->b) != p->n * p->blocks * (p->block * p->bits / 8) || clq_op_count(&p->scale) != p->n * p->blocks)
        return clq_op_fail(c->call, CLQ_ERR_FORMAT, "B has %lld bytes and %lld scales, expected %lld and %lld", (long long)clq_op_count(&p->b),
                           (long long)clq_op_count(&p->scale), (long long)(p->n * p->blocks * (p->block * p->bits / 8)), (long long)(p->n * p->blocks));
    if (p->zero.dtype == CLQ_DTYPE_NONE) return CLQ_OK;
    int64_t expected = p->zero.dtype == CLQ_DTYPE_U8 ? p->n * ((p->blocks * p->bits + 7) / 8) : p->n * p->blocks;
    if ((p->zero.dtype != CLQ_DTYPE_U8 && !clq_is_real(p->zero.dtype)) || clq_op_count(&p->zero) != expected)
        return clq_op_fail(c->call, CLQ_ERR_FORMAT, "%lld zero points of type %s, expected %lld", (long long)clq_op_count(&p->zero),
                           clq_dtype_name(p->zero.dtype), (long long)expected);
    return CLQ_OK;
}

static unsigned bits_at(const uint8_t *row, int64_t i, int64_t bits)
{
    return (unsigned)(row[i * bits / 8] >> (i * bits % 8)) & ((1u << bits) - 1);
}

static float zero_of(const struct packed *p, int64_t column, int64_t block)
{
    if (p->zero.dtype == CLQ_DTYPE_NONE) return (float)(1 << (p->bits - 1));
    if (p->zero.dtype != CLQ_DTYPE_U8) return (float)clq_load_real(&p->zero, column * p->blocks + block);
    return (float)bits_at((const uint8_t *)p->zero.data + column * ((p->blocks * p->bits + 7) / 8), block, p->bits);
}

/* w[k][n], the matrix that the codes mean. */
static void unpack(const struct packed *p, float *w)
{
    for (int64_t j = 0; j < p->n; j++)
        for (int64_t b = 0; b < p->blocks; b++) {
            const uint8_t *row = (const uint8_t *)p->b.data + (j * p->blocks + b) * (p->block * p->bits / 8);
            float scale = (float)clq_load_real(&p->scale, j * p->blocks + b), zero = zero_of(p, j, b);
            int64_t most = p->k - b * p->block < p->block ? p->k - b * p->block : p->block;
            for (int64_t i = 0; i < most; i++) w[(b * p->block + i) * p->n + j] = ((float)bits_at(row, i, p->bits) - zero) * scale;
        }
}

static clq_status matmul_nbits(struct clq_chain *c)
{
    struct packed p;
    clq_tensor in[2] = {clq_chain_input(c, 0)}, y;
    CLQ_TRY(read_packed(c, &p));
    if (in[0].dtype != CLQ_DTYPE_F32) return clq_op_bad_type(c->call, 0);
    in[1] = (clq_tensor){.dtype = CLQ_DTYPE_F32, .rank = 2, .shape = {p.k, p.n}};
    CLQ_TRY(clq_chain_alloc(c, &in[1]));
    if (c->data) unpack(&p, in[1].data);
    CLQ_TRY(clq_chain_plain(c, "MatMul", 2, in, &y));
    CLQ_TRY(biased(c, &y, 5));
    return clq_chain_output(c, 0, &y);
}

OPERATOR(ms_matmul_nbits, matmul_nbits)
