/* SPDX-License-Identifier: Apache-2.0
 * The vectors of groups_run.h on NEON: 4 columns each. An ISA folder adds its dots. */
#ifndef CLQ_KERNELS_NEON_GROUPS_H
#define CLQ_KERNELS_NEON_GROUPS_H

#include <arm_neon.h>
#include <string.h>

#define CLQ_V int32x4_t
#define CLQ_VF float32x4_t
#define CLQ_MM(name) clq_mm_##name
#define CLQ_LANES 4
#define CLQ_LOAD(p) vreinterpretq_s32_u8(vld1q_u8((const uint8_t *)(p)))
#define CLQ_STORE(p, v) vst1q_u8((uint8_t *)(p), vreinterpretq_u8_s32(v))
#define CLQ_LOADF(p) vld1q_f32(p)
#define CLQ_STOREF(p, v) vst1q_f32(p, v)
#define CLQ_STOREF_PART(p, v, n) clq_store_part(p, v, n)
#define CLQ_HALVES(p) vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)))
#define CLQ_NARROW(p, v) clq_narrow(p, v)
#define CLQ_WIDEN(p) clq_widen(p)
#define CLQ_AND(a, b) vandq_s32(a, b)
#define CLQ_VECTORS 2

#define clq_mm_add_ps(a, b) vaddq_f32(a, b)
#define clq_mm_add_epi32(a, b) vaddq_s32(a, b)
#define clq_mm_max_epi32(a, b) vmaxq_s32(a, b)
#define clq_mm_cvtps_epi32(v) vcvtnq_s32_f32(v)
#define clq_mm_srli_epi32(v, n) vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(v), n))
#define clq_mm_mul_ps(a, b) vmulq_f32(a, b)
#define clq_mm_fmadd_ps(a, b, c) vfmaq_f32(c, a, b)
#define clq_mm_set1_ps(x) vdupq_n_f32(x)
#define clq_mm_setzero_ps() vdupq_n_f32(0)
#define clq_mm_cvtepi32_ps(v) vcvtq_f32_s32(v)
#define clq_mm_set1_epi8(x) vreinterpretq_s32_s8(vdupq_n_s8(x))
#define clq_mm_set1_epi32(x) vdupq_n_s32(x)
#define clq_mm_sub_epi8(a, b) vreinterpretq_s32_s8(vsubq_s8(vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b)))
#define clq_mm_srli_epi16(v, n) vreinterpretq_s32_u16(vshrq_n_u16(vreinterpretq_u16_s32(v), n))
#define clq_mm_sub_epi32(a, b) vsubq_s32(a, b)
#define clq_mm_slli_epi32(v, n) vshlq_n_s32(v, n)
#define clq_mm_mullo_epi32(a, b) vmulq_s32(a, b)

static inline void clq_store_part(float *p, float32x4_t v, size_t n)
{
    float part[4];
    vst1q_f32(part, v);
    memcpy(p, part, 4 * n);
}

static inline void clq_narrow(void *p, int32x4_t v)
{
    const uint16x4_t words = vmovn_u32(vreinterpretq_u32_s32(v));
    const uint32x2_t bytes = vreinterpret_u32_u8(vmovn_u16(vcombine_u16(words, words)));
    const uint32_t dword = vget_lane_u32(bytes, 0);
    memcpy(p, &dword, 4);
}

static inline int32x4_t clq_widen(const uint8_t *p)
{
    uint32_t dword;
    memcpy(&dword, p, 4);
    return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(dword))))));
}

#endif
