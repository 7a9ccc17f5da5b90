/* SPDX-License-Identifier: Apache-2.0
 * The time of a whole model by that of its layers. Layers are timed one by one in place; whole models also wait for memory, for
 * other processes and for what no layer shows, and not all kinds of work to the same degree. So each kind has a factor:
 *
 *     whole = f32 * (layers in float32) + codes * (layers in fewer bits) + convert * (conversions between them)
 *
 * The float model alone gives the first one. The others are fitted to whole plans that were timed, and stay near it where these
 * say little. A pure function over numbers. */
#ifndef CLQ_SCHEDULER_TIME_MODEL_H
#define CLQ_SCHEDULER_TIME_MODEL_H

#include <stddef.h>

/* A plan that was timed as a whole: what its layers add up to by kind, and what it took. Any unit. */
struct clq_time_point {
    double f32, codes, convert, whole;
};

struct clq_time_factors {
    double f32, codes, convert; /* > 0 */
};

/* float_layers, float_whole > 0: of the float model. Points whose times are not positive and finite are left out. */
struct clq_time_factors clq_time_fit(double float_layers, double float_whole, const struct clq_time_point *points, size_t n);

#endif
