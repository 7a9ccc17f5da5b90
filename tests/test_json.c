/* SPDX-License-Identifier: Apache-2.0
 * JSON: what is refused, numbers that survive, any bytes as strings, no dependence on the locale. */
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n;
    } cases[] = {
#define C(s) {s, sizeof s - 1}
        C(""), C("1"), C("{} x"), C("{\"a\":1,\"a\":2}"), C("{\"a\":1e999}"), C("{\"a\":99999999999999999999}"),
        C("{\"a\":\"\\u0000\"}"), C("{\"a\":\"\xff\"}"), C("{\"a\":\"\\ud800\"}"), C("{a:1}"), C("[1,]"), C("[NaN]"),
        C("{}\0"), C("[\"a\nb\"]"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        clq_json *doc = NULL;
        struct clq_error err = {""};
        if (clq_json_parse(&doc, cases[i].text, cases[i].n, "test", &err) != CLQ_ERR_FORMAT)
            fail_msg("case %zu was accepted", i);
        assert_int_equal(strncmp(err.text, "test: ", 6), 0);
    }
    char deep[400];
    clq_json *doc;
    memset(deep, '[', 200);
    memset(deep + 200, ']', 200);
    assert_int_equal(clq_json_parse(&doc, deep, 400, "deep", NULL), CLQ_ERR_FORMAT);
    assert_int_equal(clq_json_parse(&doc, deep + 167, 66, "deep", NULL), CLQ_ERR_FORMAT);
    assert_int_equal(clq_json_parse(&doc, deep + 168, 64, "deep", NULL), CLQ_OK);
    clq_json_free(doc);
    static const char quoted[] = "[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[\"]";
    assert_int_equal(clq_json_parse(&doc, quoted, sizeof quoted - 1, "quoted", NULL), CLQ_OK);
    clq_json_free(doc);
}

static char *dump(clq_json *doc, bool pretty)
{
    char *text;
    struct clq_error err;
    if (clq_json_dump(&text, NULL, doc, pretty, &err) != CLQ_OK) fail_msg("%s", err.text);
    return text;
}

static void written_text(void **state)
{
    (void)state;
    clq_json *doc = clq_json_object(), *list = clq_json_array();
    assert_true(clq_json_append(list, clq_json_real32(0.1f)));
    assert_true(clq_json_append(list, clq_json_real(0.1)));
    assert_true(clq_json_append(list, clq_json_real(1)));
    assert_true(clq_json_append(list, clq_json_real(1e300)));
    assert_true(clq_json_append(list, clq_json_real(NAN)));
    assert_true(clq_json_append(list, clq_json_real32(INFINITY)));
    assert_true(clq_json_append(list, clq_json_object()));
    assert_true(clq_json_append(list, clq_json_array()));
    assert_true(clq_json_set(doc, "z", list));
    assert_true(clq_json_set(doc, "a\"\\\n\x01", clq_json_string_n("x\0y\xff\xc3\xa9", 6)));
    assert_true(clq_json_set(doc, "\xed\xa0\x80", clq_json_bool(true)));
    assert_true(clq_json_set(doc, "n", clq_json_string(NULL)));
    assert_true(clq_json_set(doc, "i", clq_json_integer(INT64_MIN)));
    assert_false(clq_json_set(doc, "absent", NULL));
    assert_false(clq_json_append(doc, clq_json_null()));
    char *text = dump(doc, false);
    assert_string_equal(text, "{\"z\":[0.1,0.1,1.0,1e+300,null,null,{},[]],\"a\\\"\\\\\\n\\u0001\":\"x\\u0000y\\\\xff\xc3\xa9\","
                              "\"\\\\xed\\\\xa0\\\\x80\":true,\"n\":null,\"i\":-9223372036854775808}\n");
    free(text);
    clq_json_free(doc);
    doc = clq_json_object();
    list = clq_json_array();
    assert_true(clq_json_append(list, clq_json_integer(1)) && clq_json_set(doc, "a", list));
    text = dump(doc, true);
    assert_string_equal(text, "{\n  \"a\": [\n    1\n  ]\n}\n");
    free(text);
    clq_json_free(doc);
}

/* A generator that needs no library state. */
static uint32_t next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 32);
}

static void numbers_survive(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int round = 0; round < 100; round++) {
        clq_json *doc = clq_json_array(), *back;
        float f[100];
        double d[100];
        for (int i = 0; i < 100; i++) {
            uint32_t bits = next(&seed);
            uint64_t wide = (uint64_t)next(&seed) << 32 | next(&seed);
            memcpy(&f[i], &bits, 4);
            memcpy(&d[i], &wide, 8);
            if (!isfinite(f[i])) f[i] = i & 1 ? 1e-45f : -0.0f;
            if (!isfinite(d[i])) d[i] = 4.9e-324;
            assert_true(clq_json_append(doc, clq_json_real32(f[i])) && clq_json_append(doc, clq_json_real(d[i])));
        }
        char *text = dump(doc, round & 1);
        assert_int_equal(clq_json_parse(&back, text, strlen(text), "round trip", NULL), CLQ_OK);
        for (size_t i = 0; i < 100; i++) {
            float x = (float)clq_json_as_real(clq_json_at(back, 2 * i), 7);
            double y = clq_json_as_real(clq_json_at(back, 2 * i + 1), 7);
            assert_memory_equal(&x, &f[i], sizeof x);
            assert_memory_equal(&y, &d[i], sizeof y);
        }
        free(text);
        clq_json_free(doc);
        clq_json_free(back);
    }
}

/* de_DE may be missing here; then a made-up comma cannot be tested and the test says so. */
static void locale_comma(void **state)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE", "ps_AF.UTF-8"};
    bool found = false;
    for (size_t i = 0; !found && i < sizeof names / sizeof *names; i++)
        found = setlocale(LC_ALL, names[i]) && localeconv()->decimal_point[0] != '.';
    if (!found) {
        print_message("no locale with another decimal point is installed\n");
        skip();
    }
    clq_json *doc = clq_json_array(), *back;
    assert_true(clq_json_append(doc, clq_json_real(0.25)));
    char *text = dump(doc, false);
    assert_string_equal(text, "[0.25]\n");
    assert_int_equal(clq_json_parse(&back, text, strlen(text), "locale", NULL), CLQ_OK);
    assert_true(clq_json_as_real(clq_json_at(back, 0), 0) == 0.25);
    setlocale(LC_ALL, "C");
    free(text);
    clq_json_free(doc);
    clq_json_free(back);
    (void)state;
}

static void typed_members(void **state)
{
    (void)state;
    static const char text[] = "{\"i\":3,\"r\":2.5,\"b\":true,\"s\":\"x\",\"o\":{\"k\":1}}";
    clq_json *doc;
    struct clq_error err;
    int64_t i;
    double r;
    bool b;
    const char *s;
    assert_int_equal(clq_json_parse(&doc, text, sizeof text - 1, "typed", &err), CLQ_OK);
    assert_int_equal(clq_json_get_integer(&i, doc, "i", &err), CLQ_OK);
    assert_int_equal(i, 3);
    assert_int_equal(clq_json_get_real(&r, doc, "i", &err), CLQ_OK);
    assert_true(r == 3.0);
    assert_int_equal(clq_json_get_bool(&b, doc, "b", &err), CLQ_OK);
    assert_true(b);
    assert_int_equal(clq_json_get_string(&s, doc, "s", &err), CLQ_OK);
    assert_string_equal(s, "x");
    assert_int_equal(clq_json_get_integer(&i, doc, "r", &err), CLQ_ERR_FORMAT);
    assert_int_equal(clq_json_get_string(&s, doc, "none", &err), CLQ_ERR_FORMAT);
    assert_non_null(strstr(err.text, "none"));
    assert_string_equal(clq_json_key(doc, 4), "o");
    assert_null(clq_json_key(doc, 5));
    assert_int_equal(clq_json_size(doc), 5);
    assert_int_equal(clq_json_as_integer(clq_json_get(clq_json_get(doc, "o"), "k"), 0), 1);
    assert_true(clq_json_is_null(clq_json_get(doc, "none")));
    clq_json_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(refused), cmocka_unit_test(written_text),
                                       cmocka_unit_test(numbers_survive), cmocka_unit_test(locale_comma),
                                       cmocka_unit_test(typed_members)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
