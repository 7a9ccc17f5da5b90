/* SPDX-License-Identifier: Apache-2.0
 * A runtime of another maker in place of our kernels: a false one with known outputs and known times, and libraries that are
 * none. Nothing here needs onnxruntime. */
#include "quantize_fixture.h"

#include <math.h>

#include "base/model.h"
#include "context.h"
#include "ort.h"
#include "result.h"
#include "runtime.h"
#include "search_runtime.h"

/* ---- A false runtime: the float model's outputs for every model, and times by the marks of the nodes ---- */
struct fake {
    struct clq_runtime base;
    clq_context *ctx; /* runs the float model */
    clq_session *session;
    int n_in, n_out, opened, runs, profiles;
    bool unmarked; /* says a time for nodes that no unit made */
};

static clq_status fake_open(void **session, struct clq_runtime *rt, const struct clq_model *model, struct clq_error *err)
{
    (void)model;
    (void)err;
    ((struct fake *)rt)->opened++;
    *session = rt;
    return CLQ_OK;
}

static clq_status fake_run(void *session, const clq_tensor *inputs, clq_tensor *outputs, struct clq_error *err)
{
    struct fake *f = session;
    clq_tensor ignored[4] = {{0}};
    f->runs++;
    clq_status st = clq_session_run(f->session, inputs, f->n_in, outputs ? outputs : ignored, f->n_out);
    return st == CLQ_OK ? st : clq_fail(err, st, "%s", clq_error_message(f->ctx));
}

static void fake_close(void *session)
{
    ((struct fake *)session)->opened--;
}

/* Picoseconds, so that no whole run is faster than its nodes: times are then not rescaled. */
#define F32_US 10e-6
#define INT8_US 4e-6
#define Q_US 2e-6
#define DQ_US 3e-6
#define OTHER_US 5e-6

static bool reads_codes(const struct clq_graph *g, const struct clq_node *n)
{
    for (int i = 0; i < g->n_nodes; i++)
        if (strcmp(g->nodes[i].op_type, "DequantizeLinear") == 0 && n->n_inputs > 0 && strcmp(g->nodes[i].outputs[0], n->inputs[0]) == 0) return true;
    return false;
}

static clq_status fake_profile(struct clq_runtime *rt, const struct clq_model *model, const clq_tensor *inputs, int runs, clq_node_time_fn *visit,
                               void *state, struct clq_error *err)
{
    struct fake *f = (struct fake *)rt;
    (void)inputs;
    (void)runs;
    (void)err;
    f->profiles++;
    for (int i = 0; i < model->graph.n_nodes; i++) {
        const struct clq_node *n = &model->graph.nodes[i];
        char renamed[128];
        snprintf(renamed, sizeof renamed, "fused/%.80s/again", n->name);
        if (strcmp(n->op_type, "QuantizeLinear") == 0 || strcmp(n->op_type, "DequantizeLinear") == 0) visit(state, renamed, n->op_type[0] == 'Q' ? Q_US : DQ_US, 0);
        else visit(state, renamed, reads_codes(&model->graph, n) ? INT8_US : F32_US, 0);
    }
    if (f->unmarked) visit(state, "ReorderInput_0", OTHER_US, 0);
    return CLQ_OK;
}

static void fake_free(struct clq_runtime *rt)
{
    struct fake *f = (struct fake *)rt;
    clq_session_free(f->session);
    clq_context_free(f->ctx);
}

static const struct fake fake_runtime = {.base = {.name = "fake", .version = "1.2", .spec = "fake", .open = fake_open, .run = fake_run, .close = fake_close,
                                                  .profile = fake_profile, .free = fake_free}};

struct setting {
    struct fake fake;
    clq_context *ctx;
    clq_model *model;
    clq_data *data;
    struct ran log;
};

static void start(struct setting *s)
{
    memset(s, 0, sizeof *s);
    s->fake = fake_runtime;
    clq_context_options o = {.threads = 1, .log = log_line, .user = &s->log}, own = {.threads = 1};
    clq_data_options d = {.limit = 24};
    assert_int_equal(clq_context_create(&s->ctx, &o), CLQ_OK);
    assert_int_equal(clq_context_create(&s->fake.ctx, &own), CLQ_OK);
    assert_int_equal(clq_model_load(&s->model, s->ctx, EXAMPLE "model.onnx", NULL), CLQ_OK);
    assert_int_equal(clq_data_open(&s->data, s->ctx, s->model, EXAMPLE "calib.npz", &d), CLQ_OK);
    assert_int_equal(clq_session_create(&s->fake.session, s->fake.ctx, s->model), CLQ_OK);
    s->fake.n_in = clq_model_input_count(s->model);
    s->fake.n_out = clq_model_output_count(s->model);
    s->ctx->runtime = &s->fake.base;
    snprintf(s->ctx->runtime_name, sizeof s->ctx->runtime_name, "fake 1.2");
}

static void end(struct setting *s)
{
    clq_data_free(s->data);
    clq_model_free(s->model);
    clq_context_free(s->ctx); /* and the runtime with it */
}

static clq_result *search(struct setting *s, clq_quantize_options o)
{
    clq_result *r = NULL;
    o.timing_pairs = 10;
    if (clq_quantize(&r, s->ctx, s->model, s->data, &o) != CLQ_OK) fail_msg("%s", clq_error_message(s->ctx));
    return r;
}

/* Outputs are the runtime's: this one has no error in any precision, where our kernels would have some. */
static void outputs_come_from_the_runtime(void **state)
{
    struct setting s;
    (void)state;
    start(&s);
    clq_result *r = search(&s, (clq_quantize_options){.uniform = "int8"});
    const clq_summary *m = clq_result_summary(r);
    assert_true(m->int8_layers > 0 && isinf(m->sqnr_db) && m->cosine == 1);
    assert_true(s.fake.runs > 0);
    assert_non_null(strstr(m->reason, "measured in fake 1.2"));
    assert_string_equal(r->plan.device.runtime, "fake 1.2");
    assert_string_equal(r->plan.options.target, "ort");
    clq_result_free(r);
    assert_int_equal(s.fake.opened, 0);
    end(&s);
}

/* This runtime fuses no Q or DQ: those between two units on codes are part of their units. */
static void unit_times(const struct clq_search *s, double *f32, double *int8)
{
    for (int i = 0; i < s->units.n_units; i++) {
        double nodes = s->units.units[i].act >= 0 ? 2 : 1;
        assert_true(fabs(s->records[i].f32_us - nodes * F32_US) < 1e-12);
        *f32 += s->records[i].f32_us;
        *int8 += s->records[i].int8_us;
        double own = INT8_US + (nodes - 1) * F32_US, most = own + Q_US + s->units.units[i].n_in * DQ_US; /* an activation reads no codes */
        if (s->records[i].capable) assert_true(s->records[i].int8_us > own - 1e-12 && s->records[i].int8_us < most + 1e-12);
    }
}

/* The marks survive renaming, and every number lands where it belongs. */
static void times_are_the_runtimes(void **state)
{
    struct setting s;
    (void)state;
    start(&s);
    clq_result *r = search(&s, (clq_quantize_options){.min_sqnr_db = 10});
    struct clq_search *q = &r->search;
    clq_tensor in[2];
    struct clq_error err = {""};
    double f32 = 0, int8 = 0;
    assert_int_equal(q->calibration.get(q->calibration.state, 0, in, &err), CLQ_OK);
    assert_int_equal(clq_runtime_times(q, in, &err), CLQ_OK);
    unit_times(q, &f32, &int8);
    assert_true(int8 > 0 && f32 > 0);
    for (int t = 0; t < q->units.n_tensors; t++) {
        assert_true(q->convert_us[0][t] >= 0 && q->convert_us[1][t] >= 0);
        assert_true(q->convert_us[0][t] < 1 && q->convert_us[1][t] < 1);
    }
    assert_true(s.fake.profiles >= 8);
    clq_result_free(r);
    end(&s);
}

/* Other modes are timed as whole models, and what they change is shared among the units that can be in them. */
static void other_modes_are_candidates(void **state)
{
    struct setting s;
    (void)state;
    start(&s);
    clq_result *r = search(&s, (clq_quantize_options){.min_sqnr_db = 10, .candidates = "f32,int8,int8-tensor,int8-weight"});
    struct clq_search *q = &r->search;
    int capable = 0;
    assert_int_equal(q->n_modes, 4);
    for (int m = 2; m < q->n_modes; m++)
        for (int i = 0; i < q->units.n_units; i++) {
            const struct clq_mode_record *x = &q->extra[m][i];
            capable += x->capable;
            assert_true(!x->capable || (x->us > 0 && x->noise >= 0));
        }
    assert_true(capable > 2);
    assert_true(clq_result_summary(r)->kept_float || clq_result_summary(r)->budget_met);
    clq_result_free(r);
    end(&s);
}

/* What has no mark is no unit's, and a time that every plan has is no boundary's either. */
static void unmarked_nodes_cost_no_unit(void **state)
{
    struct setting s;
    double sum[2][2] = {{0}};
    (void)state;
    for (int k = 0; k < 2; k++) {
        start(&s);
        s.fake.unmarked = k;
        clq_result *r = search(&s, (clq_quantize_options){.min_sqnr_db = 10});
        struct clq_search *q = &r->search;
        clq_tensor in[2];
        struct clq_error err = {""};
        assert_int_equal(q->calibration.get(q->calibration.state, 0, in, &err), CLQ_OK);
        assert_int_equal(clq_runtime_times(q, in, &err), CLQ_OK);
        unit_times(q, &sum[k][0], &sum[k][1]);
        for (int t = 0; t < q->units.n_tensors; t++) sum[k][1] += q->convert_us[0][t] + q->convert_us[1][t];
        clq_result_free(r);
        end(&s);
    }
    assert_true(fabs(sum[0][0] - sum[1][0]) < 1e-12 && fabs(sum[0][1] - sum[1][1]) < 1e-12);
}

/* A search in a runtime that sees no error at all is free to choose; whatever it chose is within the budget, or float. */
static void the_guard_holds(void **state)
{
    struct setting s;
    (void)state;
    start(&s);
    clq_result *r = search(&s, (clq_quantize_options){0});
    const clq_summary *m = clq_result_summary(r);
    assert_true(m->kept_float || m->budget_met);
    assert_int_equal(m->kept_float ? 0 : m->int8_layers > 0, !m->kept_float);
    clq_result_free(r);
    end(&s);
}

/* ---- Profiles as onnxruntime writes them ---- */
struct seen {
    int n;
    char name[4][64];
    double us[4];
};

static void see(void *state, const char *node, double us, double spread)
{
    struct seen *s = state;
    (void)spread;
    assert_true(s->n < 4);
    snprintf(s->name[s->n], sizeof s->name[0], "%s", node);
    s->us[s->n++] = us;
}

static void profiles_are_read(void **state)
{
    static const char text[] =
        "[\n{\"cat\" : \"Session\",\"pid\" :1,\"tid\" :1,\"dur\" :900,\"ts\" :1,\"ph\" : \"X\",\"name\" :\"model_run\",\"args\" : {}},\n"
        "{\"cat\" : \"Node\",\"pid\" :1,\"tid\" :1,\"dur\" :8,\"ts\" :2,\"ph\" : \"X\",\"name\" :\"a_kernel_time\",\"args\" : {\"op_name\" : \"Conv\"}},\n"
        "{\"cat\" : \"Node\",\"pid\" :1,\"tid\" :1,\"dur\" :2,\"ts\" :2,\"ph\" : \"X\",\"name\" :\"a_fence_before\",\"args\" : {\"op_name\" : \"Conv\"}},\n"
        "{\"cat\" : \"Node\",\"pid\" :1,\"tid\" :1,\"dur\" :10,\"ts\" :3,\"ph\" : \"X\",\"name\" :\"a_kernel_time\",\"args\" : {}},\n"
        "{\"cat\" : \"Node\",\"pid\" :1,\"tid\" :1,\"dur\" :12,\"ts\" :4,\"ph\" : \"X\",\"name\" :\"a_kernel_time\",\"args\" : {}},\n"
        "{\"cat\" : \"Node\",\"pid\" :1,\"tid\" :1,\"dur\" :500,\"ts\" :4,\"ph\" : \"X\",\"name\" :\"a_kernel_time\",\"args\" : {}},\n"
        "{\"cat\" : \"Node\",\"pid\" :1,\"tid\" :1,\"dur\" :3,\"ts\" :5,\"ph\" : \"X\",\"name\" :\"b_kernel_time\",\"args\" : {}},\n"
        "{\"cat\" : \"Node\",\"pid\" :1,\"tid\" :1,\"dur\" :3,\"ts\" :5,\"ph\" : \"X\",\"name\" :\"b_kernel_time\",\"args\" : {}},\n"
        "{\"cat\" : \"Node\",\"pid\" :1,\"tid\" :1,\"dur\" :3,\"ts\" :5,\"ph\" : \"X\",\"name\" :\"b_kernel_time\",\"args\" : {}},\n"
        "{\"cat\" : \"Node\",\"pid\" :1,\"tid\" :1,\"dur\" :3,\"ts\" :5,\"ph\" : \"X\",\"name\" :\"b_kernel_time\",\"args\" : {}}\n]";
    const char *path = scratch("profile.json");
    struct seen s = {0};
    struct clq_error err = {""};
    (void)state;
    spit(path, text, sizeof text - 1);
    assert_int_equal(clq_ort_read_profile(path, 4, see, &s, &err), CLQ_OK);
    assert_int_equal(s.n, 2);
    assert_string_equal(s.name[0], "a");
    assert_true(s.us[0] == 10 && s.us[1] == 3); /* the slowest quarter is left out */
    s.n = 0;
    assert_int_equal(clq_ort_read_profile(path, 2, see, &s, &err), CLQ_OK); /* the name stands for two nodes */
    assert_true(s.us[1] == 6);
    spit(path, "[]", 2);
    assert_int_equal(clq_ort_read_profile(path, 4, see, &s, &err), CLQ_ERR_UNSUPPORTED);
    spit(path, "[{", 2);
    assert_int_equal(clq_ort_read_profile(path, 4, see, &s, &err), CLQ_ERR_FORMAT);
}

/* ---- Libraries that are none ---- */
static void refused(const char *runtime, clq_status status, const char *part)
{
    struct ran log = {0};
    clq_context *ctx = NULL;
    clq_context_options o = {.threads = 1, .runtime = runtime, .log = log_line, .user = &log};
    clq_status st = clq_context_create(&ctx, &o);
    if (st != status || !lines_with(&log, part)) fail_msg("%s: %s, '%s'", runtime, clq_status_name(st), log.n_lines ? log.lines[0] : "");
}

static void wrong_libraries_are_refused(void **state)
{
    char text[600];
    (void)state;
    refused("tensorflow", CLQ_ERR_INVALID_ARGUMENT, "expected clquant, onnxruntime or onnxruntime:PATH");
    refused("onnxruntime:", CLQ_ERR_INVALID_ARGUMENT, "expected clquant, onnxruntime or onnxruntime:PATH");
    refused("onnxruntimes", CLQ_ERR_INVALID_ARGUMENT, "expected clquant, onnxruntime or onnxruntime:PATH");
    refused("onnxruntime:/nowhere/libonnxruntime.so", CLQ_ERR_NO_DEVICE, "'/nowhere/libonnxruntime.so': No such file");
    refused("onnxruntime:" EXAMPLE "model.onnx", CLQ_ERR_NO_DEVICE, "is no shared library");
    refused("onnxruntime:libm.so.6", CLQ_ERR_NO_DEVICE, "it has no OrtGetApiBase");
    refused("onnxruntime:libnowhere.so.9", CLQ_ERR_NO_DEVICE, "'libnowhere.so.9' cannot be loaded");
    refused("onnxruntime:" STUB_OLD, CLQ_ERR_NO_DEVICE, "is version 1.7.2, expected 1.8 or a later 1.x");
    refused("onnxruntime:" STUB_NAMELESS, CLQ_ERR_NO_DEVICE, "says no version");
    refused("onnxruntime:" STUB_EMPTY, CLQ_ERR_NO_DEVICE, "entry 2 of the interface is empty");
    struct clq_blob b = slurp(STUB_OLD);
    assert_true(b.bytes > 20);
    b.data[18] ^= 0x40; /* the machine */
    spit(scratch("foreign.so"), b.data, b.bytes);
    snprintf(text, sizeof text, "onnxruntime:%s", scratch("foreign.so"));
    snprintf(strchr(text, ':') + 1, 500, "%s/foreign.so", CLQ_TEST_SCRATCH);
    refused(text, CLQ_ERR_NO_DEVICE, "is made for another machine");
    spit(CLQ_TEST_SCRATCH "/short.so", b.data, 12);
    free(b.data);
    refused("onnxruntime:" CLQ_TEST_SCRATCH "/short.so", CLQ_ERR_NO_DEVICE, "is no shared library");
}

static void the_environment_names_the_library(void **state)
{
    (void)state;
    setenv("CLQUANT_ONNXRUNTIME", STUB_OLD, 1);
    refused("onnxruntime", CLQ_ERR_NO_DEVICE, "is version 1.7.2");
    unsetenv("CLQUANT_ONNXRUNTIME");
    clq_context *ctx;
    clq_context_options own = {.threads = 1, .runtime = "clquant"};
    assert_int_equal(clq_context_create(&ctx, &own), CLQ_OK);
    assert_string_equal(clq_context_runtime(ctx), "clquant");
    assert_string_equal(clq_context_runtime_spec(ctx), "clquant");
    clq_context_free(ctx);
}

static void devices_are_not_the_runtimes(void **state)
{
    struct ran log = {0};
    clq_context *ctx = NULL;
    clq_context_options o = {.threads = 1, .device = "auto", .runtime = "onnxruntime", .log = log_line, .user = &log};
    (void)state;
    assert_int_equal(clq_context_create(&ctx, &o), CLQ_ERR_INVALID_ARGUMENT);
    assert_int_equal(lines_with(&log, "runs on the CPU, and device 'auto'"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_come_from_the_runtime), cmocka_unit_test(times_are_the_runtimes), cmocka_unit_test(unmarked_nodes_cost_no_unit),
        cmocka_unit_test(other_modes_are_candidates),
        cmocka_unit_test(the_guard_holds),               cmocka_unit_test(profiles_are_read),      cmocka_unit_test(wrong_libraries_are_refused),
        cmocka_unit_test(the_environment_names_the_library), cmocka_unit_test(devices_are_not_the_runtimes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
