/* SPDX-License-Identifier: Apache-2.0
 * Finds and opens onnxruntime's library. Nothing of it is needed to build: it is loaded when asked for, its version is
 * checked, and a tiny model has to give the bits that are known before anything else is believed. */
#include "ort.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

#define NAME "onnxruntime"
#define VARIABLE "CLQUANT_ONNXRUNTIME"
static const char *const usual[] = {"libonnxruntime.so.1", "libonnxruntime.so"};

/* ---- The library ---- */

/* The bytes of an ELF header that say whom a file is made for: class, byte order, machine. */
static bool read_kind(unsigned char kind[4], const char *path)
{
    unsigned char h[20];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, h, sizeof h) : -1;
    if (fd >= 0) close(fd);
    if (n != (ssize_t)sizeof h || memcmp(h, "\177ELF", 4) != 0) return false;
    kind[0] = h[4];
    kind[1] = h[5];
    kind[2] = h[18];
    kind[3] = h[19];
    return true;
}

/* The loader's own message for a foreign machine says that the file does not exist. */
static clq_status check_kind(const char *path, struct clq_error *err)
{
    unsigned char own[4], its[4];
    if (access(path, F_OK) != 0) return clq_fail(err, CLQ_ERR_NO_DEVICE, NAME ": '%s': %s", path, strerror(errno));
    if (!read_kind(its, path)) return clq_fail(err, CLQ_ERR_NO_DEVICE, NAME ": '%s' is no shared library", path);
    if (read_kind(own, "/proc/self/exe") && memcmp(own, its, sizeof own) != 0)
        return clq_fail(err, CLQ_ERR_NO_DEVICE, NAME ": '%s' is made for another machine (ELF machine %d with %d bits, expected %d with %d bits)", path,
                        its[2] | its[3] << 8, its[0] * 32, own[2] | own[3] << 8, own[0] * 32);
    return CLQ_OK;
}

static clq_status load_path(struct clq_ort *o, const char *path, struct clq_error *err)
{
    if (strchr(path, '/')) CLQ_TRY(check_kind(path, err));
    o->library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE); /* its threads and destructors outlive any session */
    if (!o->library) {
        const char *why = dlerror();
        return clq_fail(err, CLQ_ERR_NO_DEVICE, NAME ": '%s' cannot be loaded: %s", path, why ? why : "unknown reason");
    }
    return CLQ_OK;
}

/* *given: the path, or NULL; then what was found. */
static clq_status load_library(struct clq_ort *o, const char **given, struct clq_error *err)
{
    const char *path = *given;
    const char *variable = getenv(VARIABLE);
    if (!path && variable && *variable) path = variable;
    *given = path;
    if (path) return load_path(o, path, err);
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        *given = usual[i];
        if (load_path(o, usual[i], err) == CLQ_OK) return CLQ_OK;
    }
    return clq_fail(err, CLQ_ERR_NO_DEVICE, NAME ": neither %s nor %s is found; give its path as " NAME ":PATH or in " VARIABLE, usual[0], usual[1]);
}

/* ---- The interface ---- */
static clq_status read_table(struct clq_ort *o, const char *path, struct clq_error *err)
{
    const struct ort_base *(*get_base)(void);
    void *symbol = dlsym(o->library, "OrtGetApiBase");
    if (!symbol) return clq_fail(err, CLQ_ERR_NO_DEVICE, NAME ": '%s' is another library: it has no OrtGetApiBase", path);
    memcpy(&get_base, &symbol, sizeof get_base);
    const struct ort_base *base = get_base();
    const char *version = base ? base->version() : NULL;
    int major = 0, minor = 0;
    if (!version || sscanf(version, "%d.%d", &major, &minor) != 2 || strlen(version) >= sizeof o->version)
        return clq_fail(err, CLQ_ERR_NO_DEVICE, NAME ": '%s' says no version", path);
    snprintf(o->version, sizeof o->version, "%s", version);
    const void *const *table = major == 1 && minor >= CLQ_ORT_API_VERSION ? base->table(CLQ_ORT_API_VERSION) : NULL;
    if (!table)
        return clq_fail(err, CLQ_ERR_NO_DEVICE, NAME ": '%s' is version %s, expected 1.%d or a later 1.x: it has no interface of version %d", path, version,
                        CLQ_ORT_API_VERSION, CLQ_ORT_API_VERSION);
#define TAKE(position, name, result, arguments) \
    if (!table[position]) return clq_fail(err, CLQ_ERR_NO_DEVICE, NAME ": '%s': entry %d of the interface is empty", path, position); \
    memcpy(&o->api.name, &table[position], sizeof o->api.name);
    CLQ_ORT_API(TAKE)
#undef TAKE
    return CLQ_OK;
}

/* The file that the library came from, so that another process opens the same one. */
static clq_status name_library(struct clq_ort *o, struct clq_error *err)
{
    void *symbol = dlsym(o->library, "OrtGetApiBase");
    Dl_info info;
    const char *path = symbol && dladdr(symbol, &info) && info.dli_fname ? info.dli_fname : usual[0];
    if (asprintf(&o->spec, NAME ":%s", path) < 0) o->spec = NULL;
    return o->spec ? CLQ_OK : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

/* ---- The self-test ---- */

/* y = x + c and z = Q(x) at scale 0.5, for numbers whose results are exact. */
static bool build_test(struct clq_model *m, const float *c)
{
    static const int64_t shape[] = {2, 3};
    const float scale = 0.5f;
    const uint8_t zero = 3;
    m->ir_version = 7;
    m->producer = "clquant";
    m->graph.name = "selftest";
    m->opsets = clq_arena_array(&m->arena, 1, sizeof *m->opsets);
    m->graph.inputs = clq_arena_array(&m->arena, 1, sizeof *m->graph.inputs);
    m->graph.outputs = clq_arena_array(&m->arena, 2, sizeof *m->graph.outputs);
    if (!m->opsets || !m->graph.inputs || !m->graph.outputs) return false;
    m->opsets[0] = (struct clq_opset){"", 13};
    m->n_opsets = 1;
    struct clq_value_info *x = &m->graph.inputs[0], *y = &m->graph.outputs[0], *z = &m->graph.outputs[1];
    *x = (struct clq_value_info){.name = "x", .dtype = CLQ_DTYPE_F32, .rank = 2, .shape = {shape[0], shape[1]}};
    for (int d = 0; d < CLQ_MAX_RANK; d++) x->symbol[d] = "";
    *y = *z = *x;
    y->name = "y";
    z->name = "z";
    z->dtype = CLQ_DTYPE_U8;
    m->graph.n_inputs = 1;
    m->graph.n_outputs = 2;
    bool ok = clq_graph_add_const(m, &m->graph, "c", CLQ_DTYPE_F32, 2, shape, c, 6 * sizeof *c, true) &&
              clq_graph_add_const(m, &m->graph, "s", CLQ_DTYPE_F32, 0, NULL, &scale, sizeof scale, true) &&
              clq_graph_add_const(m, &m->graph, "o", CLQ_DTYPE_U8, 0, NULL, &zero, 1, true);
    struct clq_node *n = ok ? clq_graph_add_node(m, &m->graph, "", "Add", "add") : NULL;
    ok = n && clq_node_add_input(m, n, "x") && clq_node_add_input(m, n, "c") && clq_node_add_output(m, n, "y");
    n = ok ? clq_graph_add_node(m, &m->graph, "", "QuantizeLinear", "q") : NULL;
    return n && clq_node_add_input(m, n, "x") && clq_node_add_input(m, n, "s") && clq_node_add_input(m, n, "o") && clq_node_add_output(m, n, "z");
}

static clq_status self_test(struct clq_ort *o, struct clq_error *err)
{
    static const float c[6] = {1, -2, 0.25f, 1024, 0, -0.5f}, want[6] = {2, 0, 3.25f, 1020, 0.5f, 99.5f};
    static const uint8_t codes[6] = {5, 7, 9, 0, 4, 203}; /* -4 / 0.5 + 3 is below 0; 1.5 / 0.5 and the like are whole */
    float x[6] = {1, 2, 3, -4, 0.5f, 100};
    clq_tensor in = {.dtype = CLQ_DTYPE_F32, .rank = 2, .shape = {2, 3}, .data = x}, out[2] = {{0}};
    struct clq_model m = {0};
    void *session = NULL;
    struct clq_error inner = {""};
    clq_status st = build_test(&m, c) ? CLQ_OK : clq_fail(&inner, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    if (st == CLQ_OK) st = clq_ort_open(&session, o, &m, NULL, &inner);
    if (st == CLQ_OK) st = clq_ort_run(session, &in, out, &inner);
    bool same = st == CLQ_OK && out[0].dtype == CLQ_DTYPE_F32 && out[0].rank == 2 && out[0].shape[0] == 2 && out[0].shape[1] == 3 &&
                out[1].dtype == CLQ_DTYPE_U8 && memcmp(out[0].data, want, sizeof want) == 0 && memcmp(out[1].data, codes, sizeof codes) == 0;
    clq_ort_close(session);
    clq_model_release(&m);
    if (same) return CLQ_OK;
    return clq_fail(err, CLQ_ERR_NO_DEVICE, NAME " %s is not used, its self-test failed: %s", o->version, st == CLQ_OK ? "wrong bits" : inner.text);
}

/* ---- The runtime ---- */
static clq_status open_session(void **session, struct clq_runtime *runtime, const struct clq_model *model, struct clq_error *err)
{
    return clq_ort_open(session, (struct clq_ort *)runtime, model, NULL, err);
}

static void free_runtime(struct clq_runtime *runtime)
{
    struct clq_ort *o = (struct clq_ort *)runtime;
    if (o->memory) o->api.release_memory(o->memory);
    if (o->env) o->api.release_env(o->env);
    if (o->library) dlclose(o->library);
    free(o->spec);
    free(o);
}

static clq_status start(struct clq_ort *o, const char *path, struct clq_error *err)
{
    enum { SEVERITY_ERROR = 3, ARENA = 1, DEFAULT = 0 };
    CLQ_TRY(load_library(o, &path, err));
    CLQ_TRY(read_table(o, path, err));
    CLQ_TRY(name_library(o, err));
    CLQ_TRY(clq_ort_check(o, o->api.create_env(SEVERITY_ERROR, "clquant", &o->env), CLQ_ERR_NO_DEVICE, "environment", err));
    CLQ_TRY(clq_ort_check(o, o->api.create_cpu_memory(ARENA, DEFAULT, &o->memory), CLQ_ERR_NO_DEVICE, "memory", err));
    return self_test(o, err);
}

clq_status clq_runtime_open(struct clq_runtime **out, const char *text, int threads, struct clq_error *err)
{
    size_t n = sizeof NAME - 1;
    const char *path = strncmp(text, NAME ":", n + 1) == 0 ? text + n + 1 : NULL;
    if ((!path && strcmp(text, NAME) != 0) || (path && !*path))
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "runtime '%s': expected clquant, " NAME " or " NAME ":PATH", text);
    struct clq_ort *o = calloc(1, sizeof *o);
    if (!o) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    o->threads = threads;
    o->base = (struct clq_runtime){.name = NAME, .version = o->version, .open = open_session, .run = clq_ort_run, .close = clq_ort_close,
                                   .profile = clq_ort_profile, .free = free_runtime};
    clq_status st = start(o, path, err);
    o->base.spec = o->spec;
    if (st == CLQ_OK) *out = &o->base;
    else free_runtime(&o->base);
    return st;
}

void clq_runtime_close(struct clq_runtime *runtime)
{
    if (runtime) runtime->free(runtime);
}
