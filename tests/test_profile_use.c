/* SPDX-License-Identifier: Apache-2.0
 * Measured times outlive a run: a second run writes the same bytes from recorded times alone, recorded times and verdicts
 * decide, and a profile that cannot be used costs one line. Times are injected; none is compared. */
#include "quantize_fixture.h"

#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "scheduler/compare.h"
#include "scheduler/profile.h"

static const char *own_path;
extern char **environ;

static struct run searched(const char *profile)
{
    return (struct run){.threads = 1, .options = {.profile_path = profile, .min_sqnr_db = 22, .calibrator = "minmax"}};
}

static void load(struct clq_profile *p, const char *path)
{
    char reason[400];
    struct clq_error err = {""};
    assert_int_equal(clq_profile_load(p, path, reason, sizeof reason, &err), CLQ_OK);
    assert_string_equal(reason, "");
}

static void store(struct clq_profile *p, const char *path)
{
    struct clq_error err = {""};
    if (clq_profile_save(p, path, &err) != CLQ_OK) fail_msg("%s", err.text);
    clq_profile_release(p);
}

/* Sets the time of all entries of a scheme. */
static size_t set_times(const char *path, const char *scheme, double us)
{
    struct clq_profile p;
    size_t n = 0;
    load(&p, path);
    for (size_t e = 0; e < p.n_environments; e++)
        for (size_t i = 0; i < p.environments[e].n_entries; i++)
            if (strcmp(p.environments[e].entries[i].scheme, scheme) == 0) {
                p.environments[e].entries[i].time_us = us;
                n++;
            }
    store(&p, path);
    return n;
}

static size_t set_verdicts(const char *path, enum clq_speed speed)
{
    struct clq_profile p;
    size_t n = 0;
    load(&p, path);
    for (size_t e = 0; e < p.n_environments; e++)
        for (size_t i = 0; i < p.environments[e].n_entries; i++)
            if (strcmp(p.environments[e].entries[i].scheme, "ratio") == 0) {
                p.environments[e].entries[i].timings = 1 + (int)speed;
                n++;
            }
    store(&p, path);
    return n;
}

/* Takes one entry of a scheme out of every environment. */
static size_t drop_one(const char *path, const char *scheme)
{
    struct clq_profile p;
    size_t dropped = 0;
    load(&p, path);
    for (size_t e = 0; e < p.n_environments; e++) {
        struct clq_profile_environment *v = &p.environments[e];
        size_t i = 0;
        while (i < v->n_entries && strcmp(v->entries[i].scheme, scheme) != 0) i++;
        if (i == v->n_entries) continue;
        v->entries[i] = v->entries[--v->n_entries];
        dropped++;
    }
    store(&p, path);
    return dropped;
}

static void run_once(struct ran *r, const char *profile, bool remeasure)
{
    struct run run = searched(profile);
    run.options.remeasure = remeasure;
    quantize(r, &run, NULL);
    must(r);
}

static void test_second_run(void **state)
{
    (void)state;
    const char *profile = scratch("second.json");
    struct ran a, b;
    unlink(profile);
    run_once(&a, profile, false);
    struct clq_blob before = slurp(profile);
    run_once(&b, profile, false);
    struct clq_blob after = slurp(profile);
    assert_int_equal(lines_with(&a, "come from"), 0);
    assert_int_equal(lines_with(&b, "come from"), 1);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.bytes, b.bytes, a.n);
    assert_string_equal(a.choices, b.choices);
    assert_int_equal(a.summary.kept_float, b.summary.kept_float);
    assert_int_equal(before.bytes, after.bytes);
    assert_memory_equal(before.data, after.data, before.bytes);
    free(before.data);
    free(after.data);
    free(a.bytes);
    free(b.bytes);
}

/* Whatever this machine measures: the recorded numbers decide. */
static void test_records_decide(void **state)
{
    (void)state;
    const char *profile = scratch("inject.json");
    struct ran r;
    unlink(profile);
    run_once(&r, profile, false);
    free(r.bytes);
    assert_true(set_times(profile, "int8", 1e6) > 0);
    run_once(&r, profile, false);
    assert_true(r.summary.kept_float);
    assert_null(strchr(r.choices, 'q'));
    free(r.bytes);

    assert_true(set_times(profile, "int8", 1e-3) > 0);
    assert_true(set_times(profile, "f32", 1e3) > 0);
    assert_true(set_times(profile, "quantize", 1e-3) > 0 && set_times(profile, "dequantize", 1e-3) > 0);
    run_once(&r, profile, false); /* leaves verdicts on the chosen plan and on uniform int8 */
    free(r.bytes);
    assert_true(set_verdicts(profile, CLQ_SPEED_FASTER) > 0);
    run_once(&r, profile, false);
    assert_false(r.summary.kept_float);
    assert_non_null(strchr(r.choices, 'q'));
    free(r.bytes);
    assert_true(set_verdicts(profile, CLQ_SPEED_SLOWER) > 0);
    run_once(&r, profile, false);
    assert_true(r.summary.kept_float);
    free(r.bytes);

    run_once(&r, profile, true); /* new times replace all of them */
    free(r.bytes);
    struct clq_profile p;
    load(&p, profile);
    for (size_t i = 0; i < p.environments[0].n_entries; i++)
        if (strcmp(p.environments[0].entries[i].scheme, "f32") == 0) assert_true(p.environments[0].entries[i].time_us != 1e3);
    clq_profile_release(&p);
}

/* Another network, rules for what may be quantized, thread count or ISA shares nothing; leaving one time out means measuring. */
static void test_keys(void **state)
{
    (void)state;
    const char *profile = scratch("keys.json");
    struct ran r;
    unlink(profile);
    run_once(&r, profile, false);
    free(r.bytes);
    assert_int_equal(drop_one(profile, "f32"), 1);
    run_once(&r, profile, false);
    assert_int_equal(lines_with(&r, "layers come from"), 0);
    free(r.bytes);
    run_once(&r, profile, false);
    assert_int_equal(lines_with(&r, "layers come from"), 1);
    free(r.bytes);
    struct run others[] = {
        {.threads = 2, .options = searched(profile).options},
        {.threads = 1, .isa = "ref", .options = searched(profile).options},
        {.threads = 1, .model = EXAMPLE "model_bn.onnx", .options = searched(profile).options},
        {.threads = 1, .options = searched(profile).options},
    };
    others[3].options.target = "tensorrt";
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        quantize(&r, &others[i], NULL);
        must(&r);
        assert_int_equal(lines_with(&r, "layers come from"), 0);
        free(r.bytes);
    }
    struct clq_profile p;
    load(&p, profile);
    assert_int_equal(p.n_environments, 3);
    clq_profile_release(&p);
    run_once(&r, profile, false); /* the others have taken nothing away */
    assert_int_equal(lines_with(&r, "layers come from"), 1);
    free(r.bytes);
}

/* A profile that cannot be read or written costs one line, and nothing else. */
static void test_unusable(void **state)
{
    (void)state;
    const char *garbage = scratch("garbage.json"), *folder = scratch("folder.json"), *nowhere = scratch("nowhere/profile.json");
    struct ran r, plain;
    struct run run = searched(NULL);
    quantize(&plain, &run, NULL);
    must(&plain);
    assert_int_equal(lines_with(&plain, "measured times"), 0);
    free(plain.bytes);
    const char *broken = "{\"kind\": \"clquant profile\", \"version\": 1, \"environments\": [{]}";
    spit(garbage, broken, strlen(broken));
    mkdir(folder, 0700);
    const char *const bad[] = {garbage, folder, nowhere};
    for (int i = 0; i < 3; i++) {
        run_once(&r, bad[i], false);
        assert_int_equal(lines_with(&r, "profile is not used") + lines_with(&r, "measured times are not kept"), 1);
        for (size_t k = 0; k < r.n_lines; k++) assert_null(strchr(r.lines[k], '\n'));
        free(r.bytes);
    }
    run_once(&r, garbage, false); /* the damaged file was replaced by a good one */
    assert_int_equal(lines_with(&r, "layers come from"), 1);
    free(r.bytes);
    rmdir(folder);
}

/* Writers at the same time: every one's entries are there in the end. */
static void test_concurrent(void **state)
{
    (void)state;
    enum { WRITERS = 4 };
    const char *profile = scratch("shared.json");
    pid_t pid[WRITERS];
    unlink(profile);
    for (int i = 0; i < WRITERS; i++) {
        char threads[12];
        snprintf(threads, sizeof threads, "%d", i + 1);
        char *argv[] = {(char *)(uintptr_t)own_path, threads, NULL};
        assert_int_equal(posix_spawn(&pid[i], own_path, NULL, NULL, argv, environ), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        int status;
        assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    struct clq_profile p;
    load(&p, profile);
    assert_int_equal(p.n_environments, WRITERS);
    for (int i = 0; i < WRITERS; i++) assert_true(p.environments[i].n_entries >= 26 * 2);
    clq_profile_release(&p);
}

/* One of the writers; its model goes to a file of its own. */
static int write_shared(int threads)
{
    clq_context *ctx;
    clq_model *model;
    clq_data *data;
    clq_result *result;
    clq_context_options c = {.threads = threads};
    clq_quantize_options o = searched(scratch("shared.json")).options;
    o.timing_pairs = 10;
    if (clq_context_create(&ctx, &c) != CLQ_OK || clq_model_load(&model, ctx, EXAMPLE "model.onnx", NULL) != CLQ_OK) return 1;
    if (clq_data_open(&data, ctx, model, EXAMPLE "calib.npz", &(clq_data_options){.limit = 12}) != CLQ_OK) return 2;
    clq_status st = clq_quantize(&result, ctx, model, data, &o);
    if (st == CLQ_OK) clq_result_free(result);
    clq_data_free(data);
    clq_model_free(model);
    clq_context_free(ctx);
    return st == CLQ_OK ? 0 : 3;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_second_run), cmocka_unit_test(test_records_decide), cmocka_unit_test(test_keys),
        cmocka_unit_test(test_unusable),   cmocka_unit_test(test_concurrent),
    };
    if (argc > 1) return write_shared(atoi(argv[1]));
    own_path = argv[0];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
