/* SPDX-License-Identifier: Apache-2.0
 * Cases, guarded buffers and targets; the generator is in harness_fill.c. */
#include "tests/harness.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CANARY = 0xc5, UNWRITTEN = 0xa6, MARGIN = 256 };

static void *must(void *p)
{
    if (!p || p == MAP_FAILED) {
        fprintf(stderr, "harness: out of memory\n");
        exit(2);
    }
    return p;
}

struct clq_guarded clq_guard_alloc(size_t bytes, size_t slack, bool aligned)
{
    struct clq_guarded g = {0};
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t inner = (bytes + slack + MARGIN + page) / page * page;
    g.map_bytes = inner + 2 * page;
    g.map = must(mmap(NULL, g.map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (mprotect(g.map + page, inner, PROT_READ | PROT_WRITE) != 0)
        must(NULL);
    unsigned char *end = g.map + page + inner;
    g.data = end - slack - bytes;
    if (aligned)
        g.data -= (uintptr_t)g.data % 64;
    g.bytes = bytes;
    g.slack = (size_t)(end - g.data) - bytes;
    memset(g.data - MARGIN, CANARY, MARGIN);
    memset(g.data + bytes, CANARY, g.slack);
    return g;
}

bool clq_guard_intact(const struct clq_guarded *g)
{
    for (size_t i = 1; i <= MARGIN; i++) {
        if (*(g->data - i) != CANARY)
            return false;
    }
    for (size_t i = 0; i < g->slack; i++) {
        if (g->data[g->bytes + i] != CANARY)
            return false;
    }
    return true;
}

void clq_guard_free(struct clq_guarded *g)
{
    if (g->map)
        munmap(g->map, g->map_bytes);
    memset(g, 0, sizeof *g);
}

static size_t elem_bytes(enum clq_elem elem)
{
    switch (elem) {
    case CLQ_ELEM_F32:
    case CLQ_ELEM_S32:
        return 4;
    case CLQ_ELEM_U64:
        return 8;
    default:
        return 1;
    }
}

void clq_case_label(struct clq_case *c, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(c->label, sizeof c->label, format, list);
    va_end(list);
}

void *clq_case_args(struct clq_case *c, size_t bytes)
{
    c->args = must(calloc(1, bytes));
    return c->args;
}

void *clq_case_operand(struct clq_case *c, const char *name, enum clq_role role, enum clq_elem elem, size_t count,
                       size_t slack)
{
    if (c->n_operands == CLQ_MAX_OPERANDS) {
        fprintf(stderr, "harness: %s has more than %d operands\n", c->family->op, CLQ_MAX_OPERANDS);
        exit(2);
    }
    struct clq_operand *o = &c->operand[c->n_operands++];
    *o = (struct clq_operand){.name = name, .role = role, .elem = elem};
    o->memory = clq_guard_alloc(count * elem_bytes(elem), slack, false);
    memset(o->memory.data, UNWRITTEN, o->memory.bytes);
    return o->memory.data;
}

void *clq_case_work(struct clq_case *c, size_t number, size_t bytes)
{
    clq_guard_free(&c->work[number]);
    c->work[number] = clq_guard_alloc(bytes, 0, true);
    memset(c->work[number].data, UNWRITTEN, bytes);
    return c->work[number].data;
}

void clq_case_begin(struct clq_case *c, const struct clq_family *family, size_t index, bool bench, uint64_t seed)
{
    memset(c, 0, sizeof *c);
    c->family = family;
    c->index = index;
    c->seed = seed;
    c->rng = clq_rng_make(seed, family->op, index + (bench ? 1000000 : 0));
    (bench ? family->prepare_bench : family->prepare)(c, index);
    for (size_t i = 0; i < c->n_operands; i++) {
        struct clq_operand *o = &c->operand[i];
        o->initial = must(malloc(o->memory.bytes + 1));
        memcpy(o->initial, o->memory.data, o->memory.bytes);
    }
}

void clq_case_run(struct clq_case *c, const struct clq_kernels *k)
{
    for (size_t i = 0; i < c->n_operands; i++) {
        struct clq_operand *o = &c->operand[i];
        if (o->role != CLQ_IN)
            memcpy(o->memory.data, o->initial, o->memory.bytes);
    }
    if (c->family->setup)
        c->family->setup(c, k);
    c->family->run(c, k);
}

void clq_case_expect(struct clq_case *c)
{
    for (size_t i = 0; i < c->n_operands; i++) {
        struct clq_operand *o = &c->operand[i];
        if (o->role == CLQ_IN)
            continue;
        if (!o->expected)
            o->expected = must(malloc(o->memory.bytes + 1));
        memcpy(o->expected, o->memory.data, o->memory.bytes);
    }
}

static void print_elem(enum clq_elem elem, const unsigned char *p, char *text, size_t bytes)
{
    float f;
    int32_t s;
    uint64_t u;
    switch (elem) {
    case CLQ_ELEM_U8:
        snprintf(text, bytes, "%u", *p);
        break;
    case CLQ_ELEM_S8:
        snprintf(text, bytes, "%d", *(const int8_t *)p);
        break;
    case CLQ_ELEM_F32:
        memcpy(&f, p, sizeof f);
        snprintf(text, bytes, "%a", (double)f);
        break;
    case CLQ_ELEM_S32:
        memcpy(&s, p, sizeof s);
        snprintf(text, bytes, "%d", s);
        break;
    case CLQ_ELEM_U64:
        memcpy(&u, p, sizeof u);
        snprintf(text, bytes, "%llu", (unsigned long long)u);
        break;
    }
}

static bool check_bytes(const struct clq_case *c, size_t operand, const char *where, char *text, size_t bytes)
{
    const struct clq_operand *o = &c->operand[operand];
    const unsigned char *want = o->role == CLQ_IN ? o->initial : o->expected, *got = o->memory.data;
    if (memcmp(want, got, o->memory.bytes) == 0)
        return true;
    const size_t width = elem_bytes(o->elem), count = o->memory.bytes / width;
    size_t first = count, wrong = 0;
    for (size_t i = count; i-- > 0;) {
        if (memcmp(want + i * width, got + i * width, width) != 0) {
            first = i;
            wrong++;
        }
    }
    char expected[32], actual[32], input[160] = "";
    print_elem(o->elem, want + first * width, expected, sizeof expected);
    print_elem(o->elem, got + first * width, actual, sizeof actual);
    if (c->family->explain && o->role != CLQ_IN)
        c->family->explain(c, operand, first, input, sizeof input);
    snprintf(text, bytes, "%s: %s %s[%zu]%s%s: expected %s, actual %s; %zu of %zu differ", where,
             o->role == CLQ_IN ? "input was written:" : "output", o->name, first, input[0] ? " from " : "", input,
             expected, actual, wrong, count);
    return false;
}

bool clq_case_check(const struct clq_case *c, const char *target, char *text, size_t bytes)
{
    char where[320];
    snprintf(where, sizeof where, "%s/%s/%s seed=%llu case=%zu", c->family->op, target, c->label,
             (unsigned long long)c->seed, c->index);
    for (size_t i = 0; i < c->n_operands; i++) {
        if (!clq_guard_intact(&c->operand[i].memory)) {
            snprintf(text, bytes, "%s: bytes outside %s were written", where, c->operand[i].name);
            return false;
        }
    }
    for (size_t i = 0; i < CLQ_MAX_WORK; i++) {
        if (c->work[i].map && !clq_guard_intact(&c->work[i])) {
            snprintf(text, bytes, "%s: bytes outside work buffer %zu were written", where, i);
            return false;
        }
    }
    for (size_t i = 0; i < c->n_operands; i++) {
        if (!check_bytes(c, i, where, text, bytes))
            return false;
    }
    return true;
}

void clq_case_end(struct clq_case *c)
{
    for (size_t i = 0; i < c->n_operands; i++) {
        clq_guard_free(&c->operand[i].memory);
        free(c->operand[i].initial);
        free(c->operand[i].expected);
    }
    for (size_t i = 0; i < CLQ_MAX_WORK; i++)
        clq_guard_free(&c->work[i]);
    free(c->args);
    memset(c, 0, sizeof *c);
}

size_t clq_targets(struct clq_target out[CLQ_MAX_TARGETS])
{
    const unsigned here = clq_cpu_detect();
    size_t n = 0;
    for (const struct clq_cpu_level *level = clq_cpu_levels; level->name && n < CLQ_MAX_TARGETS; level++, n++) {
        out[n].name = level->name;
        out[n].usable = (level->mask & ~here) == 0;
        clq_kernels_init(&out[n].kernels, level->mask);
    }
    return n;
}

const char *clq_variant(const struct clq_kernels *k, const char *op)
{
#define CLQ_OP(name, args, stem)                                                                                       \
    if (strcmp(op, #name) == 0)                                                                                        \
        return k->variant.name;
#include "kernels/ops.def"
#undef CLQ_OP
    return NULL;
}

#define CLQ_FAMILY(op, stem) extern const struct clq_family clq_family_##op;
#include "tests/cases/cases.def"
#undef CLQ_FAMILY

const struct clq_family *const clq_families[] = {
#define CLQ_FAMILY(op, stem) &clq_family_##op,
#include "tests/cases/cases.def"
#undef CLQ_FAMILY
    NULL};
