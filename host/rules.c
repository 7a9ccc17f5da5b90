/* SPDX-License-Identifier: Apache-2.0
 * Rules by name: see rules.h. */
#include "rules.h"

#include <regex.h>
#include <stdlib.h>
#include <string.h>

struct rule {
    const char *text;
    const char *mode;    /* in text */
    char *name;          /* for free(); without "re:" */
    bool pattern;
    regex_t compiled;
};

static void rule_free(struct rule *r)
{
    if (r->pattern) regfree(&r->compiled);
    free(r->name);
}

static clq_status rule_read(struct rule *r, const char *text, struct clq_error *err)
{
    const char *equals = strrchr(text, '=');
    *r = (struct rule){.text = text};
    if (!equals || equals == text || !equals[1])
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "layer rule '%s': expected NAME=MODE or re:REGEX=MODE", text);
    r->mode = equals + 1;
    if (strcmp(r->mode, "f32") != 0 && strcmp(r->mode, "int8") != 0)
        return clq_fail(err, CLQ_ERR_UNSUPPORTED, "layer rule '%s': mode '%s', this version knows f32 and int8", text, r->mode);
    bool pattern = strncmp(text, "re:", 3) == 0;
    const char *from = pattern ? text + 3 : text;
    r->name = strndup(from, (size_t)(equals - from));
    if (!r->name) return clq_fail(err, CLQ_ERR_OUT_OF_MEMORY, "out of memory");
    if (!pattern) return CLQ_OK;
    int code = regcomp(&r->compiled, r->name, REG_EXTENDED | REG_NOSUB);
    if (code != 0) {
        char why[200];
        regerror(code, &r->compiled, why, sizeof why);
        free(r->name);
        r->name = NULL;
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "layer rule '%s': %s", text, why);
    }
    r->pattern = true;
    return CLQ_OK;
}

static bool matches(const struct rule *r, const char *name)
{
    return r->pattern ? regexec(&r->compiled, name, 0, NULL, 0) == 0 : strcmp(r->name, name) == 0;
}

static clq_status apply(struct clq_search *s, const struct rule *r, int index, struct clq_error *err)
{
    int hits = 0;
    for (int i = 0; i < s->units.n_units; i++) {
        if (!matches(r, s->units.units[i].name)) continue;
        hits++;
        s->records[i].rule = r->mode;
        s->records[i].rule_index = index;
    }
    if (hits > 0) return CLQ_OK;
    return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "layer rule '%s' matches none of the %d layers; clquant inspect lists their names", r->text,
                    s->units.n_units);
}

clq_status clq_rules_apply(struct clq_search *s, const char *const *rules, size_t n, struct clq_error *err)
{
    for (size_t k = 0; k < n; k++) {
        struct rule r;
        CLQ_TRY(rule_read(&r, rules[k], err));
        clq_status st = apply(s, &r, (int)k, err);
        rule_free(&r);
        CLQ_TRY(st);
    }
    for (int i = 0; i < s->units.n_units; i++) {
        struct clq_unit_record *rec = &s->records[i];
        if (!rec->rule || strcmp(rec->rule, "f32") != 0) continue;
        rec->capable = false;
        rec->reason = "a rule keeps it in float32";
    }
    return CLQ_OK;
}

clq_status clq_rules_check(struct clq_search *s, const char *const *rules, size_t n, struct clq_error *err)
{
    for (size_t k = 0; k < n; k++) {
        int held = 0, asked = 0, first = -1;
        bool named = strncmp(rules[k], "re:", 3) != 0;
        for (int i = 0; i < s->units.n_units; i++) {
            struct clq_unit_record *rec = &s->records[i];
            if (!rec->rule || rec->rule_index != (int)k || strcmp(rec->rule, "f32") == 0) continue;
            asked++;
            held += rec->capable;
            if (rec->capable) continue;
            if (first < 0) first = i;
            rec->rule = NULL;
        }
        if (asked == 0 || (held > 0 && !named) || held == asked) continue;
        return clq_fail(err, CLQ_ERR_INVALID_ARGUMENT, "layer rule '%s': layer '%s' has no such form: %s", rules[k], s->units.units[first].name,
                        s->records[first].reason ? s->records[first].reason : "unknown");
    }
    return CLQ_OK;
}
