/* SPDX-License-Identifier: Apache-2.0
 * What plans say about data sets. */
#ifndef CLQ_HOST_DATA_H
#define CLQ_HOST_DATA_H

#include <clquant/data.h>

#include "base/error.h"
#include "base/hash.h"

/* The files in the order of their samples; none for synthetic data. */
size_t clq_data_file_count(const clq_data *data);
const char *clq_data_file_path(const clq_data *data, size_t index);
/* How many of n_labels belong to what one clq_data_get yields. They are for all samples of the files, or for those that the
 * limit leaves; CLQ_ERR_INVALID_ARGUMENT when they are neither. */
clq_status clq_data_labels(size_t *per_get, const clq_data *data, size_t n_labels);
/* Adds the bytes of all files. *left says how many may be read and is lowered; with too few it becomes 0 and the hash is
 * not complete. A file that has gone is CLQ_ERR_IO. */
clq_status clq_data_hash(struct clq_sha256 *sha, uint64_t *left, const clq_data *data, struct clq_error *err);

#endif
