/* SPDX-License-Identifier: Apache-2.0
 * clquant check: runs a model on the inputs of an ONNX backend test and compares its outputs with the stored ones. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "out.h"
#include "samples.h"

struct arguments {
    const char *test_data, *cases;
    double rtol, atol;
};

static const struct cli_option options[] = {
    {"test-data", 0, CLI_TEXT, offsetof(struct arguments, test_data), "FOLDER", 0, 0,
     "holds input_0.pb, output_0.pb and so on, or folders test_data_set_0, test_data_set_1, ... with them"},
    {"cases", 0, CLI_TEXT, offsetof(struct arguments, cases), "FILE", 0, 0,
     "instead of MODEL: each line names a folder with a model.onnx and its test data; all are checked, the exit code is the greatest"},
    {"rtol", 0, CLI_REAL, offsetof(struct arguments, rtol), "R", 0, 1e9, "allowed relative difference of real outputs (default 0.001)"},
    {"atol", 0, CLI_REAL, offsetof(struct arguments, atol), "A", 0, 1e300, "allowed absolute difference, also of whole numbers (default 0.00001)"},
    {NULL, 0, CLI_FLAG, 0, NULL, 0, 0, NULL},
};

static const char *const positional[] = {"MODEL"};

static const struct cli_spec spec = {
    .name = "check",
    .arguments = "MODEL --test-data FOLDER | --cases FILE",
    .summary = "Compares a model's outputs with stored ones, in the layout of ONNX's backend tests. Whole numbers must be\n"
               "equal (or within --atol), real numbers within atol + rtol x |expected|; NaN equals NaN. The exit code is 0\n"
               "when all outputs match and 1 when one does not.\n",
    .options = options,
    .least = 0,
    .most = 1,
    .positional = positional,
    .example = "  clquant check model.onnx --test-data test_data_set_0\n  clquant check model.int8.onnx --test-data test_add_u8 --atol 1\n",
};

struct finding {
    char *set, *output;
    char what[160];       /* "" when it matches */
    clq_dtype dtype;
    size_t elements, wrong;
    double largest;       /* absolute difference; NAN when not comparable */
};

struct checker {
    const struct arguments *args;
    clq_model *model;
    clq_session *session;
    int n_in, n_out;
    clq_tensor *in, *out;
    struct finding *findings;
    size_t n_findings, n_sets;
};

/* ---- Comparing ---- */
static void note_wrong(struct finding *f, size_t i, const char *format, double expected, double actual)
{
    if (f->wrong++ == 0) {
        char values[100];
        snprintf(values, sizeof values, format, expected, actual);
        snprintf(f->what, sizeof f->what, "element %zu: %s", i, values);
    }
}

static void compare_real(struct finding *f, const double *e, const double *a, size_t n, const struct arguments *args)
{
    for (size_t i = 0; i < n; i++) {
        bool same = e[i] == a[i] || (isnan(e[i]) && isnan(a[i]));
        double d = same ? 0 : fabs(e[i] - a[i]);
        if (d > f->largest || isnan(d)) f->largest = d;
        if (!same && !(isfinite(e[i]) && isfinite(a[i]) && d <= args->atol + args->rtol * fabs(e[i])))
            note_wrong(f, i, "expected %.9g, actual %.9g", e[i], a[i]);
    }
}

static void compare_whole(struct finding *f, const int64_t *e, const int64_t *a, size_t n, const struct arguments *args)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t gap = e[i] > a[i] ? (uint64_t)e[i] - (uint64_t)a[i] : (uint64_t)a[i] - (uint64_t)e[i];
        if ((double)gap > f->largest) f->largest = (double)gap;
        if (gap == 0 || (double)gap <= args->atol) continue;
        if (f->wrong++ == 0) snprintf(f->what, sizeof f->what, "element %zu: expected %" PRId64 ", actual %" PRId64, i, e[i], a[i]);
    }
}

static bool same_shape(const clq_tensor *a, const clq_tensor *b)
{
    if (a->rank != b->rank) return false;
    for (int d = 0; d < a->rank; d++)
        if (a->shape[d] != b->shape[d]) return false;
    return true;
}

static void compare(struct finding *f, const clq_tensor *expected, const clq_tensor *actual, const struct arguments *args)
{
    size_t n = 0;
    f->dtype = actual->dtype;
    if (expected->dtype != actual->dtype) {
        snprintf(f->what, sizeof f->what, "type: expected %s, actual %s", clq_dtype_name(expected->dtype), clq_dtype_name(actual->dtype));
        return;
    }
    if (!same_shape(expected, actual) || clq_tensor_elements(&n, actual) != CLQ_OK) {
        char *e = cli_shape(expected->rank, expected->shape), *a = cli_shape(actual->rank, actual->shape);
        snprintf(f->what, sizeof f->what, "shape: expected %.60s, actual %.60s", e, a);
        free(e);
        free(a);
        return;
    }
    f->elements = n;
    f->largest = 0;
    double *e = cli_alloc(n * sizeof *e), *a = cli_alloc(n * sizeof *a);
    int64_t *we = cli_alloc(n * sizeof *we), *wa = cli_alloc(n * sizeof *wa);
    if (cli_read_real(e, expected, n) && cli_read_real(a, actual, n)) compare_real(f, e, a, n, args);
    else if (cli_read_whole(we, expected, n) && cli_read_whole(wa, actual, n)) compare_whole(f, we, wa, n, args);
    else snprintf(f->what, sizeof f->what, "type %s cannot be compared", clq_dtype_name(actual->dtype));
    free(e);
    free(a);
    free(we);
    free(wa);
}

/* ---- One set ---- */
static bool is_there(const char *folder, const char *kind, int k)
{
    struct stat s;
    char *path = cli_print("%s/%s_%d.pb", folder, kind, k);
    bool found = stat(path, &s) == 0;
    free(path);
    return found;
}

static int load_pb(struct cli *cli, clq_bundle **out, clq_tensor *t, const char *folder, const char *kind, int k)
{
    char *path = cli_print("%s/%s_%d.pb", folder, kind, k);
    clq_status st = clq_bundle_load(out, cli->ctx, path);
    int code = st == CLQ_OK ? CLI_GO_ON : cli_fail(cli, st);
    if (st == CLQ_OK && clq_bundle_count(*out) != 1) code = cli_usage(cli, "'%s': expected one tensor", path);
    if (code == CLI_GO_ON) *t = *clq_bundle_tensor(*out, 0);
    free(path);
    return code;
}

static int compare_outputs(struct cli *cli, struct checker *c, const char *folder, const char *set)
{
    int code = CLI_GO_ON, k = 0;
    for (; is_there(folder, "output", k) && code == CLI_GO_ON; k++) {
        if (k >= c->n_out) return cli_usage(cli, "'%s' holds output_%d.pb, the model has %d outputs", folder, k, c->n_out);
        clq_bundle *b = NULL;
        clq_tensor expected;
        code = load_pb(cli, &b, &expected, folder, "output", k);
        if (code == CLI_GO_ON) {
            clq_value_desc d = {.name = ""};
            clq_model_output(&d, c->model, k);
            c->findings = cli_grow(c->findings, (c->n_findings + 1) * sizeof *c->findings);
            struct finding *f = &c->findings[c->n_findings++];
            *f = (struct finding){.set = cli_print("%s", set), .output = cli_print("%s", d.name), .largest = NAN};
            compare(f, &expected, &c->out[k], c->args);
        }
        clq_bundle_free(b);
    }
    if (code == CLI_GO_ON && k == 0) return cli_usage(cli, "'%s' holds no output_0.pb", folder);
    return code;
}

static int check_set(struct cli *cli, struct checker *c, const char *folder)
{
    const char *slash = strrchr(folder, '/');
    const char *set = slash && slash[1] ? slash + 1 : folder;
    clq_bundle **bundles = cli_alloc(((size_t)c->n_in + 1) * sizeof *bundles);
    int code = CLI_GO_ON;
    for (int k = 0; k < c->n_in && code == CLI_GO_ON; k++) code = load_pb(cli, &bundles[k], &c->in[k], folder, "input", k);
    if (code == CLI_GO_ON && is_there(folder, "input", c->n_in))
        code = cli_usage(cli, "'%s' holds input_%d.pb, the model has %d inputs", folder, c->n_in, c->n_in);
    if (code == CLI_GO_ON) {
        memset(c->out, 0, (size_t)c->n_out * sizeof *c->out);
        clq_status st = clq_session_run(c->session, c->in, c->n_in, c->out, c->n_out);
        code = st == CLQ_OK && !cli_stopped() ? compare_outputs(cli, c, folder, set) : cli_fail(cli, st);
    }
    for (int k = 0; k < c->n_in; k++) clq_bundle_free(bundles[k]);
    free(bundles);
    c->n_sets++;
    return code;
}

/* ---- All sets, in the order of their numbers ---- */
static int check_sets(struct cli *cli, struct checker *c, const char *folder)
{
    struct stat s;
    if (stat(folder, &s) != 0) return cli_usage(cli, "'%s': %s", folder, strerror(errno));
    if (!S_ISDIR(s.st_mode)) return cli_usage(cli, "'%s' is not a folder", folder);
    if (is_there(folder, "output", 0) || is_there(folder, "input", 0)) {
        size_t n = strlen(folder);
        while (n > 1 && folder[n - 1] == '/') n--;
        char *clean = cli_print("%.*s", (int)n, folder);
        int code = check_set(cli, c, clean);
        free(clean);
        return code;
    }
    int code = CLI_GO_ON;
    for (int k = 0; code == CLI_GO_ON; k++) {
        char *path = cli_print("%s/test_data_set_%d", folder, k);
        bool found = stat(path, &s) == 0 && S_ISDIR(s.st_mode);
        if (found) code = check_set(cli, c, path);
        free(path);
        if (!found) break;
    }
    if (code == CLI_GO_ON && c->n_sets == 0) return cli_usage(cli, "'%s' holds neither output_0.pb nor test_data_set_0", folder);
    return code;
}

static size_t count_wrong(const struct checker *c)
{
    size_t wrong = 0;
    for (size_t i = 0; i < c->n_findings; i++) wrong += c->findings[i].what[0] != 0;
    return wrong;
}

static void print_text(const struct checker *c)
{
    static const char *const titles[] = {"set", "output", "type", "elements", "wrong", "largest difference", "first difference"};
    struct cli_table t;
    size_t wrong = count_wrong(c);
    cli_table_start(&t, 7, "lllrrrl", titles);
    for (size_t i = 0; i < c->n_findings; i++) {
        const struct finding *f = &c->findings[i];
        cli_cell(&t, "%s", f->set);
        cli_cell(&t, "%s", f->output);
        cli_cell(&t, "%s", clq_dtype_name(f->dtype));
        cli_cell(&t, "%zu", f->elements);
        cli_cell(&t, "%zu", f->wrong);
        cli_cell(&t, "%.6g", f->largest);
        cli_cell(&t, "%s", f->what);
    }
    cli_table_print(&t, 0);
    if (wrong) printf("\n%zu of %zu outputs differ\n", wrong, c->n_findings);
    else printf("\nall %zu outputs match\n", c->n_findings);
}

static void print_json(const struct checker *c)
{
    struct cli_json j;
    cli_json_start(&j);
    cli_json_bool(&j, "passed", count_wrong(c) == 0);
    cli_json_whole(&j, "sets", (long long)c->n_sets);
    cli_json_real(&j, "rtol", c->args->rtol);
    cli_json_real(&j, "atol", c->args->atol);
    cli_json_array(&j, "outputs");
    for (size_t i = 0; i < c->n_findings; i++) {
        const struct finding *f = &c->findings[i];
        cli_json_object(&j, NULL);
        cli_json_text(&j, "set", f->set);
        cli_json_text(&j, "name", f->output);
        cli_json_text(&j, "dtype", clq_dtype_name(f->dtype));
        cli_json_bool(&j, "matches", f->what[0] == 0);
        cli_json_whole(&j, "elements", (long long)f->elements);
        cli_json_whole(&j, "wrong", (long long)f->wrong);
        cli_json_real(&j, "largest_difference", f->largest);
        cli_json_text(&j, "difference", f->what[0] ? f->what : NULL);
        cli_json_end(&j, '}');
    }
    cli_json_end(&j, ']');
    cli_json_print(&j);
}

static int check_loaded(struct cli *cli, struct checker *c, const char *folder)
{
    c->n_in = clq_model_input_count(c->model);
    c->n_out = clq_model_output_count(c->model);
    c->in = cli_alloc(((size_t)c->n_in + 1) * sizeof *c->in);
    c->out = cli_alloc(((size_t)c->n_out + 1) * sizeof *c->out);
    clq_status st = clq_session_create(&c->session, cli->ctx, c->model);
    if (st != CLQ_OK) return cli_fail(cli, st);
    int code = check_sets(cli, c, folder);
    if (code != CLI_GO_ON) return code;
    if (cli->json) print_json(c);
    else print_text(c);
    return count_wrong(c) ? CLI_FAILED : CLI_DONE;
}

static int check_model(struct cli *cli, const struct arguments *args, const char *path, const char *folder)
{
    struct checker c = {.args = args};
    int code = cli_load(cli, &c.model, path);
    if (code == CLI_GO_ON) code = check_loaded(cli, &c, folder);
    for (size_t i = 0; i < c.n_findings; i++) {
        free(c.findings[i].set);
        free(c.findings[i].output);
    }
    free(c.findings);
    free(c.in);
    free(c.out);
    clq_session_free(c.session);
    clq_model_free(c.model);
    return code;
}

/* ---- Many models in one process. Each starts and ends with a line of its own, so that a reader can tell which one a
 * process died in. ---- */
static int check_cases(struct cli *cli, const struct arguments *args)
{
    FILE *f = fopen(args->cases, "re");
    char *line = NULL;
    size_t room = 0;
    int worst = CLI_DONE;
    if (!f) return cli_usage(cli, "'%s': %s", args->cases, strerror(errno));
    for (ssize_t n; (n = getline(&line, &room, f)) >= 0 && !cli_stopped();) {
        if (n > 0 && line[n - 1] == '\n') line[n - 1] = 0;
        if (!line[0]) continue;
        char *model = cli_print("%s/model.onnx", line), *name = cli_printable(line, 0);
        printf("case %s\n", name);
        fflush(stdout);
        int code = check_model(cli, args, model, line);
        printf("exit code %d\n", code);
        fflush(stdout);
        if (code > worst) worst = code;
        free(name);
        free(model);
    }
    free(line);
    fclose(f);
    return worst;
}

int cli_check(struct cli *cli, int argc, char **argv)
{
    struct arguments a = {.rtol = 1e-3, .atol = 1e-5};
    const char *path;
    int code = cli_parse(cli, &spec, &a, &path, argc, argv);
    if (code != CLI_GO_ON) return code;
    if (a.cases && (path || a.test_data || cli->json)) return cli_usage(cli, "--cases goes without MODEL, --test-data and --json");
    if (!a.cases && !path) return cli_usage(cli, "MODEL is missing; see clquant check --help");
    if (!a.cases && !a.test_data) return cli_usage(cli, "--test-data is missing: a folder with input_0.pb and output_0.pb");
    code = cli_open(cli);
    if (code != CLI_GO_ON) return code;
    return a.cases ? check_cases(cli, &a) : check_model(cli, &a, path, a.test_data);
}
