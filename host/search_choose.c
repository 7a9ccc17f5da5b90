/* SPDX-License-Identifier: Apache-2.0
 * Chooses precisions by the integer program and whole-plan measurements. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/onnx.h"
#include "profile_use.h"
#include "scheduler/refine.h"
#include "scheduler/time_model.h"
#include "search_journal.h"

enum { ROUNDS = 6 };

static clq_status no_memory(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

/* ---- Precisions ---- */
enum { DOMAIN_F32, DOMAIN_U8, DOMAIN_DEVICE, DOMAINS };

struct network {
    struct clq_problem problem;
    int *layer_of;   /* unit -> layer, or -1 */
    int *unit_of;    /* layer -> unit */
    int most;        /* candidates of a layer */
    uint8_t *mode;   /* [layers][most] of each candidate */
    struct clq_candidate *candidates; /* [layers][most] */
    double *convert_us;               /* [tensors][DOMAINS][DOMAINS] */
};

/* Of a unit that has its mode from the user nothing else is a candidate. */
static int keep_ruled(struct clq_candidate *c, uint8_t *modes, int n, const char *mode)
{
    int kept = 0;
    for (int i = 0; i < n; i++) {
        if (strcmp(c[i].label, mode) != 0) continue;
        modes[kept] = modes[i];
        c[kept++] = c[i];
    }
    return kept ? kept : n;
}

static clq_status build_layers(struct network *w, struct clq_search *s, struct clq_error *err)
{
    int n = s->units.n_units;
    struct clq_problem_layer *layers = clq_arena_array(&s->arena, (size_t)n + 1, sizeof *layers);
    w->most = DOMAINS + s->n_modes;
    struct clq_candidate *c = clq_arena_array(&s->arena, (size_t)n * (size_t)w->most + 1, sizeof *c);
    w->mode = clq_arena_array(&s->arena, (size_t)n * (size_t)w->most + 1, 1);
    w->layer_of = clq_arena_array(&s->arena, (size_t)n + 1, sizeof(int));
    w->unit_of = clq_arena_array(&s->arena, (size_t)n + 1, sizeof(int));
    if (!layers || !c || !w->mode || !w->layer_of || !w->unit_of) return no_memory(err);
    int count = 0;
    for (int i = 0; i < n; i++) {
        const struct clq_unit_record *r = &s->records[i];
        const struct clq_unit *u = &s->units.units[i];
        w->layer_of[i] = -1;
        if (!clq_search_has_choice(s, i)) continue;
        struct clq_candidate *own = &c[count * w->most];
        uint8_t *mode = &w->mode[count * w->most];
        int k = 0, out = u->float_out ? DOMAIN_F32 : DOMAIN_U8, device_out = u->float_out ? DOMAIN_F32 : DOMAIN_DEVICE;
        mode[k] = 0;
        own[k++] = (struct clq_candidate){.label = "f32", .domain = DOMAIN_F32, .domain_out = DOMAIN_F32, .weight_bits = 32, .act_bits = 32,
                                          .time_us = r->f32_us, .bytes = u->params * 4};
        mode[k] = 1;
        if (r->capable)
            own[k++] = (struct clq_candidate){.label = "int8", .domain = DOMAIN_U8, .domain_out = out, .weight_bits = 8, .act_bits = 8,
                                              .time_us = r->int8_us, .error = r->noise, .bytes = u->params};
        mode[k] = 1;
        if (r->capable && r->device_us >= 0)
            own[k++] = (struct clq_candidate){.label = "int8", .domain = DOMAIN_DEVICE, .domain_out = device_out, .weight_bits = 8, .act_bits = 8,
                                              .time_us = r->device_us, .error = r->noise, .bytes = u->params};
        for (int m = 2; m < s->n_modes; m++) {
            const struct clq_mode_record *x = &s->extra[m][i];
            const struct clq_scheme *scheme = &s->modes[m].scheme;
            if (!x->capable) continue;
            mode[k] = (uint8_t)m;
            own[k++] = (struct clq_candidate){.label = scheme->mode, .domain = DOMAIN_F32, .domain_out = DOMAIN_F32, .weight_bits = scheme->weight_bits,
                                              .act_bits = scheme->act_bits, .time_us = x->us, .error = x->noise, .bytes = u->params * clq_mode_bytes(&s->modes[m])};
        }
        if (r->rule) k = keep_ruled(own, mode, k, r->rule);
        layers[count] = (struct clq_problem_layer){.name = u->name, .n_candidates = k, .candidates = own, .params = u->params, .macs = u->macs};
        w->unit_of[count] = i;
        w->layer_of[i] = count++;
    }
    w->problem.n_layers = count;
    w->problem.layers = layers;
    w->candidates = c;
    return CLQ_OK;
}

static clq_status build_tensors(struct network *w, struct clq_search *s, struct clq_error *err)
{
    const struct clq_units *u = &s->units;
    struct clq_problem_tensor *tensors = clq_arena_array(&s->arena, (size_t)u->n_tensors + 1, sizeof *tensors);
    double *cost = clq_arena_array(&s->arena, (size_t)u->n_tensors * DOMAINS * DOMAINS + 1, sizeof *cost);
    int uses = 0;
    for (int i = 0; i < u->n_units; i++) uses += u->units[i].n_in;
    int *consumers = clq_arena_array(&s->arena, (size_t)(uses + u->n_tensors) + 1, sizeof *consumers);
    if (!tensors || !cost || !consumers) return no_memory(err);
    for (int t = 0; t < u->n_tensors; t++) {
        double *c = cost + (size_t)t * DOMAINS * DOMAINS;
        for (int d = DOMAIN_U8; d < DOMAINS; d++) {
            c[DOMAIN_F32 * DOMAINS + d] = s->convert_us[0][t];
            c[d * DOMAINS + DOMAIN_F32] = s->convert_us[1][t];
        }
        int producer = u->tensors[t].producer >= 0 ? w->layer_of[u->tensors[t].producer] : -1;
        bool fixed = u->tensors[t].needs_float;
        struct clq_problem_tensor *pt = &tensors[t];
        *pt = (struct clq_problem_tensor){.producer = producer < 0 ? CLQ_GRAPH_INPUT : producer, .consumers = consumers, .convert_us = c};
        for (int i = 0; i < u->n_units; i++)
            for (int k = 0; k < u->units[i].n_in; k++) {
                if (u->units[i].in[k] != t) continue;
                if (w->layer_of[i] < 0) fixed = true;
                else consumers[pt->n_consumers++] = w->layer_of[i];
                break;
            }
        if (fixed) consumers[pt->n_consumers++] = CLQ_GRAPH_OUTPUT;
        consumers += pt->n_consumers;
    }
    w->problem.n_tensors = u->n_tensors;
    w->problem.tensors = tensors;
    w->convert_us = cost;
    return CLQ_OK;
}

static void apply(const struct network *w, const int *choice, const struct clq_search *s, uint8_t *mode, bool *on_device)
{
    memset(mode, 0, (size_t)s->units.n_units * sizeof *mode);
    memset(on_device, 0, (size_t)s->units.n_units * sizeof *on_device);
    for (int l = 0; l < w->problem.n_layers; l++) {
        mode[w->unit_of[l]] = w->mode[l * w->most + choice[l]];
        on_device[w->unit_of[l]] = w->problem.layers[l].candidates[choice[l]].domain == DOMAIN_DEVICE;
    }
}

/* ---- Whole plans ---- */
struct judge {
    struct clq_search *s;
    const struct network *w;
    const struct clq_choose_request *q;
    uint8_t *on;
    bool *dev;
    struct clq_comparison *seen;     /* of every measured plan */
    struct clq_whole_values *values;
    double *scores;
    double params, fixed;            /* weights of all units, and of those that are no layers */
    int n, tries;                    /* plans that were measured, and those of them that change a layer */
};

void clq_search_values(struct clq_whole_values *out, const struct clq_comparison *c)
{
    for (int k = 0; k < CLQ_BOUND_COUNT; k++) out->value[k] = NAN;
    out->value[CLQ_BOUND_SQNR] = c->sqnr_db;
    out->value[CLQ_BOUND_COSINE] = c->cosine;
    out->value[CLQ_BOUND_DROP] = c->samples ? 100.0 * ((double)c->top1_reference - (double)c->top1) / (double)c->samples : 0;
}

double clq_search_margin(const struct clq_comparison *c)
{
    double margin = c->noise > 0 && isfinite(c->noise) ? c->noise_bound / c->noise : 1;
    return fmin(CLQ_ERROR_MARGIN_MOST, fmax(CLQ_ERROR_MARGIN, margin));
}

bool clq_search_within(const struct clq_comparison *c, const struct clq_budget *b)
{
    struct clq_whole_values v;
    clq_search_values(&v, c);
    return clq_budget_binding(b, &v, clq_search_margin(c)) == CLQ_BOUND_COUNT;
}

clq_status clq_search_memory(double *out, struct clq_search *s, const struct clq_model *model, size_t model_bytes, struct clq_error *err)
{
    struct clq_program *p;
    clq_tensor *in = clq_arena_array(&s->arena, (size_t)s->model.graph.n_inputs + 1, sizeof *in);
    if (!in) return no_memory(err);
    CLQ_TRY(s->calibration.get(s->calibration.state, 0, in, err));
    const struct clq_program_options o = {.partial = true};
    CLQ_TRY(clq_program_compile(&p, s->ctx, model, in, &o, err));
    *out = (double)model_bytes + (double)p->memory_bytes + (double)p->scratch_bytes * s->ctx->threads;
    clq_program_free(p);
    return CLQ_OK;
}

static clq_status encoded_bytes(size_t *out, const struct clq_model *m, struct clq_error *err)
{
    unsigned char *bytes;
    CLQ_TRY(clq_onnx_encode(&bytes, out, m, err));
    free(bytes);
    return CLQ_OK;
}

/* A few pairs in this process: the model of the time is corrected by them, the proof comes later. */
static clq_status time_whole(double *us, const struct judge *j, const struct clq_model *m, struct clq_error *err)
{
    enum { PAIRS = 40 };
    struct clq_accept_verdict v;
    clq_tensor *in = clq_arena_array(&j->s->arena, (size_t)j->s->model.graph.n_inputs + 1, sizeof *in);
    if (!in) return no_memory(err);
    CLQ_TRY(j->s->calibration.get(j->s->calibration.state, 0, in, err));
    struct clq_proof_request q = {.reference = &j->s->model, .candidate = m, .inputs = in, .pairs = PAIRS, .phase = "timing a plan"};
    CLQ_TRY(clq_profile_prove(&v, j->s->profile, &q, err));
    *us = j->q->reference_us * v.ratio;
    return CLQ_OK;
}

static bool time_bounded(const struct clq_budget *b)
{
    return clq_budget_has(b, CLQ_BOUND_LATENCY) || clq_budget_has(b, CLQ_BOUND_SPEEDUP);
}

/* Whether the bytes of the file matter, not only those of the weights. */
static bool file_counts(const struct clq_budget *b)
{
    return clq_budget_has(b, CLQ_BOUND_SIZE) || (b->objective == CLQ_AXIS_BYTES && !clq_budget_has(b, CLQ_BOUND_BITS));
}

static double bits_per_weight(const struct judge *j, const int *choice)
{
    double bytes = j->fixed * 4;
    for (int l = 0; l < j->w->problem.n_layers; l++) bytes += j->w->problem.layers[l].candidates[choice[l]].bytes;
    return j->params > 0 ? 8 * bytes / j->params : 32;
}

/* A comparison costs a pass over all samples, and searches meet in the same plans. */
static clq_status compare_once(struct clq_comparison *c, const struct judge *j, const struct clq_model *m, struct clq_error *err)
{
    struct clq_compared *known = j->q->compared;
    size_t bytes = (size_t)j->s->units.n_units;
    for (int i = 0; known && i < known->n; i++)
        if (memcmp(known->item[i].mode, j->on, bytes) == 0) {
            *c = known->item[i].c;
            return CLQ_OK;
        }
    CLQ_TRY(clq_search_compare(c, j->s, &j->s->validation, m, j->on, err));
    if (!known || known->n == known->room) return CLQ_OK;
    uint8_t *copy = clq_arena_alloc(&j->s->arena, bytes + 1);
    if (!copy) return no_memory(err);
    memcpy(copy, j->on, bytes);
    known->item[known->n].mode = copy;
    known->item[known->n++].c = *c;
    return CLQ_OK;
}

static clq_status measure_rewritten(const struct judge *j, const struct clq_model *m, struct clq_comparison *c, double *score, double *us,
                                    size_t *bytes, double *memory, struct clq_error *err)
{
    const struct clq_budget *b = j->q->budget;
    CLQ_TRY(compare_once(c, j, m, err));
    if (file_counts(b) || clq_budget_has(b, CLQ_BOUND_MEMORY)) CLQ_TRY(encoded_bytes(bytes, m, err));
    if (clq_budget_has(b, CLQ_BOUND_MEMORY)) CLQ_TRY(clq_search_memory(memory, j->s, m, *bytes, err));
    if (j->q->eval_command) CLQ_TRY(clq_search_score(score, j->s, j->q->eval_command, j->q->eval_timeout_s, m, err));
    if (time_bounded(b) && j->q->reference_us > 0 && !j->s->profile->other) CLQ_TRY(time_whole(us, j, m, err));
    return CLQ_OK;
}

static const char *decibel(char text[24], double db)
{
    if (isinf(db)) return db > 0 ? "exact" : "no signal";
    snprintf(text, 24, "%.2f dB", db);
    return text;
}

/* Bounds that are no axis: their largest excess refuses the plan. */
static void refuse(struct clq_whole *out, const struct clq_budget *b, const struct clq_whole_values *v)
{
    static const enum clq_bound_kind kinds[] = {CLQ_BOUND_COSINE, CLQ_BOUND_DROP, CLQ_BOUND_BITS, CLQ_BOUND_MEMORY};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        double e = clq_budget_excess(b, kinds[i], v->value[kinds[i]], kinds[i] == CLQ_BOUND_COSINE ? out->error_margin : 1);
        if (e <= out->excess) continue;
        out->refused = true;
        out->excess = e;
        out->blame = clq_bounds[kinds[i]].axis;
    }
}

/* Of other policies the one who asked them tells what became of their plans. */
static void tell_measured(const struct judge *j, const struct clq_comparison *c, bool refused)
{
    char db[24];
    if (j->q->policy || !clq_any_layer(j->on, j->s->units.n_units)) return;
    clq_context_log(j->s->ctx, "our plan, try %d: measured %s%s", j->tries, decibel(db, c->sqnr_db), refused ? ", over the budget" : "");
}

static clq_status measure_whole(void *state, struct clq_whole *out, const int *choice, struct clq_error *err)
{
    struct judge *j = state;
    const struct clq_budget *b = j->q->budget;
    struct clq_comparison c = {.sqnr_db = INFINITY, .cosine = 1};
    double us = j->q->reference_us > 0 ? j->q->reference_us : NAN, score = j->q->eval_command ? j->q->reference_score : NAN, memory = NAN;
    size_t bytes = (size_t)j->q->reference_bytes;
    apply(j->w, choice, j->s, j->on, j->dev);
    if (clq_any_layer(j->on, j->s->units.n_units)) {
        struct clq_model m;
        j->tries++;
        if (!clq_context_progress(j->s->ctx, "solving", (double)j->n / (ROUNDS + 1))) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "canceled");
        us = NAN;
        CLQ_TRY(clq_search_placed(&m, j->s, j->on, j->dev, err));
        clq_status st = measure_rewritten(j, &m, &c, &score, &us, &bytes, &memory, err);
        clq_model_release(&m);
        CLQ_TRY(st);
    } else if (clq_budget_has(b, CLQ_BOUND_MEMORY)) CLQ_TRY(clq_search_memory(&memory, j->s, &j->s->model, bytes, err));
    struct clq_whole_values *v = &j->values[j->n];
    clq_search_values(v, &c);
    if (j->q->eval_command) v->value[CLQ_BOUND_DROP] = j->q->reference_score - score;
    v->value[CLQ_BOUND_BITS] = bits_per_weight(j, choice);
    v->value[CLQ_BOUND_MEMORY] = memory;
    if (file_counts(b)) v->value[CLQ_BOUND_SIZE] = (double)bytes;
    if (us > 0) {
        v->value[CLQ_BOUND_LATENCY] = us * 1e-3;
        v->value[CLQ_BOUND_SPEEDUP] = j->q->reference_us / us;
    }
    *out = (struct clq_whole){.axis = {[CLQ_AXIS_TIME] = us, [CLQ_AXIS_ERROR] = c.noise, [CLQ_AXIS_BYTES] = file_counts(b) ? (double)bytes : NAN},
                              .error_margin = clq_search_margin(&c)};
    refuse(out, b, v);
    j->scores[j->n] = score;
    j->seen[j->n++] = c;
    tell_measured(j, &c, out->refused);
    return CLQ_OK;
}

/* ---- The search ---- */

/* What a plan's layers add up to, by kind; fixed: of the units that are no layers. False: it is no choice of this problem. */
static bool add_up(struct clq_time_point *out, const struct network *w, const uint8_t *mode, int *choice, double fixed)
{
    struct clq_totals totals;
    *out = (struct clq_time_point){.f32 = fixed};
    for (int l = 0; l < w->problem.n_layers; l++) {
        const struct clq_problem_layer *layer = &w->problem.layers[l];
        choice[l] = -1;
        for (int c = layer->n_candidates - 1; c >= 0; c--)
            if (w->mode[l * w->most + c] == mode[w->unit_of[l]] && layer->candidates[c].domain != DOMAIN_DEVICE) choice[l] = c;
        if (choice[l] < 0) return false;
        *(mode[w->unit_of[l]] ? &out->codes : &out->f32) += layer->candidates[choice[l]].time_us;
    }
    if (clq_problem_evaluate(&totals, &w->problem, choice, NULL) != CLQ_OK) return false;
    out->convert = totals.convert_us;
    return true;
}

static void scale_times(struct network *w, const struct clq_time_factors *g)
{
    for (int i = 0; i < w->problem.n_layers * w->most; i++) w->candidates[i].time_us *= w->mode[i] ? g->codes : g->f32;
    for (int i = 0; i < w->problem.n_tensors * DOMAINS * DOMAINS; i++) w->convert_us[i] *= g->convert;
}

/* The time of the whole model by that of its layers, corrected by what the float model and other whole plans took. */
static clq_status fit_time(struct clq_refine_request *r, struct network *w, const struct clq_search *s, double reference_us, struct clq_error *err)
{
    struct clq_time_point all;
    struct clq_time_factors g = {1, 1, 1};
    double fixed = s->outside_us;
    int n = 0, *choice = calloc((size_t)w->problem.n_layers + 1, sizeof *choice);
    uint8_t *none = calloc((size_t)s->units.n_units + 1, 1);
    struct clq_time_point *points = calloc((size_t)s->n_timed + 1, sizeof *points);
    for (int i = 0; i < s->units.n_units; i++) fixed += w->layer_of[i] < 0 ? fmax(s->records[i].f32_us, 0) : 0;
    if (choice && none && points) {
        for (int i = 0; i < s->n_timed; i++)
            if (add_up(&points[n], w, s->timed[i].mode, choice, fixed)) points[n++].whole = reference_us * s->timed[i].ratio;
        if (reference_us > 0 && add_up(&all, w, none, choice, fixed)) g = clq_time_fit(all.f32, reference_us, points, (size_t)n);
    }
    bool made = choice && none && points;
    free(choice);
    free(none);
    free(points);
    if (!made) return no_memory(err);
    scale_times(w, &g);
    r->scale[CLQ_AXIS_TIME] = 1;
    r->base[CLQ_AXIS_TIME] = reference_us > 0 ? g.f32 * fixed : 0;
    return CLQ_OK;
}

static void set_bounds(struct clq_refine_request *r, const struct judge *j)
{
    const struct clq_budget *b = j->q->budget;
    const double *limit = b->limit;
    for (int a = 0; a < CLQ_AXIS_COUNT; a++) {
        r->bound[a] = INFINITY;
        r->margin[a] = r->scale[a] = 1;
        r->base[a] = 0;
    }
    r->margin[CLQ_AXIS_ERROR] = CLQ_ERROR_MARGIN;
    double *error = &r->bound[CLQ_AXIS_ERROR], *time = &r->bound[CLQ_AXIS_TIME], *bytes = &r->bound[CLQ_AXIS_BYTES];
    if (clq_budget_has(b, CLQ_BOUND_SQNR)) *error = pow(10, -limit[CLQ_BOUND_SQNR] / 10);
    if (clq_budget_has(b, CLQ_BOUND_COSINE)) *error = fmin(*error, 1 / (limit[CLQ_BOUND_COSINE] * limit[CLQ_BOUND_COSINE]) - 1);
    if (clq_budget_has(b, CLQ_BOUND_DROP)) *error = fmin(*error, 1); /* labels judge, not energies */
    if (j->q->reference_us > 0) {
        r->margin[CLQ_AXIS_TIME] = 1.02; /* the proof's interval has to keep it */
        if (clq_budget_has(b, CLQ_BOUND_LATENCY)) *time = limit[CLQ_BOUND_LATENCY] * 1e3;
        if (clq_budget_has(b, CLQ_BOUND_SPEEDUP)) *time = fmin(*time, j->q->reference_us / limit[CLQ_BOUND_SPEEDUP]);
    }
    double layers = (j->params - j->fixed) * 4, weights = file_counts(b) ? j->q->reference_bytes - layers : j->fixed * 4;
    r->base[CLQ_AXIS_BYTES] = fmax(weights, 0);
    if (clq_budget_has(b, CLQ_BOUND_SIZE)) *bytes = limit[CLQ_BOUND_SIZE];
    else if (clq_budget_has(b, CLQ_BOUND_BITS)) *bytes = limit[CLQ_BOUND_BITS] / 8 * j->params;
}

static void take_best(struct clq_choice *out, const struct clq_refined *best, const struct judge *j)
{
    out->measured = j->seen[best->measurement];
    out->values = j->values[best->measurement];
    out->score = j->scores[best->measurement];
    out->feasible = best->feasible;
    out->rounds = best->rounds;
    out->predicted_noise = best->predicted[CLQ_AXIS_ERROR];
    out->predicted_us = out->model_us = j->q->reference_us > 0 ? best->predicted[CLQ_AXIS_TIME] : 0;
    if (isnan(out->values.value[CLQ_BOUND_LATENCY]) && out->predicted_us > 0) {
        out->values.value[CLQ_BOUND_LATENCY] = out->predicted_us * 1e-3;
        out->values.value[CLQ_BOUND_SPEEDUP] = j->q->reference_us / out->predicted_us;
    }
    if (j->q->policy) return;
    char predicted[24], measured[24];
    clq_context_log(j->s->ctx, "our plan after %d round%s: predicted %s, measured %s: %s budget", best->rounds, best->rounds == 1 ? "" : "s",
                    decibel(predicted, out->predicted_noise > 0 ? -10 * log10(out->predicted_noise) : (double)INFINITY),
                    decibel(measured, out->measured.sqnr_db), best->feasible ? "within the" : "over the");
}

clq_status clq_search_choose(struct clq_choice *out, struct clq_search *s, const struct clq_choose_request *q, struct clq_error *err)
{
    size_t n = (size_t)s->units.n_units + 1;
    struct network w = {.problem = {.n_domains = DOMAINS, .objective = q->budget->objective}};
    struct judge j = {.s = s, .w = &w, .q = q};
    struct clq_refine_request r = {.problem = &w.problem, .policy = q->policy, .rounds = q->rounds ? q->rounds : ROUNDS, .measure = measure_whole, .state = &j};
    struct clq_refined best;
    int *choice = clq_arena_array(&s->arena, n, sizeof *choice);
    j.on = clq_arena_array(&s->arena, n, sizeof *j.on);
    j.dev = clq_arena_array(&s->arena, n, sizeof *j.dev);
    j.seen = clq_arena_array(&s->arena, (size_t)r.rounds + 1, sizeof *j.seen);
    j.values = clq_arena_array(&s->arena, (size_t)r.rounds + 1, sizeof *j.values);
    j.scores = clq_arena_array(&s->arena, (size_t)r.rounds + 1, sizeof *j.scores);
    *out = (struct clq_choice){.mode = clq_arena_array(&s->arena, n, 1), .on_device = clq_arena_array(&s->arena, n, sizeof(bool))};
    if (!choice || !j.on || !j.dev || !j.seen || !j.values || !j.scores || !out->mode || !out->on_device) return no_memory(err);
    CLQ_TRY(build_layers(&w, s, err));
    CLQ_TRY(build_tensors(&w, s, err));
    for (int a = 0; a < CLQ_AXIS_COUNT; a++) w.problem.bound[a] = INFINITY;
    for (int i = 0; i < s->units.n_units; i++) {
        if (w.layer_of[i] < 0 && s->units.units[i].kind == CLQ_UNIT_STORED) continue;
        j.params += s->units.units[i].params;
        if (w.layer_of[i] < 0) j.fixed += s->units.units[i].params;
    }
    set_bounds(&r, &j);
    CLQ_TRY(fit_time(&r, &w, s, q->reference_us, err));
    CLQ_TRY(clq_refine(&best, choice, &r, err));
    apply(&w, choice, s, out->mode, out->on_device);
    take_best(out, &best, &j);
    clq_context_progress(s->ctx, "solving", 1);
    return CLQ_OK;
}
