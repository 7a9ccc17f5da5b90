/* SPDX-License-Identifier: Apache-2.0
 * Replay: a plan file in place of calibration and search. All that decides a byte of the written model comes from the plan
 * and the model, so threads, ISA and device do not matter. The plan may have been edited by hand. */
#include <string.h>

#include "result.h"

static clq_status no_memory(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

/* ---- The plan as a whole ---- */
static clq_status take_target(struct clq_search *s, const struct clq_plan_data *p, const char *asked, struct clq_error *err)
{
    const char *given = p->options.target;
    if (asked && strcmp(asked, given) != 0)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "the plan was made for target '%s', and '%s' is asked for", given, asked);
    for (int t = 0; t < CLQ_TARGET_COUNT; t++)
        if (strcmp(given, clq_target_name((enum clq_target)t)) == 0) {
            s->target = (enum clq_target)t;
            return CLQ_OK;
        }
    return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "options.target: '%s', expected generic, ort, tensorrt or openvino", given);
}

/* How the weights' scales were found is one rule for all layers. */
static clq_status take_algorithm(struct clq_search *s, const struct clq_plan_data *p, struct clq_error *err)
{
    const char *first = NULL;
    for (size_t l = 0; l < p->n_layers; l++) {
        const struct clq_scheme *c = &p->layers[l].candidates[p->layers[l].choice].scheme;
        if (strcmp(c->mode, "int8") != 0) continue;
        if (!first) first = c->algorithm;
        if ((strcmp(c->algorithm, "mse") != 0 && strcmp(c->algorithm, "minmax") != 0) || strcmp(c->algorithm, first) != 0)
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "layer '%s': algorithm '%s', expected '%s'", p->layers[l].name, c->algorithm,
                            strcmp(first, "minmax") == 0 ? "minmax" : "mse");
    }
    s->weight_clip = !first || strcmp(first, "mse") == 0;
    return CLQ_OK;
}

static clq_status check_plan(struct clq_result *r, const clq_quantize_options *o, struct clq_error *err)
{
    const struct clq_plan_data *p = &r->replay;
    char hash[65];
    CLQ_TRY(clq_plan_model_hash(hash, r->source, err));
    if (strcmp(p->model.sha256, hash) != 0)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "plan '%s' belongs to another model: its sha256 is %.16s..., the model's is %.16s...", o->plan_path,
                        p->model.sha256, hash);
    r->summary.synthetic = p->data.synthetic;
    CLQ_TRY(take_target(&r->search, p, o->target, err));
    return take_algorithm(&r->search, p, err);
}

/* ---- Layers ---- */

/* The numbers that led to the choice, so that the plan can be written again. */
static void take_candidates(struct clq_unit_record *rec, const struct clq_plan_layer *l)
{
    bool capable = false;
    for (size_t k = 0; k < l->n_candidates; k++) {
        const struct clq_plan_candidate *c = &l->candidates[k];
        bool int8 = strcmp(c->scheme.mode, "int8") == 0, cpu = strcmp(c->scheme.device, "cpu") == 0;
        if (!int8 && strcmp(c->scheme.mode, "f32") != 0) continue;
        int slot = !int8 ? 0 : cpu ? 1 : 2;
        double *us[] = {&rec->f32_us, &rec->int8_us, &rec->device_us}, *spread[] = {&rec->f32_spread, &rec->int8_spread, &rec->device_spread};
        *us[slot] = c->timings > 0 || slot == 2 ? c->time_us : -1;
        *spread[slot] = c->time_spread_us;
        rec->boundary_us[slot] = c->boundary_us;
        if (c->timings > 0) rec->timings = c->timings;
        if (int8) rec->noise = c->error > 0 || c->timings > 0 ? c->error : -1;
        capable = capable || int8;
    }
    rec->capable = rec->capable && capable;
}

static clq_status take_correction(struct clq_search *s, int i, const struct clq_plan_layer *l, struct clq_error *err)
{
    struct clq_unit_weights *w = &s->weights[i];
    const struct clq_plan_array *a = clq_plan_array_find(l, "bias_correction");
    w->correction = NULL;
    if (!a) return CLQ_OK;
    if (!w->ready || a->n != (size_t)w->channels)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "layer '%s': bias_correction has %zu values, expected %lld", l->name, a->n, (long long)w->channels);
    w->correction = clq_arena_array(&s->arena, a->n + 1, sizeof(double));
    if (!w->correction) return no_memory(err);
    for (size_t c = 0; c < a->n; c++) w->correction[c] = (double)a->values[c];
    return CLQ_OK;
}

/* Modes beside f32 and int8 were added to those that the search knows. Codes that an algorithm found in calibration data are
 * in the plan. */
static clq_status take_mode(uint8_t *mode, struct clq_search *s, int i, const struct clq_plan_layer *l, const struct clq_scheme *scheme, struct clq_error *err)
{
    *mode = 0;
    for (int m = 0; m < s->n_modes; m++)
        if (strcmp(s->modes[m].scheme.mode, scheme->mode) == 0) *mode = (uint8_t)m;
    if (*mode == 0 && strcmp(scheme->mode, "f32") != 0)
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "layer '%s': mode '%s' is not supported", l->name, scheme->mode);
    if (*mode < 2) return CLQ_OK;
    if (!s->extra[*mode][i].capable) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "layer '%s': it has no form in mode '%s'", l->name, scheme->mode);
    bool groups = s->modes[*mode].run != CLQ_RUN_CODES && s->modes[*mode].scheme.weight_bits < 8;
    return groups ? clq_search_groups_replay(s, i, *mode, l, err) : CLQ_OK;
}

static clq_status take_layer(struct clq_search *s, int i, const struct clq_plan_layer *l, uint8_t *mode, bool *on_device, struct clq_error *err)
{
    struct clq_unit_record *rec = &s->records[i];
    const struct clq_scheme *scheme = &l->candidates[l->choice].scheme;
    static const char mark[] = "plan: ";
    CLQ_TRY(take_mode(mode, s, i, l, scheme, err));
    *on_device = *mode == 1 && strcmp(scheme->device, "cpu") != 0;
    if (*mode == 1 && !rec->capable)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "layer '%s': the plan wants int8, but: %s", l->name, rec->reason ? rec->reason : "it has no such form");
    take_candidates(rec, l);
    bool marked = strncmp(l->reason, mark, sizeof mark - 1) == 0;
    rec->reason = clq_arena_printf(&s->arena, "%s%s", marked ? "" : mark, l->reason);
    if (!rec->reason) return no_memory(err);
    return take_correction(s, i, l, err);
}

static clq_status take_layers(struct clq_search *s, const struct clq_plan_data *p, uint8_t *mode, bool *on_device, struct clq_error *err)
{
    struct clq_map names;
    clq_map_start(&names, &s->arena);
    for (size_t l = 0; l < p->n_layers; l++)
        if (!clq_map_set(&names, p->layers[l].name, (int)l)) return no_memory(err);
    if (p->n_layers != (size_t)s->units.n_units)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "the plan has %zu layers, the model %d", p->n_layers, s->units.n_units);
    for (int i = 0; i < s->units.n_units; i++) {
        const char *name = clq_plan_name(&s->arena, s->units.units[i].name);
        if (!name) return no_memory(err);
        int l = clq_map_get(&names, name);
        if (l < 0) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "the plan has no layer '%s'", name);
        CLQ_TRY(take_layer(s, i, &p->layers[l], &mode[i], &on_device[i], err));
    }
    return CLQ_OK;
}

/* ---- Tensors ---- */
static void take_methods(struct clq_tensor_record *rec, const struct clq_plan_tensor *q)
{
    for (int m = 0; m < CLQ_CAL_COUNT; m++) {
        const char *name = clq_calibrator_name((enum clq_calibrator)m);
        if (strcmp(q->method, name) == 0) rec->method = (enum clq_calibrator)m;
        for (size_t k = 0; k < q->n_methods; k++)
            if (strcmp(q->methods[k].name, name) == 0) rec->error[m] = q->methods[k].error;
    }
    rec->range[rec->method] = (struct clq_range){.lo = q->min, .hi = q->max};
}

static clq_status take_tensors(struct clq_search *s, const struct clq_plan_data *p, struct clq_error *err)
{
    int dtype = s->target == CLQ_TARGET_TENSORRT ? 1 : 0;
    struct clq_map names;
    clq_map_start(&names, &s->arena);
    for (size_t t = 0; t < p->n_tensors; t++)
        if (!clq_map_set(&names, p->tensors[t].name, (int)t)) return no_memory(err);
    for (int t = 0; t < s->units.n_tensors; t++) {
        if (!s->tensors[t].hist) continue;
        const char *name = clq_plan_name(&s->arena, s->units.tensors[t].name);
        if (!name) return no_memory(err);
        int at = clq_map_get(&names, name);
        if (at < 0) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "the plan has no tensor '%s'", name);
        const struct clq_plan_tensor *q = &p->tensors[at];
        if (q->dtype != dtype)
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "tensor '%s': dtype %s, expected %s for target %s", name, clq_plan_dtypes[q->dtype],
                            clq_plan_dtypes[dtype], clq_target_name(s->target));
        if (dtype == 1 && q->zero_point != 0)
            return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "tensor '%s': zero point %d, expected 0 for target tensorrt", name, q->zero_point);
        s->params[t] = (struct clq_qparams){q->scale, q->zero_point + (dtype == 1 ? 128 : 0)};
        take_methods(&s->tensors[t], q);
    }
    for (int t = 0; t < s->units.n_tensors; t++) s->params[t] = s->params[s->units.tensors[t].group];
    return CLQ_OK;
}

clq_status clq_result_replay(struct clq_result *r, uint8_t *mode, bool *on_device, const clq_quantize_options *o, struct clq_error *err)
{
    struct clq_search *s = &r->search;
    CLQ_TRY(check_plan(r, o, err));
    CLQ_TRY(clq_search_scale_replay(s, &r->replay, err));
    CLQ_TRY(clq_search_tensors(s, err));
    CLQ_TRY(clq_search_weights(s, err));
    CLQ_TRY(take_layers(s, &r->replay, mode, on_device, err));
    return take_tensors(s, &r->replay, err);
}

clq_status clq_result_replay_modes(struct clq_result *r, const char *path, struct clq_error *err)
{
    struct clq_search *s = &r->search;
    const struct clq_plan_data *p = &r->replay;
    CLQ_TRY(clq_plan_read(&r->replay, path, err));
    for (size_t l = 0; l < p->n_layers; l++) {
        const struct clq_scheme *c = &p->layers[l].candidates[p->layers[l].choice].scheme;
        struct clq_mode mode;
        if (clq_mode_parse(&mode, c->mode, NULL) != CLQ_OK) continue; /* refused with the layer's name later */
        CLQ_TRY(clq_modes_add(s->modes, &s->n_modes, &s->arena, c->mode, err));
    }
    return CLQ_OK;
}
