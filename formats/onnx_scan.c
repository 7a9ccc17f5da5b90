/* SPDX-License-Identifier: Apache-2.0
 * The pre-scan of ONNX files. protobuf-c recurses without limit and merges repeated messages; so every byte is checked
 * here first, iteratively: tags, lengths, wire types, depth, and that nothing singular appears twice. */
#include "formats/onnx_internal.h"

#include <string.h>

#include "base/size.h"

enum { MAX_DEPTH = 128, MAX_GRAPHS = 33 }; /* the model's graph and 32 nested ones */

enum kind { VARINT, FIXED32, TEXT, BYTES, MESSAGE, VARINTS, FIXEDS32, FIXEDS64 };
enum { MANY = 0 };
/* SequenceProto and OptionalProto keep their values in the field that TensorProto has for a segment. */
enum { TENSOR_SEGMENT = 3 };

enum message {
    MODEL, GRAPH, NODE, ATTRIBUTE, TENSOR, SPARSE, VALUE_INFO, TYPE, TYPE_TENSOR, TYPE_ELEMENT, TYPE_MAP, SHAPE, DIM,
    OPSET, ENTRY, FUNCTION, TRAINING, ANNOTATION
};

/* once: MANY, or a bit number; members of a oneof share theirs. child is a message where kind is MESSAGE. */
struct field {
    unsigned char number, kind, once, child;
};

static const struct field model_fields[] = {
    {1, VARINT, 1, 0}, {2, TEXT, 2, 0}, {3, TEXT, 3, 0}, {4, TEXT, 4, 0}, {5, VARINT, 5, 0}, {6, TEXT, 6, 0},
    {7, MESSAGE, 7, GRAPH}, {8, MESSAGE, MANY, OPSET}, {14, MESSAGE, MANY, ENTRY}, {20, MESSAGE, MANY, TRAINING},
    {25, MESSAGE, MANY, FUNCTION}};
static const struct field graph_fields[] = {
    {1, MESSAGE, MANY, NODE}, {2, TEXT, 2, 0}, {5, MESSAGE, MANY, TENSOR}, {10, TEXT, 10, 0},
    {11, MESSAGE, MANY, VALUE_INFO}, {12, MESSAGE, MANY, VALUE_INFO}, {13, MESSAGE, MANY, VALUE_INFO},
    {14, MESSAGE, MANY, ANNOTATION}, {15, MESSAGE, MANY, SPARSE}};
static const struct field node_fields[] = {
    {1, TEXT, MANY, 0}, {2, TEXT, MANY, 0}, {3, TEXT, 3, 0}, {4, TEXT, 4, 0}, {5, MESSAGE, MANY, ATTRIBUTE},
    {6, TEXT, 6, 0}, {7, TEXT, 7, 0}};
static const struct field attribute_fields[] = {
    {1, TEXT, 1, 0}, {2, FIXED32, 2, 0}, {3, VARINT, 3, 0}, {4, BYTES, 4, 0}, {5, MESSAGE, 5, TENSOR},
    {6, MESSAGE, 6, GRAPH}, {7, FIXEDS32, MANY, 0}, {8, VARINTS, MANY, 0}, {9, BYTES, MANY, 0},
    {10, MESSAGE, MANY, TENSOR}, {11, MESSAGE, MANY, GRAPH}, {13, TEXT, 13, 0}, {14, MESSAGE, 14, TYPE},
    {15, MESSAGE, MANY, TYPE}, {20, VARINT, 20, 0}, {21, TEXT, 21, 0}, {22, MESSAGE, 22, SPARSE},
    {23, MESSAGE, MANY, SPARSE}};
static const struct field tensor_fields[] = {
    {1, VARINTS, MANY, 0}, {2, VARINT, 2, 0}, {4, FIXEDS32, MANY, 0}, {5, VARINTS, MANY, 0},
    {6, BYTES, MANY, 0}, {7, VARINTS, MANY, 0}, {8, TEXT, 8, 0}, {9, BYTES, 9, 0}, {10, FIXEDS64, MANY, 0},
    {11, VARINTS, MANY, 0}, {12, TEXT, 12, 0}, {13, MESSAGE, MANY, ENTRY}, {14, VARINT, 14, 0}};
static const struct field sparse_fields[] = {
    {1, MESSAGE, 1, TENSOR}, {2, MESSAGE, 2, TENSOR}, {3, VARINTS, MANY, 0}};
static const struct field value_info_fields[] = {{1, TEXT, 1, 0}, {2, MESSAGE, 2, TYPE}, {3, TEXT, 3, 0}};
static const struct field type_fields[] = {
    {1, MESSAGE, 1, TYPE_TENSOR}, {4, MESSAGE, 1, TYPE_ELEMENT}, {5, MESSAGE, 1, TYPE_MAP}, {6, TEXT, 6, 0},
    {8, MESSAGE, 1, TYPE_TENSOR}, {9, MESSAGE, 1, TYPE_ELEMENT}};
static const struct field type_tensor_fields[] = {{1, VARINT, 1, 0}, {2, MESSAGE, 2, SHAPE}};
static const struct field type_element_fields[] = {{1, MESSAGE, 1, TYPE}};
static const struct field type_map_fields[] = {{1, VARINT, 1, 0}, {2, MESSAGE, 2, TYPE}};
static const struct field shape_fields[] = {{1, MESSAGE, MANY, DIM}};
static const struct field dim_fields[] = {{1, VARINT, 1, 0}, {2, TEXT, 1, 0}, {3, TEXT, 3, 0}};
static const struct field opset_fields[] = {{1, TEXT, 1, 0}, {2, VARINT, 2, 0}};
static const struct field entry_fields[] = {{1, TEXT, 1, 0}, {2, TEXT, 2, 0}};
static const struct field function_fields[] = {
    {1, TEXT, 1, 0}, {4, TEXT, MANY, 0}, {5, TEXT, MANY, 0}, {6, TEXT, MANY, 0}, {7, MESSAGE, MANY, NODE},
    {8, TEXT, 8, 0}, {9, MESSAGE, MANY, OPSET}, {10, TEXT, 10, 0}};
static const struct field training_fields[] = {
    {1, MESSAGE, 1, GRAPH}, {2, MESSAGE, 2, GRAPH}, {3, MESSAGE, MANY, ENTRY}, {4, MESSAGE, MANY, ENTRY}};
static const struct field annotation_fields[] = {{1, TEXT, 1, 0}, {2, MESSAGE, MANY, ENTRY}};

#define BIT(number) ((uint64_t)1 << (number))
#define MESSAGE_ROW(text, array) {text, array, sizeof(array) / sizeof(array)[0], 0}
#define MESSAGE_NEEDS(text, array, bits) {text, array, sizeof(array) / sizeof(array)[0], bits}
/* needed: bits of once without which the message is refused here, because two bytes of an empty message would become
 * hundreds in memory. */
static const struct {
    const char *name;
    const struct field *fields;
    size_t n;
    uint64_t needed;
} messages[] = {
    [MODEL] = MESSAGE_ROW("ModelProto", model_fields),
    [GRAPH] = MESSAGE_ROW("GraphProto", graph_fields),
    [NODE] = MESSAGE_NEEDS("NodeProto", node_fields, BIT(4)),
    [ATTRIBUTE] = MESSAGE_NEEDS("AttributeProto", attribute_fields, BIT(1) | BIT(20)),
    [TENSOR] = MESSAGE_NEEDS("TensorProto", tensor_fields, BIT(2)),
    [SPARSE] = MESSAGE_ROW("SparseTensorProto", sparse_fields),
    [VALUE_INFO] = MESSAGE_NEEDS("ValueInfoProto", value_info_fields, BIT(1)),
    [TYPE] = MESSAGE_ROW("TypeProto", type_fields),
    [TYPE_TENSOR] = MESSAGE_ROW("TypeProto.Tensor", type_tensor_fields),
    [TYPE_ELEMENT] = MESSAGE_ROW("TypeProto.Sequence", type_element_fields),
    [TYPE_MAP] = MESSAGE_ROW("TypeProto.Map", type_map_fields),
    [SHAPE] = MESSAGE_ROW("TensorShapeProto", shape_fields),
    [DIM] = MESSAGE_ROW("Dimension", dim_fields),
    [OPSET] = MESSAGE_NEEDS("OperatorSetIdProto", opset_fields, BIT(2)),
    [ENTRY] = MESSAGE_ROW("StringStringEntryProto", entry_fields),
    [FUNCTION] = MESSAGE_ROW("FunctionProto", function_fields),
    [TRAINING] = MESSAGE_ROW("TrainingInfoProto", training_fields),
    [ANNOTATION] = MESSAGE_ROW("TensorAnnotation", annotation_fields)};

struct frame {
    size_t end;
    uint64_t seen; /* bits of once */
    enum message message;
};

struct scan {
    const unsigned char *bytes;
    size_t at;
    int depth, graphs;
    struct frame stack[MAX_DEPTH];
    struct clq_error *err;
};

static clq_status broken(struct scan *s, size_t at, const char *what)
{
    return clq_fail(s->err, CLQ_ERR_FORMAT, "%s at offset %zu: %s", messages[s->stack[s->depth - 1].message].name, at,
                    what);
}

/* A base-128 number that ends before end; at most max bytes, and no bits beyond 64. */
static bool varint(struct scan *s, size_t end, int max, uint64_t *out)
{
    uint64_t value = 0;
    for (int i = 0; i < max && s->at < end; i++) {
        unsigned char byte = s->bytes[s->at++];
        if (i == 9 && byte > 1) return false;
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *out = value;
            return true;
        }
    }
    return false;
}

static const struct field *find(enum message message, uint64_t number)
{
    for (size_t i = 0; i < messages[message].n; i++)
        if (messages[message].fields[i].number == number) return &messages[message].fields[i];
    return NULL;
}

static bool wire_fits(enum kind kind, unsigned wire)
{
    switch (kind) {
    case VARINT: return wire == 0;
    case FIXED32: return wire == 5;
    case VARINTS: return wire == 0 || wire == 2;
    case FIXEDS32: return wire == 5 || wire == 2;
    case FIXEDS64: return wire == 1 || wire == 2;
    default: return wire == 2;
    }
}

static clq_status push(struct scan *s, size_t start, size_t end, enum message message)
{
    if (s->depth == MAX_DEPTH) return broken(s, start, "messages are nested more than 128 deep");
    if (message == GRAPH && s->graphs == MAX_GRAPHS)
        return broken(s, start, "graphs are nested more than 32 deep");
    s->graphs += message == GRAPH;
    s->stack[s->depth++] = (struct frame){.end = end, .message = message};
    return CLQ_OK;
}

/* The inside of a length-delimited field whose data is [s->at, s->at + length). */
static clq_status scan_data(struct scan *s, size_t start, const struct field *field, size_t length)
{
    size_t end = s->at + length; /* inside the parent, see the caller */
    uint64_t value;
    switch (field ? (int)field->kind : (int)BYTES) {
    case MESSAGE: return push(s, start, end, (enum message)field->child);
    case TEXT:
        if (length && memchr(s->bytes + s->at, 0, length)) return broken(s, start, "a text with a zero byte");
        break;
    case VARINTS:
        while (s->at < end)
            if (!varint(s, end, 10, &value)) return broken(s, start, "a list of numbers with a broken number");
        break;
    case FIXEDS32:
        if (length % 4) return broken(s, start, "a list of 4-byte numbers whose length is not a multiple of 4");
        break;
    case FIXEDS64:
        if (length % 8) return broken(s, start, "a list of 8-byte numbers whose length is not a multiple of 8");
        break;
    default: break;
    }
    s->at = end;
    return CLQ_OK;
}

static clq_status scan_value(struct scan *s, size_t start, const struct field *field, unsigned wire)
{
    size_t end = s->stack[s->depth - 1].end, length;
    uint64_t value;
    switch (wire) {
    case 0: return varint(s, end, 10, &value) ? CLQ_OK : broken(s, start, "a number that is too long or cut off");
    case 1: length = 8; break;
    case 5: length = 4; break;
    default:
        if (!varint(s, end, 5, &value)) return broken(s, start, "a length that is too long or cut off");
        if (value > INT32_MAX || !clq_size_span(s->at, (size_t)value, end))
            return broken(s, start, "a length that goes beyond the end of the message around it");
        return scan_data(s, start, field, (size_t)value);
    }
    if (!clq_size_span(s->at, length, end)) return broken(s, start, "a number that is cut off");
    s->at += length;
    return CLQ_OK;
}

static clq_status scan_field(struct scan *s)
{
    struct frame *frame = &s->stack[s->depth - 1];
    size_t start = s->at;
    uint64_t tag;
    if (!varint(s, frame->end, 5, &tag)) return broken(s, start, "a tag that is too long or cut off");
    unsigned wire = (unsigned)(tag & 7);
    if (tag >> 3 == 0 || tag >> 3 > (1u << 29) - 1) return broken(s, start, "a field number out of range");
    if (wire != 0 && wire != 1 && wire != 2 && wire != 5) return broken(s, start, "a wire type that ONNX never uses");
    if (frame->message == TENSOR && tag >> 3 == TENSOR_SEGMENT)
        return clq_fail(s->err, CLQ_ERR_UNSUPPORTED, "TensorProto at offset %zu: segments, sequences and optionals are "
                        "not supported", start);
    const struct field *field = find(frame->message, tag >> 3);
    if (field && !wire_fits((enum kind)field->kind, wire)) return broken(s, start, "a field of the wrong wire type");
    if (field && field->once != MANY) {
        if (frame->seen >> field->once & 1) return broken(s, start, "a field that may appear once appears again");
        frame->seen |= (uint64_t)1 << field->once;
    }
    return scan_value(s, start, field, wire);
}

static clq_status scan_end(struct scan *s)
{
    const struct frame *frame = &s->stack[s->depth - 1];
    uint64_t absent = messages[frame->message].needed & ~frame->seen;
    if (absent)
        return clq_fail(s->err, CLQ_ERR_FORMAT, "%s before offset %zu: ends without its field %d",
                        messages[frame->message].name, s->at, __builtin_ctzll(absent));
    s->graphs -= frame->message == GRAPH;
    s->depth--;
    return CLQ_OK;
}

static clq_status scan(const void *bytes, size_t n, enum message root, struct clq_error *err)
{
    struct scan s = {.bytes = bytes, .err = err};
    if (n > INT32_MAX)
        return clq_fail(err, CLQ_ERR_FORMAT, "%zu bytes: a protobuf message ends before 2 GiB", n);
    s.depth = 1;
    s.stack[0] = (struct frame){.end = n, .message = root};
    while (s.depth > 0) {
        struct frame *frame = &s.stack[s.depth - 1];
        if (s.at < frame->end) {
            CLQ_TRY(scan_field(&s));
        } else {
            CLQ_TRY(scan_end(&s));
        }
    }
    return CLQ_OK;
}

clq_status clq_onnx_scan_model(const void *bytes, size_t n, struct clq_error *err)
{
    return scan(bytes, n, MODEL, err);
}

clq_status clq_onnx_scan_tensor(const void *bytes, size_t n, struct clq_error *err)
{
    return scan(bytes, n, TENSOR, err);
}
