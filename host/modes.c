/* SPDX-License-Identifier: Apache-2.0
 * Modes by name. */
#include "modes.h"

#include <string.h>

#include <clquant/quantize.h>

clq_status clq_mode_parse(struct clq_mode *out, const char *name, struct clq_error *err)
{
    *out = (struct clq_mode){.run = CLQ_RUN_STORED, .products_only = true};
    CLQ_TRY(clq_scheme_from_mode(&out->scheme, name, "cpu", err));
    const struct clq_scheme *s = &out->scheme;
    if (strcmp(name, "f32") == 0) out->run = CLQ_RUN_FLOAT;
    else if (strcmp(name, "int8") == 0) out->run = CLQ_RUN_CODES;
    else if (strcmp(name, "int8-dynamic") == 0 || strcmp(name, "int8-tensor") == 0) out->run = CLQ_RUN_ROWS8;
    else if (strncmp(name, "int4-", 5) == 0) out->run = CLQ_RUN_ROWS4;
    else if (strcmp(name, "ternary") == 0) out->kind = CLQ_WEIGHT_TERNARY;
    else if (strcmp(name, "binary") == 0) out->kind = CLQ_WEIGHT_BINARY;
    else if (strncmp(name, "nf4-", 4) == 0) out->kind = CLQ_WEIGHT_NF4;
    else if (strcmp(name, "codebook16") == 0) out->kind = CLQ_WEIGHT_CODEBOOK;
    if (out->run == CLQ_RUN_FLOAT || out->run == CLQ_RUN_CODES || s->weight_bits == 8) out->products_only = out->run == CLQ_RUN_ROWS8;
    return CLQ_OK;
}

bool clq_mode_known(const char *mode)
{
    struct clq_mode parsed;
    return mode && clq_mode_parse(&parsed, mode, NULL) == CLQ_OK;
}

clq_status clq_modes_add(struct clq_mode *modes, int *n, struct clq_arena *arena, const char *list, struct clq_error *err)
{
    for (const char *p = list; p && *p;) {
        size_t len = strcspn(p, ",");
        struct clq_mode mode;
        const char *name = clq_arena_printf(arena, "%.*s", (int)len, p);
        bool known = false;
        if (!name) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
        CLQ_TRY(clq_mode_parse(&mode, name, err));
        for (int i = 0; i < *n; i++) known = known || strcmp(modes[i].scheme.mode, name) == 0;
        if (!known && *n == CLQ_MODES_MOST) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "more than %d modes", CLQ_MODES_MOST);
        if (!known) modes[(*n)++] = mode;
        p += len + (p[len] == ',');
    }
    return CLQ_OK;
}

double clq_mode_bytes(const struct clq_mode *mode)
{
    double bits = mode->kind == CLQ_WEIGHT_BINARY ? 2 : mode->scheme.weight_bits, group = mode->scheme.weight_group;
    double zero = mode->scheme.weight_symmetric ? 0 : bits;
    return group > 0 ? (bits + (32 + zero) / group) / 8 : bits / 8;
}
