/* SPDX-License-Identifier: Apache-2.0
 * The NPY header: one dense array of numbers. Reading rows and whole files is in arrays.h. */
#ifndef CLQ_FORMATS_NPY_H
#define CLQ_FORMATS_NPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clquant/tensor.h>

#include "base/error.h"

/* The most bytes that a header may take: magic, version, length and text. */
enum { CLQ_NPY_HEAD = 12 + 65536 };

struct clq_npy {
    clq_tensor tensor; /* data is NULL */
    bool fortran;      /* first axis contiguous; never set for rank 0 and 1 */
    bool swapped;      /* big-endian */
    size_t offset;     /* of the data */
    size_t bytes;      /* of the data: offset + bytes is the whole file */
};

/* Parses the header at the start of a file or member of total bytes; head holds its first n bytes, n being the smaller
 * of total and CLQ_NPY_HEAD. CLQ_ERR_FORMAT: broken, or its size is not header plus shape times type.
 * CLQ_ERR_UNSUPPORTED: objects, strings, complex numbers, structures, more than CLQ_MAX_RANK dimensions. */
clq_status clq_npy_parse(struct clq_npy *out, const void *head, size_t n, uint64_t total, const char *what,
                         struct clq_error *err);

/* Makes elements as they are in the file native: swaps bytes where needed, and turns booleans into 0 or 1. */
void clq_npy_native(const struct clq_npy *npy, void *data, size_t elements);

/* Writes the version 1 header of an array into out (256 bytes) and its length, a multiple of 64.
 * CLQ_ERR_UNSUPPORTED: a type that NPY has no name for. */
clq_status clq_npy_header(unsigned char out[256], size_t *n, const clq_tensor *tensor, struct clq_error *err);

#endif
