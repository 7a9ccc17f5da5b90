/* SPDX-License-Identifier: Apache-2.0
 * The command line of clquant-bench: one table of options, of which every command takes some. */
#ifndef CLQ_PERF_SETTINGS_H
#define CLQ_PERF_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

struct clq_settings {
    const char *command; /* "gemm" */
    const char *isa;     /* of clq_cpu_levels */
    const char *device, *suite, *type;
    double threads, seconds, zeros;
    bool json, csv, quiet;
    const char *const *words; /* what is no option */
    size_t n_words;
};

struct clq_bench_command {
    const char *name;
    const char *options;   /* the options that it takes beside the common ones, in blanks: " threads csv " */
    size_t most_words;
    const char *help;      /* without the list of options */
    const char *example;
    int (*run)(const struct clq_settings *s);
};

/* Reads argv[1] ...; argv is reordered so that words follow each other. -1: go on, otherwise the exit code. */
int clq_settings_read(struct clq_settings *s, const struct clq_bench_command *command, int argc, char **argv);

/* Prints one line on stderr and returns 2. */
int clq_bench_usage(const char *command, const char *what, const char *word);

/* The index of the OpenCL device that was asked for, -1 for none. */
int clq_settings_opencl(const struct clq_settings *s);
/* Whether the CPU's own kernels were asked for. */
bool clq_settings_cpu(const struct clq_settings *s);

/* The commands, each in a file of its own. */
extern const struct clq_bench_command clq_bench_kernels, clq_bench_gemm, clq_bench_gemv, clq_bench_conv, clq_bench_quantize, clq_bench_histogram,
    clq_bench_elementwise, clq_bench_device;

#endif
