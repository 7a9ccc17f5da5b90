/* SPDX-License-Identifier: Apache-2.0
 * A float matrix product y = x * w^T + b in 8-bit integers, through the installed headers alone. Argument: a device, such as
 * opencl; without one the CPU computes. Build: cc gemm.c $(pkg-config --cflags --libs clquant) -lm -o gemm */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <clquant/clquant.h>

enum { M = 32, N = 48, K = 256 };

#define TRY(call)                                                                              \
    do {                                                                                       \
        if ((call) == CLQ_OK) break;                                                           \
        fprintf(stderr, "%s\n", clq_error_message(ctx));                                       \
        exit(1);                                                                               \
    } while (0)

int main(int argc, char **argv)
{
    static float x[M * K], w[N * K], b[N], y[M * N], scale_w[N], multiplier[N];
    static uint8_t xq[M * K];
    static int8_t wq[N * K];
    static int32_t bq[N];
    clq_context *ctx = NULL;
    clq_histogram *seen;
    clq_range_result range;
    clq_gemm *gemm;
    for (int i = 0; i < M * K; i++) x[i] = (float)(rand() % 2001) / 1000 - 0.5f;
    for (int i = 0; i < N * K; i++) w[i] = (float)(rand() % 2001) / 1000 - 1;
    for (int i = 0; i < N; i++) b[i] = (float)i / N;
    TRY(clq_context_create(&ctx, &(clq_context_options){.device = argc > 1 ? argv[1] : "cpu"}));

    /* Activations: one scale, from their range. Weights: a scale per row. */
    TRY(clq_histogram_create(&seen, ctx));
    TRY(clq_histogram_add(ctx, seen, x, M * K));
    TRY(clq_range_search(&range, ctx, seen, &(clq_range_options){.method = CLQ_RANGE_MSE, .dtype = CLQ_DTYPE_U8}));
    TRY(clq_quantize_array(ctx, xq, x, &(clq_array_params){CLQ_DTYPE_U8, 1, 1, M * K, &range.scale, &range.zero_point}));
    TRY(clq_quantize_weights(ctx, wq, scale_w, &(clq_weights_desc){.weight = w, .outer = 1, .channels = N, .inner = K, .clip = true}));
    TRY(clq_bias_codes(ctx, bq, b, N, range.scale, scale_w));
    TRY(clq_multipliers(ctx, multiplier, N, range.scale, scale_w, 1));
    TRY(clq_gemm_prepare(&gemm, ctx, &(clq_gemm_desc){.n = N, .k = K, .weight = wq, .bias = bq, .input = CLQ_DTYPE_U8,
                         .input_zero_point = range.zero_point, .output = {.dtype = CLQ_DTYPE_F32, .multiplier = multiplier}}));
    TRY(clq_gemm_run(gemm, xq, K, M, y, N));

    double signal = 0, noise = 0;
    for (int i = 0; i < M * N; i++) {
        double exact = (double)b[i % N];
        for (int k = 0; k < K; k++) exact += (double)x[i / N * K + k] * (double)w[i % N * K + k];
        signal += exact * exact;
        noise += (exact - (double)y[i]) * (exact - (double)y[i]);
    }
    printf("%s: %.1f dB %s\n", clq_context_device(ctx), 10 * log10(signal / noise), clq_context_fallback(ctx));
    clq_gemm_free(gemm);
    clq_histogram_free(seen);
    clq_context_free(ctx);
    return signal / noise < 1000;
}
