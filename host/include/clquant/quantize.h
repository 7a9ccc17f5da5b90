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
#include <clquant/evaluate.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct clq_result clq_result;

#define CLQ_DEFAULT_MIN_SQNR_DB 20.0
#define CLQ_ALGORITHM_SECONDS 600.0
/* At most so many inputs judge a result, without and with labels; of more a seeded draw does. */
#define CLQ_VALIDATION 128
#define CLQ_LABELED_VALIDATION 1024

/* A zeroed struct means the defaults. */
typedef struct clq_quantize_options {
    /* Bounds: any of them at once, 0: none. Without one on the error, and unless the error is the objective, the SQNR has to
     * reach CLQ_DEFAULT_MIN_SQNR_DB. What cannot be kept together gives the closest plan, and summary.budget_met is false. */
    double min_sqnr_db;      /* lowest output SQNR in dB on the validation samples */
    double min_cosine;       /* lowest cosine of the outputs, up to 1 */
    double max_drop;         /* most points that may be lost: of top-1, needs labels; or of the command's score */
    double max_latency_ms;   /* longest run of the model on one input */
    double min_speedup;      /* over float32 */
    double max_bytes;        /* of the file */
    double target_bits;      /* most bits per weight on average, up to 32 */
    double max_memory_bytes; /* while it runs: file, activations, scratch */
    const char *objective;   /* "time", "error" or "size": what is made least within the bounds. NULL: the error if time, size or
                              * memory are bounded and the error is not, otherwise the time */
    const char *eval_command;/* a program that scores a model, higher is better: "CMD {model}"; the last line of its output is the number.
                              * Split into words with quotes as a shell does; no shell runs. NULL: none */
    double eval_timeout_s;   /* 0: 600 */
    const char *const *layer_rules; /* "NAME=MODE" or "re:REGEX=MODE"; of several that match a layer the last one holds */
    size_t n_layer_rules;
    const double *frontier_db; /* plans of all policies at these SQNR budgets become points (clquant/frontier.h); NULL: one plan */
    size_t n_frontier_db;
    const char *pick;        /* with frontier_db: the point that is handed out, by its id; NULL: float32 is, and the points are the result */
    const char *target;      /* NULL or "generic", "ort", "tensorrt", "openvino": placement rules of the written file */
    const char *calibrator;  /* NULL or "auto", "minmax", "percentile", "entropy", "mse" */
    const char *uniform;     /* NULL, or a mode: forces it wherever it is supported. Modes: "f32", "int8", "int8-dynamic", "int8-tensor",
                                "int8-weight", "int16-int8", "int4-gN", "int4-channel", "int2-gN" (these with "-asym" or without), "ternary",
                                "binary", "nf4-gN", "codebook16"; N is a power of two from 16 to 1024 */
    const char *candidates;  /* NULL, or a list of modes such as "f32,int8" that the scheduler may use */
    const char *algorithm;   /* of weights with 4 bits and fewer: NULL or "auto", "minmax", "mse", "hqq", "weighted", "gptq", "adaround" */
    double algorithm_seconds; /* how long "auto" may look for better weights, 0: CLQ_ALGORITHM_SECONDS; later layers get the quick way */
    const char *scaling;     /* of channels, folded exactly into what makes an input and the weights that read it, where that lowers
                              * the error: "none", "awq", "smoothquant", "equalize", "auto"; NULL: "auto" with algorithm "auto", else "none" */
    bool int4_matmulnbits;   /* 4-bit weights as com.microsoft MatMulNBits instead of blocked DequantizeLinear */
    bool stochastic;         /* weights with 4 bits and fewer are rounded at random, by rounding_seed and the tensor's name */
    uint64_t rounding_seed;
    const char *plan_path;   /* a plan file to replay instead of searching */
    const char *profile_path; /* measured times are read from and kept in this file; NULL: not kept */
    const char *other_profile; /* a profile of another machine: times are taken from it and nothing is timed here, so speed-ups are
                              * predicted, not proven (summary.speed_predicted). Measured there with the same model, target and clquant */
    const char *other_device; /* part of the name, ISA or thread count ("2 threads") of the device in it; NULL: it holds one device */
    bool remeasure;          /* ignore times that the profile holds */
    const char *journal_path; /* what is measured is kept in this file, so that the same job, stopped and started again, goes on from
                              * it to the same result. Of another job it is emptied, with one line in the log; NULL: nothing is kept */
    bool resume;             /* the journal has to be there and to be this job's: otherwise CLQ_ERR_INVALID_ARGUMENT or CLQ_ERR_IO */
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
/* What the job was for is safe: its journal is removed. Without this call it stays. */
CLQ_API void clq_result_delivered(clq_result *result);

/* Whether this version can write a mode of this name (struct clq_quantize_options, uniform). */
CLQ_API bool clq_mode_known(const char *mode);

/* What happened to one layer. */
typedef struct clq_layer_result {
    const char *name, *op_type;
    const char *precision;   /* the mode */
    const char *device;      /* "cpu" or "opencl" */
    double error;            /* output error energy with this layer alone in its mode (in int8, where that is f32),
                              * relative to the reference; < 0: not measured */
    double f32_us, int8_us;  /* in place; int8_us < 0: no integer form */
    double time_us;          /* of the chosen precision */
    const char *reason;      /* one sentence */
} clq_layer_result;

typedef struct clq_summary {
    size_t model_bytes, reference_bytes;
    double sqnr_db;          /* measured on the validation samples; +inf: no error at all */
    double sqnr_db_lower;    /* what unseen samples reach at 95 %; NaN: float was kept, or too few validation samples to say */
    double cosine;
    double cosine_lower;     /* of its 95 % bootstrap interval over the validation samples; cosine itself where float was kept */
    double agreement_lower, agreement_upper; /* exact 95 % interval of the agreement; < 0 where that is */
    double top1_loss_upper;  /* points of top-1 that unseen samples lose at most, at 95 %; NaN: no labels */
    double agreement;        /* part of the rows with the same argmax; < 0: the first output is not [samples, classes] or
                              * [samples, positions, classes] */
    double top1, top1_reference; /* points; < 0: no labels */
    double uniform_sqnr_db;  /* of every layer in int8 */
    double speedup, speedup_lo, speedup_hi; /* reference / result, median of paired ratios with its 95 % interval */
    double uniform_speedup;  /* the same of uniform int8 */
    double predicted_speedup; /* as the search timed the whole plan, or by its layers where it did not; 0: nothing was predicted */
    double layers_speedup;   /* by its layers alone */
    size_t pairs, processes;
    size_t pairs_disturbed, pairs_unsure; /* of the proof: timed once more because of steal time or another clock; disturbed again */
    size_t rounds, rounds_disturbed, rounds_unsure; /* the same of timing the layers; rounds 0: their times were known */
    double clock_drift;      /* the largest relative change of the clock in these rounds */
    double median_ms, reference_median_ms;
    bool speed_predicted;    /* from other_profile: no pair was timed */
    bool kept_float;         /* the float model is handed out unchanged */
    bool slower_than_float;  /* only where a precision was forced */
    bool budget_met;
    char binding[16];        /* the bound that is missed by the largest part, as options spell it ("max-latency"); "": none */
    double score, score_reference; /* of eval_command, NaN without one */
    double predicted_sqnr_db; /* what the search expected of the plan; NaN where nothing was searched, +inf: no error */
    bool synthetic;          /* calibrated on noise: good for timing alone */
    char reason[256];        /* the decision in one sentence */
    char calibrator[64];
    size_t calibration_samples, validation_samples;
    double seconds;
    size_t peak_rss_bytes;
    size_t resumed;          /* measurements that were taken from the journal of a run that was stopped */
    int layers, int8_layers; /* int8_layers: in any mode but f32 */
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

#ifdef __cplusplus
}
#endif
#endif
