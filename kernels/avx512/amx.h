/* SPDX-License-Identifier: Apache-2.0
 * The tile registers, written as one instruction each: no folder is compiled for AMX. */
#ifndef CLQ_KERNELS_AVX512_AMX_H
#define CLQ_KERNELS_AVX512_AMX_H

#include <stddef.h>
#include <stdint.h>

/* The operand of ldtilecfg. */
struct clq_amx_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

/* Tiles 0 to 3 hold sums, 4 and 5 rows of 4 * depth bytes, 6 and 7 columns, `depth` steps of them. */
static inline void clq_amx_configure(size_t rows, size_t depth)
{
    struct clq_amx_config c = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        c.rows[i] = (uint8_t)(i >= 6 ? depth : rows);
        c.row_bytes[i] = (uint16_t)(i == 4 || i == 5 ? 4 * depth : 64);
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(c));
}

#define CLQ_AMX_RELEASE() __asm__ volatile("tilerelease" : :)
#define CLQ_AMX_ZERO(t) __asm__ volatile("tilezero %%tmm" #t : :)
#define CLQ_AMX_LOAD(t, from, distance) __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t : : "r"(from), "r"((size_t)(distance)) : "memory")
#define CLQ_AMX_STORE(t, to, distance) __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" : : "r"(to), "r"((size_t)(distance)) : "memory")
#define CLQ_AMX_DOT(name, sum, row, column) __asm__ volatile(name " %%tmm" #column ", %%tmm" #row ", %%tmm" #sum : :)

#endif
