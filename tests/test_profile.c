/* SPDX-License-Identifier: Apache-2.0
 * Profiles: what is put is found under the same environment only; text, merge, stale entries, and damaged files. */
#include "scheduler/profile.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "scheduler/stats.h"

static const struct clq_profile_key cpu = {"cpu", "", "f00d", "0.1.0", "avx512_vnni", "2.6.3", 1};

static struct clq_profile_entry entry(const char *signature, const char *place, const char *scheme, double time_us, int timings)
{
    return (struct clq_profile_entry){signature, place, scheme, time_us, 0.5, timings};
}

static void put(struct clq_profile *p, const struct clq_profile_key *key, struct clq_profile_entry e)
{
    struct clq_error err = {""};
    if (clq_profile_put(p, key, &e, &err) != CLQ_OK) fail_msg("%s", err.text);
}

static void test_find(void **unused)
{
    (void)unused;
    struct clq_profile p;
    clq_profile_start(&p);
    assert_null(clq_profile_find(&p, &cpu, "Conv", "a", "int8"));
    put(&p, &cpu, entry("Conv", "a", "int8", 10, 21));
    put(&p, &cpu, entry("Conv", "b", "int8", 20, 21));
    put(&p, &cpu, entry("Conva", "", "int8", 30, 21)); /* the same letters in a row */
    assert_true(clq_profile_find(&p, &cpu, "Conv", "a", "int8")->time_us == 10);
    assert_true(clq_profile_find(&p, &cpu, "Conva", "", "int8")->time_us == 30);
    assert_null(clq_profile_find(&p, &cpu, "Conv", "a", "f32"));
    put(&p, &cpu, entry("Conv", "a", "int8", 11, 30));
    assert_true(clq_profile_find(&p, &cpu, "Conv", "a", "int8")->time_us == 11);
    assert_int_equal(p.environments[0].n_entries, 3);
    /* Every part of the environment counts. */
    for (int i = 0; i < 7; i++) {
        struct clq_profile_key k = cpu;
        const char **text[] = {&k.device, &k.driver, &k.kernel_hash, &k.clquant, &k.isa, &k.onednn};
        if (i < 6) *text[i] = "other";
        else k.threads = 2;
        assert_null(clq_profile_find(&p, &k, "Conv", "a", "int8"));
        put(&p, &k, entry("Conv", "a", "int8", 100 + i, 21));
        assert_true(clq_profile_find(&p, &k, "Conv", "a", "int8")->time_us == 100 + i);
    }
    assert_true(clq_profile_find(&p, &cpu, "Conv", "a", "int8")->time_us == 11);
    assert_int_equal(p.n_environments, 8);
    struct clq_profile_entry bad[] = {entry("Conv", "a", "int8", 0, 21), entry("Conv", "a", "int8", -1, 21),
                                      entry("Conv", "a", "int8", 1.0 / 0.0, 21), entry("Conv", "a", "int8", 1, 0),
                                      entry("", "a", "int8", 1, 1)};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(clq_profile_put(&p, &cpu, &bad[i], NULL), CLQ_ERR_INVALID_ARGUMENT);
    clq_profile_release(&p);
}

static void fill(struct clq_profile *p, uint64_t seed, int n)
{
    struct clq_random rng = clq_random_start(seed, 0);
    clq_profile_start(p);
    for (int i = 0; i < n; i++) {
        char signature[64], place[64];
        struct clq_profile_key key = cpu;
        key.threads = 1 + (int)clq_random_below(&rng, 2);
        snprintf(signature, sizeof signature, "Conv f32 [1,%u,7,7]", clq_random_below(&rng, 200));
        snprintf(place, sizeof place, "after%u", clq_random_below(&rng, 5));
        put(p, &key, entry(signature, place, clq_random_below(&rng, 2) ? "int8" : "f32", 1 + clq_random_word(&rng) * 1e-7, 21 + i % 7));
    }
}

static void test_text(void **unused)
{
    (void)unused;
    struct clq_profile a, b, c;
    char *text, *again, *reversed;
    size_t n, n2, n3;
    fill(&a, 1, 3000);
    assert_int_equal(clq_profile_text(&text, &n, &a, NULL), CLQ_OK);
    struct clq_error err = {""};
    if (clq_profile_parse(&b, text, n, "profile", &err) != CLQ_OK) fail_msg("%s", err.text);
    assert_int_equal(clq_profile_text(&again, &n2, &b, NULL), CLQ_OK);
    assert_int_equal(n, n2);
    assert_memory_equal(text, again, n);
    /* The order of putting does not show. */
    clq_profile_start(&c);
    for (size_t e = b.n_environments; e-- > 0;)
        for (size_t i = b.environments[e].n_entries; i-- > 0;)
            put(&c, &b.environments[e].key, b.environments[e].entries[i]);
    assert_int_equal(clq_profile_text(&reversed, &n3, &c, NULL), CLQ_OK);
    assert_int_equal(n, n3);
    assert_memory_equal(text, reversed, n);
    free(text);
    free(again);
    free(reversed);
    clq_profile_release(&a);
    clq_profile_release(&b);
    clq_profile_release(&c);
}

/* A profile that moved grows in its own memory; the place that it came from may go. */
static void test_move(void **unused)
{
    (void)unused;
    struct clq_profile to, *from = malloc(sizeof *from);
    char name[32];
    assert_non_null(from);
    clq_profile_start(from);
    put(from, &cpu, entry("Conv", "a", "int8", 10, 21));
    clq_profile_move(&to, from);
    assert_int_equal(from->n_environments, 0);
    assert_ptr_equal(to.environments[0].index.arena, &to.arena);
    free(from);
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof name, "place %d", i);
        put(&to, &cpu, entry("Conv", name, "int8", i + 1, 21));
    }
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof name, "place %d", i);
        assert_true(clq_profile_find(&to, &cpu, "Conv", name, "int8")->time_us == i + 1);
    }
    assert_true(clq_profile_find(&to, &cpu, "Conv", "a", "int8")->time_us == 10);
    clq_profile_release(&to);
}

static void test_merge(void **unused)
{
    (void)unused;
    struct clq_profile a, b;
    struct clq_profile_merged m;
    clq_profile_start(&a);
    clq_profile_start(&b);
    put(&a, &cpu, entry("Conv", "a", "int8", 10, 21));
    put(&a, &cpu, entry("Conv", "b", "int8", 10, 21));
    put(&a, &cpu, entry("Conv", "c", "int8", 10, 21));
    put(&b, &cpu, entry("Conv", "a", "int8", 11, 21)); /* a tie: stays */
    put(&b, &cpu, entry("Conv", "b", "int8", 12, 40)); /* more timings */
    put(&b, &cpu, entry("Conv", "d", "int8", 13, 21));
    struct clq_profile_key phone = cpu;
    phone.device = "phone";
    put(&b, &phone, entry("Conv", "a", "int8", 99, 5));
    assert_int_equal(clq_profile_merge(&m, &a, &b, NULL), CLQ_OK);
    assert_true(m.added == 2 && m.replaced == 1 && m.kept == 1);
    assert_true(clq_profile_find(&a, &cpu, "Conv", "a", "int8")->time_us == 10);
    assert_true(clq_profile_find(&a, &cpu, "Conv", "b", "int8")->time_us == 12);
    assert_true(clq_profile_find(&a, &phone, "Conv", "a", "int8")->time_us == 99);
    assert_int_equal(clq_profile_merge(&m, &a, &b, NULL), CLQ_OK);
    assert_true(m.added == 0 && m.replaced == 0 && m.kept == 4);
    clq_profile_release(&a);
    clq_profile_release(&b);
}

static void test_stale(void **unused)
{
    (void)unused;
    struct clq_profile p;
    char reason[512];
    clq_profile_start(&p);
    struct clq_profile_key old = cpu, two = cpu, phone = cpu;
    old.clquant = "0.0.9";
    two.threads = 2;
    phone.device = "phone";
    put(&p, &old, entry("Conv", "a", "int8", 10, 21));
    put(&p, &cpu, entry("Conv", "a", "int8", 11, 21));
    put(&p, &two, entry("Conv", "a", "int8", 12, 21));
    put(&p, &phone, entry("Conv", "a", "int8", 13, 21));
    assert_int_equal(clq_profile_drop_stale(&p, &cpu, reason, sizeof reason), 1);
    assert_non_null(strstr(reason, "0.0.9"));
    assert_null(clq_profile_find(&p, &old, "Conv", "a", "int8"));
    assert_true(clq_profile_find(&p, &cpu, "Conv", "a", "int8")->time_us == 11);
    assert_true(clq_profile_find(&p, &two, "Conv", "a", "int8")->time_us == 12);
    assert_true(clq_profile_find(&p, &phone, "Conv", "a", "int8")->time_us == 13);
    assert_int_equal(clq_profile_drop_stale(&p, &cpu, reason, sizeof reason), 0);
    assert_string_equal(reason, "");
    clq_profile_release(&p);
}

static void write_file(const char *path, const char *text, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
}

static void expect_discarded(const char *path, const char *says)
{
    struct clq_profile p;
    char reason[512];
    assert_int_equal(clq_profile_load(&p, path, reason, sizeof reason, NULL), CLQ_OK);
    assert_int_equal(p.n_environments, 0);
    if (!strstr(reason, says)) fail_msg("'%s' does not say '%s'", reason, says);
    clq_profile_release(&p);
}

static void test_files(void **unused)
{
    (void)unused;
    struct clq_profile p, q;
    char dir[] = "/tmp/clq_test_profile_XXXXXX", path[64], reason[512], *text;
    size_t n;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/profile.json", dir);
    expect_discarded(path, ""); /* absent: empty, and nothing to say */
    assert_int_equal(clq_profile_load(&q, path, reason, sizeof reason, NULL), CLQ_OK);
    assert_string_equal(reason, "");
    fill(&p, 2, 50);
    assert_int_equal(clq_profile_save(&p, path, NULL), CLQ_OK);
    assert_int_equal(clq_profile_save(&p, path, NULL), CLQ_OK); /* replaces */
    assert_int_equal(clq_profile_load(&q, path, reason, sizeof reason, NULL), CLQ_OK);
    assert_string_equal(reason, "");
    assert_int_equal(clq_profile_text(&text, &n, &q, NULL), CLQ_OK);
    size_t found = 0, all = 0;
    for (size_t e = 0; e < p.n_environments; e++)
        for (size_t i = 0; i < p.environments[e].n_entries; i++, all++) {
            const struct clq_profile_entry *x = &p.environments[e].entries[i];
            const struct clq_profile_entry *y = clq_profile_find(&q, &p.environments[e].key, x->signature, x->place, x->scheme);
            found += y && y->time_us == x->time_us && y->timings == x->timings;
        }
    assert_true(found == all && all > 40);
    for (size_t cut = 0; cut < n - 1; cut += 97) {
        write_file(path, text, cut);
        expect_discarded(path, "profile is not used");
    }
    static const struct {
        const char *text, *says;
    } wrong[] = {
        {"{}", "kind: missing"},
        {"[]", "expected an object"},
        {"{\"kind\": \"clquant profile\", \"version\": 2, \"environments\": []}", "version"},
        {"{\"kind\": \"a plan\", \"version\": 1, \"environments\": []}", "kind"},
        {"{\"kind\": \"clquant profile\", \"version\": 1, \"environments\": [{}]}", "environments[0].device: missing"},
        {"{\"kind\": \"clquant profile\", \"version\": 1, \"environments\": [{\"device\":\"d\",\"driver\":\"\",\"kernel_hash\":\"\","
         "\"clquant\":\"\",\"isa\":\"\",\"onednn\":\"\",\"threads\":1,\"entries\":[{\"signature\":\"s\",\"place\":\"\",\"scheme\":\"\","
         "\"time_us\":0,\"spread_us\":0,\"timings\":1}]}]}", "environments[0].entries[0].time_us: 0"},
        {"\xff\xfe", "not used"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_file(path, wrong[i].text, strlen(wrong[i].text));
        expect_discarded(path, wrong[i].says);
    }
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0); /* a folder in its place */
    expect_discarded(path, "not used");
    assert_int_equal(clq_profile_save(&p, path, NULL), CLQ_ERR_IO);
    rmdir(path);
    rmdir(dir);
    free(text);
    clq_profile_release(&p);
    clq_profile_release(&q);
}

static void test_twice(void **unused)
{
    (void)unused;
    static const char one[] = "{\"device\":\"d\",\"driver\":\"\",\"kernel_hash\":\"\",\"clquant\":\"\",\"isa\":\"\",\"onednn\":\"\",\"threads\":1,\"entries\":[%s]}";
    static const char time[] = "{\"signature\":\"s\",\"place\":\"p\",\"scheme\":\"\",\"time_us\":1,\"spread_us\":0,\"timings\":1}";
    char environment[1024], entries[512], text[4096];
    struct clq_profile p;
    struct clq_error err = {""};
    snprintf(entries, sizeof entries, "%s,%s", time, time);
    for (int pass = 0; pass < 3; pass++) {
        snprintf(environment, sizeof environment, one, pass == 1 ? entries : time);
        snprintf(text, sizeof text, "{\"kind\":\"clquant profile\",\"version\":1,\"environments\":[%s%s%s]}", environment,
                 pass == 2 ? "," : "", pass == 2 ? environment : "");
        clq_status st = clq_profile_parse(&p, text, strlen(text), "text", &err);
        assert_int_equal(st, pass == 0 ? CLQ_OK : CLQ_ERR_FORMAT);
        if (pass) assert_non_null(strstr(err.text, "there twice"));
        clq_profile_release(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),  cmocka_unit_test(test_text),  cmocka_unit_test(test_merge), cmocka_unit_test(test_move),
        cmocka_unit_test(test_stale), cmocka_unit_test(test_files), cmocka_unit_test(test_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
