/* SPDX-License-Identifier: Apache-2.0
 * GridSample over 1 to 3 spatial axes: per output point a few taps per axis, whose product is summed. */
#include <math.h>

#include "base/parallel.h"
#include "ops/util.h"

enum mode { NEAREST, LINEAR, CUBIC };
enum padding { ZEROS, BORDER, REFLECTION };

struct sample {
    enum mode mode;
    enum padding padding;
    bool align;
    int nd;
    int64_t channels, in[3], in_plane, points; /* output points of one batch entry */
    const float *x, *grid;
    float *y;
};

struct axis_taps {
    int n;
    int64_t at[4]; /* -1: zero */
    double weight[4];
};

static clq_status read_sample(struct clq_op_call *call, struct sample *s)
{
    const clq_tensor *x = &call->in[0], *g = &call->in[1];
    const char *mode = clq_node_string(call->node, "mode", call->opset < 20 ? "bilinear" : "linear");
    const char *padding = clq_node_string(call->node, "padding_mode", "zeros");
    *s = (struct sample){.nd = x->rank - 2};
    CLQ_TRY(clq_op_need_type(call, 0, CLQ_DTYPE_F32));
    CLQ_TRY(clq_op_need_type(call, 1, CLQ_DTYPE_F32));
    if (s->nd < 1 || s->nd > 3) return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "input of rank %d", x->rank);
    CLQ_TRY(clq_op_need_rank(call, 1, x->rank));
    if (g->shape[0] != x->shape[0] || g->shape[g->rank - 1] != s->nd)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "the grid does not fit the input");
    if (strcmp(mode, "nearest") == 0)
        s->mode = NEAREST;
    else if (strcmp(mode, "linear") == 0 || strcmp(mode, "bilinear") == 0)
        s->mode = LINEAR;
    else if (strcmp(mode, "cubic") == 0 || strcmp(mode, "bicubic") == 0)
        s->mode = CUBIC;
    else
        return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "mode '%s'", mode);
    if (strcmp(padding, "zeros") == 0)
        s->padding = ZEROS;
    else if (strcmp(padding, "border") == 0)
        s->padding = BORDER;
    else if (strcmp(padding, "reflection") == 0)
        s->padding = REFLECTION;
    else
        return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "padding_mode '%s'", padding);
    s->align = clq_node_int(call->node, "align_corners", 0) != 0;
    s->channels = x->shape[1];
    s->in_plane = s->points = 1;
    for (int d = 0; d < s->nd; d++) {
        s->in[d] = x->shape[d + 2];
        s->in_plane *= s->in[d];
        s->points *= g->shape[d + 1];
        if (s->in[d] == 0) return clq_op_fail(call, CLQ_ERR_FORMAT, "spatial axis %d is empty", d);
    }
    return CLQ_OK;
}

/* Folds x back into lo..hi at its ends. */
static double reflect(double x, double lo, double hi)
{
    double range = hi - lo;
    if (!(range > 0.0)) return lo;
    double r = fmod(fabs(x < lo ? lo - x : x > hi ? x - hi : 0.0), 2.0 * range);
    if (x >= lo && x <= hi) return x;
    double inside = r > range ? 2.0 * range - r : r;
    return x < lo ? lo + inside : hi - inside;
}

/* The element that tap position i stands for. */
static int64_t tap_element(const struct sample *s, double i, int64_t n)
{
    if (i != i) return -1;
    if (s->padding == REFLECTION) i = trunc(reflect(i, s->align ? 0.0 : -0.5, (double)n - (s->align ? 1.0 : 0.5)));
    if (i >= 0.0 && i <= (double)(n - 1)) return (int64_t)i;
    if (s->padding == ZEROS) return -1;
    return i < 0.0 ? 0 : n - 1;
}

static void make_taps(const struct sample *s, struct axis_taps *t, float normalized, int64_t n)
{
    double x = s->align ? ((double)normalized + 1.0) / 2.0 * (double)(n - 1)
                        : (((double)normalized + 1.0) * (double)n - 1.0) / 2.0;
    double lo = s->align ? 0.0 : -0.5, hi = (double)n - (s->align ? 1.0 : 0.5), a = -0.75;
    x = (double)(float)x;
    if (s->mode == NEAREST) x = rint(x);
    if (x < lo || x > hi) {
        if (s->padding == BORDER)
            x = x < 0.0 ? 0.0 : (double)(n - 1);
        else if (s->padding == REFLECTION)
            x = reflect(x, lo, hi);
    }
    double base = floor(x), f = x - base;
    if (s->mode == NEAREST) {
        *t = (struct axis_taps){1, {tap_element(s, x, n)}, {1.0}};
    } else if (s->mode == LINEAR) {
        *t = (struct axis_taps){2, {tap_element(s, base, n), tap_element(s, base + 1.0, n)}, {1.0 - f, f}};
    } else {
        t->n = 4;
        for (int k = 0; k < 4; k++) {
            double d = fabs(f + 1.0 - (double)k);
            t->at[k] = tap_element(s, base + (double)k - 1.0, n);
            t->weight[k] =
                d <= 1.0 ? ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0 : ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a;
        }
    }
}

static double sum_taps(const struct axis_taps *t, const float *x, const int64_t *in)
{
    double sum = 0.0;
    for (int a = 0; a < t[0].n; a++)
        for (int b = 0; b < t[1].n; b++)
            for (int c = 0; c < t[2].n; c++)
                if (t[0].at[a] >= 0 && t[1].at[b] >= 0 && t[2].at[c] >= 0)
                    sum += t[0].weight[a] * t[1].weight[b] * t[2].weight[c] *
                           (double)x[(t[0].at[a] * in[1] + t[1].at[b]) * in[2] + t[2].at[c]];
    return sum;
}

static void run_points(void *state, size_t begin, size_t end, int thread)
{
    const struct sample *s = state;
    (void)thread;
    for (size_t u = begin; u < end; u++) {
        int64_t n = (int64_t)u / s->points, p = (int64_t)u % s->points, in[3] = {1, 1, 1};
        struct axis_taps t[3] = {{1, {0}, {1.0}}, {1, {0}, {1.0}}, {1, {0}, {1.0}}};
        for (int d = 0; d < s->nd; d++) { /* the grid's last axis names the fastest spatial axis first */
            int at = 3 - s->nd + d;
            in[at] = s->in[d];
            make_taps(s, &t[at], s->grid[(int64_t)u * s->nd + s->nd - 1 - d], s->in[d]);
        }
        for (int64_t c = 0; c < s->channels; c++)
            s->y[(n * s->channels + c) * s->points + p] =
                (float)sum_taps(t, s->x + (n * s->channels + c) * s->in_plane, in);
    }
}

clq_op_fn clq_infer_grid_sample, clq_eval_grid_sample;

clq_status clq_infer_grid_sample(struct clq_op_call *call)
{
    struct sample s;
    int64_t shape[CLQ_MAX_RANK];
    CLQ_TRY(read_sample(call, &s));
    shape[0] = call->in[0].shape[0];
    shape[1] = s.channels;
    for (int d = 0; d < s.nd; d++) shape[d + 2] = call->in[1].shape[d + 1];
    return clq_op_set_out(call, 0, CLQ_DTYPE_F32, s.nd + 2, shape);
}

clq_status clq_eval_grid_sample(struct clq_op_call *call)
{
    struct sample s;
    CLQ_TRY(read_sample(call, &s));
    s.x = call->in[0].data;
    s.grid = call->in[1].data;
    s.y = call->out[0].data;
    size_t points = (size_t)(call->in[0].shape[0] * s.points);
    clq_parallel_for(clq_op_threads(call, points * (size_t)s.channels * 8), points, run_points, &s);
    return CLQ_OK;
}
