/* SPDX-License-Identifier: Apache-2.0
 *
 * profile.h - files of measured times: look into them, compare them, put them together. `clquant quantize` keeps one in the
 * user's cache; carried to another machine it says how fast plans are where it was measured (quantize.h, other_profile).
 *
 *     clq_profile_file *a, *b;
 *     if (clq_profile_open(&a, ctx, "phone.json") == CLQ_OK && clq_profile_open(&b, ctx, "desk.json") == CLQ_OK &&
 *         clq_profile_join(&joined, ctx, a, b) == CLQ_OK)
 *         clq_profile_write(a, ctx, "both.json", false);
 */
#ifndef CLQUANT_PROFILE_H
#define CLQUANT_PROFILE_H

#include <clquant/context.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct clq_profile_file clq_profile_file;

/* CLQ_ERR_IO: cannot be read; CLQ_ERR_FORMAT: malformed, or of another version. */
CLQ_API clq_status clq_profile_open(clq_profile_file **out, clq_context *ctx, const char *path);
CLQ_API void clq_profile_close(clq_profile_file *file);
/* An existing file is replaced only with force. */
CLQ_API clq_status clq_profile_write(const clq_profile_file *file, clq_context *ctx, const char *path, bool force);

/* Everything that times depend on beside the work; texts live as long as the file. */
typedef struct clq_profile_environment_info {
    const char *device, *driver, *isa, *clquant, *onednn, *kernel_hash;
    int threads;
    size_t entries;
} clq_profile_environment_info;
typedef struct clq_profile_entry_info {
    const char *signature, *place, *scheme; /* the work, where it lies in its network, and how it is done */
    double time_us, spread_us; /* median and interquartile range */
    int timings;
} clq_profile_entry_info;
/* CLQ_ERR_INVALID_ARGUMENT: an index past the end. */
CLQ_API clq_status clq_profile_environment_get(clq_profile_environment_info *out, const clq_profile_file *file, size_t index);
CLQ_API clq_status clq_profile_entry_get(clq_profile_entry_info *out, const clq_profile_file *file, size_t environment, size_t index);

/* The time of the same work in an environment of another file: the one at index, whatever its key. False: it has none. */
CLQ_API bool clq_profile_same_work(double *time_us, const clq_profile_file *file, size_t environment, const clq_profile_entry_info *work);

typedef struct clq_profile_joined {
    size_t added, replaced, kept;
} clq_profile_joined;
/* Takes over what from has; of two times for the same work the one with more timings stays. */
CLQ_API clq_status clq_profile_join(clq_profile_joined *out, clq_context *ctx, clq_profile_file *into, const clq_profile_file *from);

#ifdef __cplusplus
}
#endif
#endif
