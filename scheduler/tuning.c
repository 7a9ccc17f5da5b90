/* SPDX-License-Identifier: Apache-2.0
 * The tuning file: {"version": 1, "devices": [{device, driver, kernel_hash, clquant, units, few_rows, choices: [...]}]}. */
#include "scheduler/tuning.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

static const struct clq_tuning nothing = {.few_rows = -1};

/* ---- Reading. Every field is checked: the file may have been written by anybody. ---- */
static clq_status read_name(char out[CLQ_TUNING_NAME], const clq_json *object, const char *key, struct clq_error *err)
{
    const char *text = NULL;
    CLQ_TRY(clq_json_get_string(&text, object, key, err));
    const size_t n = strlen(text);
    if (n == 0 || n >= CLQ_TUNING_NAME || strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_") != n)
        return clq_fail(err, CLQ_ERR_FORMAT, "'%s' is no name of a kernel: '%.60s'", key, text);
    memcpy(out, text, n + 1);
    return CLQ_OK;
}

static clq_status read_int(int *out, const clq_json *object, const char *key, int least, int most, struct clq_error *err)
{
    int64_t v = 0;
    CLQ_TRY(clq_json_get_integer(&v, object, key, err));
    if (v < least || v > most)
        return clq_fail(err, CLQ_ERR_FORMAT, "'%s' is %lld, expected %d to %d", key, (long long)v, least, most);
    *out = (int)v;
    return CLQ_OK;
}

static clq_status read_choice(struct clq_tuning_choice *c, const clq_json *object, struct clq_error *err)
{
    CLQ_TRY(read_name(c->family, object, "family", err));
    CLQ_TRY(read_name(c->variant, object, "variant", err));
    CLQ_TRY(clq_json_get_real(&c->ratio, object, "ratio", err));
    CLQ_TRY(clq_json_get_real(&c->spread, object, "spread", err));
    if (!(c->ratio > 0) || !(c->spread >= 0)) return clq_fail(err, CLQ_ERR_FORMAT, "the ratio of '%s' is no measurement", c->family);
    return read_int(&c->pairs, object, "pairs", 0, 1 << 24, err);
}

static clq_status read_entry(struct clq_tuning *out, const clq_json *entry, struct clq_error *err)
{
    const clq_json *choices = clq_json_get(entry, "choices");
    if (!clq_json_is_array(choices) || clq_json_size(choices) > CLQ_TUNING_CHOICES)
        return clq_fail(err, CLQ_ERR_FORMAT, "'choices' is no list of at most %d entries", CLQ_TUNING_CHOICES);
    CLQ_TRY(read_int(&out->few_rows, entry, "few_rows", -1, 1 << 16, err));
    for (size_t i = 0; i < clq_json_size(choices); i++) CLQ_TRY(read_choice(&out->choice[i], clq_json_at(choices, i), err));
    out->n = clq_json_size(choices);
    return CLQ_OK;
}

static clq_status read_document(clq_json **out, const char *path, struct clq_error *err)
{
    CLQ_TRY(clq_json_read(out, path, CLQ_TUNING_MAX_BYTES, err));
    int version = 0;
    clq_status st = read_int(&version, *out, "version", CLQ_TUNING_VERSION, CLQ_TUNING_VERSION, err);
    if (st == CLQ_OK && !clq_json_is_array(clq_json_get(*out, "devices")))
        st = clq_fail(err, CLQ_ERR_FORMAT, "'devices' is no list");
    if (st != CLQ_OK) {
        clq_json_free(*out);
        *out = NULL;
    }
    return st;
}

static bool is_device(const clq_json *entry, const struct clq_tuning_key *key)
{
    return strcmp(clq_json_as_string(clq_json_get(entry, "device"), ""), key->device) == 0;
}

/* What differs between an entry and the key, or NULL. */
static const char *stale(const clq_json *entry, const struct clq_tuning_key *key)
{
    const struct {
        const char *field, *value, *says;
    } texts[] = {{"driver", key->driver, "another driver"},
                 {"kernel_hash", key->kernel_hash, "other kernels"},
                 {"clquant", key->clquant, "another clquant"}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(clq_json_as_string(clq_json_get(entry, texts[i].field), ""), texts[i].value) != 0) return texts[i].says;
    return clq_json_as_integer(clq_json_get(entry, "units"), -1) == key->units ? NULL : "another number of compute units";
}

static bool exists(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f) fclose(f);
    return f != NULL;
}

clq_status clq_tuning_load(struct clq_tuning *out, const char *path, const struct clq_tuning_key *key, char *reason,
                           size_t reason_size, struct clq_error *err)
{
    clq_json *doc = NULL;
    struct clq_error why = {""};
    *out = nothing;
    reason[0] = 0;
    if (!exists(path)) return CLQ_OK;
    clq_status st = read_document(&doc, path, &why);
    for (size_t i = 0; st == CLQ_OK && i < clq_json_size(clq_json_get(doc, "devices")); i++) {
        const clq_json *entry = clq_json_at(clq_json_get(doc, "devices"), i);
        if (!is_device(entry, key)) continue;
        const char *other = stale(entry, key);
        if (other) snprintf(reason, reason_size, "the tuning of '%.80s' is of %s and not used", key->device, other);
        else st = read_entry(out, entry, &why);
        break;
    }
    clq_json_free(doc);
    if (st == CLQ_OK) return CLQ_OK;
    *out = nothing;
    if (st == CLQ_ERR_OUT_OF_MEMORY) return clq_fail(err, st, "%s", why.text);
    snprintf(reason, reason_size, "the tuning file '%.200s' is not used: %.200s", path, why.text);
    return CLQ_OK;
}

/* ---- Writing ---- */
static clq_json *entry_of(const struct clq_tuning *t, const struct clq_tuning_key *key, bool *ok)
{
    clq_json *entry = clq_json_object(), *choices = clq_json_array();
    for (size_t i = 0; i < t->n; i++) {
        const struct clq_tuning_choice *c = &t->choice[i];
        clq_json *o = clq_json_object();
        *ok = clq_json_set(o, "family", clq_json_string(c->family)) && *ok;
        *ok = clq_json_set(o, "variant", clq_json_string(c->variant)) && *ok;
        *ok = clq_json_set(o, "ratio", clq_json_real(c->ratio)) && *ok;
        *ok = clq_json_set(o, "spread", clq_json_real(c->spread)) && *ok;
        *ok = clq_json_set(o, "pairs", clq_json_integer(c->pairs)) && *ok;
        *ok = clq_json_append(choices, o) && *ok;
    }
    *ok = clq_json_set(entry, "device", clq_json_string(key->device)) && *ok;
    *ok = clq_json_set(entry, "driver", clq_json_string(key->driver)) && *ok;
    *ok = clq_json_set(entry, "kernel_hash", clq_json_string(key->kernel_hash)) && *ok;
    *ok = clq_json_set(entry, "clquant", clq_json_string(key->clquant)) && *ok;
    *ok = clq_json_set(entry, "units", clq_json_integer(key->units)) && *ok;
    *ok = clq_json_set(entry, "few_rows", clq_json_integer(t->few_rows)) && *ok;
    *ok = clq_json_set(entry, "choices", choices) && *ok;
    return entry;
}

/* A copy of another device's entry, by way of its text: values belong to one document. */
static clq_json *copy_entry(const clq_json *entry, bool *ok)
{
    struct clq_error err = {""};
    clq_json *copy = NULL;
    char *text = NULL;
    size_t bytes = 0;
    *ok = *ok && clq_json_dump(&text, &bytes, entry, false, &err) == CLQ_OK &&
          clq_json_parse(&copy, text, bytes, "tuning", &err) == CLQ_OK;
    free(text);
    return copy;
}

clq_status clq_tuning_save(const struct clq_tuning *tuning, const char *path, const struct clq_tuning_key *key,
                           struct clq_error *err)
{
    struct clq_error ignored = {""};
    const struct clq_writer_options options = {.force = true};
    clq_json *old = NULL, *doc = clq_json_object(), *devices = clq_json_array();
    char *text = NULL;
    size_t bytes = 0;
    bool ok = true;
    if (exists(path)) read_document(&old, path, &ignored); /* one that cannot be read is replaced */
    const clq_json *list = clq_json_get(old, "devices");
    for (size_t i = 0; i < clq_json_size(list); i++) {
        const clq_json *entry = clq_json_at(list, i);
        if (!clq_json_is_object(entry) || is_device(entry, key)) continue;
        ok = clq_json_append(devices, copy_entry(entry, &ok)) && ok;
    }
    ok = clq_json_append(devices, entry_of(tuning, key, &ok)) && ok;
    ok = clq_json_set(doc, "version", clq_json_integer(CLQ_TUNING_VERSION)) && ok;
    ok = clq_json_set(doc, "devices", devices) && ok;
    clq_status st = ok ? clq_json_dump(&text, &bytes, doc, true, err) : clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    if (st == CLQ_OK) st = clq_file_write(path, text, bytes, &options, err);
    free(text);
    clq_json_free(old);
    clq_json_free(doc);
    return st;
}
