/* SPDX-License-Identifier: Apache-2.0
 * Judges a plan: why every layer is what it is, which bounds are kept, whether the plan or the float model is handed out. */
#include "decision.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profile_use.h"
#include "runtime.h"
#include "scheduler/error.h"
#include "search_journal.h"

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

static clq_status fill_layers(struct clq_result *r, const struct clq_decision *d, bool forced, struct clq_error *err)
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
static clq_status final_values(struct clq_whole_values *v, struct clq_result *r, const clq_quantize_options *o, struct clq_decision *d, bool kept,
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
    else if (isnan(d->score)) CLQ_TRY(clq_search_score(&d->score, s, o->eval_command, clq_eval_timeout(o), m, err));
    v->value[CLQ_BOUND_DROP] = d->score_reference - d->score;
    return CLQ_OK;
}

/* Whether the bounds are kept, and which one is missed most. What was searched for has to keep its margin. */
static void judge_bounds(struct clq_result *r, const struct clq_decision *d, const struct clq_whole_values *v, bool forced)
{
    clq_summary *m = &r->summary;
    struct clq_budget b = d->budget;
    if (forced && b.by_default) b.limit[CLQ_BOUND_SQNR] = NAN; /* nobody asked for it */
    enum clq_bound_kind k = clq_budget_binding(&b, v, forced ? 1 : clq_search_margin(&d->final));
    m->budget_met = k == CLQ_BOUND_COUNT;
    snprintf(m->binding, sizeof m->binding, "%s", m->budget_met ? "" : clq_bounds[k].name);
    if (m->budget_met) return;
    size_t n = strlen(m->reason);
    snprintf(m->reason + n, sizeof m->reason - n, "; %s %g %s is missed: %g", clq_bounds[k].name, b.limit[k], clq_bounds[k].unit, v->value[k]);
}

/* Keeps the float model when the plan is not faster beyond noise, and says why. Plans that somebody forced, and those of which
 * the size matters, are handed out all the same. */
static clq_status judge(struct clq_result *r, const clq_quantize_options *o, struct clq_decision *d, bool forced, struct clq_error *err)
{
    clq_summary *m = &r->summary;
    bool faster = d->proven && d->speed.speed == CLQ_SPEED_FASTER;
    bool nothing = !clq_any_layer(d->mode, r->search.units.n_units), delivers = forced || clq_budget_delivers(&d->budget);
    for (int i = 0; i < r->search.units.n_units; i++) delivers = delivers || (r->search.records[i].rule && d->mode[i]);
    m->slower_than_float = delivers && d->proven && d->speed.speed == CLQ_SPEED_SLOWER;
    m->kept_float = nothing || (!delivers && !faster);
    if (o->frontier_db && !o->pick)
        snprintf(m->reason, sizeof m->reason, "%zu points of what can be had; none of them was picked", r->n_points);
    else if (nothing)
        snprintf(m->reason, sizeof m->reason, "no layer gains from fewer bits within the error budget: the float model is kept");
    else if (m->kept_float)
        snprintf(m->reason, sizeof m->reason, "the plan is not faster than float beyond noise (%.2f x, 95 %% from %.2f to %.2f): the float model is kept",
                 d->speed.speedup, d->speed.speedup_lo, d->speed.speedup_hi);
    else if (r->search.profile->other)
        snprintf(m->reason, sizeof m->reason, "%d of %d layers run in fewer bits: %.2f x float, output SQNR %.2f dB", m->int8_layers, m->layers, d->speed.speedup,
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

/* Upper bound of the loss in points: rows that changed in either direction count, the others only as many. */
static double loss_upper(const struct clq_comparison *c)
{
    unsigned char *was = calloc(c->samples + 1, 1), *is = calloc(c->samples + 1, 1);
    double upper = NAN;
    for (size_t i = 0; was && is && i < c->lost + c->gained; i++) (i < c->lost ? was : is)[i] = 1;
    if (was && is) upper = clq_drop_of(was, is, c->samples).upper;
    free(was);
    free(is);
    return upper;
}

static void fill_intervals(clq_summary *m, const struct clq_comparison *c, bool labels)
{
    struct clq_proportion agreement = clq_proportion_of(c->agree, c->samples);
    bool changed = !m->kept_float;
    m->cosine_lower = changed ? c->cosine_lower : 1;
    m->agreement_lower = !c->samples ? -1 : changed ? agreement.lo : 1;
    m->agreement_upper = !c->samples ? -1 : changed ? agreement.hi : 1;
    m->top1_loss_upper = !labels ? (double)NAN : changed ? loss_upper(c) : 0;
}

static void fill_summary(struct clq_result *r, const struct clq_decision *d)
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
    fill_intervals(m, c, labels);
    m->uniform_sqnr_db = d->uniform.sqnr_db;
    m->speedup = m->kept_float ? 1 : d->speed.speedup;
    m->speedup_lo = m->kept_float ? 1 : d->speed.speedup_lo;
    m->speedup_hi = m->kept_float ? 1 : d->speed.speedup_hi;
    if (r->search.profile->other && !m->kept_float) m->speedup_lo = m->speedup_hi = (double)NAN; /* a prediction has no interval of pairs */
    m->uniform_speedup = d->uniform_speed.speedup;
    m->pairs = d->speed.pairs;
    m->processes = d->speed.processes;
    m->pairs_disturbed = d->speed.disturbed;
    m->pairs_unsure = d->speed.unsure;
    m->median_ms = d->speed.candidate * 1e3;
    m->reference_median_ms = (d->proven ? d->speed : d->uniform_speed).reference * 1e3; /* without any int8 layer, what uniform was compared with */
    if (d->choice.predicted_us > 0) m->predicted_speedup = d->uniform_speed.reference * 1e6 / d->choice.predicted_us;
    if (d->choice.model_us > 0) m->layers_speedup = d->uniform_speed.reference * 1e6 / d->choice.model_us;
    m->predicted_sqnr_db = d->choice.predicted_us > 0 ? (d->choice.predicted_noise > 0 ? -10 * log10(d->choice.predicted_noise) : INFINITY) : (double)NAN;
    m->score = d->score;
    m->score_reference = d->score_reference;
    m->calibration_samples = r->replay.n_layers ? (size_t)r->replay.data.samples : r->search.calibration.count;
    m->validation_samples = r->search.validation.source.count;
}

clq_status clq_decision_judge(struct clq_result *r, const clq_quantize_options *o, struct clq_decision *d, bool forced, struct clq_error *err)
{
    CLQ_TRY(fill_layers(r, d, forced, err));
    CLQ_TRY(judge(r, o, d, forced, err));
    name_runtime(r);
    r->summary.speed_predicted = r->search.profile->other;
    if (r->summary.kept_float) CLQ_TRY(keep_float_layers(r, err));
    fill_summary(r, d);
    return CLQ_OK;
}
