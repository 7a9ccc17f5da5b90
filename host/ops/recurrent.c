/* SPDX-License-Identifier: Apache-2.0
 * RNN, GRU and LSTM, step by step in float32 with sums in binary64: direction, lengths, clipping, peepholes, layouts
 * and the standard's activation functions. */
#include <math.h>
#include <stdlib.h>

#include "ops/util.h"
#include "ops/vecmath.h"

enum cell { CELL_RNN = 1, CELL_GRU = 3, CELL_LSTM = 4 }; /* the value is the number of gates */

enum function {
    RELU,
    TANH,
    SIGMOID,
    AFFINE,
    LEAKY_RELU,
    THRESHOLDED_RELU,
    SCALED_TANH,
    HARD_SIGMOID,
    ELU,
    SOFTSIGN,
    SOFTPLUS
};

struct activation {
    enum function f;
    float a, b;
};

struct recurrent {
    enum cell cell;
    int64_t steps, batch, in, hidden, directions;
    bool batch_first, reverse_first, before_reset, input_forget;
    float clip; /* infinite: none */
    struct activation act[6];
};

static float apply(const struct activation *f, float x)
{
    switch (f->f) {
    case RELU: return x > 0.0f ? x : 0.0f;
    case TANH: return clq_vec_tanh(x);
    case SIGMOID: return clq_vec_sigmoid(x);
    case AFFINE: return f->a * x + f->b;
    case LEAKY_RELU: return x < 0.0f ? f->a * x : x;
    case THRESHOLDED_RELU: return x > f->a ? x : 0.0f;
    case SCALED_TANH: return f->a * tanhf(f->b * x);
    case HARD_SIGMOID: return fminf(1.0f, fmaxf(0.0f, f->a * x + f->b));
    case ELU: return x < 0.0f ? f->a * expm1f(x) : x;
    case SOFTSIGN: return x / (1.0f + fabsf(x));
    default: return x > 0.0f ? x + log1pf(expf(-x)) : log1pf(expf(x));
    }
}

/* x = f(clip(x)) of all elements; most: of the clip, infinite where there is none. */
CLQ_CLONES static void activate(float *x, const struct activation *f, float most, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float v = x[i];
        v = v > most ? most : v;
        x[i] = v < -most ? -most : v;
    }
    if (f->f == SIGMOID)
        for (int64_t i = 0; i < n; i++) x[i] = clq_vec_sigmoid(x[i]);
    else if (f->f == TANH)
        for (int64_t i = 0; i < n; i++) x[i] = clq_vec_tanh(x[i]);
    else
        for (int64_t i = 0; i < n; i++) x[i] = apply(f, x[i]);
}

static clq_status read_activations(struct clq_op_call *call, struct recurrent *r)
{
    static const struct {
        const char *name;
        float a, b;
    } known[] = {{"Relu", 0, 0},          {"Tanh", 0, 0},
                 {"Sigmoid", 0, 0},       {"Affine", 1, 0},
                 {"LeakyRelu", 0.01f, 0}, {"ThresholdedRelu", 1, 0},
                 {"ScaledTanh", 1, 1},    {"HardSigmoid", 0.2f, 0.5f},
                 {"Elu", 1, 0},           {"Softsign", 0, 0},
                 {"Softplus", 0, 0}};
    int per = r->cell == CELL_RNN ? 1 : r->cell == CELL_GRU ? 2 : 3, n = per * (int)r->directions;
    const struct clq_attr *names = clq_node_attr(call->node, "activations"),
                          *alpha = clq_node_attr(call->node, "activation_alpha");
    const struct clq_attr *beta = clq_node_attr(call->node, "activation_beta");
    if (names && (names->type != CLQ_ATTR_STRINGS || names->n != (size_t)n))
        return clq_op_fail(call, CLQ_ERR_FORMAT, "activations does not hold %d names", n);
    if ((alpha && alpha->type != CLQ_ATTR_FLOATS) || (beta && beta->type != CLQ_ATTR_FLOATS))
        return clq_op_fail(call, CLQ_ERR_FORMAT, "activation_alpha or activation_beta is not a list of floats");
    for (int i = 0; i < n; i++) {
        const char *name = names ? names->strings[i] : r->cell == CELL_RNN || i % per > 0 ? "Tanh" : "Sigmoid";
        int f = 0;
        while (f < 11 && strcmp(known[f].name, name) != 0) f++;
        if (f == 11) return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "activation '%s'", name);
        r->act[i] = (struct activation){(enum function)f, known[f].a, known[f].b};
        if (alpha && (size_t)i < alpha->n) r->act[i].a = alpha->floats[i];
        if (beta && (size_t)i < beta->n) r->act[i].b = beta->floats[i];
    }
    return CLQ_OK;
}

/* Input i, when present, must be float32 of this shape. */
static clq_status need_shape(struct clq_op_call *call, int i, int rank, const int64_t *shape)
{
    if (!clq_op_has(call, i)) return CLQ_OK;
    CLQ_TRY(clq_op_need_type(call, i, CLQ_DTYPE_F32));
    CLQ_TRY(clq_op_need_rank(call, i, rank));
    for (int k = 0; k < rank; k++)
        if (call->in[i].shape[k] != shape[k])
            return clq_op_fail(call, CLQ_ERR_FORMAT, "input %d has %lld elements on axis %d, expected %lld", i,
                               (long long)call->in[i].shape[k], k, (long long)shape[k]);
    return CLQ_OK;
}

static clq_status read_direction(struct clq_op_call *call, struct recurrent *r)
{
    const char *direction = clq_node_string(call->node, "direction", "forward");
    bool both = strcmp(direction, "bidirectional") == 0;
    r->reverse_first = strcmp(direction, "reverse") == 0;
    if (!both && !r->reverse_first && strcmp(direction, "forward") != 0)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "direction '%s'", direction);
    r->directions = both ? 2 : 1;
    return CLQ_OK;
}

static clq_status read_recurrent(struct clq_op_call *call, struct recurrent *r, enum cell cell)
{
    const clq_tensor *x = &call->in[0];
    *r = (struct recurrent){.cell = cell};
    CLQ_TRY(clq_op_need_type(call, 0, CLQ_DTYPE_F32));
    CLQ_TRY(clq_op_need_rank(call, 0, 3));
    CLQ_TRY(clq_op_need_rank(call, 2, 3));
    CLQ_TRY(read_direction(call, r));
    r->batch_first = clq_node_int(call->node, "layout", 0) != 0;
    r->steps = x->shape[r->batch_first];
    r->batch = x->shape[!r->batch_first];
    r->in = x->shape[2];
    r->hidden = clq_node_int(call->node, "hidden_size", call->in[2].shape[2]);
    r->before_reset = clq_node_int(call->node, "linear_before_reset", 0) != 0;
    r->input_forget = clq_node_int(call->node, "input_forget", 0) != 0;
    r->clip = clq_node_float(call->node, "clip", 0.0f);
    if (!(r->clip > 0.0f)) r->clip = INFINITY;
    if (r->hidden < 1 || r->hidden > CLQ_OP_MAX_ELEMENTS / 8)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "hidden_size %lld", (long long)r->hidden);
    int64_t d = r->directions, g = cell, h = r->hidden;
    CLQ_TRY(need_shape(call, 1, 3, (const int64_t[]){d, g * h, r->in}));
    CLQ_TRY(need_shape(call, 2, 3, (const int64_t[]){d, g * h, h}));
    CLQ_TRY(need_shape(call, 3, 2, (const int64_t[]){d, 2 * g * h}));
    const int64_t state[3] = {r->batch_first ? r->batch : d, r->batch_first ? d : r->batch, h};
    CLQ_TRY(need_shape(call, 5, 3, state));
    if (cell == CELL_LSTM) {
        CLQ_TRY(need_shape(call, 6, 3, state));
        CLQ_TRY(need_shape(call, 7, 2, (const int64_t[]){d, 3 * h}));
    }
    if (clq_op_has(call, 4)) {
        CLQ_TRY(clq_op_need_type(call, 4, CLQ_DTYPE_S32));
        CLQ_TRY(clq_op_need_rank(call, 4, 1));
        if (call->in[4].shape[0] != r->batch)
            return clq_op_fail(call, CLQ_ERR_FORMAT, "one length per batch entry is needed");
    }
    return read_activations(call, r);
}

static clq_status infer(struct clq_op_call *call, enum cell cell)
{
    struct recurrent r;
    CLQ_TRY(read_recurrent(call, &r, cell));
    const int64_t last[3] = {r.batch_first ? r.batch : r.directions, r.batch_first ? r.directions : r.batch, r.hidden};
    const int64_t plain[4] = {r.steps, r.directions, r.batch, r.hidden},
                  first[4] = {r.batch, r.steps, r.directions, r.hidden};
    CLQ_TRY(clq_op_set_out(call, 0, CLQ_DTYPE_F32, 4, r.batch_first ? first : plain));
    CLQ_TRY(clq_op_set_out(call, 1, CLQ_DTYPE_F32, 3, last));
    return clq_op_set_out(call, 2, CLQ_DTYPE_F32, 3, last);
}

/* sum[j] = sum over i of x[i] w[i][j], each in the order of i, which does not depend on how many are computed at once. */
CLQ_CLONES static void products(double *sum, const float *x, const double *w, int64_t n, int64_t outputs)
{
    for (int64_t j = 0; j < outputs; j++) sum[j] = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double v = (double)x[i];
        const double *row = w + i * outputs;
        CLQ_IVDEP
        for (int64_t j = 0; j < outputs; j++) sum[j] += v * row[j];
    }
}

/* One direction of one batch entry. */
struct lane {
    const struct recurrent *r;
    const double *w, *rec;                 /* [in][gates * hidden], [hidden][gates * hidden] */
    const float *wb, *rb, *peep;           /* may be NULL */
    double *sum;                           /* [gates * hidden] */
    const struct activation *act;
    float *h, *c, *gate;                   /* [hidden], [hidden], [gates * hidden] */
    float *from_x, *from_h;                /* [gates * hidden]: W x + Wb and R h + Rb */
};

/* to = (float)(x W) + b of all gates; w is [n][gates * hidden]. */
static void part(float *to, const struct lane *l, const float *x, const double *w, const float *b, int64_t n)
{
    int64_t outputs = (int64_t)l->r->cell * l->r->hidden;
    products(l->sum, x, w, n, outputs);
    for (int64_t j = 0; j < outputs; j++) to[j] = (float)l->sum[j] + (b ? b[j] : 0.0f);
}

static void parts(struct lane *l, const float *x)
{
    part(l->from_x, l, x, l->w, l->wb, l->r->in);
    part(l->from_h, l, l->h, l->rec, l->rb, l->r->hidden);
}

static void step_rnn(struct lane *l, const float *x)
{
    int64_t n = l->r->hidden;
    parts(l, x);
    for (int64_t i = 0; i < n; i++) l->h[i] = l->from_x[i] + l->from_h[i];
    activate(l->h, &l->act[0], l->r->clip, n);
}

/* Gates in the order z, r, h. */
static void step_gru(struct lane *l, const float *x)
{
    int64_t n = l->r->hidden;
    float *z = l->gate, *r = z + n, *candidate = r + n;
    parts(l, x);
    for (int64_t i = 0; i < 2 * n; i++) z[i] = l->from_x[i] + l->from_h[i];
    activate(z, &l->act[0], l->r->clip, 2 * n);
    if (!l->r->before_reset) {
        for (int64_t i = 0; i < n; i++) candidate[i] = r[i] * l->h[i];
        part(l->from_h, l, candidate, l->rec, l->rb, n);
    }
    for (int64_t i = 0; i < n; i++)
        candidate[i] = l->from_x[2 * n + i] + (l->r->before_reset ? r[i] * l->from_h[2 * n + i] : l->from_h[2 * n + i]);
    activate(candidate, &l->act[1], l->r->clip, n);
    for (int64_t i = 0; i < n; i++) l->h[i] = (1.0f - z[i]) * candidate[i] + z[i] * l->h[i];
}

static void add_peephole(float *gate, const float *peep, const float *c, int64_t n)
{
    for (int64_t i = 0; peep && i < n; i++) gate[i] += peep[i] * c[i];
}

/* Gates in the order i, o, f, c; peepholes in the order i, o, f. */
static void step_lstm(struct lane *l, const float *x)
{
    int64_t n = l->r->hidden;
    float *in = l->gate, *out = in + n, *forget = out + n, *candidate = forget + n, most = l->r->clip;
    const float *p = l->peep;
    parts(l, x);
    for (int64_t i = 0; i < 4 * n; i++) l->gate[i] = l->from_x[i] + l->from_h[i];
    add_peephole(in, p, l->c, n);
    add_peephole(forget, p ? p + 2 * n : NULL, l->c, n);
    activate(in, &l->act[0], most, n);
    activate(forget, &l->act[0], most, n);
    activate(candidate, &l->act[1], most, n);
    for (int64_t i = 0; l->r->input_forget && i < n; i++) forget[i] = 1.0f - in[i];
    for (int64_t i = 0; i < n; i++) l->c[i] = forget[i] * l->c[i] + in[i] * candidate[i];
    add_peephole(out, p ? p + n : NULL, l->c, n);
    activate(out, &l->act[0], most, n);
    memcpy(l->h, l->c, (size_t)n * sizeof *l->h);
    activate(l->h, &l->act[2], INFINITY, n);
    for (int64_t i = 0; i < n; i++) l->h[i] *= out[i];
}

static void run_lane(struct clq_op_call *call, struct lane *l, int64_t d, int64_t b)
{
    const struct recurrent *r = l->r;
    int64_t n = r->hidden, state = (r->batch_first ? b * r->directions + d : d * r->batch + b) * n, length = r->steps;
    size_t bytes = (size_t)n * sizeof(float);
    bool reverse = r->reverse_first || d == 1;
    float *y = call->out[0].data;
    if (clq_op_has(call, 4)) length = ((const int32_t *)call->in[4].data)[b];
    length = length < 0 ? 0 : length > r->steps ? r->steps : length;
    memset(l->h, 0, bytes);
    memset(l->c, 0, bytes);
    if (clq_op_has(call, 5)) memcpy(l->h, (const float *)call->in[5].data + state, bytes);
    if (r->cell == CELL_LSTM && clq_op_has(call, 6)) memcpy(l->c, (const float *)call->in[6].data + state, bytes);
    for (int64_t s = 0; s < r->steps; s++) {
        int64_t t = s < length && reverse ? length - 1 - s : s;
        float *to =
            y +
            (r->batch_first ? ((b * r->steps + t) * r->directions + d) : ((t * r->directions + d) * r->batch + b)) * n;
        if (s >= length) {
            if (y) memset(to, 0, bytes);
            continue;
        }
        const float *x =
            (const float *)call->in[0].data + (r->batch_first ? b * r->steps + t : t * r->batch + b) * r->in;
        if (r->cell == CELL_RNN)
            step_rnn(l, x);
        else if (r->cell == CELL_GRU)
            step_gru(l, x);
        else
            step_lstm(l, x);
        if (y) memcpy(to, l->h, bytes);
    }
    if (call->n_out > 1 && call->out[1].data) memcpy((float *)call->out[1].data + state, l->h, bytes);
    if (call->n_out > 2 && call->out[2].data) memcpy((float *)call->out[2].data + state, l->c, bytes);
}

/* [outputs][n] to double [n][outputs] */
static void turn(double *to, const float *w, int64_t outputs, int64_t n)
{
    for (int64_t j = 0; j < outputs; j++)
        for (int64_t i = 0; i < n; i++) to[i * outputs + j] = (double)w[j * n + i];
}

static clq_status eval(struct clq_op_call *call, enum cell cell)
{
    struct recurrent r;
    CLQ_TRY(read_recurrent(call, &r, cell));
    int64_t n = r.hidden, g = cell, per = cell == CELL_RNN ? 1 : cell == CELL_GRU ? 2 : 3;
    size_t gates = (size_t)(g * n), doubles = gates * ((size_t)(r.in + n) + 1), floats = 3 * gates + 2 * (size_t)n;
    double *wide = malloc(doubles * sizeof *wide);
    float *memory = malloc(floats * sizeof *memory);
    if (!wide || !memory) {
        free(wide);
        free(memory);
        return clq_op_no_memory(call);
    }
    for (int64_t d = 0; d < r.directions; d++) {
        struct lane l = {.r = &r, .h = memory, .c = memory + n, .gate = memory + 2 * n, .act = r.act + d * per};
        double *w = wide, *rec = w + gates * (size_t)r.in;
        l.from_x = l.gate + gates;
        l.from_h = l.from_x + gates;
        l.sum = rec + gates * (size_t)n;
        turn(w, (const float *)call->in[1].data + d * g * n * r.in, g * n, r.in);
        turn(rec, (const float *)call->in[2].data + d * g * n * n, g * n, n);
        l.w = w;
        l.rec = rec;
        if (clq_op_has(call, 3)) {
            l.wb = (const float *)call->in[3].data + d * 2 * g * n;
            l.rb = l.wb + g * n;
        }
        if (cell == CELL_LSTM && clq_op_has(call, 7)) l.peep = (const float *)call->in[7].data + d * 3 * n;
        for (int64_t b = 0; b < r.batch; b++) run_lane(call, &l, d, b);
    }
    free(wide);
    free(memory);
    return CLQ_OK;
}

clq_op_fn clq_infer_rnn, clq_eval_rnn, clq_infer_gru, clq_eval_gru, clq_infer_lstm, clq_eval_lstm;

clq_status clq_infer_rnn(struct clq_op_call *call)
{
    return infer(call, CELL_RNN);
}

clq_status clq_eval_rnn(struct clq_op_call *call)
{
    return eval(call, CELL_RNN);
}

clq_status clq_infer_gru(struct clq_op_call *call)
{
    return infer(call, CELL_GRU);
}

clq_status clq_eval_gru(struct clq_op_call *call)
{
    return eval(call, CELL_GRU);
}

clq_status clq_infer_lstm(struct clq_op_call *call)
{
    return infer(call, CELL_LSTM);
}

clq_status clq_eval_lstm(struct clq_op_call *call)
{
    return eval(call, CELL_LSTM);
}
