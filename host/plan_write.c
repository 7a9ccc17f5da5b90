/* SPDX-License-Identifier: Apache-2.0
 * Results as files: the model, and the plan that explains it and replays it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/version.h>

#include "base/file.h"
#include "base/hash.h"
#include "formats/onnx.h"
#include "result.h"

static clq_status no_memory(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

static double or_nan(double v)
{
    return isfinite(v) ? v : NAN;
}

static clq_status model_hash(char out[65], const struct clq_model *m, struct clq_error *err)
{
    unsigned char *bytes;
    size_t n;
    if (m->sha256[0]) {
        memcpy(out, m->sha256, 65);
        return CLQ_OK;
    }
    CLQ_TRY(clq_onnx_encode(&bytes, &n, m, err));
    clq_sha256_hex(out, bytes, n);
    free(bytes);
    return CLQ_OK;
}

static clq_status fill_candidates(struct clq_plan_data *p, struct clq_plan_layer *l, const struct clq_unit *u, const struct clq_unit_record *rec,
                                  struct clq_error *err)
{
    static const struct {
        const char *mode, *device;
    } kinds[] = {{"f32", "cpu"}, {"int8", "cpu"}, {"int8", "opencl:0"}};
    l->candidates = clq_arena_array(&p->arena, 3, sizeof *l->candidates);
    if (!l->candidates) return no_memory(err);
    for (int k = 0; k < 3; k++) {
        double us = k == 0 ? rec->f32_us : k == 1 ? rec->int8_us : rec->device_us;
        if ((k > 0 && !rec->capable) || (k == 2 && rec->device_us < 0)) continue;
        struct clq_plan_candidate *c = &l->candidates[l->n_candidates];
        CLQ_TRY(clq_scheme_from_mode(&c->scheme, kinds[k].mode, kinds[k].device, err));
        c->scheme.algorithm = k ? "mse" : "";
        c->scheme.variant = "";
        c->error = k && rec->noise > 0 ? rec->noise : 0;
        c->sqnr_db = c->error > 0 ? -10 * log10(c->error) : NAN;
        c->time_us = us >= 0 ? us : 0;
        c->timings = us >= 0 ? 21 : 0;
        c->bytes = u->params * (k ? 1 : 4);
        bool chosen = k == 0 ? !rec->on_codes : k == 1 ? rec->on_codes && !rec->on_device : rec->on_device;
        if (chosen) l->choice = (int)l->n_candidates;
        l->n_candidates++;
    }
    return CLQ_OK;
}

static clq_status fill_layer(struct clq_result *r, struct clq_plan_layer *l, int i, struct clq_error *err)
{
    struct clq_plan_data *p = &r->plan;
    const struct clq_search *s = &r->search;
    const struct clq_unit *u = &s->units.units[i];
    l->name = clq_arena_string(&p->arena, u->name);
    l->op = clq_arena_string(&p->arena, u->op_type);
    l->outputs = clq_arena_array(&p->arena, 1, sizeof *l->outputs);
    l->reason = clq_arena_string(&p->arena, r->layers[i].reason);
    if (!l->name || !l->op || !l->outputs || !l->reason) return no_memory(err);
    l->n_outputs = 1;
    l->outputs[0] = clq_arena_string(&p->arena, s->units.tensors[u->out].name);
    if (!l->outputs[0]) return no_memory(err);
    CLQ_TRY(fill_candidates(p, l, u, &s->records[i], err));
    const struct clq_unit_weights *w = s->weights ? &s->weights[i] : NULL;
    if (!w || !w->correction) return CLQ_OK;
    l->arrays = clq_arena_array(&p->arena, 1, sizeof *l->arrays);
    float *v = clq_arena_array(&p->arena, (size_t)w->channels + 1, sizeof *v);
    if (!l->arrays || !v) return no_memory(err);
    for (int64_t c = 0; c < w->channels; c++) v[c] = (float)w->correction[c];
    l->arrays[0] = (struct clq_plan_array){.name = "bias_correction", .values = v, .n = (size_t)w->channels};
    l->n_arrays = 1;
    return CLQ_OK;
}

static clq_status fill_tensors(struct clq_result *r, struct clq_error *err)
{
    struct clq_plan_data *p = &r->plan;
    const struct clq_search *s = &r->search;
    p->tensors = clq_arena_array(&p->arena, (size_t)s->units.n_tensors + 1, sizeof *p->tensors);
    if (!p->tensors) return no_memory(err);
    for (int t = 0; t < s->units.n_tensors; t++) {
        const struct clq_tensor_record *rec = &s->tensors[t];
        if (!rec->hist) continue;
        struct clq_plan_tensor *o = &p->tensors[p->n_tensors];
        bool is_signed = s->target == CLQ_TARGET_TENSORRT;
        *o = (struct clq_plan_tensor){.name = clq_arena_string(&p->arena, s->units.tensors[t].name), .dtype = is_signed ? 1 : 0, .scale = s->params[t].scale,
                                      .zero_point = s->params[t].zero_point - (is_signed ? 128 : 0), .min = rec->range[rec->method].lo,
                                      .max = rec->range[rec->method].hi, .method = clq_calibrator_name(rec->method)};
        o->methods = clq_arena_array(&p->arena, CLQ_CAL_COUNT, sizeof *o->methods);
        if (!o->name || !o->methods) return no_memory(err);
        for (int m = 0; m < CLQ_CAL_COUNT; m++) o->methods[m] = (struct clq_plan_method){clq_calibrator_name((enum clq_calibrator)m), rec->error[m]};
        o->n_methods = CLQ_CAL_COUNT;
        p->n_tensors++;
    }
    return CLQ_OK;
}

static void fill_results(struct clq_result *r)
{
    const clq_summary *m = &r->summary;
    r->plan.results = (struct clq_plan_results){
        .sqnr_db_predicted = NAN, .sqnr_db = or_nan(m->sqnr_db), .sqnr_db_lower = NAN, .identical = isinf(m->sqnr_db), .cosine = m->cosine,
        .top1 = m->top1 < 0 ? NAN : m->top1, .top1_reference = m->top1_reference < 0 ? NAN : m->top1_reference,
        .agreement = m->agreement < 0 ? NAN : m->agreement, .speedup = m->speedup > 0 ? m->speedup : NAN, .speedup_lo = m->speedup_lo > 0 ? m->speedup_lo : NAN,
        .speedup_hi = m->speedup_hi > 0 ? m->speedup_hi : NAN, .time_us_predicted = NAN, .time_us = m->median_ms > 0 ? m->median_ms * 1e3 : NAN,
        .pairs = (int64_t)m->pairs, .kept_float = m->kept_float, .slower_than_float = m->slower_than_float, .budget_met = m->budget_met,
        .reason = m->reason, .model_bytes = (int64_t)m->model_bytes, .reference_bytes = (int64_t)m->reference_bytes,
        .peak_rss_bytes = (int64_t)m->peak_rss_bytes, .seconds = m->seconds,
    };
}

static const char *base_name(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash ? slash + 1 : path ? path : "model.onnx";
}

clq_status clq_result_fill_plan(struct clq_result *r, const clq_quantize_options *o, struct clq_error *err)
{
    struct clq_plan_data *p = &r->plan;
    char hash[65];
    clq_plan_start(p);
    const char **modes = clq_arena_array(&p->arena, 2, sizeof *modes);
    if (!modes) return no_memory(err);
    modes[0] = "f32";
    modes[1] = "int8";
    CLQ_TRY(model_hash(hash, r->source, err));
    p->clquant = CLQ_VERSION;
    p->created_by = "clquant quantize";
    p->model = (struct clq_plan_model){.path = base_name(r->source->path), .sha256 = clq_arena_string(&p->arena, hash), .bytes = (int64_t)r->source->file_bytes};
    p->data = (struct clq_plan_dataset){.samples = (int64_t)r->summary.calibration_samples, .validation_samples = (int64_t)r->summary.validation_samples,
                                        .sha256 = "", .synthetic = r->summary.synthetic};
    p->device = (struct clq_plan_device){.name = clq_arena_string(&p->arena, clq_context_device(r->ctx)), .isa = clq_context_isa(r->ctx),
                                         .threads = clq_context_threads(r->ctx), .driver = "", .onednn = clq_dnnl_version()};
    bool drop = o->max_drop > 0, uniform = o->uniform != NULL;
    p->options = (struct clq_plan_options){.target = clq_target_name(r->search.target), .calibrator = clq_arena_string(&p->arena, r->summary.calibrator),
                                           .budget = uniform ? "uniform" : drop ? "max-drop" : "min-sqnr",
                                           .budget_value = uniform ? NAN : drop ? o->max_drop : o->min_sqnr_db > 0 ? o->min_sqnr_db : CLQ_DEFAULT_MIN_SQNR_DB,
                                           .seed = (int64_t)(o->seed & INT64_MAX), .candidates = modes, .n_candidates = 2};
    p->layers = clq_arena_array(&p->arena, (size_t)r->search.units.n_units + 1, sizeof *p->layers);
    if (!p->layers || !p->model.sha256) return no_memory(err);
    for (int i = 0; i < r->search.units.n_units; i++) CLQ_TRY(fill_layer(r, &p->layers[p->n_layers++], i, err));
    CLQ_TRY(fill_tensors(r, err));
    fill_results(r);
    return CLQ_OK;
}

/* ---- Replay ---- */
static clq_status load_layers(struct clq_search *s, bool *on_codes, const struct clq_plan_data *p, struct clq_error *err)
{
    for (int i = 0; i < s->units.n_units; i++) {
        const char *name = s->units.units[i].name;
        const struct clq_scheme *scheme = clq_plan_scheme(p, name);
        if (!scheme) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "the plan has no layer '%s'", name);
        on_codes[i] = strcmp(scheme->mode, "int8") == 0;
        if (!on_codes[i] && strcmp(scheme->mode, "f32") != 0)
            return clq_fail(err, CLQ_ERR_UNSUPPORTED, "layer '%s': mode '%s' is not supported", name, scheme->mode);
        struct clq_unit_weights *w = &s->weights[i];
        w->correction = NULL;
        for (size_t k = 0; k < p->n_layers; k++) {
            if (strcmp(p->layers[k].name, name) != 0) continue;
            const struct clq_plan_array *a = clq_plan_array_find(&p->layers[k], "bias_correction");
            if (!a) break;
            if (!w->ready || a->n != (size_t)w->channels)
                return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "layer '%s': bias_correction has %zu values, expected %lld", name, a->n, (long long)w->channels);
            w->correction = clq_arena_array(&s->arena, a->n + 1, sizeof(double));
            if (!w->correction) return no_memory(err);
            for (size_t c = 0; c < a->n; c++) w->correction[c] = (double)a->values[c];
            break;
        }
    }
    return CLQ_OK;
}

clq_status clq_search_load_plan(struct clq_search *s, bool *on_codes, const char *path, const struct clq_model *source, struct clq_error *err)
{
    struct clq_plan_data p;
    char hash[65];
    CLQ_TRY(model_hash(hash, source, err));
    CLQ_TRY(clq_plan_read(&p, path, err));
    clq_status st = CLQ_OK;
    if (strcmp(p.model.sha256, hash) != 0)
        st = clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "plan '%s' belongs to another model: its sha256 is %.16s..., the model's is %.16s...", path, p.model.sha256, hash);
    if (st == CLQ_OK) st = load_layers(s, on_codes, &p, err);
    for (int t = 0; t < s->units.n_tensors && st == CLQ_OK; t++) {
        if (!s->tensors[t].hist) continue;
        const struct clq_plan_tensor *q = clq_plan_tensor_find(&p, s->units.tensors[t].name);
        if (!q) st = clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "the plan has no tensor '%s'", s->units.tensors[t].name);
        else s->params[t] = (struct clq_qparams){q->scale, q->zero_point + (q->dtype == 1 ? 128 : 0)};
    }
    for (int t = 0; t < s->units.n_tensors && st == CLQ_OK; t++) s->params[t] = s->params[s->units.tensors[t].group];
    clq_plan_release(&p);
    return st;
}

/* ---- Files ---- */

/* The float model byte for byte, if its file is still the one that was read. */
static clq_status copy_source(const struct clq_model *source, const char *to, struct clq_writer_options *o, struct clq_error *err)
{
    struct clq_blob blob;
    char hash[65];
    CLQ_TRY(clq_file_read(&blob, source->path, 0, err));
    clq_sha256_hex(hash, blob.data, blob.bytes);
    o->inputs = &blob.id;
    o->n_inputs = 1;
    clq_status st = strcmp(hash, source->sha256) == 0 ? clq_file_write(to, blob.data, blob.bytes, o, err)
                                                      : clq_fail(err, CLQ_ERR_IO, "'%s' was changed while it was being quantized", source->path);
    free(blob.data);
    return st;
}

clq_status clq_result_write(clq_result *r, const char *model_path, bool force)
{
    if (!r || !model_path) return CLQ_ERR_INVALID_ARGUMENT;
    struct clq_error *err = &r->ctx->error;
    struct clq_writer_options o = {.force = force};
    if (!r->summary.kept_float) return clq_file_write(model_path, r->bytes, r->n_bytes, &o, err);
    if (!r->source->path || r->source->has_external_data) return clq_onnx_write(model_path, r->source, force, err);
    return copy_source(r->source, model_path, &o, err);
}

clq_status clq_result_write_plan(clq_result *r, const char *plan_path, bool force)
{
    if (!r || !plan_path) return CLQ_ERR_INVALID_ARGUMENT;
    char *text;
    size_t n;
    struct clq_error *err = &r->ctx->error;
    fill_results(r);
    CLQ_TRY(clq_plan_text(&text, &n, &r->plan, err));
    struct clq_writer_options o = {.force = force};
    clq_status st = clq_file_write(plan_path, text, n, &o, err);
    free(text);
    return st;
}
