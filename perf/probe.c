/* SPDX-License-Identifier: Apache-2.0
 * Register loops with 12 independent accumulators, which hide every latency; all operands are zero. */
#include "perf/probe.h"

#include <string.h>
#include <time.h>

#include "kernels/kernels.h"

double clq_probe_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#if defined(__x86_64__)
#define CLOBBERS "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", \
                 "xmm13", "xmm14", "xmm15", "cc"
#define TWELVE(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11)
#define PROBE(name, body, operations)                                                                        \
    __attribute__((noinline)) static double name(long loops)                                                 \
    {                                                                                                        \
        long n = loops;                                                                                      \
        double t = clq_probe_now();                                                                          \
        __asm__ volatile("vzeroall\n1:\n" body "dec %0\n jnz 1b\n vzeroupper\n" : "+r"(n) : : CLOBBERS);     \
        return (double)loops * 12.0 * (operations) / (clq_probe_now() - t);                                  \
    }
#define FMA256(i) "vfmadd231ps %%ymm14,%%ymm15,%%ymm" #i "\n"
#define FMA512(i) "vfmadd231ps %%zmm14,%%zmm15,%%zmm" #i "\n"
#define VNNI512(i) "vpdpbusd %%zmm14,%%zmm15,%%zmm" #i "\n"
#define VNNI256(i) "%{vex%} vpdpbusd %%ymm14,%%ymm15,%%ymm" #i "\n"
#define MADDUBS256(i) "vpmaddubsw %%ymm14,%%ymm15,%%ymm13\n vpmaddwd %%ymm12,%%ymm13,%%ymm13\n vpaddd %%ymm13,%%ymm" #i ",%%ymm" #i "\n"
#define MADDUBS512(i) "vpmaddubsw %%zmm14,%%zmm15,%%zmm13\n vpmaddwd %%zmm12,%%zmm13,%%zmm13\n vpaddd %%zmm13,%%zmm" #i ",%%zmm" #i "\n"
#define SIGN256(i) "vpsignb %%ymm14,%%ymm15,%%ymm13\n vpmaddubsw %%ymm13,%%ymm15,%%ymm13\n vpmaddwd %%ymm12,%%ymm13,%%ymm13\n" \
                   " vpaddd %%ymm13,%%ymm" #i ",%%ymm" #i "\n"
#define MADDWD256(i) "vpmaddwd %%ymm14,%%ymm15,%%ymm13\n vpaddd %%ymm13,%%ymm" #i ",%%ymm" #i "\n"
#define MADDWD512(i) "vpmaddwd %%zmm14,%%zmm15,%%zmm13\n vpaddd %%zmm13,%%zmm" #i ",%%zmm" #i "\n"
PROBE(fma256, TWELVE(FMA256), 16)
PROBE(fma512, TWELVE(FMA512), 32)
PROBE(vnni512, TWELVE(VNNI512), 128)
PROBE(vnni256, TWELVE(VNNI256), 64)
PROBE(maddubs256, TWELVE(MADDUBS256), 64)
PROBE(maddubs512, TWELVE(MADDUBS512), 128)
PROBE(sign256, TWELVE(SIGN256), 64)
PROBE(maddwd256, TWELVE(MADDWD256), 32)
PROBE(maddwd512, TWELVE(MADDWD512), 64)

/* Four sums from two tiles of rows and two of columns, as a product has them; all bytes are zero. */
__attribute__((noinline)) static double amx(long loops)
{
    struct {
        unsigned char palette, start, reserved[14];
        unsigned short row_bytes[16];
        unsigned char rows[16];
    } config = {.palette = 1};
    long n = loops;
    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = 64;
        config.rows[i] = 16;
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
    const double t = clq_probe_now();
    __asm__ volatile("1:\n tdpbusd %%tmm6,%%tmm4,%%tmm0\n tdpbusd %%tmm7,%%tmm4,%%tmm1\n tdpbusd %%tmm6,%%tmm5,%%tmm2\n tdpbusd %%tmm7,%%tmm5,%%tmm3\n"
                     "dec %0\n jnz 1b\n tilerelease\n" : "+r"(n) : : "cc");
    return (double)loops * 4.0 * 32768.0 / (clq_probe_now() - t);
}

const struct clq_probe clq_probes[] = {
    {"FP32 FMA ymm", fma256, CLQ_CPU_AVX2},
    {"FP32 FMA zmm", fma512, CLQ_CPU_AVX512},
    {"vpdpbusd zmm", vnni512, CLQ_CPU_AVX512 | CLQ_CPU_VNNI},
    {"tdpbusd", amx, CLQ_CPU_AMX},
    {"vpdpbusd ymm", vnni256, CLQ_CPU_AVX_VNNI},
    {"vpmaddubsw ymm", maddubs256, CLQ_CPU_AVX2},
    {"vpmaddubsw zmm", maddubs512, CLQ_CPU_AVX512},
    {"vpsignb ymm", sign256, CLQ_CPU_AVX2},
    {"vpmaddwd ymm", maddwd256, CLQ_CPU_AVX2},
    {"vpmaddwd zmm", maddwd512, CLQ_CPU_AVX512},
    {NULL, NULL, 0},
};
#else
const struct clq_probe clq_probes[] = {{NULL, NULL, 0}};
#endif

const struct clq_probe *clq_probe_of(const char *level, int signed_activations)
{
    static const char *const of[][3] = {
        {"avx2", "vpmaddubsw ymm", "vpsignb ymm"},
        {"avx_vnni", "vpdpbusd ymm", "vpdpbusd ymm"},
        {"avx512", "vpmaddubsw zmm", "vpmaddubsw zmm"},
        {"avx512_vnni", "vpdpbusd zmm", "vpdpbusd zmm"},
        {"amx", "tdpbusd", "tdpbusd"},
    };
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        if (strcmp(of[i][0], level) != 0) continue;
        for (const struct clq_probe *p = clq_probes; p->name; p++)
            if (strcmp(p->name, of[i][signed_activations ? 2 : 1]) == 0) return p;
    }
    return NULL;
}

#if defined(__x86_64__)
#define WIDE __attribute__((target("avx2"), noinline))
#else
#define WIDE __attribute__((noinline))
#endif
typedef unsigned long long vector __attribute__((vector_size(32)));

static volatile unsigned long long sink; /* keeps the loads */

WIDE double clq_probe_read(const char *memory, size_t bytes)
{
    const vector *p = (const vector *)(const void *)memory, *end = p + bytes / sizeof *p;
    vector a = {0}, b = {0}, c = {0}, d = {0};
    double t = clq_probe_now();
    for (; p < end; p += 4) {
        a ^= p[0];
        b ^= p[1];
        c ^= p[2];
        d ^= p[3];
    }
    a ^= b ^ c ^ d;
    sink = a[0] ^ a[1] ^ a[2] ^ a[3];
    return (double)bytes / (clq_probe_now() - t);
}

WIDE double clq_probe_copy(char *memory, size_t bytes)
{
    vector *to = (vector *)(void *)memory;
    const vector *p = to + bytes / 2 / sizeof *p, *end = to + bytes / sizeof *p;
    double t = clq_probe_now();
    for (; p < end; p += 4, to += 4) {
        vector a = p[0], b = p[1], c = p[2], d = p[3];
        to[0] = a;
        to[1] = b;
        to[2] = c;
        to[3] = d;
    }
    __asm__ volatile("" : : "r"(memory) : "memory");
    return (double)bytes / (clq_probe_now() - t);
}
