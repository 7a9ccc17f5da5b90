/* SPDX-License-Identifier: Apache-2.0
 * CPU features and the names of the ladder's steps. On x86-64 detection is by CPUID and the register state that the
 * operating system has enabled (XCR0), on 64-bit Arm by the words that Linux hands to a process. Nothing is cached; callers
 * keep the mask. */
#include "kernels/kernels.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

const struct clq_cpu_level clq_cpu_levels[] = {
    {"ref", 0},
    {"avx2", CLQ_CPU_AVX2},
    {"avx_vnni", CLQ_CPU_AVX2 | CLQ_CPU_AVX_VNNI},
    {"avx512", CLQ_CPU_AVX2 | CLQ_CPU_AVX512},
    {"avx512_vnni", CLQ_CPU_AVX2 | CLQ_CPU_AVX512 | CLQ_CPU_VNNI},
    {"amx", CLQ_CPU_AVX2 | CLQ_CPU_AVX512 | CLQ_CPU_VNNI | CLQ_CPU_VBMI | CLQ_CPU_AMX},
    {"neon", CLQ_CPU_NEON},
    {"neon_dotprod", CLQ_CPU_NEON | CLQ_CPU_NEON_DOT},
    {"neon_i8mm", CLQ_CPU_NEON | CLQ_CPU_NEON_DOT | CLQ_CPU_NEON_I8MM},
    {NULL, 0},
};

unsigned clq_cpu_parse(const char *name)
{
    if (strcmp(name, "native") == 0)
        return clq_cpu_detect();
    for (const struct clq_cpu_level *level = clq_cpu_levels; level->name; level++) {
        if (strcmp(name, level->name) == 0)
            return level->mask;
    }
    return CLQ_CPU_UNKNOWN;
}

#if defined(__x86_64__)
static bool has(unsigned reg, unsigned bit)
{
    return reg >> bit & 1u;
}

/* Linux gives a process the tile registers on demand: arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA). Asking again
 * changes nothing. */
static bool tiles_granted(void)
{
#if defined(__linux__)
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "0"(158L), "D"(0x1023L), "S"(18L) : "rcx", "r11", "memory");
    return result == 0;
#else
    return false;
#endif
}

unsigned clq_cpu_detect(void)
{
    unsigned a, b, c, d, b7, c7, xcr0, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, 27)) /* OSXSAVE */
        return 0;
    bool fma_f16c = has(c, 12) && has(c, 29);
    __asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0));
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d))
        return 0;
    const bool amx = has(d, 24) && has(d, 25) && (xcr0 & 0x60000) == 0x60000; /* TILE, INT8, with the tiles' state */
    unsigned leaf1 = a, mask = 0;
    if ((xcr0 & 0x06) == 0x06 && has(b7, 5) && fma_f16c) /* SSE and AVX state */
        mask |= CLQ_CPU_AVX2;
    if (mask && leaf1 >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && has(a, 4))
        mask |= CLQ_CPU_AVX_VNNI;
    if (mask && (xcr0 & 0xe6) == 0xe6 && has(b7, 16) && has(b7, 17) && has(b7, 30) && has(b7, 31))
        mask |= CLQ_CPU_AVX512; /* F, DQ, BW, VL, with the mask and upper register state */
    if ((mask & CLQ_CPU_AVX512) && has(c7, 11))
        mask |= CLQ_CPU_VNNI;
    if ((mask & CLQ_CPU_AVX512) && has(c7, 1))
        mask |= CLQ_CPU_VBMI;
    if ((mask & CLQ_CPU_VNNI) && amx && tiles_granted())
        mask |= CLQ_CPU_AMX;
    return mask;
}
#elif defined(__aarch64__)
/* Bits of AT_HWCAP and AT_HWCAP2 in Linux's interface; elsewhere only what the architecture itself promises is used. */
unsigned clq_cpu_detect(void)
{
    unsigned mask = CLQ_CPU_NEON;
#if defined(__linux__)
    const unsigned long hwcap = getauxval(AT_HWCAP), hwcap2 = getauxval(AT_HWCAP2);
    if (!(hwcap >> 1 & 1)) return 0; /* HWCAP_ASIMD */
    if (hwcap >> 20 & 1) mask |= CLQ_CPU_NEON_DOT; /* HWCAP_ASIMDDP */
    if ((mask & CLQ_CPU_NEON_DOT) && (hwcap2 >> 13 & 1)) mask |= CLQ_CPU_NEON_I8MM; /* HWCAP2_I8MM */
#endif
    return mask;
}
#else
unsigned clq_cpu_detect(void)
{
    return 0;
}
#endif
