/* SPDX-License-Identifier: Apache-2.0 */
#include "perf/rivals/runner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static FILE *in_folder(const char *folder, const char *name, const char *mode)
{
    char path[4096];
    const int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    return n > 0 && (size_t)n < sizeof path ? fopen(path, mode) : NULL;
}

bool clq_runner_read(const char *folder, const char *name, void *memory, size_t bytes)
{
    FILE *f = in_folder(folder, name, "rb");
    if (!f) return false;
    const bool ok = fread(memory, 1, bytes, f) == bytes && fgetc(f) == EOF;
    fclose(f);
    return ok;
}

bool clq_runner_write(const char *folder, const char *name, const void *memory, size_t bytes)
{
    FILE *f = in_folder(folder, name, "wb");
    if (!f) return false;
    const bool ok = fwrite(memory, 1, bytes, f) == bytes;
    return fclose(f) == 0 && ok;
}

static bool serve_run(const struct clq_runner *r, long n)
{
    double *seconds = n > 0 && n <= 1000000 ? malloc((size_t)n * sizeof *seconds) : NULL;
    bool ok = seconds != NULL;
    for (long i = 0; ok && i < n; i++) {
        const double t = now();
        ok = r->run(r->state);
        seconds[i] = now() - t;
    }
    if (ok) printf("{\"seconds\": [");
    for (long i = 0; ok && i < n; i++) printf("%s%.9f", i ? ", " : "", seconds[i]);
    if (ok) printf("]}\n");
    free(seconds);
    return ok;
}

static bool serve_out(const struct clq_runner *r, const char *folder)
{
    size_t bytes;
    const void *y = r->result(r->state, &bytes);
    if (!clq_runner_write(folder, "out", y, bytes)) return false;
    printf("{\"out\": %zu}\n", bytes);
    return true;
}

int clq_runner_serve(const struct clq_runner *r, const char *facts)
{
    char line[4600], kind[16], type[16], shape[128], folder[4096], text[512];
    long n;
    printf("{\"ready\": true, %s}\n", facts);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "open %15s %15s %127s %4095s", kind, type, shape, folder) == 4) {
            const bool ok = r->open(r->state, kind, type, shape, folder, text, sizeof text);
            printf(ok ? "{%s}\n" : "{\"error\": \"%s\"}\n", text);
        } else if (sscanf(line, "run %ld", &n) == 1) {
            if (!serve_run(r, n)) printf("{\"error\": \"the run failed\"}\n");
        } else if (sscanf(line, "out %4095s", folder) == 1) {
            if (!serve_out(r, folder)) printf("{\"error\": \"cannot write to the folder\"}\n");
        } else if (strncmp(line, "quit", 4) == 0) {
            break;
        } else {
            printf("{\"error\": \"unknown command\"}\n");
        }
        fflush(stdout);
    }
    return 0;
}
