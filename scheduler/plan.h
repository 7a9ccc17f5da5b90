/* SPDX-License-Identifier: Apache-2.0
 * The plan: what was decided for every layer, from which numbers, and everything that is needed to write the same model
 * again. Immutable once made. Its JSON text is versioned, does not depend on the locale and round-trips byte for byte;
 * a text edited by hand is checked like any other. The public handle wraps struct clq_plan_data. */
#ifndef CLQ_SCHEDULER_PLAN_H
#define CLQ_SCHEDULER_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"

#define CLQ_PLAN_VERSION 1
#define CLQ_PLAN_MAX_BYTES ((size_t)256 << 20) /* of the text */

enum clq_act_kind { CLQ_ACT_FLOAT, CLQ_ACT_STATIC, CLQ_ACT_DYNAMIC, CLQ_ACT_PER_TOKEN };
enum clq_round_kind { CLQ_ROUND_NEAREST_EVEN, CLQ_ROUND_STOCHASTIC };

/* How one layer is computed. mode is the name that users type; the rest says what it means, so that later modes need no
 * new fields. */
struct clq_scheme {
    const char *mode;      /* "f32", "int8", "int8-dynamic", "int8-weight", "int4-g32", ... */
    int weight_bits;       /* 32: float */
    int weight_group;      /* elements of K per scale; 0: one scale per output channel; -1: one per tensor */
    bool weight_symmetric;
    int act_kind;          /* enum clq_act_kind */
    int act_bits;          /* 32: float */
    int rounding;          /* enum clq_round_kind, of the weights */
    const char *algorithm; /* how the weights' scales and codes were found: "", "minmax", "mse", ... */
    const char *variant;   /* kernel variant; "": any. Never changes a result */
    const char *device;    /* "cpu", "opencl:0", ... */
};

/* The scheme of a mode's name with its usual meaning, on a device (borrowed). CLQ_ERR_INVALID_ARGUMENT for an unknown
 * name. Group sizes: a power of two from 16 to 1024. */
clq_status clq_scheme_from_mode(struct clq_scheme *out, const char *mode, const char *device, struct clq_error *err);

struct clq_plan_candidate {
    struct clq_scheme scheme;
    double error;          /* relative noise power that it alone adds at the network's outputs, >= 0 */
    double sqnr_db;        /* the same in dB; NAN: no error at all, null in the text */
    double time_us;        /* the layer in place */
    double time_spread_us; /* interquartile range */
    int timings;           /* how many it is the median of; 0: not measured */
    double boundary_us;    /* conversions that this choice adds with the neighbors as chosen */
    double bytes;          /* weights and scales in the file */
};

/* Numbers that rewriting needs beside the codes: "bias_correction", "weight_clip", ... */
struct clq_plan_array {
    const char *name;
    float *values;
    size_t n;
};

struct clq_plan_layer {
    const char *name; /* the node's name, unique */
    const char *op;
    const char **outputs;
    size_t n_outputs;
    int choice; /* index of candidates */
    const char *reason;
    struct clq_plan_candidate *candidates;
    size_t n_candidates;
    struct clq_plan_array *arrays;
    size_t n_arrays;
    const char *weights; /* codes and scales that only the calibration data gives, in the library's own form; NULL or "": none */
};

struct clq_plan_method {
    const char *name; /* "minmax", "percentile", "entropy", "mse" */
    double error;
};

/* A quantized activation. */
struct clq_plan_tensor {
    const char *name; /* unique */
    int dtype;        /* index: "u8", "s8", "u16", "s16" */
    float scale;      /* finite, positive, normal */
    int zero_point;   /* a code of dtype */
    float min, max;   /* the chosen range, min <= 0 <= max */
    const char *method;
    struct clq_plan_method *methods;
    size_t n_methods;
};
extern const char *const clq_plan_dtypes[4]; /* names in the text, in the order of the index */

struct clq_plan_model {
    const char *path; /* the last component only */
    const char *sha256;
    int64_t bytes;
};

struct clq_plan_dataset {
    const char **names; /* the files' last components, or "synthetic:N" */
    size_t n_names;
    int64_t samples, validation_samples;
    const char *sha256;
    bool synthetic;
};

struct clq_plan_device {
    const char *name, *isa;
    int threads;
    const char *driver, *onednn; /* "" where there is none */
    const char *runtime; /* whose times and outputs the numbers are: "onnxruntime 1.32.0"; "" or NULL: our own kernels' */
};

struct clq_plan_bound {
    const char *name; /* "min-sqnr", "max-latency", ... */
    double value;     /* in its unit */
};

struct clq_plan_options {
    const char *target, *calibrator;
    const char *budget;  /* the first bound: "min-sqnr", "max-drop", ..., "uniform", or "none" */
    double budget_value; /* in its unit; NAN: none */
    int64_t seed;
    const char *const *candidates; /* the modes that were allowed */
    size_t n_candidates;
    const char *objective;         /* "" for the time; "error" or "bytes" */
    struct clq_plan_bound *bounds; /* all of them where there are several */
    size_t n_bounds;
};

/* What was measured in the end. NAN stands for "not measured" and is null in the text. */
struct clq_plan_results {
    double sqnr_db_predicted, sqnr_db, sqnr_db_lower;
    bool identical; /* no error at all: the SQNRs are null */
    double cosine, top1, top1_reference, agreement;
    double speedup, speedup_lo, speedup_hi, time_us_predicted, time_us;
    int64_t pairs;
    bool kept_float, slower_than_float, budget_met;
    const char *reason;
    int64_t model_bytes, reference_bytes, peak_rss_bytes;
    double seconds;
};

struct clq_plan_data {
    struct clq_arena arena; /* owns everything below */
    int version;
    const char *clquant;    /* version of the library that made it */
    const char *created_by; /* the command or program; no date, so that equal runs give equal bytes */
    struct clq_plan_model model;
    struct clq_plan_dataset data;
    struct clq_plan_device device;
    struct clq_plan_options options;
    struct clq_plan_layer *layers;
    size_t n_layers;
    struct clq_plan_tensor *tensors;
    size_t n_tensors;
    struct clq_plan_results results;
};

/* A zeroed plan with version, empty texts and unmeasured results. */
void clq_plan_start(struct clq_plan_data *plan);
void clq_plan_release(struct clq_plan_data *plan);

/* Everything that the text promises: ranges, unique names, choices and schemes that exist, scales and zero points that
 * are legal. CLQ_ERR_INVALID_ARGUMENT names the JSON path. */
clq_status clq_plan_check(const struct clq_plan_data *plan, struct clq_error *err);

/* The text, for free(). Checks first. */
clq_status clq_plan_text(char **out, size_t *bytes, const struct clq_plan_data *plan, struct clq_error *err);
/* Reads and checks a text of any origin; CLQ_ERR_FORMAT names the JSON path. On failure plan is released. */
clq_status clq_plan_parse(struct clq_plan_data *plan, const char *text, size_t bytes, const char *what, struct clq_error *err);
clq_status clq_plan_read(struct clq_plan_data *plan, const char *path, struct clq_error *err);

/* The chosen scheme of a layer by name, or NULL. Linear. */
const struct clq_scheme *clq_plan_scheme(const struct clq_plan_data *plan, const char *layer);
const struct clq_plan_tensor *clq_plan_tensor_find(const struct clq_plan_data *plan, const char *name);
const struct clq_plan_array *clq_plan_array_find(const struct clq_plan_layer *layer, const char *name);

#endif
