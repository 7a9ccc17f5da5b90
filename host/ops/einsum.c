/* SPDX-License-Identifier: Apache-2.0
 * Einsum with repeated letters, ellipsis and implicit output: one plain loop over the output and the summed indices. */
#include <stdlib.h>

#include "ops/convert.h"

enum { MAX_OPERANDS = 8, LETTERS = 52, IDS = LETTERS + CLQ_MAX_RANK }; /* ids from LETTERS on: axes of the ellipsis */

/* More steps than this are refused: a hostile equation can ask for 2^63. */
static const double max_steps = 6.9e10;

struct term {
    int n;
    int id[2 * CLQ_MAX_RANK];
};

struct einsum {
    struct term in[MAX_OPERANDS], out, sum;
    int ellipsis; /* axes */
    int64_t dim[IDS];
    int64_t stride[MAX_OPERANDS][IDS];
    int uses[IDS];
};

static int letter_id(char c)
{
    return c >= 'a' && c <= 'z' ? c - 'a' + 26 : c >= 'A' && c <= 'Z' ? c - 'A' : -1;
}

/* Counts the letters of one term, and whether it has an ellipsis. Stops at a comma, an arrow or the end. */
static clq_status scan_term(struct clq_op_call *call, const char **text, int *letters, bool *dots)
{
    *letters = 0;
    *dots = false;
    for (;; (*text)++) {
        char c = **text;
        if (c == ' ') continue;
        if (c == 0 || c == ',' || c == '-') return CLQ_OK;
        if (c == '.' && (*text)[1] == '.' && (*text)[2] == '.' && !*dots) {
            *dots = true;
            *text += 2;
        } else if (letter_id(c) >= 0 && *letters < CLQ_MAX_RANK) {
            (*letters)++;
        } else {
            return clq_op_fail(call, CLQ_ERR_FORMAT, "the equation breaks at '%.8s'", *text);
        }
    }
}

/* Turns a checked term into ids; the ellipsis stands for the last `dots` of its axes. */
static void fill_term(const struct einsum *e, struct term *t, const char *text, int dots)
{
    t->n = 0;
    for (; *text && *text != ',' && *text != '-'; text++) {
        if (*text == '.') {
            for (int i = 0; i < dots; i++) t->id[t->n++] = LETTERS + e->ellipsis - dots + i;
            text += 2;
        } else if (*text != ' ') {
            t->id[t->n++] = letter_id(*text);
        }
    }
}

static clq_status add_operand(struct clq_op_call *call, struct einsum *e, int i, const char *text, int letters,
                              bool dots)
{
    const clq_tensor *x = &call->in[i];
    int extra = x->rank - letters;
    if (extra < 0 || (extra > 0 && !dots))
        return clq_op_fail(call, CLQ_ERR_FORMAT, "operand %d has rank %d, the equation %d letters", i, x->rank,
                           letters);
    int64_t stride[CLQ_MAX_RANK];
    clq_op_strides(stride, x);
    fill_term(e, &e->in[i], text, extra);
    for (int k = 0; k < x->rank; k++) {
        int id = e->in[i].id[k];
        int64_t d = x->shape[k];
        if (e->dim[id] < 0 || (e->dim[id] == 1 && d != 1)) e->dim[id] = d;
        if (d != e->dim[id] && d != 1)
            return clq_op_fail(call, CLQ_ERR_FORMAT, "operand %d has %lld elements on axis %d, expected %lld", i,
                               (long long)d, k, (long long)e->dim[id]);
        if (d != 1) e->stride[i][id] += stride[k];
        e->uses[id]++;
    }
    return CLQ_OK;
}

static clq_status parse_inputs(struct clq_op_call *call, struct einsum *e, const char **text)
{
    const char *start = *text;
    int letters;
    bool dots;
    for (int pass = 0; pass < 2; pass++) { /* the first pass finds how long the ellipsis is */
        *text = start;
        for (int i = 0; i < call->n_in; i++) {
            const char *from = *text;
            CLQ_TRY(scan_term(call, text, &letters, &dots));
            if (pass == 0 && dots && call->in[i].rank - letters > e->ellipsis) e->ellipsis = call->in[i].rank - letters;
            if (pass == 1) CLQ_TRY(add_operand(call, e, i, from, letters, dots));
            if (i < call->n_in - 1 && *(*text)++ != ',')
                return clq_op_fail(call, CLQ_ERR_FORMAT, "the equation has fewer than %d operands", call->n_in);
        }
    }
    return CLQ_OK;
}

static clq_status parse(struct clq_op_call *call, struct einsum *e)
{
    const char *text = clq_node_string(call->node, "equation", "");
    int letters;
    bool dots, in_out[IDS] = {false};
    memset(e, 0, sizeof *e);
    for (int i = 0; i < IDS; i++) e->dim[i] = -1;
    if (call->n_in > MAX_OPERANDS) return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "more than %d operands", MAX_OPERANDS);
    for (int i = 0; i < call->n_in; i++) {
        CLQ_TRY(clq_op_need_same_type(call, i));
        if (!clq_is_number(call->in[i].dtype)) return clq_op_bad_type(call, i);
    }
    CLQ_TRY(parse_inputs(call, e, &text));
    if (text[0] == '-' && text[1] == '>') {
        const char *from = text += 2;
        CLQ_TRY(scan_term(call, &text, &letters, &dots));
        if (letters + (dots ? e->ellipsis : 0) > CLQ_MAX_RANK)
            return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "a result of more than %d axes", CLQ_MAX_RANK);
        fill_term(e, &e->out, from, dots ? e->ellipsis : 0);
    } else {
        for (int k = 0; k < e->ellipsis; k++) e->out.id[e->out.n++] = LETTERS + k;
        for (int id = 0; id < LETTERS && e->out.n < CLQ_MAX_RANK; id++)
            if (e->uses[id] == 1) e->out.id[e->out.n++] = id;
    }
    if (*text) return clq_op_fail(call, CLQ_ERR_FORMAT, "the equation goes on with '%.8s'", text);
    for (int k = 0; k < e->out.n; k++) {
        int id = e->out.id[k];
        if (e->dim[id] < 0 || in_out[id])
            return clq_op_fail(call, CLQ_ERR_FORMAT, "an output letter is repeated or has no operand");
        in_out[id] = true;
    }
    double steps = 1.0;
    for (int id = 0; id < IDS; id++) {
        if (e->dim[id] < 0) continue;
        steps *= (double)e->dim[id];
        if (in_out[id]) continue;
        if (e->sum.n == 2 * CLQ_MAX_RANK) return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "too many summed indices");
        e->sum.id[e->sum.n++] = id;
    }
    if (steps > max_steps) return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "%g steps", steps);
    return CLQ_OK;
}

clq_op_fn clq_infer_einsum, clq_eval_einsum;

clq_status clq_infer_einsum(struct clq_op_call *call)
{
    struct einsum e;
    int64_t shape[2 * CLQ_MAX_RANK];
    CLQ_TRY(parse(call, &e));
    for (int k = 0; k < e.out.n; k++) shape[k] = e.dim[e.out.id[k]];
    return clq_op_set_out(call, 0, call->in[0].dtype, e.out.n, shape);
}

/* Moves `at` of every operand to the next coordinate of a term; false after the last. */
static bool advance(const struct einsum *e, const struct term *t, int64_t *c, int64_t(*at), int n)
{
    for (int k = t->n - 1; k >= 0; k--) {
        int id = t->id[k];
        c[k]++;
        for (int i = 0; i < n; i++) at[i] += e->stride[i][id];
        if (c[k] < e->dim[id]) return true;
        for (int i = 0; i < n; i++) at[i] -= c[k] * e->stride[i][id];
        c[k] = 0;
    }
    return false;
}

static double sum_real(const struct clq_op_call *call, const struct einsum *e, int64_t *at)
{
    int64_t c[2 * CLQ_MAX_RANK] = {0};
    double sum = 0.0;
    do {
        double p = 1.0;
        for (int i = 0; i < call->n_in; i++)
            p *= call->in[i].dtype == CLQ_DTYPE_F32 ? (double)((const float *)call->in[i].data)[at[i]]
                                                    : clq_load_real(&call->in[i], at[i]);
        sum += p;
    } while (advance(e, &e->sum, c, at, call->n_in));
    return sum;
}

static int64_t sum_int(const struct clq_op_call *call, const struct einsum *e, int64_t *at)
{
    int64_t c[2 * CLQ_MAX_RANK] = {0};
    uint64_t sum = 0;
    do {
        uint64_t p = 1;
        for (int i = 0; i < call->n_in; i++) p *= (uint64_t)clq_load_int(&call->in[i], at[i]);
        sum += p;
    } while (advance(e, &e->sum, c, at, call->n_in));
    return (int64_t)sum;
}

clq_status clq_eval_einsum(struct clq_op_call *call)
{
    struct einsum e;
    int64_t c[2 * CLQ_MAX_RANK] = {0}, at[MAX_OPERANDS] = {0}, o = 0;
    CLQ_TRY(parse(call, &e));
    bool real = clq_is_real(call->in[0].dtype), empty = false;
    for (int k = 0; k < e.sum.n; k++) empty = empty || e.dim[e.sum.id[k]] == 0;
    do { /* a full inner walk leaves `at` where it was */
        if (real)
            clq_store_real(&call->out[0], o++, empty ? 0.0 : sum_real(call, &e, at));
        else
            clq_store_int(&call->out[0], o++, empty ? 0 : sum_int(call, &e, at));
    } while (advance(&e, &e.out, c, at, call->n_in));
    return CLQ_OK;
}
