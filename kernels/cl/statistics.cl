/* SPDX-License-Identifier: Apache-2.0
 * Range and histogram of float32 data, numerics.md 7. Work-items or work-groups leave partial results that the host
 * adds up in any order: all of them are integers, minima or maxima.
 * -D: CLQ_BLOCKED; CLQ_LOG2_BINS 6..12; CLQ_COPIES private histograms per work-group, a power of two.
 * minmax_f32: any 1-D size; item i writes part[8 i .. 8 i + 4] = min, max (as bits), NaNs, +inf, -inf.
 * histogram_f32: any 1-D size; adds into counts[2][1 << CLQ_LOG2_BINS] (positive, negative), n < 2^31 per launch,
 * local memory 4 * CLQ_COPIES * 2 << CLQ_LOG2_BINS bytes. *_at count elements. */
#ifndef CLQ_COMMON_CLH
#include "common.clh"
#endif
#ifndef CLQ_LOG2_BINS
#define CLQ_LOG2_BINS 10
#endif
#ifndef CLQ_COPIES
#define CLQ_COPIES 1
#endif

kernel void minmax_f32(global const float *x, ulong x_at, global uint *part, ulong part_at, ulong n)
{
    x += x_at;
    float low = INFINITY, high = -INFINITY;
    uint nan = 0, pos = 0, neg = 0;
    CLQ_SPAN(n);
    for (ulong i = begin; i < end; i += step) {
        const uint bits = as_uint(x[i]), magnitude = bits & 0x7fffffff;
        if (magnitude < 0x7f800000) {
            const float f = magnitude < 0x00800000 ? 0.0f : as_float(bits);
            low = f < low ? f : low;
            high = f > high ? f : high;
        } else {
            nan += magnitude > 0x7f800000;
            pos += bits == 0x7f800000;
            neg += bits == 0xff800000;
        }
    }
    part += part_at + get_global_id(0) * 8;
    part[0] = as_uint(low);
    part[1] = as_uint(high);
    part[2] = nan;
    part[3] = pos;
    part[4] = neg;
}

kernel void histogram_f32(global const float *x, ulong x_at, global uint *counts, ulong counts_at, ulong n,
                          float factor)
{
    local uint bins[CLQ_COPIES][2 << CLQ_LOG2_BINS];
    const uint item = get_local_id(0), items = get_local_size(0);
    x += x_at;
    counts += counts_at;
    for (uint b = item; b < (2 << CLQ_LOG2_BINS); b += items)
        for (uint c = 0; c < CLQ_COPIES; c++) bins[c][b] = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    CLQ_SPAN(n);
    for (ulong i = begin; i < end; i += step) {
        const uint bits = as_uint(x[i]), magnitude = bits & 0x7fffffff;
        if (magnitude >= 0x7f800000) continue;
        uint bin = min((uint)(as_float(magnitude) * factor), (uint)((1 << CLQ_LOG2_BINS) - 1));
        bin += magnitude < 0x00800000 ? 0 : bits >> 31 << CLQ_LOG2_BINS;
        if (CLQ_BLOCKED) bins[i & (CLQ_COPIES - 1)][bin]++;
        else atomic_inc(&bins[item & (CLQ_COPIES - 1)][bin]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint b = item; b < (2 << CLQ_LOG2_BINS); b += items) {
        uint sum = 0;
        for (uint c = 0; c < CLQ_COPIES; c++) sum += bins[c][b];
        if (sum) atomic_add(&counts[b], sum);
    }
}
