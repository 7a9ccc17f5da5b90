/* SPDX-License-Identifier: Apache-2.0
 * The members of a plan's text: keys, types and ranges, one row each. */
#include "scheduler/plan_fields.h"

#include <float.h>

const char *const clq_plan_dtypes[4] = {"u8", "s8", "u16", "s16"};
static const char *const act_kinds[] = {"float", "static", "dynamic", "per-token"};
static const char *const roundings[] = {"nearest-even", "stochastic"};

#define NAME_BYTES 65536.0
#define TEXT_BYTES 65536.0
#define SHORT_BYTES 256.0
#define BIG 1e18
#define BIG_SQUARE 2e77 /* of the largest float, doubled */
#define COUNT 9007199254740992.0 /* 2^53: every integer below is exact in JSON readers */

#define AT(type, member) .offset = offsetof(type, member)
#define COUNTED(type, member, count) .offset = offsetof(type, member), .count_offset = offsetof(type, count)
#define TABLE(type, rows) {sizeof(type), sizeof rows / sizeof *rows, rows}
#define TEXT(type, member, least, most) {#member, CLQ_FIELD_TEXT, AT(type, member), .lo = least, .hi = most}
#define REAL(type, member, least, most) {#member, CLQ_FIELD_REAL, AT(type, member), .lo = least, .hi = most}
#define MAYBE(type, member, least, most) {#member, CLQ_FIELD_REAL_OR_NULL, AT(type, member), .lo = least, .hi = most}
#define INT(type, member, least, most) {#member, CLQ_FIELD_INT, AT(type, member), .lo = least, .hi = most}
#define INT64(type, member) {#member, CLQ_FIELD_INT64, AT(type, member), .lo = 0, .hi = COUNT}
#define BOOL(type, member) {#member, CLQ_FIELD_BOOL, AT(type, member)}

typedef struct clq_scheme scheme;
static const struct clq_field scheme_rows[] = {
    TEXT(scheme, mode, 1, 64),
    INT(scheme, weight_bits, 1, 32),
    INT(scheme, weight_group, -1, 1 << 20),
    BOOL(scheme, weight_symmetric),
    {"activations", CLQ_FIELD_NAME, AT(scheme, act_kind), .hi = 3, .names = act_kinds},
    INT(scheme, act_bits, 1, 32),
    {"rounding", CLQ_FIELD_NAME, AT(scheme, rounding), .hi = 1, .names = roundings},
    TEXT(scheme, algorithm, 0, SHORT_BYTES),
    TEXT(scheme, variant, 0, SHORT_BYTES),
    TEXT(scheme, device, 1, SHORT_BYTES),
};
static const struct clq_record_table scheme_table = TABLE(scheme, scheme_rows);

typedef struct clq_plan_candidate candidate;
static const struct clq_field candidate_rows[] = {
    {"scheme", CLQ_FIELD_RECORD, AT(candidate, scheme), .table = &scheme_table},
    REAL(candidate, error, 0, BIG),
    MAYBE(candidate, sqnr_db, -1e4, 1e4),
    REAL(candidate, time_us, 0, BIG),
    REAL(candidate, time_spread_us, 0, BIG),
    INT(candidate, timings, 0, 1 << 30),
    REAL(candidate, boundary_us, 0, BIG),
    REAL(candidate, bytes, 0, BIG),
};
static const struct clq_record_table candidate_table = TABLE(candidate, candidate_rows);

typedef struct clq_plan_array array;
static const struct clq_field array_rows[] = {
    TEXT(array, name, 1, SHORT_BYTES),
    {"values", CLQ_FIELD_FLOATS, COUNTED(array, values, n), .hi = 16777216},
};
static const struct clq_record_table array_table = TABLE(array, array_rows);

typedef struct clq_plan_layer layer;
static const struct clq_field layer_rows[] = {
    TEXT(layer, name, 1, NAME_BYTES),
    TEXT(layer, op, 1, SHORT_BYTES),
    {"outputs", CLQ_FIELD_TEXTS, COUNTED(layer, outputs, n_outputs), .hi = 4096},
    INT(layer, choice, 0, 1 << 20),
    TEXT(layer, reason, 0, TEXT_BYTES),
    {"candidates", CLQ_FIELD_RECORDS, COUNTED(layer, candidates, n_candidates), .lo = 1, .hi = 1024, .table = &candidate_table},
    {"arrays", CLQ_FIELD_RECORDS, true, COUNTED(layer, arrays, n_arrays), .hi = 64, .table = &array_table},
    {"weights", CLQ_FIELD_TEXT, true, AT(layer, weights), .hi = 268435456},
};
static const struct clq_record_table layer_table = TABLE(layer, layer_rows);

typedef struct clq_plan_method method;
static const struct clq_field method_rows[] = {
    TEXT(method, name, 1, SHORT_BYTES),
    REAL(method, error, 0, BIG_SQUARE),
};
static const struct clq_record_table method_table = TABLE(method, method_rows);

typedef struct clq_plan_tensor tensor;
static const struct clq_field tensor_rows[] = {
    TEXT(tensor, name, 1, NAME_BYTES),
    {"dtype", CLQ_FIELD_NAME, AT(tensor, dtype), .hi = 3, .names = clq_plan_dtypes},
    {"scale", CLQ_FIELD_FLOAT, AT(tensor, scale), .lo = FLT_MIN, .hi = FLT_MAX},
    INT(tensor, zero_point, -32768, 65535),
    {"min", CLQ_FIELD_FLOAT, AT(tensor, min), .lo = -FLT_MAX, .hi = 0},
    {"max", CLQ_FIELD_FLOAT, AT(tensor, max), .lo = 0, .hi = FLT_MAX},
    TEXT(tensor, method, 0, SHORT_BYTES),
    {"methods", CLQ_FIELD_RECORDS, true, COUNTED(tensor, methods, n_methods), .hi = 64, .table = &method_table},
};
static const struct clq_record_table tensor_table = TABLE(tensor, tensor_rows);

typedef struct clq_plan_model model;
static const struct clq_field model_rows[] = {
    TEXT(model, path, 0, 4096),
    TEXT(model, sha256, 0, 64),
    INT64(model, bytes),
};
static const struct clq_record_table model_table = TABLE(model, model_rows);

typedef struct clq_plan_dataset dataset;
static const struct clq_field dataset_rows[] = {
    {"names", CLQ_FIELD_TEXTS, COUNTED(dataset, names, n_names), .hi = 65536},
    INT64(dataset, samples),
    INT64(dataset, validation_samples),
    TEXT(dataset, sha256, 0, 64),
    BOOL(dataset, synthetic),
};
static const struct clq_record_table dataset_table = TABLE(dataset, dataset_rows);

typedef struct clq_plan_device device;
static const struct clq_field device_rows[] = {
    TEXT(device, name, 0, SHORT_BYTES),
    TEXT(device, isa, 0, SHORT_BYTES),
    INT(device, threads, 0, 4096),
    TEXT(device, driver, 0, SHORT_BYTES),
    TEXT(device, onednn, 0, SHORT_BYTES),
    {"runtime", CLQ_FIELD_TEXT, true, AT(device, runtime), .hi = SHORT_BYTES},
};
static const struct clq_record_table device_table = TABLE(device, device_rows);

typedef struct clq_plan_bound bound;
static const struct clq_field bound_rows[] = {
    TEXT(bound, name, 1, 64),
    REAL(bound, value, -BIG, BIG),
};
static const struct clq_record_table bound_table = TABLE(bound, bound_rows);

typedef struct clq_plan_options options;
static const struct clq_field options_rows[] = {
    TEXT(options, target, 0, 64),
    TEXT(options, calibrator, 0, 64),
    TEXT(options, budget, 0, 64),
    MAYBE(options, budget_value, -BIG, BIG),
    {"objective", CLQ_FIELD_TEXT, true, AT(options, objective), .hi = 64},
    {"bounds", CLQ_FIELD_RECORDS, true, COUNTED(options, bounds, n_bounds), .hi = 64, .table = &bound_table},
    INT64(options, seed),
    {"candidates", CLQ_FIELD_TEXTS, COUNTED(options, candidates, n_candidates), .hi = 1024},
};
static const struct clq_record_table options_table = TABLE(options, options_rows);

typedef struct clq_plan_results results;
static const struct clq_field results_rows[] = {
    MAYBE(results, sqnr_db_predicted, -1e4, 1e4),
    MAYBE(results, sqnr_db, -1e4, 1e4),
    MAYBE(results, sqnr_db_lower, -1e4, 1e4),
    BOOL(results, identical),
    MAYBE(results, cosine, -1, 1),
    MAYBE(results, top1, 0, 1),
    MAYBE(results, top1_reference, 0, 1),
    MAYBE(results, agreement, 0, 1),
    MAYBE(results, speedup, 0, BIG),
    MAYBE(results, speedup_lo, 0, BIG),
    MAYBE(results, speedup_hi, 0, BIG),
    MAYBE(results, time_us_predicted, 0, BIG),
    MAYBE(results, time_us, 0, BIG),
    INT64(results, pairs),
    BOOL(results, kept_float),
    BOOL(results, slower_than_float),
    BOOL(results, budget_met),
    TEXT(results, reason, 0, TEXT_BYTES),
    INT64(results, model_bytes),
    INT64(results, reference_bytes),
    INT64(results, peak_rss_bytes),
    MAYBE(results, seconds, 0, BIG),
};
static const struct clq_record_table results_table = TABLE(results, results_rows);

typedef struct clq_plan_data plan;
static const struct clq_field plan_rows[] = {
    INT(plan, version, CLQ_PLAN_VERSION, CLQ_PLAN_VERSION),
    TEXT(plan, clquant, 0, 64),
    TEXT(plan, created_by, 0, SHORT_BYTES),
    {"model", CLQ_FIELD_RECORD, AT(plan, model), .table = &model_table},
    {"data", CLQ_FIELD_RECORD, AT(plan, data), .table = &dataset_table},
    {"device", CLQ_FIELD_RECORD, AT(plan, device), .table = &device_table},
    {"options", CLQ_FIELD_RECORD, AT(plan, options), .table = &options_table},
    {"layers", CLQ_FIELD_RECORDS, COUNTED(plan, layers, n_layers), .hi = 1000000, .table = &layer_table},
    {"tensors", CLQ_FIELD_RECORDS, COUNTED(plan, tensors, n_tensors), .hi = 1000000, .table = &tensor_table},
    {"results", CLQ_FIELD_RECORD, AT(plan, results), .table = &results_table},
};
const struct clq_record_table clq_plan_table = TABLE(plan, plan_rows);
