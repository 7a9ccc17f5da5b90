/* SPDX-License-Identifier: Apache-2.0
 * The table made from ops.def, and the checks around every infer and eval. */
#include "ops/op.h"

#include <stdlib.h>
#include <string.h>

#include "ops/convert.h"

#define CLQ_ONNX_OP(domain, type, since, infer, eval, flags, min_in, max_in, min_out, max_out) \
    clq_op_fn clq_infer_##infer, clq_eval_##eval;
#define CLQ_ONNX_END(domain, type, since)
#include "ops/ops.def"
#undef CLQ_ONNX_OP
#undef CLQ_ONNX_END

static const struct clq_op ops[] = {
#define CLQ_ONNX_OP(domain, type, since, infer, eval, flags, min_in, max_in, min_out, max_out) \
    {domain, #type, since, min_in, max_in, min_out, max_out, clq_infer_##infer, clq_eval_##eval, flags},
#define CLQ_ONNX_END(domain, type, since) {domain, #type, since, 0, 0, 0, 0, NULL, NULL, 0},
#include "ops/ops.def"
#undef CLQ_ONNX_OP
#undef CLQ_ONNX_END
};

const struct clq_op *clq_op_find(const char *domain, const char *op_type, int64_t opset)
{
    const struct clq_op *best = NULL;
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (strcmp(ops[i].op_type, op_type) == 0 && strcmp(ops[i].domain, domain) == 0 && ops[i].since <= opset &&
            (!best || ops[i].since > best->since))
            best = &ops[i];
    return best && best->eval ? best : NULL;
}

size_t clq_op_table(const struct clq_op **out)
{
    *out = ops;
    return sizeof ops / sizeof *ops;
}

static clq_status check_counts(const struct clq_op *op, struct clq_op_call *call)
{
    if (!op)
        return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "no such operator in opset %lld of domain '%s'",
                           (long long)call->opset, call->node->domain ? call->node->domain : "");
    if (call->n_in < op->min_in || (op->max_in >= 0 && call->n_in > op->max_in))
        return clq_op_fail(call, CLQ_ERR_FORMAT, "%d inputs, expected %d to %d", call->n_in, op->min_in, op->max_in);
    if (call->n_out < op->min_out || (op->max_out >= 0 && call->n_out > op->max_out))
        return clq_op_fail(call, CLQ_ERR_FORMAT, "%d outputs, expected %d to %d", call->n_out, op->min_out,
                           op->max_out);
    for (int i = 0; i < call->n_in; i++) {
        size_t n;
        if (call->in[i].dtype == CLQ_DTYPE_NONE) {
            if (i < op->min_in) return clq_op_fail(call, CLQ_ERR_FORMAT, "required input %d is absent", i);
            continue;
        }
        if (clq_tensor_elements(&n, &call->in[i]) != CLQ_OK)
            return clq_op_fail(call, CLQ_ERR_FORMAT, "input %d has no valid shape", i);
        if (n > (size_t)CLQ_OP_MAX_ELEMENTS)
            return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "input %d has more than 2^31 elements", i);
        if (clq_dtype_bits(call->in[i].dtype) == 0) return clq_op_bad_type(call, i);
    }
    return CLQ_OK;
}

/* ---- float16 and bfloat16: widened to float32 for the call, results rounded back ---- */

static bool is_narrow(clq_dtype t)
{
    return t == CLQ_DTYPE_F16 || t == CLQ_DTYPE_BF16;
}

/* Whether the call is widened, and the type that its float32 results get: that of the first floating input. */
static bool widens(const struct clq_op *op, const struct clq_op_call *call, clq_dtype *type)
{
    bool any = false;
    *type = CLQ_DTYPE_NONE;
    if (op->flags & (CLQ_OP_TYPES | CLQ_OP_MOVES | CLQ_OP_SHAPE_ONLY)) return false;
    for (int i = 0; i < call->n_in; i++) {
        clq_dtype t = call->in[i].dtype;
        any = any || is_narrow(t);
        if (*type == CLQ_DTYPE_NONE && (is_narrow(t) || t == CLQ_DTYPE_F32)) *type = t;
    }
    return any;
}

enum { FEW = 64 }; /* inputs and outputs of a widened call, outputs of any */

struct wide {
    struct clq_op_call call;
    clq_tensor in[FEW], out[FEW];
};

static void release(struct wide *w, const struct clq_op_call *call)
{
    for (int i = 0; i < call->n_in; i++)
        if (w->in[i].data != call->in[i].data) free(w->in[i].data);
    for (int i = 0; i < call->n_out; i++)
        if (w->out[i].data != call->out[i].data) free(w->out[i].data);
}

static void *room_for(const clq_tensor *t)
{
    int64_t n = clq_op_count(t);
    return malloc(n > 0 ? (size_t)n * sizeof(float) : 1);
}

/* The call on float32 inputs; most: inputs of more elements stay without data, which only shapes need. On failure nothing is
 * held. */
static clq_status widen(struct wide *w, struct clq_op_call *call, int64_t most)
{
    if (call->n_in > FEW || call->n_out > FEW) return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "more than %d inputs or outputs of 16-bit floats", FEW);
    w->call = *call;
    w->call.in = w->in;
    w->call.out = w->out;
    for (int i = 0; i < call->n_in; i++) w->in[i] = call->in[i];
    for (int i = 0; i < call->n_out; i++) w->out[i] = call->out[i];
    for (int i = 0; i < call->n_in; i++) {
        const clq_tensor *x = &call->in[i];
        if (!is_narrow(x->dtype)) continue;
        w->in[i].dtype = CLQ_DTYPE_F32;
        w->in[i].data = NULL;
        if (!x->data || clq_op_count(x) > most) continue;
        float *y = w->in[i].data = room_for(x);
        if (!y) {
            release(w, call);
            return clq_op_no_memory(call);
        }
        for (int64_t k = 0, n = clq_op_count(x); k < n; k++) y[k] = (float)clq_load_real(x, k);
    }
    return CLQ_OK;
}

static clq_dtype narrowed(const struct clq_op *op, int output, clq_dtype inferred, clq_dtype type)
{
    bool keeps = inferred != CLQ_DTYPE_F32 || ((op->flags & CLQ_OP_STASH) && output > 0);
    return keeps ? inferred : type;
}

static clq_status infer_widened(const struct clq_op *op, struct clq_op_call *call, clq_dtype type)
{
    enum { SHORT_LIST = 1024 }; /* of values that decide a shape */
    struct wide w;
    CLQ_TRY(widen(&w, call, op->flags & CLQ_OP_DATA_SHAPE ? INT64_MAX : SHORT_LIST));
    clq_status st = op->infer(&w.call);
    call->needs_value = w.call.needs_value;
    call->needed_input = w.call.needed_input;
    for (int i = 0; i < call->n_out && st == CLQ_OK; i++) {
        void *data = call->out[i].data;
        call->out[i] = w.out[i];
        call->out[i].data = data;
        call->out[i].dtype = narrowed(op, i, w.out[i].dtype, type);
    }
    release(&w, call);
    return st;
}

static clq_status eval_widened(const struct clq_op *op, struct clq_op_call *call)
{
    struct wide w;
    CLQ_TRY(widen(&w, call, INT64_MAX));
    clq_status st = CLQ_OK;
    for (int i = 0; i < call->n_out && st == CLQ_OK; i++) {
        if (!is_narrow(call->out[i].dtype)) continue;
        w.out[i].dtype = CLQ_DTYPE_F32;
        if (!call->out[i].data) continue;
        void *data = room_for(&call->out[i]);
        if (data) w.out[i].data = data;
        else st = clq_op_no_memory(call);
    }
    if (st == CLQ_OK) st = op->eval(&w.call);
    for (int i = 0; i < call->n_out && st == CLQ_OK; i++) {
        const clq_tensor *y = &call->out[i];
        if (!is_narrow(y->dtype) || !y->data) continue;
        const float *x = w.out[i].data;
        for (int64_t k = 0, n = clq_op_count(y); k < n; k++) clq_store_real(y, k, (double)x[k]);
    }
    release(&w, call);
    return st;
}

static clq_status infer(const struct clq_op *op, struct clq_op_call *call)
{
    clq_dtype type;
    return widens(op, call, &type) ? infer_widened(op, call, type) : op->infer(call);
}

clq_status clq_op_infer(const struct clq_op *op, struct clq_op_call *call)
{
    CLQ_TRY(check_counts(op, call));
    return infer(op, call);
}

/* The values that infer saw may differ from those that are there now; shapes that no longer fit end here, so that eval
 * may rely on every check of infer. */
static clq_status check_outputs(const struct clq_op *op, struct clq_op_call *call)
{
    clq_tensor fresh[FEW];
    struct clq_op_call again = *call;
    if (call->n_out > FEW) return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "more than %d outputs", FEW);
    memset(fresh, 0, sizeof fresh);
    again.out = fresh;
    CLQ_TRY(infer(op, &again));
    for (int i = 0; i < call->n_out; i++) {
        const clq_tensor *a = &fresh[i], *b = &call->out[i];
        if (b->dtype == CLQ_DTYPE_NONE && !b->data) continue;
        bool same = a->dtype == b->dtype && a->rank == b->rank;
        for (int k = 0; same && k < a->rank; k++) same = a->shape[k] == b->shape[k];
        if (!same) return clq_op_fail(call, CLQ_ERR_INTERNAL, "output %d does not have the inferred type and shape", i);
    }
    return CLQ_OK;
}

clq_status clq_op_eval(const struct clq_op *op, struct clq_op_call *call)
{
    CLQ_TRY(check_counts(op, call));
    for (int i = 0; i < call->n_in && !(op->flags & CLQ_OP_SHAPE_ONLY); i++)
        if (call->in[i].dtype != CLQ_DTYPE_NONE && !call->in[i].data && clq_op_count(&call->in[i]) > 0)
            return clq_op_fail(call, CLQ_ERR_INTERNAL, "input %d has no data", i);
    CLQ_TRY(check_outputs(op, call));
    bool empty = true; /* nothing to write, or nobody reads it */
    for (int i = 0; i < call->n_out; i++) empty = empty && (!call->out[i].data || clq_op_count(&call->out[i]) == 0);
    clq_dtype type;
    if (empty) return CLQ_OK;
    return widens(op, call, &type) ? eval_widened(op, call) : op->eval(call);
}
