/* SPDX-License-Identifier: Apache-2.0
 * What tests and benches of kernels share: a seeded generator with biased inputs, buffers that end at a guard page, the
 * description of one case, and the list of CPU targets. It knows no test framework: it reports by return value and
 * text. */
#ifndef CLQ_TESTS_HARNESS_H
#define CLQ_TESTS_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

/* ---- random numbers: the same seed gives the same numbers everywhere ---- */
struct clq_rng {
    uint64_t state;
};

struct clq_rng clq_rng_make(uint64_t seed, const char *name, size_t index);
uint32_t clq_rng_u32(struct clq_rng *rng);
/* 0..n-1; n > 0. The bias of the remainder does not matter here. */
size_t clq_rng_below(struct clq_rng *rng, size_t n);
/* least..most, both ends included. */
int clq_rng_range(struct clq_rng *rng, int least, int most);
/* In [0, 1), 24 random bits. */
float clq_rng_unit(struct clq_rng *rng);

/* How floats are drawn. scale sets the size of the interesting range, about 256 * scale wide. */
enum clq_fill {
    CLQ_FILL_UNIFORM,   /* -200 * scale .. 200 * scale */
    CLQ_FILL_LOW,       /* all at or beyond the low end */
    CLQ_FILL_HIGH,      /* all at or beyond the high end */
    CLQ_FILL_HALFWAY,   /* (h + 0.5) * scale and up to 3 ulp beside it */
    CLQ_FILL_SUBNORMAL, /* subnormals, the smallest normals and signed zeros */
    CLQ_FILL_SPECIAL,   /* uniform, a third of it NaN (any payload and sign), infinities, signed zeros */
    CLQ_FILL_OUTLIER,   /* uniform with one value of 3e38 */
    CLQ_FILL_SPARSE,    /* 90 % zeros, the rest uniform and positive */
    CLQ_FILL_BITS,      /* random bit patterns */
    CLQ_FILL_COUNT
};

const char *clq_fill_name(enum clq_fill fill);
/* x needs no alignment. */
void clq_fill_f32(struct clq_rng *rng, float *x, size_t n, enum clq_fill fill, float scale);

/* How codes are drawn; the bytes serve uint8_t and int8_t alike. */
enum clq_fill_codes {
    CLQ_CODES_UNIFORM,
    CLQ_CODES_LOW,      /* all 0 */
    CLQ_CODES_HIGH,     /* all 255 (-1) */
    CLQ_CODES_EXTREME,  /* 0, 127, 128, 255 */
    CLQ_CODES_COUNT
};

const char *clq_codes_name(enum clq_fill_codes fill);
void clq_fill_codes(struct clq_rng *rng, void *x, size_t n, enum clq_fill_codes fill);

/* Draws scales, zero points and limits of every kind for the residual of a product with those codes. */
void clq_fill_residual(struct clq_rng *rng, struct clq_residual *r, enum clq_out out);

/* ---- buffers ---- */

/* bytes at data, then slack bytes of canary, then an unreadable page; canaries and an unreadable page before it too. */
struct clq_guarded {
    unsigned char *map, *data;
    size_t map_bytes, bytes, slack;
};

/* aligned: data lies at a multiple of 64 and slack is what that leaves; otherwise slack is as given. Exits the process
 * if memory cannot be had. */
struct clq_guarded clq_guard_alloc(size_t bytes, size_t slack, bool aligned);
bool clq_guard_intact(const struct clq_guarded *g);
void clq_guard_free(struct clq_guarded *g);

/* ---- cases ---- */

enum clq_role { CLQ_IN, CLQ_OUT, CLQ_INOUT };
enum clq_elem { CLQ_ELEM_U8, CLQ_ELEM_S8, CLQ_ELEM_F32, CLQ_ELEM_S32, CLQ_ELEM_U64 };
enum { CLQ_MAX_OPERANDS = 12, CLQ_MAX_WORK = 4, CLQ_SEED = 1 };

struct clq_operand {
    const char *name;
    enum clq_role role;
    enum clq_elem elem;
    struct clq_guarded memory;
    unsigned char *initial;  /* the bytes that prepare wrote */
    unsigned char *expected; /* the bytes that the reference left; not for CLQ_IN */
};

struct clq_family;

/* One set of parameters and inputs of an operation. */
struct clq_case {
    const struct clq_family *family;
    size_t index;
    uint64_t seed;
    struct clq_rng rng;
    char label[160];           /* "n=17 offset=1 halfway" */
    double bytes, operations;  /* moved and done by one run, for rates; 0 where it means nothing */
    void *args;                /* the operation's argument struct, pointers included */
    size_t n_operands;
    struct clq_operand operand[CLQ_MAX_OPERANDS];
    struct clq_guarded work[CLQ_MAX_WORK];
};

/* The description of one operation: cases/<stem>.c defines clq_family_<op>, cases/cases.def lists it. */
struct clq_family {
    const char *op; /* the row of ops.def that run calls */
    size_t n_tests, n_benches;
    /* Sets label, args and operands with their data, for a test index < n_tests or a bench index < n_benches. */
    void (*prepare)(struct clq_case *c, size_t index);
    void (*prepare_bench)(struct clq_case *c, size_t index);
    /* Or NULL: what happens once per target, such as plan and pack; not timed. */
    void (*setup)(struct clq_case *c, const struct clq_kernels *k);
    /* Must leave args as setup left them. */
    void (*run)(struct clq_case *c, const struct clq_kernels *k);
    /* Or NULL: writes the inputs of element `at` of the output operand as text, floats in hexadecimal. */
    void (*explain)(const struct clq_case *c, size_t operand, size_t at, char *text, size_t bytes);
};

extern const struct clq_family *const clq_families[]; /* ends with NULL */

/* For prepare. */
void clq_case_label(struct clq_case *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void *clq_case_args(struct clq_case *c, size_t bytes); /* zeroed; freed with the case */
/* Operands are numbered in the order of these calls. slack is the number of bytes between the end and the guard page,
 * so 0..3 give all alignments in turn. Outputs start with a pattern, never with zeros. */
void *clq_case_operand(struct clq_case *c, const char *name, enum clq_role role, enum clq_elem elem, size_t count,
                       size_t slack);
/* For setup: the work buffer of that number, 64-byte aligned, filled with a pattern and never compared. A second call
 * replaces it. */
void *clq_case_work(struct clq_case *c, size_t number, size_t bytes);

/* Life of a case: begin, then run on the reference and expect, then run and check on every other target, then end. */
void clq_case_begin(struct clq_case *c, const struct clq_family *family, size_t index, bool bench, uint64_t seed);
void clq_case_run(struct clq_case *c, const struct clq_kernels *k); /* restores the operands, then setup and run */
void clq_case_expect(struct clq_case *c);
/* False, with the reason in text: a canary or an input was written, or an output differs from the expected bytes. */
bool clq_case_check(const struct clq_case *c, const char *target, char *text, size_t bytes);
void clq_case_end(struct clq_case *c);

/* ---- targets ---- */

struct clq_target {
    const char *name;
    bool usable; /* this CPU has the features */
    struct clq_kernels kernels;
};

enum { CLQ_MAX_TARGETS = 10 };
/* One target per level of clq_cpu_levels, the reference first. */
size_t clq_targets(struct clq_target out[CLQ_MAX_TARGETS]);

/* The variant that the table holds for the op's name, or NULL for an unknown op. */
const char *clq_variant(const struct clq_kernels *k, const char *op);

#endif
