/* SPDX-License-Identifier: Apache-2.0
 * One table per subcommand says which options it takes; the parser, the usage errors and the help text all read it. */
#ifndef CLQ_CLI_OPTIONS_H
#define CLQ_CLI_OPTIONS_H

#include <stddef.h>

struct cli;

/* What an option's value becomes in the command's struct. */
enum cli_kind {
    CLI_FLAG,   /* bool */
    CLI_TEXT,   /* const char * */
    CLI_TEXTS,  /* struct cli_texts, may be given several times */
    CLI_CHOICE, /* const char *, one of the words in value: "a|b|c" */
    CLI_LIST,   /* const char *, some of the words in value, separated by commas */
    CLI_WHOLE,  /* long long, least to most */
    CLI_REAL,   /* double, least to most */
    CLI_BYTES   /* double, least to most: a number with B, kB, MB, GB (powers of 1000), KiB, MiB or GiB, or without */
};

struct cli_texts {
    const char *item[64];
    int n;
};

struct cli_option {
    const char *name;  /* without the dashes; NULL ends a table */
    char letter;       /* short form, 0: none */
    enum cli_kind kind;
    size_t at;         /* offset in the struct of its table */
    const char *value; /* placeholder in the help, or the words */
    double least, most;
    const char *help;
};

/* --layer and --exclude as rules of the library, in this order; how many. */
enum { CLI_RULES = 2 * sizeof ((struct cli_texts *)0)->item / sizeof(char *) };
int cli_rules(char *out[CLI_RULES], const struct cli_texts *layers, const struct cli_texts *excluded);

/* The row of commands that run models; T has the member measure. */
#define CLI_MEASURE(T) \
    {"measure", 0, CLI_TEXT, offsetof(T, measure), "clquant|onnxruntime[:PATH]", 0, 0, \
     "whose outputs and times count (default clquant); onnxruntime's library: PATH, $CLQUANT_ONNXRUNTIME, or libonnxruntime.so"}

struct cli_spec {
    const char *name;                 /* "quantize" */
    const char *arguments;            /* "MODEL --data DATA -o OUT" */
    const char *summary;              /* some lines, each ending with a newline */
    const struct cli_option *options; /* beside the common ones; NULL: none */
    int least, most;                  /* positional arguments */
    const char *const *positional;    /* their names, most of them */
    const char *example;              /* lines, indented, each ending with a newline */
};

enum { CLI_GO_ON = -1 };

/* Reads argv[0 .. argc-1], the words after the command's name, into target (of spec->options) and into cli (of the common
 * options). positional receives spec->most entries, NULL where absent. Returns CLI_GO_ON, or the exit code after printing
 * help (0) or the one line that names the wrong word (2). */
int cli_parse(struct cli *cli, const struct cli_spec *spec, void *target, const char **positional, int argc, char **argv);

/* Reads the common options in front of a subcommand; *used words were read. */
int cli_parse_common(struct cli *cli, int *used, int argc, char **argv);

/* The entry of words (ending with NULL) that is nearest to text, or NULL when words is empty. */
const char *cli_nearest(const char *text, const char *const *words);

/* The lines of the common options, for the general help. */
void cli_print_common(void);

#endif
