/* SPDX-License-Identifier: Apache-2.0
 * Models in onnxruntime: sessions made from memory with the settings that the model will be served with. */
#include <stdlib.h>
#include <string.h>

#include "formats/onnx.h"
#include "ort.h"

enum { SEVERITY_ERROR = 3 };

struct session {
    struct clq_ort *ort;
    ort_object *handle;
    int n_in, n_out;
    const char **in_names, **out_names; /* the model's */
    ort_object **in, **out;
    unsigned char *bytes;
};

clq_status clq_ort_check(const struct clq_ort *ort, ort_status *status, clq_status kind, const char *what, struct clq_error *err)
{
    if (!status) return CLQ_OK;
    clq_status st = clq_fail(err, kind, "onnxruntime %s: %s: %s", ort->version, what, ort->api.error_message(status));
    ort->api.release_status(status);
    return st;
}

static clq_status make_options(ort_object **out, const struct clq_ort *ort, const char *prefix, struct clq_error *err)
{
    const struct ort_api *a = &ort->api;
    CLQ_TRY(clq_ort_check(ort, a->create_options(out), CLQ_ERR_INTERNAL, "session options", err));
    ort_status *s = a->set_severity(*out, SEVERITY_ERROR);
    if (!s) s = a->set_intra_threads(*out, ort->threads);
    if (!s) s = a->set_inter_threads(*out, 1);
    if (!s) s = a->add_config(*out, "session.intra_op.allow_spinning", "0"); /* spinning takes the cores from whom it is compared with */
    if (!s) s = a->add_config(*out, "session.inter_op.allow_spinning", "0");
    if (!s && prefix) s = a->enable_profiling(*out, prefix);
    return clq_ort_check(ort, s, CLQ_ERR_INTERNAL, "session options", err);
}

static clq_status name_values(struct session *s, const struct clq_model *model, struct clq_error *err)
{
    const struct clq_graph *g = &model->graph;
    s->n_in = g->n_inputs;
    s->n_out = g->n_outputs;
    s->in_names = calloc((size_t)s->n_in + 1, sizeof *s->in_names);
    s->out_names = calloc((size_t)s->n_out + 1, sizeof *s->out_names);
    s->in = calloc((size_t)s->n_in + 1, sizeof *s->in);
    s->out = calloc((size_t)s->n_out + 1, sizeof *s->out);
    if (!s->in_names || !s->out_names || !s->in || !s->out) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; i < s->n_in; i++) s->in_names[i] = g->inputs[i].name;
    for (int i = 0; i < s->n_out; i++) s->out_names[i] = g->outputs[i].name;
    return CLQ_OK;
}

static clq_status create(struct session *s, const struct clq_model *model, const char *prefix, struct clq_error *err)
{
    ort_object *options = NULL;
    size_t n;
    CLQ_TRY(name_values(s, model, err));
    CLQ_TRY(clq_onnx_encode(&s->bytes, &n, model, err));
    clq_status st = make_options(&options, s->ort, prefix, err);
    if (st == CLQ_OK)
        st = clq_ort_check(s->ort, s->ort->api.create_session(s->ort->env, s->bytes, n, options, &s->handle), CLQ_ERR_UNSUPPORTED, "the model is refused", err);
    if (options) s->ort->api.release_options(options);
    free(s->bytes); /* the library keeps a copy of what it needs */
    s->bytes = NULL;
    return st;
}

clq_status clq_ort_open(void **out, struct clq_ort *ort, const struct clq_model *model, const char *prefix, struct clq_error *err)
{
    struct session *s = calloc(1, sizeof *s);
    if (!s) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    s->ort = ort;
    clq_status st = create(s, model, prefix, err);
    if (st == CLQ_OK) *out = s;
    else clq_ort_close(s);
    return st;
}

ort_object *clq_ort_handle(void *session)
{
    return ((struct session *)session)->handle;
}

static void release(struct session *s, ort_object **list, int n)
{
    for (int i = 0; list && i < n; i++) {
        if (list[i]) s->ort->api.release_value(list[i]);
        list[i] = NULL;
    }
}

void clq_ort_close(void *session)
{
    struct session *s = session;
    if (!s) return;
    release(s, s->in, s->n_in);
    release(s, s->out, s->n_out);
    if (s->handle) s->ort->api.release_session(s->handle);
    free(s->in_names);
    free(s->out_names);
    free(s->in);
    free(s->out);
    free(s->bytes);
    free(s);
}

/* What a result is: its type, its shape and where it lies. */
static clq_status describe(clq_tensor *t, const struct clq_ort *ort, ort_object *value, const char *name, struct clq_error *err)
{
    const struct ort_api *a = &ort->api;
    ort_object *info = NULL;
    int yes = 0, type = 0;
    size_t rank = 0;
    CLQ_TRY(clq_ort_check(ort, a->is_tensor(value, &yes), CLQ_ERR_INTERNAL, name, err));
    if (!yes) return clq_fail(err, CLQ_ERR_UNSUPPORTED, "output '%s' is no tensor in onnxruntime", name);
    CLQ_TRY(clq_ort_check(ort, a->type_and_shape(value, &info), CLQ_ERR_INTERNAL, name, err));
    ort_status *s = a->element_type(info, &type);
    if (!s) s = a->dimension_count(info, &rank);
    if (!s && rank <= CLQ_MAX_RANK) s = a->dimensions(info, t->shape, rank);
    a->release_info(info);
    CLQ_TRY(clq_ort_check(ort, s, CLQ_ERR_INTERNAL, name, err));
    if (rank > CLQ_MAX_RANK || clq_dtype_bits((clq_dtype)type) < 8)
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "output '%s' has rank %zu and ONNX type %d in onnxruntime", name, rank, type);
    t->dtype = (clq_dtype)type;
    t->rank = (int)rank;
    return CLQ_OK;
}

static clq_status take_output(struct session *s, int i, clq_tensor *out, struct clq_error *err)
{
    void *to = out->data, *from = NULL;
    size_t bytes;
    CLQ_TRY(describe(out, s->ort, s->out[i], s->out_names[i], err));
    CLQ_TRY(clq_ort_check(s->ort, s->ort->api.tensor_data(s->out[i], &from), CLQ_ERR_INTERNAL, s->out_names[i], err));
    if (clq_tensor_bytes(&bytes, out) != CLQ_OK) return clq_fail(err, CLQ_ERR_INTERNAL, "output '%s' has a shape that is none", s->out_names[i]);
    if (!to) out->data = from;
    else if (bytes) memcpy(to, from, bytes);
    return CLQ_OK;
}

clq_status clq_ort_run(void *session, const clq_tensor *inputs, clq_tensor *outputs, struct clq_error *err)
{
    struct session *s = session;
    const struct ort_api *a = &s->ort->api;
    release(s, s->out, s->n_out);
    release(s, s->in, s->n_in);
    for (int i = 0; i < s->n_in; i++) {
        size_t bytes;
        if (clq_tensor_bytes(&bytes, &inputs[i]) != CLQ_OK) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "input '%s' has no valid shape", s->in_names[i]);
        ort_status *made = a->create_tensor(s->ort->memory, inputs[i].data, bytes, inputs[i].shape, (size_t)inputs[i].rank, inputs[i].dtype, &s->in[i]);
        CLQ_TRY(clq_ort_check(s->ort, made, CLQ_ERR_INVALID_ARGUMENT, s->in_names[i], err));
    }
    ort_status *ran = a->run(s->handle, NULL, s->in_names, (const ort_object *const *)s->in, (size_t)s->n_in, s->out_names, (size_t)s->n_out, s->out);
    CLQ_TRY(clq_ort_check(s->ort, ran, CLQ_ERR_UNSUPPORTED, "the run failed", err));
    for (int i = 0; i < s->n_out && outputs; i++) CLQ_TRY(take_output(s, i, &outputs[i], err));
    return CLQ_OK;
}
