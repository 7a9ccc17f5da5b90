/* SPDX-License-Identifier: Apache-2.0
 * Reading the words of a command line by tables. */
#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli.h"

static const struct cli_option common[] = {
    {"json", 0, CLI_FLAG, offsetof(struct cli, json), NULL, 0, 0, "print one JSON object on stdout, everything else on stderr"},
    {"device", 0, CLI_TEXT, offsetof(struct cli, device), "DEVICE", 0, 0,
     "cpu (default), opencl, opencl:N, or auto: the first OpenCL device that is not the CPU itself"},
    {"require-device", 0, CLI_FLAG, offsetof(struct cli, require_device), NULL, 0, 0, "fail instead of falling back to the CPU"},
    {"threads", 0, CLI_WHOLE, offsetof(struct cli, threads), "N", 1, 1024, "CPU threads (default: the cores this process may use)"},
    {"isa", 0, CLI_CHOICE, offsetof(struct cli, isa), "ref|avx2|avx_vnni|avx512|avx512_vnni|amx|neon|neon_dotprod|neon_i8mm", 0, 0,
     "upper limit of CPU instructions (default: environment variable CLQ_ISA, else the best)"},
    {"force", 0, CLI_FLAG, offsetof(struct cli, force), NULL, 0, 0, "replace outputs that exist"},
    {"follow-links", 0, CLI_FLAG, offsetof(struct cli, follow_links), NULL, 0, 0, "accept external data behind symbolic or hard links"},
    {"quiet", 'q', CLI_FLAG, offsetof(struct cli, quiet), NULL, 0, 0, "no progress and no notes"},
    {NULL, 0, CLI_FLAG, 0, NULL, 0, 0, NULL},
};

/* ---- The nearest word ---- */
static size_t distance(const char *a, const char *b)
{
    enum { MOST = 64 };
    size_t n = strlen(a), m = strlen(b), row[MOST + 1];
    if (n > MOST || m > MOST) return n > m ? n : m;
    for (size_t j = 0; j <= m; j++) row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t change = corner + (a[i - 1] != b[j - 1]), insert = row[j - 1] + 1, drop = row[j] + 1;
            corner = row[j];
            row[j] = change < insert ? (change < drop ? change : drop) : (insert < drop ? insert : drop);
        }
    }
    return row[m];
}

const char *cli_nearest(const char *text, const char *const *words)
{
    const char *best = NULL;
    size_t least = 0;
    for (; *words; words++) {
        size_t d = distance(text, *words);
        size_t n = strlen(text);
        if (n > 2 && strncmp(*words, text, n) == 0) d = 0; /* the beginning of a word means that word */
        if (!best || d < least) {
            best = *words;
            least = d;
        }
    }
    return best;
}

/* ---- Values ---- */

/* One of the words "a|b|c"? */
static bool is_word(const char *text, size_t n, const char *words)
{
    for (const char *p = words;; p++) {
        size_t len = strcspn(p, "|");
        if (len == n && strncmp(p, text, n) == 0) return true;
        p += len;
        if (!*p) return false;
    }
}

static bool all_words(const char *list, const char *words)
{
    for (const char *p = list;; p++) {
        size_t len = strcspn(p, ",");
        if (!is_word(p, len, words)) return false;
        p += len;
        if (!*p) return true;
    }
}

static int bad_value(struct cli *cli, const struct cli_option *o, const char *text)
{
    if (o->kind == CLI_CHOICE) return cli_usage(cli, "option --%s: expected one of %s, got '%s'", o->name, o->value, text);
    if (o->kind == CLI_LIST) return cli_usage(cli, "option --%s: expected a list, separated by commas, of %s, got '%s'", o->name, o->value, text);
    if (o->kind == CLI_WHOLE)
        return cli_usage(cli, "option --%s: expected a whole number from %.0f to %.0f, got '%s'", o->name, o->least, o->most, text);
    return cli_usage(cli, "option --%s: expected a number from %g to %g, got '%s'", o->name, o->least, o->most, text);
}

static bool read_bytes(double *out, const char *text)
{
    static const struct {
        const char *unit;
        double bytes;
    } units[] = {{"", 1}, {"B", 1}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824}};
    char *end;
    double v = strtod(text, &end);
    if (end == text || !isfinite(v)) return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcasecmp(end, units[i].unit) != 0) continue;
        *out = v * units[i].bytes;
        return true;
    }
    return false;
}

static int store(struct cli *cli, const struct cli_option *o, void *target, const char *text)
{
    void *at = (char *)target + o->at;
    char *end;
    errno = 0;
    switch (o->kind) {
    case CLI_FLAG: *(bool *)at = true; return CLI_GO_ON;
    case CLI_TEXT:
        if (!*text) return cli_usage(cli, "option --%s needs a value: %s", o->name, o->value);
        *(const char **)at = text;
        return CLI_GO_ON;
    case CLI_TEXTS: {
        struct cli_texts *t = at;
        if (t->n == (int)(sizeof t->item / sizeof *t->item)) return cli_usage(cli, "option --%s: more than %d are given", o->name, t->n);
        t->item[t->n++] = text;
        return CLI_GO_ON;
    }
    case CLI_CHOICE:
        if (!is_word(text, strlen(text), o->value)) return bad_value(cli, o, text);
        *(const char **)at = text;
        return CLI_GO_ON;
    case CLI_LIST:
        if (!all_words(text, o->value)) return bad_value(cli, o, text);
        *(const char **)at = text;
        return CLI_GO_ON;
    case CLI_WHOLE: {
        long long v = strtoll(text, &end, 10);
        if (end == text || *end || errno || (double)v < o->least || (double)v > o->most) return bad_value(cli, o, text);
        *(long long *)at = v;
        return CLI_GO_ON;
    }
    case CLI_BYTES:
        if (!read_bytes(at, text) || *(double *)at < o->least || *(double *)at > o->most)
            return cli_usage(cli, "option --%s: expected a size such as 300kB or 2.5MB, got '%s'", o->name, text);
        return CLI_GO_ON;
    case CLI_REAL: break;
    }
    double v = strtod(text, &end);
    if (end == text || *end || !isfinite(v) || v < o->least || v > o->most) return bad_value(cli, o, text);
    *(double *)at = v;
    return CLI_GO_ON;
}

/* ---- Words ---- */
static const struct cli_option *find(const struct cli_option *table, const char *name, size_t n, char letter)
{
    for (; table && table->name; table++)
        if ((name && strlen(table->name) == n && strncmp(table->name, name, n) == 0) || (letter && table->letter == letter)) return table;
    return NULL;
}

static int unknown(struct cli *cli, const struct cli_spec *spec, const char *word)
{
    enum { MOST = 64 };
    const char *names[MOST];
    int n = 0;
    for (const struct cli_option *o = spec ? spec->options : NULL; o && o->name && n < MOST - 3; o++) names[n++] = o->name;
    for (const struct cli_option *o = common; o->name && n < MOST - 2; o++) names[n++] = o->name;
    names[n++] = "help";
    names[n] = NULL;
    char name[80];
    const char *bare = word + (word[1] == '-' ? 2 : 1);
    snprintf(name, sizeof name, "%.*s", (int)strcspn(bare, "="), bare);
    return cli_usage(cli, "unknown option '%s'; the nearest known one is --%s", word, cli_nearest(name, names));
}

static void print_options(const struct cli_option *table)
{
    for (; table && table->name; table++) {
        char left[96];
        snprintf(left, sizeof left, "%s%c%s--%s%s%s", table->letter ? "-" : " ", table->letter ? table->letter : ' ', table->letter ? ", " : "  ",
                 table->name, table->value ? " " : "", table->value ? table->value : "");
        if (strlen(left) > 26) printf("  %s\n  %26s  %s\n", left, "", table->help);
        else printf("  %-26s  %s\n", left, table->help);
    }
}

void cli_print_common(void)
{
    print_options(common);
}

static int print_help(const struct cli_spec *spec)
{
    printf("usage: clquant %s %s%s[options]\n\n%s\n", spec->name, spec->arguments, *spec->arguments ? " " : "", spec->summary);
    if (spec->options) {
        printf("options:\n");
        print_options(spec->options);
        printf("\n");
    }
    printf("common options:\n");
    print_options(common);
    printf("\nexample:\n%s", spec->example);
    return CLI_DONE;
}

/* Handles one word that starts with a dash; *i moves on when the value is the next word. */
static int option_word(struct cli *cli, const struct cli_spec *spec, void *target, int *i, int argc, char **argv)
{
    const char *word = argv[*i];
    bool is_long = word[1] == '-';
    size_t n = is_long ? strcspn(word + 2, "=") : 0;
    const char *equals = is_long && word[2 + n] == '=' ? word + 2 + n + 1 : NULL;
    if (!is_long && word[2]) return unknown(cli, spec, word);
    const char *name = is_long ? word + 2 : NULL;
    char letter = is_long ? 0 : word[1];
    void *base = target;
    const struct cli_option *o = spec ? find(spec->options, name, n, letter) : NULL;
    if (!o) {
        base = cli;
        o = find(common, name, n, letter);
    }
    if (!o) return unknown(cli, spec, word);
    if (o->kind == CLI_FLAG && equals) return cli_usage(cli, "option --%s takes no value, got '%s'", o->name, equals);
    if (o->kind == CLI_FLAG) return store(cli, o, base, NULL);
    if (!equals) {
        bool none = *i + 1 >= argc || strncmp(argv[*i + 1], "--", 2) == 0;
        if (none) return cli_usage(cli, "option --%s needs a value: %s", o->name, o->value);
        equals = argv[++*i];
    }
    return store(cli, o, base, equals);
}

static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] != 0;
}

static int read_words(struct cli *cli, const struct cli_spec *spec, void *target, const char **positional, int argc, char **argv)
{
    int n = 0;
    bool plain = false; /* after "--" nothing is an option */
    for (int i = 0; i < argc; i++) {
        if (!plain && strcmp(argv[i], "--") == 0) plain = true;
        else if (!plain && is_option(argv[i])) {
            int code = option_word(cli, spec, target, &i, argc, argv);
            if (code != CLI_GO_ON) return code;
        } else if (n == spec->most) return cli_usage(cli, "unexpected argument '%s' after %s", argv[i], n ? positional[n - 1] : spec->name);
        else positional[n++] = argv[i];
    }
    if (n < spec->least) return cli_usage(cli, "%s is missing; see clquant %s --help", spec->positional[n], spec->name);
    return CLI_GO_ON;
}

int cli_parse(struct cli *cli, const struct cli_spec *spec, void *target, const char **positional, int argc, char **argv)
{
    cli->name = spec->name;
    for (int i = 0; i < spec->most; i++) positional[i] = NULL;
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return print_help(spec);
    return read_words(cli, spec, target, positional, argc, argv);
}

int cli_parse_common(struct cli *cli, int *used, int argc, char **argv)
{
    int i = 0;
    for (; i < argc && is_option(argv[i]); i++) {
        const char *w = argv[i];
        if (strcmp(w, "--help") == 0 || strcmp(w, "-h") == 0 || strcmp(w, "--version") == 0 || strcmp(w, "-V") == 0) break;
        int code = option_word(cli, NULL, NULL, &i, argc, argv);
        if (code != CLI_GO_ON) return code;
    }
    *used = i;
    return CLI_GO_ON;
}

/* What is excluded stays in float32, whatever other rules say. */
int cli_rules(char *out[CLI_RULES], const struct cli_texts *layers, const struct cli_texts *excluded)
{
    int n = 0;
    for (int i = 0; i < layers->n; i++) out[n++] = cli_print("%s", layers->item[i]);
    for (int i = 0; i < excluded->n; i++) out[n++] = cli_print("%s=f32", excluded->item[i]);
    return n;
}
