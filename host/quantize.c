/* SPDX-License-Identifier: Apache-2.0
 * The main job: the order of the phases, and what is handed out in the end. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "eval_command.h"
#include "formats/onnx.h"
#include "graph/simplify.h"
#include "profile_use.h"
#include "result.h"
#include "rules.h"
#include "search_runtime.h"

/* ---- Set-up ---- */
bool clq_mode_listed(const char *list, const char *mode)
{
    size_t n = strlen(mode);
    for (const char *p = list; p && *p;) {
        size_t len = strcspn(p, ",");
        if (len == n && strncmp(p, mode, n) == 0) return true;
        p += len + (p[len] == ',');
    }
    return false;
}

/* f32 and int8 first: they are what everything is measured against. */
static clq_status parse_modes(struct clq_search *s, const clq_quantize_options *o, struct clq_error *err)
{
    CLQ_TRY(clq_modes_add(s->modes, &s->n_modes, &s->arena, "f32,int8", err));
    CLQ_TRY(clq_modes_add(s->modes, &s->n_modes, &s->arena, o->candidates, err));
    CLQ_TRY(clq_modes_add(s->modes, &s->n_modes, &s->arena, o->uniform, err));
    s->algorithm = o->algorithm ? o->algorithm : "auto";
    if (!clq_search_algorithm_known(s->algorithm))
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "algorithm '%s': expected auto, minmax, mse, hqq, weighted, gptq or adaround", s->algorithm);
    s->rounding = (struct clq_weight_rounding){.stochastic = o->stochastic, .seed = o->rounding_seed};
    s->matmul_nbits = o->int4_matmulnbits;
    if (s->ctx->runtime && s->n_modes > 2 && !o->uniform && !o->plan_path)
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "mode '%s': another runtime's times are taken for f32 and int8 only", s->modes[2].scheme.mode);
    return o->plan_path ? clq_result_replay_modes(s, o->plan_path, err) : CLQ_OK;
}

/* Blocks and 4-bit tensors need opset 21. */
int64_t clq_search_opset(const struct clq_search *s)
{
    for (int m = 2; m < s->n_modes; m++) {
        const struct clq_mode *mode = &s->modes[m];
        bool table = mode->kind == CLQ_WEIGHT_NF4 || mode->kind == CLQ_WEIGHT_CODEBOOK;
        if (table || mode->scheme.act_bits == 16 || (mode->run == CLQ_RUN_ROWS4 && !s->matmul_nbits)) return 21;
    }
    return 13;
}

static clq_status parse_options(struct clq_search *s, const clq_quantize_options *o, int *calibrator, struct clq_error *err)
{
    CLQ_TRY(parse_modes(s, o, err));
    *calibrator = CLQ_CAL_COUNT; /* auto */
    int target = -1;
    for (int t = 0; t < CLQ_TARGET_COUNT; t++)
        if (strcmp(o->target ? o->target : s->ctx->runtime ? "ort" : "generic", clq_target_name((enum clq_target)t)) == 0) target = t;
    if (target < 0) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "target '%s': expected generic, ort, tensorrt or openvino", o->target);
    s->target = (enum clq_target)target;
    if (o->calibrator && strcmp(o->calibrator, "auto") != 0) {
        for (int m = 0; m < CLQ_CAL_COUNT; m++)
            if (strcmp(o->calibrator, clq_calibrator_name((enum clq_calibrator)m)) == 0) *calibrator = m;
        if (*calibrator == CLQ_CAL_COUNT)
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "calibrator '%s': expected auto, minmax, percentile, entropy or mse", o->calibrator);
    }
    if (o->eval_command) CLQ_TRY(clq_eval_command_check(o->eval_command, err));
    if (o->other_profile && (o->uniform || o->plan_path || o->frontier_db || s->ctx->runtime || s->ctx->cl))
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "another machine's profile is for a search on the CPU, without uniform, plan, points or a runtime");
    s->weight_clip = !o->no_weight_clipping;
    s->bias_correction = !o->no_bias_correction;
    return CLQ_OK;
}

/* Units beside Q/DQ of the file itself are left as they are. */
static void leave_quantized(struct clq_search *s)
{
    for (int i = 0; i < s->model.graph.n_nodes; i++) {
        const struct clq_node *n = &s->model.graph.nodes[i];
        bool q = clq_node_is(n, "QuantizeLinear"), dq = clq_node_is(n, "DequantizeLinear");
        if (!q && !dq) continue;
        int t = clq_map_get(&s->units.by_tensor, q ? n->inputs[0] : n->outputs[0]);
        for (int u = 0; t >= 0 && u < s->units.n_units; u++) {
            bool touches = s->units.units[u].out == t;
            for (int k = 0; k < s->units.units[u].n_in; k++) touches = touches || s->units.units[u].in[k] == t;
            if (!touches) continue;
            s->records[u].capable = false;
            s->records[u].fixed = true;
            s->records[u].reason = "already quantized in the file";
        }
    }
}

/* What the target has no integer kernel for would run in float between its conversions there. */
static void leave_unfused(struct clq_search *s)
{
    for (int i = 0; i < s->units.n_units && s->target == CLQ_TARGET_ORT; i++) {
        if (strcmp(s->units.units[i].op_type, "ConvTranspose") != 0) continue;
        s->records[i].capable = false;
        s->records[i].reason = "onnxruntime has no integer transposed convolution";
    }
}

static clq_status set_up(struct clq_result *r, clq_data *data, const clq_quantize_options *o, int *calibrator, struct clq_error *err)
{
    struct clq_search *s = &r->search;
    s->ctx = r->ctx;
    r->searching = true;
    CLQ_TRY(parse_options(s, o, calibrator, err));
    s->profile = clq_arena_alloc(&s->arena, sizeof *s->profile);
    if (!s->profile) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    if (o->other_profile) CLQ_TRY(clq_profile_use_other(s->profile, s->ctx, o->other_profile, o->other_device, err));
    else CLQ_TRY(clq_profile_use_start(s->profile, s->ctx, o->profile_path, o->remeasure, err));
    CLQ_TRY(clq_program_check_supported(r->source, err));
    CLQ_TRY(clq_model_clone(&s->model, r->source, err));
    CLQ_TRY(clq_model_simplify(&s->model, err));
    CLQ_TRY(clq_model_upgrade(&s->model, clq_search_opset(s), err));
    CLQ_TRY(clq_search_samples(s, data, o, err));
    struct clq_program_options tapped = {.observable = true};
    clq_runner_start(&s->reference, s->ctx, &s->model, &tapped);
    clq_tensor *in = clq_arena_array(&s->arena, (size_t)s->model.graph.n_inputs + 1, sizeof *in);
    struct clq_program *p;
    if (!in) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    CLQ_TRY(s->calibration.get(s->calibration.state, 0, in, err));
    CLQ_TRY(clq_runner_program(&p, &s->reference, in, err));
    s->waits = p->rest != NULL;
    CLQ_TRY(clq_units_build(&s->units, &s->model, p, err));
    s->records = clq_arena_array(&s->arena, (size_t)s->units.n_units + 1, sizeof *s->records);
    if (!s->records) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    bool int8 = (!o->candidates || clq_mode_listed(o->candidates, "int8")) && (!o->uniform || strcmp(o->uniform, "int8") == 0);
    for (int i = 0; i < s->units.n_units; i++) {
        bool stored = s->units.units[i].kind == CLQ_UNIT_STORED;
        s->records[i] = (struct clq_unit_record){.capable = int8 && !stored, .f32_us = -1, .int8_us = -1, .device_us = -1, .noise = -1,
                                                 .reason = stored ? "it computes in float; int8-weight stores it in fewer bits" :
                                                           int8   ? NULL : "int8 is not among the allowed modes"};
    }
    leave_quantized(s);
    leave_unfused(s);
    bool biased = false;
    for (int i = 0; i < s->units.n_units; i++) biased = biased || s->units.units[i].float_out;
    if (biased && !o->candidates && !o->uniform && !o->plan_path && !s->ctx->runtime) CLQ_TRY(clq_modes_add(s->modes, &s->n_modes, &s->arena, "int8-dynamic", err));
    CLQ_TRY(clq_rules_apply(s, o->layer_rules, o->n_layer_rules, err));
    return clq_search_modes(s, err);
}

/* ---- Decision ---- */
struct decision {
    uint8_t *mode;
    struct clq_budget budget;
    struct clq_choice choice;
    struct clq_comparison uniform, final;
    struct clq_accept_verdict speed, uniform_speed;
    bool proven;
    uint8_t *all;    /* uniform int8 */
    bool uniform_ok; /* it meets the budget, as measured */
    double score, score_reference; /* of the user's command, NAN without one */
};

static bool any(const uint8_t *on, int n)
{
    for (int i = 0; i < n; i++)
        if (on[i]) return true;
    return false;
}

static clq_status measure_final(struct clq_result *r, const uint8_t *on, const clq_quantize_options *o, struct clq_comparison *c,
                                struct clq_accept_verdict *speed, size_t pairs, const char *phase, struct clq_model *keep, struct clq_error *err)
{
    struct clq_search *s = &r->search;
    struct clq_model m;
    clq_tensor *in = clq_arena_array(&s->arena, (size_t)s->model.graph.n_inputs + 1, sizeof *in);
    if (!in) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    CLQ_TRY(clq_search_model(&m, s, on, err));
    clq_status st = clq_search_compare(c, s, &s->validation, &m, NULL, err);
    if (st == CLQ_OK) st = s->calibration.get(s->calibration.state, 0, in, err);
    struct clq_proof_request q = {.reference = s->ctx->runtime ? r->source : &s->model, .candidate = &m, .inputs = in, .pairs = pairs, .worker = o->worker, .phase = phase};
    if (st == CLQ_OK && speed && !s->profile->other) st = clq_profile_prove(speed, s->profile, &q, err);
    if (st == CLQ_OK && keep) *keep = m;
    else clq_model_release(&m);
    return st;
}

static double eval_timeout(const clq_quantize_options *o)
{
    return o->eval_timeout_s > 0 ? o->eval_timeout_s : 600;
}

/* What uniform int8 reaches: the simplest plan, and a second point for the model of the time. */
static clq_status measure_uniform(struct clq_result *r, const clq_quantize_options *o, struct decision *d, struct clq_error *err)
{
    struct clq_search *s = &r->search;
    int n = s->units.n_units;
    uint8_t *all = clq_arena_array(&s->arena, (size_t)n + 1, sizeof *all);
    if (!all) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    for (int i = 0; i < n; i++) all[i] = s->records[i].capable;
    if (!any(all, n)) return CLQ_OK;
    size_t pairs = o->timing_pairs ? o->timing_pairs : 200;
    CLQ_TRY(measure_final(r, all, o, &d->uniform, &d->uniform_speed, pairs / 4 < 40 ? 40 : pairs / 4, "timing uniform int8", NULL, err));
    if (s->profile->other) return CLQ_OK; /* the solved plan is the fastest by the only times there are */
    d->all = all;
    d->uniform_ok = d->budget.objective == CLQ_AXIS_TIME && !clq_budget_delivers(&d->budget) && !o->eval_command &&
                    clq_search_within(&d->uniform, &d->budget);
    return CLQ_OK;
}

/* The frontier, and the plan of the point that was picked. */
static clq_status take_point(struct clq_result *r, const clq_quantize_options *o, const struct clq_choose_request *q, struct decision *d, struct clq_error *err)
{
    size_t n = (size_t)r->search.units.n_units;
    CLQ_TRY(clq_result_frontier(r, o, q, err));
    d->uniform_ok = false;
    d->choice.feasible = true;
    for (size_t i = 0; o->pick && i < r->n_points; i++) {
        if (strcmp(r->points[i].public.id, o->pick) != 0) continue;
        memcpy(d->mode, r->points[i].mode, n);
        d->choice.on_device = r->points[i].on_device;
        return CLQ_OK;
    }
    return o->pick ? clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "point '%s': there is none of this id", o->pick) : CLQ_OK;
}

/* A table of 4 bits costs more than the products' weights do, so it has to be a candidate to be chosen. */
static bool in_uniform(const struct clq_search *s, int i, int mode)
{
    return s->extra[mode][i].capable && (s->units.units[i].kind != CLQ_UNIT_STORED || s->modes[mode].scheme.weight_bits == 8);
}

static clq_status search_plan(struct clq_result *r, const clq_quantize_options *o, int calibrator, struct decision *d, struct clq_error *err)
{
    struct clq_search *s = &r->search;
    int n = s->units.n_units;
    bool codes = false; /* some unit reads ranges */
    for (int i = 0; i < n; i++) codes = codes || s->records[i].capable;
    if (calibrator == CLQ_CAL_COUNT && codes) CLQ_TRY(clq_search_calibrators(s, err));
    else {
        for (int t = 0; t < s->units.n_tensors; t++) s->tensors[t].method = calibrator == CLQ_CAL_COUNT ? CLQ_CAL_MINMAX : (enum clq_calibrator)calibrator;
        clq_search_params(s, CLQ_CAL_COUNT);
    }
    if (o->uniform) {
        int mode = 0;
        for (int m = 0; m < s->n_modes; m++)
            if (strcmp(s->modes[m].scheme.mode, o->uniform) == 0) mode = m;
        for (int i = 0; i < n; i++) d->mode[i] = (uint8_t)(mode < 2 ? mode && s->records[i].capable : in_uniform(s, i, mode) ? mode : 0);
        d->choice.feasible = true;
        return CLQ_OK;
    }
    CLQ_TRY(clq_search_errors(s, err));
    CLQ_TRY(clq_search_times(s, err));
    CLQ_TRY(measure_uniform(r, o, d, err));
    struct clq_choose_request q = {.budget = &d->budget, .reference_us = d->uniform_speed.reference * 1e6, .uniform_us = d->uniform_speed.candidate * 1e6,
                                   .reference_bytes = (double)r->summary.reference_bytes, .eval_command = o->eval_command,
                                   .eval_timeout_s = eval_timeout(o), .reference_score = d->score_reference};
    if (o->frontier_db) return take_point(r, o, &q, d, err);
    if (s->profile->other) {
        for (int i = 0; i < n; i++) q.reference_us += fmax(s->records[i].f32_us, 0);
        d->uniform_speed.reference = q.reference_us * 1e-6;
    }
    CLQ_TRY(clq_search_choose(&d->choice, s, &q, err));
    if (s->ctx->runtime && !clq_budget_delivers(&d->budget) && d->budget.objective == CLQ_AXIS_TIME && !o->eval_command)
        CLQ_TRY(clq_runtime_refine(&d->choice, s, &q, err));
    memcpy(d->mode, d->choice.mode, (size_t)n);
    d->score = d->choice.score;
    return CLQ_OK;
}

/* A plan is never slower than uniform int8 where that meets the same budget: the simpler one is then taken. */
static clq_status prefer_uniform(struct clq_result *r, const clq_quantize_options *o, size_t pairs, struct decision *d, struct clq_error *err)
{
    size_t n = (size_t)r->search.units.n_units;
    if (!d->uniform_ok || memcmp(d->all, d->mode, n) == 0 || !(d->uniform_speed.ratio < d->speed.ratio)) return CLQ_OK;
    clq_context_log(r->ctx, "uniform int8 meets the budget and is faster than the solved plan (%.2f against %.2f x float): it is taken",
                    d->uniform_speed.speedup, d->speed.speedup);
    clq_model_release(&r->model);
    r->model = (struct clq_model){0};
    memcpy(d->mode, d->all, n);
    if (d->choice.on_device) memset(d->choice.on_device, 0, n * sizeof(bool));
    return measure_final(r, d->mode, o, &d->final, &d->speed, pairs, "proving the speed", &r->model, err);
}

/* A device that was lost, also while the chosen plan was being proved, keeps no layer: the CPU gave the same bytes. */
static void leave_lost_device(const struct clq_result *r, struct decision *d)
{
    if (r->ctx->cl_dead && d->choice.on_device) memset(d->choice.on_device, 0, (size_t)r->search.units.n_units * sizeof(bool));
}

/* Gives every layer its reason, from the numbers that decided. */
static const char *layer_reason(struct clq_search *s, int i, bool forced)
{
    const struct clq_unit_record *r = &s->records[i];
    double gain = r->f32_us - r->int8_us;
    const char *name = s->modes[r->mode].scheme.mode;
    if (r->reason && r->mode < 2) return r->reason;
    if (forced) return r->mode ? clq_arena_printf(&s->arena, "forced to %s", name) : "forced to float32";
    if (r->mode > 1) return clq_arena_printf(&s->arena, "%s saves %.1f of %.1f us and fits the error budget", name, r->f32_us - s->extra[r->mode][i].us, r->f32_us);
    if (r->on_codes && gain > 0)
        return clq_arena_printf(&s->arena, "int8 saves %.1f of %.1f us and fits the error budget", gain, r->f32_us);
    if (r->on_codes) return clq_arena_printf(&s->arena, "int8 costs %.1f us here but saves conversions around it", -gain);
    if (gain <= 0) return clq_arena_printf(&s->arena, "float32 is faster here (%.1f against %.1f us)", r->f32_us, r->int8_us);
    return clq_arena_printf(&s->arena, "int8 would save %.1f us, but its error (%.1f dB alone) or its conversions cost more", gain,
                            r->noise > 0 ? -10 * log10(r->noise) : 200.0);
}

static clq_status fill_layers(struct clq_result *r, const struct decision *d, bool forced, struct clq_error *err)
{
    struct clq_search *s = &r->search;
    int n = s->units.n_units;
    r->layers = clq_arena_array(&s->arena, (size_t)n + 1, sizeof *r->layers);
    if (!r->layers) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    r->summary.layers = n;
    r->summary.int8_layers = 0;
    for (int i = 0; i < n; i++) {
        struct clq_unit_record *rec = &s->records[i];
        rec->mode = d->mode[i];
        rec->on_codes = rec->mode == 1;
        rec->on_device = d->choice.on_device && d->choice.on_device[i];
        const char *reason = layer_reason(s, i, forced);
        const struct clq_mode_record *x = rec->mode > 1 ? &s->extra[rec->mode][i] : NULL;
        double chosen = x ? x->us : rec->on_device ? rec->device_us : rec->on_codes ? rec->int8_us : rec->f32_us;
        r->layers[i] = (clq_layer_result){.name = s->units.units[i].name, .op_type = s->units.units[i].op_type,
                                          .precision = s->modes[rec->mode].scheme.mode, .device = rec->on_device ? "opencl" : "cpu", .error = x ? x->noise : rec->noise,
                                          .f32_us = rec->f32_us, .int8_us = rec->capable ? rec->int8_us : -1, .time_us = chosen, .reason = reason ? reason : ""};
        rec->reason = r->layers[i].reason;
        r->summary.int8_layers += rec->mode > 0;
    }
    return CLQ_OK;
}

/* The bounds' values of the plan, or of the float model where no layer is on codes. A bound on the time counts as kept only
 * when its interval does. */
static clq_status final_values(struct clq_whole_values *v, struct clq_result *r, const clq_quantize_options *o, struct decision *d, bool kept,
                               struct clq_error *err)
{
    struct clq_search *s = &r->search;
    const struct clq_budget *b = &d->budget;
    const struct clq_comparison exact = {.sqnr_db = INFINITY, .cosine = 1};
    const struct clq_model *m = kept ? &s->model : &r->model;
    double params = 0, bits = 0, slow = kept ? 1 : d->speed.speedup_lo;
    size_t bytes = r->summary.reference_bytes;
    clq_search_values(v, kept ? &exact : &d->final);
    if (!kept && clq_budget_has(b, CLQ_BOUND_SIZE)) bytes = r->n_bytes;
    for (int i = 0; i < s->units.n_units; i++) {
        if (s->units.units[i].kind == CLQ_UNIT_STORED && !clq_search_has_choice(s, i)) continue;
        params += s->units.units[i].params;
        bits += s->units.units[i].params * (kept ? 32 : s->modes[d->mode[i]].scheme.weight_bits);
    }
    v->value[CLQ_BOUND_BITS] = params > 0 ? bits / params : 32;
    v->value[CLQ_BOUND_SIZE] = (double)bytes;
    if (clq_budget_has(b, CLQ_BOUND_MEMORY)) CLQ_TRY(clq_search_memory(&v->value[CLQ_BOUND_MEMORY], s, m, kept ? bytes : r->n_bytes, err));
    double reference = d->proven ? d->speed.reference : d->uniform_speed.reference;
    if (reference > 0 && slow > 0) {
        v->value[CLQ_BOUND_SPEEDUP] = slow;
        v->value[CLQ_BOUND_LATENCY] = reference * 1e3 / slow;
    }
    if (!o->eval_command) return CLQ_OK;
    if (kept) d->score = d->score_reference;
    else if (isnan(d->score)) CLQ_TRY(clq_eval_command_score(&d->score, s->ctx, o->eval_command, eval_timeout(o), m, err));
    v->value[CLQ_BOUND_DROP] = d->score_reference - d->score;
    return CLQ_OK;
}

/* Whether the bounds are kept, and which one is missed most. What was searched for has to keep its margin. */
static void judge_bounds(struct clq_result *r, const struct decision *d, const struct clq_whole_values *v, bool forced)
{
    clq_summary *m = &r->summary;
    struct clq_budget b = d->budget;
    if (forced && b.by_default) b.limit[CLQ_BOUND_SQNR] = NAN; /* nobody asked for it */
    enum clq_bound_kind k = clq_budget_binding(&b, v, forced ? 1 : CLQ_ERROR_MARGIN);
    m->budget_met = k == CLQ_BOUND_COUNT;
    snprintf(m->binding, sizeof m->binding, "%s", m->budget_met ? "" : clq_bounds[k].name);
    if (m->budget_met) return;
    size_t n = strlen(m->reason);
    snprintf(m->reason + n, sizeof m->reason - n, "; %s %g %s is missed: %g", clq_bounds[k].name, b.limit[k], clq_bounds[k].unit, v->value[k]);
}

/* Keeps the float model when the plan is not faster beyond noise, and says why. Plans that somebody forced, and those of which
 * the size matters, are handed out all the same. */
static clq_status judge(struct clq_result *r, const clq_quantize_options *o, struct decision *d, bool forced, struct clq_error *err)
{
    clq_summary *m = &r->summary;
    bool faster = d->proven && d->speed.speed == CLQ_SPEED_FASTER;
    bool nothing = !any(d->mode, r->search.units.n_units), delivers = forced || clq_budget_delivers(&d->budget);
    for (int i = 0; i < r->search.units.n_units; i++) delivers = delivers || (r->search.records[i].rule && d->mode[i]);
    m->slower_than_float = delivers && d->proven && d->speed.speed == CLQ_SPEED_SLOWER;
    m->kept_float = nothing || (!delivers && !faster);
    if (nothing)
        snprintf(m->reason, sizeof m->reason, "no layer gains from fewer bits within the error budget: the float model is kept");
    else if (m->kept_float)
        snprintf(m->reason, sizeof m->reason, "the plan is not faster than float beyond noise (%.2f x, 95 %% from %.2f to %.2f): the float model is kept",
                 d->speed.speedup, d->speed.speedup_lo, d->speed.speedup_hi);
    else if (r->search.profile->other)
        snprintf(m->reason, sizeof m->reason, "%d of %d layers run in int8: %.2f x float, output SQNR %.2f dB", m->int8_layers, m->layers, d->speed.speedup,
                 d->final.sqnr_db);
    else
        snprintf(m->reason, sizeof m->reason, "%d of %d layers run in fewer bits: %.2f x float (95 %% from %.2f to %.2f), output SQNR %.2f dB", m->int8_layers, m->layers,
                 d->speed.speedup, d->speed.speedup_lo, d->speed.speedup_hi, d->final.sqnr_db);
    struct clq_whole_values v;
    CLQ_TRY(final_values(&v, r, o, d, m->kept_float, err));
    judge_bounds(r, d, &v, forced);
    return CLQ_OK;
}

/* The decision says in which runtime it holds. */
static void name_runtime(struct clq_result *r)
{
    size_t n = strlen(r->summary.reason);
    if (r->search.profile->other)
        snprintf(r->summary.reason + n, sizeof r->summary.reason - n, "; predicted by '%.80s' for '%.60s', not measured here", r->search.profile->path,
                 r->search.profile->cpu.device);
    if (r->ctx->runtime) snprintf(r->summary.reason + n, sizeof r->summary.reason - n, "; measured in %s", clq_context_runtime(r->ctx));
}

/* What is handed out is what layers and plan say: a kept model is float everywhere, also where int8 was chosen. */
static clq_status keep_float_layers(struct clq_result *r, struct clq_error *err)
{
    r->summary.int8_layers = 0;
    for (int i = 0; i < r->summary.layers; i++) {
        struct clq_unit_record *rec = &r->search.records[i];
        clq_layer_result *l = &r->layers[i];
        if (!rec->mode) continue;
        l->reason = rec->reason = clq_arena_printf(&r->search.arena, "%s; float is kept because the whole plan is not faster", l->reason);
        if (!l->reason) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
        rec->mode = 0;
        rec->on_codes = rec->on_device = false;
        l->precision = "f32";
        l->device = "cpu";
        l->time_us = rec->f32_us;
    }
    return CLQ_OK;
}

static void fill_summary(struct clq_result *r, const struct decision *d)
{
    clq_summary *m = &r->summary;
    r->predicted_noise = d->choice.predicted_us > 0 ? d->choice.predicted_noise : -1;
    const struct clq_comparison *c = &d->final;
    bool bounded = d->proven && !m->kept_float && c->noise_bound > c->noise && isfinite(c->noise_bound);
    m->sqnr_db_lower = bounded ? -10 * log10(c->noise_bound) : (double)NAN;
    double rows = c->samples ? (double)c->samples : 1;
    m->sqnr_db = m->kept_float ? INFINITY : c->sqnr_db;
    m->cosine = m->kept_float ? 1 : c->cosine;
    m->agreement = c->samples ? (m->kept_float ? 1 : (double)c->agree / rows) : -1;
    bool labels = r->search.validation.labels && c->samples;
    m->top1_reference = labels ? 100.0 * (double)c->top1_reference / rows : -1;
    m->top1 = labels ? (m->kept_float ? m->top1_reference : 100.0 * (double)c->top1 / rows) : -1;
    m->uniform_sqnr_db = d->uniform.sqnr_db;
    m->speedup = m->kept_float ? 1 : d->speed.speedup;
    m->speedup_lo = m->kept_float ? 1 : d->speed.speedup_lo;
    m->speedup_hi = m->kept_float ? 1 : d->speed.speedup_hi;
    if (r->search.profile->other && !m->kept_float) m->speedup_lo = m->speedup_hi = (double)NAN; /* a prediction has no interval of pairs */
    m->uniform_speedup = d->uniform_speed.speedup;
    m->pairs = d->speed.pairs;
    m->processes = d->speed.processes;
    m->median_ms = d->speed.candidate * 1e3;
    m->reference_median_ms = (d->proven ? d->speed : d->uniform_speed).reference * 1e3; /* without any int8 layer, what uniform was compared with */
    if (d->choice.predicted_us > 0) m->predicted_speedup = d->uniform_speed.reference * 1e6 / d->choice.predicted_us;
    m->predicted_sqnr_db = d->choice.predicted_us > 0 ? (d->choice.predicted_noise > 0 ? -10 * log10(d->choice.predicted_noise) : INFINITY) : (double)NAN;
    m->score = d->score;
    m->score_reference = d->score_reference;
    m->calibration_samples = r->replay.n_layers ? (size_t)r->replay.data.samples : r->search.calibration.count;
    m->validation_samples = r->search.validation.source.count;
}

static clq_status reference_bytes(struct clq_result *r, struct clq_error *err)
{
    unsigned char *bytes;
    if (r->source->file_bytes) {
        r->summary.reference_bytes = r->source->file_bytes + (size_t)r->source->external_bytes;
        return CLQ_OK;
    }
    CLQ_TRY(clq_onnx_encode(&bytes, &r->summary.reference_bytes, &r->search.model, err));
    free(bytes);
    return CLQ_OK;
}

/* Another machine's times stand for a proof that cannot be had here. */
static void predict_speed(struct decision *d)
{
    double reference = d->uniform_speed.reference, us = d->choice.predicted_us;
    double speedup = us > 0 ? reference * 1e6 / us : 1;
    d->speed = (struct clq_accept_verdict){.speed = speedup > 1 ? CLQ_SPEED_FASTER : CLQ_SPEED_UNDECIDED, .ratio = 1 / speedup, .lo = 1 / speedup,
                                           .hi = 1 / speedup, .speedup = speedup, .speedup_lo = speedup, .speedup_hi = speedup, .reference = reference,
                                           .candidate = us * 1e-6};
}

static clq_status decide(struct clq_result *r, clq_data *data, const clq_quantize_options *o, struct clq_error *err)
{
    struct clq_search *s = &r->search;
    int calibrator;
    struct decision d = {.score = NAN, .score_reference = NAN};
    CLQ_TRY(clq_budget_read(&d.budget, o, err));
    CLQ_TRY(set_up(r, data, o, &calibrator, err));
    CLQ_TRY(reference_bytes(r, err));
    if (o->eval_command) CLQ_TRY(clq_eval_command_score(&d.score_reference, r->ctx, o->eval_command, eval_timeout(o), r->source, err));
    d.mode = clq_arena_array(&s->arena, (size_t)s->units.n_units + 1, 1);
    if (!d.mode) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    bool forced = o->uniform || o->plan_path || o->pick;
    r->summary.synthetic = clq_data_is_synthetic(data);
    CLQ_TRY(clq_search_reference(s, &s->validation, err));
    if (o->plan_path) {
        d.choice.on_device = clq_arena_array(&s->arena, (size_t)s->units.n_units + 1, sizeof(bool));
        if (!d.choice.on_device) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
        CLQ_TRY(clq_result_replay(r, d.mode, d.choice.on_device, o, err));
    } else {
        CLQ_TRY(clq_search_calibrate(s, err));
        CLQ_TRY(clq_search_weights(s, err));
        s->algorithm_deadline = clq_now() + (o->algorithm_seconds > 0 ? o->algorithm_seconds : CLQ_ALGORITHM_SECONDS);
        CLQ_TRY(clq_search_groups(s, err));
        CLQ_TRY(clq_search_reference(s, &s->tuning, err));
        clq_search_params(s, CLQ_CAL_MINMAX);
        CLQ_TRY(clq_search_capable(s, err));
        CLQ_TRY(clq_rules_check(s, o->layer_rules, o->n_layer_rules, err));
        CLQ_TRY(search_plan(r, o, calibrator, &d, err));
    }
    d.final = (struct clq_comparison){.sqnr_db = INFINITY, .cosine = 1};
    if (any(d.mode, s->units.n_units)) {
        size_t pairs = o->timing_pairs ? o->timing_pairs : 200;
        CLQ_TRY(measure_final(r, d.mode, o, &d.final, &d.speed, pairs, "proving the speed", &r->model, err));
        d.proven = true;
        if (s->profile->other) predict_speed(&d);
        CLQ_TRY(prefer_uniform(r, o, pairs, &d, err));
    } else if (s->validation.labels) CLQ_TRY(clq_search_compare(&d.final, s, &s->validation, &s->model, NULL, err)); /* float has a score too */
    if (any(d.mode, s->units.n_units)) CLQ_TRY(clq_onnx_encode(&r->bytes, &r->n_bytes, &r->model, err));
    leave_lost_device(r, &d);
    CLQ_TRY(fill_layers(r, &d, forced, err));
    CLQ_TRY(judge(r, o, &d, forced, err));
    name_runtime(r);
    r->summary.speed_predicted = s->profile->other;
    if (r->summary.kept_float) CLQ_TRY(keep_float_layers(r, err));
    fill_summary(r, &d);
    const char *name = o->plan_path ? r->replay.options.calibrator : calibrator == CLQ_CAL_COUNT ? "auto" : clq_calibrator_name((enum clq_calibrator)calibrator);
    snprintf(r->summary.calibrator, sizeof r->summary.calibrator, "%s", name);
    return clq_result_fill_plan(r, data, o, err);
}

clq_status clq_quantize(clq_result **out, clq_context *ctx, const clq_model *model, clq_data *data, const clq_quantize_options *options)
{
    static const clq_quantize_options defaults;
    if (!out || !ctx || !model || !data) return CLQ_ERR_INVALID_ARGUMENT;
    double start = clq_now();
    struct clq_result *r = calloc(1, sizeof *r);
    if (!r) return clq_fail(&ctx->error, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    r->ctx = ctx;
    r->source = model;
    clq_status st = decide(r, data, options ? options : &defaults, &ctx->error);
    r->summary.model_bytes = r->summary.kept_float ? r->summary.reference_bytes : r->n_bytes;
    if (st != CLQ_OK) {
        clq_result_free(r);
        return st;
    }
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0) r->summary.peak_rss_bytes = (size_t)usage.ru_maxrss * 1024;
    r->summary.seconds = clq_now() - start;
    *out = r;
    return CLQ_OK;
}

void clq_result_free(clq_result *r)
{
    if (!r) return;
    clq_runner_free(&r->search.reference);
    clq_model_release(&r->model);
    if (r->searching) {
        clq_profile_use_end(r->search.profile);
        clq_units_free(&r->search.units);
        clq_model_release(&r->search.model);
        clq_arena_free(&r->search.arena);
    }
    clq_plan_release(&r->plan);
    clq_plan_release(&r->replay);
    free(r->bytes);
    free(r);
}

const clq_summary *clq_result_summary(const clq_result *r)
{
    return &r->summary;
}

size_t clq_result_layer_count(const clq_result *r)
{
    return (size_t)r->summary.layers;
}

const clq_layer_result *clq_result_layer(const clq_result *r, size_t index)
{
    return index < (size_t)r->summary.layers ? &r->layers[index] : NULL;
}
