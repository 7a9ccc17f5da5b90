/* SPDX-License-Identifier: Apache-2.0
 * Finding the format of a file. */
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "formats/format.h"

enum { PROBE_MAX = 512 };

static const struct clq_format *const formats[] = {
#define CLQ_FORMAT(name) &clq_format_##name,
#include "formats/formats.def"
#undef CLQ_FORMAT
};
enum { N_FORMATS = sizeof formats / sizeof formats[0] };

const struct clq_format *clq_format_by_name(const char *name)
{
    for (int i = 0; i < N_FORMATS; i++)
        if (strcmp(formats[i]->name, name) == 0) return formats[i];
    return NULL;
}

static bool has_extension(const struct clq_format *format, const char *extension)
{
    size_t n = strlen(extension);
    for (const char *at = format->extensions; *at;) {
        size_t length = strcspn(at, " ");
        if (length == n && strncasecmp(at, extension, n) == 0) return true;
        at += length + (at[length] == ' ');
    }
    return false;
}

const struct clq_format *clq_format_by_path(const char *path)
{
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');
    for (int i = 0; dot && i < N_FORMATS; i++)
        if (has_extension(formats[i], dot + 1)) return formats[i];
    return NULL;
}

clq_status clq_model_read(struct clq_model *out, const char *path, struct clq_error *err)
{
    const struct clq_format *format = clq_format_by_path(path);
    *out = (struct clq_model){0};
    if (!format) {
        unsigned char head[PROBE_MAX];
        struct clq_file file;
        CLQ_TRY(clq_file_open(&file, path, err));
        size_t n = file.size < sizeof head ? (size_t)file.size : sizeof head;
        clq_status status = clq_file_pread(&file, head, n, 0, err);
        clq_file_close(&file);
        if (status != CLQ_OK) return status;
        for (int i = 0; !format && i < N_FORMATS; i++)
            if (formats[i]->probe(head, n < formats[i]->probe_size ? n : formats[i]->probe_size)) format = formats[i];
    }
    if (!format) return clq_fail(err, CLQ_ERR_FORMAT, "'%s': not a model of a known format", path);
    return format->read(out, path, err);
}

clq_status clq_model_write(const char *path, const struct clq_model *model, bool force, struct clq_error *err)
{
    const struct clq_format *format = clq_format_by_path(path);
    if (!format || !format->write)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "'%s': the extension names no format that can be written", path);
    return format->write(path, model, force, err);
}
