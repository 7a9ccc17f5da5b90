/* SPDX-License-Identifier: Apache-2.0
 * Error measures: see error.h. */
#include "scheduler/error.h"

#include <math.h>

#include "base/arena.h"
#include "scheduler/stats.h"

#define LEAF 1024
#define LANES 16

/* Lanes 0..7 take 8..15, then 0..3 take 4..7, then 0..1 take 2..3, then 0 takes 1. */
static double fold(const double *lane)
{
    double v[LANES];
    for (int j = 0; j < LANES; j++)
        v[j] = lane[j];
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            v[j] += v[j + half];
    return v[0];
}

void clq_sum_add(struct clq_sum *sum, double term)
{
    sum->lane[sum->count % LANES] += term;
    if (++sum->count % LEAF != 0) return;
    /* A finished leaf meets equally large neighbors, like a carry. */
    double carry = fold(sum->lane);
    size_t leaves = sum->count / LEAF - 1;
    int level = 0;
    for (; leaves & 1; leaves >>= 1, level++)
        carry = sum->stack[level] + carry;
    sum->stack[level] = carry;
    for (int j = 0; j < LANES; j++)
        sum->lane[j] = 0;
}

double clq_sum_total(const struct clq_sum *sum)
{
    size_t leaves = sum->count / LEAF;
    bool have = sum->count % LEAF != 0;
    double total = have ? fold(sum->lane) : 0;
    for (int level = 0; leaves; leaves >>= 1, level++) {
        if (!(leaves & 1)) continue;
        total = have ? sum->stack[level] + total : sum->stack[level];
        have = true;
    }
    return total;
}

double clq_sum_array(const double *terms, size_t n)
{
    struct clq_sum sum = {0};
    for (size_t i = 0; i < n; i++)
        clq_sum_add(&sum, terms[i]);
    return clq_sum_total(&sum);
}

static bool same(double r, double c)
{
    return r == c || (isnan(r) && isnan(c));
}

void clq_sample_add(struct clq_sample_sums *sums, const float *reference, const float *candidate, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double r = reference[i], c = candidate[i];
        sums->elements++;
        if (!same(r, c)) sums->differing++;
        if (!isfinite(r) || !isfinite(c)) {
            if (!same(r, c)) sums->mismatches++;
            r = c = 0;
        }
        double e = r - c;
        clq_sum_add(&sums->reference, r * r);
        clq_sum_add(&sums->candidate, c * c);
        clq_sum_add(&sums->dot, r * c);
        clq_sum_add(&sums->error, e * e);
        if (fabs(e) > sums->max_abs) sums->max_abs = fabs(e);
    }
}

void clq_sample_finish(struct clq_sample_error *out, const struct clq_sample_sums *sums)
{
    *out = (struct clq_sample_error){
        .reference_energy = clq_sum_total(&sums->reference),
        .error_energy = clq_sum_total(&sums->error),
        .candidate_energy = clq_sum_total(&sums->candidate),
        .dot = clq_sum_total(&sums->dot),
        .max_abs = sums->mismatches ? INFINITY : sums->max_abs,
        .elements = sums->elements,
        .mismatches = sums->mismatches,
        .identical = sums->differing == 0,
    };
}

double clq_noise_to_db(double noise)
{
    return noise > 0 ? -10 * log10(noise) : INFINITY;
}

double clq_noise_from_db(double sqnr_db)
{
    return pow(10, -sqnr_db / 10);
}

void clq_error_combine(struct clq_error_total *out, const struct clq_sample_error *samples, size_t n)
{
    struct clq_sum reference = {0}, error = {0}, candidate = {0}, dot = {0};
    struct clq_error_total t = {.identical = true, .samples = n};
    for (size_t i = 0; i < n; i++) {
        clq_sum_add(&reference, samples[i].reference_energy);
        clq_sum_add(&error, samples[i].error_energy);
        clq_sum_add(&candidate, samples[i].candidate_energy);
        clq_sum_add(&dot, samples[i].dot);
        t.identical &= samples[i].identical;
        t.max_abs = fmax(t.max_abs, samples[i].max_abs);
        t.elements += samples[i].elements;
        t.mismatches += samples[i].mismatches;
    }
    double r = clq_sum_total(&reference), c = clq_sum_total(&candidate), e = clq_sum_total(&error);
    double norm = sqrt(r) * sqrt(c);
    t.cosine = norm > 0 ? fmin(1, fmax(-1, clq_sum_total(&dot) / norm)) : r > 0 || c > 0 ? 0 : 1;
    t.noise = t.mismatches || (e > 0 && !(r > 0)) ? INFINITY : e > 0 ? e / r : 0;
    t.sqnr_db = isinf(t.noise) ? CLQ_SQNR_WORST : clq_noise_to_db(t.noise);
    *out = t;
}

size_t clq_top1(const float *row, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (row[i] > row[best] || (isnan(row[best]) && !isnan(row[i]))) best = i;
    return best;
}

struct clq_proportion clq_proportion_of(size_t hits, size_t n)
{
    struct clq_proportion p = {.hits = hits, .n = n, .value = n ? (double)hits / (double)n : 0};
    clq_clopper_pearson(&p.lo, &p.hi, hits, n, 0.95);
    return p;
}

struct clq_drop clq_drop_of(const unsigned char *reference_right, const unsigned char *candidate_right, size_t n)
{
    struct clq_drop d = {.n = n, .upper = 100};
    for (size_t i = 0; i < n; i++) {
        d.lost += reference_right[i] && !candidate_right[i];
        d.gained += !reference_right[i] && candidate_right[i];
    }
    if (n == 0) return d;
    d.points = 100 * ((double)d.lost - (double)d.gained) / (double)n;
    /* Bonferroni over both shares: lost at most (97.5 %), minus gained at least (97.5 %). */
    double lo, hi, ignored;
    clq_clopper_pearson(&ignored, &hi, d.lost, n, 0.95);
    clq_clopper_pearson(&lo, &ignored, d.gained, n, 0.95);
    d.upper = 100 * (hi - lo);
    return d;
}

clq_status clq_bootstrap(double *lo, double *hi, clq_metric *metric, void *state, size_t n, double confidence,
                         size_t resamples, uint64_t seed, struct clq_error *err)
{
    if (n < 1 || n > UINT32_MAX || resamples < 1 || !(confidence > 0 && confidence < 1))
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "bootstrap: %zu samples, %zu resamples, confidence %g", n, resamples, confidence);
    struct clq_arena arena = {0};
    uint32_t *index = clq_arena_array(&arena, n, sizeof *index);
    double *values = clq_arena_array(&arena, resamples, sizeof *values);
    if (!index || !values) {
        clq_arena_free(&arena);
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory for %zu resamples", resamples);
    }
    struct clq_random random = clq_random_start(seed, 0x626f6f74); /* "boot" */
    for (size_t r = 0; r < resamples; r++) {
        for (size_t i = 0; i < n; i++)
            index[i] = clq_random_below(&random, (uint32_t)n);
        values[r] = metric(state, index, n);
    }
    *lo = clq_quantile(values, resamples, (1 - confidence) / 2);
    *hi = clq_quantile(values, resamples, (1 + confidence) / 2);
    clq_arena_free(&arena);
    return CLQ_OK;
}

/* SQNR over drawn samples, kept finite so that quantiles can be interpolated. */
static double drawn_sqnr(const struct clq_sample_error *samples, const uint32_t *index, size_t n)
{
    double r = 0, e = 0;
    for (size_t i = 0; i < n; i++) {
        r += samples[index[i]].reference_energy;
        e += samples[index[i]].error_energy;
    }
    if (!(e > 0)) return -CLQ_SQNR_WORST;
    return r > 0 ? fmax(CLQ_SQNR_WORST, fmin(-CLQ_SQNR_WORST, clq_noise_to_db(e / r))) : CLQ_SQNR_WORST;
}

struct both {
    const struct clq_sample_error *a, *b;
};

/* The logarithm of error over reference energy of drawn samples, and its standard error by linearization; false where
 * that does not exist. index NULL: every sample once. */
static bool log_noise(double *value, double *deviation, const struct clq_sample_error *samples, const uint32_t *index, size_t n)
{
    double r = 0, e = 0, sum = 0;
    for (size_t i = 0; i < n; i++) {
        r += samples[index ? index[i] : i].reference_energy;
        e += samples[index ? index[i] : i].error_energy;
    }
    if (!(e > 0) || !(r > 0)) return false;
    for (size_t i = 0; i < n; i++) {
        const struct clq_sample_error *s = &samples[index ? index[i] : i];
        double share = s->error_energy / e - s->reference_energy / r;
        sum += share * share;
    }
    *value = log(e / r);
    *deviation = sqrt(sum * (double)n / (double)(n - 1));
    return *deviation > 0;
}

struct studentized {
    const struct clq_sample_error *samples;
    double center;
};

/* How many of its own standard errors a draw lies above the center. Draws without one count as far below, the cautious
 * side. */
static double studentized_metric(void *state, const uint32_t *index, size_t n)
{
    const struct studentized *s = state;
    double value, deviation;
    if (!log_noise(&value, &deviation, s->samples, index, n)) return -100;
    return fmax(-100, (value - s->center) / deviation);
}

static double difference_metric(void *state, const uint32_t *index, size_t n)
{
    const struct both *both = state;
    return drawn_sqnr(both->b, index, n) - drawn_sqnr(both->a, index, n);
}

clq_status clq_sqnr_lower(struct clq_sqnr_bound *out, const struct clq_sample_error *samples, size_t n, double confidence,
                          uint64_t seed, struct clq_error *err)
{
    struct clq_error_total total;
    struct clq_sqnr_bound b = {.decidable = n >= CLQ_SQNR_MIN_SAMPLES};
    if (!(confidence > 0.5 && confidence < 1))
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "confidence %g, expected between 0.5 and 1", confidence);
    clq_error_combine(&total, samples, n);
    b.sqnr_db = b.lower_db = total.sqnr_db;
    struct studentized state = {.samples = samples};
    double deviation = 0, lo = 0, hi = 0;
    if (n >= 2 && isfinite(b.sqnr_db) && b.sqnr_db > CLQ_SQNR_WORST && log_noise(&state.center, &deviation, samples, NULL, n)) {
        CLQ_TRY(clq_bootstrap(&lo, &hi, studentized_metric, &state, n, 2 * confidence - 1, 2000, seed, err));
        b.lower_db = b.sqnr_db + fmin(0, lo) * deviation * 10 / log(10);
    }
    *out = b;
    return CLQ_OK;
}

clq_status clq_sqnr_difference(double *lo, double *hi, const struct clq_sample_error *a, const struct clq_sample_error *b,
                               size_t n, double confidence, uint64_t seed, struct clq_error *err)
{
    struct both both = {a, b};
    return clq_bootstrap(lo, hi, difference_metric, &both, n, confidence, 2000, seed, err);
}
