/* SPDX-License-Identifier: Apache-2.0
 * Products of the modes beside int8, as standard ONNX where that has words for them:
 *
 *   int8-weight   DequantizeLinear per channel
 *   int16-int8    the same, and its input through QuantizeLinear and DequantizeLinear of int16 (opset 21)
 *   int8-dynamic  a scale per row from its largest magnitude, Round, Cast, MatMulInteger, two multiplications
 *   int8-tensor   DynamicQuantizeLinear, MatMulInteger, one multiplication by both scales, which onnxruntime fuses
 *   int4-*        DequantizeLinear of blocks (opset 21), or com.microsoft MatMulNBits with accuracy level 4 (for --target ort a
 *                 Gemm always, which would not be fused with its activation behind it)
 *   int2, ternary, binary   MatMulNBits with 2 bits
 *   nf4, codebook16         Gather from a table by 4-bit codes, times the groups' scales
 *
 * A table that is gathered from stays in its codes while running: rows of codes are gathered and then widened, with whole bytes
 * also where they hold two 4-bit codes, which every runtime gathers. Recurrent weights are widened as int8-weight's are. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "graph/integer.h"
#include "graph/qdq_writer.h"
#include "graph/simplify.h"

static clq_status no_memory(struct clq_qdq_writer *w)
{
    return clq_fail(w->err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

/* Adds a node with up to two inputs and a new output named after base; returns the output. */
static const char *op(struct clq_qdq_writer *w, const char *type, const char *a, const char *b, const char *base, const char *suffix)
{
    const char *y = clq_qdq_fresh(w, base, suffix), *name = y ? clq_qdq_fresh(w, y, "_node") : NULL;
    struct clq_node *n = name ? clq_graph_add_node(w->m, &w->m->graph, "", type, name) : NULL;
    bool ok = n && a && clq_node_add_input(w->m, n, a) && (!b || clq_node_add_input(w->m, n, b)) && clq_node_add_output(w->m, n, y);
    return ok ? y : NULL;
}

static bool set_int(struct clq_qdq_writer *w, const char *name, int64_t value)
{
    return clq_node_set_int(w->m, &w->m->graph.nodes[w->m->graph.n_nodes - 1], name, value);
}

static const char *number(struct clq_qdq_writer *w, const char *base, const char *suffix, float v)
{
    return clq_qdq_constant(w, base, suffix, CLQ_DTYPE_F32, 0, NULL, &v, sizeof v);
}

/* What a product node looks like to all modes. */
struct product {
    struct clq_node *node;
    const char *x, *bias, *out; /* bias NULL: none */
    bool transposed;            /* the weight is [n][k] */
    const struct clq_const *weight;
    int64_t n, k;
};

static struct product product_of(struct clq_qdq_writer *w, const struct clq_unit *u)
{
    struct clq_node *n = &w->m->graph.nodes[u->node];
    struct product p = {.node = n, .x = n->inputs[0], .out = n->outputs[0], .bias = u->bias >= 0 ? n->inputs[u->bias] : NULL,
                        .transposed = u->weight_axis == 0, .weight = clq_graph_const(&w->m->graph, n->inputs[u->weight])};
    p.n = p.weight->shape[u->weight_axis];
    p.k = p.weight->shape[1 - u->weight_axis];
    return p;
}

/* The node keeps its place, name and output and becomes another operator. */
static bool become(struct clq_qdq_writer *w, struct clq_node *n, const char *domain, const char *type, const char *a, const char *b)
{
    n->domain = domain;
    n->op_type = type;
    n->n_inputs = n->n_attrs = 0;
    return a && b && clq_node_add_input(w->m, n, a) && clq_node_add_input(w->m, n, b);
}

/* ---- 8-bit weights ---- */
static clq_status widened_constant(struct clq_qdq_writer *w, const struct clq_unit *u, int input, const int8_t *code, const float *scales)
{
    struct clq_node *n = &w->m->graph.nodes[u->node];
    const struct clq_const *c = clq_graph_const(&w->m->graph, n->inputs[input]);
    int rank = c->rank;
    int64_t shape[CLQ_MAX_RANK], channels = c->shape[u->weight_axis];
    memcpy(shape, c->shape, sizeof shape);
    size_t bytes = c->bytes / sizeof(float);
    int8_t *zeros = clq_arena_array(&w->m->arena, (size_t)channels + 1, 1);
    const char *base = clq_qdq_fresh(w, u->name, input == u->recurrent ? "_recurrent" : "_weight");
    if (!zeros || !base) return no_memory(w);
    const char *codes = clq_qdq_constant(w, base, "_codes", CLQ_DTYPE_S8, rank, shape, code, bytes);
    const char *scale = clq_qdq_constant(w, base, "_scale", CLQ_DTYPE_F32, 1, &channels, scales, (size_t)channels * sizeof(float));
    const char *zero = clq_qdq_constant(w, base, "_zero_point", CLQ_DTYPE_S8, 1, &channels, zeros, (size_t)channels);
    const char *real = zero && codes && scale ? clq_qdq_linear(w, false, codes, scale, zero, clq_qdq_fresh(w, base, "_real"), u->weight_axis) : NULL;
    if (!real) return no_memory(w);
    w->m->graph.nodes[u->node].inputs[input] = real;
    return CLQ_OK;
}

/* y = Cast(Gather(codes, index)) * Gather(scales [rows][1], index) */
static clq_status gathered_codes(struct clq_qdq_writer *w, const struct clq_unit *u, const struct clq_unit_weights *uw)
{
    struct clq_node *n = &w->m->graph.nodes[u->node];
    const struct clq_const *c = clq_graph_const(&w->m->graph, n->inputs[0]);
    const char *index = n->inputs[1], *out = n->outputs[0], *base = clq_qdq_fresh(w, u->name, "_table");
    int64_t shape[2] = {c->shape[0], c->shape[1]}, column[2] = {c->shape[0], 1};
    const char *codes = base ? clq_qdq_constant(w, base, "_codes", CLQ_DTYPE_S8, 2, shape, uw->codes, c->bytes / sizeof(float)) : NULL;
    const char *scale = codes ? clq_qdq_constant(w, base, "_scale", CLQ_DTYPE_F32, 2, column, uw->scale, (size_t)column[0] * sizeof(float)) : NULL;
    const char *rows = clq_qdq_fresh(w, out, "_codes");
    if (!scale || !rows) return no_memory(w);
    n->inputs[0] = codes;
    n->outputs[0] = rows;
    const char *real = op(w, "Cast", rows, NULL, out, "_wide");
    if (!real || !set_int(w, "to", CLQ_DTYPE_F32)) return no_memory(w);
    if (!op(w, "Mul", real, op(w, "Gather", scale, index, out, "_scale"), out, "_scaled")) return no_memory(w);
    w->m->graph.nodes[w->m->graph.n_nodes - 1].outputs[0] = out;
    return CLQ_OK;
}

static clq_status widened_weight(struct clq_qdq_writer *w, const struct clq_unit *u, const struct clq_unit_weights *uw)
{
    if (u->kind == CLQ_UNIT_STORED && u->recurrent < 0) return gathered_codes(w, u, uw);
    CLQ_TRY(widened_constant(w, u, u->weight, uw->codes, uw->scale));
    return u->recurrent < 0 ? CLQ_OK : widened_constant(w, u, u->recurrent, uw->recurrent_codes, uw->recurrent_scale);
}

/* The input in 16 bits, symmetric: the range that calibration chose, to the end that is further from zero. */
static clq_status wide_input(struct clq_qdq_writer *w, const struct clq_unit *u)
{
    int t = u->in[0], input = u->weight == 0 ? 1 : 0;
    const struct clq_qparams *q = &w->plan->params[t];
    const char *x = w->m->graph.nodes[u->node].inputs[input];
    if (!w->wide[t]) {
        int16_t none = 0;
        float most = q->scale * (float)(q->zero_point > 255 - q->zero_point ? q->zero_point : 255 - q->zero_point), step = fmaxf(most / 32767, FLT_MIN);
        const char *base = clq_qdq_fresh(w, x, "_wide"), *scale = base ? number(w, base, "_scale", step) : NULL;
        const char *zero = scale ? clq_qdq_constant(w, base, "_zero_point", CLQ_DTYPE_S16, 0, NULL, &none, sizeof none) : NULL;
        const char *codes = zero ? clq_qdq_linear(w, true, x, scale, zero, clq_qdq_fresh(w, base, "_codes"), -1) : NULL;
        w->wide[t] = codes ? clq_qdq_linear(w, false, codes, scale, zero, clq_qdq_fresh(w, base, "_real"), -1) : NULL;
        if (!w->wide[t]) return no_memory(w);
    }
    w->m->graph.nodes[u->node].inputs[input] = w->wide[t];
    return CLQ_OK;
}

/* Codes and scales of a tensor's rows, once for all its readers. */
static clq_status rows_of(struct clq_qdq_writer *w, int t, const char *x)
{
    struct clq_qdq_rows *r = &w->rows[t];
    if (r->codes) return CLQ_OK;
    const char *base = clq_qdq_fresh(w, x, "_rows"), *limit = base ? number(w, base, "_limit", 127) : NULL;
    const char *least = limit ? number(w, base, "_least", CLQ_SMALLEST_SCALE) : NULL, *abs = least ? op(w, "Abs", x, NULL, base, "_abs") : NULL;
    bool by_input = clq_model_opset(w->m, "") >= 18;
    int64_t axis = -1, one = 1;
    const char *axes = abs && by_input ? clq_qdq_constant(w, base, "_axes", CLQ_DTYPE_S64, 1, &one, &axis, sizeof axis) : NULL;
    const char *max = abs && (axes || !by_input) ? op(w, "ReduceMax", abs, axes, base, "_max") : NULL;
    if (!max || !set_int(w, "keepdims", 1)) return no_memory(w);
    if (!by_input) {
        struct clq_attr *a = clq_node_add_attr(w->m, &w->m->graph.nodes[w->m->graph.n_nodes - 1], "axes", CLQ_ATTR_INTS);
        int64_t *list = clq_arena_array(&w->m->arena, 1, sizeof *list);
        if (!a || !list) return no_memory(w);
        list[0] = -1;
        a->ints = list;
        a->n = 1;
    }
    r->scale = op(w, "Max", op(w, "Div", max, limit, base, "_share"), least, base, "_scale");
    const char *round = r->scale ? op(w, "Round", op(w, "Div", x, r->scale, base, "_quotient"), NULL, base, "_rounded") : NULL;
    r->codes = round ? op(w, "Cast", round, NULL, base, "_codes") : NULL;
    return r->codes && set_int(w, "to", CLQ_DTYPE_S8) ? CLQ_OK : no_memory(w);
}

/* Codes, scale and zero point of a whole tensor, once for all its readers. */
static clq_status tensor_of(struct clq_qdq_writer *w, int t, const char *x)
{
    struct clq_qdq_rows *r = &w->rows[t];
    if (r->tensor_codes) return CLQ_OK;
    const char *base = clq_qdq_fresh(w, x, "_dynamic");
    r->tensor_scale = base ? clq_qdq_fresh(w, base, "_scale") : NULL;
    r->tensor_zero = r->tensor_scale ? clq_qdq_fresh(w, base, "_zero_point") : NULL;
    r->tensor_codes = r->tensor_zero ? op(w, "DynamicQuantizeLinear", x, NULL, base, "_codes") : NULL;
    struct clq_node *n = &w->m->graph.nodes[w->m->graph.n_nodes - 1];
    return r->tensor_codes && clq_node_add_output(w->m, n, r->tensor_scale) && clq_node_add_output(w->m, n, r->tensor_zero) ? CLQ_OK : no_memory(w);
}

/* The product of the codes, in float: y, before the bias. */
static const char *by_tensor(struct clq_qdq_writer *w, const struct clq_qdq_rows *r, const char *real, const char *scale, const char *out)
{
    return op(w, "Mul", real, op(w, "Mul", r->tensor_scale, scale, out, "_scales"), out, "_scaled");
}

/* tensor: one scale for the whole input, as onnxruntime's own dynamic quantization has. */
static clq_status dynamic_product(struct clq_qdq_writer *w, const struct clq_unit *u, const struct clq_unit_weights *uw, bool tensor)
{
    struct product p = product_of(w, u);
    int64_t shape[2] = {p.k, p.n};
    int8_t *codes = clq_arena_array(&w->m->arena, (size_t)(p.k * p.n) + 1, 1);
    if (!codes) return no_memory(w);
    for (int64_t i = 0; i < p.k * p.n; i++) codes[p.transposed ? i % p.k * p.n + i / p.k : i] = uw->codes[i];
    const char *base = clq_qdq_fresh(w, u->name, "_weight");
    const char *wc = base ? clq_qdq_constant(w, base, "_codes", CLQ_DTYPE_S8, 2, shape, codes, (size_t)(p.k * p.n)) : NULL;
    const char *ws = wc ? clq_qdq_constant(w, base, "_scale", CLQ_DTYPE_F32, 1, &p.n, uw->scale, (size_t)p.n * sizeof(float)) : NULL;
    if (!ws) return no_memory(w);
    CLQ_TRY(tensor ? tensor_of(w, u->in[0], p.x) : rows_of(w, u->in[0], p.x));
    const struct clq_qdq_rows *r = &w->rows[u->in[0]];
    struct clq_node *n = &w->m->graph.nodes[u->node]; /* the list may have moved */
    const char *sum = clq_qdq_fresh(w, p.out, "_sum");
    if (!sum || !become(w, n, "", "MatMulInteger", tensor ? r->tensor_codes : r->codes, wc)) return no_memory(w);
    if (tensor && !clq_node_add_input(w->m, n, r->tensor_zero)) return no_memory(w);
    n->outputs[0] = sum;
    const char *real = op(w, "Cast", sum, NULL, p.out, "_real");
    if (!real || !set_int(w, "to", CLQ_DTYPE_F32)) return no_memory(w);
    const char *y = tensor ? by_tensor(w, r, real, ws, p.out) : op(w, "Mul", op(w, "Mul", real, ws, p.out, "_by_channel"), r->scale, p.out, "_by_row");
    if (y && p.bias) y = op(w, "Add", y, p.bias, p.out, "_biased");
    if (!y) return no_memory(w);
    w->m->graph.nodes[w->m->graph.n_nodes - 1].outputs[0] = p.out;
    return CLQ_OK;
}

/* ---- Groups ---- */
static void pack(uint8_t *to, size_t at, int bits, unsigned code)
{
    size_t bit = at * (size_t)bits;
    to[bit / 8] = (uint8_t)(to[bit / 8] | code << bit % 8);
}

/* Blocked DequantizeLinear along K of codes [k][n], and a product without transposition. */
static clq_status blocked(struct clq_qdq_writer *w, const struct clq_unit *u, const struct clq_group_weights *g)
{
    struct product p = product_of(w, u);
    size_t count = g->n * g->k, scales = g->n * g->groups, at;
    int64_t shape[2] = {p.k, p.n}, grid[2] = {(int64_t)g->groups, p.n}, channels = p.n;
    uint8_t *codes = clq_arena_array(&w->m->arena, count / 2 + 1, 1), *zero = clq_arena_array(&w->m->arena, scales / 2 + 1, 1);
    float *scale = clq_arena_array(&w->m->arena, scales + 1, sizeof *scale);
    if (!codes || !zero || !scale) return no_memory(w);
    unsigned flip = g->symmetric ? 8 : 0; /* int4 is two's complement */
    for (size_t r = 0; r < g->n; r++) {
        for (size_t c = 0; c < g->k; c++) pack(codes, c * g->n + r, 4, g->codes[r * g->k + c] ^ flip);
        for (size_t b = 0; b < g->groups; b++) {
            at = b * g->n + r;
            scale[at] = g->scale[r * g->groups + b];
            pack(zero, at, 4, g->zero[r * g->groups + b] ^ flip);
        }
    }
    bool block = g->groups > 1;
    const char *base = clq_qdq_fresh(w, u->name, "_weight");
    clq_dtype dtype = g->symmetric ? CLQ_DTYPE_S4 : CLQ_DTYPE_U4;
    const char *cn = base ? clq_qdq_constant(w, base, "_codes", dtype, 2, shape, codes, (count + 1) / 2) : NULL;
    const char *sn = cn ? clq_qdq_constant(w, base, "_scale", CLQ_DTYPE_F32, block ? 2 : 1, block ? grid : &channels, scale, scales * sizeof *scale) : NULL;
    const char *zn = sn && !g->symmetric ? clq_qdq_constant(w, base, "_zero_point", dtype, block ? 2 : 1, block ? grid : &channels, zero, (scales + 1) / 2) : NULL;
    if (!sn || (!g->symmetric && !zn)) return no_memory(w);
    const char *real = clq_qdq_linear(w, false, cn, sn, zn, clq_qdq_fresh(w, base, "_real"), block ? 0 : 1);
    if (!real || (block && !set_int(w, "block_size", (int64_t)g->group))) return no_memory(w);
    struct clq_node *n = &w->m->graph.nodes[u->node];
    n->inputs[u->weight] = real;
    if (p.transposed && !clq_node_set_int(w->m, n, "transB", 0)) return no_memory(w);
    return CLQ_OK;
}

static const char *shifted(struct clq_qdq_writer *w, const char *x, const char *by, const char *direction, const char *base, const char *suffix)
{
    const char *y = op(w, "BitShift", x, by, base, suffix);
    struct clq_attr *a = y ? clq_node_add_attr(w->m, &w->m->graph.nodes[w->m->graph.n_nodes - 1], "direction", CLQ_ATTR_STRING) : NULL;
    if (!a) return NULL;
    a->s = direction;
    a->s_len = strlen(direction);
    return y;
}

/* Adds y = Reshape(x) that keeps the first `kept` axes and ends with these sizes. */
static const char *reshape(struct clq_qdq_writer *w, const char *x, int kept, const int64_t *sizes, int n, const char *base, const char *suffix)
{
    int64_t shape[CLQ_MAX_RANK] = {0}, rank = kept + n; /* 0: as in x */
    if (rank > CLQ_MAX_RANK) return NULL;
    memcpy(shape + kept, sizes, (size_t)n * sizeof *shape);
    const char *to = clq_qdq_fresh(w, base, suffix);
    const char *dims = to ? clq_qdq_constant(w, to, "_shape", CLQ_DTYPE_S64, 1, &rank, shape, (size_t)rank * sizeof *shape) : NULL;
    return dims ? op(w, "Reshape", x, dims, to, "") : NULL;
}

/* Rows of bytes, the first half of a row's codes in the low nibbles and the second half in the high ones. */
static clq_status gathered_nibbles(struct clq_qdq_writer *w, const struct clq_unit *u, const struct clq_group_weights *g)
{
    struct clq_node *n = &w->m->graph.nodes[u->node];
    const char *index = n->inputs[1], *out = n->outputs[0], *base = clq_qdq_fresh(w, u->name, "_table");
    size_t half = g->k / 2;
    int64_t shape[2] = {(int64_t)g->n, (int64_t)half}, grid[3] = {(int64_t)g->n, (int64_t)g->groups, 1}, width = (int64_t)g->k;
    int64_t parts[2] = {(int64_t)g->groups, (int64_t)g->group};
    int kept = w->plan->units->tensors[u->out].rank - 1;
    uint8_t *codes = clq_arena_array(&w->m->arena, g->n * half + 1, 1), four = 4;
    float *zero = clq_arena_array(&w->m->arena, g->n * g->groups + 1, sizeof *zero);
    if (!codes || !zero) return no_memory(w);
    for (size_t r = 0; r < g->n; r++)
        for (size_t c = 0; c < half; c++) codes[r * half + c] = (uint8_t)(g->codes[r * g->k + c] | g->codes[r * g->k + half + c] << 4);
    for (size_t i = 0; i < g->n * g->groups; i++) zero[i] = (float)g->zero[i];
    const char *cn = base ? clq_qdq_constant(w, base, "_codes", CLQ_DTYPE_U8, 2, shape, codes, g->n * half) : NULL;
    const char *sn = cn ? clq_qdq_constant(w, base, "_scale", CLQ_DTYPE_F32, 3, grid, g->scale, g->n * g->groups * sizeof(float)) : NULL;
    const char *zn = !sn ? NULL : g->symmetric ? number(w, base, "_zero", 8) : clq_qdq_constant(w, base, "_zero", CLQ_DTYPE_F32, 3, grid, zero, g->n * g->groups * sizeof *zero);
    const char *shift = zn ? clq_qdq_constant(w, base, "_shift", CLQ_DTYPE_U8, 0, NULL, &four, 1) : NULL, *rows = clq_qdq_fresh(w, out, "_codes");
    if (!shift || !rows) return no_memory(w);
    n->inputs[0] = cn;
    n->outputs[0] = rows;
    const char *up = shifted(w, rows, shift, "LEFT", out, "_up"), *low = up ? shifted(w, up, shift, "RIGHT", out, "_low") : NULL;
    const char *high = low ? shifted(w, rows, shift, "RIGHT", out, "_high") : NULL, *all = high ? op(w, "Concat", low, high, out, "_all") : NULL;
    if (!all || !set_int(w, "axis", -1)) return no_memory(w);
    const char *real = op(w, "Cast", all, NULL, out, "_wide");
    if (!real || !set_int(w, "to", CLQ_DTYPE_F32)) return no_memory(w);
    const char *y = reshape(w, real, kept, parts, 2, out, "_groups");
    if (y && !g->symmetric) zn = op(w, "Gather", zn, index, out, "_zero");
    y = y ? op(w, "Sub", y, zn, out, "_centered") : NULL;
    const char *scale = y ? op(w, "Gather", sn, index, out, "_scale") : NULL;
    y = scale ? op(w, "Mul", y, scale, out, "_scaled") : NULL;
    if (!y || !reshape(w, y, kept, &width, 1, out, "_flat")) return no_memory(w);
    w->m->graph.nodes[w->m->graph.n_nodes - 1].outputs[0] = out;
    return CLQ_OK;
}

static clq_status need_domain(struct clq_qdq_writer *w)
{
    struct clq_model *m = w->m;
    if (clq_model_opset(m, "com.microsoft") > 0) return CLQ_OK;
    struct clq_opset *list = clq_arena_array(&m->arena, (size_t)m->n_opsets + 1, sizeof *list);
    if (!list) return no_memory(w);
    memcpy(list, m->opsets, (size_t)m->n_opsets * sizeof *list);
    list[m->n_opsets++] = (struct clq_opset){"com.microsoft", 1};
    m->opsets = list;
    return CLQ_OK;
}

/* MatMulNBits: codes [n][groups][group], zero points only where they are not the default. level 4: 8-bit rows. */
static clq_status nbits(struct clq_qdq_writer *w, const struct clq_unit *u, const struct clq_group_weights *g, int level)
{
    struct product p = product_of(w, u);
    size_t block = g->group;
    if (g->groups == 1) /* a block is a power of two, 16 or more */
        for (block = 16; block < g->k; block *= 2) {}
    size_t row = g->groups * block * (size_t)g->bits / 8, zero_row = (g->groups * (size_t)g->bits + 7) / 8;
    int64_t shape[3] = {p.n, (int64_t)g->groups, (int64_t)(block * (size_t)g->bits / 8)}, grid[2] = {p.n, (int64_t)g->groups}, zeros[2] = {p.n, (int64_t)zero_row};
    uint8_t *codes = clq_arena_array(&w->m->arena, g->n * row + 1, 1), *zero = clq_arena_array(&w->m->arena, g->n * zero_row + 1, 1);
    if (!codes || !zero) return no_memory(w);
    for (size_t r = 0; r < g->n; r++) {
        for (size_t c = 0; c < g->groups * block; c++) /* padding holds the code of 0 */
            pack(codes + r * row, c, g->bits, c < g->k ? g->codes[r * g->k + c] : g->zero[r * g->groups + g->groups - 1]);
        for (size_t b = 0; b < g->groups; b++) pack(zero + r * zero_row, b, g->bits, g->zero[r * g->groups + b]);
    }
    const char *base = clq_qdq_fresh(w, u->name, "_weight");
    const char *cn = base ? clq_qdq_constant(w, base, "_codes", CLQ_DTYPE_U8, 3, shape, codes, g->n * row) : NULL;
    const char *sn = cn ? clq_qdq_constant(w, base, "_scale", CLQ_DTYPE_F32, 2, grid, g->scale, g->n * g->groups * sizeof(float)) : NULL;
    const char *zn = sn && !g->symmetric ? clq_qdq_constant(w, base, "_zero_point", CLQ_DTYPE_U8, 2, zeros, zero, g->n * zero_row) : NULL;
    if (!sn || (!g->symmetric && !zn)) return no_memory(w);
    CLQ_TRY(need_domain(w));
    struct clq_node *n = &w->m->graph.nodes[u->node];
    bool ok = become(w, n, "com.microsoft", "MatMulNBits", p.x, cn) && clq_node_add_input(w->m, n, sn) && (!(zn || p.bias) || clq_node_add_input(w->m, n, zn ? zn : ""));
    if (ok && p.bias) ok = clq_node_add_input(w->m, n, "") && clq_node_add_input(w->m, n, p.bias);
    ok = ok && clq_node_set_int(w->m, n, "K", p.k) && clq_node_set_int(w->m, n, "N", p.n) && clq_node_set_int(w->m, n, "bits", g->bits) &&
         clq_node_set_int(w->m, n, "block_size", (int64_t)block) && (!level || clq_node_set_int(w->m, n, "accuracy_level", level));
    return ok ? CLQ_OK : no_memory(w);
}

/* weight = Reshape(Gather(table, codes) * scales) as [n][k], turned where the product wants [k][n]. */
static clq_status from_table(struct clq_qdq_writer *w, const struct clq_unit *u, const struct clq_group_weights *g)
{
    struct product p = product_of(w, u);
    size_t row = g->groups * g->group, count = g->n * row;
    int64_t shape[3] = {p.n, (int64_t)g->groups, (int64_t)g->group}, grid[3] = {p.n, (int64_t)g->groups, 1}, entries = 16, two = 2, flat[2] = {p.n, (int64_t)row};
    uint8_t *codes = clq_arena_array(&w->m->arena, count / 2 + 1, 1);
    if (!codes) return no_memory(w);
    for (size_t r = 0; r < g->n; r++)
        for (size_t c = 0; c < row; c++) pack(codes, r * row + c, 4, c < g->k ? g->codes[r * g->k + c] : 7u);
    const char *base = clq_qdq_fresh(w, u->name, "_weight");
    const char *cn = base ? clq_qdq_constant(w, base, "_codes", CLQ_DTYPE_U4, 3, shape, codes, (count + 1) / 2) : NULL;
    const char *tn = cn ? clq_qdq_constant(w, base, "_table", CLQ_DTYPE_F32, 1, &entries, g->table, sizeof g->table) : NULL;
    const char *index = tn ? op(w, "Cast", cn, NULL, base, "_index") : NULL;
    if (!index || !set_int(w, "to", CLQ_DTYPE_S64)) return no_memory(w);
    const char *y = op(w, "Gather", tn, index, base, "_entries");
    if (g->groups > 1) {
        const char *sn = clq_qdq_constant(w, base, "_scale", CLQ_DTYPE_F32, 3, grid, g->scale, g->n * g->groups * sizeof(float));
        y = sn && y ? op(w, "Mul", y, sn, base, "_scaled") : NULL;
    }
    const char *to = y ? clq_qdq_constant(w, base, "_shape", CLQ_DTYPE_S64, 1, &two, flat, sizeof flat) : NULL;
    y = to ? op(w, "Reshape", y, to, base, "_flat") : NULL;
    if (y && row > g->k) {
        int64_t one = 1, zero = 0, end = p.k, axis = 1;
        const char *s = clq_qdq_constant(w, base, "_from", CLQ_DTYPE_S64, 1, &one, &zero, sizeof zero);
        const char *e = s ? clq_qdq_constant(w, base, "_to", CLQ_DTYPE_S64, 1, &one, &end, sizeof end) : NULL;
        const char *a = e ? clq_qdq_constant(w, base, "_axis", CLQ_DTYPE_S64, 1, &one, &axis, sizeof axis) : NULL;
        y = a ? op(w, "Slice", y, s, base, "_cut") : NULL;
        struct clq_node *n = y ? &w->m->graph.nodes[w->m->graph.n_nodes - 1] : NULL;
        if (!n || !clq_node_add_input(w->m, n, e) || !clq_node_add_input(w->m, n, a)) return no_memory(w);
    }
    if (y && !p.transposed) {
        y = op(w, "Transpose", y, NULL, base, "_real");
    }
    if (!y) return no_memory(w);
    w->m->graph.nodes[u->node].inputs[u->weight] = y;
    return CLQ_OK;
}

/* The constant, of n values or one, plus what a product's rounding costs on average. */
static const char *with_error(struct clq_qdq_writer *w, const struct clq_unit *u, const struct clq_const *c, const struct clq_group_weights *g)
{
    const float *from = c->data;
    float *to = clq_arena_array(&w->m->arena, g->n + 1, sizeof *to);
    int64_t shape[CLQ_MAX_RANK] = {(int64_t)g->n};
    bool whole = c->bytes == g->n * sizeof *to;
    if (whole) memcpy(shape, c->shape, sizeof shape);
    for (size_t r = 0; to && r < g->n; r++) to[r] = from[whole ? r : 0] + g->bias[r];
    return to ? clq_qdq_constant(w, u->name, "_bias", CLQ_DTYPE_F32, whole ? c->rank : 1, shape, to, g->n * sizeof *to) : NULL;
}

/* The bias is the product's own, or of an addition behind it, which alone reads the product. */
static clq_status correct_bias(struct clq_qdq_writer *w, const struct clq_unit *u, const struct clq_group_weights *g)
{
    struct clq_graph *graph = &w->m->graph;
    const char *out = graph->nodes[u->node].outputs[0], **input = u->bias >= 0 ? &graph->nodes[u->node].inputs[u->bias] : NULL;
    for (int i = 0; i < graph->n_nodes && !input; i++) {
        struct clq_node *n = &graph->nodes[i];
        for (int side = 0; side < n->n_inputs && clq_node_is(n, "Add") && !input; side++)
            if (strcmp(n->inputs[side], out) == 0) input = &n->inputs[1 - side];
    }
    const struct clq_const *c = input ? clq_graph_const(graph, *input) : NULL;
    if (!c || (c->bytes != g->n * sizeof(float) && c->bytes != sizeof(float)))
        return clq_fail(w->err, CLQ_ERR_INTERNAL, "layer '%s': no bias takes its correction", u->name);
    return (*input = with_error(w, u, c, g)) ? CLQ_OK : no_memory(w);
}

clq_status clq_qdq_rewrite_mode(struct clq_qdq_writer *w, int i)
{
    const struct clq_unit *u = &w->plan->units->units[i];
    const struct clq_mode *mode = &w->plan->modes[w->plan->mode[i]];
    const struct clq_unit_weights *uw = &w->plan->weights[i];
    if (mode->run == CLQ_RUN_ROWS8) return dynamic_product(w, u, uw, mode->scheme.act_kind == CLQ_ACT_DYNAMIC);
    if (mode->scheme.act_bits == 16) CLQ_TRY(wide_input(w, u));
    if (mode->scheme.weight_bits == 8) return widened_weight(w, u, uw);
    const struct clq_group_weights *g = &w->plan->groups[w->plan->mode[i]][i];
    if (u->kind == CLQ_UNIT_STORED) return gathered_nibbles(w, u, g);
    if (g->bias) CLQ_TRY(correct_bias(w, u, g));
    if (g->has_table) return from_table(w, u, g);
    /* onnxruntime merges a Gemm with the activation behind it before it looks for DequantizeLinear. */
    bool direct = w->plan->matmul_nbits || (w->plan->target == CLQ_TARGET_ORT && strcmp(u->op_type, "Gemm") == 0);
    if (mode->run == CLQ_RUN_ROWS4) return direct ? nbits(w, u, g, 4) : blocked(w, u, g);
    return nbits(w, u, g, 0);
}
