/* SPDX-License-Identifier: Apache-2.0
 * How the OpenCL device behaves: listing, variants and refusals, buffers, canaries, failing and hanging commands, the
 * program cache, and chains on the device. Argument: a folder for the cache, or "none": there must be no platform. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cl_internal.h"

static const char *cache_root;
static bool have_device;
static struct clq_error err;

static void need_device(void)
{
    if (have_device) return;
    print_message("no OpenCL device: skipped\n");
    skip();
}

/* A loaded machine may take its time; what test_hang makes hang does not wait. */
static struct clq_cl *open_device(const struct clq_cl_options *options)
{
    struct clq_cl *cl = NULL;
    struct clq_cl_options o = options ? *options : (struct clq_cl_options){0};
    if (!o.timeout_ms) o.timeout_ms = 300000;
    if (clq_cl_open(&cl, 0, &o, &err) != CLQ_OK) fail_msg("%s", err.text);
    return cl;
}

#define OK(call) \
    do { \
        if ((call) != CLQ_OK) fail_msg("%s: %s", #call, err.text); \
    } while (0)

static void test_list(void **state)
{
    struct clq_cl_info *all = NULL;
    int n = 0;
    (void)state;
    OK(clq_cl_list(&all, &n, &err));
    for (int i = 0; i < n; i++) {
        assert_int_equal(all[i].index, i);
        assert_true(all[i].name[0] && all[i].platform[0] && all[i].compute_units > 0 && all[i].memory > 0);
    }
    free(all);
    struct clq_cl *cl = NULL;
    assert_int_equal(clq_cl_open(&cl, n, NULL, &err), CLQ_ERR_NO_DEVICE);
    assert_int_equal(clq_cl_open(&cl, -1, NULL, &err), CLQ_ERR_NO_DEVICE);
    assert_null(cl);
    clq_cl_close(NULL);
}

static void test_none(void **state)
{
    struct clq_cl_info *all = NULL;
    struct clq_cl *cl = NULL;
    int n = -1;
    (void)state;
    OK(clq_cl_list(&all, &n, &err));
    free(all);
    assert_int_equal(n, 0);
    assert_int_equal(clq_cl_open(&cl, 0, NULL, &err), CLQ_ERR_NO_DEVICE);
    assert_non_null(strstr(err.text, "0 devices"));
}

/* Every family has a usable variant on this device, the assembly is used only where the mask allows it, and the
 * chosen one is reported. */
static void test_variants(void **state)
{
    (void)state;
    need_device();
    struct clq_cl *cl = open_device(&(struct clq_cl_options){.cpu = 0});
    for (int f = 0; f < CLQ_CL_FAMILIES; f++) {
        if ((f == CLQ_CL_GEMV || f == CLQ_CL_GEMV_U4) && !clq_cl_offers(cl, f)) continue;
        OK(clq_cl_ready(cl, (enum clq_cl_family)f, &err));
        assert_non_null(clq_cl_variant(cl, (enum clq_cl_family)f));
        assert_string_equal(clq_cl_refused(cl, (enum clq_cl_family)f), "");
    }
    assert_string_not_equal(clq_cl_variant(cl, CLQ_CL_GEMM), "x86_vnni");
    const bool is_cpu = clq_cl_describe(cl)->is_cpu;
    clq_cl_close(cl);
    if (!is_cpu || !(clq_cpu_detect() & CLQ_CPU_VNNI)) return;
    cl = open_device(&(struct clq_cl_options){.cpu = clq_cpu_detect()});
    static const enum clq_cl_family assembly[] = {CLQ_CL_GEMM, CLQ_CL_CONV, CLQ_CL_DEPTHWISE, CLQ_CL_GEMM_U4, CLQ_CL_GEMV_U4};
    for (size_t i = 0; i < sizeof assembly / sizeof *assembly; i++) {
        OK(clq_cl_ready(cl, assembly[i], &err));
        assert_string_equal(clq_cl_refused(cl, assembly[i]), "");
        assert_string_equal(clq_cl_variant(cl, assembly[i]), "x86_vnni");
    }
    clq_cl_close(cl);
}

static void test_buffers(void **state)
{
    char text[100] = "the quick brown fox", back[100] = "";
    struct clq_cl_buffer b = {0};
    (void)state;
    need_device();
    struct clq_cl *cl = open_device(NULL);
    OK(clq_cl_alloc(&b, cl, sizeof text, &err));
    OK(clq_cl_upload(cl, &b, text, sizeof text, &err));
    OK(clq_cl_download(back, cl, &b, sizeof back, &err));
    assert_memory_equal(text, back, sizeof text);
    assert_int_equal(clq_cl_upload(cl, &b, text, sizeof text + 1, &err), CLQ_ERR_INVALID_ARGUMENT);
    assert_int_equal(clq_cl_download(back, cl, &b, sizeof text + 1, &err), CLQ_ERR_INVALID_ARGUMENT);
    struct clq_quantize_args q = {NULL, NULL, 101, 1.0f, 0, false};
    assert_int_equal(clq_cl_quantize(cl, false, &q, &(struct clq_cl_io){.x = &b, .y = &b}, &err),
                     CLQ_ERR_INVALID_ARGUMENT);
    struct clq_cl_buffer huge = {0};
    assert_int_equal(clq_cl_alloc(&huge, cl, (size_t)1 << 60, &err), CLQ_ERR_DEVICE);
    assert_null(huge.mem);
    clq_cl_release(cl, &b);
    assert_null(b.mem);
    assert_null(clq_cl_dead(cl));
    clq_cl_close(cl);
}

/* A write of a kernel behind its buffer is found, and the device is not used any more. */
static void test_canary(void **state)
{
    static float x[64];
    struct clq_cl_buffer in = {0}, out = {0};
    (void)state;
    need_device();
    struct clq_cl *cl = open_device(NULL);
    OK(clq_cl_alloc(&in, cl, sizeof x, &err));
    OK(clq_cl_upload(cl, &in, x, sizeof x, &err));
    OK(clq_cl_alloc(&out, cl, 32, &err));
    struct clq_cl_buffer lie = out;
    lie.bytes = 64;
    struct clq_quantize_args q = {NULL, NULL, 33, 1.0f, 7, false};
    OK(clq_cl_quantize(cl, false, &q, &(struct clq_cl_io){.x = &in, .y = &lie}, &err));
    OK(clq_cl_finish(cl, &err));
    clq_cl_release(cl, &out);
    assert_non_null(clq_cl_dead(cl));
    assert_non_null(strstr(clq_cl_dead(cl), "behind a buffer of 32 bytes"));
    assert_int_equal(clq_cl_quantize(cl, false, &q, &(struct clq_cl_io){.x = &in, .y = &lie}, &err), CLQ_ERR_DEVICE);
    clq_cl_release(cl, &in);
    clq_cl_close(cl);
}

/* One convolution with everything that a run needs, on host memory; expected: the reference. */
struct small_conv {
    struct clq_conv_args args;
    uint8_t x[8 * 8 * 16], y[8 * 8 * 70], expected[8 * 8 * 70];
    int8_t weight[70 * 9 * 16];
    float multiplier[70];
};

static void fill_conv(struct small_conv *c)
{
    struct clq_kernels reference;
    for (size_t i = 0; i < sizeof c->x; i++) c->x[i] = (uint8_t)(i * 37 + i / 11);
    for (size_t i = 0; i < sizeof c->weight; i++) c->weight[i] = (int8_t)(i * 91 + i / 13);
    for (size_t i = 0; i < 70; i++) c->multiplier[i] = 0.0003f;
    c->args = (struct clq_conv_args){.batch = 1,
                                     .h = 8,
                                     .w = 8,
                                     .ci = 16,
                                     .oh = 8,
                                     .ow = 8,
                                     .co = 70,
                                     .kh = 3,
                                     .kw = 3,
                                     .stride_h = 1,
                                     .stride_w = 1,
                                     .pad_top = 1,
                                     .pad_left = 1,
                                     .dilation_h = 1,
                                     .dilation_w = 1,
                                     .groups = 1,
                                     .x = c->x,
                                     .weight = c->weight,
                                     .multiplier = c->multiplier,
                                     .zero_point_x = 99,
                                     .zero_point_y = 128,
                                     .hi = 255,
                                     .y = c->expected,
                                     .bound = 1 << 24};
    clq_kernels_init(&reference, 0);
    reference.conv_u8s8_plan(&c->args);
    c->args.unit_end = c->args.units;
    reference.conv_u8s8(&c->args);
    c->args.y = c->y;
}

static clq_status run_conv(struct clq_cl *cl, struct small_conv *c)
{
    struct clq_cl_weight *w = NULL;
    memset(c->y, 0, sizeof c->y);
    clq_status st = clq_cl_prepare_conv(&w, cl, &c->args, &err);
    if (st == CLQ_OK) st = clq_cl_conv(cl, w, &c->args, NULL, &err);
    clq_cl_weight_free(cl, w);
    return st;
}

/* Whichever command fails, the call says so, nothing crashes, and the next call gives the right bits. */
static void test_faults(void **state)
{
    static struct small_conv c;
    uint64_t at;
    (void)state;
    need_device();
    fill_conv(&c);
    for (at = 1; at < 1000; at++) {
        struct clq_cl *cl = open_device(&(struct clq_cl_options){.cpu = ~0u, .skip_selftest = true, .fail_at = at});
        clq_status st = run_conv(cl, &c);
        if (st == CLQ_OK && memcmp(c.y, c.expected, sizeof c.y) != 0)
            fail_msg("command %d: wrong result without an error", (int)at);
        if (st == CLQ_OK) {
            clq_cl_close(cl); /* the failing command came after the result or does not exist */
            break;
        }
        assert_int_equal(st, CLQ_ERR_DEVICE);
        assert_non_null(strstr(err.text, "out of resources (-5)"));
        OK(run_conv(cl, &c));
        assert_memory_equal(c.y, c.expected, sizeof c.y);
        clq_cl_close(cl);
    }
    assert_in_range(at, 5, 40);
}

/* A command that never ends turns the device off within the deadline; its objects are abandoned. */
static void test_hang(void **state)
{
    static struct small_conv c;
    (void)state;
    need_device();
    fill_conv(&c);
    uint64_t at;
    for (at = 1; at < 100; at++) {
        struct clq_cl *cl = open_device(
            &(struct clq_cl_options){.cpu = ~0u, .skip_selftest = true, .hang_at = at, .timeout_ms = 300000});
        clq_status st = run_conv(cl, &c);
        if (st == CLQ_OK) {
            assert_memory_equal(c.y, c.expected, sizeof c.y);
            clq_cl_close(cl); /* the hanging command came after the result or does not exist */
            break;
        }
        assert_int_equal(st, CLQ_ERR_DEVICE);
        assert_non_null(strstr(err.text, "did not end within 300000 ms"));
        assert_non_null(clq_cl_dead(cl));
        assert_int_equal(run_conv(cl, &c), CLQ_ERR_DEVICE);
        assert_int_equal(clq_cl_ready(cl, CLQ_CL_LUT, &err), CLQ_ERR_DEVICE);
        clq_cl_close(cl);
    }
    assert_in_range(at, 4, 20);
}

/* A fault during the self-test refuses the family, with the reason. */
static void test_refusal(void **state)
{
    (void)state;
    need_device();
    struct clq_cl *cl = open_device(&(struct clq_cl_options){.only = "generic", .fail_at = 3});
    assert_int_equal(clq_cl_ready(cl, CLQ_CL_LUT, &err), CLQ_ERR_BUILD);
    assert_null(clq_cl_variant(cl, CLQ_CL_LUT));
    assert_non_null(strstr(clq_cl_refused(cl, CLQ_CL_LUT), "generic: "));
    assert_non_null(strstr(clq_cl_refused(cl, CLQ_CL_LUT), "out of resources"));
    uint8_t x[4] = {1, 2, 3, 4};
    struct clq_lut_args l = {x, x, 4, x};
    assert_int_equal(clq_cl_lut(cl, &l, NULL, &err), CLQ_ERR_BUILD);
    OK(clq_cl_ready(cl, CLQ_CL_ADD, &err));
    clq_cl_close(cl);
}

/* The files of the cache folder: how many, and a number that changes when one of them is replaced. */
static size_t scan(const char *dir, uint64_t *version, void (*damage)(const char *path, size_t n))
{
    DIR *d = opendir(dir);
    size_t n = 0;
    *version = 0;
    if (!d) return 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char path[1024];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) continue;
        *version += (uint64_t)st.st_ino * 31 + (uint64_t)st.st_mtim.tv_nsec;
        assert_non_null(strstr(e->d_name, ".clqbin"));
        assert_null(strstr(e->d_name, ".tmp"));
        if (damage) damage(path, n);
        n++;
    }
    closedir(d);
    return n;
}

static void damage(const char *path, size_t n)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    if (n % 3 == 0) {
        FILE *f = fopen(path, "r+b");
        assert_non_null(f);
        fseek(f, (long)st.st_size / 2, SEEK_SET);
        int byte = fgetc(f);
        fseek(f, (long)st.st_size / 2, SEEK_SET);
        fputc(byte ^ 1, f);
        fclose(f);
    } else {
        assert_int_equal(truncate(path, n % 3 == 1 ? st.st_size - 1 : 3), 0);
    }
}

/* Commands that the self-tests of three families took. */
static uint64_t run_all(const char *dir)
{
    struct clq_cl *cl = open_device(&(struct clq_cl_options){.cpu = ~0u, .cache_dir = dir});
    OK(clq_cl_ready(cl, CLQ_CL_QUANTIZE_U8, &err));
    OK(clq_cl_ready(cl, CLQ_CL_LUT, &err));
    OK(clq_cl_ready(cl, CLQ_CL_GEMM, &err));
    const uint64_t commands = cl->enqueues;
    clq_cl_close(cl);
    return commands;
}

/* A program and a verdict per family: what has passed is tested with one case in later processes, and with all of them where
 * the program or the verdict is damaged. */
static void test_cache(void **state)
{
    uint64_t first, second, third, ignored;
    char dir[600];
    (void)state;
    need_device();
    snprintf(dir, sizeof dir, "%s-%ld", cache_root, (long)getpid());
    const uint64_t all = run_all(dir);
    assert_int_equal(scan(dir, &first, NULL), 6);
    const uint64_t brief = run_all(dir);
    assert_true(brief > 0 && brief < all);
    assert_int_equal(scan(dir, &second, NULL), 6);
    assert_true(first == second); /* read, not written again */
    scan(dir, &ignored, damage);
    assert_int_equal(run_all(dir), all);
    assert_int_equal(scan(dir, &second, NULL), 6);
    assert_true(first != second);
    assert_int_equal(run_all(dir), brief);
    assert_int_equal(scan(dir, &third, NULL), 6);
    assert_true(second == third); /* the rebuilt files are whole */
    scan(dir, &ignored, NULL);
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) unlinkat(dirfd(d), e->d_name, 0);
    if (d) closedir(d);
    rmdir(dir);
    assert_int_equal(run_all("/proc/no/such/folder"), all); /* a folder that cannot be written is no failure */
}

/* quantize, convolution, addition in place, pooling and dequantize without leaving the device. */
static void test_chain(void **state)
{
    enum { IN = 8 * 8 * 16, MID = 8 * 8 * 70, OUT = 4 * 4 * 70 };
    static struct small_conv c;
    static float f[IN], want[OUT], got[OUT];
    static uint8_t pooled[OUT];
    struct clq_kernels k;
    struct clq_cl_weight *w = NULL;
    struct clq_cl_buffer arena = {0};
    (void)state;
    need_device();
    fill_conv(&c);
    for (size_t i = 0; i < IN; i++) f[i] = (float)(i * 37 % 511) * 0.1f - 20.0f;
    struct clq_quantize_args q = {f, c.x, IN, 0.11f, 99, false};
    struct clq_binary_u8_args a = {c.expected, c.expected, c.expected, MID, 0.02f, 0.03f, 0.07f, 128, 128, 100, 0, 255};
    struct clq_pool_args p = {1, 8, 8,          70,     4,     4,     2,   2,  2,     2, 0, 0,
                              1, 1, c.expected, pooled, 0.07f, 0.05f, 100, 90, false, 0, 4};
    struct clq_dequantize_args d = {pooled, want, OUT, 0.05f, 90, false};
    clq_kernels_init(&k, 0);
    k.quantize_f32_u8(&q);
    c.args.y = c.expected;
    k.conv_u8s8(&c.args);
    k.add_u8(&a);
    k.avgpool_u8(&p);
    k.dequantize_u8_f32(&d);
    struct clq_cl *cl = open_device(&(struct clq_cl_options){.cpu = ~0u});
    OK(clq_cl_prepare_conv(&w, cl, &c.args, &err));
    OK(clq_cl_alloc(&arena, cl, 65536, &err));
    struct clq_cl_buffer x = {arena.mem, arena.offset, IN}, y = {arena.mem, arena.offset + 2048, MID},
                         z = {arena.mem, arena.offset + 8192, OUT}, r = {arena.mem, arena.offset + 16384, sizeof got};
    OK(clq_cl_quantize(cl, false, &q, &(struct clq_cl_io){.y = &x}, &err));
    OK(clq_cl_conv(cl, w, &c.args, &(struct clq_cl_io){.x = &x, .y = &y}, &err));
    OK(clq_cl_add(cl, &a, &(struct clq_cl_io){.x = &y, .b = &y, .y = &y}, &err));
    OK(clq_cl_avgpool(cl, &p, &(struct clq_cl_io){.x = &y, .y = &z}, &err));
    OK(clq_cl_dequantize(cl, false, &d, &(struct clq_cl_io){.x = &z, .y = &r}, &err));
    OK(clq_cl_download(got, cl, &r, sizeof got, &err));
    assert_memory_equal(got, want, sizeof got);
    clq_cl_weight_free(cl, w);
    clq_cl_release(cl, &arena);
    assert_null(clq_cl_dead(cl));
    clq_cl_close(cl);
}

/* What the device cannot hold exactly is refused before anything runs. */
static void test_limits(void **state)
{
    static struct small_conv c;
    struct clq_cl_weight *w = NULL;
    (void)state;
    need_device();
    fill_conv(&c);
    struct clq_cl *cl = open_device(NULL);
    c.args.bound = (int64_t)INT32_MAX + 1;
    assert_false(clq_cl_supports_conv(cl, &c.args));
    assert_int_equal(clq_cl_prepare_conv(&w, cl, &c.args, &err), CLQ_ERR_UNSUPPORTED);
    c.args.bound = 1 << 24;
    c.multiplier[3] = 0x1p-130f;
    assert_int_equal(clq_cl_prepare_conv(&w, cl, &c.args, &err), CLQ_ERR_UNSUPPORTED);
    assert_null(w);
    float x[1] = {1.0f};
    uint8_t y[1];
    struct clq_quantize_args q = {x, y, 1, 0x1p-140f, 0, false};
    assert_int_equal(clq_cl_quantize(cl, false, &q, NULL, &err), CLQ_ERR_UNSUPPORTED);
    clq_cl_close(cl);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest none[] = {cmocka_unit_test(test_none)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),    cmocka_unit_test(test_variants), cmocka_unit_test(test_buffers),
        cmocka_unit_test(test_canary),  cmocka_unit_test(test_faults),   cmocka_unit_test(test_hang),
        cmocka_unit_test(test_refusal), cmocka_unit_test(test_cache),    cmocka_unit_test(test_chain),
        cmocka_unit_test(test_limits),
    };
    if (argc > 1 && strcmp(argv[1], "none") == 0) return cmocka_run_group_tests(none, NULL, NULL);
    struct clq_cl *cl = NULL;
    cache_root = argc > 1 ? argv[1] : "opencl-cache";
    have_device = clq_cl_open(&cl, 0, NULL, &err) == CLQ_OK;
    clq_cl_close(cl);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
