/* SPDX-License-Identifier: Apache-2.0
 * oneDNN's matrix products and convolutions as a resident process with the protocol of README.md:
 *   dnnl_runner THREADS [ISA]     ISA: avx2, avx2_vnni, avx512_core, avx512_core_vnni; otherwise all that the CPU has
 * It reads the operands that kernel_runner wrote. Weights are brought into the form that oneDNN prefers before; there is no
 * zero point, which costs oneDNN time. Builds with version 2 and version 3. */
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "perf/rivals/dnnl_compat.h"
#include "perf/rivals/runner.h"
#include "tests/cases/suite.h"

enum { X, W, B, Y, OPERANDS };

struct dnnl {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[OPERANDS], scales;
    dnnl_exec_arg_t args[OPERANDS + 1];
    int n_args;
    size_t y_bytes;
    void *y;
};

/* One layer as the file's operands have it. */
struct problem {
    struct dnnl_layer layer;
    bool is_float;
    int rank[OPERANDS];
    dnnl_dims_t dims[OPERANDS];
    dnnl_data_type_t type[OPERANDS];
    dnnl_format_tag_t plain[OPERANDS], wanted[OPERANDS];
    size_t channels;
};

static size_t count(const struct problem *p, int which)
{
    size_t n = 1;
    for (int i = 0; i < p->rank[which]; i++) n *= (size_t)p->dims[which][i];
    return n;
}

static void set_dims(struct problem *p, int which, int rank, const int64_t *dims)
{
    p->rank[which] = rank;
    for (int i = 0; i < rank; i++) p->dims[which][i] = dims[i];
}

static void set_types(struct problem *p, const char *type)
{
    const dnnl_data_type_t input = strcmp(type, "s8s8") == 0 ? dnnl_s8 : dnnl_u8;
    p->is_float = strcmp(type, "f32") == 0;
    p->type[X] = p->type[Y] = p->is_float ? dnnl_f32 : input;
    p->type[W] = p->is_float ? dnnl_f32 : dnnl_s8;
    p->type[B] = p->is_float || DNNL_SCALES_OF_WEIGHTS ? dnnl_f32 : dnnl_s32;
}

/* The file has the weights as [n][k]. */
static bool describe_gemm(struct problem *p, const char *shape)
{
    struct clq_gemm_shape g;
    if (!clq_gemm_shape_parse(&g, shape)) return false;
    const int64_t m = (int64_t)g.m, n = (int64_t)g.n, k = (int64_t)g.k;
    p->channels = g.n;
    p->layer = (struct dnnl_layer){.weight_mask = 2, .result_mask = 2};
    set_dims(p, X, 2, (const int64_t[]){m, k});
    set_dims(p, W, 2, (const int64_t[]){k, n});
    set_dims(p, B, 2, (const int64_t[]){1, n});
    set_dims(p, Y, 2, (const int64_t[]){m, n});
    for (int i = 0; i < OPERANDS; i++) p->plain[i] = p->wanted[i] = dnnl_ab;
    p->plain[W] = dnnl_ba;
    p->wanted[W] = dnnl_format_tag_any;
    return true;
}

/* The file has images as [h][w][c] and weights as [co][kh][kw][ci / groups]. Float layers may choose their layout. */
static bool describe_conv(struct problem *p, const char *shape)
{
    struct clq_conv_shape c;
    if (!clq_conv_shape_parse(&c, shape)) return false;
    const int64_t g = (int64_t)c.groups, ci = (int64_t)c.ci, co = (int64_t)c.co, k = (int64_t)c.kernel, s = (int64_t)c.stride;
    const int64_t dilation = (int64_t)c.dilation - 1, before = (int64_t)c.pad_before, behind = (int64_t)c.pad_behind;
    p->channels = c.co;
    p->layer = (struct dnnl_layer){.is_conv = true, .weight_mask = g > 1 ? 3 : 1, .result_mask = 2, .strides = {s, s}, .dilates = {dilation, dilation},
                                   .before = {before, before}, .behind = {behind, behind}};
    set_dims(p, X, 4, (const int64_t[]){1, ci, (int64_t)c.h, (int64_t)c.w});
    if (g > 1) set_dims(p, W, 5, (const int64_t[]){g, co / g, ci / g, k, k});
    else set_dims(p, W, 4, (const int64_t[]){co, ci, k, k});
    set_dims(p, B, 1, (const int64_t[]){co});
    set_dims(p, Y, 4, (const int64_t[]){1, co, (int64_t)clq_conv_out(&c, c.h), (int64_t)clq_conv_out(&c, c.w)});
    p->plain[X] = p->plain[Y] = dnnl_acdb;
    p->plain[W] = g > 1 ? dnnl_abdec : dnnl_acdb;
    p->plain[B] = p->wanted[B] = dnnl_a;
    p->wanted[X] = p->wanted[Y] = p->is_float ? dnnl_format_tag_any : dnnl_acdb;
    p->wanted[W] = dnnl_format_tag_any;
    return true;
}

/* The contents of a file as values of a type: codes become reals for float layers; the bias too where it is added to
 * scaled sums. */
static bool fill(const struct problem *p, int which, const char *folder, const float *multiplier, void *to)
{
    static const char *const names[] = {"x", "w", "bias"};
    const size_t n = count(p, which), element = which == B ? 4 : 1;
    int8_t *from = malloc(n * element);
    const bool ok = from && clq_runner_read(folder, names[which], from, n * element);
    for (size_t i = 0; ok && i < n; i++) {
        int32_t bias;
        if (which == B) {
            memcpy(&bias, from + 4 * i, 4);
            if (p->type[B] == dnnl_s32) memcpy((char *)to + 4 * i, &bias, 4);
            else ((float *)to)[i] = (float)bias * (p->is_float ? 1.0f : multiplier[i]);
        } else if (p->is_float) {
            ((float *)to)[i] = (float)from[i] / 128.0f;
        } else {
            ((int8_t *)to)[i] = from[i];
        }
    }
    free(from);
    return ok;
}

static bool load(struct dnnl *d, const struct problem *p, int which, dnnl_md md, const char *folder, const float *multiplier)
{
    dnnl_memory_t plain = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t reorder = NULL;
    void *mapped = NULL;
    dnnl_md plain_md = dnnl_md_make(p->rank[which], p->dims[which], p->type[which], p->plain[which]);
    if (!plain_md || dnnl_memory_create(&plain, plain_md, d->engine, DNNL_MEMORY_ALLOCATE) != dnnl_success) return false;
    if (dnnl_memory_create(&d->memory[which], md, d->engine, DNNL_MEMORY_ALLOCATE) != dnnl_success) return false;
    if (which == Y) {
        dnnl_memory_destroy(plain);
        return true;
    }
    if (dnnl_memory_map_data(plain, &mapped) != dnnl_success) return false;
    bool ok = fill(p, which, folder, multiplier, mapped);
    dnnl_memory_unmap_data(plain, mapped);
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, plain}, {DNNL_ARG_TO, d->memory[which]}};
    ok = ok && dnnl_reorder_primitive_desc_create(&pd, plain_md, d->engine, md, d->engine, NULL) == dnnl_success &&
         dnnl_primitive_create(&reorder, pd) == dnnl_success && dnnl_primitive_execute(reorder, d->stream, 2, args) == dnnl_success &&
         dnnl_stream_wait(d->stream) == dnnl_success;
    if (reorder) dnnl_primitive_destroy(reorder);
    if (pd) dnnl_primitive_desc_destroy(pd);
    dnnl_memory_destroy(plain);
    return ok;
}

static void drop(struct dnnl *d)
{
    if (d->primitive) dnnl_primitive_destroy(d->primitive);
    d->primitive = NULL;
    for (int i = 0; i < OPERANDS; i++) {
        if (d->memory[i]) dnnl_memory_destroy(d->memory[i]);
        d->memory[i] = NULL;
    }
    if (d->scales) dnnl_memory_destroy(d->scales);
    d->scales = NULL;
    free(d->y);
    d->y = NULL;
}

static bool load_scales(struct dnnl *d, const float *multiplier, size_t n)
{
    void *mapped = NULL;
    dnnl_md md = dnnl_md_make(1, (const dnnl_dims_t){(int64_t)n}, dnnl_f32, dnnl_a);
    if (!md || dnnl_memory_create(&d->scales, md, d->engine, DNNL_MEMORY_ALLOCATE) != dnnl_success) return false;
    if (dnnl_memory_map_data(d->scales, &mapped) != dnnl_success) return false;
    memcpy(mapped, multiplier, n * sizeof *multiplier);
    return dnnl_memory_unmap_data(d->scales, mapped) == dnnl_success;
}

static bool build(struct dnnl *d, struct problem *p, const char *folder, const float *multiplier, char *text, size_t bytes)
{
    static const dnnl_query_t queries[] = {dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_weights_md, dnnl_query_dst_md};
    static const int names[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DST};
    dnnl_primitive_desc_t pd = NULL;
    dnnl_md md[OPERANDS];
    const char *name = "";
    p->layer.scales = p->is_float ? NULL : multiplier;
    p->layer.channels = (int)p->channels;
    for (int i = 0; i < OPERANDS; i++) {
        md[i] = dnnl_md_make(p->rank[i], p->dims[i], p->type[i], p->wanted[i]);
        if (!md[i]) return false;
    }
    if (dnnl_layer_create(&pd, d->engine, &p->layer, md) != dnnl_success || dnnl_primitive_create(&d->primitive, pd) != dnnl_success) return false;
    dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name);
    d->n_args = 0;
    for (int i = 0; i < OPERANDS; i++) {
        if (!load(d, p, i, dnnl_primitive_desc_query_md(pd, queries[i], i == B), folder, multiplier)) return false;
        d->args[d->n_args++] = (dnnl_exec_arg_t){names[i], d->memory[i]};
    }
    if (!p->is_float && DNNL_SCALES_OF_WEIGHTS) {
        if (!load_scales(d, multiplier, p->channels)) return false;
        d->args[d->n_args++] = (dnnl_exec_arg_t){DNNL_SCALES_OF_WEIGHTS, d->scales};
    }
    d->y_bytes = count(p, Y);
    d->y = p->is_float ? NULL : malloc(d->y_bytes);
    snprintf(text, bytes, "\"kernel\": \"%s\"", name);
    return true;
}

static bool open_layer(void *state, const char *kind, const char *type, const char *shape, const char *folder, char *text, size_t bytes)
{
    struct dnnl *d = state;
    struct problem p = {0};
    drop(d);
    set_types(&p, type);
    bool ok = strcmp(kind, "gemm") == 0 ? describe_gemm(&p, shape) : strcmp(kind, "conv") == 0 && describe_conv(&p, shape);
    float *multiplier = ok ? malloc(p.channels * sizeof *multiplier) : NULL;
    ok = multiplier && clq_runner_read(folder, "multiplier", multiplier, p.channels * sizeof *multiplier);
    ok = ok && build(d, &p, folder, multiplier, text, bytes);
    free(multiplier);
    if (!ok) snprintf(text, bytes, "%s %s %s: oneDNN does not take it", kind, type, shape);
    return ok;
}

static bool run_layer(void *state)
{
    struct dnnl *d = state;
    return d->primitive && dnnl_primitive_execute(d->primitive, d->stream, d->n_args, d->args) == dnnl_success && dnnl_stream_wait(d->stream) == dnnl_success;
}

static const void *result(void *state, size_t *bytes)
{
    struct dnnl *d = state;
    void *mapped = NULL;
    *bytes = 0;
    if (!d->y || dnnl_memory_map_data(d->memory[Y], &mapped) != dnnl_success) return "";
    memcpy(d->y, mapped, d->y_bytes);
    dnnl_memory_unmap_data(d->memory[Y], mapped);
    *bytes = d->y_bytes;
    return d->y;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        dnnl_cpu_isa_t isa;
    } levels[] = {{"avx2", dnnl_cpu_isa_avx2}, {"avx2_vnni", dnnl_cpu_isa_avx2_vnni}, {"avx512_core", dnnl_cpu_isa_avx512_core}, {"avx512_core_vnni", dnnl_cpu_isa_avx512_core_vnni}};
    struct dnnl d = {0};
    const struct clq_runner r = {&d, open_layer, run_layer, result};
    const dnnl_version_t *v = dnnl_version();
    const int threads = argc > 1 ? atoi(argv[1]) : 1;
    char facts[256];
    omp_set_num_threads(threads);
    for (size_t i = 0; argc > 2 && i < sizeof levels / sizeof *levels; i++)
        if (strcmp(argv[2], levels[i].name) == 0 && dnnl_set_max_cpu_isa(levels[i].isa) != dnnl_success) return 1;
    if (dnnl_engine_create(&d.engine, dnnl_cpu, 0) != dnnl_success || dnnl_stream_create(&d.stream, d.engine, dnnl_stream_default_flags) != dnnl_success) return 1;
    snprintf(facts, sizeof facts, "\"runtime\": \"oneDNN\", \"version\": \"%d.%d.%d\", \"isa\": \"%s\", \"isa_bits\": %d, \"threads\": %d", v->major, v->minor, v->patch,
             argc > 2 ? argv[2] : "all", (int)dnnl_get_effective_cpu_isa(), threads);
    const int code = clq_runner_serve(&r, facts);
    drop(&d);
    dnnl_stream_destroy(d.stream);
    dnnl_engine_destroy(d.engine);
    return code;
}
