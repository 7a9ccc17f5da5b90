/* SPDX-License-Identifier: Apache-2.0
 * Random nodes with hostile attributes and shapes through every row of the registry: infer and eval must return, write
 * inside their outputs and, under a sanitizer, touch nothing else. Also named cases of sizes that overflow.
 *
 *     test_ops_hostile [ROUNDS [SEED]]   rounds per operator, default 300 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "ops_call.h"

static uint64_t rng = 88172645463325252ull;
static int rounds = 300;
static bool friendly; /* this round: small numbers, matching ranks, so that more nodes get through */

static uint64_t next(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng;
}

static int below(int n)
{
    return (int)(next() % (uint64_t)n);
}

static int64_t hostile_int(void)
{
    static const int64_t values[] = {0,
                                     1,
                                     2,
                                     3,
                                     -1,
                                     -2,
                                     -3,
                                     4,
                                     5,
                                     7,
                                     8,
                                     INT64_MAX,
                                     INT64_MIN,
                                     INT32_MAX,
                                     INT32_MIN,
                                     1ll << 31,
                                     (1ll << 31) + 1,
                                     1ll << 32,
                                     1ll << 62,
                                     -(1ll << 40),
                                     255,
                                     65536};
    if (friendly) return below(3);
    return below(4) ? values[below(8)] : values[below(22)];
}

/* What operators read, so that most attributes meet somebody who wants them. */
static const char *const int_names[] = {"axis",
                                        "keepdims",
                                        "group",
                                        "ceil_mode",
                                        "blocksize",
                                        "k",
                                        "to",
                                        "dtype",
                                        "block_size",
                                        "hidden_size",
                                        "size",
                                        "p",
                                        "num_groups",
                                        "num_outputs",
                                        "batch_dims",
                                        "start",
                                        "end",
                                        "exclusive",
                                        "reverse",
                                        "upper",
                                        "layout",
                                        "output_dtype",
                                        "allowzero",
                                        "count_include_pad",
                                        "storage_order",
                                        "select_last_index",
                                        "transA",
                                        "transB",
                                        "largest",
                                        "time_axis",
                                        "batch_axis",
                                        "noop_with_empty_axes",
                                        "antialias",
                                        "exclude_outside",
                                        "fmod",
                                        "ignore_index",
                                        "sorted",
                                        "K",
                                        "N",
                                        "bits",
                                        "onesided",
                                        "inverse",
                                        "periodic",
                                        "output_datatype",
                                        "q_num_heads",
                                        "kv_num_heads",
                                        "output_height",
                                        "output_width",
                                        "sampling_ratio",
                                        "center_point_box",
                                        "align_corners",
                                        "channels_last",
                                        "saturate"};
static const char *const list_names[] = {"axes",   "perm",      "kernel_shape",   "strides",
                                         "pads",   "dilations", "output_padding", "output_shape",
                                         "starts", "ends",      "split"};
static const struct {
    const char *name, *value;
} strings[] = {{"auto_pad", "SAME_UPPER"},
               {"auto_pad", "SAME_LOWER"},
               {"auto_pad", "VALID"},
               {"auto_pad", "x"},
               {"mode", "linear"},
               {"mode", "cubic"},
               {"mode", "nearest"},
               {"mode", "reflect"},
               {"mode", "edge"},
               {"mode", "wrap"},
               {"mode", "CRD"},
               {"reduction", "add"},
               {"reduction", "none"},
               {"reduction", "sum"},
               {"equation", "ij,jk->ik"},
               {"equation", "...i,i...->..."},
               {"equation", "ii->i"},
               {"equation", "abcdefgh"},
               {"equation", ",->"},
               {"equation", "i-"},
               {"direction", "LEFT"},
               {"direction", "reverse"},
               {"direction", "bidirectional"},
               {"coordinate_transformation_mode", "tf_crop_and_resize"},
               {"coordinate_transformation_mode", "align_corners"},
               {"keep_aspect_ratio_policy", "not_smaller"},
               {"keep_aspect_ratio_policy", "not_larger"},
               {"nearest_mode", "ceil"},
               {"mode", "circular"},
               {"mode", "max"},
               {"update_rule", "linear"},
               {"update_rule", "delta"},
               {"activation", "silu"},
               {"round_mode", "nearest"}};

struct memory {
    int64_t lists[OP_MAX][8];
    struct clq_const tensor;
    int64_t value[4];
};

static void random_attr(struct op_test *t, struct memory *m)
{
    int which = below(10), slot = t->node.n_attrs;
    if (which < 4) {
        op_int(t, int_names[below((int)(sizeof int_names / sizeof *int_names))], hostile_int());
    } else if (which < 7) {
        size_t n = friendly ? (size_t)1 << below(3) : (size_t)below(7);
        for (size_t i = 0; i < n; i++) m->lists[slot][i] = hostile_int();
        op_ints(t, list_names[below((int)(sizeof list_names / sizeof *list_names))], n, m->lists[slot]);
    } else if (which < 9) {
        int s = below((int)(sizeof strings / sizeof *strings));
        op_string(t, strings[s].name, strings[s].value);
    } else {
        m->tensor = (struct clq_const){
            .name = "", .dtype = CLQ_DTYPE_S64, .rank = 1, .shape = {1}, .data = m->value, .bytes = 8};
        op_attr(t, "value", CLQ_ATTR_TENSOR)->tensor = &m->tensor;
    }
}

static void *random_data(clq_dtype dtype, size_t bytes)
{
    unsigned char *p = malloc(bytes ? bytes : 1);
    if (!p) return NULL;
    for (size_t i = 0; i < bytes; i++) p[i] = (unsigned char)below(dtype == CLQ_DTYPE_BOOL ? 2 : 256);
    if (dtype == CLQ_DTYPE_S64)
        for (size_t i = 0; i < bytes / 8; i++) ((int64_t *)(void *)p)[i] = hostile_int();
    if (dtype == CLQ_DTYPE_F32 && below(2))
        for (size_t i = 0; i < bytes / 4; i++) ((float *)(void *)p)[i] = (float)below(9) - 3.0f;
    return p;
}

static bool random_input(struct op_test *t, bool like_first)
{
    static const clq_dtype types[] = {CLQ_DTYPE_F32, CLQ_DTYPE_F32, CLQ_DTYPE_F32,    CLQ_DTYPE_S64,  CLQ_DTYPE_S64,
                                      CLQ_DTYPE_S32, CLQ_DTYPE_U8,  CLQ_DTYPE_S8,     CLQ_DTYPE_BOOL, CLQ_DTYPE_F64,
                                      CLQ_DTYPE_U4,  CLQ_DTYPE_F16, CLQ_DTYPE_STRING, CLQ_DTYPE_S16,  CLQ_DTYPE_NONE,
                                      CLQ_DTYPE_BF16, CLQ_DTYPE_S2, CLQ_DTYPE_F8E5M2, CLQ_DTYPE_F4E2M1, CLQ_DTYPE_F8E8M0};
    int64_t shape[CLQ_MAX_RANK];
    int rank = friendly ? (below(3) ? 4 : 3) : below(12) ? below(5) : below(9);
    clq_dtype dtype = types[below((int)(sizeof types / sizeof *types))];
    if (like_first && t->node.n_inputs > 0) dtype = t->in[0].dtype;
    for (int k = 0; k < rank; k++) shape[k] = friendly ? 1 + below(2) : below(10) ? 1 + below(5) : 0;
    if (friendly && t->node.n_inputs >= 2 && below(3)) rank = below(2);
    if (like_first && t->node.n_inputs > 0 && below(2)) {
        rank = t->in[0].rank;
        memcpy(shape, t->in[0].shape, sizeof shape);
    }
    op_input(t, dtype, rank, shape, NULL);
    clq_tensor *x = &t->in[t->node.n_inputs - 1];
    size_t bytes;
    if (dtype == CLQ_DTYPE_NONE || clq_tensor_bytes(&bytes, x) != CLQ_OK) return true;
    x->data = random_data(dtype, bytes);
    return x->data != NULL;
}

static size_t shape_elements(const clq_tensor *t)
{
    size_t n;
    return clq_tensor_elements(&n, t) == CLQ_OK ? n : SIZE_MAX;
}

/* Returns true when the node was evaluated. */
static bool one_round(const struct clq_op *op, struct op_test *t, struct memory *m)
{
    int n_out = op->min_out + (op->max_out > op->min_out ? below(op->max_out - op->min_out + 1) : 0);
    bool like = below(3) != 0, run;
    friendly = below(2) == 0;
    op_start(t, op->op_type, op->since + below(3), n_out > 0 ? n_out : 1);
    t->node.domain = op->domain;
    t->op = op;
    t->call.threads = 1 + below(3);
    int most = op->max_in < 0 ? 4 : op->max_in,
        n_in = op->min_in + (most > op->min_in ? below(most - op->min_in + 1) : 0);
    for (int i = 0; i < n_in; i++) assert_true(random_input(t, like));
    for (int n = below(6); n > 0; n--) random_attr(t, m);
    run = op_infer(t) == CLQ_OK;
    bool refused = !run;
    for (int i = 0; run && i < n_out; i++) run = shape_elements(&t->out[i]) <= 200000;
    for (int i = 0; run && i < n_out; i++) {
        size_t bytes;
        if (t->out[i].dtype == CLQ_DTYPE_NONE) continue;
        assert_int_equal(clq_tensor_bytes(&bytes, &t->out[i]), CLQ_OK);
        t->out[i].data = malloc(bytes ? bytes : 1);
        assert_non_null(t->out[i].data);
    }
    if (run) {
        run = clq_op_eval(op, &t->call) == CLQ_OK;
        refused = !run;
    }
    if (refused) assert_true(t->err.text[0] != 0);
    for (int i = 0; i < t->node.n_inputs; i++) free(t->in[i].data);
    op_end(t);
    return run;
}

static void test_random(void **state)
{
    (void)state;
    const struct clq_op *ops;
    size_t n = clq_op_table(&ops);
    int never = 0;
    struct op_test t;
    struct memory m = {.value = {3}};
    for (size_t i = 0; i < n; i++) {
        int ran = 0;
        if (!ops[i].eval) continue;
        for (int r = 0; r < rounds; r++) ran += one_round(&ops[i], &t, &m);
        if (!ran) {
            never++;
            printf("%s-%d was never evaluated\n", ops[i].op_type, ops[i].since);
        }
    }
    printf("%d of %zu rows were only refused\n", never, n);
    assert_true(never < (int)n / 4);
}

static void expect_refusal(struct op_test *t)
{
    assert_int_not_equal(op_infer(t), CLQ_OK);
    assert_true(t->err.text[0] != 0);
}

static void test_sizes(void **state)
{
    (void)state;
    struct op_test t;
    op_start(&t, "NoSuchOperator", 13, 1);
    assert_int_equal(op_infer(&t), CLQ_ERR_UNSUPPORTED);
    op_start(&t, "ConstantOfShape", 13, 1); /* 2^62 elements */
    op_input(&t, CLQ_DTYPE_S64, 1, SHAPE(2), S64(1ll << 31, 1ll << 31));
    expect_refusal(&t);
    op_start(&t, "Tile", 13, 1);
    op_input(&t, CLQ_DTYPE_F32, 1, SHAPE(3), F32(1, 2, 3));
    op_input(&t, CLQ_DTYPE_S64, 1, SHAPE(1), S64(INT64_MAX));
    expect_refusal(&t);
    op_start(&t, "Pad", 13, 1);
    op_input(&t, CLQ_DTYPE_F32, 1, SHAPE(3), F32(1, 2, 3));
    op_input(&t, CLQ_DTYPE_S64, 1, SHAPE(2), S64(INT64_MAX, INT64_MAX));
    expect_refusal(&t);
    op_start(&t, "Range", 13, 1);
    op_input(&t, CLQ_DTYPE_S64, 0, NULL, S64(INT64_MIN));
    op_input(&t, CLQ_DTYPE_S64, 0, NULL, S64(INT64_MAX));
    op_input(&t, CLQ_DTYPE_S64, 0, NULL, S64(1));
    expect_refusal(&t);
    op_start(&t, "MaxPool", 13, 1);
    op_input(&t, CLQ_DTYPE_F32, 4, SHAPE(1, 1, 4, 4), NULL);
    op_ints(&t, "kernel_shape", 2, S64(1ll << 31, 1ll << 31));
    op_ints(&t, "dilations", 2, S64(1ll << 31, 1ll << 31));
    expect_refusal(&t);
    op_start(&t, "Einsum", 13, 1); /* 2^35 result elements from two small operands is more than may be returned */
    op_string(&t, "equation", "a,b,c,d,e,f,g->abcdefg");
    for (int i = 0; i < 7; i++) op_input(&t, CLQ_DTYPE_F32, 1, SHAPE(32), NULL);
    expect_refusal(&t);
}

/* The output shape waits for a value: the call says so instead of merely failing. */
static void test_needs_value(void **state)
{
    (void)state;
    struct op_test t;
    op_start(&t, "Reshape", 13, 1);
    op_input(&t, CLQ_DTYPE_F32, 1, SHAPE(6), NULL);
    op_input(&t, CLQ_DTYPE_S64, 1, SHAPE(2), NULL);
    assert_int_equal(op_infer(&t), CLQ_ERR_UNSUPPORTED);
    assert_true(t.call.needs_value);
    t.in[1].data = (void *)S64(2, 4);
    t.call.needs_value = false;
    assert_int_equal(op_infer(&t), CLQ_ERR_FORMAT);
    assert_false(t.call.needs_value);
}

/* Values that change between infer and eval must not make eval write past its output. */
static void test_changed_value(void **state)
{
    (void)state;
    struct op_test t;
    int64_t shape[1] = {2};
    op_start(&t, "Expand", 13, 1);
    op_input(&t, CLQ_DTYPE_F32, 0, NULL, F32(1));
    op_input(&t, CLQ_DTYPE_S64, 1, SHAPE(1), shape);
    assert_int_equal(op_infer(&t), CLQ_OK);
    t.out[0].data = malloc(2 * sizeof(float));
    shape[0] = 1000;
    assert_int_equal(clq_op_eval(t.op, &t.call), CLQ_ERR_INTERNAL);
    op_end(&t);
}

int main(int argc, char **argv)
{
    if (argc > 1) rounds = atoi(argv[1]);
    if (argc > 2) rng ^= strtoull(argv[2], NULL, 10) * 0x9e3779b97f4a7c15ull;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sizes), cmocka_unit_test(test_needs_value),
                                       cmocka_unit_test(test_changed_value), cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
