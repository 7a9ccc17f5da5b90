/* SPDX-License-Identifier: Apache-2.0
 * Files: bounded reading, confined opening (both ways) and writing that leaves the old or the complete new file. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/hash.h"

static char dir[64];

static const char *at(const char *name)
{
    static char paths[8][256];
    static int next;
    char *p = paths[next++ % 8];
    snprintf(p, sizeof paths[0], "%s/%s", dir, name);
    return p;
}

static void put(const char *name, const char *text)
{
    FILE *f = fopen(at(name), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void has(const char *name, const char *text)
{
    struct clq_blob blob;
    assert_int_equal(clq_file_read(&blob, at(name), 0, NULL), CLQ_OK);
    assert_string_equal((char *)blob.data, text);
    assert_int_equal(blob.bytes, strlen(text));
    free(blob.data);
}

static int entries(void)
{
    char command[128];
    snprintf(command, sizeof command, "ls -A %s | wc -l", dir);
    FILE *p = popen(command, "r");
    int n = -1;
    assert_int_equal(fscanf(p, "%d", &n), 1);
    pclose(p);
    return n;
}

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/clq-test-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static void reading(void **state)
{
    (void)state;
    struct clq_blob blob;
    struct clq_error err;
    put("a", "hello");
    has("a", "hello");
    put("empty", "");
    has("empty", "");
    assert_int_equal(clq_file_read(&blob, at("a"), 4, &err), CLQ_ERR_FORMAT);
    assert_int_equal(clq_file_read(&blob, at("absent"), 0, &err), CLQ_ERR_IO);
    assert_non_null(strstr(err.text, "absent"));
    assert_int_equal(clq_file_read(&blob, dir, 0, &err), CLQ_ERR_IO);
    assert_non_null(strstr(err.text, "directory"));
    assert_int_equal(mkfifo(at("fifo"), 0600), 0);
    alarm(10); /* a blocking open would never end */
    assert_int_equal(clq_file_read(&blob, at("fifo"), 0, &err), CLQ_ERR_IO);
    assert_non_null(strstr(err.text, "FIFO"));
    assert_int_equal(clq_file_read(&blob, "/dev/zero", 0, &err), CLQ_ERR_IO);
    alarm(0);
}

static void shrinking(void **state)
{
    (void)state;
    struct clq_file file;
    struct clq_error err;
    char data[8];
    put("s", "12345678");
    assert_int_equal(clq_file_open(&file, at("s"), &err), CLQ_OK);
    assert_int_equal(clq_file_pread(&file, data, 8, 0, &err), CLQ_OK);
    assert_int_equal(truncate(at("s"), 3), 0);
    assert_int_equal(clq_file_pread(&file, data, 8, 0, &err), CLQ_ERR_IO);
    assert_int_equal(clq_file_pread(&file, data, 1, UINT64_MAX, &err), CLQ_ERR_IO);
    clq_file_close(&file);
}

static void confinement(void **state)
{
    (void)state;
    static const struct {
        const char *location;
        size_t n; /* 0: strlen */
        clq_status plain, links;
    } cases[] = {
        {"w.bin", 0, CLQ_OK, CLQ_OK},
        {"./w.bin", 0, CLQ_OK, CLQ_OK},
        {"sub/w.bin", 0, CLQ_OK, CLQ_OK},
        {"..w", 0, CLQ_OK, CLQ_OK},
        {"", 0, CLQ_ERR_FORMAT, CLQ_ERR_FORMAT},
        {"/etc/passwd", 0, CLQ_ERR_FORMAT, CLQ_ERR_FORMAT},
        {"..", 0, CLQ_ERR_FORMAT, CLQ_ERR_FORMAT},
        {"../secret", 0, CLQ_ERR_FORMAT, CLQ_ERR_FORMAT},
        {"sub/../../secret", 0, CLQ_ERR_FORMAT, CLQ_ERR_FORMAT},
        {"sub/..", 0, CLQ_ERR_FORMAT, CLQ_ERR_FORMAT},
        {"sub//w.bin", 0, CLQ_ERR_FORMAT, CLQ_ERR_FORMAT},
        {"sub/", 0, CLQ_ERR_FORMAT, CLQ_ERR_FORMAT},
        {"a\\b", 0, CLQ_ERR_FORMAT, CLQ_ERR_FORMAT},
        {"w.bin\0x", 7, CLQ_ERR_FORMAT, CLQ_ERR_FORMAT},
        {"soft", 0, CLQ_ERR_IO, CLQ_OK},
        {"softdir/secret", 0, CLQ_ERR_IO, CLQ_OK},
        {"softdir", 0, CLQ_ERR_IO, CLQ_ERR_IO},
        {"hard", 0, CLQ_ERR_IO, CLQ_OK},
        {"sub", 0, CLQ_ERR_IO, CLQ_ERR_IO},
        {"fifo", 0, CLQ_ERR_IO, CLQ_ERR_IO},
        {"absent", 0, CLQ_ERR_IO, CLQ_ERR_IO},
        {"w.bin/x", 0, CLQ_ERR_IO, CLQ_ERR_IO},
    };
    put("secret", "s");
    assert_int_equal(mkdir(at("m"), 0700), 0);
    assert_int_equal(mkdir(at("m/sub"), 0700), 0);
    put("m/w.bin", "w");
    put("m/..w", "w");
    put("m/sub/w.bin", "w");
    assert_int_equal(symlink("../secret", at("m/soft")), 0);
    assert_int_equal(symlink("..", at("m/softdir")), 0);
    put("linked", "l");
    assert_int_equal(link(at("linked"), at("m/hard")), 0);
    assert_int_equal(mkfifo(at("m/fifo"), 0600), 0);
    alarm(10);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (unsigned way = 0; way < 4; way++) {
            struct clq_file file;
            struct clq_error err;
            size_t n = cases[i].n ? cases[i].n : strlen(cases[i].location);
            clq_status want = way & CLQ_BELOW_LINKS ? cases[i].links : cases[i].plain;
            clq_status got = clq_file_open_below(&file, at("m/model.onnx"), cases[i].location, n, way, &err);
            if (got != want) fail_msg("'%s' way %u: %s (%s)", cases[i].location, way, clq_status_name(got), err.text);
            if (got == CLQ_OK) clq_file_close(&file);
        }
    alarm(0);
    char longest[5000];
    memset(longest, 'a', sizeof longest);
    struct clq_file file;
    assert_int_equal(clq_file_open_below(&file, at("m/model.onnx"), longest, 4097, 0, NULL), CLQ_ERR_FORMAT);
}

static void writing(void **state)
{
    (void)state;
    struct clq_error err;
    struct clq_writer_options force = {.force = true};
    assert_int_equal(clq_file_write(at("out"), "one", 3, NULL, &err), CLQ_OK);
    has("out", "one");
    assert_int_equal(clq_file_write(at("out"), "two", 3, NULL, &err), CLQ_ERR_IO);
    has("out", "one");
    assert_int_equal(chmod(at("out"), 0640), 0);
    assert_int_equal(clq_file_write(at("out"), "two", 3, &force, &err), CLQ_OK);
    has("out", "two");
    struct stat st;
    assert_int_equal(stat(at("out"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(clq_file_write(at("nodir/out"), "x", 1, &force, &err), CLQ_ERR_IO);
    assert_int_equal(mkdir(at("d"), 0700), 0);
    assert_int_equal(clq_file_write(at("d"), "x", 1, &force, &err), CLQ_ERR_IO);
    assert_int_equal(clq_file_write("/dev/null", "x", 1, &force, &err), CLQ_ERR_IO);
    assert_int_equal(clq_file_write(at("d/"), "x", 1, &force, &err), CLQ_ERR_IO);
    assert_int_equal(entries(), 2);
}

static void reservation_is_cut(void **state)
{
    (void)state;
    struct clq_writer w;
    struct clq_writer_options o = {.bytes = 100000};
    assert_int_equal(clq_writer_open(&w, at("out"), &o, NULL), CLQ_OK);
    assert_int_equal(clq_writer_write(&w, "abc", 3, NULL), CLQ_OK);
    assert_int_equal(clq_writer_write(&w, "def", 3, NULL), CLQ_OK);
    assert_int_equal(clq_writer_commit(&w, NULL), CLQ_OK);
    has("out", "abcdef");
    clq_writer_abort(&w);
    has("out", "abcdef");
}

static void output_is_input(void **state)
{
    (void)state;
    struct clq_file in;
    struct clq_error err;
    put("in", "model");
    assert_int_equal(symlink("in", at("alias")), 0);
    assert_int_equal(link(at("in"), at("hard")), 0);
    assert_int_equal(clq_file_open(&in, at("in"), &err), CLQ_OK);
    struct clq_writer_options o = {.force = true, .inputs = &in.id, .n_inputs = 1};
    static const char *const names[] = {"in", "alias", "hard"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(clq_file_write(at(names[i]), "x", 1, &o, &err), CLQ_ERR_IO);
        assert_non_null(strstr(err.text, "same file"));
    }
    has("in", "model");
    clq_file_close(&in);
}

/* A target that appears while the file is written is not replaced. */
static void race(void **state)
{
    (void)state;
    struct clq_writer w;
    assert_int_equal(clq_writer_open(&w, at("out"), NULL, NULL), CLQ_OK);
    put("out", "theirs");
    assert_int_equal(clq_writer_commit(&w, NULL), CLQ_ERR_IO);
    has("out", "theirs");
    assert_int_equal(entries(), 1);
}

static void disk_full(void **state)
{
    (void)state;
    struct clq_error err;
    struct clq_writer_options force = {.force = true};
    put("out", "old");
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        static char big[1 << 16];
        struct rlimit limit = {4096, 4096};
        struct clq_writer w;
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        if (clq_file_write(at("out"), big, sizeof big, &force, &err) != CLQ_ERR_IO) _exit(1);
        if (clq_writer_open(&w, at("out"), &force, &err) != CLQ_OK) _exit(2);
        if (clq_writer_write(&w, big, sizeof big, &err) != CLQ_ERR_IO) _exit(3);
        if (clq_writer_write(&w, big, 1, &err) != CLQ_ERR_IO) _exit(4);
        if (clq_writer_commit(&w, &err) != CLQ_ERR_IO) _exit(5);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    has("out", "old");
    assert_int_equal(entries(), 1);
}

static void on_signal(int number)
{
    clq_file_abort_all();
    _exit(128 + number);
}

static void signal_removes_temporary(void **state)
{
    (void)state;
    put("out", "old");
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct clq_writer w, other;
        struct clq_writer_options force = {.force = true};
        signal(SIGTERM, on_signal);
        if (clq_writer_open(&w, at("out"), &force, NULL) != CLQ_OK) _exit(1);
        if (clq_writer_open(&other, at("second"), NULL, NULL) != CLQ_OK) _exit(1);
        if (clq_writer_write(&w, "partial", 7, NULL) != CLQ_OK) _exit(1);
        if (entries() != 3) _exit(2);
        raise(SIGTERM);
        _exit(3);
    }
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(WEXITSTATUS(status), 128 + SIGTERM);
    has("out", "old");
    assert_int_equal(entries(), 1);
}

static void hashes(void **state)
{
    (void)state;
    char hex[65];
    clq_sha256_hex(hex, "", 0);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    clq_sha256_hex(hex, "abc", 3);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    struct clq_sha256 sha;
    unsigned char digest[32];
    clq_sha256_start(&sha);
    for (int i = 0; i < 1000000; i += 125) { /* a million times 'a', in pieces that straddle blocks */
        char piece[125];
        memset(piece, 'a', sizeof piece);
        clq_sha256_add(&sha, piece, sizeof piece);
    }
    clq_sha256_finish(&sha, digest);
    clq_hex(hex, digest, 32);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    assert_true(clq_fnv64(CLQ_FNV64_START, "foobar", 6) == 0x85944171f73967e8u);
    uint64_t wide[2];
    clq_fnv128_start(wide);
    clq_fnv128(wide, "foobar", 6);
    assert_true(wide[0] == 0x343e1662793c64bfu && wide[1] == 0x6f0d3597ba446f18u);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {T(reading), T(shrinking), T(confinement), T(writing), T(reservation_is_cut),
                                       T(output_is_input), T(race), T(disk_full), T(signal_removes_temporary),
                                       T(hashes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
