/* SPDX-License-Identifier: Apache-2.0
 * ONNX: reading a file into a clq_model and writing one back. Files are hostile; after CLQ_OK the graphs are sorted,
 * names are unique and every constant's data is as long as its shape says. Must not know what operators mean. */
#ifndef CLQ_FORMATS_ONNX_H
#define CLQ_FORMATS_ONNX_H

#include <stdbool.h>
#include <stddef.h>

#include "base/file.h"
#include "base/model.h"

/* IR 3 to 13. External data is read below the file's directory. On failure out is empty. CLQ_ERR_FORMAT: the file
 * breaks the rules. CLQ_ERR_UNSUPPORTED: it uses something that clq_model cannot hold (sparse tensors, functions,
 * sequences, strings that are used). */
clq_status clq_onnx_read(struct clq_model *out, const char *path, struct clq_error *err);

/* The same; allow_links: external data may be behind symbolic links and have more than one hard link, as in model
 * caches. out->hash covers the file and the external data that is used. All external tensors together may be four
 * times as long as their files, since tensors may share data. */
clq_status clq_onnx_read_links(struct clq_model *out, const char *path, bool allow_links, struct clq_error *err);

/* The same from memory; bytes are not needed afterwards. Without a directory, external data is CLQ_ERR_UNSUPPORTED. */
clq_status clq_onnx_decode(struct clq_model *out, const void *bytes, size_t n, const char *directory,
                           struct clq_error *err);
/* The same; allow_links as in clq_onnx_read_links. */
clq_status clq_onnx_decode_links(struct clq_model *out, const void *bytes, size_t n, const char *directory, bool allow_links, struct clq_error *err);

/* The file's bytes: a function of the model alone. The IR version is the lowest that carries the operator set and the
 * types; constants of type STRING (unused, or it would not have been read) are left out. free(*out). */
clq_status clq_onnx_encode(unsigned char **out, size_t *n, const struct clq_model *model, struct clq_error *err);

/* Streams the same bytes into a file that appears only when it is complete. force: replace an existing file. */
clq_status clq_onnx_write(const char *path, const struct clq_model *model, bool force, struct clq_error *err);

struct clq_onnx_write_options {
    bool force;                       /* replace existing files */
    bool external;                    /* weights into a second file, as always happens above 1.5 GB */
    const struct clq_file_id *inputs; /* neither file may be one of these */
    size_t n_inputs;
};

/* The same with options. External data lies in <path>.data, tensors of 4096 bytes and more at multiples of 4096. Both
 * files are complete before the first one appears under its name; the data file appears first. */
clq_status clq_onnx_write_with(const char *path, const struct clq_model *model,
                               const struct clq_onnx_write_options *options, struct clq_error *err);

/* Copies the files that model was read from: to gets the bytes of model->path, and every file of external data the same
 * relative name beside to. One that is the same file, or has the same bytes already, is left. Each file appears only when
 * it is complete, the model last; what a failure left behind is removed. CLQ_ERR_INVALID_ARGUMENT: external data
 * would replace another file without options->force, go through a link, or has the name of to. CLQ_ERR_IO: a file was changed
 * after it was read, or the target of one is in options->inputs. options->external means nothing. */
clq_status clq_onnx_copy(const char *to, const struct clq_model *model, const struct clq_onnx_write_options *options, struct clq_error *err);

/* The identities of the files that model was read from, and of the same external data beside another model file (or
 * NULL), as many as exist: what an output must not replace. At most 2 * model->n_external + 1. */
size_t clq_onnx_files(struct clq_file_id *out, size_t capacity, const struct clq_model *model, const char *beside_too);

/* One TensorProto, as ONNX's test data has them. Name and data are arena's. A SequenceProto or OptionalProto is
 * CLQ_ERR_UNSUPPORTED where it can be told apart. */
clq_status clq_tensor_pb_read(struct clq_const *out, struct clq_arena *arena, const char *path, struct clq_error *err);

#endif
