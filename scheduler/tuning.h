/* SPDX-License-Identifier: Apache-2.0
 * What a tuning run found, kept between runs: per device, which variant serves each kernel family. An entry is advice: it
 * holds for one device, driver, kernel text and clquant, and without it the defaults are used. Variants give equal
 * bits, so deleting the file changes the speed, never a byte of output. */
#ifndef CLQ_SCHEDULER_TUNING_H
#define CLQ_SCHEDULER_TUNING_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define CLQ_TUNING_VERSION 1
#define CLQ_TUNING_MAX_BYTES ((size_t)4 << 20)

enum { CLQ_TUNING_CHOICES = 32, CLQ_TUNING_NAME = 48 };

/* Everything that a choice depends on. device names the entry; the rest must be equal for it to hold. */
struct clq_tuning_key {
    const char *device, *driver, *kernel_hash, *clquant;
    int units; /* compute units */
};

struct clq_tuning_choice {
    char family[CLQ_TUNING_NAME], variant[CLQ_TUNING_NAME];
    double ratio, spread; /* time / time of the default: median and interquartile range; 1 and 0 for the default itself */
    int pairs;            /* measured; 0: there was nothing to choose */
};

struct clq_tuning {
    size_t n;
    struct clq_tuning_choice choice[CLQ_TUNING_CHOICES];
    int few_rows; /* products of at most so many rows run on the GEMV form; -1: not measured */
};

/* Reads the entry of the key's device. A file that is absent gives an empty tuning; one that is unreadable, damaged, or of
 * another version, and an entry of another driver, kernel text or clquant, do so too, and reason gets one line. reason is
 * "" otherwise. Only memory fails. */
clq_status clq_tuning_load(struct clq_tuning *out, const char *path, const struct clq_tuning_key *key, char *reason,
                           size_t reason_size, struct clq_error *err);
/* Puts the entry in the place of the device's earlier one and keeps the other devices' entries; a damaged file is replaced.
 * The file is replaced at once, never half. */
clq_status clq_tuning_save(const struct clq_tuning *tuning, const char *path, const struct clq_tuning_key *key,
                           struct clq_error *err);

#endif
