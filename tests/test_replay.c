/* SPDX-License-Identifier: Apache-2.0
 * A plan writes the same bytes again on any thread count and ISA; an edited one is honored, a broken one refused; and no
 * output ever takes the place of the model that was read. */
#include "quantize_fixture.h"

#include <math.h>

#include "scheduler/plan.h"

static void same_bytes(const struct ran *a, const struct ran *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->bytes, b->bytes, a->n);
}

/* Replays on thread counts and ISAs, each of both with others, and compares bytes and choices. */
static void replay_everywhere(const char *model, const char *plan, const struct ran *first)
{
    static const struct {
        int threads;
        const char *isa;
    } on[] = {{1, NULL}, {1, "ref"}, {2, "avx2"}, {2, "avx512_vnni"}, {2, "amx"}, {3, "ref"}, {3, NULL}};
    for (size_t i = 0; i < sizeof on / sizeof *on; i++) {
        struct ran r;
        struct run run = {.model = model, .threads = on[i].threads, .isa = on[i].isa, .options = {.plan_path = plan}, .samples = 6};
        quantize(&r, &run, NULL);
        must(&r);
        same_bytes(&r, first);
        assert_string_equal(r.choices, first->choices);
        free(r.bytes);
    }
}

static void test_same_bytes(void **state)
{
    (void)state;
    static const struct run runs[] = {
        {.threads = 2, .options = {.uniform = "int8"}},
        {.threads = 1, .options = {.uniform = "int8", .target = "tensorrt", .calibrator = "entropy"}},
        {.threads = 2, .options = {.uniform = "int8", .no_weight_clipping = true, .no_bias_correction = true, .calibrator = "minmax"}},
        {.model = EXAMPLE "model_bn.onnx", .threads = 2, .options = {.uniform = "int8", .calibrator = "mse"}},
    };
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        struct ran r;
        const char *plan = scratch("same.plan.json");
        quantize(&r, &runs[i], plan);
        must(&r);
        assert_false(r.summary.kept_float);
        assert_non_null(strchr(r.choices, 'q'));
        replay_everywhere(runs[i].model, plan, &r);
        free(r.bytes);
    }
}

/* Whatever an automatic search decided, also to keep the float model. */
static void test_automatic(void **state)
{
    (void)state;
    static const struct run runs[] = {{.threads = 2, .options = {.min_sqnr_db = 36}}, {.threads = 2, .options = {.uniform = "f32"}}};
    for (int i = 0; i < 2; i++) {
        struct ran r;
        const char *plan = scratch("auto.plan.json");
        quantize(&r, &runs[i], plan);
        must(&r);
        if (r.summary.kept_float) {
            struct clq_blob model = slurp(EXAMPLE "model.onnx");
            assert_int_equal(r.n, model.bytes);
            assert_memory_equal(r.bytes, model.data, r.n);
            assert_null(strchr(r.choices, 'q'));
            free(model.data);
        }
        replay_everywhere(NULL, plan, &r);
        free(r.bytes);
    }
}

/* ---- Edits ---- */
static void load_plan(struct clq_plan_data *p, const char *path)
{
    struct clq_error err = {""};
    if (clq_plan_read(p, path, &err) != CLQ_OK) fail_msg("%s", err.text);
}

static void store_plan(struct clq_plan_data *p, const char *path)
{
    struct clq_error err = {""};
    char *text;
    size_t n;
    if (clq_plan_text(&text, &n, p, &err) != CLQ_OK) fail_msg("%s", err.text);
    spit(path, text, n);
    free(text);
    clq_plan_release(p);
}

static size_t first_int8(const struct clq_plan_data *p)
{
    for (size_t l = 0; l < p->n_layers; l++)
        if (strcmp(p->layers[l].candidates[p->layers[l].choice].scheme.mode, "int8") == 0 && p->layers[l].n_arrays > 0) return l;
    fail_msg("no layer in int8 with a correction");
    return 0;
}

static void make_plan(const char *path, struct ran *r)
{
    struct run run = {.threads = 2, .options = {.uniform = "int8", .calibrator = "minmax"}};
    quantize(r, &run, path);
    must(r);
}

static void test_edited(void **state)
{
    (void)state;
    struct ran whole, part;
    struct clq_plan_data p;
    const char *plan = scratch("edit.plan.json"), *again = scratch("again.plan.json");
    make_plan(plan, &whole);
    load_plan(&p, plan);
    size_t l = first_int8(&p);
    p.layers[l].choice = 0;
    assert_string_equal(p.layers[l].candidates[0].scheme.mode, "f32");
    store_plan(&p, plan);
    struct run run = {.threads = 1, .options = {.plan_path = plan}};
    quantize(&part, &run, again);
    must(&part);
    assert_true(whole.n != part.n || memcmp(whole.bytes, part.bytes, part.n) != 0);
    assert_int_equal(whole.choices[l], 'q');
    assert_int_equal(part.choices[l], 'f');
    assert_int_equal(part.summary.int8_layers, whole.summary.int8_layers - 1);
    replay_everywhere(NULL, plan, &part);
    replay_everywhere(NULL, again, &part); /* the plan of a replay is a plan */
    free(whole.bytes);
    free(part.bytes);
}

/* A plan keeps what led to it when it is replayed and written again. */
static void test_record_survives(void **state)
{
    (void)state;
    struct ran r;
    struct clq_plan_data a, b;
    const char *plan = scratch("first.plan.json"), *again = scratch("second.plan.json");
    struct run run = {.threads = 1, .options = {.min_sqnr_db = 25}}, replay = {.threads = 3, .isa = "avx2", .options = {.plan_path = plan}, .samples = 5};
    quantize(&r, &run, plan);
    must(&r);
    free(r.bytes);
    quantize(&r, &replay, again);
    must(&r);
    free(r.bytes);
    load_plan(&a, plan);
    load_plan(&b, again);
    assert_string_equal(a.data.sha256, b.data.sha256);
    assert_int_equal(strlen(a.data.sha256), 64);
    assert_int_equal(a.data.n_names, 1);
    assert_string_equal(a.data.names[0], "calib.npz");
    assert_int_equal(a.data.samples, b.data.samples);
    assert_string_equal(a.options.calibrator, b.options.calibrator);
    assert_int_equal(a.n_layers, b.n_layers);
    double boundary = 0, spread = 0;
    for (size_t l = 0; l < a.n_layers; l++) {
        assert_int_equal(a.layers[l].choice, b.layers[l].choice);
        assert_int_equal(a.layers[l].n_candidates, b.layers[l].n_candidates);
        for (size_t c = 0; c < a.layers[l].n_candidates; c++) {
            const struct clq_plan_candidate *x = &a.layers[l].candidates[c], *y = &b.layers[l].candidates[c];
            assert_true(x->time_us == y->time_us && x->error == y->error && x->boundary_us == y->boundary_us && x->time_spread_us == y->time_spread_us);
            assert_int_equal(x->timings, y->timings);
            assert_true(x->timings >= 21);
            boundary += x->boundary_us;
            spread += x->time_spread_us;
        }
    }
    assert_true(boundary > 0 && spread > 0);
    assert_int_equal(a.n_tensors, b.n_tensors);
    for (size_t t = 0; t < a.n_tensors; t++) {
        assert_true(a.tensors[t].scale == b.tensors[t].scale && a.tensors[t].min == b.tensors[t].min && a.tensors[t].max == b.tensors[t].max);
        assert_string_equal(a.tensors[t].method, b.tensors[t].method);
    }
    clq_plan_release(&a);
    clq_plan_release(&b);
}

/* ---- Refusals ---- */
static void refuse(const char *plan, clq_status expected, const char *part, const char *target)
{
    struct ran r;
    struct run run = {.threads = 1, .options = {.plan_path = plan, .target = target}, .samples = 4};
    quantize(&r, &run, NULL);
    if (r.status != expected || !strstr(r.message, part) || strchr(r.message, '\n'))
        fail_msg("expected %s with '%s', got %s: '%s'", clq_status_name(expected), part, clq_status_name(r.status), r.message);
    free(r.bytes);
}

enum edit { EDIT_MODE, EDIT_LAYER, EDIT_FEWER, EDIT_CORRECTION, EDIT_TENSOR, EDIT_DTYPE, EDIT_HASH, EDIT_ALGORITHM, EDIT_TARGET, EDITS };

static void edit_plan(struct clq_plan_data *p, enum edit e)
{
    size_t l = first_int8(p);
    struct clq_plan_candidate *c = &p->layers[l].candidates[p->layers[l].choice];
    switch (e) {
    case EDIT_MODE: {
        struct clq_error err;
        assert_int_equal(clq_scheme_from_mode(&c->scheme, "int8-dynamic", "cpu", &err), CLQ_OK);
        break;
    }
    case EDIT_LAYER: p->layers[l].name = "somebody else"; break;
    case EDIT_FEWER: p->n_layers--; break;
    case EDIT_CORRECTION: p->layers[l].arrays[0].n--; break;
    case EDIT_TENSOR: p->tensors[0].name = "somebody else"; break;
    case EDIT_DTYPE:
        p->tensors[0].dtype = 1;
        p->tensors[0].zero_point = 0;
        break;
    case EDIT_HASH: p->model.sha256 = "00000000000000000000000000000000000000000000000000000000000000ff"; break;
    case EDIT_ALGORITHM: c->scheme.algorithm = "magic"; break;
    case EDIT_TARGET: p->options.target = "abacus"; break;
    default: break;
    }
}

static void test_broken(void **state)
{
    (void)state;
    static const struct {
        clq_status status;
        const char *part;
    } expected[EDITS] = {
        [EDIT_MODE] = {CLQ_ERR_INVALID_ARGUMENT, "no form in mode"}, [EDIT_LAYER] = {CLQ_ERR_INVALID_ARGUMENT, "has no layer"},
        [EDIT_FEWER] = {CLQ_ERR_INVALID_ARGUMENT, "layers"},   [EDIT_CORRECTION] = {CLQ_ERR_INVALID_ARGUMENT, "bias_correction"},
        [EDIT_TENSOR] = {CLQ_ERR_INVALID_ARGUMENT, "has no tensor"}, [EDIT_DTYPE] = {CLQ_ERR_INVALID_ARGUMENT, "dtype s8"},
        [EDIT_HASH] = {CLQ_ERR_INVALID_ARGUMENT, "another model"}, [EDIT_ALGORITHM] = {CLQ_ERR_INVALID_ARGUMENT, "magic"},
        [EDIT_TARGET] = {CLQ_ERR_INVALID_ARGUMENT, "abacus"},
    };
    struct ran r;
    const char *good = scratch("good.plan.json"), *bad = scratch("bad.plan.json");
    make_plan(good, &r);
    free(r.bytes);
    for (int e = 0; e < EDITS; e++) {
        struct clq_plan_data p;
        load_plan(&p, good);
        edit_plan(&p, (enum edit)e);
        store_plan(&p, bad);
        refuse(bad, expected[e].status, expected[e].part, NULL);
    }
    refuse(good, CLQ_ERR_INVALID_ARGUMENT, "tensorrt", "tensorrt");
    refuse(scratch("absent.plan.json"), CLQ_ERR_IO, "absent.plan.json", NULL);
    struct clq_blob text = slurp(good);
    for (size_t part = 0; part < 7; part++) { /* up to 6/7: a file that lacks nothing but its last newline is whole */
        spit(bad, text.data, part * text.bytes / 7);
        refuse(bad, CLQ_ERR_FORMAT, "bad.plan.json", NULL);
    }
    char *scale = strstr((char *)text.data, "\"scale\": ");
    assert_non_null(scale);
    scale[8] = '-';
    spit(bad, text.data, text.bytes);
    refuse(bad, CLQ_ERR_FORMAT, "scale", NULL);
    free(text.data);
}

/* ---- Outputs ---- */
static clq_status write_one(clq_result *r, int kind, const char *path)
{
    return kind == 0 ? clq_result_write(r, path, true) : kind == 1 ? clq_result_write_plan(r, path, true) : clq_result_write_report(r, path, true);
}

static void test_input_stays(void **state)
{
    (void)state;
    static const char *const modes[] = {"int8", "f32"};
    const char *model_path = scratch("input.onnx"), *links[] = {model_path, scratch("soft.onnx"), scratch("hard.onnx"), scratch("./input.onnx")};
    struct clq_blob before = slurp(EXAMPLE "model.onnx");
    for (int mode = 0; mode < 2; mode++) {
        clq_context *ctx;
        clq_model *model;
        clq_data *data;
        clq_result *result;
        clq_quantize_options o = {.uniform = modes[mode], .calibrator = "minmax", .timing_pairs = 10};
        spit(model_path, before.data, before.bytes);
        unlink(links[1]);
        unlink(links[2]);
        assert_int_equal(symlink("input.onnx", links[1]), 0);
        assert_int_equal(link(model_path, links[2]), 0);
        assert_int_equal(clq_context_create(&ctx, NULL), CLQ_OK);
        assert_int_equal(clq_model_load(&model, ctx, model_path, NULL), CLQ_OK);
        assert_int_equal(clq_data_open(&data, ctx, model, EXAMPLE "calib.npz", &(clq_data_options){.limit = 8}), CLQ_OK);
        assert_int_equal(clq_quantize(&result, ctx, model, data, &o), CLQ_OK);
        for (int kind = 0; kind < 3; kind++)
            for (int i = 0; i < 4; i++) {
                assert_int_equal(write_one(result, kind, links[i]), CLQ_ERR_IO);
                assert_non_null(strstr(clq_error_message(ctx), "same file as an input"));
                assert_null(strchr(clq_error_message(ctx), '\n'));
                struct clq_blob now = slurp(model_path);
                assert_int_equal(now.bytes, before.bytes);
                assert_memory_equal(now.data, before.data, now.bytes);
                free(now.data);
            }
        clq_result_free(result);
        clq_data_free(data);
        clq_model_free(model);
        clq_context_free(ctx);
    }
    free(before.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes),      cmocka_unit_test(test_automatic), cmocka_unit_test(test_edited),
        cmocka_unit_test(test_record_survives), cmocka_unit_test(test_broken),    cmocka_unit_test(test_input_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
