/* SPDX-License-Identifier: Apache-2.0
 * NPY, a fixed grammar, never evaluated:
 *   "\x93NUMPY" | major u8 | minor u8 | length u16 (major 1) or u32 (major 2, 3) | length bytes of text | data
 *   text: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } in any order, blanks, newline */
#include "formats/npy.h"

#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "formats/bytes.h"

static const struct {
    char kind;
    char size;
    clq_dtype dtype;
} kinds[] = {
    {'f', '4', CLQ_DTYPE_F32}, {'f', '2', CLQ_DTYPE_F16}, {'f', '8', CLQ_DTYPE_F64}, {'i', '1', CLQ_DTYPE_S8},
    {'i', '2', CLQ_DTYPE_S16}, {'i', '4', CLQ_DTYPE_S32}, {'i', '8', CLQ_DTYPE_S64}, {'u', '1', CLQ_DTYPE_U8},
    {'u', '2', CLQ_DTYPE_U16}, {'u', '4', CLQ_DTYPE_U32}, {'u', '8', CLQ_DTYPE_U64}, {'b', '1', CLQ_DTYPE_BOOL},
};

struct parser {
    struct clq_bytes text;
    struct clq_npy npy;
    const char *what;
    struct clq_error *err;
};

static clq_status broken(struct parser *p, const char *expected)
{
    return clq_fail(p->err, CLQ_ERR_FORMAT, "%s: NPY header, byte %zu: expected %s", p->what, p->text.at, expected);
}

/* The next byte that is not blank, without taking it; 0 at the end. */
static char peek(struct parser *p)
{
    while (p->text.at < p->text.end && strchr(" \t\r\n", p->text.data[p->text.at]) && p->text.data[p->text.at]) p->text.at++;
    return p->text.at < p->text.end ? (char)p->text.data[p->text.at] : 0;
}

static bool accept(struct parser *p, char c)
{
    if (peek(p) != c) return false;
    p->text.at++;
    return true;
}

static bool accept_word(struct parser *p, const char *word)
{
    size_t n = strlen(word);
    peek(p);
    if (clq_bytes_left(&p->text) < n || memcmp(p->text.data + p->text.at, word, n) != 0) return false;
    p->text.at += n;
    return true;
}

/* A quoted text of at most 15 bytes without escapes. */
static bool quoted(struct parser *p, char out[16])
{
    char quote = peek(p);
    if (quote != '\'' && quote != '"') return false;
    p->text.at++;
    for (size_t i = 0; i < 16; i++) {
        uint8_t c;
        if (!clq_bytes_u8(&p->text, &c) || c < 0x20 || c == '\\') return false;
        out[i] = c == (uint8_t)quote ? 0 : (char)c;
        if (c == (uint8_t)quote) return true;
    }
    return false;
}

static clq_status parse_descr(struct parser *p)
{
    char d[16];
    if (peek(p) == '[')
        return clq_fail(p->err, CLQ_ERR_UNSUPPORTED, "%s: structured NPY arrays are not supported", p->what);
    if (!quoted(p, d)) return broken(p, "a quoted descr");
    if (!d[0] || !strchr("<>|=", d[0])) return broken(p, "a descr that starts with '<', '>', '|' or '='");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (d[1] == kinds[i].kind && d[2] == kinds[i].size && !d[3]) {
            if (d[0] == '|' && d[2] != '1') return broken(p, "a byte order for a type of several bytes");
            p->npy.tensor.dtype = kinds[i].dtype;
            p->npy.swapped = d[0] == '>' && d[2] != '1';
            return CLQ_OK;
        }
    if (d[1] == 'O')
        return clq_fail(p->err, CLQ_ERR_UNSUPPORTED, "%s: arrays of Python objects (descr '%s') are refused", p->what, d);
    return clq_fail(p->err, CLQ_ERR_UNSUPPORTED, "%s: NPY type '%s' is not supported", p->what, d);
}

static bool number(struct parser *p, int64_t *out)
{
    int64_t v = 0;
    char c = peek(p);
    if (c < '0' || c > '9') return false;
    size_t start = p->text.at;
    for (; p->text.at < p->text.end; p->text.at++) {
        c = (char)p->text.data[p->text.at];
        if (c < '0' || c > '9') break;
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, c - '0', &v)) return false;
    }
    *out = v;
    return p->text.data[start] != '0' || p->text.at == start + 1;
}

static clq_status parse_shape(struct parser *p)
{
    int rank = 0;
    bool comma = true;
    if (!accept(p, '(')) return broken(p, "a shape in parentheses");
    while (!accept(p, ')')) {
        int64_t d;
        if (!comma) return broken(p, "a comma between dimensions");
        if (!number(p, &d)) return broken(p, "a dimension from 0 to 2^63 - 1");
        if (rank == 32) return broken(p, "at most 32 dimensions");
        if (rank < CLQ_MAX_RANK) p->npy.tensor.shape[rank] = d;
        rank++;
        comma = accept(p, ',');
    }
    if (rank == 1 && !comma) return broken(p, "a comma after the only dimension");
    if (rank > CLQ_MAX_RANK)
        return clq_fail(p->err, CLQ_ERR_UNSUPPORTED, "%s: expected at most %d dimensions, found %d", p->what,
                        CLQ_MAX_RANK, rank);
    p->npy.tensor.rank = rank;
    return CLQ_OK;
}

static clq_status parse_member(struct parser *p, unsigned *seen)
{
    char key[16];
    static const char *const names[] = {"descr", "fortran_order", "shape"};
    if (!quoted(p, key)) return broken(p, "a quoted key");
    unsigned k = 0;
    while (k < 3 && strcmp(key, names[k]) != 0) k++;
    if (k == 3 || (*seen & 1u << k)) return broken(p, "each of descr, fortran_order and shape once");
    *seen |= 1u << k;
    if (!accept(p, ':')) return broken(p, "a colon");
    if (k == 0) return parse_descr(p);
    if (k == 2) return parse_shape(p);
    p->npy.fortran = accept_word(p, "True");
    return p->npy.fortran || accept_word(p, "False") ? CLQ_OK : broken(p, "True or False");
}

static clq_status parse_text(struct parser *p)
{
    unsigned seen = 0;
    bool comma = true;
    if (!accept(p, '{')) return broken(p, "'{'");
    while (!accept(p, '}')) {
        if (!comma) return broken(p, "a comma");
        CLQ_TRY(parse_member(p, &seen));
        comma = accept(p, ',');
    }
    if (seen != 7) return broken(p, "the keys descr, fortran_order and shape");
    if (peek(p) || p->text.at != p->text.end) return broken(p, "blanks after '}'");
    if (p->text.data[p->text.end - 1] != '\n') return broken(p, "a newline at the end");
    return CLQ_OK;
}

/* Finds the text behind magic, version and length. */
static clq_status open_header(struct parser *p, struct clq_bytes *c)
{
    const unsigned char *magic, *text;
    uint8_t major = 0, minor = 0;
    uint16_t short_length = 0;
    uint32_t length = 0;
    p->text = *c;
    if (!clq_bytes_take(c, &magic, 6) || memcmp(magic, "\x93NUMPY", 6) != 0) return broken(p, "the magic bytes of NPY");
    if (!clq_bytes_u8(c, &major) || !clq_bytes_u8(c, &minor) || major < 1 || major > 3 || minor != 0)
        return clq_fail(p->err, CLQ_ERR_FORMAT, "%s: NPY version: expected 1.0, 2.0 or 3.0, found %u.%u", p->what, major,
                        minor);
    bool ok = major == 1 ? clq_bytes_u16(c, &short_length) : clq_bytes_u32(c, &length);
    if (major == 1) length = short_length;
    if (!ok || length == 0 || length > 65536 || !clq_bytes_take(c, &text, length))
        return clq_fail(p->err, CLQ_ERR_FORMAT, "%s: NPY header length: expected 1 to 65536 inside the file, found %u",
                        p->what, length);
    p->npy.offset = c->at;
    p->text = clq_bytes_of(text, length);
    return CLQ_OK;
}

clq_status clq_npy_parse(struct clq_npy *out, const void *head, size_t n, uint64_t total, const char *what,
                         struct clq_error *err)
{
    struct parser p = {.what = what, .err = err};
    struct clq_bytes c = clq_bytes_of(head, n);
    size_t end;
    CLQ_TRY(open_header(&p, &c));
    CLQ_TRY(parse_text(&p));
    if (clq_tensor_bytes(&p.npy.bytes, &p.npy.tensor) != CLQ_OK || !clq_size_add(&end, p.npy.offset, p.npy.bytes))
        return clq_fail(err, CLQ_ERR_FORMAT, "%s: the NPY shape is larger than any memory", what);
    if (end != total)
        return clq_fail(err, CLQ_ERR_FORMAT, "%s: shape and type need %zu bytes with the header, found %llu", what, end,
                        (unsigned long long)total);
    if (p.npy.tensor.rank < 2) p.npy.fortran = false;
    *out = p.npy;
    return CLQ_OK;
}

void clq_npy_native(const struct clq_npy *npy, void *data, size_t elements)
{
    unsigned char *b = data;
    size_t size = clq_dtype_bits(npy->tensor.dtype) / 8;
    if (npy->tensor.dtype == CLQ_DTYPE_BOOL)
        for (size_t i = 0; i < elements; i++) b[i] = b[i] != 0;
    if (!npy->swapped) return;
    for (size_t i = 0; i < elements; i++, b += size)
        for (size_t k = 0; k < size / 2; k++) {
            unsigned char t = b[k];
            b[k] = b[size - 1 - k];
            b[size - 1 - k] = t;
        }
}

clq_status clq_npy_header(unsigned char out[256], size_t *n, const clq_tensor *tensor, struct clq_error *err)
{
    char text[256], shape[200] = "";
    size_t k = 0, at = 0;
    while (k < sizeof kinds / sizeof *kinds && kinds[k].dtype != tensor->dtype) k++;
    if (k == sizeof kinds / sizeof *kinds)
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "NPY has no type for %s", clq_dtype_name(tensor->dtype));
    for (int i = 0; i < tensor->rank; i++)
        at += (size_t)snprintf(shape + at, sizeof shape - at, "%s%lld%s", i ? ", " : "", (long long)tensor->shape[i],
                               tensor->rank == 1 ? "," : "");
    int used = snprintf(text, sizeof text, "{'descr': '%c%c%c', 'fortran_order': False, 'shape': (%s), }",
                        kinds[k].size == '1' ? '|' : '<', kinds[k].kind, kinds[k].size, shape);
    size_t whole = ((size_t)used + 11 + 63) / 64 * 64;
    if (whole > 256) return clq_fail(err, CLQ_ERR_INTERNAL, "NPY header: %zu bytes do not fit", whole);
    memset(out, ' ', whole);
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (unsigned char)((whole - 10) & 255);
    out[9] = (unsigned char)((whole - 10) >> 8);
    memcpy(out + 10, text, (size_t)used);
    out[whole - 1] = '\n';
    *n = whole;
    return CLQ_OK;
}
