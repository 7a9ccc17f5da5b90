/* SPDX-License-Identifier: Apache-2.0
 * Attacks on the ONNX reader: external data that leaves its directory, every prefix and every single-byte change of a
 * sound file, every allocation that fails, nesting at its limits; and what is read although it cannot be used. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "formats/onnx.h"

#define GOLDEN CLQ_TEST_DATA "/golden/onnx/every_field.onnx"

/* --- allocation faults: the linker sends the program's calls here --- */

static long fail_at = -1; /* the allocation that fails, counted down; -1: none */
static bool sticky;

static bool fails(void)
{
    if (fail_at < 0) return false;
    if (fail_at > 0) {
        fail_at--;
        return false;
    }
    if (!sticky) fail_at = -1;
    return true;
}

void *__real_malloc(size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : __real_malloc(n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
    return fails() ? NULL : __real_aligned_alloc(align, n);
}

/* --- messages as bytes --- */

struct bytes {
    size_t n;
    unsigned char data[65536];
};

static void put(struct bytes *b, const void *data, size_t n)
{
    assert_true(n <= sizeof b->data - b->n);
    if (n) memcpy(b->data + b->n, data, n);
    b->n += n;
}

static void put_varint(struct bytes *b, uint64_t v)
{
    do {
        unsigned char byte = (unsigned char)((v & 127) | (v > 127 ? 128 : 0));
        put(b, &byte, 1);
        v >>= 7;
    } while (v);
}

static void number(struct bytes *b, unsigned field, uint64_t v)
{
    put_varint(b, field << 3);
    put_varint(b, v);
}

static void span(struct bytes *b, unsigned field, const void *data, size_t n)
{
    put_varint(b, field << 3 | 2);
    put_varint(b, n);
    put(b, data, n);
}

static void text(struct bytes *b, unsigned field, const char *s)
{
    span(b, field, s, strlen(s));
}

static void message(struct bytes *b, unsigned field, const struct bytes *inner)
{
    span(b, field, inner->data, inner->n);
}

static void node(struct bytes *graph, const char *op, const char *name, const char *in, const char *out)
{
    struct bytes b = {0};
    text(&b, 1, in);
    text(&b, 2, out);
    if (name) text(&b, 3, name);
    text(&b, 4, op);
    message(graph, 1, &b);
}

static void value(struct bytes *graph, unsigned field, const char *name)
{
    struct bytes v = {0}, type = {0}, tensor = {0};
    number(&tensor, 1, CLQ_DTYPE_F32);
    message(&type, 1, &tensor);
    text(&v, 1, name);
    message(&v, 2, &type);
    message(graph, field, &v);
}

static void model(struct bytes *out, const struct bytes *graph)
{
    struct bytes opset = {0};
    number(&opset, 2, 17);
    number(out, 1, 8);
    message(out, 8, &opset);
    message(out, 7, graph);
}

static clq_status decode(struct clq_model *m, const struct bytes *graph, struct clq_error *err)
{
    struct bytes b = {0};
    model(&b, graph);
    return clq_onnx_decode(m, b.data, b.n, NULL, err);
}

/* --- external data --- */

static char dir[64];

static const char *in_dir(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void write_file(const char *path, const void *data, size_t n)
{
    struct clq_error err = {""};
    const struct clq_writer_options force = {.force = true};
    if (clq_file_write(path, data, n, &force, &err) != CLQ_OK) fail_msg("%s", err.text);
}

static int make_dir(void **state)
{
    (void)state;
    const float secret[4] = {9, 9, 9, 9}, good[4] = {1, 2, 3, 4};
    strcpy(dir, "/tmp/clq-hostile-XXXXXX");
    if (!mkdtemp(dir)) return -1;
    write_file(in_dir("secret.bin"), secret, sizeof secret);
    if (mkdir(in_dir("m"), 0700) || mkdir(in_dir("m/sub"), 0700)) return -1;
    write_file(in_dir("m/w.bin"), good, sizeof good);
    write_file(in_dir("m/sub/w.bin"), good, sizeof good);
    write_file(in_dir("m/linked.bin"), good, sizeof good);
    char other[256];
    strcpy(other, in_dir("m/linked2.bin"));
    if (link(in_dir("m/linked.bin"), other) || symlink("../secret.bin", in_dir("m/sym.bin")) ||
        symlink("w.bin", in_dir("m/inner.bin")) || symlink("..", in_dir("m/up")) || mkfifo(in_dir("m/fifo"), 0600))
        return -1;
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    static const char *const names[] = {"m/w.bin", "m/sub/w.bin", "m/linked.bin", "m/linked2.bin", "m/sym.bin",
                                        "m/inner.bin", "m/up", "m/fifo", "m/model.onnx", "secret.bin"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unlink(in_dir(names[i]));
    rmdir(in_dir("m/sub"));
    rmdir(in_dir("m"));
    return rmdir(dir);
}

static void entry(struct bytes *tensor, const char *key, const char *v)
{
    struct bytes e = {0};
    text(&e, 1, key);
    text(&e, 2, v);
    message(tensor, 13, &e);
}

/* A model of y = x + w where w, two floats, is at location. offset and length may be NULL. */
static void external_model(struct bytes *out, const char *location, const char *offset, const char *length)
{
    struct bytes graph = {0}, tensor = {0};
    number(&tensor, 1, 2);
    number(&tensor, 2, CLQ_DTYPE_F32);
    text(&tensor, 8, "w");
    entry(&tensor, "location", location);
    if (offset) entry(&tensor, "offset", offset);
    if (length) entry(&tensor, "length", length);
    number(&tensor, 14, 1);
    node(&graph, "Relu", "n", "w", "y");
    message(&graph, 5, &tensor);
    value(&graph, 12, "y");
    model(out, &graph);
}

static void external_good(void **state)
{
    (void)state;
    static const struct { const char *location, *offset, *length; float first; } cases[] = {
        {"w.bin", NULL, NULL, 1}, {"w.bin", "4", "8", 2}, {"w.bin", "8", NULL, 3}, {"sub/w.bin", "0", "8", 1},
        {"./w.bin", "8", "8", 3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes b = {0};
        struct clq_model m;
        struct clq_error err = {""};
        external_model(&b, cases[i].location, cases[i].offset, cases[i].length);
        if (clq_onnx_decode(&m, b.data, b.n, in_dir("m"), &err) != CLQ_OK) fail_msg("%zu: %s", i, err.text);
        const struct clq_const *w = clq_graph_const(&m.graph, "w");
        assert_true(m.n_external == 1 && w && w->bytes == 8 && ((const float *)w->data)[0] == cases[i].first);
        clq_model_release(&m);
        write_file(in_dir("m/model.onnx"), b.data, b.n);
        if (clq_onnx_read(&m, in_dir("m/model.onnx"), &err) != CLQ_OK) fail_msg("%zu: %s", i, err.text);
        clq_model_release(&m);
    }
}

static void external_attacks(void **state)
{
    (void)state;
    char absolute[256];
    strcpy(absolute, in_dir("m/w.bin"));
    const struct { const char *location, *offset, *length; clq_status expected; } cases[] = {
        {absolute, NULL, NULL, CLQ_ERR_FORMAT},       {"../secret.bin", NULL, NULL, CLQ_ERR_FORMAT},
        {"sub/../w.bin", NULL, NULL, CLQ_ERR_FORMAT}, {"sub/../../secret.bin", NULL, NULL, CLQ_ERR_FORMAT},
        {"..", NULL, NULL, CLQ_ERR_FORMAT},           {"", NULL, NULL, CLQ_ERR_FORMAT},
        {"sub\\w.bin", NULL, NULL, CLQ_ERR_FORMAT},   {"sub//w.bin", NULL, NULL, CLQ_ERR_FORMAT},
        {"w.bin/", NULL, NULL, CLQ_ERR_FORMAT},       {"sym.bin", NULL, NULL, CLQ_ERR_IO},
        {"inner.bin", NULL, NULL, CLQ_ERR_IO},        {"up/secret.bin", NULL, NULL, CLQ_ERR_IO},
        {"linked.bin", NULL, NULL, CLQ_ERR_IO},       {"fifo", NULL, NULL, CLQ_ERR_IO},
        {"sub", NULL, NULL, CLQ_ERR_IO},              {"absent.bin", NULL, NULL, CLQ_ERR_IO},
        {"w.bin", "12", NULL, CLQ_ERR_FORMAT},        {"w.bin", "16", "8", CLQ_ERR_FORMAT},
        {"w.bin", "-1", NULL, CLQ_ERR_FORMAT},        {"w.bin", "0x0", NULL, CLQ_ERR_FORMAT},
        {"w.bin", "", NULL, CLQ_ERR_FORMAT},          {"w.bin", " 0", NULL, CLQ_ERR_FORMAT},
        {"w.bin", "18446744073709551608", "8", CLQ_ERR_FORMAT},
        {"w.bin", "18446744073709551616", "8", CLQ_ERR_FORMAT},
        {"w.bin", "9223372036854775807", "8", CLQ_ERR_FORMAT},
        {"w.bin", "0", "7", CLQ_ERR_FORMAT},          {"w.bin", "0", "16", CLQ_ERR_FORMAT},
        {"w.bin", "0", "18446744073709551615", CLQ_ERR_FORMAT}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes b = {0};
        struct clq_model m;
        struct clq_error err = {""};
        external_model(&b, cases[i].location, cases[i].offset, cases[i].length);
        clq_status status = clq_onnx_decode(&m, b.data, b.n, in_dir("m"), &err);
        if (status != cases[i].expected || !err.text[0])
            fail_msg("location '%s', offset '%s': %s (%s)", cases[i].location, cases[i].offset ? cases[i].offset : "",
                     clq_status_name(status), err.text);
        assert_null(m.arena.head);
    }
    struct bytes b = {0};
    struct clq_model m;
    external_model(&b, "w.bin", NULL, NULL);
    assert_int_equal(clq_onnx_decode(&m, b.data, b.n, NULL, NULL), CLQ_ERR_UNSUPPORTED);
}

/* --- changes of a sound file --- */

static void every_prefix(void **state)
{
    (void)state;
    struct clq_blob blob;
    int sound = 0;
    assert_int_equal(clq_file_read(&blob, GOLDEN, 0, NULL), CLQ_OK);
    for (size_t n = 0; n < blob.bytes; n++) {
        struct clq_model m;
        struct clq_error err = {""};
        unsigned char *exact = malloc(n ? n : 1); /* so that a sanitizer sees the end */
        assert_non_null(exact);
        memcpy(exact, blob.data, n);
        clq_status status = clq_onnx_decode(&m, exact, n, NULL, &err);
        free(exact);
        if (status != CLQ_OK && status != CLQ_ERR_FORMAT) fail_msg("%zu bytes: %s", n, err.text);
        sound += status == CLQ_OK;
        clq_model_release(&m);
    }
    assert_in_range(sound, 1, 4); /* what follows the graph may be absent as a whole */
    free(blob.data);
}

static void every_byte(void **state)
{
    (void)state;
    struct clq_blob blob;
    int sound = 0;
    assert_int_equal(clq_file_read(&blob, GOLDEN, 0, NULL), CLQ_OK);
    for (size_t i = 0; i < blob.bytes; i++) {
        unsigned char kept = blob.data[i];
        for (int v = 0; v < 256; v++) {
            struct clq_model m;
            struct clq_error err = {""};
            blob.data[i] = (unsigned char)v;
            clq_status status = clq_onnx_decode(&m, blob.data, blob.bytes, NULL, &err);
            if (status != CLQ_OK && status != CLQ_ERR_FORMAT && status != CLQ_ERR_UNSUPPORTED)
                fail_msg("byte %zu = %d: %s", i, v, err.text);
            if (status != CLQ_OK && !err.text[0]) fail_msg("byte %zu = %d: no text", i, v);
            sound += status == CLQ_OK;
            clq_model_release(&m);
        }
        blob.data[i] = kept;
    }
    assert_in_range(sound, blob.bytes, blob.bytes * 200);
    free(blob.data);
}

static void allocation_faults(void **state)
{
    (void)state;
    struct clq_blob blob;
    assert_int_equal(clq_file_read(&blob, GOLDEN, 0, NULL), CLQ_OK);
    for (int kind = 0; kind < 2; kind++) {
        long i = 0;
        for (clq_status status = CLQ_ERR_OUT_OF_MEMORY; status != CLQ_OK; i++) {
            struct clq_model m;
            struct clq_error err = {""};
            unsigned char *out = NULL;
            size_t n;
            sticky = kind == 1;
            fail_at = i;
            status = clq_onnx_decode(&m, blob.data, blob.bytes, NULL, &err);
            if (status == CLQ_OK) status = clq_onnx_encode(&out, &n, &m, &err);
            bool left = fail_at >= 0 && !sticky;
            fail_at = -1;
            if (status != CLQ_OK && status != CLQ_ERR_OUT_OF_MEMORY) fail_msg("allocation %ld: %s", i, err.text);
            assert_true(status == CLQ_ERR_OUT_OF_MEMORY || out);
            free(out);
            clq_model_release(&m);
            if (left) assert_int_equal(status, CLQ_OK);
        }
        assert_in_range(i, 100, 5000);
    }
    free(blob.data);
}

/* --- limits and what cannot be used --- */

static void nested(struct bytes *graph, int depth)
{
    struct bytes *g = calloc(1, sizeof *g), *n = calloc(1, sizeof *n), *a = calloc(1, sizeof *a);
    assert_true(g && n && a);
    *graph = (struct bytes){0};
    node(graph, "Relu", NULL, "x", "y");
    value(graph, 12, "y");
    for (int i = 0; i < depth; i++) {
        *g = *graph;
        *graph = *n = *a = (struct bytes){0};
        text(a, 1, "body");
        message(a, 6, g);
        number(a, 20, CLQ_ATTR_GRAPH);
        text(n, 1, "x");
        text(n, 2, "y");
        text(n, 4, "If");
        message(n, 5, a);
        message(graph, 1, n);
        value(graph, 12, "y");
    }
    value(graph, 11, "x");
    free(g);
    free(n);
    free(a);
}

static void nesting(void **state)
{
    (void)state;
    struct bytes *graph = calloc(1, sizeof *graph);
    assert_non_null(graph);
    for (int depth = 0; depth <= 40; depth++) {
        struct clq_model m;
        struct clq_error err = {""};
        unsigned char *out;
        size_t n;
        nested(graph, depth);
        clq_status status = decode(&m, graph, &err);
        if (status != (depth <= 32 ? CLQ_OK : CLQ_ERR_FORMAT)) fail_msg("depth %d: %s", depth, err.text);
        if (status != CLQ_OK) continue;
        const struct clq_graph *g = &m.graph;
        for (int i = 0; i < depth; i++) g = g->nodes[0].attrs[0].graph;
        assert_string_equal(g->nodes[0].op_type, "Relu");
        assert_int_equal(clq_onnx_encode(&out, &n, &m, &err), CLQ_OK);
        free(out);
        clq_model_release(&m);
    }
    free(graph);
}

static void node_names(void **state)
{
    (void)state;
    struct bytes g = {0};
    struct clq_model m;
    struct clq_error err = {""};
    value(&g, 11, "x");
    node(&g, "Relu", NULL, "x", "a");
    node(&g, "Relu", "a", "a", "b");
    node(&g, "Relu", "a", "b", "c");
    node(&g, "Relu", "a_1", "c", "y");
    value(&g, 12, "y");
    if (decode(&m, &g, &err) != CLQ_OK) fail_msg("%s", err.text);
    assert_int_equal(m.graph.n_nodes, 4);
    assert_string_equal(m.graph.nodes[0].name, "a_2"); /* "a" is the second node's own name, "a_1" the last's */
    assert_string_equal(m.graph.nodes[1].name, "a");
    assert_string_equal(m.graph.nodes[2].name, "c");
    assert_string_equal(m.graph.nodes[3].name, "a_1");
    clq_model_release(&m);
}

static void text_tensor(struct bytes *graph)
{
    struct bytes t = {0};
    number(&t, 1, 1);
    number(&t, 2, CLQ_DTYPE_STRING);
    text(&t, 6, "word");
    text(&t, 8, "words");
    message(graph, 5, &t);
}

static void texts(void **state)
{
    (void)state;
    for (int used = 0; used < 3; used++) {
        struct bytes g = {0};
        struct clq_model m, back;
        struct clq_error err = {""};
        unsigned char *out;
        size_t n;
        text_tensor(&g);
        value(&g, 11, "x");
        node(&g, "Relu", NULL, used == 1 ? "words" : "x", "y");
        value(&g, 12, "y");
        if (used == 2) value(&g, 12, "words");
        clq_status status = decode(&m, &g, &err);
        assert_int_equal(status, used ? CLQ_ERR_UNSUPPORTED : CLQ_OK);
        if (used) {
            assert_non_null(strstr(err.text, "words"));
            continue;
        }
        assert_int_equal(m.graph.n_consts, 1);
        assert_int_equal(clq_onnx_encode(&out, &n, &m, &err), CLQ_OK);
        assert_int_equal(clq_onnx_decode(&back, out, n, NULL, &err), CLQ_OK);
        assert_int_equal(back.graph.n_consts, 0);
        free(out);
        clq_model_release(&m);
        clq_model_release(&back);
    }
}

static void functions(void **state)
{
    (void)state;
    for (int called = 0; called < 2; called++) {
        struct bytes g = {0}, b = {0}, f = {0};
        struct clq_model m;
        struct clq_error err = {""};
        value(&g, 11, "x");
        node(&g, called ? "Mine" : "Relu", NULL, "x", "y");
        value(&g, 12, "y");
        text(&f, 1, "Mine");
        text(&f, 10, "ai.onnx");
        model(&b, &g);
        message(&b, 25, &f);
        assert_int_equal(clq_onnx_decode(&m, b.data, b.n, NULL, &err), called ? CLQ_ERR_UNSUPPORTED : CLQ_OK);
        if (called) assert_non_null(strstr(err.text, "Mine"));
        clq_model_release(&m);
    }
}

/* --- single tensors --- */

static clq_status read_tensor(struct clq_const *out, struct clq_arena *arena, const struct bytes *b)
{
    struct clq_error err = {""};
    write_file(in_dir("m/model.onnx"), b->data, b->n);
    clq_status status = clq_tensor_pb_read(out, arena, in_dir("m/model.onnx"), &err);
    assert_true(status == CLQ_OK || err.text[0]);
    return status;
}

static void tensor_files(void **state)
{
    (void)state;
    struct clq_arena arena = {0};
    struct clq_const c;
    struct bytes t = {0}, sequence = {0}, strings = {0}, graph = {0};
    const int16_t data[3] = {1, -2, 3};
    number(&t, 1, 3);
    number(&t, 2, CLQ_DTYPE_S16);
    text(&t, 8, "t");
    span(&t, 9, data, sizeof data);
    assert_int_equal(read_tensor(&c, &arena, &t), CLQ_OK);
    assert_string_equal(c.name, "t");
    assert_true(c.dtype == CLQ_DTYPE_S16 && c.rank == 1 && c.shape[0] == 3 && c.bytes == 6);
    assert_memory_equal(c.data, data, 6);
    text(&sequence, 1, "seq");
    number(&sequence, 2, 1);
    message(&sequence, 3, &t);
    message(&sequence, 3, &t);
    assert_int_equal(read_tensor(&c, &arena, &sequence), CLQ_ERR_UNSUPPORTED);
    assert_null(c.data);
    number(&strings, 2, CLQ_DTYPE_STRING);
    text(&strings, 6, "word");
    assert_int_equal(read_tensor(&c, &arena, &strings), CLQ_ERR_UNSUPPORTED);
    node(&graph, "Relu", "a", "a", "b");
    assert_int_equal(read_tensor(&c, &arena, &graph), CLQ_ERR_FORMAT);
    t.n--;
    assert_int_equal(read_tensor(&c, &arena, &t), CLQ_ERR_FORMAT);
    clq_arena_free(&arena);
}

/* --- what is written --- */

static void ir_versions(void **state)
{
    (void)state;
    static const struct { int opset, ir; bool nibbles; } cases[] = {
        {7, 4, false},   {9, 4, false},   {10, 5, false},  {11, 6, false},  {12, 7, false},  {13, 7, false},
        {14, 7, false},  {15, 8, false},  {18, 8, false},  {19, 9, false},  {20, 9, false},  {21, 10, false},
        {22, 10, false}, {23, 11, false}, {24, 12, false}, {25, 13, false}, {13, 10, true},  {23, 11, true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct clq_opset opset = {"", cases[i].opset};
        struct clq_model m = {.n_opsets = 1, .opsets = &opset}, back;
        struct clq_error err = {""};
        unsigned char *out;
        size_t n;
        const int64_t shape[1] = {3};
        clq_dtype dtype = cases[i].nibbles ? CLQ_DTYPE_U4 : CLQ_DTYPE_U8;
        size_t bytes = cases[i].nibbles ? 2 : 3;
        assert_non_null(clq_graph_add_const(&m, &m.graph, "w", dtype, 1, shape, "\1\2\3", bytes, true));
        struct clq_value_info y = {.name = "w", .dtype = dtype, .rank = 1, .shape = {3}};
        m.graph.outputs = &y;
        m.graph.n_outputs = 1;
        assert_int_equal(clq_onnx_encode(&out, &n, &m, &err), CLQ_OK);
        if (clq_onnx_decode(&back, out, n, NULL, &err) != CLQ_OK) fail_msg("opset %d: %s", cases[i].opset, err.text);
        assert_int_equal(back.ir_version, cases[i].ir);
        assert_string_equal(back.producer, "clquant");
        free(out);
        clq_model_release(&back);
        m.graph.consts[0].bytes = 1; /* a pass that left a wrong size must not be written */
        assert_int_equal(clq_onnx_encode(&out, &n, &m, &err), CLQ_ERR_INTERNAL);
        clq_model_release(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(external_good),     cmocka_unit_test(external_attacks), cmocka_unit_test(every_prefix),
        cmocka_unit_test(every_byte),        cmocka_unit_test(allocation_faults), cmocka_unit_test(nesting),
        cmocka_unit_test(node_names),        cmocka_unit_test(texts),            cmocka_unit_test(functions),
        cmocka_unit_test(tensor_files),      cmocka_unit_test(ir_versions)};
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
