/* SPDX-License-Identifier: Apache-2.0
 * Statistics: see stats.h. */
#include "scheduler/stats.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

void clq_philox(uint32_t out[4], const uint32_t counter[4], uint64_t key)
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

struct clq_random clq_random_start(uint64_t seed, uint64_t stream)
{
    return (struct clq_random){.seed = seed, .stream = stream};
}

uint32_t clq_random_word(struct clq_random *r)
{
    if (r->left == 0) {
        uint32_t counter[4] = {(uint32_t)r->block, (uint32_t)(r->block >> 32), (uint32_t)r->stream, (uint32_t)(r->stream >> 32)};
        clq_philox(r->words, counter, r->seed);
        r->block++;
        r->left = 4;
    }
    return r->words[4 - r->left--];
}

uint32_t clq_random_below(struct clq_random *r, uint32_t n)
{
    uint32_t floor = (uint32_t)(-n) % n; /* 2^32 mod n: products below it would favor small results */
    for (;;) {
        uint64_t product = (uint64_t)clq_random_word(r) * n;
        if ((uint32_t)product >= floor) return (uint32_t)(product >> 32);
    }
}

double clq_select(double *v, size_t n, size_t k)
{
    size_t lo = 0, hi = n - 1;
    while (lo < hi) {
        double pivot = v[lo + (hi - lo) / 2];
        size_t i = lo, j = hi;
        for (;;) {
            while (v[i] < pivot)
                i++;
            while (v[j] > pivot)
                j--;
            if (i >= j) break;
            double t = v[i];
            v[i++] = v[j];
            v[j--] = t;
        }
        if (k <= j) hi = j;
        else lo = j + 1;
    }
    return v[k];
}

double clq_median(double *v, size_t n)
{
    double upper = clq_select(v, n, n / 2);
    if (n % 2) return upper;
    double lower = v[0]; /* selection leaves the smaller ones in front */
    for (size_t i = 1; i < n / 2; i++)
        if (v[i] > lower) lower = v[i];
    return lower / 2 + upper / 2;
}

double clq_quantile(double *v, size_t n, double q)
{
    double at = q * (double)(n - 1);
    size_t k = (size_t)at;
    double low = clq_select(v, n, k), part = at - (double)k;
    if (part <= 0 || k + 1 >= n) return low;
    return low + part * (clq_select(v, n, k + 1) - low);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Ranks of v; pairs [2 n] is scratch: every value with its index. */
static void ranks(double *rank, const double *v, size_t n, double *pairs)
{
    for (size_t i = 0; i < n; i++) {
        pairs[2 * i] = v[i];
        pairs[2 * i + 1] = (double)i;
    }
    qsort(pairs, n, 2 * sizeof *pairs, by_value);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && pairs[2 * end] == pairs[2 * i]; end++) {}
        for (size_t k = i; k < end; k++) rank[(size_t)pairs[2 * k + 1]] = (double)(i + end - 1) / 2;
    }
}

double clq_spearman(const double *x, const double *y, size_t n, double *scratch)
{
    double *a = scratch + 2 * n, *b = scratch + 3 * n, mean = ((double)n - 1) / 2, aa = 0, bb = 0, ab = 0;
    ranks(a, x, n, scratch);
    ranks(b, y, n, scratch);
    for (size_t i = 0; i < n; i++) {
        aa += (a[i] - mean) * (a[i] - mean);
        bb += (b[i] - mean) * (b[i] - mean);
        ab += (a[i] - mean) * (b[i] - mean);
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : (double)NAN;
}

/* Lentz's continued fraction; converges fast for x < (a + 1) / (a + b + 2). */
static double beta_fraction(double a, double b, double x)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1), f;
    if (fabs(d) < tiny) d = tiny;
    d = 1 / d;
    f = d;
    for (int m = 1; m < 100000; m++) {
        for (int odd = 0; odd < 2; odd++) {
            double t = odd ? -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
                           : m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
            d = 1 + t * d;
            c = 1 + t / c;
            if (fabs(d) < tiny) d = tiny;
            if (fabs(c) < tiny) c = tiny;
            d = 1 / d;
            f *= c * d;
        }
        if (fabs(c * d - 1) < 1e-15) break;
    }
    return f;
}

double clq_beta_inc(double a, double b, double x)
{
    int sign;
    if (x <= 0) return 0;
    if (x >= 1) return 1;
    double front = exp(lgamma_r(a + b, &sign) - lgamma_r(a, &sign) - lgamma_r(b, &sign) + a * log(x) + b * log1p(-x));
    if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(a, b, x) / a;
    return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double clq_binomial_tail(size_t n, size_t k, double p)
{
    if (k == 0) return 1;
    if (k > n) return 0;
    return clq_beta_inc((double)k, (double)(n - k) + 1, p);
}

/* The x in [0,1] with I_x(a, b) = p. */
static double beta_quantile(double a, double b, double p)
{
    double lo = 0, hi = 1;
    for (int i = 0; i < 200 && hi - lo > DBL_EPSILON * hi; i++) {
        double mid = lo + (hi - lo) / 2;
        if (clq_beta_inc(a, b, mid) < p) lo = mid;
        else hi = mid;
    }
    return lo + (hi - lo) / 2;
}

void clq_clopper_pearson(double *lo, double *hi, size_t k, size_t n, double confidence)
{
    double tail = (1 - confidence) / 2, hits = (double)k, misses = (double)(n - k);
    *lo = k == 0 ? 0 : beta_quantile(hits, misses + 1, tail);
    *hi = k == n ? 1 : beta_quantile(hits + 1, misses, 1 - tail);
}

double clq_student_quantile(double p, double degrees)
{
    if (p <= 0.5) return 0;
    /* P(|T| > t) = I_x(degrees / 2, 1 / 2) with x = degrees / (degrees + t^2) */
    double x = beta_quantile(degrees / 2, 0.5, 2 * (1 - p));
    return sqrt(degrees * (1 / x - 1));
}
