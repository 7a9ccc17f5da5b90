/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: an NPZ or NPY file as the library opens it, through a file in memory. Arrays of up to 1 MiB are loaded. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "formats/arrays.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char path[64];
    clq_arrays *a;
    struct clq_error err;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || (n && write(fd, data, n) != (ssize_t)n)) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (clq_arrays_open(&a, path, &err) == CLQ_OK) {
        for (size_t i = 0; i < clq_arrays_count(a); i++) {
            clq_tensor t;
            if (clq_arrays_load(a, i, &t, 1 << 20, &err) == CLQ_OK) free(t.data);
        }
        clq_arrays_close(a);
    }
    close(fd);
    return 0;
}
