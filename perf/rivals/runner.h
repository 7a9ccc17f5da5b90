/* SPDX-License-Identifier: Apache-2.0
 * The protocol of README.md for runners of single kernels in C: one line in, one line of JSON out. */
#ifndef CLQ_PERF_RIVALS_RUNNER_H
#define CLQ_PERF_RIVALS_RUNNER_H

#include <stdbool.h>
#include <stddef.h>

struct clq_runner {
    void *state;
    /* "open KIND TYPE SHAPE FOLDER": prepares; what it prepared goes into text as JSON members. False: text is the reason. */
    bool (*open)(void *state, const char *kind, const char *type, const char *shape, const char *folder, char *text, size_t bytes);
    bool (*run)(void *state);
    /* The result of the last run. */
    const void *(*result)(void *state, size_t *bytes);
};

/* Says that it is ready, with the members of `facts`, and serves stdin to its end. The exit code. */
int clq_runner_serve(const struct clq_runner *runner, const char *facts);

/* A file of that name in a folder, whole: false if it has not exactly so many bytes. */
bool clq_runner_read(const char *folder, const char *name, void *memory, size_t bytes);
bool clq_runner_write(const char *folder, const char *name, const void *memory, size_t bytes);

#endif
