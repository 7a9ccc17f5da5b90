/* SPDX-License-Identifier: Apache-2.0
 * Float patterns of several nodes as exporters spell them out: layer normalization, GELU (erf and tanh), SiLU, and the
 * softmax of scaled and masked scores, which fuse_attention.c looks for. Each becomes one step in the slot of its last node. A value inside a pattern must
 * have no other reader. Results differ from the spelled-out form by float rounding alone, as long
 * as nothing comes near the largest float: a scale that moves behind a product, or a division behind a sum, may come too late. */
#include <math.h>
#include <string.h>

#include "graph/patterns.h"

struct clq_step *clq_pattern_source(const struct clq_program *p, int value, const char *type, int readers)
{
    if (value < 0 || p->values[value].producer < 0 || p->values[value].is_output || p->values[value].uses > readers) return NULL;
    struct clq_step *s = &p->steps[p->values[value].producer];
    bool known = !s->dead && clq_op_is(s, type) && p->values[value].t.dtype == CLQ_DTYPE_F32;
    return known ? s : NULL;
}

static bool close_to(float v, double want)
{
    return fabs((double)v - want) <= 1e-5 * fabs(want);
}

/* The operand beside a constant scalar, which goes to *c; -1 when neither is one. */
static int beside_scalar(const struct clq_program *p, const struct clq_step *s, float *c)
{
    for (int side = 0; side < 2; side++)
        if (clq_value_scalar_f32(p, s->in[1 - side], c) && p->values[s->in[side]].t.rank >= p->values[s->in[1 - side]].t.rank) return s->in[side];
    return -1;
}

static size_t elements(const clq_tensor *t)
{
    size_t n = 0;
    return clq_tensor_elements(&n, t) == CLQ_OK ? n : 0;
}

/* A scalar of many axes gives its result more of them than the other operand has. */
bool clq_pattern_same_shape(const struct clq_program *p, int a, int b)
{
    const clq_tensor *x = &p->values[a].t, *y = &p->values[b].t;
    return x->rank == y->rank && memcmp(x->shape, y->shape, (size_t)x->rank * sizeof *x->shape) == 0;
}

/* A constant vector along the last axis of y. */
static bool is_vector(const struct clq_program *p, int value, const clq_tensor *y)
{
    if (value < 0 || y->rank < 1 || !p->values[value].constant || p->values[value].t.dtype != CLQ_DTYPE_F32) return false;
    const clq_tensor *t = &p->values[value].t;
    return t->rank >= 1 && t->rank <= y->rank && t->shape[t->rank - 1] == y->shape[y->rank - 1] && elements(t) == (size_t)y->shape[y->rank - 1];
}

/* The operand beside a constant vector along the last axis; -1 when neither is one. */
static int beside_vector(const struct clq_program *p, const struct clq_step *s, int *vector)
{
    for (int side = 0; side < 2; side++)
        if (is_vector(p, s->in[1 - side], &p->values[s->out[0]].t)) {
            *vector = s->in[1 - side];
            return s->in[side];
        }
    return -1;
}

/* ReduceMean over the last axis that keeps it. */
static bool is_row_mean(const struct clq_program *p, const struct clq_step *s)
{
    int64_t axis = 0, rank = p->values[s->in[0]].t.rank;
    const struct clq_attr *a = clq_node_attr(s->node, "axes");
    if (a && a->type == CLQ_ATTR_INTS && a->n == 1) axis = a->ints[0];
    else if (!a && s->n_in > 1 && s->in[1] >= 0 && p->values[s->in[1]].constant && elements(&p->values[s->in[1]].t) == 1 &&
             p->values[s->in[1]].t.dtype == CLQ_DTYPE_S64)
        memcpy(&axis, p->values[s->in[1]].t.data, sizeof axis);
    else return false;
    return clq_node_int(s->node, "keepdims", 1) == 1 && (axis == -1 || axis == rank - 1);
}

/* x of x - mean(x), where the difference has this many readers. */
static int centered(const struct clq_program *p, int value, int readers)
{
    const struct clq_step *sub = clq_pattern_source(p, value, "Sub", readers);
    const struct clq_step *mean = sub ? clq_pattern_source(p, sub->in[1], "ReduceMean", 2) : NULL;
    return mean && is_row_mean(p, mean) && mean->in[0] == sub->in[0] ? sub->in[0] : -1;
}

/* The x whose variance along the row this is. */
static int variance_of(const struct clq_program *p, int value)
{
    float two;
    const struct clq_step *mean = clq_pattern_source(p, value, "ReduceMean", 1);
    if (!mean || !is_row_mean(p, mean)) return -1;
    const struct clq_step *square = clq_pattern_source(p, mean->in[0], "Pow", 1);
    if (square) return clq_value_scalar_f32(p, square->in[1], &two) && two == 2 ? centered(p, square->in[0], 2) : -1;
    square = clq_pattern_source(p, mean->in[0], "Mul", 1);
    return square && square->in[0] == square->in[1] ? centered(p, square->in[0], 3) : -1;
}

/* (x - mean) / sqrt(variance + epsilon) */
static int normalized(const struct clq_program *p, int value, float *epsilon)
{
    const struct clq_step *div = clq_pattern_source(p, value, "Div", 1);
    int x = div ? centered(p, div->in[0], 3) : -1;
    const struct clq_step *root = x >= 0 ? clq_pattern_source(p, div->in[1], "Sqrt", 1) : NULL;
    const struct clq_step *add = root ? clq_pattern_source(p, root->in[0], "Add", 1) : NULL;
    int variance = add ? beside_scalar(p, add, epsilon) : -1;
    return variance >= 0 && variance_of(p, variance) == x ? x : -1;
}

static void make_layernorm(struct clq_program *p, struct clq_step *s)
{
    int shift = -1, scale = -1;
    float epsilon;
    if (!clq_op_is(s, "Add") || s->n_in != 2) return;
    const struct clq_step *gain = clq_pattern_source(p, beside_vector(p, s, &shift), "Mul", 1);
    int x = gain ? normalized(p, beside_vector(p, gain, &scale), &epsilon) : -1;
    if (x < 0 || elements(&p->values[x].t) == 0 || !(epsilon >= 0)) return;
    s->kind = CLQ_STEP_LAYERNORM;
    s->in[0] = x;
    s->weight = scale;
    s->bias = shift;
    s->act_a = epsilon;
    s->n_in = 1;
}

/* ---- Products of up to four factors, however they are associated ---- */
struct factors {
    int n, value[6];
    double constant;
};

/* Splits a product into its factors; constants are gathered. False when there are too many. */
static bool collect(const struct clq_program *p, const struct clq_step *root, struct factors *f)
{
    int stack[8] = {root->in[0], root->in[1]}, n = 2;
    *f = (struct factors){.constant = 1};
    while (n > 0) {
        int v = stack[--n];
        float c;
        const struct clq_step *mul = clq_pattern_source(p, v, "Mul", 1), *div = clq_pattern_source(p, v, "Div", 1);
        if (clq_value_scalar_f32(p, v, &c)) f->constant *= (double)c;
        else if (mul && n <= 5) {
            stack[n++] = mul->in[0];
            stack[n++] = mul->in[1];
        } else if (div && clq_value_scalar_f32(p, div->in[1], &c) && c != 0) {
            f->constant /= (double)c;
            stack[n++] = div->in[0];
        } else if (f->n < 6) f->value[f->n++] = v;
        else return false;
    }
    return true;
}

int clq_pattern_multiple(const struct clq_program *p, int value, double *constant)
{
    struct clq_step *s = clq_pattern_source(p, value, "Mul", 1);
    float c;
    *constant = 1;
    if (s) {
        int x = beside_scalar(p, s, &c);
        *constant = (double)c;
        return x;
    }
    s = clq_pattern_source(p, value, "Div", 1);
    if (!s || !clq_value_scalar_f32(p, s->in[1], &c) || c == 0 || !clq_pattern_same_shape(p, s->in[0], value)) return -1;
    *constant = 1 / (double)c;
    return s->in[0];
}

/* True when value is c * (x + 0.044715 x^3). */
static bool is_tanh_argument(const struct clq_program *p, int value, int x)
{
    double c;
    struct factors f;
    const struct clq_step *add = clq_pattern_source(p, clq_pattern_multiple(p, value, &c), "Add", 1);
    if (!add || fabs(c - 0.7978845608) > 1e-5 || (add->in[0] != x && add->in[1] != x)) return false;
    const struct clq_step *cube = clq_pattern_source(p, add->in[0] == x ? add->in[1] : add->in[0], "Mul", 1);
    if (!cube || !collect(p, cube, &f) || fabs(f.constant - 0.044715) > 1e-6) return false;
    if (f.n == 1) {
        const struct clq_step *pow = clq_pattern_source(p, f.value[0], "Pow", 1);
        float three;
        return pow && pow->in[0] == x && clq_value_scalar_f32(p, pow->in[1], &three) && three == 3;
    }
    return f.n == 3 && f.value[0] == x && f.value[1] == x && f.value[2] == x;
}

/* 1 for the erf form, 2 for the tanh form, 0 when value is not 1 + erf(x / sqrt 2) or 1 + tanh(...). */
static int gelu_gate(const struct clq_program *p, int value, int x)
{
    float one;
    double c;
    const struct clq_step *add = clq_pattern_source(p, value, "Add", 1);
    int inner = add ? beside_scalar(p, add, &one) : -1;
    if (inner < 0 || one != 1) return 0;
    const struct clq_step *erf = clq_pattern_source(p, inner, "Erf", 1), *tanh = clq_pattern_source(p, inner, "Tanh", 1);
    if (erf && clq_pattern_multiple(p, erf->in[0], &c) == x && close_to((float)c, 0.7071067811865476)) return 1;
    return tanh && is_tanh_argument(p, tanh->in[0], x) ? 2 : 0;
}

/* Turns the step into a call of a named operator of one input. */
static clq_status become(struct clq_program *p, struct clq_step *s, const char *type, int64_t opset, bool tanh_form, int x, struct clq_error *err)
{
    const struct clq_op *op = clq_op_find("", type, opset);
    struct clq_node *node = clq_arena_alloc(&p->arena, sizeof *node);
    struct clq_attr *attr = clq_arena_alloc(&p->arena, sizeof *attr);
    if (!op) return CLQ_OK;
    if (!node || !attr) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    *attr = (struct clq_attr){.name = "approximate", .type = CLQ_ATTR_STRING, .s = "tanh", .s_len = 4};
    *node = (struct clq_node){.name = s->node->name, .op_type = type, .domain = "", .n_inputs = 1, .n_outputs = 1, .n_attrs = tanh_form ? 1 : 0,
                              .inputs = s->node->inputs, .outputs = s->node->outputs, .attrs = attr};
    s->node = node;
    s->op = op;
    s->opset = opset;
    s->in[0] = x;
    s->n_in = 1;
    return CLQ_OK;
}

/* Where tensors between units must be seen, SiLU stays in its two parts: both can work on codes. */
static clq_status make_activation(struct clq_program *p, struct clq_step *s, bool observable, struct clq_error *err)
{
    struct factors f;
    if (!clq_op_is(s, "Mul") || s->n_in != 2 || p->values[s->out[0]].t.dtype != CLQ_DTYPE_F32 || !collect(p, s, &f) || f.n != 2) return CLQ_OK;
    for (int k = 0; k < 2; k++) {
        int x = f.value[k], gate = f.value[1 - k];
        if (!clq_pattern_same_shape(p, x, s->out[0])) continue;
        const struct clq_step *sigmoid = clq_pattern_source(p, gate, "Sigmoid", 1);
        if (!observable && sigmoid && sigmoid->in[0] == x && f.constant == 1) return become(p, s, "Swish", 24, false, x, err);
        int form = gelu_gate(p, gate, x);
        if (form && close_to((float)f.constant, 0.5)) return become(p, s, "Gelu", 20, form == 2, x, err);
    }
    return CLQ_OK;
}

/* ---- Scores: softmax(x * scale + mask) over the last axis ---- */

/* Every axis of the mask is that of the scores or 1, and its last is full. */
static bool fits_as_mask(const clq_tensor *mask, const clq_tensor *x)
{
    if (mask->dtype != CLQ_DTYPE_F32 || mask->rank < 1 || mask->rank > x->rank || mask->shape[mask->rank - 1] != x->shape[x->rank - 1]) return false;
    for (int d = 1; d <= mask->rank; d++)
        if (mask->shape[mask->rank - d] != 1 && mask->shape[mask->rank - d] != x->shape[x->rank - d]) return false;
    return true;
}

bool clq_pattern_rows(const struct clq_program *p, const struct clq_step *softmax)
{
    const int rank = p->values[softmax->out[0]].t.rank;
    const int64_t axis = clq_node_int(softmax->node, "axis", softmax->opset < 13 ? 1 : -1);
    return axis == -1 || axis == rank - 1;
}

static void make_masked_softmax(struct clq_program *p, struct clq_step *s)
{
    const clq_tensor *y = &p->values[s->out[0]].t;
    if (!clq_op_is(s, "Softmax") || y->dtype != CLQ_DTYPE_F32 || y->rank < 2 || !clq_pattern_rows(p, s) || elements(y) == 0) return;
    const struct clq_step *add = clq_pattern_source(p, s->in[0], "Add", 1);
    int x = s->in[0], mask = -1;
    for (int side = 0; add && side < 2 && mask < 0; side++) {
        const clq_tensor *a = &p->values[add->in[side]].t, *m = &p->values[add->in[1 - side]].t;
        if (a->rank != y->rank || memcmp(a->shape, y->shape, (size_t)y->rank * sizeof *y->shape) != 0 || !fits_as_mask(m, y)) continue;
        x = add->in[side];
        mask = add->in[1 - side];
    }
    double scale;
    int inner = clq_pattern_multiple(p, x, &scale);
    if (inner >= 0 && isnormal((float)scale) && clq_pattern_same_shape(p, inner, s->out[0])) x = inner;
    else scale = 1;
    if (mask < 0 && scale == 1) return;
    if (s->n_in < 2) { /* its list of inputs is one long in the node */
        int *in = clq_arena_array(&p->arena, 3, sizeof *in);
        if (!in) return;
        s->in = in;
    }
    s->kind = CLQ_STEP_SOFTMAX;
    s->in[0] = x;
    s->in[1] = mask;
    s->n_in = mask >= 0 ? 2 : 1;
    s->alpha = (float)scale;
}

clq_status clq_pass_patterns(struct clq_program *p, bool observable, struct clq_error *err)
{
    for (int i = 0; i < p->n_steps; i++) {
        struct clq_step *s = &p->steps[i];
        if (s->dead || s->kind != CLQ_STEP_OP || s->n_out != 1 || s->out[0] < 0) continue;
        make_layernorm(p, s);
        if (s->kind == CLQ_STEP_OP) CLQ_TRY(make_activation(p, s, observable, err));
        if (s->kind == CLQ_STEP_OP) make_masked_softmax(p, s);
        if (s->kind == CLQ_STEP_OP && !observable) clq_pattern_attention(p, i);
    }
    for (int v = 0; v < p->n_values; v++) p->values[v].hidden = p->values[v].producer >= 0; /* until the next line */
    clq_program_count_uses(p);
    for (int v = 0; v < p->n_values; v++) p->values[v].hidden = p->values[v].hidden && p->values[v].producer < 0;
    return CLQ_OK;
}
