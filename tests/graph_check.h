/* SPDX-License-Identifier: Apache-2.0
 * A small graph simplified, fused and laid out anew must give what its operators give one by one. The bound is gamma_K of
 * numerics.md 11: with K <= 600 products of magnitude around 1, 600 * 2^-24 * sum|a||b| stays below 4e-5 of the largest
 * value, and the deepest graph has three such layers. */
#ifndef CLQ_TESTS_GRAPH_CHECK_H
#define CLQ_TESTS_GRAPH_CHECK_H

#include "graph_build.h"

static const float graph_bound = 1.2e-4f;

static inline void compare(const char *what, const struct feed *a, const struct feed *b)
{
    for (int i = 0; i < a->n_out; i++) {
        const clq_tensor *x = &a->out[i], *y = &b->out[i];
        size_t n, bytes;
        assert_int_equal(x->dtype, y->dtype);
        assert_int_equal(x->rank, y->rank);
        assert_memory_equal(x->shape, y->shape, (size_t)x->rank * sizeof *x->shape);
        assert_int_equal(clq_tensor_elements(&n, x), CLQ_OK);
        assert_int_equal(clq_tensor_bytes(&bytes, x), CLQ_OK);
        if (x->dtype != CLQ_DTYPE_F32) {
            assert_memory_equal(x->data, y->data, bytes);
            continue;
        }
        float most = 1;
        for (size_t k = 0; k < n; k++) most = fmaxf(most, fabsf(((float *)x->data)[k]));
        for (size_t k = 0; k < n; k++) {
            float want = ((float *)x->data)[k], got = ((float *)y->data)[k];
            if (!(fabsf(got - want) <= graph_bound * most)) fail_msg("%s: output %d, element %zu of %zu is %.9g, expected %.9g", what, i, k, n, (double)got, (double)want);
        }
    }
}

/* The oracle runs the model as built; the lowered one is simplified first. */
static inline void check(const char *what, struct net *g, int64_t dim, struct kinds *kinds)
{
    static const struct clq_program_options slow = {.no_fusion = true, .no_integer = true}, observable = {.observable = true}, keep = {.retain = true};
    struct clq_model simple;
    struct feed a, b;
    net_sort(g);
    feed_start(&a, g, dim, -1, 1);
    net_simplified(&simple, g);
    for (int threads = 1; threads <= 3; threads++) {
        struct clq_context *ctx = net_context(threads, NULL);
        net_run(&a, ctx, &g->m, &slow, NULL);
        b = a;
        net_run(&b, ctx, &simple, NULL, kinds);
        compare(what, &a, &b);
        feed_drop(&b, false);
        net_run(&b, ctx, &simple, &observable, NULL);
        compare(what, &a, &b);
        feed_drop(&b, false);
        net_run(&b, ctx, &simple, &keep, NULL);
        compare(what, &a, &b);
        feed_drop(&b, false);
        feed_drop(&a, threads == 3);
        clq_context_free(ctx);
    }
    clq_model_release(&simple);
}

#endif
