/* SPDX-License-Identifier: Apache-2.0
 * The driver of a fuzz target without a fuzzer: every argument is a file, or a folder whose files are replayed. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/file.h"
#include "fuzz/fuzz.h"

static int replay(const char *path)
{
    struct clq_blob blob;
    struct clq_error err;
    if (clq_file_read(&blob, path, 0, &err) != CLQ_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 0;
    }
    LLVMFuzzerTestOneInput(blob.data, blob.bytes);
    free(blob.data);
    return 1;
}

int main(int argc, char **argv)
{
    int done = 0;
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        struct stat st;
        char path[4096];
        if (!dir) {
            done += replay(argv[i]);
            continue;
        }
        for (struct dirent *e; (e = readdir(dir));) {
            snprintf(path, sizeof path, "%s/%s", argv[i], e->d_name);
            if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) done += replay(path);
        }
        closedir(dir);
    }
    printf("%d files replayed\n", done);
    return done > 0 ? 0 : 1;
}
