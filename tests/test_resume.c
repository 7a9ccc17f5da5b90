/* SPDX-License-Identifier: Apache-2.0
 * A search that was stopped goes on from its journal to the same plan. Times come from a profile, so that a run that was
 * never stopped is fed with the same ones; errors are measured again where the journal lost them. */
#include "quantize_fixture.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <math.h>

#include "base/journal.h"

enum { HEAD = 8 + 32 * CLQ_JOURNAL_PARTS + CLQ_JOURNAL_SEAL, MOST = 200 };

static struct run job(const char *journal, const char *profile)
{
    return (struct run){.threads = 1,
                        .samples = 16,
                        .options = {.journal_path = journal, .profile_path = profile, .min_sqnr_db = 22, .calibrator = "minmax", .algorithm = "mse",
                                    .candidates = "f32,int8,int4-g32", .timing_pairs = 10}};
}

/* The uninterrupted run: what it wrote, and its whole journal. */
static struct {
    struct ran ran;
    struct clq_blob plan, journal;
    size_t ends[MOST], n; /* where its records end */
} whole;

/* How long a run took and what it needed is no part of the plan. */
static void forget_cost(struct clq_blob *plan)
{
    static const char *const names[] = {"\"seconds\": ", "\"peak_rss_bytes\": "};
    for (int i = 0; i < 2; i++) {
        char *at = strstr((char *)plan->data, names[i]);
        assert_non_null(at);
        at += strlen(names[i]);
        size_t n = strcspn(at, ",\n");
        memmove(at, at + n, plan->bytes - (size_t)(at - (char *)plan->data) - n + 1);
        plan->bytes -= n;
    }
}

static void run_and_compare(struct ran *r, const struct run *run)
{
    quantize(r, run, scratch("plan.json"));
    must(r);
    struct clq_blob plan = slurp(scratch("plan.json"));
    forget_cost(&plan);
    assert_int_equal(r->n, whole.ran.n);
    assert_memory_equal(r->bytes, whole.ran.bytes, r->n);
    assert_string_equal((char *)plan.data, (char *)whole.plan.data);
    free(plan.data);
    free(r->bytes);
}

static int set_up(void **state)
{
    (void)state;
    unlink(scratch("whole.journal"));
    unlink(scratch("profile.json"));
    struct run run = job(scratch("whole.journal"), scratch("profile.json"));
    quantize(&whole.ran, &run, scratch("plan.json"));
    must(&whole.ran);
    assert_int_equal(whole.ran.summary.resumed, 0);
    whole.plan = slurp(scratch("plan.json"));
    forget_cost(&whole.plan);
    whole.journal = slurp(scratch("whole.journal"));
    for (size_t at = HEAD; at < whole.journal.bytes && whole.n < MOST; whole.ends[whole.n++] = at) {
        const unsigned char *p = whole.journal.data + at + 16;
        at += 20 + CLQ_JOURNAL_SEAL + (p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24);
    }
    assert_true(whole.n > 10 && whole.n < MOST);
    assert_int_equal(whole.ends[whole.n - 1], whole.journal.bytes);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(whole.ran.bytes);
    free(whole.plan.data);
    free(whole.journal.data);
    return 0;
}

/* All of it: no profile is needed for the same times. */
static void test_a_whole_journal(void **state)
{
    struct ran r;
    (void)state;
    spit(scratch("j"), whole.journal.data, whole.journal.bytes);
    struct run run = job(scratch("j"), NULL);
    run.options.resume = true;
    run_and_compare(&r, &run);
    assert_int_equal(r.summary.resumed, whole.n);
    assert_int_equal(lines_with(&r, "continues from"), 1);
}

static void test_torn_and_flipped(void **state)
{
    (void)state;
    for (int k = 0; k < 3; k++) {
        struct ran r;
        size_t keep = whole.n * (size_t)k / 3 + 1, n = whole.ends[keep] - (k == 1 ? 1 : 5);
        spit(scratch("j"), whole.journal.data, k == 2 ? whole.journal.bytes : n);
        if (k == 2) { /* a flipped byte in the middle takes all behind it along */
            struct clq_blob b = slurp(scratch("j"));
            b.data[n] ^= 0x10;
            spit(scratch("j"), b.data, b.bytes);
            free(b.data);
        }
        struct run run = job(scratch("j"), scratch("profile.json"));
        run_and_compare(&r, &run);
        assert_int_equal(r.summary.resumed, keep);
        assert_int_equal(lines_with(&r, "torn or damaged"), 1);
        struct clq_blob b = slurp(scratch("j"));
        assert_int_equal(b.bytes, whole.journal.bytes); /* and it is whole again */
        free(b.data);
    }
}

/* Well-sealed records with values that nobody measured: they are measured. */
static void run_on_values(const double hostile[3])
{
    struct ran r;
    struct clq_journal_job known = {.name = {"", "", "", "", ""}};
    struct clq_journal from, to;
    struct clq_error err = {""};
    char reason[200];
    memcpy(known.digest, whole.journal.data + 8, sizeof known.digest);
    spit(scratch("j"), whole.journal.data, whole.journal.bytes);
    unlink(scratch("k"));
    assert_int_equal(clq_journal_open(&from, scratch("j"), &known, true, reason, sizeof reason, &err), CLQ_OK);
    assert_int_equal(clq_journal_open(&to, scratch("k"), &known, false, reason, sizeof reason, &err), CLQ_OK);
    assert_int_equal(from.n, whole.n);
    for (size_t i = 0; i < from.n; i++) {
        size_t n = from.records[i].bytes;
        unsigned char *v = malloc(n + sizeof(double));
        assert_non_null(v);
        for (size_t at = 0; at < n; at += sizeof(double)) memcpy(v + at, &hostile[i % 3], sizeof(double));
        assert_int_equal(clq_journal_append(&to, from.records[i].key, v, n, &err), CLQ_OK);
        free(v);
    }
    clq_journal_close(&from);
    clq_journal_close(&to);
    struct run run = job(scratch("k"), scratch("profile.json"));
    run_and_compare(&r, &run);
}

static void test_hostile_values(void **state)
{
    (void)state;
    run_on_values((const double[]){NAN, -1e300, 1e300});
    run_on_values((const double[]){-1, -1, -1}); /* what was not timed */
}

/* ---- Killed ---- */
static size_t kill_bytes;

static void kill_self(void *user, const char *phase, double fraction)
{
    struct stat s;
    (void)user;
    (void)phase;
    (void)fraction;
    if (stat(scratch("killed"), &s) == 0 && (size_t)s.st_size >= kill_bytes) kill(getpid(), SIGKILL);
}

static void test_killed(void **state)
{
    (void)state;
    unlink(scratch("killed"));
    for (int k = 1; k <= 2; k++) { /* the resumed run is killed too */
        kill_bytes = whole.ends[whole.n * (size_t)k / 3];
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct ran r;
            struct run run = job(scratch("killed"), scratch("profile.json"));
            run.progress = kill_self;
            quantize(&r, &run, NULL);
            _exit(3);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
    struct ran r;
    struct run run = job(scratch("killed"), scratch("profile.json"));
    run.options.resume = true;
    run_and_compare(&r, &run);
    assert_true(r.summary.resumed >= whole.n * 2 / 3);
}

/* ---- What does not fit ---- */
static void refused(const struct run *base, const char *part)
{
    struct ran r;
    struct run run = *base;
    spit(scratch("j"), whole.journal.data, whole.journal.bytes);
    run.options.journal_path = scratch("j");
    run.options.resume = true;
    quantize(&r, &run, NULL);
    assert_int_equal(r.status, CLQ_ERR_INVALID_ARGUMENT);
    assert_non_null(strstr(r.message, part));
    struct clq_blob b = slurp(scratch("j"));
    assert_int_equal(b.bytes, whole.journal.bytes);
    assert_memory_equal(b.data, whole.journal.data, b.bytes);
    free(b.data);
}

static void test_other_jobs(void **state)
{
    struct ran r;
    (void)state;
    struct run run = job(NULL, NULL);
    run.options.min_sqnr_db = 23;
    refused(&run, "belongs to another set of options");
    run = job(NULL, NULL);
    run.samples = 17;
    refused(&run, "belongs to another data set");
    run = job(NULL, NULL);
    run.isa = "ref";
    refused(&run, "belongs to another device");
    run = job(scratch("none"), NULL);
    run.options.resume = true;
    unlink(scratch("none"));
    quantize(&r, &run, NULL);
    assert_int_equal(r.status, CLQ_ERR_IO);
    run = job(scratch("letter"), NULL);
    spit(scratch("letter"), "Dear Sir", 8);
    quantize(&r, &run, NULL);
    assert_int_equal(r.status, CLQ_ERR_FORMAT);
    run = job(scratch("j"), scratch("profile.json"));
    run.options.tuning_samples = 7;
    spit(scratch("j"), whole.journal.data, whole.journal.bytes);
    quantize(&r, &run, NULL);
    must(&r);
    free(r.bytes);
    assert_int_equal(r.summary.resumed, 0);
    assert_int_equal(lines_with(&r, "belongs to another set of options: everything is measured anew"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed), cmocka_unit_test(test_a_whole_journal), cmocka_unit_test(test_torn_and_flipped),
        cmocka_unit_test(test_hostile_values), cmocka_unit_test(test_other_jobs),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
