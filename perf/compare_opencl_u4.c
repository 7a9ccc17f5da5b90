/* SPDX-License-Identifier: Apache-2.0
 * compare_opencl int4: products with 4-bit weights in groups. Many rows are measured against the dots that the cores can issue,
 * few rows against how fast they read as many bytes as the weights have. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perf/compare_opencl.h"
#include "perf/probe.h"

enum { N = 4096, K = 4096 };

struct shape {
    size_t m, group;
    bool f16, flipped;
};

static const struct shape shapes[] = {
    {512, 32, false, true},  {512, 32, true, true},   {512, 128, true, true}, {512, 32, true, false}, {64, 32, true, true},
    {16, 32, true, true},    {8, 32, true, true},     {4, 32, true, true},    {2, 32, true, true},    {1, 32, false, true},
    {1, 32, true, true},     {1, 128, true, true},    {1, K, true, true},
};

struct u4 {
    struct clq_race race;
    struct clq_gemm_u4_args g;
    struct clq_cl_u4 *weight;
    struct clq_cl_buffer a, scale, y;
    char *memory; /* as many bytes as the packed weights */
    size_t bytes;
};

/* For about as long as the product at that rate: turbo and a shared host give short bursts more. */
static double dots(struct clq_race *race)
{
    return clq_probe_of("avx512_vnni", 0)->run((long)(race->work / race->threads / (12 * 128)));
}

static double reads(struct clq_race *race)
{
    const struct u4 *u = (const struct u4 *)race;
    return clq_probe_read(u->memory, u->bytes / (size_t)race->threads / 4096 * 4096);
}

static void native(struct clq_race *race, size_t begin, size_t end, char *scratch)
{
    struct clq_gemm_u4_args g = ((const struct u4 *)race)->g;
    g.scratch = scratch;
    g.unit_begin = begin;
    g.unit_end = end;
    race->kernels.gemm_s8u4(&g);
}

static clq_status queue(struct clq_race *race)
{
    struct u4 *u = (struct u4 *)race;
    const struct clq_cl_io io = {.x = &u->a, .b = &u->scale, .y = &u->y};
    return clq_cl_gemm_u4(race->cl, u->weight, &u->g, &io, &race->err);
}

static void put(struct clq_race *race, struct clq_cl_buffer *to, const void *from, size_t bytes)
{
    clq_race_must(clq_cl_alloc(to, race->cl, bytes, &race->err), race);
    clq_race_must(clq_cl_upload(race->cl, to, from, bytes, &race->err), race);
}

static struct clq_race_result measure(struct clq_race *of, const struct shape *s)
{
    struct u4 u = {.race = *of};
    struct clq_race *race = &u.race;
    const size_t points = N * ((K - 1) / s->group + 1), y_bytes = 4 * s->m * N;
    uint8_t *a = clq_race_bytes(s->m * K, 1), *weight = clq_race_bytes(N * (K / 2), 2), *scale = clq_race_bytes(4 * points, 3);
    float *scale_a = clq_race_bytes(4 * s->m, 4), *y = clq_race_bytes(y_bytes, 5), *back = clq_race_bytes(y_bytes, 6);
    for (size_t i = 0; i < points; i++) {
        const uint16_t half = (uint16_t)(0x2000 + scale[i] % 64);
        const float f = 0x1p-7f * (float)(1 + scale[i] % 64);
        if (s->f16) memcpy(scale + 2 * i, &half, 2);
        else memcpy(scale + 4 * i, &f, 4);
    }
    for (size_t i = 0; i < s->m; i++) scale_a[i] = 0.01f * (float)(i + 1);
    u.g = (struct clq_gemm_u4_args){.m = s->m, .n = N, .k = K, .group = s->group, .a = a, .lda = K, .flipped = s->flipped, .scale_a = scale_a,
                                    .weight = weight, .scale = scale, .scale_f16 = s->f16, .y = y, .ldy = N};
    race->kernels.gemm_s8u4_plan(&u.g);
    u.g.packed = clq_race_bytes(u.g.packed_bytes, 7);
    race->kernels.gemm_s8u4_pack(&u.g);
    race->units = u.g.units;
    race->stride = (u.g.scratch_bytes + 64) / 64 * 64;
    race->scratch = clq_race_bytes(race->stride * (size_t)race->threads, 8);
    race->native = native;
    race->device = queue;
    race->ceiling = s->m > 16 ? dots : reads;
    u.bytes = u.g.packed_bytes;
    u.memory = clq_race_bytes(u.bytes, 9);
    race->work = s->m > 16 ? 2.0 * (double)s->m * N * K : (double)u.bytes;
    clq_race_must(clq_cl_prepare_u4(&u.weight, race->cl, &u.g, &race->err), race);
    put(race, &u.a, a, s->m * K);
    put(race, &u.scale, scale_a, 4 * s->m);
    put(race, &u.y, y, y_bytes);
    clq_race_native(race);
    clq_race_must(queue(race), race);
    clq_race_must(clq_cl_download(back, race->cl, &u.y, y_bytes, &race->err), race);
    if (memcmp(y, back, y_bytes) != 0) {
        fprintf(stderr, "compare_opencl: the results differ\n");
        exit(1);
    }
    const struct clq_race_result r = clq_race_run(race);
    clq_cl_u4_free(race->cl, u.weight);
    clq_cl_release(race->cl, &u.a);
    clq_cl_release(race->cl, &u.scale);
    clq_cl_release(race->cl, &u.y);
    void *all[] = {a, weight, scale, scale_a, y, back, u.g.packed, race->scratch, u.memory};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    return r;
}

void clq_race_u4(struct clq_race *race)
{
    printf("N = K = %d. Above 16 rows: GOPS and share of %s; else GB/s of weights and share of reading as many bytes.\n\n", N,
           clq_probe_of("avx512_vnni", 0)->name);
    printf("| rows | group | scales | rows are | native us | OpenCL us | rate | share | native / OpenCL |\n|---|---|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const struct shape *s = &shapes[i];
        const struct clq_race_result r = measure(race, s);
        printf("| %zu | %zu | %s | %s | %.1f | %.1f | %.1f | %.0f %% | %.2f |\n", s->m, s->group, s->f16 ? "f16" : "f32", s->flipped ? "u8" : "s8",
               r.native * 1e6, r.device * 1e6, r.rate * 1e-9, 100 * r.share, r.ratio);
        fflush(stdout);
    }
    printf("\nVariants: %s, and %s up to 4 rows.\n", clq_cl_variant(race->cl, CLQ_CL_GEMM_U4),
           clq_cl_variant(race->cl, CLQ_CL_GEMV_U4) ? clq_cl_variant(race->cl, CLQ_CL_GEMV_U4) : "the same");
}
