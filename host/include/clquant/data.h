/* SPDX-License-Identifier: Apache-2.0
 *
 * data.h - arrays in files, and data sets of samples for a model.
 *
 * A data set is a .npz file (arrays by input name, the first axis counts samples), a .npy file (a model with one input),
 * or a folder of either. Samples are read when they are needed: memory does not grow with their number.
 *
 *     clq_data *data;
 *     clq_data_open(&data, ctx, model, "calib.npz", NULL);
 *     printf("%zu samples\n", clq_data_count(data));
 *     clq_data_free(data);
 */
#ifndef CLQUANT_DATA_H
#define CLQUANT_DATA_H

#include <clquant/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct clq_data clq_data;
typedef struct clq_bundle clq_bundle;

typedef struct clq_data_options {
    size_t batch;      /* samples that are stacked into one input, 0 or 1: none; a scalar input is not, they must agree in it */
    size_t limit;      /* at most so many samples, 0: all */
    uint64_t seed;     /* of synthetic data */
} clq_data_options;

/* Opens a data set for a model's inputs. path "synthetic:N" makes N samples of seeded noise, for timing alone. A file's
 * sample has the input's shape, with or without the leading batch dimension of 1.
 * CLQ_ERR_IO, CLQ_ERR_FORMAT: the file. CLQ_ERR_INVALID_ARGUMENT names the input whose array is missing or does not fit. */
CLQ_API clq_status clq_data_open(clq_data **out, clq_context *ctx, const clq_model *model, const char *path, const clq_data_options *options);
CLQ_API void clq_data_free(clq_data *data);

/* The number of inputs that the data set yields (samples / batch). */
CLQ_API size_t clq_data_count(const clq_data *data);
CLQ_API bool clq_data_is_synthetic(const clq_data *data);

/* Fills one tensor per model input with sample number index; the data lives until the next call. */
CLQ_API clq_status clq_data_get(clq_data *data, size_t index, clq_tensor *inputs);

/* Reads all arrays of a .npz, the one of a .npy, or the tensor of an ONNX .pb file (name as in the file, or ""). */
CLQ_API clq_status clq_bundle_load(clq_bundle **out, clq_context *ctx, const char *path);
CLQ_API void clq_bundle_free(clq_bundle *arrays);
CLQ_API size_t clq_bundle_count(const clq_bundle *arrays);
CLQ_API const char *clq_bundle_name(const clq_bundle *arrays, size_t index);
CLQ_API const clq_tensor *clq_bundle_tensor(const clq_bundle *arrays, size_t index);

/* Writes one array as .npy; an existing file is replaced only with force. */
CLQ_API clq_status clq_array_save(clq_context *ctx, const char *path, const clq_tensor *tensor, bool force);

#ifdef __cplusplus
}
#endif
#endif
