/* SPDX-License-Identifier: Apache-2.0
 * Histograms and range searches. All searches run in binary64 on the counts; ties go to the wider range. */
#include "calibrate.h"

#include <float.h>
#include <math.h>
#include <string.h>

const char *clq_calibrator_name(enum clq_calibrator method)
{
    static const char *const names[CLQ_CAL_COUNT] = {"minmax", "percentile", "entropy", "mse"};
    return (unsigned)method < CLQ_CAL_COUNT ? names[method] : "unknown";
}

void clq_hist_start(struct clq_hist *h)
{
    memset(h, 0, sizeof *h);
    h->exponent = -64;
    h->min = INFINITY;
    h->max = -INFINITY;
}

/* Merges bins in pairs: the range doubles, and the counts are those that the larger range would have given. */
static void grow(struct clq_hist *h)
{
    uint64_t *sides[2] = {h->positive, h->negative};
    for (int s = 0; s < 2; s++) {
        for (int i = 0; i < CLQ_HIST_BINS / 2; i++) sides[s][i] = sides[s][2 * i] + sides[s][2 * i + 1];
        memset(sides[s] + CLQ_HIST_BINS / 2, 0, CLQ_HIST_BINS / 2 * sizeof(uint64_t));
    }
    h->exponent++;
}

static void fit(struct clq_hist *h, float magnitude)
{
    int k;
    if (magnitude == 0) return;
    frexpf(magnitude, &k); /* magnitude < 2^k */
    if (h->count == 0 && k > h->exponent) h->exponent = k;
    while (h->exponent < k) grow(h);
}

size_t clq_hist_accept(struct clq_hist *h, const struct clq_minmax_args *mm)
{
    size_t bad = (size_t)(mm->n_nan + mm->n_pos_inf + mm->n_neg_inf);
    h->n_nan += mm->n_nan;
    h->n_pos_inf += mm->n_pos_inf;
    h->n_neg_inf += mm->n_neg_inf;
    if (bad == mm->n) return 0;
    fit(h, fmaxf(fabsf(mm->min), fabsf(mm->max)));
    h->min = mm->min < h->min ? mm->min : h->min;
    h->max = mm->max > h->max ? mm->max : h->max;
    h->count += mm->n - bad;
    return mm->n - bad;
}

void clq_hist_add(struct clq_hist *h, const struct clq_kernels *k, const float *x, size_t n)
{
    const size_t chunk = 16384; /* stays in the second-level cache between the two kernels */
    for (size_t at = 0; at < n; at += chunk) {
        size_t m = n - at < chunk ? n - at : chunk;
        struct clq_minmax_args mm = {.x = x + at, .n = m, .min = INFINITY, .max = -INFINITY};
        k->minmax_f32(&mm);
        if (clq_hist_accept(h, &mm) == 0) continue;
        struct clq_histogram_args ha = {x + at, m, h->exponent, CLQ_HIST_LOG2, h->positive, h->negative};
        k->histogram_f32(&ha);
    }
}

void clq_hist_merge(struct clq_hist *into, const struct clq_hist *from)
{
    if (from->count > 0) {
        if (into->count == 0 && into->exponent < from->exponent) into->exponent = from->exponent;
        while (into->exponent < from->exponent) grow(into);
        /* floor(floor(y) / 2^d) = floor(y / 2^d): the same bins as if the values had come one by one */
        int d = into->exponent - from->exponent;
        if (d > CLQ_HIST_LOG2) d = CLQ_HIST_LOG2;
        for (int i = 0; i < CLQ_HIST_BINS; i++) {
            into->positive[i >> d] += from->positive[i];
            into->negative[i >> d] += from->negative[i];
        }
        into->min = from->min < into->min ? from->min : into->min;
        into->max = from->max > into->max ? from->max : into->max;
        into->count += from->count;
    }
    into->n_nan += from->n_nan;
    into->n_pos_inf += from->n_pos_inf;
    into->n_neg_inf += from->n_neg_inf;
}

bool clq_hist_has_sentinel(const struct clq_hist *h)
{
    const float largest = fmaxf(h->max, -h->min);
    if (h->count == 0 || !(largest >= 1000)) return false;
    const double bin = (double)largest / ldexp(1, h->exponent - CLQ_HIST_LOG2); /* where the largest lies, at least 512 */
    const int from = (int)(bin / 256) + 1, to = (int)(bin / 8);
    uint64_t near = 0;
    for (int i = 0; i < to; i++) {
        uint64_t here = h->positive[i] + h->negative[i];
        if (i < from) near += here;
        else if (here > 0) return false;
    }
    return near > 0;
}

static double bin_width(const struct clq_hist *h)
{
    return ldexp(1, h->exponent - CLQ_HIST_LOG2);
}

static struct clq_range full_range(const struct clq_hist *h)
{
    struct clq_range r = {0, 0, 0};
    if (h->count == 0) return r;
    r.lo = h->min < 0 ? h->min : 0;
    r.hi = h->max > 0 ? h->max : 0;
    return r;
}

/* The part of the values outside a range, by bins. A side whose last value is inside has none, wherever its bin begins. */
static double clipped(const struct clq_hist *h, struct clq_range r)
{
    double w = bin_width(h), out = 0;
    for (int i = 0; i < CLQ_HIST_BINS; i++) {
        if (h->max > r.hi && i * w >= (double)r.hi) out += (double)h->positive[i];
        if (h->min < r.lo && i * w >= -(double)r.lo) out += (double)h->negative[i];
    }
    if (h->max > 0 && r.hi == 0) out -= (double)h->positive[0]; /* zeros are inside */
    return h->count ? out / (double)h->count : 0;
}

struct clq_qparams clq_range_params(struct clq_range r, bool symmetric)
{
    double lo = r.lo < 0 ? (double)r.lo : 0, hi = r.hi > 0 ? (double)r.hi : 0;
    if (lo == 0 && hi == 0) return (struct clq_qparams){1, symmetric ? 128 : 0};
    if (symmetric) {
        double m = fmax(-lo, hi);
        float s = (float)(m / 127);
        return (struct clq_qparams){s < FLT_MIN ? FLT_MIN : s, 128};
    }
    float s = (float)((hi - lo) / 255);
    if (s < FLT_MIN) s = FLT_MIN;
    double z = nearbyint(-lo / (double)s);
    return (struct clq_qparams){s, z < 0 ? 0 : z > 255 ? 255 : (int32_t)z};
}

/* The squared error of one value, relative to scale 1. */
static double code_error(double x, double inverse, double scale, double qlo, double qhi)
{
    double q = nearbyint(x * inverse);
    q = q < qlo ? qlo : q > qhi ? qhi : q;
    double e = x - q * scale;
    return e * e;
}

double clq_hist_error(const struct clq_hist *h, const struct clq_qparams *q)
{
    double w = bin_width(h), s = (double)q->scale, inv = 1 / s, sum = 0;
    double qlo = -(double)q->zero_point, qhi = 255 - (double)q->zero_point;
    for (int i = 0; i < CLQ_HIST_BINS; i++) {
        double c = (i + 0.5) * w;
        if (h->positive[i]) sum += (double)h->positive[i] * code_error(i == 0 ? 0 : c, inv, s, qlo, qhi);
        if (h->negative[i]) sum += (double)h->negative[i] * code_error(-c, inv, s, qlo, qhi);
    }
    return h->count ? sum / (double)h->count : 0;
}

/* Shrinks both ends on a grid, one after the other, and keeps what has the least error. */
static struct clq_range search_mse(const struct clq_hist *h, struct clq_range full)
{
    enum { STEPS = 40 };
    struct clq_range best = full;
    struct clq_qparams q = clq_range_params(full, false);
    double least = clq_hist_error(h, &q);
    for (int round = 0; round < 2; round++)
        for (int side = 0; side < 2; side++) {
            struct clq_range at = best;
            for (int i = 1; i < STEPS; i++) {
                float f = 1 - (float)i / STEPS;
                struct clq_range r = at;
                if (side == 0) r.hi = full.hi * f;
                else r.lo = full.lo * f;
                if ((side == 0 && full.hi == 0) || (side == 1 && full.lo == 0)) break;
                q = clq_range_params(r, false);
                double e = clq_hist_error(h, &q);
                if (e < least) {
                    least = e;
                    best = r;
                }
            }
        }
    return best;
}

/* The smallest range that keeps all but the given part of the values. */
static struct clq_range search_percentile(const struct clq_hist *h, struct clq_range full, double part)
{
    double w = bin_width(h), budget = part * (double)h->count, out = 0;
    int i = CLQ_HIST_BINS - 1;
    for (; i > 0; i--) {
        out += (double)(h->positive[i] + h->negative[i]);
        if (out > budget) break;
    }
    float t = (float)((i + 1) * w);
    struct clq_range r = {full.lo < -t ? -t : full.lo, full.hi > t ? t : full.hi, 0};
    return r;
}

/* Kullback-Leibler divergence of the distribution clipped at n bins from its image under 128 levels of magnitude. */
static double divergence(const double *p, int n, double tail, double total)
{
    const int levels = 128;
    double kl = 0;
    for (int l = 0; l < levels; l++) {
        int a = (int)((int64_t)l * n / levels), b = (int)((int64_t)(l + 1) * n / levels);
        double mass = 0;
        int filled = 0;
        for (int i = a; i < b; i++) {
            mass += p[i];
            filled += p[i] > 0 || (i == n - 1 && tail > 0);
        }
        if (filled == 0) continue;
        for (int i = a; i < b; i++) {
            double pi = (p[i] + (i == n - 1 ? tail : 0)) / total, qi = mass / filled / total;
            if (pi <= 0) continue;
            kl += qi > 0 ? pi * log(pi / qi) : pi * log(pi / 1e-12);
        }
    }
    return kl;
}

static struct clq_range search_entropy(const struct clq_hist *h, struct clq_range full)
{
    double p[CLQ_HIST_BINS], total = 0, w = bin_width(h);
    int top = 0;
    for (int i = 0; i < CLQ_HIST_BINS; i++) {
        p[i] = (double)(h->positive[i] + h->negative[i]);
        total += p[i];
        if (p[i] > 0) top = i + 1;
    }
    total -= p[0]; /* the zero bin is represented exactly and would drown the rest */
    p[0] = 0;
    if (top <= 128 || total <= 0) return full;
    double least = INFINITY, inside = 0;
    int best = top;
    for (int i = 0; i < 128; i++) inside += p[i];
    for (int n = 128; n <= top; n++) {
        if (n > 128) inside += p[n - 1];
        if ((n - 128) % 4 != 0 && n != top) continue;
        double kl = divergence(p, n, total - inside, total);
        if (kl <= least) {
            least = kl;
            best = n;
        }
    }
    float t = (float)(best * w);
    struct clq_range r = {full.lo < -t ? -t : full.lo, full.hi > t ? t : full.hi, 0};
    return r;
}

struct clq_range clq_hist_range(const struct clq_hist *h, enum clq_calibrator method, float bound_lo, float bound_hi)
{
    struct clq_range r = full_range(h);
    if (h->count > 0 && method == CLQ_CAL_PERCENTILE) r = search_percentile(h, r, 1e-4);
    if (h->count > 0 && method == CLQ_CAL_ENTROPY) r = search_entropy(h, r);
    if (h->count > 0 && method == CLQ_CAL_MSE) r = search_mse(h, r);
    if (r.lo < bound_lo) r.lo = bound_lo < 0 ? bound_lo : 0;
    if (r.hi > bound_hi) r.hi = bound_hi > 0 ? bound_hi : 0;
    r.clipped = clipped(h, r);
    return r;
}
