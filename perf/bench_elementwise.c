/* SPDX-License-Identifier: Apache-2.0
 * bench elementwise: the kernels whose limit is memory, cut into the units that a program's steps have, beside copying or reading
 * as many bytes on as many threads. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "perf/rows.h"

enum { CHUNK = 16384, BAND = 64 };

/* One kind of work on n codes; what its arguments share is made once, a unit changes what it must. */
struct work {
    struct clq_kernels kernels;
    struct clq_pool *pool;
    int threads;
    size_t n, units;
    double read, written; /* bytes of one run */
    char shape[96];
    const char *kernel;
    uint8_t *x, *y, table[256];
    void (*body)(struct work *w, size_t begin, size_t end);
    struct clq_pool_args window;
    struct clq_transpose_args turn;
    size_t element; /* bytes; of turn */
    bool looked_up; /* a concatenation with tables */
};

static void body_of(void *state, size_t begin, size_t end, int thread)
{
    struct work *w = state;
    (void)thread;
    w->body(w, begin, end);
}

static void run_work(void *state)
{
    struct work *w = state;
    clq_pool_for(w->pool, w->threads, w->units, body_of, w);
}

/* ---- Arrays ---- */
static struct clq_binary_u8_args pair_of(const struct work *w, size_t begin, size_t end)
{
    const size_t at = begin * CHUNK, n = (end * CHUNK < w->n ? end * CHUNK : w->n) - at;
    return (struct clq_binary_u8_args){w->x + at, w->x + w->n + at, w->y + at, n, 0.05f, 0.03f, 0.06f, 128, 120, 115, 0, 255};
}

static void add(struct work *w, size_t begin, size_t end)
{
    struct clq_binary_u8_args a = pair_of(w, begin, end);
    w->kernels.add_u8(&a);
}

static void mul(struct work *w, size_t begin, size_t end)
{
    struct clq_binary_u8_args a = pair_of(w, begin, end);
    w->kernels.mul_u8(&a);
}

static void look_up(struct work *w, size_t begin, size_t end)
{
    const struct clq_binary_u8_args a = pair_of(w, begin, end);
    struct clq_lut_args l = {a.a, a.y, a.n, w->table};
    w->kernels.lut_u8(&l);
}

static void array(struct work *w, void (*body)(struct work *w, size_t begin, size_t end), int inputs)
{
    w->body = body;
    w->units = (w->n + CHUNK - 1) / CHUNK;
    w->read = (double)w->n * inputs;
    w->written = (double)w->n;
    snprintf(w->shape, sizeof w->shape, "%zu", w->n);
}

static void make_add(struct work *w) { array(w, add, 2); w->kernel = w->kernels.variant.add_u8; }
static void make_mul(struct work *w) { array(w, mul, 2); w->kernel = w->kernels.variant.mul_u8; }
static void make_table(struct work *w) { array(w, look_up, 1); w->kernel = w->kernels.variant.lut_u8; }

/* ---- Concatenation of 32 and 96 channels ---- */
static void concat(struct work *w, size_t begin, size_t end)
{
    static const size_t channels[] = {32, 96};
    const size_t all = channels[0] + channels[1], pixels = w->n / all, band = CHUNK / all;
    for (size_t u = begin; u < end; u++) {
        const size_t first = u * band, rows = pixels - first < band ? pixels - first : band;
        const uint8_t *x = w->x;
        for (size_t k = 0, at = 0; k < 2; at += channels[k++]) {
            struct clq_copy_rows_args c = {x + first * channels[k], w->y + first * all + at, rows, channels[k], channels[k], all, w->looked_up ? w->table : NULL};
            w->kernels.copy_rows_u8(&c);
            x += pixels * channels[k];
        }
    }
}

static void make_concat(struct work *w)
{
    const size_t pixels = w->n / 128;
    array(w, concat, 1);
    w->n = pixels * 128;
    w->units = (pixels + CHUNK / 128 - 1) / (CHUNK / 128);
    w->kernel = w->kernels.variant.copy_rows_u8;
    snprintf(w->shape, sizeof w->shape, "%zux(32+96)", pixels);
}

static void make_concat_table(struct work *w)
{
    w->looked_up = true;
    make_concat(w);
}

/* ---- Pooling ---- */
static void most(struct work *w, size_t begin, size_t end)
{
    struct clq_pool_args p = w->window;
    p.row_begin = begin;
    p.row_end = end;
    w->kernels.maxpool_u8(&p);
}

static void mean(struct work *w, size_t begin, size_t end)
{
    struct clq_pool_args p = w->window;
    p.row_begin = begin;
    p.row_end = end;
    w->kernels.avgpool_u8(&p);
}

/* batch images of side x side pixels; a window of k x k every s pixels, the padding of a layer that halves its image. */
static void pool(struct work *w, size_t batch, size_t side, size_t c, size_t k, size_t s)
{
    const size_t out = (side - 1) / s + 1 - (k == side ? side - 1 : 0);
    w->window = (struct clq_pool_args){.batch = batch, .h = side, .w = side, .c = c, .oh = out, .ow = out, .kh = k, .kw = k,
                                       .stride_h = s, .stride_w = s, .dilation_h = 1, .dilation_w = 1,
                                       .pad_top = k == side ? 0 : k / 2, .pad_left = k == side ? 0 : k / 2, .x = w->x, .y = w->y, .scale_x = 0.05f,
                                       .scale_y = 0.04f, .zero_point_x = 3, .zero_point_y = 7};
    w->units = batch * out;
    w->read = (double)batch * (double)(side * side * c);
    w->written = (double)batch * (double)(out * out * c);
    snprintf(w->shape, sizeof w->shape, "%zux%zux%zux%zu:k%zu:s%zu", batch, side, side, c, k, s);
}

static void halve(struct work *w)
{
    const size_t side = (size_t)sqrt((double)w->n / 64);
    pool(w, 1, side, 64, 3, 2);
}

static void make_maxpool(struct work *w) { halve(w); w->body = most; w->kernel = w->kernels.variant.maxpool_u8; }
static void make_avgpool(struct work *w) { halve(w); w->body = mean; w->kernel = w->kernels.variant.avgpool_u8; }

static void make_global(struct work *w)
{
    const size_t image = (size_t)7 * 7 * 1280;
    pool(w, w->n < image ? 1 : w->n / image, 7, 1280, 7, 1);
    w->body = mean;
    w->kernel = w->kernels.variant.avgpool_u8;
}

/* ---- Layouts: [rows][cols] -> [cols][rows] in bands across the shorter side ---- */
static void turn(struct work *w, size_t begin, size_t end)
{
    const struct clq_transpose_args *t = &w->turn;
    const bool tall = t->rows >= t->cols;
    const size_t first = begin * BAND, all = tall ? t->rows : t->cols, last = end * BAND < all ? end * BAND : all;
    const size_t r = tall ? first : 0, c = tall ? 0 : first;
    struct clq_transpose_args a = {w->x + (r * t->cols + c) * w->element, w->y + (c * t->rows + r) * w->element, tall ? last - first : t->rows,
                                   tall ? t->cols : last - first, t->cols, t->rows};
    if (w->element == 1) w->kernels.transpose_u8(&a);
    else w->kernels.transpose_u32(&a);
}

static void layout(struct work *w, size_t channels, bool to_last, size_t element)
{
    const size_t pixels = w->n / channels;
    w->body = turn;
    w->element = element;
    w->turn = (struct clq_transpose_args){.rows = to_last ? channels : pixels, .cols = to_last ? pixels : channels};
    w->units = (pixels + BAND - 1) / BAND;
    w->read = w->written = (double)(pixels * channels * element);
    w->kernel = element == 1 ? w->kernels.variant.transpose_u8 : w->kernels.variant.transpose_u32;
    snprintf(w->shape, sizeof w->shape, "%zux%zu", w->turn.rows, w->turn.cols);
}

static void make_nhwc_u8(struct work *w) { layout(w, 64, true, 1); }
static void make_nchw_u8(struct work *w) { layout(w, 64, false, 1); }
static void make_image_u8(struct work *w) { layout(w, 3, true, 1); }
static void make_nhwc_f32(struct work *w) { layout(w, 64, true, 4); }
static void make_nchw_f32(struct work *w) { layout(w, 64, false, 4); }
static void make_image_f32(struct work *w) { layout(w, 3, true, 4); }

static const struct type {
    const char *name;
    void (*make)(struct work *w);
    size_t x, y; /* bytes of memory per code, at most */
} types[] = {{"add", make_add, 2, 1}, {"mul", make_mul, 2, 1}, {"table", make_table, 1, 1}, {"concat", make_concat, 1, 1},
             {"concat-lut", make_concat_table, 1, 1}, {"maxpool", make_maxpool, 1, 1}, {"avgpool", make_avgpool, 1, 1},
             {"global", make_global, 1, 1}, {"nhwc-u8", make_nhwc_u8, 1, 1}, {"nchw-u8", make_nchw_u8, 1, 1},
             {"image-u8", make_image_u8, 1, 1}, {"nhwc-f32", make_nhwc_f32, 4, 4}, {"nchw-f32", make_nchw_f32, 4, 4},
             {"image-f32", make_image_f32, 4, 4}};
enum { N_TYPES = sizeof types / sizeof *types, LEAST = 65536 };

static int measure(struct clq_rows *rows, const struct clq_settings *s, const struct type *t, size_t n)
{
    struct work w = {.n = n, .threads = (int)s->threads};
    struct clq_row row = {.op = s->command, .type = t->name, .device = "cpu", .threads = w.threads};
    clq_kernels_init(&w.kernels, clq_cpu_parse(s->isa));
    w.x = aligned_alloc(64, n * t->x / 64 * 64 + 64);
    w.y = aligned_alloc(64, n * t->y / 64 * 64 + 64);
    w.pool = clq_pool_create(w.threads);
    const bool ready = w.x && w.y && w.pool;
    if (ready) {
        for (size_t i = 0; i < n * t->x; i++) w.x[i] = (uint8_t)(i * 2654435761u >> 16);
        for (size_t i = 0; i < 256; i++) w.table[i] = (uint8_t)(255 - i);
        memset(w.y, 0, n * t->y);
        t->make(&w);
        const struct clq_job job = {.run = run_work, .state = &w, .bytes = w.read + w.written, .copies = w.written > w.read / 8};
        clq_bench_run(&row.bench, &job, &(struct clq_bench_options){.seconds = s->seconds, .cores = w.threads, .level = ""});
        row.shape = w.shape;
        row.kernel = w.kernel;
        clq_rows_add(rows, &row);
    } else {
        fprintf(stderr, "clquant bench %s: %s of %zu codes: no memory\n", s->command, t->name, n);
    }
    clq_pool_free(w.pool);
    free(w.x);
    free(w.y);
    return ready ? 0 : 4;
}

static int measure_all(struct clq_rows *rows, const struct clq_settings *s, size_t n)
{
    bool found = false;
    int code = 0;
    for (size_t i = 0; i < N_TYPES && code == 0; i++) {
        if (s->type && strcmp(s->type, types[i].name) != 0) continue;
        found = true;
        code = measure(rows, s, &types[i], n);
    }
    return found ? code : clq_bench_usage(s->command, "no operation of that name", s->type);
}

static int bench_elementwise(const struct clq_settings *s)
{
    static const size_t sizes[] = {(size_t)1 << 18, (size_t)1 << 24};
    struct clq_rows rows;
    int code = 0;
    if (strcmp(s->device, "cpu") != 0) return clq_bench_usage(s->command, "it is timed on the CPU, got the device", s->device);
    clq_rows_start(&rows, s);
    for (size_t i = 0; i < 2 && s->n_words == 0 && code == 0; i++) code = measure_all(&rows, s, sizes[i]);
    for (size_t i = 0; i < s->n_words && code == 0; i++) {
        char *end;
        const double v = strtod(s->words[i], &end);
        if (*end || !(v >= LEAST) || v > 1e10) code = clq_bench_usage(s->command, "expected a number of codes from 65536 on, got", s->words[i]);
        else code = measure_all(&rows, s, (size_t)v);
    }
    if (code == 0) return clq_rows_end(&rows);
    clq_json_free(rows.list);
    return code;
}

const struct clq_bench_command clq_bench_elementwise = {
    .name = "elementwise",
    .options = " type threads csv ",
    .most_words = 256,
    .help = "elementwise [COUNT ...] [options]\n\n"
            "Times what moves about COUNT codes and computes little: median time, bytes read plus written per second, and the share of\n"
            "copying (or reading) as many bytes that was measured in turn with it on as many threads. Types:\n"
            "  add, mul                        sum and product of two quantized tensors\n"
            "  table                           a 256-entry table: any unary function, and requantization from 8 to 8 bits\n"
            "  concat, concat-lut              32 and 96 channels side by side, as they are and through a table\n"
            "  maxpool, avgpool, global        3x3 with stride 2 over 64 channels; means of 7x7 over 1280 channels\n"
            "  nhwc-u8, nchw-u8, image-u8      64 channels to NHWC and back, three planes to NHWC\n"
            "  nhwc-f32, nchw-f32, image-f32   the same with floats",
    .example = "  clquant bench elementwise --threads 1\n"
               "  clquant bench elementwise 1e8 --type table --csv\n",
    .run = bench_elementwise,
};
