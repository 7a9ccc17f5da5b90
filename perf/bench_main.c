/* SPDX-License-Identifier: Apache-2.0
 * clquant-bench, which `clquant bench WORD` starts. It is a program of its own because it is linked with the tests' cases and
 * with the library's insides. */
#include <stdio.h>
#include <string.h>

#include "perf/settings.h"

int main(int argc, char **argv)
{
    static const struct clq_bench_command *const commands[] = {&clq_bench_kernels, &clq_bench_gemm, &clq_bench_gemv, &clq_bench_conv, &clq_bench_quantize,
                                                               &clq_bench_histogram, &clq_bench_elementwise, &clq_bench_device};
    struct clq_settings s;
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(argv[1], commands[i]->name) != 0) continue;
        int code = clq_settings_read(&s, commands[i], argc - 1, argv + 1);
        if (code < 0) code = commands[i]->run(&s);
        return fflush(stdout) != 0 || ferror(stdout) ? 4 : code;
    }
    fprintf(stderr, "clquant-bench: started by 'clquant bench'; it has no command '%s'\n", argc > 1 ? argv[1] : "");
    return 2;
}
