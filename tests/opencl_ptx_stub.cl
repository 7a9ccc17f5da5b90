/* SPDX-License-Identifier: Apache-2.0
 * What NVIDIA's driver adds to a program, for a compiler that has no OpenCL library for this target: the work-item
 * functions and the built-in functions that the kernels of families F2 and F5 call. It follows the kernel's text. */
#define CLQ_BUILTIN __attribute__((overloadable, always_inline, const))
#define CLQ_STUB_ITEM(function, register)                     \
    CLQ_BUILTIN size_t function(uint dimension)               \
    {                                                         \
        uint x, y;                                            \
        __asm__("mov.u32 %0, %%" register ".x;" : "=r"(x));   \
        __asm__("mov.u32 %0, %%" register ".y;" : "=r"(y));   \
        return dimension ? y : x;                             \
    }
CLQ_STUB_ITEM(get_local_id, "tid")
CLQ_STUB_ITEM(get_group_id, "ctaid")
CLQ_STUB_ITEM(get_num_groups, "nctaid")

void __attribute__((overloadable, convergent, always_inline)) barrier(cl_mem_fence_flags flags)
{
    __asm__ volatile("bar.sync 0;" : : : "memory");
}

#define CLQ_STUB_COMPARE(type)                                                                  \
    CLQ_BUILTIN type min(type a, type b) { return b < a ? b : a; }                              \
    CLQ_BUILTIN type max(type a, type b) { return a < b ? b : a; }                              \
    CLQ_BUILTIN type clamp(type v, type lo, type hi) { return v < lo ? lo : hi < v ? hi : v; }
CLQ_BUILTIN uint popcount(uint v) { return (uint)__builtin_popcount(v); }
CLQ_BUILTIN float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
CLQ_BUILTIN float4 fma(float4 a, float4 b, float4 c)
{
    return (float4)(fma(a.x, b.x, c.x), fma(a.y, b.y, c.y), fma(a.z, b.z, c.z), fma(a.w, b.w, c.w));
}
float __attribute__((overloadable, always_inline, pure)) vload_half(size_t at, const global half *p) { return __builtin_load_halff(p + at); }

CLQ_STUB_COMPARE(int)
CLQ_STUB_COMPARE(uint)
CLQ_STUB_COMPARE(float)

#define CLQ_STUB_VECTOR(type)                                                                   \
    __attribute__((overloadable, always_inline, pure)) type##4 vload4(size_t at, const global type *p) \
    {                                                                                           \
        p += 4 * at;                                                                            \
        return (type##4)(p[0], p[1], p[2], p[3]);                                               \
    }                                                                                           \
    __attribute__((overloadable, always_inline)) void vstore4(type##4 v, size_t at, global type *p) \
    {                                                                                           \
        p += 4 * at;                                                                            \
        p[0] = v.x;                                                                             \
        p[1] = v.y;                                                                             \
        p[2] = v.z;                                                                             \
        p[3] = v.w;                                                                             \
    }
CLQ_STUB_VECTOR(uchar)
CLQ_STUB_VECTOR(int)
CLQ_STUB_VECTOR(float)

__attribute__((overloadable, always_inline, pure)) uchar16 vload16(size_t at, const global uchar *p)
{
    return (uchar16)(vload4(4 * at, p), vload4(4 * at + 1, p), vload4(4 * at + 2, p), vload4(4 * at + 3, p));
}

CLQ_BUILTIN uint4 convert_uint4(uchar4 v) { return (uint4)(v.x, v.y, v.z, v.w); }
CLQ_BUILTIN float4 convert_float4(int4 v) { return (float4)((float)v.x, (float)v.y, (float)v.z, (float)v.w); }
