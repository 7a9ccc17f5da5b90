/* SPDX-License-Identifier: Apache-2.0
 * The table of model formats. formats.def lists them; each one's file ends with its row. Must not know what a model
 * means. */
#ifndef CLQ_FORMATS_FORMAT_H
#define CLQ_FORMATS_FORMAT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/model.h"

struct clq_format {
    const char *name;
    const char *extensions; /* lower case, separated by spaces, without dots */
    size_t probe_size;      /* what probe wants to see of a file's beginning, at most 512 */
    bool (*probe)(const unsigned char *head, size_t n); /* n may be smaller than probe_size */
    clq_status (*read)(struct clq_model *out, const char *path, struct clq_error *err);
    clq_status (*write)(const char *path, const struct clq_model *model, bool force, struct clq_error *err);
};

#define CLQ_FORMAT(name) extern const struct clq_format clq_format_##name;
#include "formats/formats.def"
#undef CLQ_FORMAT

/* By name, or by a path's extension; NULL when there is none. */
const struct clq_format *clq_format_by_name(const char *name);
const struct clq_format *clq_format_by_path(const char *path);

/* Reads a model of any format: the extension decides, and for an unknown one the file's first bytes. */
clq_status clq_model_read(struct clq_model *out, const char *path, struct clq_error *err);
/* Writes in the format of the path's extension; CLQ_ERR_INVALID_ARGUMENT when there is none that can be written. */
clq_status clq_model_write(const char *path, const struct clq_model *model, bool force, struct clq_error *err);

#endif
