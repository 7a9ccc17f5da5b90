/* SPDX-License-Identifier: Apache-2.0
 * Named arrays in a .npy or .npz file: calibration data, test data, results. Opening reads headers only; rows of the
 * first axis are read as they are asked for, so that memory does not grow with the number of samples. */
#ifndef CLQ_FORMATS_ARRAYS_H
#define CLQ_FORMATS_ARRAYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clquant/tensor.h>

#include "base/error.h"
#include "base/file.h"

typedef struct clq_arrays clq_arrays;

/* Opens a file; its first bytes say whether it is NPY or NPZ. CLQ_ERR_FORMAT: broken, two members of one name, or a
 * member whose declared size is not header plus shape times type. CLQ_ERR_UNSUPPORTED: see npy.h; encrypted members
 * and compression other than deflate. Members of an NPZ that are not .npy are left out. */
clq_status clq_arrays_open(clq_arrays **out, const char *path, struct clq_error *err);
void clq_arrays_close(clq_arrays *arrays);

size_t clq_arrays_count(const clq_arrays *arrays);
/* The member's name without ".npy"; "" for the array of an NPY file. */
const char *clq_arrays_name(const clq_arrays *arrays, size_t i);
/* Type and shape; data is NULL. */
const clq_tensor *clq_arrays_info(const clq_arrays *arrays, size_t i);
/* The array of that name, or -1. */
int clq_arrays_find(const clq_arrays *arrays, const char *name);
struct clq_file_id clq_arrays_id(const clq_arrays *arrays);

/* Rows begin .. end - 1 of the first axis (a scalar is one row), dense and native. Forward reads are sequential; a
 * step back in a compressed member starts it again. An array in Fortran order is held in memory after its first use. */
clq_status clq_arrays_rows(clq_arrays *arrays, size_t i, int64_t begin, int64_t end, void *out, struct clq_error *err);

/* The whole array in memory of its own, released by free(out->data). More than limit bytes (0: no limit) is
 * CLQ_ERR_FORMAT. */
clq_status clq_arrays_load(clq_arrays *arrays, size_t i, clq_tensor *out, size_t limit, struct clq_error *err);

clq_status clq_npy_write(const char *path, const clq_tensor *tensor, const struct clq_writer_options *options,
                         struct clq_error *err);
/* Names without ".npy". The same arrays give the same bytes. Peak memory is the file's size. */
clq_status clq_npz_write(const char *path, size_t n, const char *const *names, const clq_tensor *tensors, bool deflate,
                         const struct clq_writer_options *options, struct clq_error *err);

#endif
