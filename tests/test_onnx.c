/* SPDX-License-Identifier: Apache-2.0
 * The ONNX reader and writer: every field of a golden file arrives, what is written reads back the same and writes the
 * same bytes again, external data stays in its directory, and the models of build/models go through (arguments). */
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

static int n_files;
static char **files;

static void read_golden(struct clq_model *m)
{
    struct clq_error err = {""};
    if (clq_onnx_read(m, GOLDEN, &err) != CLQ_OK) fail_msg("%s", err.text);
}

static void has_const(const struct clq_model *m, const char *name, clq_dtype dtype, int rank, int64_t dim, size_t bytes,
                      const void *data)
{
    const struct clq_const *c = clq_graph_const(&m->graph, name);
    if (!c) fail_msg("constant '%s' is missing", name);
    if (c->dtype != dtype || c->rank != rank || (rank && c->shape[0] != dim) || c->bytes != bytes ||
        (bytes && memcmp(c->data, data, bytes) != 0))
        fail_msg("constant '%s' differs", name);
}

static void constants(void **state)
{
    (void)state;
    struct clq_model m;
    read_golden(&m);
    has_const(&m, "raw", CLQ_DTYPE_F32, 1, 2, 8, (float[]){1.5f, -2.0f});
    has_const(&m, "floats", CLQ_DTYPE_F32, 1, 2, 8, (float[]){1.5f, -2.0f});
    has_const(&m, "doubles", CLQ_DTYPE_F64, 1, 2, 16, (double[]){1, 2});
    has_const(&m, "longs", CLQ_DTYPE_S64, 1, 2, 16, (int64_t[]){5, -5});
    has_const(&m, "ints", CLQ_DTYPE_S32, 1, 2, 8, (int32_t[]){5, -5});
    has_const(&m, "bytes", CLQ_DTYPE_S8, 1, 2, 2, (int8_t[]){5, -5});
    has_const(&m, "halves", CLQ_DTYPE_F16, 1, 2, 4, (uint16_t[]){0x3c00, 0xbc00});
    has_const(&m, "bf16", CLQ_DTYPE_BF16, 1, 2, 4, (uint16_t[]){0x3f80, 0xbf80});
    has_const(&m, "ulongs", CLQ_DTYPE_U64, 1, 2, 16, (uint64_t[]){5, UINT64_MAX});
    has_const(&m, "uints", CLQ_DTYPE_U32, 1, 2, 8, (uint32_t[]){5, UINT32_MAX});
    has_const(&m, "bool", CLQ_DTYPE_BOOL, 1, 2, 2, "\0\1");
    has_const(&m, "nibbles", CLQ_DTYPE_S4, 1, 3, 2, "\x7f\x08");
    has_const(&m, "unibbles", CLQ_DTYPE_U4, 1, 3, 2, "\x21\x03");
    has_const(&m, "none", CLQ_DTYPE_F32, 2, 0, 0, "");
    has_const(&m, "scalar", CLQ_DTYPE_F32, 0, 0, 4, (float[]){1.0f});
    clq_model_release(&m);
}

static void structure(void **state)
{
    (void)state;
    struct clq_model m;
    read_golden(&m);
    assert_int_equal(m.ir_version, 10);
    assert_string_equal(m.producer, "maker");
    assert_int_equal(clq_model_opset(&m, ""), 21);
    assert_int_equal(clq_model_opset(&m, "test"), 1);
    assert_int_equal(m.n_metadata, 1);
    assert_string_equal(m.metadata[0].key, "key");
    assert_string_equal(m.metadata[0].value, "value");
    assert_memory_not_equal(m.hash, (unsigned char[32]){0}, sizeof m.hash);
    assert_int_equal(m.graph.n_inputs, 1); /* the other one is an initializer */
    assert_string_equal(m.graph.inputs[0].name, "x");
    assert_string_equal(m.graph.inputs[0].symbol[0], "batch");
    assert_int_equal(m.graph.inputs[0].shape[0], -1);
    assert_int_equal(m.graph.inputs[0].shape[1], 2);
    assert_int_equal(m.graph.n_infos, 1);
    assert_int_equal(m.graph.infos[0].rank, -1);
    assert_int_equal(m.graph.n_nodes, 3);
    const struct clq_node *n = m.graph.nodes;
    assert_string_equal(n[0].op_type, "If");
    assert_string_equal(n[0].name, "a"); /* after its output */
    assert_string_equal(n[1].op_type, "Custom");
    assert_string_equal(n[1].domain, "test");
    assert_string_equal(n[2].op_type, "Sum");
    assert_true(strcmp(n[1].name, n[2].name) != 0);
    assert_true(strcmp(n[1].name, "b") == 0 || strcmp(n[2].name, "y") == 0);
    assert_int_equal(n[1].n_outputs, 3);
    assert_string_equal(n[1].outputs[1], "");
    assert_string_equal(n[1].inputs[1], "");
    clq_model_release(&m);
}

static void attributes(void **state)
{
    (void)state;
    struct clq_model m;
    read_golden(&m);
    const struct clq_node *n = &m.graph.nodes[1];
    assert_int_equal(n->n_attrs, 8);
    assert_true(clq_node_float(n, "f", 0) == 0.25f);
    assert_int_equal(clq_node_int(n, "i", 0), -3);
    assert_string_equal(clq_node_string(n, "s", ""), "text");
    assert_int_equal(clq_node_attr(n, "s")->s_len, 4);
    const struct clq_const *t = clq_node_attr(n, "t")->tensor;
    assert_non_null(t);
    assert_string_equal(t->name, "");
    assert_memory_equal(t->data, ((float[]){1.5f, -2.0f}), 8);
    assert_int_equal(clq_node_attr(n, "fs")->n, 2);
    assert_true(clq_node_attr(n, "fs")->floats[1] == -2.0f);
    assert_int_equal(clq_node_attr(n, "is")->n, 2);
    assert_int_equal(clq_node_attr(n, "is")->ints[1], -1);
    assert_int_equal(clq_node_attr(n, "ss")->n, 2);
    assert_string_equal(clq_node_attr(n, "ss")->strings[1], "b");
    assert_int_equal(clq_node_attr(n, "empty")->type, CLQ_ATTR_INTS);
    assert_int_equal(clq_node_attr(n, "empty")->n, 0);
    const struct clq_graph *branch = clq_node_attr(&m.graph.nodes[0], "then_branch")->graph;
    assert_int_equal(branch->n_nodes, 1);
    assert_int_equal(branch->n_consts, 1);
    const struct clq_graph *deep = clq_node_attr(&branch->nodes[0], "then_branch")->graph;
    assert_string_equal(deep->nodes[0].op_type, "Neg");
    assert_string_equal(deep->outputs[0].name, "deep");
    clq_model_release(&m);
}

/* encode, decode, encode: the two texts are equal, and what the first reading held is in the second. */
static void round_trip(const struct clq_model *m, const char *what)
{
    struct clq_model back;
    struct clq_error err = {""};
    unsigned char *first, *second;
    size_t n, k;
    if (clq_onnx_encode(&first, &n, m, &err) != CLQ_OK) fail_msg("%s: %s", what, err.text);
    if (clq_onnx_decode(&back, first, n, NULL, &err) != CLQ_OK) fail_msg("%s: %s", what, err.text);
    if (clq_onnx_encode(&second, &k, &back, &err) != CLQ_OK) fail_msg("%s: %s", what, err.text);
    if (n != k || memcmp(first, second, n) != 0) fail_msg("%s: the second writing differs", what);
    assert_int_equal(back.graph.n_nodes, m->graph.n_nodes);
    assert_int_equal(back.graph.n_inputs, m->graph.n_inputs);
    for (int i = 0; i < m->graph.n_nodes; i++) {
        const struct clq_node *a = &m->graph.nodes[i], *b = &back.graph.nodes[i];
        assert_string_equal(a->name, b->name);
        assert_string_equal(a->op_type, b->op_type);
        assert_int_equal(a->n_inputs, b->n_inputs);
        assert_int_equal(a->n_attrs, b->n_attrs);
        for (int j = 0; j < a->n_inputs; j++) assert_string_equal(a->inputs[j], b->inputs[j]);
    }
    for (int i = 0; i < m->graph.n_consts; i++) {
        const struct clq_const *a = &m->graph.consts[i], *b = clq_graph_const(&back.graph, a->name);
        if (a->dtype == CLQ_DTYPE_STRING) continue;
        assert_non_null(b);
        assert_int_equal(a->dtype, b->dtype);
        assert_int_equal(a->rank, b->rank);
        assert_memory_equal(a->shape, b->shape, sizeof(int64_t) * (size_t)a->rank);
        assert_int_equal(a->bytes, b->bytes);
        assert_true(a->bytes == 0 || memcmp(a->data, b->data, a->bytes) == 0);
    }
    free(first);
    free(second);
    clq_model_release(&back);
}

static void golden_round_trip(void **state)
{
    (void)state;
    struct clq_model m;
    read_golden(&m);
    round_trip(&m, "golden");
    clq_model_release(&m);
}

static void models_round_trip(void **state)
{
    (void)state;
    if (n_files == 0) {
        print_message("no models were given (script/fetch-models fills build/models)\n");
        skip();
    }
    for (int i = 0; i < n_files; i++) {
        struct clq_model m;
        struct clq_error err = {""};
        if (clq_onnx_read(&m, files[i], &err) != CLQ_OK) fail_msg("%s: %s", files[i], err.text);
        round_trip(&m, files[i]);
        print_message("%s: %d nodes, %d constants\n", files[i], m.graph.n_nodes, m.graph.n_consts);
        clq_model_release(&m);
    }
}

static void written_file(void **state)
{
    (void)state;
    struct clq_model m, back;
    struct clq_error err = {""};
    char path[] = "/tmp/clq-onnx-XXXXXX";
    read_golden(&m);
    close(mkstemp(path));
    assert_int_equal(clq_onnx_write(path, &m, false, &err), CLQ_ERR_IO);
    if (clq_onnx_write(path, &m, true, &err) != CLQ_OK) fail_msg("%s", err.text);
    unsigned char *bytes;
    size_t n;
    struct clq_blob blob;
    assert_int_equal(clq_onnx_encode(&bytes, &n, &m, &err), CLQ_OK);
    assert_int_equal(clq_file_read(&blob, path, 0, &err), CLQ_OK);
    assert_int_equal(blob.bytes, n);
    assert_memory_equal(blob.data, bytes, n);
    free(bytes);
    free(blob.data);
    if (clq_onnx_read(&back, path, &err) != CLQ_OK) fail_msg("%s", err.text);
    clq_model_release(&back);
    clq_model_release(&m);
    unlink(path);
}

/* The hash names the file's content. */
static void hash(void **state)
{
    (void)state;
    struct clq_model a, b;
    struct clq_error err;
    struct clq_blob blob;
    char path[] = "/tmp/clq-onnx-XXXXXX";
    read_golden(&a);
    read_golden(&b);
    assert_memory_equal(a.hash, b.hash, sizeof a.hash);
    clq_model_release(&b);
    assert_int_equal(clq_file_read(&blob, GOLDEN, 0, &err), CLQ_OK);
    char *maker = memmem(blob.data, blob.bytes, "maker", 5);
    assert_non_null(maker);
    *maker = 'M';
    close(mkstemp(path));
    struct clq_writer_options force = {.force = true};
    assert_int_equal(clq_file_write(path, blob.data, blob.bytes, &force, &err), CLQ_OK);
    assert_int_equal(clq_onnx_read(&b, path, &err), CLQ_OK);
    assert_memory_not_equal(a.hash, b.hash, sizeof a.hash);
    free(blob.data);
    unlink(path);
    clq_model_release(&a);
    clq_model_release(&b);
}

/* A model with one large and one small constant, in a folder of its own. */
static void external_data(void **state)
{
    (void)state;
    char dir[] = "/tmp/clq-onnx-XXXXXX", path[64], data[64], other[64], command[64];
    struct clq_model m, back;
    struct clq_error err = {""};
    int64_t shape[2] = {1025, 4};
    unsigned char big[1025 * 4];
    for (size_t i = 0; i < sizeof big; i++) big[i] = (unsigned char)(i * 7);
    read_golden(&m);
    assert_non_null(clq_graph_add_const(&m, &m.graph, "big", CLQ_DTYPE_U8, 2, shape, big, sizeof big, false));
    assert_non_null(clq_graph_add_const(&m, &m.graph, "big2", CLQ_DTYPE_U8, 2, shape, big, sizeof big, false));
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/m.onnx", dir);
    snprintf(data, sizeof data, "%s/m.onnx.data", dir);
    snprintf(other, sizeof other, "%s/other", dir);
    struct clq_onnx_write_options o = {.external = true};
    if (clq_onnx_write_with(path, &m, &o, &err) != CLQ_OK) fail_msg("%s", err.text);
    struct clq_blob blob;
    assert_int_equal(clq_file_read(&blob, data, 0, &err), CLQ_OK);
    assert_int_equal(blob.bytes, 8192 + sizeof big); /* 4100 bytes, then the next multiple of 4096 */
    assert_memory_equal(blob.data, big, sizeof big);
    assert_memory_equal(blob.data + 8192, big, sizeof big);
    if (clq_onnx_read(&back, path, &err) != CLQ_OK) fail_msg("%s", err.text);
    assert_int_equal(back.n_external, 1);
    has_const(&back, "big", CLQ_DTYPE_U8, 2, 1025, sizeof big, big);
    has_const(&back, "scalar", CLQ_DTYPE_F32, 0, 0, 4, (float[]){1.0f});
    unsigned char before[sizeof back.hash];
    memcpy(before, back.hash, sizeof before);
    clq_model_release(&back);
    /* the data is part of the identity */
    struct clq_writer_options force = {.force = true};
    blob.data[100] ^= 1;
    assert_int_equal(clq_file_write(data, blob.data, blob.bytes, &force, &err), CLQ_OK);
    assert_int_equal(clq_onnx_read(&back, path, &err), CLQ_OK);
    assert_memory_not_equal(before, back.hash, sizeof before);
    clq_model_release(&back);
    /* links need the flag */
    assert_int_equal(link(data, other), 0);
    assert_int_equal(clq_onnx_read(&back, path, &err), CLQ_ERR_IO);
    assert_int_equal(clq_onnx_read_links(&back, path, true, &err), CLQ_OK);
    clq_model_release(&back);
    assert_int_equal(unlink(data), 0);
    assert_int_equal(symlink("other", data), 0);
    assert_int_equal(clq_onnx_read(&back, path, &err), CLQ_ERR_IO);
    assert_int_equal(clq_onnx_read_links(&back, path, true, &err), CLQ_OK);
    clq_model_release(&back);
    assert_int_equal(unlink(other), 0);
    assert_int_equal(clq_onnx_read_links(&back, path, true, &err), CLQ_ERR_IO);
    /* existing files, and inputs */
    assert_int_equal(clq_onnx_write_with(path, &m, &o, &err), CLQ_ERR_IO);
    struct clq_file in;
    assert_int_equal(clq_file_open(&in, path, &err), CLQ_OK);
    o = (struct clq_onnx_write_options){.force = true, .inputs = &in.id, .n_inputs = 1};
    assert_int_equal(clq_onnx_write_with(path, &m, &o, &err), CLQ_ERR_IO);
    clq_file_close(&in);
    free(blob.data);
    clq_model_release(&m);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

/* One small file that many tensors use whole does not become much memory. */
static void external_amplification(void **state)
{
    (void)state;
    struct clq_model m;
    struct clq_error err = {""};
    assert_int_equal(clq_onnx_read(&m, CLQ_TEST_DATA "/golden/onnx/external_shared_4.onnx", &err), CLQ_OK);
    has_const(&m, "w3", CLQ_DTYPE_F32, 1, 2, 8, (float[]){1.0f, 2.0f});
    clq_model_release(&m);
}

int main(int argc, char **argv)
{
    n_files = argc - 1;
    files = argv + 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(constants),         cmocka_unit_test(structure),
                                       cmocka_unit_test(attributes),        cmocka_unit_test(golden_round_trip),
                                       cmocka_unit_test(models_round_trip), cmocka_unit_test(written_file),
                                       cmocka_unit_test(hash),              cmocka_unit_test(external_data),
                                       cmocka_unit_test(external_amplification)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
