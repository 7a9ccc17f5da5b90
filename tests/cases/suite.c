/* SPDX-License-Identifier: Apache-2.0
 * The networks are made from their block tables, so that a layer stands here once. */
#include "tests/cases/suite.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1 << 20 };

/* ---- Products ---- */
static const struct clq_gemm_shape bars[] = {
    {512, 512, 512},  {1024, 1024, 1024}, {2048, 2048, 2048}, {128, 3072, 768}, {128, 768, 3072}, {3136, 64, 576}, {16, 4096, 4096},
    {1, 4096, 4096},  {64, 4096, 4096},   {196, 512, 4608},   {49, 1280, 320},  {3136, 144, 24},  {0, 0, 0},
};
static const struct clq_gemm_shape transformer[] = {
    {128, 384, 384},  {128, 1536, 384}, {128, 384, 1536}, {128, 768, 768},     {128, 3072, 768},    {128, 768, 3072},     {384, 768, 768},
    {384, 3072, 768}, {384, 768, 3072}, {1, 4096, 4096},  {128, 4096, 4096}, {1, 11008, 4096}, {128, 11008, 4096}, {128, 4096, 11008}, {0, 0, 0},
};
static const struct clq_gemm_shape rows[] = {
    {1, 1024, 1024}, {1, 4096, 4096}, {1, 11008, 4096}, {1, 4096, 11008}, {1, 8192, 28672}, {0, 0, 0},
};

const struct clq_gemm_shape *clq_suite_gemm(const char *name)
{
    return strcmp(name, "default") == 0 ? bars : strcmp(name, "transformer") == 0 ? transformer : NULL;
}

const struct clq_gemm_shape *clq_suite_gemv(void)
{
    return rows;
}

/* ---- Networks ---- */
struct list {
    struct clq_layer *out;
    size_t n;
    const char *network;
};

static size_t add(struct list *l, size_t h, size_t ci, size_t co, size_t kernel, size_t stride, size_t groups)
{
    /* "same" padding as TensorFlow counts it where the stride leaves a choice, which is what Lite0 has */
    const bool tensorflow = strcmp(l->network, "efficientnet-lite0") == 0;
    const size_t oh = (h + stride - 1) / stride, reach = (oh - 1) * stride + kernel, pad = reach > h ? reach - h : 0;
    struct clq_conv_shape s = {.h = h, .w = h, .ci = ci, .co = co, .kernel = kernel, .stride = stride, .groups = groups, .dilation = 1};
    s.pad_before = tensorflow ? pad / 2 : kernel / 2;
    s.pad_behind = tensorflow ? pad - pad / 2 : kernel / 2;
    for (size_t i = 0; i < l->n; i++) {
        if (strcmp(l->out[i].network, l->network) != 0 || memcmp(&l->out[i].shape, &s, sizeof s) != 0) continue;
        l->out[i].count++;
        return oh;
    }
    l->out[l->n++] = (struct clq_layer){l->network, s, 1};
    return oh;
}

struct block {
    size_t expand, kernel, stride, co, repeats;
};

static void inverted(struct list *l, const struct block *blocks, size_t n)
{
    size_t h = add(l, 224, 3, 32, 3, 2, 1), c = 32;
    for (size_t b = 0; b < n; b++)
        for (size_t r = 0; r < blocks[b].repeats; r++) {
            const size_t middle = c * blocks[b].expand;
            if (blocks[b].expand > 1) add(l, h, c, middle, 1, 1, 1);
            h = add(l, h, middle, middle, blocks[b].kernel, r ? 1 : blocks[b].stride, middle);
            add(l, h, middle, blocks[b].co, 1, 1, 1);
            c = blocks[b].co;
        }
    add(l, h, c, 1280, 1, 1, 1);
}

static void efficientnet_lite0(struct list *l)
{
    static const struct block blocks[] = {{1, 3, 1, 16, 1}, {6, 3, 2, 24, 2}, {6, 5, 2, 40, 2}, {6, 3, 2, 80, 3}, {6, 5, 1, 112, 3}, {6, 5, 2, 192, 4}, {6, 3, 1, 320, 1}};
    inverted(l, blocks, sizeof blocks / sizeof *blocks);
}

static void mobilenetv2(struct list *l)
{
    static const struct block blocks[] = {{1, 3, 1, 16, 1}, {6, 3, 2, 24, 2}, {6, 3, 2, 32, 3}, {6, 3, 2, 64, 4}, {6, 3, 1, 96, 3}, {6, 3, 2, 160, 3}, {6, 3, 1, 320, 1}};
    inverted(l, blocks, sizeof blocks / sizeof *blocks);
}

/* The stride is in the 3x3, as in torchvision's. */
static void resnet50(struct list *l)
{
    static const size_t repeats[] = {3, 4, 6, 3};
    add(l, 224, 3, 64, 7, 2, 1);
    size_t h = 56, c = 64;
    for (size_t stage = 0; stage < 4; stage++) {
        const size_t middle = (size_t)64 << stage;
        for (size_t r = 0; r < repeats[stage]; r++) {
            const size_t stride = r == 0 && stage > 0 ? 2 : 1;
            add(l, h, c, middle, 1, 1, 1);
            if (r == 0) add(l, h, c, 4 * middle, 1, stride, 1);
            h = add(l, h, middle, middle, 3, stride, 1);
            add(l, h, middle, 4 * middle, 1, 1, 1);
            c = 4 * middle;
        }
    }
}

size_t clq_suite_layers(struct clq_layer out[CLQ_MAX_LAYERS], const char *network)
{
    static const struct {
        const char *name;
        void (*make)(struct list *l);
    } networks[] = {{"efficientnet-lite0", efficientnet_lite0}, {"mobilenetv2", mobilenetv2}, {"resnet50", resnet50}};
    struct list l = {.out = out};
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++) {
        if (network && strcmp(network, networks[i].name) != 0) continue;
        l.network = networks[i].name;
        networks[i].make(&l);
    }
    return l.n;
}

/* ---- Arithmetic ---- */
size_t clq_conv_out(const struct clq_conv_shape *s, size_t size)
{
    const size_t padded = size + s->pad_before + s->pad_behind, reach = (s->kernel - 1) * s->dilation + 1;
    return padded < reach ? 0 : (padded - reach) / s->stride + 1;
}

bool clq_conv_depthwise(const struct clq_conv_shape *s)
{
    return s->groups > 1 && s->groups == s->ci && s->groups == s->co;
}

double clq_conv_operations(const struct clq_conv_shape *s)
{
    const double pixels = (double)clq_conv_out(s, s->h) * (double)clq_conv_out(s, s->w);
    return 2.0 * pixels * (double)s->co * (double)(s->ci / s->groups) * (double)(s->kernel * s->kernel);
}

/* ---- Text ---- */

/* Digits up to the end character, which is skipped; '\0' ends the text. */
static bool number(const char **text, size_t least, size_t *out, char end)
{
    char *behind;
    if (!isdigit((unsigned char)**text)) return false;
    const unsigned long long v = strtoull(*text, &behind, 10);
    if (v < least || v > MOST || *behind != end) return false;
    *out = (size_t)v;
    *text = behind + (end != '\0');
    return true;
}

bool clq_gemm_shape_parse(struct clq_gemm_shape *out, const char *text)
{
    return number(&text, 1, &out->m, 'x') && number(&text, 1, &out->n, 'x') && number(&text, 1, &out->k, '\0');
}

/* One ":k3". */
static bool field(struct clq_conv_shape *s, const char **text)
{
    static const char names[] = "ksqpgd";
    size_t *const to[] = {&s->kernel, &s->stride, &s->pad_behind, &s->pad_before, &s->groups, &s->dilation};
    const char letter = *(*text)++, *found = letter ? strchr(names, letter) : NULL;
    if (!found) return false;
    const char end = strchr(*text, ':') ? ':' : '\0';
    if (!number(text, letter == 'p' || letter == 'q' ? 0 : 1, to[found - names], end) || (end == ':' && **text == '\0')) return false;
    if (letter == 'p') s->pad_behind = s->pad_before;
    return true;
}

bool clq_conv_shape_parse(struct clq_conv_shape *s, const char *text)
{
    *s = (struct clq_conv_shape){.kernel = 1, .stride = 1, .groups = 1, .dilation = 1};
    if (!number(&text, 1, &s->h, 'x') || !number(&text, 1, &s->w, 'x') || !number(&text, 1, &s->ci, '-')) return false;
    const bool more = strchr(text, ':') != NULL;
    if (!number(&text, 1, &s->co, more ? ':' : '\0') || (more && *text == '\0')) return false;
    while (*text)
        if (!field(s, &text)) return false;
    return s->ci % s->groups == 0 && s->co % s->groups == 0 && clq_conv_out(s, s->h) > 0 && clq_conv_out(s, s->w) > 0;
}

void clq_gemm_shape_text(char text[CLQ_SHAPE_TEXT], const struct clq_gemm_shape *s)
{
    snprintf(text, CLQ_SHAPE_TEXT, "%zux%zux%zu", s->m, s->n, s->k);
}

void clq_conv_shape_text(char text[CLQ_SHAPE_TEXT], const struct clq_conv_shape *s)
{
    int n = snprintf(text, CLQ_SHAPE_TEXT, "%zux%zux%zu-%zu:k%zu:s%zu", s->h, s->w, s->ci, s->co, s->kernel, s->stride);
    const struct {
        bool shown;
        char letter;
        size_t value;
    } rest[] = {{s->pad_before > 0 || s->pad_behind > 0, 'p', s->pad_before},
                {s->pad_behind != s->pad_before, 'q', s->pad_behind},
                {s->groups > 1, 'g', s->groups},
                {s->dilation > 1, 'd', s->dilation}};
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++)
        if (rest[i].shown) n += snprintf(text + n, (size_t)(CLQ_SHAPE_TEXT - n), ":%c%zu", rest[i].letter, rest[i].value);
}
