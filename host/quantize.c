/* SPDX-License-Identifier: Apache-2.0
 * The main job: the order of the phases, and what is handed out in the end. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "decision.h"
#include "eval_command.h"
#include "formats/onnx.h"
#include "graph/simplify.h"
#include "placement.h"
#include "profile_use.h"
#include "rules.h"
#include "search_journal.h"

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
static clq_status parse_modes(struct clq_result *r, const clq_quantize_options *o, struct clq_error *err)
{
    struct clq_search *s = &r->search;
    CLQ_TRY(clq_modes_add(s->modes, &s->n_modes, &s->arena, "f32,int8", err));
    CLQ_TRY(clq_modes_add(s->modes, &s->n_modes, &s->arena, o->candidates, err));
    CLQ_TRY(clq_modes_add(s->modes, &s->n_modes, &s->arena, o->uniform, err));
    s->algorithm = o->algorithm ? o->algorithm : "auto";
    if (!clq_search_algorithm_known(s->algorithm))
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "algorithm '%s': expected auto, minmax, mse, hqq, weighted, gptq or adaround", s->algorithm);
    if (o->scaling && !clq_search_scaling_known(o->scaling))
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "scaling '%s': expected none, awq, smoothquant, equalize or auto", o->scaling);
    s->scaling = o->scaling ? o->scaling : strcmp(s->algorithm, "auto") == 0 ? "auto" : "none";
    if (strcmp(s->scaling, "none") == 0) s->scaling = NULL;
    s->worker = o->worker;
    s->rounding = (struct clq_weight_rounding){.stochastic = o->stochastic, .seed = o->rounding_seed};
    s->matmul_nbits = o->int4_matmulnbits;
    return o->plan_path ? clq_result_replay_modes(r, o->plan_path, err) : CLQ_OK;
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

static clq_status parse_options(struct clq_result *r, const clq_quantize_options *o, int *calibrator, struct clq_error *err)
{
    struct clq_search *s = &r->search;
    CLQ_TRY(parse_modes(r, o, err));
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
    CLQ_TRY(parse_options(r, o, calibrator, err));
    s->profile = clq_arena_alloc(&s->arena, sizeof *s->profile);
    if (!s->profile) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    if (o->other_profile) CLQ_TRY(clq_profile_use_other(s->profile, s->ctx, o->other_profile, o->other_device, err));
    else CLQ_TRY(clq_profile_use_start(s->profile, s->ctx, o->profile_path, o->remeasure, err));
    CLQ_TRY(clq_program_check_supported(r->source, err));
    CLQ_TRY(clq_model_clone(&s->model, r->source, err));
    clq_placement_remove(&s->model); /* of a file that is quantized again: this search decides anew */
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
    /* onnxruntime has one operator for products of whole tensors, and eight for products of rows */
    const char *dynamic = s->ctx->runtime ? "int8-tensor" : "int8-dynamic";
    if (biased && !o->candidates && !o->uniform && !o->plan_path) CLQ_TRY(clq_modes_add(s->modes, &s->n_modes, &s->arena, dynamic, err));
    CLQ_TRY(clq_rules_apply(s, o->layer_rules, o->n_layer_rules, err));
    CLQ_TRY(clq_search_modes(s, err));
    return clq_search_journal_start(s, r->source, data, o, err);
}

/* ---- The order of the phases ---- */
/* A device that was lost, also while the chosen plan was being proved, keeps no layer: the CPU gave the same bytes. */
static clq_status leave_lost_device(struct clq_result *r, struct clq_decision *d, struct clq_error *err)
{
    if (!r->ctx->cl_dead || !d->choice.on_device) return CLQ_OK;
    memset(d->choice.on_device, 0, (size_t)r->search.units.n_units * sizeof(bool));
    if (!clq_any_layer(d->mode, r->search.units.n_units)) return CLQ_OK;
    clq_model_release(&r->model);
    return clq_search_placed(&r->model, &r->search, d->mode, d->choice.on_device, err);
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

static clq_status decide(struct clq_result *r, clq_data *data, const clq_quantize_options *o, struct clq_error *err)
{
    struct clq_search *s = &r->search;
    int calibrator;
    struct clq_decision d = {.score = NAN, .score_reference = NAN};
    CLQ_TRY(clq_budget_read(&d.budget, o, err));
    CLQ_TRY(set_up(r, data, o, &calibrator, err));
    CLQ_TRY(reference_bytes(r, err));
    if (o->eval_command) CLQ_TRY(clq_search_score(&d.score_reference, s, o->eval_command, clq_eval_timeout(o), r->source, err));
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
        bool scaled = false;
        CLQ_TRY(clq_search_calibrate(s, err));
        s->algorithm_deadline = clq_now() + (o->algorithm_seconds > 0 ? o->algorithm_seconds : CLQ_ALGORITHM_SECONDS);
        if (s->scaling) CLQ_TRY(clq_search_scale(s, &scaled, err));
        if (scaled) {
            double start = clq_now();
            CLQ_TRY(clq_search_calibrate(s, err));
            s->algorithm_deadline += clq_now() - start;
        }
        CLQ_TRY(clq_search_weights(s, err));
        CLQ_TRY(clq_search_groups(s, err));
        clq_search_journal_weights(s);
        CLQ_TRY(clq_search_reference(s, &s->tuning, err));
        clq_search_params(s, CLQ_CAL_MINMAX);
        CLQ_TRY(clq_search_capable(s, err));
        CLQ_TRY(clq_rules_check(s, o->layer_rules, o->n_layer_rules, err));
        CLQ_TRY(clq_decision_search(r, o, calibrator, &d, err));
    }
    d.final = (struct clq_comparison){.sqnr_db = INFINITY, .cosine = 1};
    if (clq_any_layer(d.mode, s->units.n_units)) CLQ_TRY(clq_decision_prove(r, o, &d, err));
    else if (s->validation.labels) CLQ_TRY(clq_search_compare(&d.final, s, &s->validation, &s->model, NULL, err)); /* float has a score too */
    CLQ_TRY(leave_lost_device(r, &d, err));
    if (clq_any_layer(d.mode, s->units.n_units)) CLQ_TRY(clq_onnx_encode(&r->bytes, &r->n_bytes, &r->model, err));
    CLQ_TRY(clq_decision_judge(r, o, &d, forced, err));
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
    const struct clq_steadiness *steady = &r->search.steady;
    r->summary.rounds = steady->rounds;
    r->summary.rounds_disturbed = steady->disturbed;
    r->summary.rounds_unsure = steady->unsure;
    r->summary.clock_drift = steady->drift;
    r->summary.resumed = r->search.journal ? r->search.journal->file.used : 0;
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
        clq_search_journal_end(r->search.journal);
        clq_units_free(&r->search.units);
        clq_model_release(&r->search.model);
        clq_arena_free(&r->search.arena);
    }
    clq_plan_release(&r->plan);
    clq_plan_release(&r->replay);
    free(r->bytes);
    free(r);
}

void clq_result_delivered(clq_result *r)
{
    if (r && r->search.journal) clq_journal_remove(&r->search.journal->file);
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
