/* SPDX-License-Identifier: Apache-2.0
 *
 * quantize.h - the main job: a quantized model whose every layer got its precision from what was measured on this device,
 * both error and time, and which is not slower than the float one.
 *
 *     clq_quantize_options opt = {.min_sqnr_db = 20};
 *     clq_result *result;
 *     if (clq_quantize(&result, ctx, model, data, &opt) == CLQ_OK) {
 *         clq_result_write(result, "model.int8.onnx", false);
 *         printf("%.2f dB, %.2f x\n", clq_result_summary(result)->sqnr_db, clq_result_summary(result)->speedup);
 *     }
 *     clq_result_free(result);
 */
#ifndef CLQUANT_QUANTIZE_H
#define CLQUANT_QUANTIZE_H

#include <clquant/data.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct clq_result clq_result;

#define CLQ_DEFAULT_MIN_SQNR_DB 20.0
/* At most so many inputs judge a result, without and with labels; of more a seeded draw does. */
#define CLQ_VALIDATION 128
#define CLQ_LABELED_VALIDATION 1024

/* A zeroed struct means the defaults. */
typedef struct clq_quantize_options {
    double min_sqnr_db;      /* lowest output SQNR in dB on the validation samples; 0: CLQ_DEFAULT_MIN_SQNR_DB */
    double max_drop;         /* most top-1 points that may be lost, needs labels; 0: no such bound. Replaces the default SQNR bound */
    const char *target;      /* NULL or "generic", "ort", "tensorrt", "openvino": placement rules of the written file */
    const char *calibrator;  /* NULL or "auto", "minmax", "percentile", "entropy", "mse" */
    const char *uniform;     /* NULL, or "f32" or "int8": forces one precision wherever it is supported */
    const char *candidates;  /* NULL, or a list such as "f32,int8" that the scheduler may use */
    const char *plan_path;   /* a plan file to replay instead of searching */
    const char *profile_path; /* measured times are read from and kept in this file; NULL: not kept */
    bool remeasure;          /* ignore times that the profile holds */
    clq_data *validation;    /* samples that judge the result; NULL: a seeded quarter of the data */
    const int64_t *labels;   /* class of every validation sample (or of every sample of data when validation is NULL) */
    size_t n_labels;
    uint64_t seed;           /* of the split */
    size_t tuning_samples;   /* samples for per-layer errors, 0: 8 */
    size_t timing_pairs;     /* pairs of the final comparison, 0: 200 */
    const char *worker;      /* an executable that can time a pair of models in a fresh process ("clquant"); NULL: times in this process */
    bool no_bias_correction, no_weight_clipping;
} clq_quantize_options;

/* Runs calibration, measuring, solving and proof. The result is independent of model, data and ctx, except that messages
 * go to ctx. CLQ_ERR_NUMERIC names a tensor whose data is not finite. CLQ_ERR_UNSUPPORTED lists what cannot run. */
CLQ_API clq_status clq_quantize(clq_result **out, clq_context *ctx, const clq_model *model, clq_data *data, const clq_quantize_options *options);
CLQ_API void clq_result_free(clq_result *result);

/* What happened to one layer. */
typedef struct clq_layer_result {
    const char *name, *op_type;
    const char *precision;   /* "f32" or "int8" */
    const char *device;      /* "cpu" or "opencl" */
    double error;            /* output error energy with this layer alone in int8, relative to the reference; < 0: not measured */
    double f32_us, int8_us;  /* in place; int8_us < 0: no integer form */
    double time_us;          /* of the chosen precision */
    const char *reason;      /* one sentence */
} clq_layer_result;

typedef struct clq_summary {
    size_t model_bytes, reference_bytes;
    double sqnr_db;          /* measured on the validation samples; +inf: no error at all */
    double sqnr_db_lower;    /* what unseen samples reach at 95 %; NaN: float was kept, or too few validation samples to say */
    double cosine;
    double agreement;        /* part of the rows with the same argmax; < 0: the output has no classes */
    double top1, top1_reference; /* points; < 0: no labels */
    double uniform_sqnr_db;  /* of every layer in int8 */
    double speedup, speedup_lo, speedup_hi; /* reference / result, median of paired ratios with its 95 % interval */
    double uniform_speedup;  /* the same of uniform int8 */
    double predicted_speedup;
    size_t pairs, processes;
    double median_ms, reference_median_ms;
    bool kept_float;         /* the float model is handed out unchanged */
    bool slower_than_float;  /* only where a precision was forced */
    bool budget_met;
    bool synthetic;          /* calibrated on noise: good for timing alone */
    char reason[256];        /* the decision in one sentence */
    char calibrator[64];
    size_t calibration_samples, validation_samples;
    double seconds;
    size_t peak_rss_bytes;
    int layers, int8_layers;
} clq_summary;

CLQ_API const clq_summary *clq_result_summary(const clq_result *result);
CLQ_API size_t clq_result_layer_count(const clq_result *result);
CLQ_API const clq_layer_result *clq_result_layer(const clq_result *result, size_t index);

/* Writes the model (float, byte for byte, when it was kept) and the plan beside it. An existing file is replaced only
 * with force; the model that was read is never replaced. CLQ_ERR_IO says what failed; nothing half written is left. */
CLQ_API clq_status clq_result_write(clq_result *result, const char *model_path, bool force);
CLQ_API clq_status clq_result_write_plan(clq_result *result, const char *plan_path, bool force);
/* One self-contained HTML page: layer table, error and time bars, histograms with the chosen ranges. */
CLQ_API clq_status clq_result_write_report(clq_result *result, const char *html_path, bool force);

/* ---- Evaluation ---- */
typedef struct clq_evaluation {
    size_t samples;
    double top1, top1_reference; /* points; < 0: no labels or no reference */
    double agreement;            /* part with the same argmax as the reference; < 0: no reference */
    double sqnr_db, cosine;      /* against the reference; NaN without one, +inf when identical */
    bool identical;
} clq_evaluation;

/* Runs model, and reference when it is not NULL, on all samples. labels may be NULL. */
CLQ_API clq_status clq_evaluate(clq_evaluation *out, clq_context *ctx, const clq_model *model, const clq_model *reference, clq_data *data,
                                const int64_t *labels, size_t n_labels);

/* ---- Timing ---- */
typedef struct clq_pair_timing {
    double median_ms, reference_median_ms;
    double speedup, speedup_lo, speedup_hi; /* reference / model: median of paired ratios, bootstrap interval of 95 % */
    size_t pairs, discarded;
    bool faster, slower;                    /* beyond noise */
} clq_pair_timing;

/* Interleaved timing of two models on one sample: warm-up, then pairs in the order ABBA. reference may be NULL: then only
 * median_ms is measured. seconds receives pairs times 2 raw values (reference, model) when it is not NULL. */
CLQ_API clq_status clq_time_pair(clq_pair_timing *out, clq_context *ctx, const clq_model *model, const clq_model *reference,
                                 const clq_tensor *inputs, size_t pairs, double *seconds);

#ifdef __cplusplus
}
#endif
#endif
