/* SPDX-License-Identifier: Apache-2.0
 * What detectors end with: NonMaxSuppression, RoiAlign. */
#include <math.h>
#include <stdlib.h>

#include "ops/util.h"

clq_op_fn clq_infer_non_max_suppression, clq_eval_non_max_suppression, clq_infer_roi_align, clq_eval_roi_align;

/* ---- NonMaxSuppression ---- */
struct box {
    float y1, x1, y2, x2, score;
    int64_t index;
};

struct suppression {
    int64_t batches, classes, boxes, most;
    float overlap, least;
    bool has_least, center;
};

static clq_status scalar(struct clq_op_call *call, int i, double *out)
{
    if (!clq_op_has(call, i)) return CLQ_OK;
    CLQ_TRY(clq_op_need_value(call, i));
    if (clq_op_count(&call->in[i]) != 1) return clq_op_fail(call, CLQ_ERR_FORMAT, "input %d is not one number", i);
    *out = clq_op_scalar(&call->in[i]);
    return CLQ_OK;
}

static clq_status read_suppression(struct clq_op_call *call, struct suppression *s)
{
    double most = 0, overlap = 0, least = 0;
    for (int i = 0; i < 2; i++) {
        CLQ_TRY(clq_op_need_type(call, i, CLQ_DTYPE_F32));
        CLQ_TRY(clq_op_need_rank(call, i, 3));
        CLQ_TRY(clq_op_need_value(call, i));
    }
    const clq_tensor *b = &call->in[0], *c = &call->in[1];
    if (b->shape[2] != 4 || b->shape[0] != c->shape[0] || b->shape[1] != c->shape[2])
        return clq_op_fail(call, CLQ_ERR_FORMAT, "boxes and scores do not have shapes [batch, n, 4] and [batch, classes, n]");
    CLQ_TRY(scalar(call, 2, &most));
    CLQ_TRY(scalar(call, 3, &overlap));
    CLQ_TRY(scalar(call, 4, &least));
    *s = (struct suppression){.batches = b->shape[0], .classes = c->shape[1], .boxes = b->shape[1], .overlap = (float)overlap, .least = (float)least,
                              .has_least = clq_op_has(call, 4), .center = clq_node_int(call->node, "center_point_box", 0) != 0};
    s->most = most > 0 ? (most < (double)s->boxes ? (int64_t)most : s->boxes) : 0;
    return CLQ_OK;
}

static struct box read_box(const float *p, bool center, float score, int64_t index)
{
    struct box b = {fminf(p[0], p[2]), fminf(p[1], p[3]), fmaxf(p[0], p[2]), fmaxf(p[1], p[3]), score, index};
    if (center) b = (struct box){p[1] - p[3] / 2, p[0] - p[2] / 2, p[1] + p[3] / 2, p[0] + p[2] / 2, score, index};
    return b;
}

static int by_score(const void *x, const void *y)
{
    const struct box *a = x, *b = y;
    if (a->score != b->score) return a->score < b->score ? 1 : -1;
    return (a->index > b->index) - (a->index < b->index);
}

static bool overlaps(const struct box *a, const struct box *b, float most)
{
    float h = fminf(a->y2, b->y2) - fmaxf(a->y1, b->y1), w = fminf(a->x2, b->x2) - fmaxf(a->x1, b->x1);
    if (!(h > 0 && w > 0)) return false;
    float common = h * w, both = (a->y2 - a->y1) * (a->x2 - a->x1) + (b->y2 - b->y1) * (b->x2 - b->x1) - common;
    return both > 0 && common / both > most;
}

/* The boxes that stay, of one batch and class: sorted to the front of list. */
static int64_t keep(const struct suppression *s, const float *boxes, const float *scores, struct box *list)
{
    int64_t n = 0, kept = 0;
    for (int64_t i = 0; i < s->boxes; i++)
        if (scores[i] == scores[i] && (!s->has_least || scores[i] > s->least)) list[n++] = read_box(boxes + 4 * i, s->center, scores[i], i);
    qsort(list, (size_t)n, sizeof *list, by_score);
    for (int64_t i = 0; i < n && kept < s->most; i++) {
        bool free_of = true;
        for (int64_t k = 0; k < kept && free_of; k++) free_of = !overlaps(&list[k], &list[i], s->overlap);
        if (free_of) list[kept++] = list[i];
    }
    return kept;
}

/* Counts the rows, and writes at most room of them to y. */
static clq_status suppress(struct clq_op_call *call, int64_t *y, int64_t room, int64_t *rows)
{
    struct suppression s = {0};
    *rows = 0;
    CLQ_TRY(read_suppression(call, &s));
    struct box *list = malloc(((size_t)s.boxes + 1) * sizeof *list);
    if (!list) return clq_op_no_memory(call);
    for (int64_t u = 0; u < s.batches * s.classes && s.most > 0; u++) {
        int64_t b = u / s.classes;
        int64_t kept = keep(&s, (const float *)call->in[0].data + b * s.boxes * 4, (const float *)call->in[1].data + u * s.boxes, list);
        for (int64_t k = 0; k < kept; k++, ++*rows) {
            if (*rows >= room) continue;
            y[*rows * 3] = b;
            y[*rows * 3 + 1] = u % s.classes;
            y[*rows * 3 + 2] = list[k].index;
        }
    }
    free(list);
    return CLQ_OK;
}

clq_status clq_infer_non_max_suppression(struct clq_op_call *call)
{
    int64_t rows;
    CLQ_TRY(suppress(call, NULL, 0, &rows));
    return clq_op_set_out(call, 0, CLQ_DTYPE_S64, 2, (const int64_t[]){rows, 3});
}

clq_status clq_eval_non_max_suppression(struct clq_op_call *call)
{
    int64_t rows;
    return suppress(call, call->out[0].data, call->out[0].shape[0], &rows);
}

/* ---- RoiAlign ---- */
enum { MOST_SAMPLES = 4096 }; /* per axis of one cell: no image is that much larger than its result */

struct align {
    int64_t channels, h, w, oh, ow, ratio;
    float scale, offset;
    bool max;
};

static clq_status read_align(struct clq_op_call *call, struct align *a)
{
    const char *mode = clq_node_string(call->node, "mode", "avg");
    const char *pixels = clq_node_string(call->node, "coordinate_transformation_mode", call->opset < 16 ? "output_half_pixel" : "half_pixel");
    CLQ_TRY(clq_op_need_type(call, 0, CLQ_DTYPE_F32));
    CLQ_TRY(clq_op_need_same_type(call, 1));
    CLQ_TRY(clq_op_need_type(call, 2, CLQ_DTYPE_S64));
    CLQ_TRY(clq_op_need_rank(call, 0, 4));
    CLQ_TRY(clq_op_need_rank(call, 1, 2));
    CLQ_TRY(clq_op_need_rank(call, 2, 1));
    const clq_tensor *x = &call->in[0];
    *a = (struct align){.channels = x->shape[1], .h = x->shape[2], .w = x->shape[3], .oh = clq_node_int(call->node, "output_height", 1),
                        .ow = clq_node_int(call->node, "output_width", 1), .ratio = clq_node_int(call->node, "sampling_ratio", 0),
                        .scale = clq_node_float(call->node, "spatial_scale", 1), .offset = strcmp(pixels, "half_pixel") == 0 ? 0.5f : 0.0f,
                        .max = strcmp(mode, "max") == 0};
    if (call->in[1].shape[1] != 4 || call->in[1].shape[0] != call->in[2].shape[0])
        return clq_op_fail(call, CLQ_ERR_FORMAT, "regions and batch indices do not have shapes [n, 4] and [n]");
    if (a->oh < 1 || a->ow < 1 || a->ratio < 0 || a->ratio > MOST_SAMPLES)
        return clq_op_fail(call, CLQ_ERR_FORMAT, "output %lld x %lld, sampling_ratio %lld", (long long)a->oh, (long long)a->ow, (long long)a->ratio);
    return CLQ_OK;
}

clq_status clq_infer_roi_align(struct clq_op_call *call)
{
    struct align a;
    CLQ_TRY(read_align(call, &a));
    return clq_op_set_out(call, 0, CLQ_DTYPE_F32, 4, (const int64_t[]){call->in[1].shape[0], a.channels, a.oh, a.ow});
}

/* The value of one sample: the sum of its four weighted neighbors, or the largest of them. */
static float sample(const struct align *a, const float *x, float y, float px)
{
    if (!(y >= -1.0f && y <= (float)a->h && px >= -1.0f && px <= (float)a->w) || a->h == 0 || a->w == 0) return 0.0f;
    y = fmaxf(y, 0.0f);
    px = fmaxf(px, 0.0f);
    int64_t y0 = (int64_t)y, x0 = (int64_t)px;
    if (y0 >= a->h - 1) y = (float)(y0 = a->h - 1);
    if (x0 >= a->w - 1) px = (float)(x0 = a->w - 1);
    int64_t y1 = y0 + 1 < a->h ? y0 + 1 : y0, x1 = x0 + 1 < a->w ? x0 + 1 : x0;
    float dy = y - (float)y0, dx = px - (float)x0;
    float v[4] = {(1 - dy) * (1 - dx) * x[y0 * a->w + x0], (1 - dy) * dx * x[y0 * a->w + x1], dy * (1 - dx) * x[y1 * a->w + x0], dy * dx * x[y1 * a->w + x1]};
    return a->max ? fmaxf(fmaxf(v[0], v[1]), fmaxf(v[2], v[3])) : v[0] + v[1] + v[2] + v[3];
}

struct region {
    float y, x, bin_h, bin_w;
    int64_t grid_h, grid_w;
};

static clq_status read_region(struct clq_op_call *call, const struct align *a, const float *roi, struct region *r)
{
    float x0 = roi[0] * a->scale - a->offset, y0 = roi[1] * a->scale - a->offset, x1 = roi[2] * a->scale - a->offset, y1 = roi[3] * a->scale - a->offset;
    float w = x1 - x0, h = y1 - y0;
    if (a->offset == 0.0f) {
        w = fmaxf(w, 1.0f);
        h = fmaxf(h, 1.0f);
    }
    *r = (struct region){.y = y0, .x = x0, .bin_h = h / (float)a->oh, .bin_w = w / (float)a->ow};
    float gh = a->ratio ? (float)a->ratio : ceilf(r->bin_h), gw = a->ratio ? (float)a->ratio : ceilf(r->bin_w);
    if (!(gh <= MOST_SAMPLES && gw <= MOST_SAMPLES)) return clq_op_fail(call, CLQ_ERR_UNSUPPORTED, "a region needs more than %d samples per cell and axis", MOST_SAMPLES);
    r->grid_h = gh > 0 ? (int64_t)gh : 0;
    r->grid_w = gw > 0 ? (int64_t)gw : 0;
    return CLQ_OK;
}

static float cell(const struct align *a, const struct region *r, const float *x, int64_t ph, int64_t pw)
{
    double sum = 0;
    float best = 0;
    for (int64_t iy = 0; iy < r->grid_h; iy++)
        for (int64_t ix = 0; ix < r->grid_w; ix++) {
            float y = r->y + (float)ph * r->bin_h + ((float)iy + 0.5f) * r->bin_h / (float)r->grid_h;
            float px = r->x + (float)pw * r->bin_w + ((float)ix + 0.5f) * r->bin_w / (float)r->grid_w;
            float v = sample(a, x, y, px);
            sum += (double)v;
            best = (iy == 0 && ix == 0) || v > best ? v : best;
        }
    int64_t n = r->grid_h * r->grid_w;
    return a->max ? best : (float)(sum / (double)(n > 1 ? n : 1));
}

clq_status clq_eval_roi_align(struct clq_op_call *call)
{
    struct align a;
    CLQ_TRY(read_align(call, &a));
    float *out = call->out[0].data;
    for (int64_t n = 0; n < call->in[1].shape[0]; n++) {
        int64_t b = ((const int64_t *)call->in[2].data)[n];
        struct region r;
        if (b < 0 || b >= call->in[0].shape[0])
            return clq_op_fail(call, CLQ_ERR_FORMAT, "batch index %lld is out of range for %lld images", (long long)b, (long long)call->in[0].shape[0]);
        CLQ_TRY(read_region(call, &a, (const float *)call->in[1].data + 4 * n, &r));
        for (int64_t c = 0; c < a.channels; c++) {
            const float *x = (const float *)call->in[0].data + (b * a.channels + c) * a.h * a.w;
            for (int64_t i = 0; i < a.oh * a.ow; i++) *out++ = cell(&a, &r, x, i / a.ow, i % a.ow);
        }
    }
    return CLQ_OK;
}
