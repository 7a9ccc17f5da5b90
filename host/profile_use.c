/* SPDX-License-Identifier: Apache-2.0
 * Between a search and the profile file: keys, signatures, and one locked read-change-write. */
#include "profile_use.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include <clquant/version.h>

#include "base/file.h"
#include "base/hash.h"
#include "kernel_hash.h"
#include "profile_keep.h"
#ifdef CLQ_HAVE_OPENCL
#include "device_cl.h"
#endif

enum { PASSES = 21, CONVERSIONS = 7 };
static const char OUTSIDE[] = "outside of all layers"; /* the signature of what they do not account for */

static clq_status no_memory(struct clq_error *err)
{
    return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
}

/* ---- The file ---- */
static void say(struct clq_profile_use *u, const char *text)
{
    if (u->said || !text[0]) return;
    u->said = true;
    clq_context_log(u->ctx, "%s", text);
}

clq_status clq_profile_use_start(struct clq_profile_use *u, struct clq_context *ctx, const char *path, bool remeasure, struct clq_error *err)
{
    char reason[600], name[128];
    *u = (struct clq_profile_use){.ctx = ctx, .path = path, .remeasure = remeasure};
    clq_context_cpu_name(name, sizeof name);
    snprintf(u->cpu_name, sizeof u->cpu_name, *name ? "cpu: %s" : "cpu%s", name);
    const int used = snprintf(u->isa, sizeof u->isa, "%.30s/%#x", clq_context_isa(ctx), ctx->cpu);
    if (ctx->tuned) snprintf(u->isa + used, sizeof u->isa - (size_t)used, "/tuned-%08x", ctx->tuned);
    u->cpu = u->device = (struct clq_profile_key){.device = u->cpu_name, .driver = "", .kernel_hash = CLQ_KERNEL_HASH, .clquant = CLQ_VERSION,
                                                  .isa = u->isa, .onednn = clq_dnnl_version(), .threads = ctx->threads};
    if (ctx->runtime) u->cpu.driver = u->device.driver = clq_context_runtime(ctx);
#ifdef CLQ_HAVE_OPENCL
    if (ctx->cl) {
        const struct clq_cl_info *d = clq_cl_describe(ctx->cl);
        snprintf(u->driver, sizeof u->driver, "%s %s %s", d->platform, d->driver, d->version);
        u->device.device = d->name;
        u->device.driver = u->driver;
    }
#endif
    if (!path) return CLQ_OK;
    CLQ_TRY(clq_profile_load(&u->profile, path, reason, sizeof reason, err));
    say(u, reason);
    return CLQ_OK;
}

static bool has_units(const struct clq_profile_environment *e)
{
    for (size_t i = 0; i < e->n_entries; i++)
        if (strcmp(e->entries[i].scheme, "f32") == 0) return true;
    return false;
}

clq_status clq_profile_use_other(struct clq_profile_use *u, struct clq_context *ctx, const char *path, const char *device, struct clq_error *err)
{
    struct clq_blob blob;
    const struct clq_profile_environment *found = NULL;
    int hits = 0;
    *u = (struct clq_profile_use){.ctx = ctx, .path = path, .other = true};
    CLQ_TRY(clq_file_read(&blob, path, CLQ_PROFILE_MAX_BYTES, err));
    clq_status st = clq_profile_parse(&u->profile, (const char *)blob.data, blob.bytes, path, err);
    free(blob.data);
    CLQ_TRY(st);
    for (size_t i = 0; i < u->profile.n_environments; i++) {
        const struct clq_profile_environment *e = &u->profile.environments[i];
        char text[900];
        snprintf(text, sizeof text, "%.300s, %.300s, %d threads", e->key.device, e->key.isa, e->key.threads);
        if (!has_units(e) || (device && !strstr(text, device))) continue;
        found = e;
        hits++;
    }
    if (hits != 1)
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "profile '%s': %d devices fit '%s', expected one; clquant profile show lists them", path, hits,
                        device ? device : "");
    u->cpu = u->device = found->key;
    return CLQ_OK;
}

void clq_profile_use_end(struct clq_profile_use *u)
{
    if (u) clq_profile_release(&u->profile);
}

/* Holds "<path>.lock" while the file is changed; -1 and one line where that cannot be had within two seconds. */
static int lock_file(struct clq_profile_use *u)
{
    char *path = NULL, text[600];
    if (asprintf(&path, "%s.lock", u->path) < 0) return -1;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    for (int tries = 0; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0; tries++) {
        if (errno == EINTR) continue;
        if (errno == EWOULDBLOCK && tries < 200) {
            nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
            continue;
        }
        int e = errno;
        close(fd);
        errno = e;
        fd = -1;
    }
    if (fd < 0) {
        snprintf(text, sizeof text, "measured times are not kept: '%.400s': %s", path, strerror(errno));
        say(u, text);
    }
    free(path);
    return fd;
}

clq_status clq_profile_keep(struct clq_profile_use *u, const struct clq_profile_addition *a, struct clq_error *err)
{
    struct clq_profile fresh;
    struct clq_error inner = {""};
    char reason[600], text[700];
    int lock = lock_file(u);
    if (lock < 0) return CLQ_OK;
    clq_status st = clq_profile_load(&fresh, u->path, reason, sizeof reason, err);
    if (st == CLQ_OK) {
        say(u, reason);
        clq_profile_release(&u->profile);
        clq_profile_move(&u->profile, &fresh);
        if (u->remeasure || !a->present(u, a->what)) {
            clq_profile_drop_stale(&u->profile, &u->cpu, NULL, 0);
            clq_profile_drop_stale(&u->profile, &u->device, NULL, 0);
            clq_status failed = a->put(u, a->what, &inner);
            if (failed == CLQ_OK) failed = clq_profile_save(&u->profile, u->path, &inner);
            snprintf(text, sizeof text, "measured times are not kept: %.600s", inner.text);
            if (failed == CLQ_ERR_OUT_OF_MEMORY) st = clq_fail(err, failed, "%s", inner.text);
            else if (failed != CLQ_OK) say(u, text);
        }
    }
    close(lock);
    return st;
}

/* ---- Names of the work ---- */
struct text {
    char data[3072];
    size_t n;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int n = vsnprintf(t->data + t->n, sizeof t->data - t->n, format, list);
    va_end(list);
    if (n > 0) t->n = t->n + (size_t)n < sizeof t->data ? t->n + (size_t)n : sizeof t->data - 1;
}

static void add_shape(struct text *t, int rank, const int64_t *shape)
{
    add(t, "(");
    for (int d = 0; d < rank; d++) add(t, "%s%lld", d ? "x" : "", (long long)shape[d]);
    add(t, ")");
}

static void add_attribute(struct text *t, const struct clq_attr *a)
{
    add(t, " %.60s=", a->name);
    switch (a->type) {
    case CLQ_ATTR_INT: add(t, "%lld", (long long)a->i); break;
    case CLQ_ATTR_FLOAT: add(t, "%a", (double)a->f); break;
    case CLQ_ATTR_STRING: add(t, "%.60s", a->s); break;
    case CLQ_ATTR_INTS:
        for (size_t i = 0; i < a->n; i++) add(t, "%s%lld", i ? "," : "", (long long)a->ints[i]);
        break;
    case CLQ_ATTR_FLOATS:
        for (size_t i = 0; i < a->n; i++) add(t, "%s%a", i ? "," : "", (double)a->floats[i]);
        break;
    default: break;
    }
}

/* Texts of a file are any bytes and any length; a key is short, printable ASCII, and still tells them apart. */
static const char *tidy(struct clq_arena *arena, const char *text, size_t most)
{
    char *out = clq_arena_alloc(arena, most + 20);
    size_t n = strlen(text);
    bool changed = n > most;
    if (!out) return NULL;
    for (size_t i = 0; i < n && i < most; i++) {
        bool plain = text[i] >= 0x20 && text[i] < 0x7f;
        out[i] = plain ? text[i] : '?';
        changed = changed || !plain;
    }
    out[n < most ? n : most] = 0;
    if (changed) snprintf(out + (n < most ? n : most), 20, "#%016" PRIx64, clq_fnv64(CLQ_FNV64_START, text, n));
    return out;
}

/* The units' value numbers are those of the first program; constants that were added since shift them. */
static const clq_tensor *tensor_in(const struct clq_program *p, const struct clq_unit_tensor *t)
{
    int at = t->value;
    for (int v = 0; !(at < p->n_values && p->values[at].name && strcmp(p->values[at].name, t->name) == 0) && v < p->n_values; v++)
        if (p->values[v].name && strcmp(p->values[v].name, t->name) == 0) at = v;
    return &p->values[at].t;
}

/* The operator with its attributes, the shapes of what it reads and writes, and the activation that is part of it. */
static const char *unit_signature(struct clq_arena *arena, const struct clq_search *s, const struct clq_program *p, int i)
{
    const struct clq_unit *u = &s->units.units[i];
    const struct clq_graph *g = &s->model.graph;
    const struct clq_node *n = &g->nodes[u->node];
    struct text t = {.n = 0};
    add(&t, "%.60s", n->op_type);
    for (int k = 0; k < n->n_attrs; k++) add_attribute(&t, &n->attrs[k]);
    add(&t, " f32");
    for (int k = 0; k < u->n_in; k++) {
        const clq_tensor *x = tensor_in(p, &s->units.tensors[u->in[k]]);
        add_shape(&t, x->rank, x->shape);
    }
    for (int k = 0; k < n->n_inputs; k++) {
        const struct clq_const *c = clq_graph_const(g, n->inputs[k]);
        if (!c) continue;
        add(&t, " const%d", k);
        add_shape(&t, c->rank, c->shape);
    }
    const clq_tensor *y = tensor_in(p, &s->units.tensors[u->out]);
    add(&t, " ->");
    add_shape(&t, y->rank, y->shape);
    if (u->act >= 0) add(&t, " %.60s", g->nodes[u->act].op_type);
    return tidy(arena, t.data, sizeof t.data);
}

/* All that times of one network are found by. */
struct names {
    struct clq_arena arena;
    struct clq_search *s;
    const char **unit, **unit_place, **tensor, **tensor_place;
};

/* The place of a unit names the whole network around it: its shape, and what of it can work on codes. */
static uint64_t network_hash(const struct clq_search *s, const struct names *w)
{
    uint64_t h = clq_fnv64(CLQ_FNV64_START, &s->target, sizeof s->target);
    for (int i = 0; i < s->units.n_units; i++) {
        const struct clq_unit *u = &s->units.units[i];
        h = clq_fnv64(h, w->unit[i], strlen(w->unit[i]) + 1);
        h = clq_fnv64(h, u->in, (size_t)u->n_in * sizeof *u->in);
        h = clq_fnv64(h, &u->out, sizeof u->out);
        h = clq_fnv64(h, &s->records[i].capable, sizeof(bool));
        for (int m = 2; m < s->n_modes; m++) h = clq_fnv64(h, &s->extra[m][i].capable, sizeof(bool));
    }
    return h;
}

static clq_status make_names(struct names *w, struct clq_search *s, const clq_tensor *inputs, struct clq_error *err)
{
    struct clq_program *p;
    size_t n = (size_t)s->units.n_units + 1, m = (size_t)s->units.n_tensors + 1;
    *w = (struct names){.s = s};
    CLQ_TRY(clq_runner_program(&p, &s->reference, inputs, err));
    w->unit = clq_arena_array(&w->arena, n, sizeof(char *));
    w->unit_place = clq_arena_array(&w->arena, n, sizeof(char *));
    w->tensor = clq_arena_array(&w->arena, m, sizeof(char *));
    w->tensor_place = clq_arena_array(&w->arena, m, sizeof(char *));
    bool ok = w->unit && w->unit_place && w->tensor && w->tensor_place;
    for (int i = 0; ok && i < s->units.n_units; i++) ok = (w->unit[i] = unit_signature(&w->arena, s, p, i)) != NULL;
    uint64_t h = ok ? network_hash(s, w) : 0;
    for (int i = 0; ok && i < s->units.n_units; i++) {
        const char *name = tidy(&w->arena, s->units.units[i].name, 200);
        ok = name && (w->unit_place[i] = clq_arena_printf(&w->arena, "%016" PRIx64 "/%d %s", h, i, name)) != NULL;
    }
    for (int t = 0; ok && t < s->units.n_tensors; t++) {
        const char *name = tidy(&w->arena, s->units.tensors[t].name, 200);
        w->tensor[t] = clq_arena_printf(&w->arena, "convert %zu", s->units.tensors[t].elements);
        ok = name && w->tensor[t] && (w->tensor_place[t] = clq_arena_printf(&w->arena, "%016" PRIx64 "/%d %s", h, t, name)) != NULL;
    }
    if (ok) return CLQ_OK;
    clq_arena_free(&w->arena);
    return no_memory(err);
}

/* ---- Times ---- */

/* Unit times: f32, int8, int8 on the device, other modes. */
enum { SLOTS = 3 + CLQ_MODES_MOST };
struct slot {
    const char *scheme;
    double *us, *spread;
    bool device;
};

static int unit_slots(struct slot out[SLOTS], const struct clq_profile_use *u, struct clq_search *s, int i)
{
    struct clq_unit_record *r = &s->records[i];
    int n = 0;
    out[n++] = (struct slot){"f32", &r->f32_us, &r->f32_spread, false};
    if (r->capable) out[n++] = (struct slot){"int8", &r->int8_us, &r->int8_spread, false};
    if (r->capable && u->ctx->cl) out[n++] = (struct slot){"int8", &r->device_us, &r->device_spread, true};
    for (int m = 2; m < s->n_modes; m++)
        if (s->extra[m][i].capable) out[n++] = (struct slot){s->modes[m].scheme.mode, &s->extra[m][i].us, &s->extra[m][i].spread, false};
    return n;
}

static const struct clq_profile_key *key_of(const struct clq_profile_use *u, bool device)
{
    return device ? &u->device : &u->cpu;
}

/* Reads everything; writes it into the search only where write is set. */
static bool read_times(const struct clq_profile_use *u, const struct names *w, bool write)
{
    static const char *const ways[2] = {"quantize", "dequantize"};
    struct clq_search *s = w->s;
    for (int i = 0; i < s->units.n_units; i++) {
        struct slot slots[SLOTS];
        int n = unit_slots(slots, u, s, i);
        for (int k = 0; k < n; k++) {
            const struct clq_profile_entry *e =
                clq_profile_find(&u->profile, key_of(u, slots[k].device), w->unit[i], w->unit_place[i], slots[k].scheme);
            if (!e) return false;
            if (!write) continue;
            *slots[k].us = e->time_us > CLQ_PROFILE_LEAST_US ? e->time_us : 0;
            *slots[k].spread = e->spread_us;
            s->records[i].timings = e->timings;
        }
    }
    const struct clq_profile_entry *outside = s->units.n_units ? clq_profile_find(&u->profile, &u->cpu, OUTSIDE, w->unit_place[0], "f32") : NULL;
    if (outside && write) s->outside_us = outside->time_us; /* profiles of earlier versions have none */
    for (int t = 0; t < s->units.n_tensors; t++)
        for (int d = 0; d < 2; d++) {
            const struct clq_profile_entry *e = clq_profile_find(&u->profile, &u->cpu, w->tensor[t], w->tensor_place[t], ways[d]);
            if (!e) return false;
            if (write) s->convert_us[d][t] = e->time_us > CLQ_PROFILE_LEAST_US ? e->time_us : 0;
        }
    return true;
}

static bool times_present(const struct clq_profile_use *u, void *what)
{
    return read_times(u, what, false);
}

static clq_status put_times(struct clq_profile_use *u, void *what, struct clq_error *err)
{
    const struct names *w = what;
    struct clq_search *s = w->s;
    for (int i = 0; i < s->units.n_units; i++) {
        struct slot slots[SLOTS];
        int n = unit_slots(slots, u, s, i);
        for (int k = 0; k < n; k++) {
            struct clq_profile_entry e = {w->unit[i], w->unit_place[i], slots[k].scheme, fmax(*slots[k].us, CLQ_PROFILE_LEAST_US), *slots[k].spread, PASSES};
            CLQ_TRY(clq_profile_put(&u->profile, key_of(u, slots[k].device), &e, err));
        }
    }
    if (s->units.n_units > 0 && s->outside_us >= CLQ_PROFILE_LEAST_US) {
        const struct clq_profile_entry e = {OUTSIDE, w->unit_place[0], "f32", s->outside_us, 0, PASSES};
        CLQ_TRY(clq_profile_put(&u->profile, &u->cpu, &e, err));
    }
    for (int t = 0; t < s->units.n_tensors; t++) {
        struct clq_profile_entry q = {w->tensor[t], w->tensor_place[t], "quantize", fmax(s->convert_us[0][t], CLQ_PROFILE_LEAST_US), 0, CONVERSIONS}, d = q;
        d.scheme = "dequantize";
        d.time_us = fmax(s->convert_us[1][t], CLQ_PROFILE_LEAST_US);
        CLQ_TRY(clq_profile_put(&u->profile, &u->cpu, &q, err));
        CLQ_TRY(clq_profile_put(&u->profile, &u->cpu, &d, err));
    }
    return CLQ_OK;
}

clq_status clq_profile_use_times(bool *found, struct clq_profile_use *u, struct clq_search *s, const clq_tensor *inputs, struct clq_error *err)
{
    struct names w;
    *found = false;
    if (!u || !u->path || u->remeasure || u->profile.n_environments == 0) return CLQ_OK;
    CLQ_TRY(make_names(&w, s, inputs, err));
    clq_status st = CLQ_OK;
    *found = read_times(u, &w, false);
    for (int d = 0; d < 2 && *found; d++) {
        s->convert_us[d] = clq_arena_array(&s->arena, (size_t)s->units.n_tensors + 1, sizeof(double));
        if (!s->convert_us[d]) st = no_memory(err);
    }
    if (st == CLQ_OK && *found) {
        read_times(u, &w, true);
        for (int i = 0; i < s->units.n_units; i++) /* in float they are not measured twice */
            if (!s->records[i].capable) s->records[i].int8_us = s->records[i].f32_us;
        clq_context_log(u->ctx, "the times of %d layers come from '%s'", s->units.n_units, u->path);
    }
    clq_arena_free(&w.arena);
    if (st == CLQ_OK && !*found && u->other)
        st = clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "profile '%s' has no times of this model for '%s': quantize it there with the same clquant and target",
                      u->path, u->cpu.device);
    return st;
}

clq_status clq_profile_keep_times(struct clq_profile_use *u, struct clq_search *s, const clq_tensor *inputs, struct clq_error *err)
{
    struct names w;
    if (!u || !u->path) return CLQ_OK;
    CLQ_TRY(make_names(&w, s, inputs, err));
    clq_status st = clq_profile_keep(u, &(struct clq_profile_addition){times_present, put_times, &w}, err);
    if (st == CLQ_OK && read_times(u, &w, false)) read_times(u, &w, true);
    clq_arena_free(&w.arena);
    return st;
}

clq_status clq_profile_network(uint64_t *out, struct clq_search *s, const clq_tensor *inputs, struct clq_error *err)
{
    struct names w;
    CLQ_TRY(make_names(&w, s, inputs, err));
    *out = network_hash(s, &w);
    clq_arena_free(&w.arena);
    return CLQ_OK;
}
