/* SPDX-License-Identifier: Apache-2.0
 * The bytes, little-endian: 1, or 2 where a bias follows; scales [n][groups] in binary32; zero points [n][groups] of asymmetric
 * modes; a table's 16 values; the bias [n]; codes [n][k], packed from the lowest bit on. */
#include "plan_weights.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/size.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

enum { PLAIN = 1, BIASED = 2 };

static bool whole_size(size_t *out, const struct clq_group_weights *g, bool biased)
{
    size_t scales, codes, bits, bytes;
    return clq_size_mul(&scales, g->n, g->groups) && clq_size_mul(&bytes, scales, g->symmetric ? 4 : 5) && clq_size_mul(&codes, g->n, g->k) &&
           clq_size_mul(&bits, codes, (size_t)g->bits) && clq_size_add(&bits, bits, 7) && clq_size_add(&bytes, bytes, bits / 8) &&
           clq_size_add(&bytes, bytes, 1 + (g->has_table ? sizeof g->table : 0)) && clq_size_add(out, bytes, biased ? g->n * sizeof(float) : 0);
}

/* ---- Bytes ---- */
static unsigned char *put(unsigned char *to, const void *from, size_t n)
{
    if (n) memcpy(to, from, n);
    return to + n;
}

static const unsigned char *take(void *to, const unsigned char *from, size_t n)
{
    if (n) memcpy(to, from, n);
    return from + n;
}

static void pack(unsigned char *at, const struct clq_group_weights *g)
{
    size_t n = g->n * g->k, bits = (size_t)g->bits;
    *at = g->bias ? BIASED : PLAIN;
    at = put(at + 1, g->scale, g->n * g->groups * sizeof(float));
    if (!g->symmetric) at = put(at, g->zero, g->n * g->groups);
    if (g->has_table) at = put(at, g->table, sizeof g->table);
    if (g->bias) at = put(at, g->bias, g->n * sizeof(float));
    for (size_t i = 0; i < n; i++) at[i * bits / 8] = (unsigned char)(at[i * bits / 8] | g->codes[i] << i * bits % 8);
}

static const char *unpack(struct clq_group_weights *g, const unsigned char *at)
{
    size_t n = g->n * g->k, scales = g->n * g->groups, bits = (size_t)g->bits;
    at = take(g->scale, at, scales * sizeof(float));
    if (!g->symmetric) at = take(g->zero, at, scales);
    else if (scales) memset(g->zero, g->has_table ? 0 : 1 << (g->bits - 1), scales);
    if (g->has_table) at = take(g->table, at, sizeof g->table);
    if (g->bias) at = take(g->bias, at, g->n * sizeof(float));
    for (size_t i = 0; i < n; i++) g->codes[i] = (uint8_t)(at[i * bits / 8] >> i * bits % 8 & ((1 << bits) - 1));
    for (size_t i = 0; i < scales; i++) {
        if (!(g->scale[i] >= FLT_MIN && g->scale[i] <= FLT_MAX)) return "a scale is not positive and finite";
        if (g->zero[i] >> g->bits) return "a zero point is too large";
    }
    for (int i = 0; i < 16; i++)
        if (!isfinite(g->table[i])) return "a value of the table is not finite";
    for (size_t r = 0; g->bias && r < g->n; r++)
        if (!isfinite(g->bias[r])) return "a bias is not finite";
    return NULL;
}

/* ---- Text ---- */
const char *clq_plan_weights_text(struct clq_arena *arena, const struct clq_group_weights *g)
{
    size_t bytes, chars;
    if (!whole_size(&bytes, g, g->bias != NULL) || !clq_size_mul(&chars, bytes / 3 + 1, 4)) return NULL;
    unsigned char *raw = clq_arena_alloc(arena, bytes + 3); /* zeros behind: the last group of three */
    char *text = clq_arena_alloc(arena, chars + 1);
    if (!raw || !text) return NULL;
    pack(raw, g);
    size_t at = 0;
    for (size_t i = 0; i < bytes; i += 3) {
        unsigned v = (unsigned)raw[i] << 16 | (unsigned)raw[i + 1] << 8 | raw[i + 2];
        for (int k = 0; k < 4; k++) text[at++] = i + (size_t)k > bytes ? '=' : digits[v >> (18 - 6 * k) & 63];
    }
    return text;
}

static int digit_of(char c)
{
    const char *found = c ? strchr(digits, c) : NULL;
    return found ? (int)(found - digits) : -1;
}

/* The bytes of base64 text; how many, or SIZE_MAX where it is none. */
static size_t decode(unsigned char *to, const char *text, size_t chars)
{
    int8_t value[256];
    for (int c = 0; c < 256; c++) value[c] = (int8_t)digit_of((char)c);
    size_t pads = 0;
    while (pads < 2 && pads < chars && text[chars - 1 - pads] == '=') pads++;
    const size_t n = chars / 4 * 3 - pads;
    chars -= pads;
    uint32_t held = 0;
    for (size_t i = 0, at = 0; i < chars; i++) {
        int v = value[(unsigned char)text[i]];
        if (v < 0) return SIZE_MAX;
        held = held << 6 | (uint32_t)v;
        if (i % 4 != 0) to[at++] = (unsigned char)(held >> (6 - i % 4 * 2));
    }
    return n;
}

clq_status clq_plan_weights_read(struct clq_group_weights *g, struct clq_arena *arena, const struct clq_mode *mode, const char *text, const char *layer,
                                 struct clq_error *err)
{
    size_t chars = strlen(text), bytes = 0, wanted;
    unsigned char *raw = clq_arena_alloc(arena, chars + 4);
    if (!raw) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    if (chars % 4 == 0 && chars > 0) bytes = decode(raw, text, chars);
    const char *wrong = bytes == 0 || bytes == SIZE_MAX ? "it is no base64" : raw[0] != PLAIN && raw[0] != BIASED ? "it is of an unknown kind" : NULL;
    if (!wrong && (!whole_size(&wanted, g, raw[0] == BIASED) || bytes != wanted)) wrong = "its length does not fit the layer";
    if (wrong) return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "layer '%s': weights: %s", layer, wrong);
    if (raw[0] == BIASED && !(g->bias = clq_arena_array(arena, g->n + 1, sizeof *g->bias))) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    wrong = unpack(g, raw + 1);
    for (size_t i = 0; i < g->n * g->k && !wrong; i++)
        if (!clq_groups_code_known(g->codes[i], mode)) wrong = "a code is not of the mode";
    return wrong ? clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "layer '%s': weights: %s", layer, wrong) : CLQ_OK;
}
