/* SPDX-License-Identifier: Apache-2.0
 * rest() of binary_run.h through a whole block, for versions without masked loads. Comes behind block(). */
#ifndef CLQ_KERNELS_BINARY_REST_H
#define CLQ_KERNELS_BINARY_REST_H

#include <string.h>

static inline __attribute__((always_inline)) void rest(const uint8_t *at_a, const uint8_t *at_b, uint8_t *at_y, size_t n,
                                                       const struct binary *p, bool multiply, bool turn)
{
    uint8_t a[CLQ_BINARY_CODES] = {0}, b[CLQ_BINARY_CODES] = {0}, y[CLQ_BINARY_CODES];
    memcpy(a, at_a, n);
    memcpy(b, at_b, n);
    block(a, b, y, p, multiply, turn);
    memcpy(at_y, y, n);
}

#endif
