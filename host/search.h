/* SPDX-License-Identifier: Apache-2.0
 * The state of one quantization: what calibration, weight quantization, measuring and solving hand to each other. Internal to
 * quantize.c and the files named after its phases. */
#ifndef CLQ_SEARCH_H
#define CLQ_SEARCH_H

#include <clquant/quantize.h>

#include "algo/moments.h"
#include "budget.h"
#include "calibrate.h"
#include "graph/qdq.h"
#include "modes.h"
#include "runner.h"
#include "scheduler/steady.h"

/* What is known of one tensor. */
struct clq_tensor_record {
    struct clq_hist *hist;            /* NULL for tensors that share another's group */
    enum clq_calibrator method;
    struct clq_range range[CLQ_CAL_COUNT];
    double error[CLQ_CAL_COUNT];      /* mean squared quantization error by the histogram */
    size_t channels;                  /* of the channel means, 0: none */
    double *sum;                      /* [channels], over all calibration values */
    uint64_t rows;
    float *kept;                      /* [kept_rows][kept_k]: some of its rows, where its channels can be scaled; or NULL */
    size_t kept_rows, kept_k;
    struct clq_moments moments;       /* of its rows, where products' weights are found by them; k is 0 elsewhere */
};

/* What is known of one unit. */
struct clq_unit_record {
    bool fixed;            /* already quantized in the file: it stays as it is */
    bool capable;          /* its integer form exists in the compiled program */
    double noise;          /* output error energy with this unit alone on codes, divided by the reference energy */
    double f32_us, int8_us, device_us; /* in place; device_us < 0: not measured */
    double f32_spread, int8_spread, device_spread; /* interquartile ranges of the same */
    double boundary_us[3]; /* of a replayed plan's candidates: f32, int8, int8 on the device */
    int timings;           /* how many each is the median of; 0: not measured */
    uint8_t mode;          /* the choice, of clq_search.modes */
    bool on_codes;         /* it is int8 */
    bool on_device;
    const char *rule;      /* the mode that the user's rule number rule_index gives it, or NULL */
    int rule_index;
    const char *reason;
};

/* What is known of one unit in one of the modes beside f32 and int8. */
struct clq_mode_record {
    bool capable;
    double noise;      /* as above; < 0: not measured */
    double us, spread; /* us < 0: not measured */
};

/* Samples with the float model's outputs. Choices are made on samples of the calibration data; the validation samples only
 * judge the result. */
struct clq_probe {
    struct clq_source source;
    const int64_t *labels;  /* one per row of the first output, or NULL */
    size_t n_labels;
    double signal;          /* energy of all float outputs */
    float **outputs;        /* [count]: the float outputs of a sample, one after the other */
    size_t *output_count;
};

struct clq_profile_use;
struct clq_search_journal;
struct clq_accept_verdict;

/* What a unit's input was divided by, exactly: the numbers are in constants before it and in the weights of its readers. */
struct clq_input_scale {
    const float *values; /* [n], or NULL */
    size_t n;
};

/* A whole plan that was timed. */
struct clq_timed_plan {
    uint8_t *mode;
    double ratio; /* time / float: the geometric mean of what was measured */
    int n;
};
enum { CLQ_TIMED_PLANS = 256 };

struct clq_search {
    struct clq_context *ctx;
    struct clq_arena arena;
    struct clq_model model;             /* simplified, opset >= 13 */
    struct clq_units units;
    struct clq_source calibration;
    struct clq_probe tuning, validation;
    enum clq_target target;
    bool weight_clip, bias_correction, matmul_nbits;
    const char *algorithm;              /* of weights in groups, see search_groups.c */
    const char *scaling;                /* of channels, see search_scale.c; NULL: none */
    struct clq_input_scale *scale;      /* [units], by the first of an input's readers; NULL before any */
    struct clq_weight_rounding rounding;
    struct clq_mode modes[CLQ_MODES_MOST]; /* 0: f32, 1: int8, then what was asked for */
    int n_modes;
    int mask;                           /* the graph input that marks padding with 0, or -1 (search_rows.c) */
    double algorithm_deadline;          /* of clq_now(): later, weights are found the quick way */
    struct clq_mode_record *extra[CLQ_MODES_MOST];      /* [units] from mode 2 on */
    struct clq_group_weights *groups[CLQ_MODES_MOST]; /* [units], where the mode's weights lie in groups */
    struct clq_runner reference;        /* the float model */
    bool waits;                         /* shapes behind its first stage depend on values */
    struct clq_tensor_record *tensors;
    struct clq_unit_record *records;
    struct clq_unit_weights *weights;
    struct clq_qparams *params;         /* [tensors] */
    struct clq_timed_plan *timed;       /* [CLQ_TIMED_PLANS]: whole plans that were timed, the newest last; NULL before any */
    int n_timed;
    struct clq_steadiness steady;       /* of the machine while units were timed; rounds 0: they were not */
    double *convert_us[2];              /* [tensors]: quantize, dequantize */
    double outside_us;                  /* of the float model in no unit; 0: not measured */
    struct clq_profile_use *profile;    /* times that earlier runs measured */
    const char *worker;                 /* executable for timing in fresh processes, or NULL */
    struct clq_search_journal *journal; /* what this search measured before it was stopped, or NULL */
};

/* Which samples calibrate, tune and judge. */
clq_status clq_search_samples(struct clq_search *s, clq_data *data, const clq_quantize_options *options, struct clq_error *err);

/* Which input marks padding, by trying (search_rows.c). */
clq_status clq_search_find_mask(struct clq_search *s, struct clq_error *err);
/* The rows of x [rows][k] that padding leaves: how many, and where: x itself, or room [rows][k]. inputs: of the sample. */
size_t clq_search_live_rows(const float **out, float *room, const struct clq_search *s, const clq_tensor *inputs, const float *x, size_t rows, size_t k);

/* Phases; each reports progress and can be canceled. */
clq_status clq_search_calibrate(struct clq_search *s, struct clq_error *err);
/* Only the empty records that calibration fills. */
clq_status clq_search_tensors(struct clq_search *s, struct clq_error *err);
clq_status clq_search_weights(struct clq_search *s, struct clq_error *err);
clq_status clq_search_reference(struct clq_search *s, struct clq_probe *probe, struct clq_error *err);
/* Sets every tensor's parameters from one method; method CLQ_CAL_COUNT: each tensor's own choice. */
void clq_search_params(struct clq_search *s, enum clq_calibrator method);
clq_status clq_search_capable(struct clq_search *s, struct clq_error *err);
/* Which units the modes from 2 on can compute, and their weights in groups (search_groups.c). */
clq_status clq_search_modes(struct clq_search *s, struct clq_error *err);
clq_status clq_search_groups(struct clq_search *s, struct clq_error *err);
/* The weights of one matrix by the algorithm asked for; second: the moments of its inputs, or NULL. */
clq_status clq_search_groups_find(struct clq_group_weights *out, struct clq_search *s, struct clq_group_job *job, const float *second, struct clq_error *err);
/* A bias behind the product can take back the mean error of its weights. */
bool clq_search_takes_bias(const struct clq_search *s, const struct clq_unit *u);
/* Whether only calibration data finds these weights again, so that a plan has to hold them. */
bool clq_search_found_by_data(const struct clq_search *s, const struct clq_group_weights *g);
/* The weights of a unit as a plan has them, or found again where they follow from the model alone. */
clq_status clq_search_groups_replay(struct clq_search *s, int unit, int mode, const struct clq_plan_layer *layer, struct clq_error *err);
/* The opset that files of these modes need. */
int64_t clq_search_opset(const struct clq_search *s);
/* Scales channels where that lowers the error (search_scale.c); *changed: what was calibrated holds no longer. */
clq_status clq_search_scale(struct clq_search *s, bool *changed, struct clq_error *err);
/* All scales that a plan holds, in place of a search. */
clq_status clq_search_scale_replay(struct clq_search *s, const struct clq_plan_data *plan, struct clq_error *err);
bool clq_search_scaling_known(const char *name);
bool clq_search_algorithm_known(const char *name);
/* Whether calibration has to collect second moments of the products' inputs. */
bool clq_search_wants_moments(const struct clq_search *s);
/* True when some mode beside f32 can compute the unit. */
bool clq_search_has_choice(const struct clq_search *s, int unit);
clq_status clq_search_errors(struct clq_search *s, struct clq_error *err);
clq_status clq_search_times(struct clq_search *s, struct clq_error *err);

/* The model of a choice (a mode per unit), simplified and ready to run; release with clq_model_release. */
clq_status clq_search_model(struct clq_model *out, struct clq_search *s, const uint8_t *mode, struct clq_error *err);

/* The same, with the placement of its layers in the file where a device was timed too; on_device: [units] or NULL: it says nothing. */
clq_status clq_search_placed(struct clq_model *out, struct clq_search *s, const uint8_t *mode, const bool *on_device, struct clq_error *err);

/* How a rewritten model compares with the float reference. */
struct clq_comparison {
    double noise;          /* error energy / reference energy */
    double noise_bound;    /* what noise stays below on unseen samples, at 95 %; noise itself with too few samples to say */
    double sqnr_db;        /* +inf without any error */
    double cosine, cosine_lower; /* lower: of its 95 % bootstrap interval over samples */
    size_t lost, gained;   /* rows where only the reference, or only the model, has the label */
    size_t samples, agree; /* samples whose first output's argmax is the same as the reference's */
    size_t top1, top1_reference; /* correct, when there are labels */
};
/* mode: of the plan that model was made for, by which the journal knows it; NULL: of none. */
clq_status clq_search_compare(struct clq_comparison *out, struct clq_search *s, const struct clq_probe *probe, const struct clq_model *model, const uint8_t *mode,
                              struct clq_error *err);

/* The same of the plan `mode`, whose model is made for it. */
clq_status clq_search_compare_plan(struct clq_comparison *out, struct clq_search *s, const struct clq_probe *probe, const uint8_t *mode, struct clq_error *err);

/* Whether a plan of n units changes any. */
bool clq_any_layer(const uint8_t *mode, int n);

/* The plan that has every capable layer on int8; whether there is one. */
bool clq_search_all_int8(uint8_t *on, const struct clq_search *s);

/* Chooses each tensor's calibrator by the measured error of the model's output. */
clq_status clq_search_calibrators(struct clq_search *s, struct clq_error *err);

/* The validation samples have helped to choose, so they flatter the plan: its noise has to be lower than asked by this factor,
 * half a decibel. */
#define CLQ_ERROR_MARGIN 1.122
/* A budget counts as kept when the 95 % bound of the error keeps it, up to this factor, two decibels: where few samples hold most of
 * the error, the bound of some dozen samples says little, and only more of them would help. */
#define CLQ_ERROR_MARGIN_MOST 1.585

/* What a search for a plan is given beside the measurements of the units. */
struct clq_rival;
struct clq_choose_request {
    const struct clq_budget *budget;
    const struct clq_policy *policy;      /* NULL: ours */
    double reference_us, uniform_us;      /* the whole float model, and all units in int8; 0: not measured */
    double reference_bytes;               /* of the float file */
    const char *eval_command;             /* or NULL */
    double eval_timeout_s, reference_score;
    int rounds;                           /* 0: a handful */
    const struct clq_rival *rivals;       /* plans of other searches that race too where they keep the budget */
    int n_rivals;
    struct clq_compared *compared;        /* plans that were compared already, shared between searches; NULL: none are kept */
};
/* Comparisons on the validation samples by plan. */
struct clq_compared {
    struct {
        uint8_t *mode;
        struct clq_comparison c;
    } *item;
    int n, room;
};
struct clq_choice {
    uint8_t *mode;                   /* [units] */
    bool *on_device;                 /* [units] */
    struct clq_comparison measured;  /* on the validation samples */
    struct clq_whole_values values;  /* of the plan, as measured; bounds on the time as predicted where that is not */
    double score;                    /* of the user's command, NAN without one */
    double predicted_noise, predicted_us; /* of the whole model; predicted_us is 0 when reference_us is. As the search timed the whole
                                           * plan, where it did */
    double model_us;                 /* the same by its layers alone */
    bool feasible;                   /* keeps the budget, as measured */
    int rounds;
};
struct clq_rival {
    const char *name;
    struct clq_choice choice;
};
/* The best choice within the budget: solves, measures whole plans on the validation samples, corrects the model by what was
 * measured, and solves again. Without any plan that keeps the budget, the closest one. */
clq_status clq_search_choose(struct clq_choice *out, struct clq_search *s, const struct clq_choose_request *request, struct clq_error *err);

/* The same; where the time is the objective, the plans of all other policies that keep the budget are timed against it as whole
 * models, and the fastest one is taken (search_race.c). */
clq_status clq_search_best(struct clq_choice *out, struct clq_search *s, const struct clq_choose_request *request, struct clq_error *err);

/* Takes the whole plan's own time as the prediction, if it is known. */
void clq_search_predict(struct clq_choice *choice, const struct clq_search *s, double reference_us);
/* Whether a plan takes what its layers say, within 3 %. Otherwise the log says that it is solved for again. */
bool clq_search_well_predicted(const struct clq_search *s, const struct clq_choice *choice, double measured_us);

/* How units are measured. Of a model whose shapes wait for values, all units lie in the first stage; every unit, additions too, has a
 * step of its own. */
extern const struct clq_program_options clq_search_first_stage;

/* From its measured error to what the budget has to allow. */
double clq_search_margin(const struct clq_comparison *measured);
/* Whether the bounds on the error are kept, with the margin. */
bool clq_search_within(const struct clq_comparison *measured, const struct clq_budget *budget);
/* What a comparison says of the bounds on the error; labels without samples lose nothing. */
void clq_search_values(struct clq_whole_values *out, const struct clq_comparison *c);
/* Two whole plans to time side by side. */
struct clq_timed_plans {
    const uint8_t *mode, *base; /* base NULL, or without a layer: the float model */
    const bool *on_device, *base_on_device; /* or NULL */
    const clq_tensor *inputs;
    size_t pairs;               /* in all */
    int rounds;                 /* so often with programs made anew; 0: once */
    bool apart;                 /* each time in a fresh process, if there is an executable for that; else in this one */
    const char *key;            /* as in struct clq_proof_request */
};
clq_status clq_search_time_plans(struct clq_accept_verdict *out, struct clq_search *s, const struct clq_timed_plans *plans, struct clq_error *err);
/* What timing a whole plan said: by these, predictions are corrected. */
clq_status clq_search_remember(struct clq_search *s, const uint8_t *mode, double ratio, struct clq_error *err);
/* Its time / float, 0: it was not timed. */
double clq_search_timed(const struct clq_search *s, const uint8_t *mode);
/* Bytes that running the model holds: weights as stored, activations and scratch. */
clq_status clq_search_memory(double *out, struct clq_search *s, const struct clq_model *model, size_t model_bytes, struct clq_error *err);

#endif
