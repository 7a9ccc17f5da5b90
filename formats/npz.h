/* SPDX-License-Identifier: Apache-2.0
 * The zip side of NPZ, for arrays.c only: members as byte streams. The only home of libzip is npz.c. */
#ifndef CLQ_FORMATS_NPZ_H
#define CLQ_FORMATS_NPZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/file.h"

struct clq_npz;
struct clq_npz_stream;

/* Takes file over, also on failure. */
clq_status clq_npz_open(struct clq_npz **out, struct clq_file *file, struct clq_error *err);
void clq_npz_close(struct clq_npz *npz);
size_t clq_npz_count(const struct clq_npz *npz);

/* A member that is an NPY array: its name (the archive's) without suffix; n = 0 for any other member. bytes is what
 * the archive declares, which no more than 1032 times its stored size can be. */
struct clq_npz_member {
    const char *name;
    size_t n;
    uint64_t bytes;
};
clq_status clq_npz_member(struct clq_npz_member *out, struct clq_npz *npz, size_t i, struct clq_error *err);

/* Reads the member from its start. */
clq_status clq_npz_stream(struct clq_npz_stream **out, struct clq_npz *npz, size_t i, struct clq_error *err);
/* Exactly bytes; last says that the member must end there, which also checks its CRC. */
clq_status clq_npz_read(struct clq_npz_stream *stream, void *out, size_t bytes, bool last, struct clq_error *err);
void clq_npz_stream_close(struct clq_npz_stream *stream);

#endif
