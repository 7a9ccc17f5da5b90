/* SPDX-License-Identifier: Apache-2.0
 * The oneDNN steps that are no convolutions: matrix products, pooling, softmax and layer normalization. */
#include "tests/dnnl_check.h"

/* ---- matrix product */

static int64_t offset(int rank, const int64_t *index, const int64_t *batch, int64_t inner)
{
    int64_t at = 0;
    for (int i = 0; i < rank; i++) at = at * batch[i] + (batch[i] == 1 ? 0 : index[i]);
    return at * inner;
}

static void reference_matmul(struct value *y, const struct clq_dnnl_matmul *d, const float *a, const float *b)
{
    int64_t index[4] = {0}, at = 0;
    for (bool more = true; more; at += d->m * d->n) {
        const float *pa = a + offset(d->batch_rank, index, d->batch_a, d->m * d->k);
        const float *pb = b + offset(d->batch_rank, index, d->batch_b, d->k * d->n);
        for (int64_t i = 0; i < d->m; i++)
            for (int64_t j = 0; j < d->n; j++)
                for (int64_t k = 0; k < d->k; k++)
                    add_term(&y[at + i * d->n + j],
                             (double)d->alpha * pa[d->transpose_a ? k * d->m + i : i * d->k + k] *
                             pb[d->transpose_b ? j * d->k + k : k * d->n + j]);
        more = false;
        for (int i = d->batch_rank - 1; i >= 0 && !more; i--) {
            int64_t size = d->batch_a[i] > d->batch_b[i] ? d->batch_a[i] : d->batch_b[i];
            more = ++index[i] < size;
            if (!more) index[i] = 0;
        }
    }
}

static void check_matmul(struct clq_dnnl_matmul d, bool constant, bool bias, bool in_y)
{
    struct clq_error err = {""};
    struct clq_dnnl_step *step = NULL;
    int64_t na = d.m * d.k, nb = d.k * d.n, ny = d.m * d.n;
    for (int i = 0; i < d.batch_rank; i++) {
        na *= d.batch_a[i];
        nb *= d.batch_b[i];
        ny *= d.batch_a[i] > d.batch_b[i] ? d.batch_a[i] : d.batch_b[i];
    }
    float *a = random_array(na), *b = random_array(nb), *c = random_array(d.n), *r = random_array(ny), *y = array(ny);
    struct value *want = calloc((size_t)ny, sizeof *want);
    d.weight = constant ? b : NULL;
    d.bias = bias ? c : NULL;
    reference_matmul(want, &d, a, b);
    for (int64_t i = 0; i < ny; i++) {
        add_term(&want[i], bias ? c[i % d.n] : 0);
        add_term(&want[i], d.residual ? r[i] : 0);
        want[i].terms += d.alpha != 1;
        if (in_y) y[i] = r[i];
    }
    if (clq_dnnl_matmul(&step, dnnl, &d, &err) != CLQ_OK) fail_msg("%s", err.text);
    for (int64_t i = 0; i < nb && constant; i++) b[i] = NAN;
    const float *residual = !d.residual ? NULL : in_y ? y : r;
    assert_int_equal(clq_dnnl_run(dnnl, step, a, constant ? NULL : b, residual, y, &err), CLQ_OK);
    assert_null(strstr(clq_dnnl_step_name(step), "ref"));
    for (int64_t i = 0; i < ny; i++)
        check_value("matmul", clq_dnnl_step_name(step), i, y[i], want[i], d.act, d.a, d.b);
    clq_dnnl_step_free(step);
    free(want);
    release(a, na);
    release(b, nb);
    release(c, d.n);
    release(r, ny);
    release(y, ny);
}

static void test_matmul(void **state)
{
    static const int sizes[][3] = {{1, 1, 1},     {1, 33, 17},  {5, 1, 9},    {7, 13, 1},    {37, 13, 7},
                                   {1, 100, 128}, {16, 64, 64}, {31, 24, 65}, {64, 48, 300}, {3, 257, 96}};
    static const struct {
        int rank;
        int64_t a[4], b[4];
    } batches[] = {{0, {0}, {0}},
                   {1, {3}, {3}},
                   {1, {1}, {3}},
                   {2, {2, 3}, {2, 3}},
                   {2, {2, 1}, {1, 3}},
                   {2, {1, 3}, {2, 3}},
                   {3, {2, 2, 1}, {2, 2, 3}},
                   {4, {2, 3, 1, 1}, {1, 1, 2, 2}},
                   {2, {2, 3}, {1, 1}},
                   {4, {1, 1, 1, 1}, {1, 1, 1, 1}}};
    (void)state;
    unsigned turn = 0;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t k = 0; k < sizeof batches / sizeof *batches; k++)
            for (int t = 0; t < 4; t++) {
                struct clq_dnnl_matmul d = {.batch_rank = batches[k].rank, .m = sizes[s][0], .n = sizes[s][1],
                                            .k = sizes[s][2], .transpose_a = t & 1, .transpose_b = t & 2,
                                            .alpha = turn % 3 == 1 ? 0.37f : 1.0f};
                memcpy(d.batch_a, batches[k].a, sizeof d.batch_a);
                memcpy(d.batch_b, batches[k].b, sizeof d.batch_b);
                size_t act = turn++ % (sizeof acts / sizeof *acts);
                d.act = acts[act].act;
                d.a = acts[act].a;
                d.b = acts[act].b;
                check_matmul(d, false, turn % 2, false);
                d.residual = true;
                check_matmul(d, false, turn % 5 < 2, turn % 2);
                for (int i = 0; i < 4; i++) d.batch_b[i] = 1;
                check_matmul(d, true, turn % 2, turn % 4 < 2);
                d.residual = false;
                check_matmul(d, true, turn % 5 < 2, false);
            }
}

static void test_matmul_refused(void **state)
{
    struct clq_error err = {""};
    struct clq_dnnl_step *step = NULL;
    float w[4] = {0};
    struct clq_dnnl_matmul good = {.batch_rank = 1, .batch_a = {2}, .batch_b = {2}, .m = 2, .n = 2, .k = 2, .alpha = 1};
    struct clq_dnnl_matmul d[5] = {good, good, good, good, good};
    (void)state;
    d[0].batch_b[0] = 3;
    d[1].k = 0;
    d[2].batch_rank = 5;
    d[3].weight = w;
    d[4].m = d[4].n = d[4].k = INT32_MAX;
    for (size_t i = 0; i < 5; i++) {
        clq_status st = clq_dnnl_matmul(&step, dnnl, &d[i], &err);
        if (st != CLQ_ERR_INVALID_ARGUMENT && st != CLQ_ERR_UNSUPPORTED) fail_msg("case %zu: status %d", i, (int)st);
        assert_null(step);
    }
}

/* ---- pooling, softmax, layer norm */

static void check_pool(struct clq_dnnl_pool d)
{
    struct clq_error err = {""};
    struct clq_dnnl_step *step = NULL;
    int64_t nx = d.batch * d.h * d.w * d.c, ny = d.batch * d.oh * d.ow * d.c;
    float *x = random_array(nx), *y = array(ny);
    for (int64_t i = 0; i < nx && d.kind == CLQ_POOL_MAX; i++) x[i] -= 2; /* padding must not win */
    if (clq_dnnl_pool(&step, dnnl, &d, &err) != CLQ_OK) fail_msg("%s", err.text);
    assert_int_equal(clq_dnnl_run(dnnl, step, x, NULL, NULL, y, &err), CLQ_OK);
    for (int64_t at = 0; at < ny; at++) {
        int64_t c = at % d.c, ox = at / d.c % d.ow, oy = at / d.c / d.ow % d.oh, n = at / d.c / d.ow / d.oh;
        struct value v = {0};
        double max = -INFINITY, count = 0;
        for (int64_t ky = 0; ky < d.kh; ky++)
            for (int64_t kx = 0; kx < d.kw; kx++) {
                int64_t iy = oy * d.stride_h - d.pad_top + ky * d.dilation_h;
                int64_t ix = ox * d.stride_w - d.pad_left + kx * d.dilation_w;
                if (iy < 0 || ix < 0 || iy >= d.h || ix >= d.w) continue;
                float p = x[((n * d.h + iy) * d.w + ix) * d.c + c];
                max = fmax(max, p);
                count += 1;
                add_term(&v, p);
            }
        double area = d.kind == CLQ_POOL_AVG_INCLUDE_PAD ? (double)(d.kh * d.kw) : count;
        double want = d.kind == CLQ_POOL_MAX ? max : v.sum / area;
        double bound = d.kind == CLQ_POOL_MAX ? 0 : (v.terms + 2) * 0x1p-24 * v.magnitude / area;
        if (!(fabs(y[at] - want) <= bound))
            fail_msg("pool kind %d (%s) element %lld: %.9g, expected %.17g", (int)d.kind, clq_dnnl_step_name(step),
                     (long long)at, (double)y[at], want);
    }
    clq_dnnl_step_free(step);
    release(x, nx);
    release(y, ny);
}

static void test_pool(void **state)
{
    /* {h, w, c, k, stride, dilation, pad_begin, pad_end, ceil} */
    static const int cases[][9] = {{14, 14, 64, 2, 2, 1, 0, 0, 0}, {15, 13, 17, 3, 2, 1, 1, 1, 0},
                                   {7, 7, 1280, 7, 1, 1, 0, 0, 0}, {9, 9, 3, 3, 1, 1, 1, 1, 0},
                                   {8, 8, 16, 3, 2, 1, 0, 0, 1},   {12, 10, 24, 3, 1, 2, 2, 2, 0},
                                   {1, 1, 5, 1, 1, 1, 0, 0, 0},    {10, 11, 8, 3, 2, 1, 0, 1, 0}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int kind = 0; kind < 3; kind++) {
            const int *c = cases[i];
            int64_t e = (c[3] - 1) * c[5] + 1, up = c[8] ? c[4] - 1 : 0;
            struct clq_dnnl_pool d = {.kind = (enum clq_pool_kind)kind, .batch = 2, .h = c[0], .w = c[1], .c = c[2],
                                      .oh = (c[0] + c[6] + c[7] - e + up) / c[4] + 1,
                                      .ow = (c[1] + c[6] + c[7] - e + up) / c[4] + 1, .kh = c[3], .kw = c[3],
                                      .stride_h = c[4], .stride_w = c[4], .dilation_h = c[5], .dilation_w = c[5],
                                      .pad_top = c[6], .pad_left = c[6], .pad_bottom = c[7], .pad_right = c[7]};
            if (c[8] && kind == CLQ_POOL_AVG_INCLUDE_PAD) {
                struct clq_dnnl_step *step = NULL;
                assert_int_equal(clq_dnnl_pool(&step, dnnl, &d, NULL), CLQ_ERR_UNSUPPORTED);
            } else {
                check_pool(d);
            }
        }
}

static void check_softmax(int64_t outer, int64_t n, int64_t inner, bool logarithm, float scale, float low)
{
    struct clq_error err = {""};
    struct clq_dnnl_step *step = NULL;
    int64_t total = outer * n * inner;
    float *x = random_array(total), *y = array(total);
    for (int64_t i = 0; i < total; i++) x[i] = low < 0 && i % 3 != 0 ? low : x[i] * scale;
    if (clq_dnnl_softmax(&step, dnnl, outer, n, inner, logarithm, &err) != CLQ_OK) fail_msg("%s", err.text);
    assert_int_equal(clq_dnnl_run(dnnl, step, x, NULL, NULL, y, &err), CLQ_OK);
    for (int64_t at = 0; at < total; at++) {
        int64_t i = at % inner, o = at / inner / n;
        double max = -INFINITY, sum = 0;
        for (int64_t k = 0; k < n; k++) max = fmax(max, x[(o * n + k) * inner + i]);
        for (int64_t k = 0; k < n; k++) sum += exp(x[(o * n + k) * inner + i] - max);
        double want = logarithm ? x[at] - max - log(sum) : exp(x[at] - max) / sum;
        /* The sum of n terms, oneDNN's exponential (2^-22) and one rounding of x - max, which the exponential turns
         * into a relative error of |x - max| u. */
        double distance = fabs((double)x[at] - max), relative = ((double)n + 8 + distance) * 0x1p-24;
        double bound = logarithm ? ((double)n + 8) * 0x1p-24 + 0x1p-22 * fabs(want) : relative * want + 0x1p-126;
        if (!(fabs(y[at] - want) <= bound))
            fail_msg("softmax (%s) %lldx%lldx%lld element %lld: %.9g, expected %.17g, bound %g",
                     clq_dnnl_step_name(step), (long long)outer, (long long)n, (long long)inner, (long long)at,
                     (double)y[at], want, bound);
    }
    clq_dnnl_step_free(step);
    release(x, total);
    release(y, total);
}

static void test_softmax(void **state)
{
    static const int64_t cases[][3] = {{1, 1, 1},  {3, 7, 1},  {5, 128, 1}, {2, 1000, 1},
                                       {2, 13, 5}, {1, 6, 64}, {4, 33, 17}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int logarithm = 0; logarithm < 2; logarithm++) {
            check_softmax(cases[i][0], cases[i][1], cases[i][2], logarithm, 4, 0);
            check_softmax(cases[i][0], cases[i][1], cases[i][2], logarithm, 60, 0);
        }
    check_softmax(4, 96, 1, false, 4, -FLT_MAX); /* an attention mask: whole rows and parts of rows */
    check_softmax(4, 96, 7, false, 4, -FLT_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_matmul), cmocka_unit_test(test_matmul_refused), cmocka_unit_test(test_pool),
                                       cmocka_unit_test(test_softmax)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
