/* SPDX-License-Identifier: Apache-2.0
 * Results as files: the model, and the plan that explains it and can be replayed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/version.h>

#include "base/hash.h"
#include "base/json.h"
#include "data.h"
#include "formats/onnx.h"
#include "plan_weights.h"
#include "profile_use.h"
#include "result.h"

#define HASHED_DATA_BYTES ((uint64_t)1 << 30) /* larger data sets are named, not hashed: that would take seconds */

#define MOST_WEIGHTS_TEXT 128e6 /* characters */

static clq_status no_memory(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

static double or_nan(double v)
{
    return isfinite(v) ? v : NAN;
}

const char *clq_plan_name(struct clq_arena *arena, const char *name)
{
    enum { MOST = 60000 };
    clq_json *clean = clq_json_string(name);
    const char *text = clq_json_as_string(clean, NULL), *out = NULL;
    if (text && strlen(text) <= MOST) out = clq_arena_string(arena, text);
    else if (text) {
        int n = MOST;
        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80) n--;
        out = clq_arena_printf(arena, "%.*s#%016llx", n, text, (unsigned long long)clq_fnv64(CLQ_FNV64_START, text, strlen(text)));
    }
    clq_json_free(clean);
    return out;
}

clq_status clq_plan_model_hash(char out[65], const struct clq_model *m, struct clq_error *err)
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

/* Whether a unit other than skip reads tensor t in this precision. */
static bool read_in(const struct clq_search *s, int t, bool codes, int skip)
{
    if (!codes && s->units.tensors[t].needs_float) return true;
    for (int i = 0; i < s->units.n_units; i++) {
        const struct clq_unit *u = &s->units.units[i];
        if (i == skip || s->records[i].on_codes != codes) continue;
        for (int k = 0; k < u->n_in; k++)
            if (u->in[k] == t) return true;
    }
    return false;
}

/* The conversions that unit i adds in this precision, with its neighbors as chosen; one that another reader of the same
 * tensor needs anyway is not added. */
static double boundary(const struct clq_search *s, int i, bool codes)
{
    const struct clq_unit *u = &s->units.units[i];
    double us = 0;
    for (int k = 0; k < u->n_in; k++) {
        int t = u->in[k], producer = s->units.tensors[t].producer;
        bool given = producer >= 0 && s->records[producer].on_codes, again = false;
        for (int j = 0; j < k; j++) again = again || u->in[j] == t;
        if (given == codes || again || read_in(s, t, codes, i)) continue;
        us += s->convert_us[codes ? 0 : 1][t];
    }
    if (read_in(s, u->out, !codes, i)) us += s->convert_us[codes ? 1 : 0][u->out];
    return us;
}

/* A mode beside f32 and int8; its activations are float outside of the unit. */
static void fill_mode(struct clq_plan_layer *l, const struct clq_search *s, int i, int m)
{
    const struct clq_mode_record *x = &s->extra[m][i];
    if (!x->capable) return;
    struct clq_plan_candidate *c = &l->candidates[l->n_candidates];
    c->scheme = s->modes[m].scheme;
    if (s->groups[m]) c->scheme.algorithm = s->groups[m][i].algorithm ? s->groups[m][i].algorithm : s->algorithm;
    else c->scheme.algorithm = s->weight_clip ? "mse" : "minmax";
    c->scheme.rounding = s->groups[m] && s->rounding.stochastic ? CLQ_ROUND_STOCHASTIC : CLQ_ROUND_NEAREST_EVEN;
    c->error = x->noise > 0 ? fmin(x->noise, 1e18) : 0;
    c->sqnr_db = c->error > 0 ? -10 * log10(c->error) : NAN;
    c->time_us = x->us >= 0 ? x->us : 0;
    c->time_spread_us = x->us >= 0 ? x->spread : 0;
    c->timings = x->us >= 0 ? s->records[i].timings : 0;
    c->boundary_us = s->convert_us[0] ? boundary(s, i, false) : 0;
    c->bytes = s->units.units[i].params * clq_mode_bytes(&s->modes[m]);
    if (s->records[i].mode == m) l->choice = (int)l->n_candidates;
    l->n_candidates++;
}

static clq_status fill_candidates(struct clq_plan_data *p, struct clq_plan_layer *l, const struct clq_search *s, int i, struct clq_error *err)
{
    static const struct {
        const char *mode, *device;
    } kinds[] = {{"f32", "cpu"}, {"int8", "cpu"}, {"int8", "opencl:0"}};
    const struct clq_unit_record *rec = &s->records[i];
    const double us[] = {rec->f32_us, rec->int8_us, rec->device_us}, spread[] = {rec->f32_spread, rec->int8_spread, rec->device_spread};
    l->candidates = clq_arena_array(&p->arena, 3 + CLQ_MODES_MOST, sizeof *l->candidates);
    if (!l->candidates) return no_memory(err);
    for (int k = 0; k < 3; k++) {
        if ((k > 0 && !rec->capable) || (k == 2 && rec->device_us < 0)) continue;
        struct clq_plan_candidate *c = &l->candidates[l->n_candidates];
        CLQ_TRY(clq_scheme_from_mode(&c->scheme, kinds[k].mode, kinds[k].device, err));
        c->scheme.algorithm = k == 0 ? "" : s->weight_clip ? "mse" : "minmax";
        c->scheme.variant = "";
        c->error = k && rec->noise > 0 ? fmin(rec->noise, 1e18) : 0;
        c->sqnr_db = c->error > 0 ? -10 * log10(c->error) : NAN;
        c->time_us = us[k] >= 0 ? us[k] : 0;
        c->time_spread_us = us[k] >= 0 ? spread[k] : 0;
        c->timings = us[k] >= 0 ? rec->timings : 0;
        c->boundary_us = s->convert_us[0] ? boundary(s, i, k > 0) : rec->boundary_us[k];
        c->bytes = s->units.units[i].params * (k ? 1 : 4);
        bool chosen = k == 0 ? !rec->mode : k == 1 ? rec->on_codes && !rec->on_device : rec->on_device;
        if (chosen) l->choice = (int)l->n_candidates;
        l->n_candidates++;
    }
    for (int m = 2; m < s->n_modes; m++) fill_mode(l, s, i, m);
    return CLQ_OK;
}

/* Weights that the model alone does not give. Of very large models they are left out: a plan is a text that people open. */
static clq_status fill_weights(struct clq_plan_data *p, struct clq_plan_layer *l, double *total, const struct clq_search *s, int i, struct clq_error *err)
{
    const int m = s->records[i].mode;
    const struct clq_group_weights *g = m > 1 && s->groups[m] ? &s->groups[m][i] : NULL;
    if (!g || !clq_search_found_by_data(s, g) || *total + (double)(g->n * g->k) > MOST_WEIGHTS_TEXT) return CLQ_OK;
    l->weights = clq_plan_weights_text(&p->arena, g);
    if (!l->weights) return no_memory(err);
    *total += (double)strlen(l->weights);
    return CLQ_OK;
}

static clq_status add_array(struct clq_plan_data *p, struct clq_plan_layer *l, const char *name, float **values, size_t n, struct clq_error *err)
{
    enum { ARRAYS = 2 };
    if (!l->arrays) l->arrays = clq_arena_array(&p->arena, ARRAYS, sizeof *l->arrays);
    *values = clq_arena_array(&p->arena, n + 1, sizeof **values);
    if (!l->arrays || !*values) return no_memory(err);
    l->arrays[l->n_arrays++] = (struct clq_plan_array){.name = name, .values = *values, .n = n};
    return CLQ_OK;
}

static clq_status fill_arrays(struct clq_plan_data *p, struct clq_plan_layer *l, const struct clq_search *s, int i, struct clq_error *err)
{
    const struct clq_unit_weights *w = s->weights ? &s->weights[i] : NULL;
    const struct clq_input_scale *scale = s->scale ? &s->scale[i] : NULL;
    float *v;
    if (w && w->correction) {
        CLQ_TRY(add_array(p, l, "bias_correction", &v, (size_t)w->channels, err));
        for (int64_t c = 0; c < w->channels; c++) v[c] = (float)w->correction[c];
    }
    if (!scale || !scale->values) return CLQ_OK;
    CLQ_TRY(add_array(p, l, "input_scale", &v, scale->n, err));
    memcpy(v, scale->values, scale->n * sizeof *v);
    return CLQ_OK;
}

static clq_status fill_layer(struct clq_result *r, struct clq_plan_layer *l, double *weights_text, int i, struct clq_error *err)
{
    struct clq_plan_data *p = &r->plan;
    const struct clq_search *s = &r->search;
    const struct clq_unit *u = &s->units.units[i];
    l->name = clq_plan_name(&p->arena, u->name);
    l->op = clq_arena_printf(&p->arena, "%.200s", u->op_type); /* an operator that has kernels, so a short name */
    l->outputs = clq_arena_array(&p->arena, 1, sizeof *l->outputs);
    l->reason = clq_arena_string(&p->arena, r->layers[i].reason);
    if (!l->name || !l->op || !l->outputs || !l->reason) return no_memory(err);
    l->n_outputs = 1;
    l->outputs[0] = clq_plan_name(&p->arena, s->units.tensors[u->out].name);
    if (!l->outputs[0]) return no_memory(err);
    CLQ_TRY(fill_candidates(p, l, s, i, err));
    CLQ_TRY(fill_weights(p, l, weights_text, s, i, err));
    return fill_arrays(p, l, s, i, err);
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
        *o = (struct clq_plan_tensor){.name = clq_plan_name(&p->arena, s->units.tensors[t].name), .dtype = is_signed ? 1 : 0, .scale = s->params[t].scale,
                                      .zero_point = s->params[t].zero_point - (is_signed ? 128 : 0), .min = rec->range[rec->method].lo,
                                      .max = rec->range[rec->method].hi, .method = clq_calibrator_name(rec->method)};
        o->methods = clq_arena_array(&p->arena, CLQ_CAL_COUNT, sizeof *o->methods);
        if (!o->name || !o->methods) return no_memory(err);
        for (int m = 0; m < CLQ_CAL_COUNT; m++) o->methods[m] = (struct clq_plan_method){clq_calibrator_name((enum clq_calibrator)m), fmin(rec->error[m], 1e18)};
        o->n_methods = CLQ_CAL_COUNT;
        p->n_tensors++;
    }
    return CLQ_OK;
}

static double positive(double v)
{
    return v > 0 && isfinite(v) ? v : NAN;
}

static double decibel(double noise)
{
    return noise > 0 && isfinite(noise) ? -10 * log10(noise) : NAN;
}

static void fill_results(struct clq_result *r)
{
    const clq_summary *m = &r->summary;
    double time_ms = m->kept_float ? m->reference_median_ms : m->median_ms;
    r->plan.results = (struct clq_plan_results){
        .sqnr_db_predicted = m->kept_float ? NAN : decibel(r->predicted_noise),
        .sqnr_db = or_nan(m->sqnr_db),
        .sqnr_db_lower = m->sqnr_db_lower,
        .identical = isinf(m->sqnr_db),
        .cosine = fmax(-1, fmin(1, m->cosine)),
        .top1 = m->top1 < 0 ? NAN : m->top1 / 100,
        .top1_reference = m->top1_reference < 0 ? NAN : m->top1_reference / 100,
        .agreement = m->agreement < 0 ? NAN : m->agreement,
        .speedup = positive(m->speedup),
        .speedup_lo = positive(m->speedup_lo),
        .speedup_hi = positive(m->speedup_hi),
        .time_us_predicted = m->kept_float ? NAN : positive(m->reference_median_ms * 1e3 / m->predicted_speedup),
        .time_us = positive(time_ms * 1e3),
        .pairs = (int64_t)m->pairs,
        .kept_float = m->kept_float,
        .slower_than_float = m->slower_than_float,
        .budget_met = m->budget_met,
        .reason = m->reason,
        .model_bytes = (int64_t)m->model_bytes,
        .reference_bytes = (int64_t)m->reference_bytes,
        .peak_rss_bytes = (int64_t)m->peak_rss_bytes,
        .seconds = m->seconds,
    };
}

static const char *base_name(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash ? slash + 1 : path ? path : "model.onnx";
}

static clq_status fill_data(struct clq_result *r, const clq_data *data, const clq_data *validation, struct clq_error *err)
{
    struct clq_plan_data *p = &r->plan;
    const clq_data *sets[] = {data, validation};
    struct clq_sha256 sha;
    uint64_t left = HASHED_DATA_BYTES;
    unsigned char digest[32];
    char *hex = clq_arena_alloc(&p->arena, 65);
    size_t room = clq_data_file_count(data) + (validation ? clq_data_file_count(validation) : 0) + 2;
    const char **names = clq_arena_array(&p->arena, room, sizeof *names);
    if (!hex || !names) return no_memory(err);
    p->data = (struct clq_plan_dataset){.names = names, .samples = (int64_t)r->summary.calibration_samples,
                                        .validation_samples = (int64_t)r->summary.validation_samples, .sha256 = "", .synthetic = r->summary.synthetic};
    clq_sha256_start(&sha);
    for (int k = 0; k < 2 && sets[k]; k++) {
        size_t n = clq_data_file_count(sets[k]);
        if (clq_data_is_synthetic(sets[k])) names[p->data.n_names++] = clq_arena_printf(&p->arena, "synthetic:%zu", clq_data_count(sets[k]));
        for (size_t i = 0; i < n; i++) names[p->data.n_names++] = clq_plan_name(&p->arena, base_name(clq_data_file_path(sets[k], i)));
        CLQ_TRY(clq_data_hash(&sha, &left, sets[k], err));
    }
    for (size_t i = 0; i < p->data.n_names; i++)
        if (!names[i]) return no_memory(err);
    clq_sha256_finish(&sha, digest);
    clq_hex(hex, digest, sizeof digest);
    if (left > 0 && left < HASHED_DATA_BYTES) p->data.sha256 = hex;
    return CLQ_OK;
}

static clq_status fill_options(struct clq_result *r, const clq_quantize_options *o, struct clq_error *err)
{
    const struct clq_search *s = &r->search;
    bool uniform = o->uniform != NULL;
    struct clq_budget b;
    CLQ_TRY(clq_budget_read(&b, o, err));
    enum clq_bound_kind first = clq_budget_first(&b);
    bool none = first == CLQ_BOUND_COUNT;
    struct clq_plan_bound *bounds = clq_arena_array(&r->plan.arena, CLQ_BOUND_COUNT, sizeof *bounds);
    size_t n_bounds = 0;
    if (!bounds) return no_memory(err);
    for (int k = 0; k < CLQ_BOUND_COUNT && !uniform; k++)
        if (clq_budget_has(&b, (enum clq_bound_kind)k)) bounds[n_bounds++] = (struct clq_plan_bound){clq_bounds[k].name, b.limit[k]};
    if (n_bounds == 1) n_bounds = 0; /* it is the budget */
    const char **modes = clq_arena_array(&r->plan.arena, CLQ_MODES_MOST, sizeof *modes);
    size_t n = 0;
    if (!modes) return no_memory(err);
    for (int m = 0; m < s->n_modes; m++)
        if (m > 1 || !o->candidates || clq_mode_listed(o->candidates, s->modes[m].scheme.mode)) modes[n++] = s->modes[m].scheme.mode;
    r->plan.options = (struct clq_plan_options){.target = clq_target_name(r->search.target), .calibrator = r->summary.calibrator,
                                                .budget = uniform ? "uniform" : none ? "none" : clq_bounds[first].name,
                                                .budget_value = uniform || none ? NAN : b.limit[first], .bounds = bounds, .n_bounds = n_bounds,
                                                .objective = uniform || b.objective == CLQ_AXIS_TIME ? "" : clq_axis_name(b.objective),
                                                .seed = (int64_t)(o->seed & ((1ull << 53) - 1)), .candidates = modes, .n_candidates = n};
    return CLQ_OK;
}

clq_status clq_result_fill_plan(struct clq_result *r, clq_data *data, const clq_quantize_options *o, struct clq_error *err)
{
    struct clq_plan_data *p = &r->plan;
    char hash[65];
    clq_plan_start(p);
    CLQ_TRY(clq_plan_model_hash(hash, r->source, err));
    p->clquant = CLQ_VERSION;
    p->created_by = "clquant quantize";
    p->model = (struct clq_plan_model){.path = clq_plan_name(&p->arena, base_name(r->source->path)), .sha256 = clq_arena_string(&p->arena, hash),
                                       .bytes = (int64_t)r->source->file_bytes};
    p->device = (struct clq_plan_device){.name = clq_arena_printf(&p->arena, "%.200s", clq_context_device(r->ctx)), .isa = clq_context_isa(r->ctx),
                                         .threads = clq_context_threads(r->ctx), .driver = "", .onednn = clq_dnnl_version()};
    const struct clq_profile_use *times = r->search.profile;
    if (times->other) /* where the times are from */
        p->device = (struct clq_plan_device){.name = clq_arena_printf(&p->arena, "%.200s", times->cpu.device), .threads = times->cpu.threads,
                                             .isa = clq_arena_printf(&p->arena, "%.200s", times->cpu.isa), .driver = "",
                                             .onednn = clq_arena_printf(&p->arena, "%.200s", times->cpu.onednn)};
    if (r->ctx->runtime && !(p->device.runtime = clq_arena_string(&p->arena, clq_context_runtime(r->ctx)))) return no_memory(err);
    p->layers = clq_arena_array(&p->arena, (size_t)r->search.units.n_units + 1, sizeof *p->layers);
    if (!p->layers || !p->model.sha256 || !p->model.path || !p->device.name) return no_memory(err);
    if (o->plan_path) { /* the record is the given plan's */
        p->data = r->replay.data;
        p->data.validation_samples = (int64_t)r->summary.validation_samples;
        p->options = r->replay.options;
    } else {
        CLQ_TRY(fill_data(r, data, o->validation, err));
        CLQ_TRY(fill_options(r, o, err));
    }
    double weights_text = 0;
    for (int i = 0; i < r->search.units.n_units; i++) CLQ_TRY(fill_layer(r, &p->layers[p->n_layers++], &weights_text, i, err));
    CLQ_TRY(fill_tensors(r, err));
    fill_results(r);
    return CLQ_OK;
}

/* ---- Files ---- */

clq_status clq_result_output(struct clq_writer_options *out, clq_result *r, bool force, struct clq_error *err)
{
    const size_t most = 2 * (size_t)r->source->n_external + 1;
    struct clq_file_id *ids = clq_arena_array(&r->search.arena, most, sizeof *ids);
    if (!ids) return no_memory(err);
    *out = (struct clq_writer_options){.force = force, .inputs = ids, .n_inputs = clq_onnx_files(ids, most, r->source, r->copied_to)};
    return CLQ_OK;
}

clq_status clq_result_write(clq_result *r, const char *model_path, bool force)
{
    if (!r || !model_path) return CLQ_ERR_INVALID_ARGUMENT;
    struct clq_error *err = &r->ctx->error;
    struct clq_writer_options o;
    CLQ_TRY(clq_result_output(&o, r, force, err));
    if (!r->summary.kept_float) return clq_file_write(model_path, r->bytes, r->n_bytes, &o, err);
    struct clq_onnx_write_options w = {.force = force, .inputs = o.inputs, .n_inputs = o.n_inputs};
    if (!r->source->path) return clq_onnx_write_with(model_path, r->source, &w, err);
    r->copied_to = clq_arena_string(&r->search.arena, model_path);
    return r->copied_to ? clq_onnx_copy(model_path, r->source, &w, err) : no_memory(err);
}

clq_status clq_result_write_plan(clq_result *r, const char *plan_path, bool force)
{
    if (!r || !plan_path) return CLQ_ERR_INVALID_ARGUMENT;
    char *text;
    size_t n;
    struct clq_error *err = &r->ctx->error;
    struct clq_writer_options o;
    fill_results(r);
    CLQ_TRY(clq_result_output(&o, r, force, err));
    CLQ_TRY(clq_plan_text(&text, &n, &r->plan, err));
    clq_status st = clq_file_write(plan_path, text, n, &o, err);
    free(text);
    return st;
}
