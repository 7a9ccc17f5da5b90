/* SPDX-License-Identifier: Apache-2.0
 * What is used of onnxruntime's C interface, by position. OrtGetApiBase gives two functions: the table of a version of the
 * interface, and the library's version. A table only ever grows at its end: the makers assert that version 1 ends with
 * entry 101, version 2 with 118, 3 with 124, 4 with 126 and 5 with 149. All that is used here exists since version 5
 * (onnxruntime 1.5), and version 8 (onnxruntime 1.8) is asked for, the first with all that our files need. */
#ifndef CLQ_ORT_API_H
#define CLQ_ORT_API_H

#include <stddef.h>
#include <stdint.h>

enum { CLQ_ORT_API_VERSION = 8 };

/* Objects of the library; only their addresses are ever used. A status of NULL is success. */
typedef struct ort_status ort_status;
typedef struct ort_object ort_object;

struct ort_base {
    const void *const *(*table)(uint32_t version); /* NULL: not known to this library */
    const char *(*version)(void);
};

/* X(position, name, result, arguments) */
#define CLQ_ORT_API(X)                                                                                                                         \
    X(2, error_message, const char *, (const ort_status *))                                                                                    \
    X(3, create_env, ort_status *, (int severity, const char *id, ort_object **env))                                                           \
    X(8, create_session, ort_status *,                                                                                                         \
      (const ort_object *env, const void *model, size_t bytes, const ort_object *options, ort_object **session))                              \
    X(9, run, ort_status *,                                                                                                                    \
      (ort_object *session, const ort_object *options, const char *const *input_names, const ort_object *const *inputs, size_t n_inputs,      \
       const char *const *output_names, size_t n_outputs, ort_object **outputs))                                                               \
    X(10, create_options, ort_status *, (ort_object **options))                                                                                \
    X(14, enable_profiling, ort_status *, (ort_object *options, const char *prefix))                                                           \
    X(22, set_severity, ort_status *, (ort_object *options, int severity))                                                                     \
    X(24, set_intra_threads, ort_status *, (ort_object *options, int threads))                                                                 \
    X(25, set_inter_threads, ort_status *, (ort_object *options, int threads))                                                                 \
    X(49, create_tensor, ort_status *,                                                                                                         \
      (const ort_object *memory, void *data, size_t bytes, const int64_t *shape, size_t rank, int type, ort_object **value))                   \
    X(50, is_tensor, ort_status *, (const ort_object *value, int *yes))                                                                        \
    X(51, tensor_data, ort_status *, (ort_object *value, void **data))                                                                         \
    X(60, element_type, ort_status *, (const ort_object *info, int *type))                                                                     \
    X(61, dimension_count, ort_status *, (const ort_object *info, size_t *n))                                                                  \
    X(62, dimensions, ort_status *, (const ort_object *info, int64_t *shape, size_t n))                                                        \
    X(65, type_and_shape, ort_status *, (const ort_object *value, ort_object **info))                                                          \
    X(69, create_cpu_memory, ort_status *, (int allocator_type, int memory_type, ort_object **memory))                                         \
    X(76, allocator_free, ort_status *, (ort_object *allocator, void *data))                                                                   \
    X(78, default_allocator, ort_status *, (ort_object **allocator))                                                                           \
    X(92, release_env, void, (ort_object *))                                                                                                   \
    X(93, release_status, void, (ort_status *))                                                                                                \
    X(94, release_memory, void, (ort_object *))                                                                                                \
    X(95, release_session, void, (ort_object *))                                                                                               \
    X(96, release_value, void, (ort_object *))                                                                                                 \
    X(99, release_info, void, (ort_object *))                                                                                                  \
    X(100, release_options, void, (ort_object *))                                                                                              \
    X(110, end_profiling, ort_status *, (ort_object *session, ort_object *allocator, char **file))                                             \
    X(130, add_config, ort_status *, (ort_object *options, const char *key, const char *value))

struct ort_api {
#define CLQ_ORT_FIELD(position, name, result, arguments) result(*name) arguments;
    CLQ_ORT_API(CLQ_ORT_FIELD)
#undef CLQ_ORT_FIELD
};

#endif
