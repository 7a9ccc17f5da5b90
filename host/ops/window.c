/* SPDX-License-Identifier: Apache-2.0
 * Geometry of convolution and pooling windows, from attributes that may hold anything. */
#include "ops/window.h"

#include <string.h>

#include "ops/op.h"

/* Sizes above this are refused, so that sums and products of two of them fit int64. */
static const int64_t max_size = (int64_t)1 << 31;

static const char *name_of(const struct clq_node *node)
{
    return node->name ? node->name : "";
}

/* Reads a list of n integers within lo..2^31 into v, or keeps what is there when the attribute is absent. */
static clq_status read_list(const struct clq_node *node, const char *attr, int64_t *v, int n, int64_t lo, bool *given,
                            struct clq_error *err)
{
    const struct clq_attr *a = clq_node_attr(node, attr);
    if (given) *given = a != NULL;
    if (!a) return CLQ_OK;
    if (a->type != CLQ_ATTR_INTS || a->n != (size_t)n)
        return clq_fail(err, CLQ_ERR_FORMAT, "node '%s' (%s): attribute '%s' has %zu values, expected %d integers",
                        name_of(node), node->op_type, attr, a->n, n);
    for (int i = 0; i < n; i++) {
        if (a->ints[i] < lo || a->ints[i] > max_size)
            return clq_fail(err, CLQ_ERR_FORMAT, "node '%s' (%s): attribute '%s' holds %lld, expected %lld to 2^31",
                            name_of(node), node->op_type, attr, (long long)a->ints[i], (long long)lo);
        v[i] = a->ints[i];
    }
    return CLQ_OK;
}

static clq_status check_weight(struct clq_window *w, const struct clq_node *node, const clq_tensor *x,
                               const clq_tensor *weight, bool transposed, bool kernel_given, struct clq_error *err)
{
    if (weight->rank != x->rank)
        return clq_fail(err, CLQ_ERR_FORMAT, "node '%s' (%s): weights have rank %d, expected %d", name_of(node),
                        node->op_type, weight->rank, x->rank);
    for (int i = 0; i < w->nd; i++) {
        if (kernel_given && w->kernel[i] != weight->shape[i + 2])
            return clq_fail(err, CLQ_ERR_FORMAT, "node '%s' (%s): kernel_shape[%d] is %lld, the weights have %lld",
                            name_of(node), node->op_type, i, (long long)w->kernel[i], (long long)weight->shape[i + 2]);
        w->kernel[i] = weight->shape[i + 2];
        if (w->kernel[i] < 1 || w->kernel[i] > max_size)
            return clq_fail(err, CLQ_ERR_FORMAT, "node '%s' (%s): kernel size %lld", name_of(node), node->op_type,
                            (long long)w->kernel[i]);
    }
    int64_t from = transposed ? weight->shape[0] : weight->shape[1], rest = weight->shape[0];
    bool channels = transposed ? x->shape[1] == from : x->shape[1] % w->groups == 0 && x->shape[1] / w->groups == from;
    if (!channels || rest % w->groups != 0)
        return clq_fail(err, CLQ_ERR_FORMAT,
                        "node '%s' (%s): %lld input channels and %lld groups do not fit weights [%lld,%lld,..]",
                        name_of(node), node->op_type, (long long)x->shape[1], (long long)w->groups,
                        (long long)weight->shape[0], (long long)weight->shape[1]);
    return CLQ_OK;
}

enum auto_pad { PAD_GIVEN, PAD_VALID, PAD_UPPER, PAD_LOWER };

static clq_status read_auto_pad(enum auto_pad *out, const struct clq_node *node, struct clq_error *err)
{
    const char *text = clq_node_string(node, "auto_pad", "NOTSET");
    if (strcmp(text, "NOTSET") == 0 || *text == 0)
        *out = PAD_GIVEN;
    else if (strcmp(text, "VALID") == 0)
        *out = PAD_VALID;
    else if (strcmp(text, "SAME_UPPER") == 0)
        *out = PAD_UPPER;
    else if (strcmp(text, "SAME_LOWER") == 0)
        *out = PAD_LOWER;
    else
        return clq_fail(err, CLQ_ERR_FORMAT, "node '%s' (%s): auto_pad '%s'", name_of(node), node->op_type, text);
    return CLQ_OK;
}

static void share_padding(struct clq_window *w, int i, int64_t total, bool more_at_end)
{
    if (total < 0) total = 0;
    int64_t half = total / 2;
    w->pad_begin[i] = more_at_end ? half : total - half;
    w->pad_end[i] = total - w->pad_begin[i];
}

static clq_status forward_size(struct clq_window *w, const struct clq_node *node, int i, enum auto_pad mode,
                               bool ceil_mode, int64_t extent, struct clq_error *err)
{
    int64_t in = w->in[i], s = w->stride[i];
    if (mode == PAD_VALID) w->pad_begin[i] = w->pad_end[i] = 0;
    if (mode == PAD_UPPER || mode == PAD_LOWER) {
        w->out[i] = (in + s - 1) / s;
        share_padding(w, i, (w->out[i] - 1) * s + extent - in, mode == PAD_UPPER);
        return CLQ_OK;
    }
    int64_t span = in + w->pad_begin[i] + w->pad_end[i] - extent;
    if (span < 0)
        return clq_fail(err, CLQ_ERR_FORMAT,
                        "node '%s' (%s): a kernel of extent %lld is larger than the padded input of %lld",
                        name_of(node), node->op_type, (long long)extent, (long long)(span + extent));
    w->out[i] = (span + (ceil_mode ? s - 1 : 0)) / s + 1;
    /* a window that would start in the padding after the image is dropped */
    if (ceil_mode && w->out[i] > 1 && (w->out[i] - 1) * s >= in + w->pad_begin[i]) w->out[i]--;
    return CLQ_OK;
}

static clq_status backward_size(struct clq_window *w, const struct clq_node *node, int i, enum auto_pad mode,
                                const int64_t *want, int64_t extra, int64_t extent, struct clq_error *err)
{
    int64_t full = w->stride[i] * (w->in[i] - 1) + extra + extent;
    if (mode == PAD_VALID) w->pad_begin[i] = w->pad_end[i] = 0;
    bool same = mode == PAD_UPPER || mode == PAD_LOWER;
    if (want || same) {
        w->out[i] = want ? want[i] : w->in[i] * w->stride[i];
        share_padding(w, i, full - w->out[i], mode == PAD_UPPER);
    } else {
        w->out[i] = full - w->pad_begin[i] - w->pad_end[i];
    }
    if (w->out[i] < 1 || w->out[i] > max_size)
        return clq_fail(err, CLQ_ERR_FORMAT, "node '%s' (%s): output size %lld on spatial axis %d", name_of(node),
                        node->op_type, (long long)w->out[i], i);
    return CLQ_OK;
}

static clq_status read_attributes(struct clq_window *w, const struct clq_node *node, const clq_tensor *x,
                                  const clq_tensor *weight, bool transposed, struct clq_error *err)
{
    bool kernel_given;
    int64_t pads[6] = {0};
    CLQ_TRY(read_list(node, "kernel_shape", w->kernel, w->nd, 1, &kernel_given, err));
    CLQ_TRY(read_list(node, "strides", w->stride, w->nd, 1, NULL, err));
    CLQ_TRY(read_list(node, "dilations", w->dilation, w->nd, 1, NULL, err));
    CLQ_TRY(read_list(node, "pads", pads, 2 * w->nd, 0, NULL, err));
    memcpy(w->pad_begin, pads, (size_t)w->nd * sizeof *pads);
    memcpy(w->pad_end, pads + w->nd, (size_t)w->nd * sizeof *pads);
    w->groups = clq_node_int(node, "group", 1);
    if (w->groups < 1 || w->groups > max_size)
        return clq_fail(err, CLQ_ERR_FORMAT, "node '%s' (%s): group is %lld", name_of(node), node->op_type,
                        (long long)w->groups);
    if (weight) return check_weight(w, node, x, weight, transposed, kernel_given, err);
    if (!kernel_given)
        return clq_fail(err, CLQ_ERR_FORMAT, "node '%s' (%s): kernel_shape is missing", name_of(node), node->op_type);
    return CLQ_OK;
}

clq_status clq_window_read(struct clq_window *out, const struct clq_node *node, const clq_tensor *x,
                           const clq_tensor *w, bool transposed, struct clq_error *err)
{
    if (x->rank < 3 || x->rank > 5)
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "node '%s' (%s): input of rank %d, expected 3 to 5", name_of(node),
                        node->op_type, x->rank);
    struct clq_window r = {.nd = x->rank - 2};
    for (int i = 0; i < 3; i++) r.in[i] = r.out[i] = r.kernel[i] = r.stride[i] = r.dilation[i] = 1;
    for (int i = 0; i < r.nd; i++) {
        r.in[i] = x->shape[i + 2];
        if (r.in[i] < 1 || r.in[i] > max_size)
            return clq_fail(err, CLQ_ERR_FORMAT, "node '%s' (%s): input size %lld on spatial axis %d", name_of(node),
                            node->op_type, (long long)r.in[i], i);
    }
    CLQ_TRY(read_attributes(&r, node, x, w, transposed, err));
    enum auto_pad mode = PAD_GIVEN;
    CLQ_TRY(read_auto_pad(&mode, node, err));
    bool ceil_mode = clq_node_int(node, "ceil_mode", 0) != 0, sized = false;
    int64_t extra[3] = {0}, want[5] = {0};
    if (transposed) {
        CLQ_TRY(read_list(node, "output_padding", extra, r.nd, 0, NULL, err));
        const struct clq_attr *a = clq_node_attr(node, "output_shape");
        int lead = a && a->n == (size_t)x->rank ? 2 : 0; /* some writers give batch and channels too */
        CLQ_TRY(read_list(node, "output_shape", want, r.nd + lead, 1, &sized, err));
        memmove(want, want + lead, 3 * sizeof *want);
    }
    for (int i = 0; i < r.nd; i++) {
        int64_t extent = (r.kernel[i] - 1) * r.dilation[i]; /* at most 2^62 */
        if (extent >= max_size)
            return clq_fail(err, CLQ_ERR_UNSUPPORTED, "node '%s' (%s): kernel extent %lld", name_of(node),
                            node->op_type, (long long)extent);
        extent++;
        CLQ_TRY(transposed ? backward_size(&r, node, i, mode, sized ? want : NULL, extra[i], extent, err)
                           : forward_size(&r, node, i, mode, ceil_mode, extent, err));
    }
    *out = r;
    return CLQ_OK;
}
