/* SPDX-License-Identifier: Apache-2.0
 * Plans: the text round-trips byte for byte, in any locale; hand-edited and hostile texts are refused with their path. */
#include "scheduler/plan.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "scheduler/stats.h"

static const char sha[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static struct clq_plan_candidate candidate(const char *mode, double error, double time_us)
{
    struct clq_plan_candidate c = {.error = error, .sqnr_db = error > 0 ? -10 * log10(error) : NAN, .time_us = time_us,
                                   .time_spread_us = 0.1, .timings = 21, .boundary_us = 1.0 / 3, .bytes = 1024};
    assert_int_equal(clq_scheme_from_mode(&c.scheme, mode, "cpu", NULL), CLQ_OK);
    return c;
}

static struct clq_plan_candidate candidates[3][3];
static struct clq_plan_layer layers[3];
static struct clq_plan_tensor tensors[2];
static float correction[3] = {0.1f, -1e-30f, FLT_MAX};
static struct clq_plan_array arrays[1] = {{"bias_correction", correction, 3}};
static struct clq_plan_method methods[2] = {{"minmax", 1e-4}, {"mse", 3.3e-5}};
static const char *outputs[2] = {"y", "z \"quoted\"\n\t\\ \xc3\xa9"}, *files[1] = {"calib.npz"}, *modes[2] = {"f32", "int8"};

static void sample_plan(struct clq_plan_data *p)
{
    clq_plan_start(p);
    for (int l = 0; l < 3; l++) {
        candidates[l][0] = candidate("f32", 0, 12.5);
        candidates[l][1] = candidate("int8", 1e-9 * pow(10, 4 * l), 4.25);
        candidates[l][2] = candidate("int4-g32", 0.1, 5);
        layers[l] = (struct clq_plan_layer){"conv", "Conv", outputs, 2, l, "int8 is 2.9 x as fast", candidates[l], 3, NULL, 0, NULL};
    }
    layers[1].name = "gemm/é";
    layers[2].name = "z";
    layers[2].arrays = arrays;
    layers[2].n_arrays = 1;
    tensors[0] = (struct clq_plan_tensor){"x", 0, 0.1f, 128, -12.8f, 12.7f, "mse", methods, 2};
    tensors[1] = (struct clq_plan_tensor){"y", 1, FLT_MIN, -128, 0, 1e-36f, "minmax", NULL, 0};
    p->clquant = "0.1.0";
    p->created_by = "clquant quantize";
    p->model = (struct clq_plan_model){"model.onnx", sha, 123456789012};
    p->data = (struct clq_plan_dataset){files, 1, 256, 64, sha, false};
    p->device = (struct clq_plan_device){"cpu", "avx512_vnni", 2, "", "2.6.3", "onnxruntime 1.32.0"};
    static struct clq_plan_bound bounds[] = {{"min-sqnr", 20.5}, {"max-latency", 3.25}};
    p->options = (struct clq_plan_options){"ort", "auto", "min-sqnr", 20.5, 42, modes, 2, "error", bounds, 2};
    p->layers = layers;
    p->n_layers = 3;
    p->tensors = tensors;
    p->n_tensors = 2;
    p->results.sqnr_db = 21.123456789012345;
    p->results.pairs = 200;
    p->results.budget_met = true;
}

static char *text_of(const struct clq_plan_data *p, size_t *n)
{
    char *text = NULL;
    struct clq_error err = {""};
    if (clq_plan_text(&text, n, p, &err) != CLQ_OK) fail_msg("%s", err.text);
    return text;
}

static void expect_round_trip(const char *text, size_t n)
{
    struct clq_plan_data p;
    struct clq_error err = {""};
    size_t n2;
    if (clq_plan_parse(&p, text, n, "plan", &err) != CLQ_OK) fail_msg("%s", err.text);
    char *again = text_of(&p, &n2);
    assert_int_equal(n, n2);
    assert_memory_equal(text, again, n);
    free(again);
    clq_plan_release(&p);
}

static void test_round_trip(void **unused)
{
    (void)unused;
    struct clq_plan_data p, q;
    size_t n;
    sample_plan(&p);
    char *text = text_of(&p, &n);
    expect_round_trip(text, n);
    assert_int_equal(clq_plan_parse(&q, text, n, "plan", NULL), CLQ_OK);
    for (int i = 0; i < 3; i++)
        assert_true(q.layers[2].arrays[0].values[i] == correction[i]);
    assert_true(q.tensors[0].scale == 0.1f && q.tensors[1].scale == FLT_MIN && q.tensors[1].max == 1e-36f);
    assert_true(q.layers[1].candidates[1].error == candidates[1][1].error && isnan(q.layers[0].candidates[0].sqnr_db));
    assert_true(q.results.sqnr_db == 21.123456789012345 && isnan(q.results.speedup) && q.model.bytes == 123456789012);
    assert_string_equal(q.layers[0].outputs[1], outputs[1]);
    assert_string_equal(clq_plan_scheme(&q, "gemm/é")->mode, "int8");
    assert_int_equal(clq_plan_scheme(&q, "z")->weight_group, 32);
    assert_null(clq_plan_scheme(&q, "nothing"));
    assert_int_equal(clq_plan_tensor_find(&q, "y")->zero_point, -128);
    assert_ptr_equal(clq_plan_array_find(&q.layers[2], "bias_correction"), &q.layers[2].arrays[0]);
    clq_plan_release(&q);
    clq_plan_start(&p); /* the empty plan */
    free(text);
    text = text_of(&p, &n);
    expect_round_trip(text, n);
    free(text);
}

/* Random bits as scales, values and errors: every float and double must survive its text. */
static void test_numbers_exact(void **unused)
{
    (void)unused;
    struct clq_random rng = clq_random_start(9, 0);
    enum { N = 20000 };
    float *values = malloc(N * sizeof *values);
    struct clq_plan_array many = {"weight_clip", values, N};
    struct clq_plan_data p, q;
    size_t n;
    for (int i = 0; i < N; i++)
        do {
            uint32_t bits = clq_random_word(&rng);
            memcpy(&values[i], &bits, sizeof bits);
        } while (!isfinite(values[i]));
    sample_plan(&p);
    layers[2].arrays = &many;
    char *text = text_of(&p, &n);
    assert_int_equal(clq_plan_parse(&q, text, n, "plan", NULL), CLQ_OK);
    assert_memory_equal(q.layers[2].arrays[0].values, values, N * sizeof *values);
    clq_plan_release(&q);
    expect_round_trip(text, n);
    free(text);
    free(values);
}

/* A locale with a decimal comma: an installed one, or one that is compiled into a folder of this test. */
static bool set_comma_locale(char *folder)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE", "sv_SE.UTF-8"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (setlocale(LC_ALL, names[i])) return true;
    char command[256];
    snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 --no-archive %s/de_DE.UTF-8 >/dev/null 2>&1", folder);
    if (system(command) != 0) return false;
    setenv("LOCPATH", folder, 1);
    return setlocale(LC_ALL, "de_DE.UTF-8") != NULL;
}

static void test_locale(void **unused)
{
    (void)unused;
    struct clq_plan_data p;
    char folder[] = "/tmp/clq_test_locale_XXXXXX", command[64], shown[16];
    size_t n, n2;
    sample_plan(&p);
    char *text = text_of(&p, &n);
    assert_non_null(mkdtemp(folder));
    bool comma_locale = set_comma_locale(folder);
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
    if (!comma_locale) {
        print_message("no locale with a decimal comma, and none can be made\n");
        free(text);
        skip();
    }
    snprintf(shown, sizeof shown, "%.1f", 1.5);
    assert_string_equal(shown, "1,5");
    char *comma = text_of(&p, &n2);
    assert_int_equal(n, n2);
    assert_memory_equal(text, comma, n);
    expect_round_trip(text, n);
    setlocale(LC_ALL, "C");
    free(text);
    free(comma);
}

/* Edits as a user's editor, or an enemy, would make them, and what the refusal must name. */
static const struct {
    const char *from, *to, *says;
} edits[] = {
    {"\"version\": 1", "\"version\": 2", "newer"},
    {"\"version\": 1", "\"version\": \"1\"", "version"},
    {"\"version\": 1,", "", "version"},
    {"\"choice\": 1", "\"choice\": 3", "layers[1].choice"},
    {"\"choice\": 1", "\"choice\": -1", "layers[1].choice"},
    {"\"choice\": 1", "\"choice\": 1.5", "layers[1].choice: expected an integer"},
    {"\"choice\": 1", "\"choice\": 99999999999999999999", "byte"},
    {"\"choice\": 1,", "", "layers[1].choice: missing"},
    {"\"choice\": 1", "\"choise\": 1", "layers[1].choice: missing"},
    {"\"choice\": 1", "\"choice\": 1, \"extra\": 0", "layers[1]: unknown member 'extra'"},
    {"\"choice\": 1", "\"choice\": 1, \"choice\": 1", "duplicate"},
    {"\"name\": \"z\"", "\"name\": \"conv\"", "layers[2].name"},
    {"\"name\": \"z\"", "\"name\": \"\"", "layers[2].name"},
    {"\"name\": \"z\"", "\"name\": null", "layers[2].name: expected a text"},
    {"\"op\": \"Conv\"", "\"op\": 7", "layers[0].op"},
    {"\"mode\": \"int8\"", "\"mode\": \"int9\"", NULL}, /* a mode of a later version: the caller's to refuse */
    {"\"mode\": \"int8\"", "\"mode\": \"INT8\"", "candidates[1].scheme.mode"},
    {"\"mode\": \"int8\"", "\"mode\": \"int4-g64\"", "contradict"},
    {"\"weight_bits\": 8", "\"weight_bits\": 0", "layers[0].candidates[1].scheme.weight_bits: 0"},
    {"\"weight_bits\": 8", "\"weight_bits\": 7", "contradict"},
    {"\"activations\": \"static\"", "\"activations\": \"magic\"", "unknown value 'magic'"},
    {"\"activations\": \"static\"", "\"activations\": \"float\"", "act_bits"},
    {"\"rounding\": \"nearest-even\"", "\"rounding\": 0", "rounding"},
    {"\"weight_symmetric\": true", "\"weight_symmetric\": 1", "weight_symmetric: expected true or false"},
    {"\"device\": \"cpu\"", "\"device\": \"\"", "device"},
    {"\"time_us\": 12.5", "\"time_us\": -12.5", "layers[0].candidates[0].time_us"},
    {"\"time_us\": 12.5", "\"time_us\": 1e400", "byte"},
    {"\"time_us\": 12.5", "\"time_us\": NaN", "byte"},
    {"\"time_us\": 12.5", "\"time_us\": \"12.5\"", "time_us: expected a number"},
    {"\"time_us\": 12.5", "\"time_us\": 12", NULL},
    {"\"sqnr_db\": null", "\"sqnr_db\": false", "sqnr_db"},
    {"\"scale\": 0.1", "\"scale\": 0", "tensors[0].scale"},
    {"\"scale\": 0.1", "\"scale\": -0.1", "tensors[0].scale"},
    {"\"scale\": 0.1", "\"scale\": 1e-39", "tensors[0].scale"},
    {"\"scale\": 0.1", "\"scale\": 1e39", "tensors[0].scale"},
    {"\"scale\": 0.1", "\"scale\": null", "tensors[0].scale"},
    {"\"zero_point\": 128", "\"zero_point\": 256", "tensors[0].zero_point"},
    {"\"zero_point\": -128", "\"zero_point\": -129", "tensors[1].zero_point"},
    {"\"dtype\": \"u8\"", "\"dtype\": \"s8\"", "tensors[0].zero_point"},
    {"\"dtype\": \"u8\"", "\"dtype\": \"f8\"", "tensors[0].dtype"},
    {"\"min\": -12.8", "\"min\": 0.5", "tensors[0].min"},
    {"\"max\": 12.7", "\"max\": -0.5", "tensors[0].max"},
    {"\"name\": \"y\"", "\"name\": \"x\"", "tensors[1].name"},
    {"0123456789abcdef", "0123456789abcdeg", "model.sha256"},
    {"0123456789abcdef", "", "model.sha256"},
    {"\"bytes\": 123456789012", "\"bytes\": -1", "model.bytes"},
    {"\"threads\": 2", "\"threads\": 100000", "device.threads"},
    {"\"samples\": 256", "\"samples\": 1e3", "data.samples: expected an integer"},
    {"\"calib.npz\"", "{}", "data.names[0]"},
    {"\"names\": [", "\"names\": [[", "byte"},
    {"\"results\": {", "\"results\": [], \"r\": {", "results: expected an object"},
    {"\"bias_correction\"", "\"\"", "layers[2].arrays[0].name"},
    {"3.4028235e38", "3.5e38", "layers[2].arrays[0].values[2]"},
    {"3.4028235e38", "[]", "layers[2].arrays[0].values[2]"},
};

static void test_edits(void **unused)
{
    (void)unused;
    struct clq_plan_data p, q;
    size_t n;
    sample_plan(&p);
    char *text = text_of(&p, &n), *edited = malloc(n + 400);
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        char *at = strstr(text, edits[i].from);
        if (!at) at = strstr(text, "3.4028235e+38");
        if (!at) fail_msg("'%s' is not in the text", edits[i].from);
        size_t cut = strncmp(at, "3.4028235e+38", 13) == 0 ? 13 : strlen(edits[i].from);
        int m = sprintf(edited, "%.*s%s%s", (int)(at - text), text, edits[i].to, at + cut);
        struct clq_error err = {""};
        clq_status st = clq_plan_parse(&q, edited, (size_t)m, "edited.plan.json", &err);
        if (!edits[i].says) {
            if (st != CLQ_OK) fail_msg("edit %zu: %s", i, err.text);
            clq_plan_release(&q);
            continue;
        }
        if (st != CLQ_ERR_FORMAT || !strstr(err.text, edits[i].says) || strchr(err.text, '\n') || !strstr(err.text, "edited.plan.json"))
            fail_msg("edit %zu (%s): status %d, '%s' does not say '%s'", i, edits[i].to, st, err.text, edits[i].says);
        assert_null(q.layers);
    }
    free(edited);
    free(text);
}

/* Every prefix, every byte replaced, random mutants: refused, or accepted as a plan that writes and reads again. */
static void test_mutants(void **unused)
{
    (void)unused;
    struct clq_plan_data p, q;
    struct clq_random rng = clq_random_start(10, 0);
    size_t n, accepted = 0, refused = 0;
    sample_plan(&p);
    char *text = text_of(&p, &n), *mutant = malloc(n + 1);
    for (size_t i = 0; i < n - 1; i++)
        assert_int_equal(clq_plan_parse(&q, text, i, "prefix", NULL), CLQ_ERR_FORMAT);
    for (size_t i = 0; i < 20000; i++) {
        static const char interesting[] = "0123456789-+.eE\"\\{}[],:null \0\x01\x80\xff";
        memcpy(mutant, text, n);
        uint32_t edits_here = 1 + clq_random_below(&rng, 3);
        for (uint32_t k = 0; k < edits_here; k++)
            mutant[clq_random_below(&rng, (uint32_t)n)] = interesting[clq_random_below(&rng, sizeof interesting - 1)];
        struct clq_error err = {""};
        clq_status st = clq_plan_parse(&q, mutant, n, "mutant", &err);
        if (st == CLQ_OK) {
            size_t n2;
            char *again = text_of(&q, &n2);
            expect_round_trip(again, n2);
            free(again);
            clq_plan_release(&q);
            accepted++;
        } else {
            assert_int_equal(st, CLQ_ERR_FORMAT);
            assert_true(err.text[0] != 0 && !strchr(err.text, '\n'));
            refused++;
        }
    }
    print_message("%zu mutants accepted, %zu refused\n", accepted, refused);
    assert_true(accepted > 300 && refused > 10000);
    free(mutant);
    free(text);
}

static void expect_unwritable(const struct clq_plan_data *p, const char *says)
{
    char *text = NULL;
    size_t n;
    struct clq_error err = {""};
    assert_int_equal(clq_plan_text(&text, &n, p, &err), CLQ_ERR_INVALID_ARGUMENT);
    if (!strstr(err.text, says)) fail_msg("'%s' does not say '%s'", err.text, says);
    assert_null(text);
}

/* A plan that could not be read back is not written. */
static void test_writer_checks(void **unused)
{
    (void)unused;
    struct clq_plan_data p;
    sample_plan(&p);
    candidates[1][2].error = NAN;
    expect_unwritable(&p, "layers[1].candidates[2].error");
    sample_plan(&p);
    tensors[1].scale = 1e-40f;
    expect_unwritable(&p, "tensors[1].scale");
    sample_plan(&p);
    correction[1] = INFINITY;
    expect_unwritable(&p, "layers[2].arrays[0].values[1]");
    correction[1] = -1e-30f;
    sample_plan(&p);
    layers[0].choice = 3;
    expect_unwritable(&p, "layers[0].choice");
    sample_plan(&p);
    layers[0].name = NULL;
    expect_unwritable(&p, "layers[0].name");
    sample_plan(&p);
    layers[0].candidates[0].scheme.act_kind = 9;
    expect_unwritable(&p, "layers[0].candidates[0].scheme.activations");
    struct clq_scheme s;
    struct clq_error err = {""};
    assert_int_equal(clq_scheme_from_mode(&s, "int4-g48", "cpu", &err), CLQ_ERR_INVALID_ARGUMENT);
    assert_int_equal(clq_scheme_from_mode(&s, "fp8", "cpu", &err), CLQ_ERR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "fp8"));
    assert_int_equal(clq_scheme_from_mode(&s, "int4-g1024", "cpu", &err), CLQ_OK);
    assert_int_equal(s.weight_group, 1024);
}

static void test_files(void **unused)
{
    (void)unused;
    struct clq_plan_data p;
    struct clq_error err = {""};
    char path[] = "/tmp/clq_test_plan_XXXXXX";
    int fd = mkstemp(path);
    size_t n;
    sample_plan(&p);
    char *text = text_of(&p, &n);
    assert_int_equal(write(fd, text, n), (ssize_t)n);
    close(fd);
    assert_int_equal(clq_plan_read(&p, path, &err), CLQ_OK);
    assert_int_equal(p.n_layers, 3);
    clq_plan_release(&p);
    unlink(path);
    assert_int_equal(clq_plan_read(&p, path, &err), CLQ_ERR_IO);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_numbers_exact), cmocka_unit_test(test_locale),
        cmocka_unit_test(test_edits),      cmocka_unit_test(test_mutants),       cmocka_unit_test(test_writer_checks),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
