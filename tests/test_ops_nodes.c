/* SPDX-License-Identifier: Apache-2.0
 * ONNX's published node cases through the operator registry: every case of a directory whose sha1(name) is not
 * divisible by 5 is read, inferred and evaluated node by node, at 1 and 3 threads, and compared.
 *
 *     test_ops_nodes DIRECTORY MINIMUM [NAME]
 *     test_ops_nodes DIRECTORY --mutants ROUNDS [SEED]   each case with hostile numbers, shapes and absent inputs; whatever it
 *                                                        answers, nothing may be written outside of an output
 *
 * Fails when a case that runs gives a wrong answer, or when fewer than MINIMUM cases pass. Exits with 77 when the
 * directory is not there. A name prints that case alone. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "formats/onnx.h"
#include "ops/op.h"

enum verdict { PASS, FAIL, UNSUPPORTED };

enum { MAX_VALUES = 512, MAX_ARITY = 64, MOST_MUTANT = 1 << 20 };

struct values {
    int n;
    const char *name[MAX_VALUES];
    clq_tensor t[MAX_VALUES];
};

struct counts {
    int pass, fail, unsupported;
    int by_reason; /* distinct reasons */
    char reason[400][96];
    int count[400];
};

/* ---- SHA-1, only to choose the cases ---- */

static uint32_t rotate(uint32_t x, int n)
{
    return x << n | x >> (32 - n);
}

static void sha1_block(uint32_t *h, const uint8_t *p)
{
    uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 80; i++) w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t f = i < 20   ? (b & c) | (~b & d)
                     : i < 40 ? b ^ c ^ d
                     : i < 60 ? (b & c) | (b & d) | (c & d)
                              : b ^ c ^ d;
        uint32_t k = i < 20   ? 0x5a827999u
                     : i < 40 ? 0x6ed9eba1u
                     : i < 60 ? 0x8f1bbcdcu
                              : 0xca62c1d6u,
                 t = rotate(a, 5) + f + e + k + w[i];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = t;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
}

/* The digest as an integer modulo 5: 256 is 1 modulo 5, so the bytes add up. */
static int sha1_mod5(const char *text)
{
    uint32_t h[5] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u, 0xc3d2e1f0u};
    uint8_t block[512] = {0};
    size_t n = strlen(text), blocks = (n + 9 + 63) / 64;
    int sum = 0;
    if (blocks > 8) return 0;
    memcpy(block, text, n);
    block[n] = 0x80;
    for (int i = 0; i < 8; i++) block[blocks * 64 - 1 - i] = (uint8_t)((uint64_t)n * 8 >> (8 * i));
    for (size_t i = 0; i < blocks; i++) sha1_block(h, block + 64 * i);
    for (int i = 0; i < 20; i++) sum += (int)(h[i / 4] >> (8 * (i % 4)) & 255);
    return sum % 5;
}

/* ---- running one case ---- */

static clq_tensor *find(struct values *v, const char *name)
{
    for (int i = v->n - 1; i >= 0; i--)
        if (strcmp(v->name[i], name) == 0) return &v->t[i];
    return NULL;
}

static bool add(struct values *v, const char *name, const clq_tensor *t)
{
    if (v->n == MAX_VALUES) return false;
    v->name[v->n] = name;
    v->t[v->n++] = *t;
    return true;
}

static clq_tensor view(const struct clq_const *c)
{
    clq_tensor t = {.dtype = c->dtype, .rank = c->rank, .data = (void *)c->data};
    memcpy(t.shape, c->shape, sizeof t.shape);
    return t;
}

/* Older data files hold bfloat16 as uint16; the graph says what is meant. */
static clq_dtype declared(clq_dtype stored, clq_dtype graph)
{
    return stored == CLQ_DTYPE_U16 && graph == CLQ_DTYPE_BF16 ? graph : stored;
}

/* ---- Mutants ---- */
static uint64_t rng = 88172645463325252ull;

static uint64_t next(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng;
}

static int below(size_t n)
{
    return (int)(next() % n);
}

static int64_t hostile(void)
{
    static const int64_t values[] = {0, 1, 2, 3, -1, -2, 5, 8, 17, 255, 65536, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, 1ll << 31, 1ll << 40};
    return values[below(sizeof values / sizeof *values)];
}

static void mutate_attr(struct clq_attr *a)
{
    static const float reals[] = {0.0f, -1.0f, 1e30f, -1e30f, 0.5f, INFINITY, NAN};
    if (a->type == CLQ_ATTR_INT) a->i = hostile();
    else if (a->type == CLQ_ATTR_FLOAT) a->f = reals[below(7)];
    else if (a->type == CLQ_ATTR_INTS && a->n) ((int64_t *)(uintptr_t)a->ints)[below(a->n)] = hostile();
    else if (a->type == CLQ_ATTR_INTS || a->type == CLQ_ATTR_FLOATS) a->n = 0;
}

/* Another value, or a shape that needs no more data than there is. */
static void mutate_tensor(clq_tensor *t)
{
    size_t n;
    if (clq_tensor_elements(&n, t) != CLQ_OK || n == 0) return;
    size_t at = (size_t)below(n);
    if (below(3) && t->dtype == CLQ_DTYPE_S64) ((int64_t *)t->data)[at] = hostile();
    else if (below(3) && t->dtype == CLQ_DTYPE_S32) ((int32_t *)t->data)[at] = (int32_t)hostile();
    else if (below(3) && t->dtype == CLQ_DTYPE_F32) ((float *)t->data)[at] = (float)hostile();
    else if (t->rank > 0 && below(2)) t->shape[below((size_t)t->rank)] = below(3);
    else if (t->rank > 0) t->rank--;
    else t->rank = 1, t->shape[0] = 1;
    if (clq_tensor_elements(&at, t) != CLQ_OK || at > n) t->rank = 0;
}

static void mutate(struct clq_model *m, struct values *v)
{
    for (int k = 1 + below(2); k > 0; k--) {
        struct clq_node *n = &m->graph.nodes[below((size_t)m->graph.n_nodes)];
        if (n->n_attrs && below(2)) mutate_attr(&n->attrs[below((size_t)n->n_attrs)]);
        else if (n->n_inputs && below(6) == 0) n->inputs[below((size_t)n->n_inputs)] = "";
        else if (v->n) mutate_tensor(&v->t[below((size_t)v->n)]);
    }
}

static bool too_large(const struct clq_op_call *call)
{
    size_t n;
    for (int i = 0; i < call->n_out; i++)
        if (clq_tensor_elements(&n, &call->out[i]) != CLQ_OK || n > MOST_MUTANT) return true;
    return false;
}

/* Memory for an output, with 16 bytes after it that must survive. */
static bool allocate(struct clq_arena *arena, clq_tensor *t, size_t *bytes)
{
    if (clq_tensor_bytes(bytes, t) != CLQ_OK) return false;
    t->data = clq_arena_alloc(arena, *bytes + 16);
    if (t->data) memset(t->data, 0xcd, *bytes + 16);
    return t->data != NULL;
}

static bool canary_lives(const clq_tensor *t, size_t bytes)
{
    for (size_t i = 0; i < 16; i++)
        if (((const uint8_t *)t->data)[bytes + i] != 0xcd) return false;
    return true;
}

static clq_status run_node(const struct clq_model *m, const struct clq_node *n, struct values *v,
                           struct clq_arena *arena, int threads, bool mutant, struct clq_error *err)
{
    clq_tensor in[MAX_ARITY], out[MAX_ARITY];
    size_t bytes[MAX_ARITY];
    if (n->n_inputs > MAX_ARITY || n->n_outputs > MAX_ARITY)
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "too many inputs");
    memset(out, 0, sizeof out);
    for (int i = 0; i < n->n_inputs; i++) {
        in[i] = (clq_tensor){.dtype = CLQ_DTYPE_NONE};
        if (n->inputs[i][0] == 0) continue;
        const clq_tensor *t = find(v, n->inputs[i]);
        if (!t) return clq_fail(err, CLQ_ERR_FORMAT, "no value '%s'", n->inputs[i]);
        in[i] = *t;
    }
    int64_t opset = clq_model_opset(m, n->domain);
    const struct clq_op *op = clq_op_find(n->domain, n->op_type, opset);
    if (!op)
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "operator %s%s%s", n->domain, n->domain[0] ? "." : "", n->op_type);
    struct clq_op_call call = {.node = n,
                               .opset = opset,
                               .n_in = n->n_inputs,
                               .n_out = n->n_outputs,
                               .in = in,
                               .out = out,
                               .threads = threads,
                               .err = err};
    CLQ_TRY(clq_op_infer(op, &call));
    if (mutant && too_large(&call)) return clq_fail(err, CLQ_ERR_UNSUPPORTED, "a mutant of too many elements");
    for (int i = 0; i < n->n_outputs; i++)
        if (n->outputs[i][0] && !allocate(arena, &out[i], &bytes[i]))
            return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "no memory");
    CLQ_TRY(clq_op_eval(op, &call));
    for (int i = 0; i < n->n_outputs; i++) {
        if (!n->outputs[i][0]) continue;
        if (!canary_lives(&out[i], bytes[i]))
            return clq_fail(err, CLQ_ERR_INTERNAL, "node '%s' (%s): wrote past output %d", n->name, n->op_type, i);
        if (!add(v, n->outputs[i], &out[i])) return clq_fail(err, CLQ_ERR_UNSUPPORTED, "too many values");
    }
    return CLQ_OK;
}

static float half(uint16_t h)
{
    int e = h >> 10 & 31, m = h & 1023;
    float f = e == 31 ? (m ? NAN : INFINITY) : e ? ldexpf((float)(m + 1024), e - 25) : ldexpf((float)m, -24);
    return h >> 15 ? -f : f;
}

static double real_at(const clq_tensor *t, size_t i)
{
    if (t->dtype == CLQ_DTYPE_F64) return ((const double *)t->data)[i];
    if (t->dtype == CLQ_DTYPE_F16) return (double)half(((const uint16_t *)t->data)[i]);
    if (t->dtype == CLQ_DTYPE_BF16) {
        uint32_t u = (uint32_t)((const uint16_t *)t->data)[i] << 16;
        float f;
        memcpy(&f, &u, sizeof f);
        return (double)f;
    }
    return (double)((const float *)t->data)[i];
}

/* Integers are exact; floats to 1e-3 relative and 1e-5 absolute, NaN equal to NaN. */
static clq_status compare(const clq_tensor *got, const clq_tensor *want, const char *name, struct clq_error *err)
{
    bool shape = got->dtype == want->dtype && got->rank == want->rank;
    size_t n, bytes;
    for (int k = 0; shape && k < got->rank; k++) shape = got->shape[k] == want->shape[k];
    if (!shape)
        return clq_fail(err, CLQ_ERR_INTERNAL,
                        "output '%s' has type %s and rank %d, expected %s and %d, or its shape differs", name,
                        clq_dtype_name(got->dtype), got->rank, clq_dtype_name(want->dtype), want->rank);
    if (clq_tensor_elements(&n, got) != CLQ_OK || clq_tensor_bytes(&bytes, got) != CLQ_OK)
        return clq_fail(err, CLQ_ERR_INTERNAL, "bad shape");
    bool real = got->dtype == CLQ_DTYPE_F32 || got->dtype == CLQ_DTYPE_F64 || got->dtype == CLQ_DTYPE_F16 ||
                got->dtype == CLQ_DTYPE_BF16;
    if (!real) {
        for (size_t i = 0; i < bytes; i++)
            if (((const uint8_t *)got->data)[i] != ((const uint8_t *)want->data)[i])
                return clq_fail(err, CLQ_ERR_INTERNAL, "output '%s' differs at byte %zu: %d, expected %d", name, i,
                                ((const uint8_t *)got->data)[i], ((const uint8_t *)want->data)[i]);
        return CLQ_OK;
    }
    for (size_t i = 0; i < n; i++) {
        double a = real_at(got, i), b = real_at(want, i);
        bool same = (isnan(a) && isnan(b)) || a == b || fabs(a - b) <= 1e-5 + 1e-3 * fabs(b);
        if (!same)
            return clq_fail(err, CLQ_ERR_INTERNAL, "output '%s' differs at element %zu: %.9g, expected %.9g", name, i,
                            a, b);
    }
    return CLQ_OK;
}

static clq_status run_set(struct clq_model *m, const char *folder, struct clq_arena *arena, int threads, bool mutant,
                          struct clq_error *err)
{
    struct values *v = calloc(1, sizeof *v);
    clq_status st = v ? CLQ_OK : CLQ_ERR_OUT_OF_MEMORY;
    char path[4096];
    for (int i = 0; st == CLQ_OK && i < m->graph.n_consts; i++) {
        clq_tensor t = view(&m->graph.consts[i]);
        add(v, m->graph.consts[i].name, &t);
    }
    for (int i = 0; st == CLQ_OK && i < m->graph.n_inputs; i++) {
        struct clq_const c;
        snprintf(path, sizeof path, "%s/input_%d.pb", folder, i);
        st = clq_tensor_pb_read(&c, arena, path, err);
        if (st != CLQ_OK) break;
        clq_tensor t = view(&c);
        t.dtype = declared(t.dtype, m->graph.inputs[i].dtype);
        add(v, m->graph.inputs[i].name, &t);
    }
    if (st == CLQ_OK && mutant) mutate(m, v);
    for (int i = 0; st == CLQ_OK && i < m->graph.n_nodes; i++)
        st = run_node(m, &m->graph.nodes[i], v, arena, threads, mutant, err);
    for (int i = 0; st == CLQ_OK && !mutant && i < m->graph.n_outputs; i++) {
        struct clq_const c;
        snprintf(path, sizeof path, "%s/output_%d.pb", folder, i);
        st = clq_tensor_pb_read(&c, arena, path, err);
        if (st != CLQ_OK) break;
        clq_tensor want = view(&c), *got = find(v, m->graph.outputs[i].name);
        want.dtype = declared(want.dtype, m->graph.outputs[i].dtype);
        st = got ? compare(got, &want, m->graph.outputs[i].name, err)
                 : clq_fail(err, CLQ_ERR_FORMAT, "no output '%s'", m->graph.outputs[i].name);
    }
    free(v);
    return st;
}

static enum verdict run_case(const char *root, const char *name, struct clq_error *err)
{
    struct clq_model m = {0};
    char path[2048];
    snprintf(path, sizeof path, "%s/%s/model.onnx", root, name);
    clq_status st = clq_onnx_read(&m, path, err);
    for (int set = 0; st == CLQ_OK; set++) {
        struct stat info;
        struct clq_arena arena = {0};
        snprintf(path, sizeof path, "%s/%s/test_data_set_%d", root, name, set);
        if (stat(path, &info) != 0) {
            if (set == 0) st = clq_fail(err, CLQ_ERR_IO, "no data set");
            break;
        }
        st = run_set(&m, path, &arena, 1, false, err);
        if (st == CLQ_OK) st = run_set(&m, path, &arena, 3, false, err);
        clq_arena_free(&arena);
    }
    clq_model_release(&m);
    return st == CLQ_OK ? PASS : st == CLQ_ERR_UNSUPPORTED ? UNSUPPORTED : FAIL;
}

/* Returns false when something was written outside of an output. */
static bool run_mutant(const char *root, const char *name, int threads)
{
    struct clq_model m = {0};
    struct clq_arena arena = {0};
    struct clq_error err = {{0}};
    char path[2048];
    snprintf(path, sizeof path, "%s/%s/model.onnx", root, name);
    if (clq_onnx_read(&m, path, &err) != CLQ_OK) return true;
    snprintf(path, sizeof path, "%s/%s/test_data_set_0", root, name);
    clq_status st = run_set(&m, path, &arena, threads, true, &err);
    bool ok = st != CLQ_ERR_INTERNAL || !strstr(err.text, "wrote past");
    if (!ok) printf("FAIL %s: %s\n", name, err.text);
    clq_arena_free(&arena);
    clq_model_release(&m);
    return ok;
}

static int run_mutants(const char *root, char **names, int n, int rounds)
{
    int wrong = 0;
    for (int r = 0; r < rounds; r++)
        for (int i = 0; i < n; i++) {
            if (getenv("CLQ_TEST_TRACE")) fprintf(stderr, "%d %s\n", r, names[i]);
            wrong += !run_mutant(root, names[i], 1 + r % 3);
        }
    for (int i = 0; i < n; i++) free(names[i]);
    printf("%d mutants of %d cases, %d wrote where they must not\n", rounds * n, n, wrong);
    return wrong > 0;
}

/* Debian's older data truncates where the standard, and the data of onnx 1.22.0, round half to even. */
static bool superseded(const char *root, const char *name)
{
    static const char *const names[] = {"test_cast_FLOAT_to_BFLOAT16", "test_castlike_FLOAT_to_BFLOAT16",
                                        "test_castlike_FLOAT_to_BFLOAT16_expanded"};
    if (!strstr(root, "libonnx-testdata")) return false;
    for (int i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

/* Counts reasons without the name of the node or the file. */
static void note(struct counts *c, const char *text)
{
    const char *from = strncmp(text, "node '", 6) == 0 ? strstr(text, "' (")
                       : text[0] == '\''               ? strstr(text, "': ")
                                                       : NULL;
    from = from ? from + 2 : text;
    for (int i = 0; i < c->by_reason; i++)
        if (strncmp(c->reason[i], from, sizeof c->reason[i] - 1) == 0) {
            c->count[i]++;
            return;
        }
    if (c->by_reason == 400) return;
    snprintf(c->reason[c->by_reason], sizeof c->reason[0], "%.95s", from);
    c->count[c->by_reason++] = 1;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int main(int argc, char **argv)
{
    static struct counts c;
    char *names[4096];
    int n = 0;
    DIR *dir = argc >= 3 ? opendir(argv[1]) : NULL;
    bool mutants = argc >= 4 && strcmp(argv[2], "--mutants") == 0;
    if (mutants && argc >= 5) rng ^= strtoull(argv[4], NULL, 10) * 0x9e3779b97f4a7c15ull;
    if (!dir) {
        printf("skipped: the node cases are not there: %s\n", argc >= 2 ? argv[1] : "no directory given");
        return 77;
    }
    for (struct dirent *e; (e = readdir(dir)) != NULL && n < 4096;)
        if (strncmp(e->d_name, "test_", 5) == 0 && sha1_mod5(e->d_name) != 0 &&
            (mutants || argc < 4 || strcmp(argv[3], e->d_name) == 0))
            names[n++] = strdup(e->d_name);
    closedir(dir);
    qsort(names, (size_t)n, sizeof *names, by_name);
    if (mutants) return run_mutants(argv[1], names, n, atoi(argv[3]));
    for (int i = 0; i < n; i++) {
        struct clq_error err = {{0}};
        enum verdict v = run_case(argv[1], names[i], &err);
        if (v == FAIL && superseded(argv[1], names[i])) {
            v = UNSUPPORTED;
            clq_fail(&err, CLQ_ERR_UNSUPPORTED, "superseded by newer data: bfloat16 is truncated");
        }
        c.pass += v == PASS;
        c.fail += v == FAIL;
        c.unsupported += v == UNSUPPORTED;
        if (v == FAIL) printf("FAIL %s: %s\n", names[i], err.text);
        if (v == UNSUPPORTED) note(&c, err.text);
        if (v == UNSUPPORTED && argc >= 4) printf("UNSUPPORTED %s: %s\n", names[i], err.text);
        free(names[i]);
    }
    printf("%d cases: %d pass, %d fail, %d unsupported\n", n, c.pass, c.fail, c.unsupported);
    for (int i = 0; i < c.by_reason; i++) printf("  %3d unsupported: %s\n", c.count[i], c.reason[i]);
    if (argc >= 4) return c.fail > 0;
    if (c.pass < atoi(argv[2])) printf("FAIL: fewer than %s cases pass\n", argv[2]);
    return c.fail > 0 || c.pass < atoi(argv[2]);
}
