/* SPDX-License-Identifier: Apache-2.0
 * See time_model.h. Least squares of relative errors in two unknowns, drawn towards the float model's factor. */
#include "scheduler/time_model.h"

#include <math.h>

static const double PLAN = 0.03, PRIOR = 0.5; /* how far off a timed plan may be, and a factor from the float model's */
static const double FARTHEST = 5;             /* times the float model's factor, or a part of it */

static double within(double v)
{
    return isfinite(v) ? fmin(FARTHEST, fmax(1 / FARTHEST, v)) : 1;
}

struct clq_time_factors clq_time_fit(double float_layers, double float_whole, const struct clq_time_point *points, size_t n)
{
    const double f32 = float_layers > 0 && float_whole > 0 ? float_whole / float_layers : 1, prior = 1 / (PRIOR * PRIOR), weight = 1 / (PLAN * PLAN);
    double aa = prior, ab = 0, bb = prior, ay = prior, by = prior; /* of codes / f32 and convert / f32 */
    for (size_t i = 0; i < n; i++) {
        const struct clq_time_point *p = &points[i];
        double a = f32 * p->codes / p->whole, b = f32 * p->convert / p->whole, y = 1 - f32 * p->f32 / p->whole;
        if (!(p->whole > 0) || !isfinite(a + b + y)) continue;
        aa += weight * a * a;
        ab += weight * a * b;
        bb += weight * b * b;
        ay += weight * a * y;
        by += weight * b * y;
    }
    double codes = within((ay * bb - by * ab) / (aa * bb - ab * ab));
    double convert = within((by - ab * codes) / bb);
    codes = within((ay - ab * convert) / aa); /* where one was held back */
    return (struct clq_time_factors){f32, f32 * codes, f32 * convert};
}
