/* SPDX-License-Identifier: Apache-2.0
 * One device and one case at a time. A case calls through the table with its argument struct; operands are found by
 * their pointers and, for resident runs, live on the device from the first run on. */
#include "perf/bench_opencl.h"

#ifdef CLQ_HAVE_OPENCL
#include <stdlib.h>
#include <string.h>

#include "device_cl.h"
#include "perf/probe.h"
#include "scheduler/stats.h"

enum { MOST_BUFFERS = 4 };

static struct {
    struct clq_cl *cl;
    struct clq_error error;
    const struct clq_case *c;
    bool resident, failed;
    struct clq_cl_weight *weight;
    struct clq_cl_buffer buffer[MOST_BUFFERS];
    const void *host[MOST_BUFFERS]; /* whose copy buffer is */
    int buffers;
    struct clq_cl_io io;
} d;

bool clq_bench_cl_open(int index, unsigned cpu, const char **why)
{
    struct clq_cl_options o = {.cpu = cpu};
    *why = d.error.text;
    return clq_cl_open(&d.cl, index, &o, &d.error) == CLQ_OK;
}

void clq_bench_cl_close(void)
{
    clq_cl_close(d.cl);
    d.cl = NULL;
}

const char *clq_bench_cl_name(void)
{
    return clq_cl_describe(d.cl)->name;
}

int clq_bench_cl_units(void)
{
    return (int)clq_cl_describe(d.cl)->compute_units;
}

bool clq_bench_cl_is_cpu(void)
{
    return clq_cl_describe(d.cl)->is_cpu;
}

/* ---- Families of an operation ---- */
static const struct {
    const char *op;
    enum clq_cl_family family[3];
    int n;
} families[] = {
    {"quantize_f32_u8", {CLQ_CL_QUANTIZE_U8}, 1},
    {"quantize_f32_s8", {CLQ_CL_QUANTIZE_S8}, 1},
    {"dequantize_u8_f32", {CLQ_CL_DEQUANTIZE_U8}, 1},
    {"dequantize_s8_f32", {CLQ_CL_DEQUANTIZE_S8}, 1},
    {"minmax_f32", {CLQ_CL_MINMAX}, 1},
    {"histogram_f32", {CLQ_CL_HISTOGRAM}, 1},
    {"add_u8", {CLQ_CL_ADD}, 1},
    {"mul_u8", {CLQ_CL_MUL}, 1},
    {"lut_u8", {CLQ_CL_LUT}, 1},
    {"maxpool_u8", {CLQ_CL_MAXPOOL}, 1},
    {"avgpool_u8", {CLQ_CL_AVGPOOL}, 1},
    {"gemm_u8s8", {CLQ_CL_GEMM}, 1},
    {"gemm_s8s8", {CLQ_CL_GEMM, CLQ_CL_FLIP}, 2},
    {"conv_u8s8", {CLQ_CL_CONV, CLQ_CL_GROUPED, CLQ_CL_DEPTHWISE}, 3},
};
enum { FAMILIES = sizeof families / sizeof *families };

double clq_bench_cl_build(const char *op)
{
    double begin = clq_probe_now();
    for (int i = 0; i < FAMILIES; i++) {
        if (strcmp(families[i].op, op) != 0) continue;
        for (int k = 0; k < families[i].n; k++)
            if (clq_cl_ready(d.cl, families[i].family[k], &d.error) != CLQ_OK) return -1;
        return clq_probe_now() - begin;
    }
    return -1;
}

const char *clq_bench_cl_variant(const char *op)
{
    for (int i = 0; i < FAMILIES; i++)
        if (strcmp(families[i].op, op) == 0) {
            const char *name = clq_cl_variant(d.cl, families[i].family[0]);
            return name ? name : "";
        }
    return "";
}

/* ---- Operands ---- */
static void must(clq_status st)
{
    if (st != CLQ_OK) d.failed = true;
}

static size_t bytes_of(const void *host)
{
    for (size_t i = 0; i < d.c->n_operands; i++)
        if (d.c->operand[i].memory.data == host) return d.c->operand[i].memory.bytes;
    return 0;
}

static const struct clq_cl_buffer *place(const void *host)
{
    if (!host || d.failed) return NULL;
    for (int i = 0; i < d.buffers; i++)
        if (d.host[i] == host) return &d.buffer[i];
    size_t bytes = bytes_of(host);
    if (bytes == 0 || d.buffers == MOST_BUFFERS) {
        d.failed = true;
        return NULL;
    }
    struct clq_cl_buffer *b = &d.buffer[d.buffers];
    must(clq_cl_alloc(b, d.cl, bytes, &d.error));
    if (d.failed) return NULL;
    d.host[d.buffers++] = host;
    must(clq_cl_upload(d.cl, b, host, bytes, &d.error));
    return b;
}

static const struct clq_cl_io *operands(const void *x, const void *b, const void *y)
{
    if (!d.resident) return NULL;
    d.io = (struct clq_cl_io){place(x), place(b), place(y)};
    return &d.io;
}

/* ---- The table ---- */
static void run_quantize_u8(struct clq_quantize_args *a) { must(clq_cl_quantize(d.cl, false, a, operands(a->x, NULL, a->y), &d.error)); }
static void run_quantize_s8(struct clq_quantize_args *a) { must(clq_cl_quantize(d.cl, true, a, operands(a->x, NULL, a->y), &d.error)); }
static void run_dequantize_u8(struct clq_dequantize_args *a) { must(clq_cl_dequantize(d.cl, false, a, operands(a->x, NULL, a->y), &d.error)); }
static void run_dequantize_s8(struct clq_dequantize_args *a) { must(clq_cl_dequantize(d.cl, true, a, operands(a->x, NULL, a->y), &d.error)); }
static void run_minmax(struct clq_minmax_args *a) { must(clq_cl_minmax(d.cl, a, operands(a->x, NULL, NULL), &d.error)); }
static void run_histogram(struct clq_histogram_args *a) { must(clq_cl_histogram(d.cl, a, operands(a->x, NULL, NULL), &d.error)); }
static void run_add(struct clq_binary_u8_args *a) { must(clq_cl_add(d.cl, a, operands(a->a, a->b, a->y), &d.error)); }
static void run_mul(struct clq_binary_u8_args *a) { must(clq_cl_mul(d.cl, a, operands(a->a, a->b, a->y), &d.error)); }
static void run_lut(struct clq_lut_args *a) { must(clq_cl_lut(d.cl, a, operands(a->x, NULL, a->y), &d.error)); }
static void run_maxpool(struct clq_pool_args *a) { must(clq_cl_maxpool(d.cl, a, operands(a->x, NULL, a->y), &d.error)); }
static void run_avgpool(struct clq_pool_args *a) { must(clq_cl_avgpool(d.cl, a, operands(a->x, NULL, a->y), &d.error)); }

static void plan_gemm(struct clq_gemm_args *a)
{
    a->packed_bytes = a->scratch_bytes = 0;
    a->units = 1;
    if (!clq_cl_supports_gemm(d.cl, a)) d.failed = true;
}

static void pack_gemm_u8(struct clq_gemm_args *a)
{
    if (!d.failed) must(clq_cl_prepare_gemm(&d.weight, d.cl, false, a, &d.error));
}

static void pack_gemm_s8(struct clq_gemm_args *a)
{
    if (!d.failed) must(clq_cl_prepare_gemm(&d.weight, d.cl, true, a, &d.error));
}

static void run_gemm(struct clq_gemm_args *a)
{
    const struct clq_cl_io *io = operands(a->a, NULL, a->y);
    if (!d.failed) must(clq_cl_gemm(d.cl, d.weight, a, io, &d.error));
}

static void plan_conv(struct clq_conv_args *a)
{
    a->packed_bytes = a->scratch_bytes = 0;
    a->units = 1;
    if (!clq_cl_supports_conv(d.cl, a)) d.failed = true;
}

static void pack_conv(struct clq_conv_args *a)
{
    if (!d.failed) must(clq_cl_prepare_conv(&d.weight, d.cl, a, &d.error));
}

static void run_conv(struct clq_conv_args *a)
{
    const struct clq_cl_io *io = operands(a->x, NULL, a->y);
    if (!d.failed) must(clq_cl_conv(d.cl, d.weight, a, io, &d.error));
}

void clq_bench_cl_table(struct clq_kernels *k, const struct clq_case *c, bool resident)
{
    d.c = c;
    d.resident = resident;
    d.failed = false;
    clq_kernels_init(k, 0);
    k->quantize_f32_u8 = run_quantize_u8;
    k->quantize_f32_s8 = run_quantize_s8;
    k->dequantize_u8_f32 = run_dequantize_u8;
    k->dequantize_s8_f32 = run_dequantize_s8;
    k->minmax_f32 = run_minmax;
    k->histogram_f32 = run_histogram;
    k->gemm_u8s8_plan = k->gemm_s8s8_plan = plan_gemm;
    k->gemm_u8s8_pack = pack_gemm_u8;
    k->gemm_s8s8_pack = pack_gemm_s8;
    k->gemm_u8s8 = k->gemm_s8s8 = run_gemm;
    k->conv_u8s8_plan = plan_conv;
    k->conv_u8s8_pack = pack_conv;
    k->conv_u8s8 = run_conv;
    k->add_u8 = run_add;
    k->mul_u8 = run_mul;
    k->lut_u8 = run_lut;
    k->maxpool_u8 = run_maxpool;
    k->avgpool_u8 = run_avgpool;
}

void clq_bench_cl_finish(void)
{
    if (!d.failed) must(clq_cl_finish(d.cl, &d.error));
}

bool clq_bench_cl_done(void)
{
    for (int i = 0; i < d.buffers; i++) clq_cl_release(d.cl, &d.buffer[i]);
    if (d.weight) clq_cl_weight_free(d.cl, d.weight);
    d.weight = NULL;
    d.buffers = 0;
    return !d.failed && !clq_cl_dead(d.cl);
}

/* ---- Rates of the device ---- */
struct transfer {
    struct clq_cl_buffer buffer;
    struct clq_cl_io io;
    struct clq_minmax_args all, few;
    void *host;
    size_t bytes;
};

static clq_status move(struct transfer *t, int what)
{
    switch (what) {
    case 0: CLQ_TRY(clq_cl_upload(d.cl, &t->buffer, t->host, t->bytes, &d.error)); break;
    case 1: CLQ_TRY(clq_cl_download(t->host, d.cl, &t->buffer, t->bytes, &d.error)); break;
    default: CLQ_TRY(clq_cl_minmax(d.cl, what == 2 ? &t->all : &t->few, &t->io, &d.error)); break;
    }
    return clq_cl_finish(d.cl, &d.error);
}

static clq_status measure_rates(double rates[4], struct transfer *t, double seconds)
{
    enum { MOST = 101 };
    double v[MOST];
    CLQ_TRY(clq_cl_ready(d.cl, CLQ_CL_MINMAX, &d.error));
    CLQ_TRY(clq_cl_alloc(&t->buffer, d.cl, t->bytes, &d.error));
    t->io.x = &t->buffer;
    for (int what = 0; what < 4; what++) {
        size_t n = 0;
        CLQ_TRY(move(t, what));
        for (double begin = clq_probe_now(); n < MOST && (n < 3 || clq_probe_now() - begin < seconds); n++) {
            v[n] = clq_probe_now();
            CLQ_TRY(move(t, what));
            v[n] = clq_probe_now() - v[n];
        }
        rates[what] = what == 3 ? clq_median(v, n) : (double)t->bytes / clq_median(v, n);
    }
    return CLQ_OK;
}

bool clq_bench_cl_rates(double rates[4], size_t bytes, double seconds, const char **why)
{
    struct transfer t = {.host = calloc(bytes, 1), .bytes = bytes};
    t.all = (struct clq_minmax_args){.x = t.host, .n = bytes / sizeof(float)};
    t.few = (struct clq_minmax_args){.x = t.host, .n = 16};
    *why = t.host ? d.error.text : "out of memory";
    const clq_status st = t.host ? measure_rates(rates, &t, seconds) : CLQ_ERR_OUT_OF_MEMORY;
    clq_cl_release(d.cl, &t.buffer);
    free(t.host);
    return st == CLQ_OK;
}
#else
bool clq_bench_cl_open(int index, unsigned cpu, const char **why)
{
    (void)index;
    (void)cpu;
    *why = "this clquant was built without OpenCL";
    return false;
}

void clq_bench_cl_close(void) {}

bool clq_bench_cl_rates(double rates[4], size_t bytes, double seconds, const char **why)
{
    (void)rates;
    (void)bytes;
    (void)seconds;
    *why = "this clquant was built without OpenCL";
    return false;
}

const char *clq_bench_cl_name(void) { return ""; }
int clq_bench_cl_units(void) { return 0; }
bool clq_bench_cl_is_cpu(void) { return false; }

double clq_bench_cl_build(const char *op)
{
    (void)op;
    return -1;
}

const char *clq_bench_cl_variant(const char *op)
{
    (void)op;
    return "";
}

void clq_bench_cl_table(struct clq_kernels *out, const struct clq_case *c, bool resident)
{
    (void)c;
    (void)resident;
    clq_kernels_init(out, 0);
}

void clq_bench_cl_finish(void) {}
bool clq_bench_cl_done(void) { return false; }
#endif
