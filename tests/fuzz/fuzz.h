/* SPDX-License-Identifier: Apache-2.0
 * What a fuzz target is: with clang -fsanitize=fuzzer the library brings main(), otherwise replay.c replays files. */
#ifndef CLQ_TESTS_FUZZ_H
#define CLQ_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#endif
