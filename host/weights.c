/* SPDX-License-Identifier: Apache-2.0
 * Weight quantization per channel. */
#include "weights.h"

#include <float.h>
#include <math.h>

static size_t at(const struct clq_weight_job *j, size_t o, size_t c, size_t i)
{
    return (o * j->channels + c) * j->inner + i;
}

static float code(float w, float scale)
{
    float q = rintf(w / scale);
    return q < -127 ? -127 : q > 127 ? 127 : q;
}

static double channel_error(const struct clq_weight_job *j, size_t c, float scale)
{
    double e = 0;
    for (size_t o = 0; o < j->outer; o++)
        for (size_t i = 0; i < j->inner; i++) {
            float w = j->weight[at(j, o, c, i)];
            double d = (double)(w - code(w, scale) * scale);
            e += d * d * (j->importance ? j->importance[o * j->inner + i] : 1);
        }
    return e;
}

void clq_weights_requantize(const struct clq_weight_job *j, size_t c, float scale)
{
    j->scale[c] = scale;
    for (size_t o = 0; o < j->outer; o++)
        for (size_t i = 0; i < j->inner; i++) j->codes[at(j, o, c, i)] = (int8_t)code(j->weight[at(j, o, c, i)], scale);
}

clq_status clq_weights_quantize(const struct clq_weight_job *j, const char *name, struct clq_error *err)
{
    enum { STEPS = 16 };
    for (size_t c = 0; c < j->channels; c++) {
        float most = 0;
        for (size_t o = 0; o < j->outer; o++)
            for (size_t i = 0; i < j->inner; i++) {
                float w = fabsf(j->weight[at(j, o, c, i)]);
                if (!isfinite(w))
                    return clq_fail(err, CLQ_ERR_NUMERIC, "weight '%s': element %zu is not finite", name, at(j, o, c, i));
                if (w > most) most = w;
            }
        float scale = (float)((double)most / 127);
        if (most == 0) scale = 1;
        else if (scale < FLT_MIN) scale = FLT_MIN;
        if (j->clip && most > 0) {
            double least = channel_error(j, c, scale);
            float full = scale;
            for (int s = 1; s < STEPS; s++) {
                float t = full * (1 - 0.02f * (float)s);
                if (t < FLT_MIN) break;
                double e = channel_error(j, c, t);
                if (e < least) {
                    least = e;
                    scale = t;
                }
            }
        }
        clq_weights_requantize(j, c, scale);
    }
    return CLQ_OK;
}
