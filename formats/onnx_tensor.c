/* SPDX-License-Identifier: Apache-2.0
 * TensorProto to clq_const. Three places can hold the data: raw_data, one of the typed lists, a file of its own. A
 * tensor that uses more than one, or whose data is not exactly as long as its shape says, is refused by name. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/size.h"
#include "formats/onnx_internal.h"

clq_dtype clq_onnx_dtype(int32_t data_type)
{
    clq_dtype dtype = data_type < 0 ? CLQ_DTYPE_NONE : (clq_dtype)data_type;
    return dtype == CLQ_DTYPE_STRING || clq_dtype_bits(dtype) ? dtype : CLQ_DTYPE_NONE;
}

static const char *name_of(const Onnx__TensorProto *t)
{
    return t->name && t->name[0] ? t->name : "(unnamed)";
}

static clq_status bad(struct clq_onnx_reader *r, const Onnx__TensorProto *t, const char *what)
{
    return clq_fail(r->err, CLQ_ERR_FORMAT, "tensor '%s': %s", name_of(t), what);
}

/* Which of the typed lists are filled, as a bit set, and which one a type belongs into. */
enum { FLOATS = 1, INT32S = 2, STRINGS = 4, INT64S = 8, DOUBLES = 16, UINT64S = 32 };

static unsigned lists_filled(const Onnx__TensorProto *t)
{
    return (t->n_float_data ? FLOATS : 0u) | (t->n_int32_data ? INT32S : 0u) | (t->n_string_data ? STRINGS : 0u) |
           (t->n_int64_data ? INT64S : 0u) | (t->n_double_data ? DOUBLES : 0u) | (t->n_uint64_data ? UINT64S : 0u);
}

static unsigned list_for(clq_dtype dtype)
{
    switch (dtype) {
    case CLQ_DTYPE_F32: return FLOATS;
    case CLQ_DTYPE_S64: return INT64S;
    case CLQ_DTYPE_F64: return DOUBLES;
    case CLQ_DTYPE_U32:
    case CLQ_DTYPE_U64: return UINT64S;
    case CLQ_DTYPE_STRING: return STRINGS;
    default: return INT32S;
    }
}

/* Rank, dimensions, element count and bytes. */
static clq_status shape(struct clq_onnx_reader *r, struct clq_const *out, const Onnx__TensorProto *t, size_t *elements)
{
    if (!t->has_data_type || t->data_type == 0) return bad(r, t, "has no data_type");
    if (t->n_dims > CLQ_MAX_RANK)
        return clq_fail(r->err, CLQ_ERR_UNSUPPORTED, "tensor '%s': rank %zu, expected at most %d", name_of(t),
                        t->n_dims, CLQ_MAX_RANK);
    out->dtype = clq_onnx_dtype(t->data_type);
    if (out->dtype == CLQ_DTYPE_NONE)
        return clq_fail(r->err, t->data_type < 0 || t->data_type > 26 ? CLQ_ERR_FORMAT : CLQ_ERR_UNSUPPORTED,
                        "tensor '%s': data_type %d is not supported", name_of(t), t->data_type);
    *elements = 1;
    out->rank = (int)t->n_dims;
    for (int i = 0; i < out->rank; i++) {
        size_t d;
        out->shape[i] = t->dims[i];
        if (!clq_size_from_i64(&d, t->dims[i]))
            return clq_fail(r->err, CLQ_ERR_FORMAT, "tensor '%s': dimension %d is %lld", name_of(t), i,
                            (long long)t->dims[i]);
        if (!clq_size_mul(elements, *elements, d) || *elements > INT64_MAX)
            return bad(r, t, "the product of its dimensions overflows");
    }
    unsigned bits = clq_dtype_bits(out->dtype);
    out->bytes = 0;
    if (bits && (!clq_size_bits(&out->bytes, *elements, bits) || out->bytes > INT64_MAX))
        return bad(r, t, "its size in bytes overflows");
    return CLQ_OK;
}

/* Nonzero padding bits and booleans other than 0 and 1 must not reach the kernels. */
static clq_status tidy(struct clq_onnx_reader *r, const struct clq_const *c, const Onnx__TensorProto *t,
                       unsigned char *data, size_t elements)
{
    size_t used = clq_dtype_bits(c->dtype) < 8 ? elements * clq_dtype_bits(c->dtype) % 8 : 0;
    if (used) data[c->bytes - 1] &= (unsigned char)((1 << used) - 1);
    if (c->dtype == CLQ_DTYPE_BOOL)
        for (size_t i = 0; i < elements; i++)
            if (data[i] > 1) return bad(r, t, "a boolean that is neither 0 nor 1");
    return CLQ_OK;
}

/* The numbers that one entry of int32_data may hold; of packed types an entry is a packed byte. */
static void int32_range(clq_dtype dtype, int32_t *low, int32_t *high)
{
    *low = 0;
    switch (dtype) {
    case CLQ_DTYPE_S32: *low = INT32_MIN, *high = INT32_MAX; break;
    case CLQ_DTYPE_S16: *low = INT16_MIN, *high = INT16_MAX; break;
    case CLQ_DTYPE_S8: *low = INT8_MIN, *high = INT8_MAX; break;
    case CLQ_DTYPE_BOOL: *high = 1; break;
    case CLQ_DTYPE_U16:
    case CLQ_DTYPE_F16:
    case CLQ_DTYPE_BF16: *high = UINT16_MAX; break;
    default: *high = UINT8_MAX; break;
    }
}

/* Stores n entries of int32_data, each in size bytes. */
static bool narrow_int32(unsigned char *data, size_t size, const Onnx__TensorProto *t, clq_dtype dtype)
{
    int32_t low, high;
    int32_range(dtype, &low, &high);
    for (size_t i = 0; i < t->n_int32_data; i++) {
        int32_t v = t->int32_data[i];
        if (v < low || v > high) return false;
        memcpy(data + i * size, &v, size); /* little-endian: the low bytes come first */
    }
    return true;
}

static bool narrow_uint64(unsigned char *data, const Onnx__TensorProto *t)
{
    for (size_t i = 0; i < t->n_uint64_data; i++) {
        uint32_t v = (uint32_t)t->uint64_data[i];
        if (t->uint64_data[i] > UINT32_MAX) return false;
        memcpy(data + i * sizeof v, &v, sizeof v);
    }
    return true;
}

static clq_status from_list(struct clq_onnx_reader *r, struct clq_const *c, Onnx__TensorProto *t, size_t elements)
{
    size_t n = t->n_float_data + t->n_int32_data + t->n_int64_data + t->n_double_data + t->n_uint64_data;
    bool packed = clq_dtype_bits(c->dtype) < 8, fits = true;
    size_t expected = packed ? c->bytes : elements;
    if (lists_filled(t) & ~list_for(c->dtype)) return bad(r, t, "data in a list of another type");
    if (n != expected)
        return clq_fail(r->err, CLQ_ERR_FORMAT, "tensor '%s': expected %zu entries of data, found %zu", name_of(t),
                        expected, n);
    unsigned char *data = clq_arena_alloc(r->arena, c->bytes);
    if (!data) return clq_onnx_no_memory(r->err);
    switch (n ? list_for(c->dtype) : 0u) {
    case FLOATS: memcpy(data, t->float_data, c->bytes); break;
    case INT64S: memcpy(data, t->int64_data, c->bytes); break;
    case DOUBLES: memcpy(data, t->double_data, c->bytes); break;
    case UINT64S:
        if (c->dtype == CLQ_DTYPE_U64) memcpy(data, t->uint64_data, c->bytes);
        else fits = narrow_uint64(data, t);
        break;
    case INT32S: fits = narrow_int32(data, packed ? 1 : c->bytes / elements, t, c->dtype); break;
    default: break;
    }
    if (!fits) return bad(r, t, "a number that is out of its type's range");
    c->data = data;
    return tidy(r, c, t, data, elements);
}

static clq_status from_raw(struct clq_onnx_reader *r, struct clq_const *c, Onnx__TensorProto *t, size_t elements)
{
    if (lists_filled(t)) return bad(r, t, "has raw_data and a list of numbers");
    if (t->raw_data.len != c->bytes)
        return clq_fail(r->err, CLQ_ERR_FORMAT, "tensor '%s': expected %zu bytes of raw_data, found %zu", name_of(t),
                        c->bytes, t->raw_data.len);
    unsigned char *data = clq_arena_alloc(r->arena, c->bytes);
    if (!data) return clq_onnx_no_memory(r->err);
    if (c->bytes) memcpy(data, t->raw_data.data, c->bytes);
    free(t->raw_data.data); /* large models would otherwise be in memory twice for longer */
    t->raw_data = (ProtobufCBinaryData){0};
    c->data = data;
    return tidy(r, c, t, data, elements);
}

struct external {
    const char *location;
    uint64_t offset, length;
    bool has_offset, has_length, has_checksum;
};

/* A decimal number without a sign that fits; nothing else. */
static bool decimal(uint64_t *out, const char *text)
{
    uint64_t v = 0;
    if (!text[0]) return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9') return false;
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) || __builtin_add_overflow(v, (uint64_t)(*text - '0'), &v))
            return false;
    }
    *out = v;
    return true;
}

static clq_status external_entries(struct clq_onnx_reader *r, struct external *e, const Onnx__TensorProto *t)
{
    for (size_t i = 0; i < t->n_external_data; i++) {
        const char *key = t->external_data[i]->key ? t->external_data[i]->key : "";
        const char *value = t->external_data[i]->value ? t->external_data[i]->value : "";
        bool again = false, number = true;
        if (strcmp(key, "location") == 0) {
            again = e->location != NULL;
            e->location = value;
        } else if (strcmp(key, "offset") == 0) {
            again = e->has_offset;
            e->has_offset = true;
            number = decimal(&e->offset, value);
        } else if (strcmp(key, "length") == 0) {
            again = e->has_length;
            e->has_length = true;
            number = decimal(&e->length, value);
        } else if (strcmp(key, "checksum") == 0) {
            again = e->has_checksum;
            e->has_checksum = true;
        } else {
            return clq_fail(r->err, CLQ_ERR_UNSUPPORTED, "tensor '%s': unknown external data key '%s'", name_of(t),
                            key);
        }
        if (again)
            return clq_fail(r->err, CLQ_ERR_FORMAT, "tensor '%s': external data has '%s' twice", name_of(t), key);
        if (!number)
            return clq_fail(r->err, CLQ_ERR_FORMAT, "tensor '%s': external data %s is '%s', not a decimal number",
                            name_of(t), key, value);
    }
    return e->location ? CLQ_OK : bad(r, t, "external data without a location");
}

void clq_onnx_close_external(struct clq_onnx_reader *r)
{
    if (r->external_name) clq_file_close(&r->external);
    r->external_name = NULL;
}

/* The model remembers which files it needs. */
static clq_status note_external(struct clq_onnx_reader *r, const char *location)
{
    struct clq_model *m = r->model;
    if (clq_map_get(&r->external_names, location) >= 0) return CLQ_OK;
    if (m->n_external == r->external_capacity) {
        int capacity = m->n_external * 2 + 4;
        const char **grown = clq_arena_array(r->arena, (size_t)capacity, sizeof *grown);
        if (!grown) return clq_onnx_no_memory(r->err);
        if (m->n_external) memcpy(grown, m->external, (size_t)m->n_external * sizeof *grown);
        m->external = grown;
        r->external_capacity = capacity;
    }
    const char *name = clq_arena_string(r->arena, location);
    if (!name || !clq_map_set(&r->external_names, name, 0)) return clq_onnx_no_memory(r->err);
    m->external[m->n_external++] = name;
    return CLQ_OK;
}

static clq_status open_external(struct clq_onnx_reader *r, const char *location)
{
    if (r->external_name && strcmp(r->external_name, location) == 0) return CLQ_OK;
    clq_onnx_close_external(r);
    const char *name = clq_arena_string(&r->scratch, location);
    if (!name) return clq_onnx_no_memory(r->err);
    CLQ_TRY(clq_file_open_below(&r->external, r->base_path, location, strlen(location),
                                r->allow_links ? CLQ_BELOW_LINKS : 0u, r->err));
    r->external_name = name;
    CLQ_TRY(note_external(r, location));
    const char *id = clq_arena_printf(&r->scratch, "%llx %llx", (unsigned long long)r->external.id.device,
                                      (unsigned long long)r->external.id.inode);
    if (!id) return clq_onnx_no_memory(r->err);
    if (clq_map_get(&r->external_files, id) >= 0) return CLQ_OK;
    if (__builtin_add_overflow(r->external_room, r->external.size, &r->external_room)) r->external_room = UINT64_MAX;
    return clq_map_set(&r->external_files, id, 0) ? CLQ_OK : clq_onnx_no_memory(r->err);
}

/* Many tensors that all point at one large file would need memory that no file on disk stands for. */
static clq_status admit_external(struct clq_onnx_reader *r, const struct clq_const *c, const Onnx__TensorProto *t)
{
    if (!__builtin_add_overflow(r->external_bytes, (uint64_t)c->bytes, &r->external_bytes) &&
        r->external_bytes / 4 <= r->external_room)
        return CLQ_OK;
    return clq_fail(r->err, CLQ_ERR_FORMAT, "tensor '%s': the external tensors are more than four times as long as the "
                    "%llu bytes of their files", name_of(t), (unsigned long long)r->external_room);
}

static clq_status from_file(struct clq_onnx_reader *r, struct clq_const *c, Onnx__TensorProto *t, size_t elements)
{
    struct external e = {0};
    if (t->has_raw_data || lists_filled(t)) return bad(r, t, "has external data and data of its own");
    CLQ_TRY(external_entries(r, &e, t));
    if (!r->base_path)
        return clq_fail(r->err, CLQ_ERR_UNSUPPORTED, "tensor '%s': external data needs a model that is a file",
                        name_of(t));
    if (e.has_length && e.length != c->bytes)
        return clq_fail(r->err, CLQ_ERR_FORMAT, "tensor '%s': expected %zu bytes of external data, found length %llu",
                        name_of(t), c->bytes, (unsigned long long)e.length);
    CLQ_TRY(open_external(r, e.location));
    if (!clq_size_span(e.offset, c->bytes, r->external.size))
        return clq_fail(r->err, CLQ_ERR_FORMAT, "tensor '%s': %zu bytes at offset %llu of '%s', which has %llu bytes",
                        name_of(t), c->bytes, (unsigned long long)e.offset, e.location,
                        (unsigned long long)r->external.size);
    CLQ_TRY(admit_external(r, c, t));
    unsigned char *data = clq_arena_alloc(r->arena, c->bytes);
    if (!data) return clq_onnx_no_memory(r->err);
    CLQ_TRY(clq_file_pread(&r->external, data, c->bytes, e.offset, r->err));
    if (r->hash) clq_sha256_add(r->hash, data, c->bytes);
    c->data = data;
    return tidy(r, c, t, data, elements);
}

clq_status clq_onnx_tensor(struct clq_onnx_reader *r, struct clq_const *out, Onnx__TensorProto *t)
{
    size_t elements = 0;
    struct clq_const c = {0};
    c.name = clq_arena_string(r->arena, t->name ? t->name : "");
    if (!c.name) return clq_onnx_no_memory(r->err);
    CLQ_TRY(shape(r, &c, t, &elements));
    if (t->has_data_location && t->data_location != ONNX__TENSOR_PROTO__DATA_LOCATION__DEFAULT &&
        t->data_location != ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL)
        return bad(r, t, "an unknown data_location");
    bool external = t->has_data_location && t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    if (!external && t->n_external_data) return bad(r, t, "has external data but says that it has not");
    if (c.dtype == CLQ_DTYPE_STRING) {
        if (external || t->has_raw_data || lists_filled(t) & ~STRINGS || t->n_string_data != elements)
            return bad(r, t, "a tensor of strings needs exactly its string_data");
    } else if (external) {
        CLQ_TRY(from_file(r, &c, t, elements));
    } else if (t->has_raw_data) {
        CLQ_TRY(from_raw(r, &c, t, elements));
    } else {
        CLQ_TRY(from_list(r, &c, t, elements));
    }
    *out = c;
    return CLQ_OK;
}
