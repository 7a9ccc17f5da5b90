/* SPDX-License-Identifier: Apache-2.0
 * Reading ONNX: file, pre-scan, protobuf-c, model. Everything of the model is copied into its arena; what protobuf-c
 * made is gone when a function returns. */
#include "formats/onnx.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "formats/format.h"
#include "formats/onnx_internal.h"

enum { IR_FIRST = 3, IR_LAST = 13 };

clq_status clq_onnx_no_memory(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "ONNX: out of memory");
}

static void *allocate(void *data, size_t size)
{
    struct clq_onnx_allocator *a = data;
    void *p = malloc(size ? size : 1);
    if (!p) a->failed = true;
    return p;
}

static void release(void *data, void *p)
{
    (void)data;
    free(p);
}

void clq_onnx_allocator_start(struct clq_onnx_allocator *allocator)
{
    *allocator = (struct clq_onnx_allocator){.base = {allocate, release, allocator}};
}

static clq_status opsets(struct clq_onnx_reader *r, const Onnx__ModelProto *from)
{
    struct clq_model *m = r->model;
    struct clq_map domains;
    clq_map_start(&domains, &r->scratch);
    if (from->n_opset_import == 0) return clq_fail(r->err, CLQ_ERR_FORMAT, "the model has no opset_import");
    m->opsets = clq_arena_array(r->arena, from->n_opset_import, sizeof *m->opsets);
    if (!m->opsets) return clq_onnx_no_memory(r->err);
    for (size_t i = 0; i < from->n_opset_import; i++) {
        const Onnx__OperatorSetIdProto *o = from->opset_import[i];
        const char *domain = o->domain && strcmp(o->domain, "ai.onnx") != 0 ? o->domain : "";
        char *own = clq_arena_string(r->arena, domain);
        if (!own) return clq_onnx_no_memory(r->err);
        if (o->version < 1 || o->version > INT32_MAX)
            return clq_fail(r->err, CLQ_ERR_FORMAT, "opset_import '%s': version %lld", own, (long long)o->version);
        if (clq_map_get(&domains, own) >= 0)
            return clq_fail(r->err, CLQ_ERR_FORMAT, "opset_import '%s' appears twice", own);
        if (!clq_map_set(&domains, own, 0)) return clq_onnx_no_memory(r->err);
        m->opsets[m->n_opsets++] = (struct clq_opset){own, o->version};
    }
    return CLQ_OK;
}

static clq_status metadata(struct clq_onnx_reader *r, const Onnx__ModelProto *from)
{
    struct clq_model *m = r->model;
    struct clq_map keys;
    clq_map_start(&keys, &r->scratch);
    if (from->n_metadata_props == 0) return CLQ_OK;
    m->metadata = clq_arena_array(r->arena, from->n_metadata_props, sizeof *m->metadata);
    if (!m->metadata) return clq_onnx_no_memory(r->err);
    for (size_t i = 0; i < from->n_metadata_props; i++) {
        const Onnx__StringStringEntryProto *e = from->metadata_props[i];
        struct clq_metadata own = {clq_arena_string(r->arena, e->key ? e->key : ""),
                                   clq_arena_string(r->arena, e->value ? e->value : "")};
        if (!own.key || !own.value) return clq_onnx_no_memory(r->err);
        if (clq_map_get(&keys, own.key) >= 0)
            return clq_fail(r->err, CLQ_ERR_FORMAT, "metadata key '%s' appears twice", own.key);
        if (!clq_map_set(&keys, own.key, 0)) return clq_onnx_no_memory(r->err);
        m->metadata[m->n_metadata++] = own;
    }
    return CLQ_OK;
}

/* Functions may be there, but no node may call one. The key cannot be forged by a domain with a space in it. */
static clq_status functions(struct clq_onnx_reader *r, const Onnx__ModelProto *from)
{
    for (size_t i = 0; i < from->n_functions; i++) {
        const char *domain = from->functions[i]->domain, *name = from->functions[i]->name;
        if (!domain || strcmp(domain, "ai.onnx") == 0) domain = "";
        const char *key = clq_arena_printf(&r->scratch, "%zu %s %s", strlen(domain), domain, name ? name : "");
        if (!key || !clq_map_set(&r->functions, key, 0)) return clq_onnx_no_memory(r->err);
    }
    return CLQ_OK;
}

static clq_status build(struct clq_onnx_reader *r, const Onnx__ModelProto *from)
{
    struct clq_model *m = r->model;
    int64_t ir = from->has_ir_version ? from->ir_version : 0;
    if (ir < 1) return clq_fail(r->err, CLQ_ERR_FORMAT, "ir_version is %lld", (long long)ir);
    if (ir < IR_FIRST || ir > IR_LAST)
        return clq_fail(r->err, CLQ_ERR_UNSUPPORTED, "ir_version %lld, expected %d to %d", (long long)ir, IR_FIRST,
                        IR_LAST);
    m->ir_version = ir;
    m->producer = clq_arena_string(r->arena, from->producer_name ? from->producer_name : "");
    if (!m->producer) return clq_onnx_no_memory(r->err);
    if (!from->graph) return clq_fail(r->err, CLQ_ERR_FORMAT, "the model has no graph");
    CLQ_TRY(opsets(r, from));
    CLQ_TRY(metadata(r, from));
    CLQ_TRY(functions(r, from));
    return clq_onnx_graphs(r, from->graph);
}

/* The message behind checked bytes. The caller frees it with free_unpacked and a NULL allocator: both use free(). */
static clq_status unpack(Onnx__ModelProto **out, const void *bytes, size_t n, struct clq_error *err)
{
    struct clq_onnx_allocator allocator;
    clq_onnx_allocator_start(&allocator);
    CLQ_TRY(clq_onnx_scan_model(bytes, n, err));
    *out = onnx__model_proto__unpack(&allocator.base, n, bytes);
    if (*out) return CLQ_OK;
    return allocator.failed ? clq_onnx_no_memory(err)
                            : clq_fail(err, CLQ_ERR_FORMAT, "%zu bytes that are not an ONNX model", n);
}

static void reader_start(struct clq_onnx_reader *r, struct clq_model *model, struct clq_arena *arena,
                         const char *base_path, struct clq_error *err)
{
    *r = (struct clq_onnx_reader){.model = model, .arena = arena, .err = err, .base_path = base_path};
    clq_map_start(&r->functions, &r->scratch);
    clq_map_start(&r->node_names, &r->scratch);
    clq_map_start(&r->texts, &r->scratch);
    clq_map_start(&r->external_files, &r->scratch);
    clq_map_start(&r->external_names, &r->scratch);
}

static void reader_end(struct clq_onnx_reader *r)
{
    clq_onnx_close_external(r);
    clq_arena_free(&r->scratch);
}

/* Takes the message. hash is carried on over external data. */
static clq_status convert(struct clq_model *out, Onnx__ModelProto *proto, const char *base_path, bool allow_links,
                          struct clq_sha256 *hash, struct clq_error *err)
{
    struct clq_onnx_reader r;
    *out = (struct clq_model){0};
    reader_start(&r, out, &out->arena, base_path, err);
    out->external_links = allow_links;
    r.allow_links = allow_links;
    r.hash = hash;
    clq_status status = build(&r, proto);
    out->external_bytes = r.external_room;
    reader_end(&r);
    onnx__model_proto__free_unpacked(proto, NULL);
    if (status == CLQ_OK) clq_sha256_finish(hash, out->hash);
    else clq_model_release(out);
    return status;
}

clq_status clq_onnx_decode(struct clq_model *out, const void *bytes, size_t n, const char *directory,
                           struct clq_error *err)
{
    return clq_onnx_decode_links(out, bytes, n, directory, false, err);
}

clq_status clq_onnx_decode_links(struct clq_model *out, const void *bytes, size_t n, const char *directory, bool allow_links, struct clq_error *err)
{
    Onnx__ModelProto *proto;
    struct clq_arena scratch = {0};
    const char *base_path = NULL;
    struct clq_sha256 hash;
    *out = (struct clq_model){0};
    if (directory && !(base_path = clq_arena_printf(&scratch, "%s/", directory[0] ? directory : ".")))
        return clq_onnx_no_memory(err);
    clq_status status = unpack(&proto, bytes, n, err);
    if (status == CLQ_OK) {
        clq_sha256_start(&hash);
        clq_sha256_add(&hash, bytes, n);
        status = convert(out, proto, base_path, allow_links, &hash, err);
    }
    clq_arena_free(&scratch);
    return status;
}

/* Says which file a failure is about. */
static clq_status in_file(clq_status status, const char *path, struct clq_error *err)
{
    if (status == CLQ_OK || !err) return status;
    struct clq_error inner = *err;
    return clq_fail(err, status, "'%s': %.800s", path, inner.text);
}

clq_status clq_onnx_read(struct clq_model *out, const char *path, struct clq_error *err)
{
    return clq_onnx_read_links(out, path, false, err);
}

clq_status clq_onnx_read_links(struct clq_model *out, const char *path, bool allow_links, struct clq_error *err)
{
    struct clq_blob blob;
    Onnx__ModelProto *proto;
    struct clq_sha256 hash;
    *out = (struct clq_model){0};
    CLQ_TRY(clq_file_read(&blob, path, INT32_MAX, err));
    clq_status status = unpack(&proto, blob.data, blob.bytes, err);
    if (status == CLQ_OK) {
        clq_sha256_start(&hash);
        clq_sha256_add(&hash, blob.data, blob.bytes);
    }
    free(blob.data);
    if (status == CLQ_OK) status = convert(out, proto, path, allow_links, &hash, err);
    return in_file(status, path, err);
}

static clq_status tensor_from_bytes(struct clq_const *out, struct clq_arena *arena, const struct clq_blob *blob,
                                    struct clq_error *err)
{
    struct clq_onnx_allocator allocator;
    struct clq_onnx_reader r;
    struct clq_model none = {0};
    clq_onnx_allocator_start(&allocator);
    CLQ_TRY(clq_onnx_scan_tensor(blob->data, blob->bytes, err));
    Onnx__TensorProto *t = onnx__tensor_proto__unpack(&allocator.base, blob->bytes, blob->data);
    if (!t && allocator.failed) return clq_onnx_no_memory(err);
    if (!t) return clq_fail(err, CLQ_ERR_FORMAT, "%zu bytes that are not a TensorProto", blob->bytes);
    reader_start(&r, &none, arena, NULL, err);
    clq_status status = clq_onnx_tensor(&r, out, t);
    if (status == CLQ_OK && out->dtype == CLQ_DTYPE_STRING)
        status = clq_fail(err, CLQ_ERR_UNSUPPORTED, "tensor '%s': tensors of strings are not supported", out->name);
    reader_end(&r);
    onnx__tensor_proto__free_unpacked(t, NULL);
    return status;
}

clq_status clq_tensor_pb_read(struct clq_const *out, struct clq_arena *arena, const char *path, struct clq_error *err)
{
    struct clq_blob blob;
    *out = (struct clq_const){0};
    CLQ_TRY(clq_file_read(&blob, path, INT32_MAX, err));
    clq_status status = tensor_from_bytes(out, arena, &blob, err);
    free(blob.data);
    if (status != CLQ_OK) *out = (struct clq_const){0};
    return in_file(status, path, err);
}

/* ONNX has no magic number; files begin with ir_version: field 1, a small number. */
static bool probe(const unsigned char *head, size_t n)
{
    return n >= 2 && head[0] == 0x08 && head[1] >= IR_FIRST && head[1] <= IR_LAST;
}

const struct clq_format clq_format_onnx = {"onnx", "onnx", 2, probe, clq_onnx_read, clq_onnx_write};
