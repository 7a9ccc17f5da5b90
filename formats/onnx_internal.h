/* SPDX-License-Identifier: Apache-2.0
 * What the files of the ONNX reader and writer share. */
#ifndef CLQ_FORMATS_ONNX_INTERNAL_H
#define CLQ_FORMATS_ONNX_INTERNAL_H

#include <onnx.pb-c.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/map.h"
#include "base/model.h"
#include "formats/onnx.h"

/* Checks every byte of a ModelProto or TensorProto; what passes is safe to give to protobuf-c. */
clq_status clq_onnx_scan_model(const void *bytes, size_t n, struct clq_error *err);
clq_status clq_onnx_scan_tensor(const void *bytes, size_t n, struct clq_error *err);

/* A graph that is still to be filled from its message, or that was. */
struct clq_onnx_todo {
    Onnx__GraphProto *from;
    struct clq_graph *to;
    struct clq_onnx_todo *next;
};

struct clq_onnx_reader {
    struct clq_model *model;
    struct clq_arena *arena;  /* where names and data go: the model's */
    struct clq_arena scratch; /* maps and lists of the reading itself */
    struct clq_error *err;
    const char *base_path; /* any path in the directory of external data, or NULL */
    struct clq_file external; /* open while external_name is set; tensors mostly share one file */
    const char *external_name;
    bool allow_links;
    uint64_t external_bytes, external_room; /* of all tensors, and of the distinct files behind them */
    struct clq_map external_files, external_names; /* by file identity, and by location */
    int external_capacity;
    struct clq_sha256 *hash; /* of the file set, or NULL */
    struct clq_map functions, node_names, texts; /* texts: initializers of type STRING */
    struct clq_onnx_todo *todo, *done;
};

/* The one way from a TensorProto to data: takes exactly one of raw_data, a typed field and external data, and checks
 * that it is as long as dims times type. The message's own copy of the data is released. */
clq_status clq_onnx_tensor(struct clq_onnx_reader *r, struct clq_const *out, Onnx__TensorProto *t);
void clq_onnx_close_external(struct clq_onnx_reader *r);

/* Fills the model's graph and all nested ones, and sorts them. */
clq_status clq_onnx_graphs(struct clq_onnx_reader *r, Onnx__GraphProto *from);

/* The type for an ONNX data_type number, or NONE. */
clq_dtype clq_onnx_dtype(int32_t data_type);

clq_status clq_onnx_no_memory(struct clq_error *err);

/* Where every allocation of protobuf-c goes; failed tells a refused message from missing memory. */
struct clq_onnx_allocator {
    ProtobufCAllocator base;
    bool failed;
};
void clq_onnx_allocator_start(struct clq_onnx_allocator *allocator);

#endif
