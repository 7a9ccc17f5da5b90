/* SPDX-License-Identifier: Apache-2.0
 * Which layers run on the OpenCL device is said in the file: one, none, or, where the file says nothing, all that it supports; with
 * the same bytes each time. */
#include "quantize_fixture.h"

#include "placement.h"
#include "result.h"

struct placed {
    clq_context *cpu, *device;
    clq_model *model;
    clq_data *data;
    clq_result *result;
    clq_tensor in, expected;
};

static void ok(clq_status st, clq_context *ctx)
{
    if (st != CLQ_OK) fail_msg("%s", clq_error_message(ctx));
}

/* Steps on the device when the model runs there; its output is that of the CPU. */
static int device_steps(struct placed *p, const struct clq_model *m)
{
    clq_session *s;
    clq_session_stats stats;
    clq_tensor out = {0};
    ok(clq_session_create(&s, p->device, m), p->device);
    ok(clq_session_run(s, &p->in, 1, &out, 1), p->device);
    ok(clq_session_describe(&stats, s), p->device);
    assert_memory_equal(out.data, p->expected.data, 10 * sizeof(float));
    clq_session_free(s);
    return (int)stats.device_steps;
}

static void start(struct placed *p)
{
    memset(p, 0, sizeof *p);
    clq_context_options o = {.threads = 1}, d = {.threads = 1, .device = "opencl", .device_timeout_ms = 300000};
    clq_data_options few = {.limit = 8};
    ok(clq_context_create(&p->cpu, &o), p->cpu);
    ok(clq_context_create(&p->device, &d), p->device);
    if (*clq_context_fallback(p->device)) {
        clq_context_free(p->device);
        clq_context_free(p->cpu);
        skip();
    }
    ok(clq_model_load(&p->model, p->cpu, EXAMPLE "model.onnx", NULL), p->cpu);
    ok(clq_data_open(&p->data, p->cpu, p->model, EXAMPLE "calib.npz", &few), p->cpu);
    static struct clq_metadata stale = {CLQ_PLACEMENT_KEY, "nobody"}; /* as if the file had been quantized before */
    p->model->metadata = &stale;
    p->model->n_metadata = 1;
    clq_quantize_options q = {.uniform = "int8", .calibrator = "minmax", .timing_pairs = 2};
    ok(clq_quantize(&p->result, p->cpu, p->model, p->data, &q), p->cpu);
}

static void placement_is_followed(void **state)
{
    struct placed p;
    clq_session *s;
    float image[784], y[10];
    struct clq_error err = {""};
    (void)state;
    start(&p);
    for (int i = 0; i < 784; i++) image[i] = (float)(i % 17) / 17;
    p.in = (clq_tensor){.dtype = CLQ_DTYPE_F32, .rank = 4, .shape = {1, 1, 28, 28}, .data = image};
    ok(clq_session_create(&s, p.cpu, &p.result->model), p.cpu);
    clq_tensor out = {0};
    ok(clq_session_run(s, &p.in, 1, &out, 1), p.cpu);
    memcpy(y, out.data, sizeof y);
    p.expected.data = y;
    clq_session_free(s);

    struct clq_model *m = &p.result->model;
    const struct clq_units *u = &p.result->search.units;
    bool *on = calloc((size_t)u->n_units, sizeof *on);
    int products = 0;
    assert_int_equal(m->n_metadata, 0);
    assert_true(device_steps(&p, m) > 20);
    assert_int_equal(clq_placement_write(m, u, NULL, &err), CLQ_OK);
    assert_int_equal(device_steps(&p, m), 0);
    for (int i = 0; i < u->n_units && products < 2; i++) products += on[i] = u->units[i].kind == CLQ_UNIT_PRODUCT;
    assert_int_equal(clq_placement_write(m, u, on, &err), CLQ_OK);
    assert_int_equal(device_steps(&p, m), 2);
    assert_int_equal(m->n_metadata, 1); /* the new one took the old one's place */
    free(on);
    clq_result_free(p.result);
    clq_data_free(p.data);
    clq_model_free(p.model);
    clq_context_free(p.device);
    clq_context_free(p.cpu);
}

/* Whatever a file says: names that no node has, empty lines, the same twice. */
static void foreign_text_is_read(void **state)
{
    static const struct {
        const char *text;
        int names;
    } cases[] = {{"", 0}, {"\n\n", 0}, {"a", 1}, {"a\nb\n", 2}, {"\na\n\na\nnobody", 2}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct clq_metadata said = {CLQ_PLACEMENT_KEY, cases[i].text}, other = {"clquant.opencl.", "a"};
        struct clq_model m = {.n_metadata = 1, .metadata = &said}, silent = {.n_metadata = 1, .metadata = &other};
        struct clq_arena arena = {0};
        struct clq_map names;
        struct clq_error err = {""};
        bool placed;
        assert_int_equal(clq_placement_read(&placed, &names, &arena, &m, &err), CLQ_OK);
        assert_true(placed);
        assert_int_equal(names.count, cases[i].names);
        assert_int_equal(clq_placement_read(&placed, &names, &arena, &silent, &err), CLQ_OK);
        assert_false(placed);
        assert_int_equal(names.count, 0);
        struct clq_metadata both[] = {said, other, said};
        m = (struct clq_model){.n_metadata = 3, .metadata = both};
        clq_placement_remove(&m);
        assert_int_equal(m.n_metadata, 1);
        assert_string_equal(m.metadata[0].key, other.key);
        clq_arena_free(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(placement_is_followed), cmocka_unit_test(foreign_text_is_read)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
