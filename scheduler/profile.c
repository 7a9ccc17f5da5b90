/* SPDX-License-Identifier: Apache-2.0
 * Measurement profiles: see profile.h. */
#include "scheduler/profile.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/size.h"
#include "scheduler/record.h"

typedef struct clq_profile_entry entry;
static const struct clq_field entry_rows[] = {
    {"signature", CLQ_FIELD_TEXT, .offset = offsetof(entry, signature), .lo = 1, .hi = 4096},
    {"place", CLQ_FIELD_TEXT, .offset = offsetof(entry, place), .lo = 0, .hi = 65536},
    {"scheme", CLQ_FIELD_TEXT, .offset = offsetof(entry, scheme), .lo = 0, .hi = 256},
    {"time_us", CLQ_FIELD_REAL, .offset = offsetof(entry, time_us), .lo = 1e-6, .hi = 1e15},
    {"spread_us", CLQ_FIELD_REAL, .offset = offsetof(entry, spread_us), .lo = 0, .hi = 1e15},
    {"timings", CLQ_FIELD_INT, .offset = offsetof(entry, timings), .lo = 1, .hi = 1 << 30},
};
static const struct clq_record_table entry_table = {sizeof(entry), sizeof entry_rows / sizeof *entry_rows, entry_rows};

typedef struct clq_profile_environment environment;
#define KEY_TEXT(member) \
    {#member, CLQ_FIELD_TEXT, .offset = offsetof(environment, key) + offsetof(struct clq_profile_key, member), .lo = 0, .hi = 1024}
static const struct clq_field environment_rows[] = {
    KEY_TEXT(device),
    KEY_TEXT(driver),
    KEY_TEXT(kernel_hash),
    KEY_TEXT(clquant),
    KEY_TEXT(isa),
    KEY_TEXT(onednn),
    {"threads", CLQ_FIELD_INT, .offset = offsetof(environment, key) + offsetof(struct clq_profile_key, threads), .lo = 0, .hi = 4096},
    {"entries", CLQ_FIELD_RECORDS, .offset = offsetof(environment, entries), .count_offset = offsetof(environment, n_entries),
     .hi = 1000000, .table = &entry_table},
};
static const struct clq_record_table environment_table = {sizeof(environment), sizeof environment_rows / sizeof *environment_rows,
                                                          environment_rows};

struct document {
    const char *kind;
    int version;
    environment *environments;
    size_t n_environments;
};
static const struct clq_field document_rows[] = {
    {"kind", CLQ_FIELD_TEXT, .offset = offsetof(struct document, kind), .lo = 1, .hi = 64},
    {"version", CLQ_FIELD_INT, .offset = offsetof(struct document, version), .lo = CLQ_PROFILE_VERSION, .hi = CLQ_PROFILE_VERSION},
    {"environments", CLQ_FIELD_RECORDS, .offset = offsetof(struct document, environments),
     .count_offset = offsetof(struct document, n_environments), .hi = 100000, .table = &environment_table},
};
static const struct clq_record_table document_table = {sizeof(struct document), sizeof document_rows / sizeof *document_rows,
                                                       document_rows};
static const char kind[] = "clquant profile";

void clq_profile_start(struct clq_profile *profile)
{
    memset(profile, 0, sizeof *profile);
}

void clq_profile_release(struct clq_profile *profile)
{
    clq_arena_free(&profile->arena);
    memset(profile, 0, sizeof *profile);
}

void clq_profile_move(struct clq_profile *to, struct clq_profile *from)
{
    *to = *from;
    for (size_t i = 0; i < to->n_environments; i++) to->environments[i].index.arena = &to->arena;
    clq_profile_start(from);
}

static const char *text_of(const char *text)
{
    return text ? text : "";
}

static int compare_keys(const struct clq_profile_key *a, const struct clq_profile_key *b)
{
    const char *const x[] = {a->device, a->isa, a->driver, a->onednn, a->clquant, a->kernel_hash};
    const char *const y[] = {b->device, b->isa, b->driver, b->onednn, b->clquant, b->kernel_hash};
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) {
        int c = strcmp(text_of(x[i]), text_of(y[i]));
        if (c) return c;
    }
    return (a->threads > b->threads) - (a->threads < b->threads);
}

static environment *find_environment(const struct clq_profile *profile, const struct clq_profile_key *key)
{
    for (size_t i = 0; i < profile->n_environments; i++)
        if (compare_keys(&profile->environments[i].key, key) == 0) return &profile->environments[i];
    return NULL;
}

/* The three texts, with their lengths, as one: no two different entries meet. */
static char *entry_key(struct clq_arena *arena, const char *signature, const char *place, const char *scheme)
{
    return clq_arena_printf(arena, "%zu:%zu:%s%s%s", strlen(text_of(signature)), strlen(text_of(place)), text_of(signature),
                            text_of(place), text_of(scheme));
}

const struct clq_profile_entry *clq_profile_find(const struct clq_profile *profile, const struct clq_profile_key *key,
                                                 const char *signature, const char *place, const char *scheme)
{
    struct clq_arena scratch = {0};
    const environment *e = find_environment(profile, key);
    const char *name = e ? entry_key(&scratch, signature, place, scheme) : NULL;
    int at = name ? clq_map_get(&e->index, name) : -1;
    clq_arena_free(&scratch);
    return at < 0 ? NULL : &e->entries[at];
}

/* Room for one more element of an arena's list. */
static bool reserve(struct clq_arena *arena, void **list, size_t n, size_t *capacity, size_t size)
{
    size_t more;
    if (n < *capacity) return true;
    if (!clq_size_mul(&more, *capacity ? *capacity : 8, 2)) return false;
    void *fresh = clq_arena_array(arena, more, size);
    if (!fresh) return false;
    if (n) memcpy(fresh, *list, n * size);
    *list = fresh;
    *capacity = more;
    return true;
}

static const char *keep(struct clq_arena *arena, const char *text, bool *ok)
{
    char *copy = clq_arena_string(arena, text_of(text));
    *ok &= copy != NULL;
    return copy;
}

static environment *add_environment(struct clq_profile *profile, const struct clq_profile_key *key)
{
    void *list = profile->environments;
    if (!reserve(&profile->arena, &list, profile->n_environments, &profile->capacity, sizeof(environment))) return NULL;
    profile->environments = list;
    bool ok = true;
    environment *e = &profile->environments[profile->n_environments];
    *e = (environment){.key = {keep(&profile->arena, key->device, &ok), keep(&profile->arena, key->driver, &ok),
                               keep(&profile->arena, key->kernel_hash, &ok), keep(&profile->arena, key->clquant, &ok),
                               keep(&profile->arena, key->isa, &ok), keep(&profile->arena, key->onednn, &ok), key->threads}};
    if (!ok) return NULL;
    clq_map_start(&e->index, &profile->arena);
    profile->n_environments++;
    return e;
}

clq_status clq_profile_put(struct clq_profile *profile, const struct clq_profile_key *key, const struct clq_profile_entry *given,
                           struct clq_error *err)
{
    struct clq_profile_entry fresh = *given;
    CLQ_TRY(clq_record_check(&fresh, &entry_table, err));
    environment probe = {.key = *key};
    CLQ_TRY(clq_record_check(&probe, &environment_table, err));
    environment *e = find_environment(profile, key);
    if (!e) e = add_environment(profile, key);
    char *name = e ? entry_key(&profile->arena, fresh.signature, fresh.place, fresh.scheme) : NULL;
    int at = name ? clq_map_get(&e->index, name) : -1;
    if (at >= 0) {
        e->entries[at].time_us = fresh.time_us;
        e->entries[at].spread_us = fresh.spread_us;
        e->entries[at].timings = fresh.timings;
        return CLQ_OK;
    }
    bool ok = name != NULL;
    void *list = e ? e->entries : NULL;
    ok = ok && reserve(&profile->arena, &list, e->n_entries, &e->capacity, sizeof fresh);
    fresh.signature = keep(&profile->arena, fresh.signature, &ok);
    fresh.place = keep(&profile->arena, fresh.place, &ok);
    fresh.scheme = keep(&profile->arena, fresh.scheme, &ok);
    if (!ok || !clq_map_set(&e->index, name, (int)e->n_entries))
        return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "profile: out of memory for '%.200s'", text_of(given->signature));
    e->entries = list;
    e->entries[e->n_entries++] = fresh;
    return CLQ_OK;
}

clq_status clq_profile_merge(struct clq_profile_merged *out, struct clq_profile *into, const struct clq_profile *from,
                             struct clq_error *err)
{
    struct clq_profile_merged m = {0};
    for (size_t i = 0; i < from->n_environments; i++) {
        const environment *e = &from->environments[i];
        for (size_t k = 0; k < e->n_entries; k++) {
            const struct clq_profile_entry *theirs = &e->entries[k];
            const struct clq_profile_entry *ours = clq_profile_find(into, &e->key, theirs->signature, theirs->place, theirs->scheme);
            if (ours && ours->timings >= theirs->timings) {
                m.kept++;
                continue;
            }
            if (ours) m.replaced++;
            else m.added++;
            CLQ_TRY(clq_profile_put(into, &e->key, theirs, err));
        }
    }
    *out = m;
    return CLQ_OK;
}

size_t clq_profile_drop_stale(struct clq_profile *profile, const struct clq_profile_key *key, char *reason, size_t reason_size)
{
    size_t dropped = 0, kept = 0;
    const environment *last = NULL;
    environment stale;
    for (size_t i = 0; i < profile->n_environments; i++) {
        environment *e = &profile->environments[i];
        bool same_place = strcmp(e->key.device, text_of(key->device)) == 0 && strcmp(e->key.isa, text_of(key->isa)) == 0 &&
                          e->key.threads == key->threads;
        if (same_place && compare_keys(&e->key, key) != 0) {
            dropped += e->n_entries;
            stale = *e;
            last = &stale;
            continue;
        }
        profile->environments[kept++] = *e;
    }
    profile->n_environments = kept;
    if (reason && reason_size) reason[0] = 0;
    if (last && reason && reason_size)
        snprintf(reason, reason_size,
                 "%zu times on '%s' were dropped: driver '%s', oneDNN '%s', clquant '%s', kernels '%s'; now '%s', '%s', '%s', '%s'",
                 dropped, last->key.device, last->key.driver, last->key.onednn, last->key.clquant, last->key.kernel_hash,
                 text_of(key->driver), text_of(key->onednn), text_of(key->clquant), text_of(key->kernel_hash));
    return dropped;
}

static int by_entry(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    int c = strcmp(x->signature, y->signature);
    if (c == 0) c = strcmp(x->place, y->place);
    return c ? c : strcmp(x->scheme, y->scheme);
}

static int by_key(const void *a, const void *b)
{
    const environment *x = a, *y = b;
    return compare_keys(&x->key, &y->key);
}

clq_status clq_profile_text(char **out, size_t *bytes, const struct clq_profile *profile, struct clq_error *err)
{
    struct clq_arena arena = {0};
    struct document doc = {kind, CLQ_PROFILE_VERSION, NULL, profile->n_environments};
    doc.environments = clq_arena_array(&arena, doc.n_environments + 1, sizeof(environment));
    bool ok = doc.environments != NULL;
    for (size_t i = 0; i < doc.n_environments && ok; i++) {
        environment *e = &doc.environments[i];
        *e = profile->environments[i];
        e->entries = clq_arena_array(&arena, e->n_entries + 1, sizeof(entry));
        ok = e->entries != NULL;
        if (!ok || e->n_entries == 0) continue;
        memcpy(e->entries, profile->environments[i].entries, e->n_entries * sizeof(entry));
        qsort(e->entries, e->n_entries, sizeof(entry), by_entry);
    }
    if (ok && doc.n_environments) qsort(doc.environments, doc.n_environments, sizeof(environment), by_key);
    clq_json *object = ok ? clq_record_write(&doc, &document_table) : NULL;
    clq_status st = object ? clq_json_dump(out, bytes, object, true, err) : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "profile: out of memory");
    clq_json_free(object);
    clq_arena_free(&arena);
    return st;
}

/* Puts every entry by itself: that builds the index and refuses what is there twice. */
static clq_status take_over(struct clq_profile *profile, const struct document *doc, struct clq_error *err)
{
    if (strcmp(doc->kind, kind) != 0) return clq_fail(err, CLQ_ERR_FORMAT, "kind: '%.60s', expected '%s'", doc->kind, kind);
    for (size_t i = 0; i < doc->n_environments; i++) {
        const environment *e = &doc->environments[i];
        if (find_environment(profile, &e->key)) return clq_fail(err, CLQ_ERR_FORMAT, "environments[%zu]: there twice", i);
        if (!add_environment(profile, &e->key)) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "profile: out of memory");
        for (size_t k = 0; k < e->n_entries; k++) {
            const entry *t = &e->entries[k];
            if (clq_profile_find(profile, &e->key, t->signature, t->place, t->scheme))
                return clq_fail(err, CLQ_ERR_FORMAT, "environments[%zu].entries[%zu]: there twice", i, k);
            CLQ_TRY(clq_profile_put(profile, &e->key, t, err));
        }
    }
    return CLQ_OK;
}

clq_status clq_profile_parse(struct clq_profile *profile, const char *text, size_t bytes, const char *what, struct clq_error *err)
{
    clq_json *object = NULL;
    struct clq_arena arena = {0};
    struct document doc = {0};
    struct clq_error inner = {""};
    clq_profile_start(profile);
    if (bytes > CLQ_PROFILE_MAX_BYTES)
        return clq_fail(err, CLQ_ERR_FORMAT, "%s: %zu bytes, expected at most %zu", what, bytes, CLQ_PROFILE_MAX_BYTES);
    CLQ_TRY(clq_json_parse(&object, text, bytes, what, err));
    clq_status st = clq_record_read(&doc, &document_table, object, &arena, &inner);
    if (st == CLQ_OK) st = take_over(profile, &doc, &inner);
    clq_json_free(object);
    clq_arena_free(&arena);
    if (st == CLQ_OK) return CLQ_OK;
    clq_profile_release(profile);
    return clq_fail(err, st, "%.300s: %.600s", what, inner.text);
}

clq_status clq_profile_load(struct clq_profile *profile, const char *path, char *reason, size_t reason_size, struct clq_error *err)
{
    struct clq_blob blob = {0};
    struct clq_error inner = {""};
    clq_profile_start(profile);
    if (reason && reason_size) reason[0] = 0;
    if (access(path, F_OK) != 0 && errno == ENOENT) return CLQ_OK;
    clq_status st = clq_file_read(&blob, path, CLQ_PROFILE_MAX_BYTES, &inner);
    if (st == CLQ_OK) st = clq_profile_parse(profile, (const char *)blob.data, blob.bytes, path, &inner);
    free(blob.data);
    if (st == CLQ_ERR_OUT_OF_MEMORY) return clq_fail(err, st, "%s", inner.text);
    if (st != CLQ_OK && reason && reason_size) snprintf(reason, reason_size, "profile is not used: %s", inner.text);
    return CLQ_OK;
}

clq_status clq_profile_save(const struct clq_profile *profile, const char *path, struct clq_error *err)
{
    char *text = NULL;
    size_t bytes = 0;
    CLQ_TRY(clq_profile_text(&text, &bytes, profile, err));
    clq_status st = clq_file_write(path, text, bytes, &(struct clq_writer_options){.force = true}, err);
    free(text);
    return st;
}
