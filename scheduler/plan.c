/* SPDX-License-Identifier: Apache-2.0
 * Plans: what they promise beyond single ranges, and their text. */
#include "scheduler/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/map.h"
#include "scheduler/plan_fields.h"

/* Modes without a group size. Weights of one bit have the codes -1 and 1, those of ternary and int2 two bits. */
static const struct clq_scheme plain_modes[] = {
    {"f32", 32, 0, true, CLQ_ACT_FLOAT, 32, 0, "", "", ""},
    {"int8", 8, 0, true, CLQ_ACT_STATIC, 8, 0, "mse", "", ""},
    {"int8-dynamic", 8, 0, true, CLQ_ACT_PER_TOKEN, 8, 0, "mse", "", ""},
    {"int8-tensor", 8, 0, true, CLQ_ACT_DYNAMIC, 8, 0, "mse", "", ""},
    {"int8-weight", 8, 0, true, CLQ_ACT_FLOAT, 32, 0, "mse", "", ""},
    {"int16-int8", 8, 0, true, CLQ_ACT_STATIC, 16, 0, "mse", "", ""},
    {"int4-channel", 4, 0, true, CLQ_ACT_PER_TOKEN, 8, 0, "mse", "", ""},
    {"int4-channel-asym", 4, 0, false, CLQ_ACT_PER_TOKEN, 8, 0, "mse", "", ""},
    {"ternary", 2, 128, true, CLQ_ACT_FLOAT, 32, 0, "mse", "", ""},
    {"binary", 1, 128, true, CLQ_ACT_FLOAT, 32, 0, "mse", "", ""},
    {"codebook16", 4, -1, true, CLQ_ACT_FLOAT, 32, 0, "kmeans", "", ""},
};

/* Families whose name goes on with a group size. */
static const struct {
    const char *prefix;
    struct clq_scheme scheme;
} grouped_modes[] = {
    {"int4-g", {"", 4, 0, true, CLQ_ACT_PER_TOKEN, 8, 0, "mse", "", ""}},
    {"int2-g", {"", 2, 0, true, CLQ_ACT_FLOAT, 32, 0, "mse", "", ""}},
    {"nf4-g", {"", 4, 0, true, CLQ_ACT_FLOAT, 32, 0, "absmax", "", ""}},
};

static bool grouped(struct clq_scheme *out, const char *mode)
{
    static const char *const sizes[] = {"16", "32", "64", "128", "256", "512", "1024"};
    static const char asymmetric[] = "-asym";
    for (size_t f = 0; f < sizeof grouped_modes / sizeof *grouped_modes; f++) {
        size_t n = strlen(grouped_modes[f].prefix), digits = strncmp(mode, grouped_modes[f].prefix, n) == 0 ? strspn(mode + n, "0123456789") : 0;
        const char *rest = mode + n + digits;
        if (digits == 0 || (*rest && (strcmp(rest, asymmetric) != 0 || f == 2))) continue;
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            if (strlen(sizes[i]) == digits && strncmp(mode + n, sizes[i], digits) == 0) {
                *out = grouped_modes[f].scheme;
                out->mode = mode;
                out->weight_group = 16 << i;
                out->weight_symmetric = *rest == 0;
                return true;
            }
    }
    return false;
}

clq_status clq_scheme_from_mode(struct clq_scheme *out, const char *mode, const char *device, struct clq_error *err)
{
    bool found = grouped(out, mode);
    for (size_t i = 0; i < sizeof plain_modes / sizeof *plain_modes && !found; i++)
        if (strcmp(plain_modes[i].mode, mode) == 0) {
            *out = plain_modes[i];
            found = true;
        }
    if (!found)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT,
                        "unknown mode '%.100s', expected f32, int8, int8-dynamic, int8-tensor, int8-weight, int16-int8, int4-gN, int4-channel, int2-gN (each "
                        "with -asym or without), ternary, binary, nf4-gN or codebook16, with N from 16 to 1024", mode);
    out->device = device;
    return CLQ_OK;
}

void clq_plan_start(struct clq_plan_data *plan)
{
    memset(plan, 0, sizeof *plan);
    plan->version = CLQ_PLAN_VERSION;
    plan->options.budget_value = NAN;
    double *const unmeasured[] = {
        &plan->results.sqnr_db_predicted, &plan->results.sqnr_db, &plan->results.sqnr_db_lower, &plan->results.cosine,
        &plan->results.top1, &plan->results.top1_reference, &plan->results.agreement, &plan->results.speedup,
        &plan->results.speedup_lo, &plan->results.speedup_hi, &plan->results.time_us_predicted, &plan->results.time_us,
        &plan->results.seconds};
    for (size_t i = 0; i < sizeof unmeasured / sizeof *unmeasured; i++)
        *unmeasured[i] = NAN;
}

void clq_plan_release(struct clq_plan_data *plan)
{
    clq_arena_free(&plan->arena);
    memset(plan, 0, sizeof *plan);
}

static bool is_sha256(const char *text)
{
    return !text || !*text || (strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64);
}

/* A name of lower-case letters, digits and dashes. Which modes a library can run is its caller's to say. */
static bool is_mode(const char *mode)
{
    return mode[0] >= 'a' && mode[0] <= 'z' && mode[strspn(mode, "abcdefghijklmnopqrstuvwxyz0123456789-")] == 0;
}

static clq_status check_scheme(const struct clq_scheme *s, size_t layer, size_t candidate, clq_status bad, struct clq_error *err)
{
    struct clq_scheme usual;
    if (!is_mode(s->mode))
        return clq_fail(err, bad, "layers[%zu].candidates[%zu].scheme.mode: '%s' is no name of a mode", layer, candidate, s->mode);
    if ((s->act_kind == CLQ_ACT_FLOAT) != (s->act_bits == 32))
        return clq_fail(err, bad, "layers[%zu].candidates[%zu].scheme.act_bits: %d does not fit its kind of activations", layer,
                        candidate, s->act_bits);
    if (clq_scheme_from_mode(&usual, s->mode, s->device, NULL) == CLQ_OK &&
        (usual.weight_bits != s->weight_bits || usual.act_bits != s->act_bits || usual.act_kind != s->act_kind ||
         usual.weight_symmetric != s->weight_symmetric || (usual.weight_group > 0 && usual.weight_group != s->weight_group)))
        return clq_fail(err, bad, "layers[%zu].candidates[%zu].scheme: bits, group or activations contradict mode '%s'", layer,
                        candidate, s->mode);
    return CLQ_OK;
}

static clq_status check_layers(const struct clq_plan_data *plan, struct clq_arena *arena, clq_status bad, struct clq_error *err)
{
    struct clq_map names;
    clq_map_start(&names, arena);
    for (size_t l = 0; l < plan->n_layers; l++) {
        const struct clq_plan_layer *layer = &plan->layers[l];
        if ((size_t)layer->choice >= layer->n_candidates)
            return clq_fail(err, bad, "layers[%zu].choice: %d, expected 0 to %zu", l, layer->choice, layer->n_candidates - 1);
        if (clq_map_get(&names, layer->name) >= 0)
            return clq_fail(err, bad, "layers[%zu].name: '%.200s' is layers[%d] already", l, layer->name, clq_map_get(&names, layer->name));
        if (!clq_map_set(&names, layer->name, (int)l)) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "layers[%zu]: out of memory", l);
        for (size_t c = 0; c < layer->n_candidates; c++)
            CLQ_TRY(check_scheme(&layer->candidates[c].scheme, l, c, bad, err));
        for (size_t a = 0; a < layer->n_arrays; a++)
            if (clq_plan_array_find(layer, layer->arrays[a].name) != &layer->arrays[a])
                return clq_fail(err, bad, "layers[%zu].arrays[%zu].name: '%s' is there twice", l, a, layer->arrays[a].name);
    }
    return CLQ_OK;
}

static clq_status check_tensors(const struct clq_plan_data *plan, struct clq_arena *arena, clq_status bad, struct clq_error *err)
{
    static const int lowest[] = {0, -128, 0, -32768}, highest[] = {255, 127, 65535, 32767};
    struct clq_map names;
    clq_map_start(&names, arena);
    for (size_t t = 0; t < plan->n_tensors; t++) {
        const struct clq_plan_tensor *tensor = &plan->tensors[t];
        if (tensor->zero_point < lowest[tensor->dtype] || tensor->zero_point > highest[tensor->dtype])
            return clq_fail(err, bad, "tensors[%zu].zero_point: %d, expected %d to %d for %s", t, tensor->zero_point,
                            lowest[tensor->dtype], highest[tensor->dtype], clq_plan_dtypes[tensor->dtype]);
        if (clq_map_get(&names, tensor->name) >= 0)
            return clq_fail(err, bad, "tensors[%zu].name: '%.200s' is tensors[%d] already", t, tensor->name, clq_map_get(&names, tensor->name));
        if (!clq_map_set(&names, tensor->name, (int)t)) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "tensors[%zu]: out of memory", t);
    }
    return CLQ_OK;
}

static clq_status check_meaning(const struct clq_plan_data *plan, clq_status bad, struct clq_error *err)
{
    struct clq_arena arena = {0};
    if (!is_sha256(plan->model.sha256))
        return clq_fail(err, bad, "model.sha256: '%s', expected 64 hexadecimal digits", plan->model.sha256);
    if (!is_sha256(plan->data.sha256))
        return clq_fail(err, bad, "data.sha256: '%s', expected 64 hexadecimal digits", plan->data.sha256);
    clq_status st = check_layers(plan, &arena, bad, err);
    if (st == CLQ_OK) st = check_tensors(plan, &arena, bad, err);
    clq_arena_free(&arena);
    return st;
}

clq_status clq_plan_check(const struct clq_plan_data *plan, struct clq_error *err)
{
    CLQ_TRY(clq_record_check(plan, &clq_plan_table, err));
    return check_meaning(plan, CLQ_ERR_INVALID_ARGUMENT, err);
}

clq_status clq_plan_text(char **out, size_t *bytes, const struct clq_plan_data *plan, struct clq_error *err)
{
    CLQ_TRY(clq_plan_check(plan, err));
    clq_json *object = clq_record_write(plan, &clq_plan_table);
    if (!object) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory for a plan of %zu layers", plan->n_layers);
    clq_status st = clq_json_dump(out, bytes, object, true, err);
    clq_json_free(object);
    return st;
}

/* Looked at before anything else, so that a newer plan is called that, and not malformed. */
static clq_status check_version(const clq_json *object, struct clq_error *err)
{
    int64_t version = clq_json_as_integer(clq_json_get(object, "version"), -1);
    if (version == CLQ_PLAN_VERSION) return CLQ_OK;
    if (version > CLQ_PLAN_VERSION)
        return clq_fail(err, CLQ_ERR_FORMAT, "version: %lld, written by a newer clquant; this one reads %d", (long long)version, CLQ_PLAN_VERSION);
    return clq_fail(err, CLQ_ERR_FORMAT, "version: missing or unknown, expected %d: this is no plan", CLQ_PLAN_VERSION);
}

static clq_status parse(struct clq_plan_data *plan, const char *text, size_t bytes, const char *what, struct clq_error *err)
{
    clq_json *object = NULL;
    if (bytes > CLQ_PLAN_MAX_BYTES)
        return clq_fail(err, CLQ_ERR_FORMAT, "%s: %zu bytes, expected at most %zu", what, bytes, CLQ_PLAN_MAX_BYTES);
    CLQ_TRY(clq_json_parse(&object, text, bytes, what, err));
    struct clq_error inner = {""};
    clq_status st = check_version(object, &inner);
    if (st == CLQ_OK) st = clq_record_read(plan, &clq_plan_table, object, &plan->arena, &inner);
    clq_json_free(object);
    if (st == CLQ_OK) st = check_meaning(plan, CLQ_ERR_FORMAT, &inner);
    return st == CLQ_OK ? CLQ_OK : clq_fail(err, st, "%.300s: %.600s", what, inner.text);
}

clq_status clq_plan_parse(struct clq_plan_data *plan, const char *text, size_t bytes, const char *what, struct clq_error *err)
{
    memset(plan, 0, sizeof *plan);
    clq_status st = parse(plan, text, bytes, what, err);
    if (st != CLQ_OK) clq_plan_release(plan);
    return st;
}

clq_status clq_plan_read(struct clq_plan_data *plan, const char *path, struct clq_error *err)
{
    struct clq_blob blob;
    memset(plan, 0, sizeof *plan);
    CLQ_TRY(clq_file_read(&blob, path, CLQ_PLAN_MAX_BYTES, err));
    clq_status st = clq_plan_parse(plan, (const char *)blob.data, blob.bytes, path, err);
    free(blob.data);
    return st;
}

const struct clq_scheme *clq_plan_scheme(const struct clq_plan_data *plan, const char *layer)
{
    for (size_t l = 0; l < plan->n_layers; l++)
        if (strcmp(plan->layers[l].name, layer) == 0) return &plan->layers[l].candidates[plan->layers[l].choice].scheme;
    return NULL;
}

const struct clq_plan_tensor *clq_plan_tensor_find(const struct clq_plan_data *plan, const char *name)
{
    for (size_t t = 0; t < plan->n_tensors; t++)
        if (strcmp(plan->tensors[t].name, name) == 0) return &plan->tensors[t];
    return NULL;
}

const struct clq_plan_array *clq_plan_array_find(const struct clq_plan_layer *layer, const char *name)
{
    for (size_t a = 0; a < layer->n_arrays; a++)
        if (strcmp(layer->arrays[a].name, name) == 0) return &layer->arrays[a];
    return NULL;
}
