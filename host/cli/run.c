/* SPDX-License-Identifier: Apache-2.0
 * clquant run: runs a model once on arrays from files and keeps its outputs as .npy files. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "files.h"
#include "out.h"
#include "samples.h"

struct arguments {
    struct cli_texts inputs;
    const char *data, *output_dir, *measure;
    long long index, seed;
};

static const struct cli_option options[] = {
    {"input", 'i', CLI_TEXTS, offsetof(struct arguments, inputs), "NAME=FILE", 0, 0,
     "the array of one input: .npy, .npz or .pb; once per input. The name may be left out when there is one input"},
    {"data", 0, CLI_TEXT, offsetof(struct arguments, data), "DATA", 0, 0, "instead of --input: one sample of a data set, or of synthetic:N"},
    {"index", 0, CLI_WHOLE, offsetof(struct arguments, index), "N", 0, 1e12, "which sample of --data (default 0)"},
    {"seed", 0, CLI_WHOLE, offsetof(struct arguments, seed), "N", 0, 9e15, "of synthetic data"},
    CLI_MEASURE(struct arguments),
    {"output-dir", 'o', CLI_TEXT, offsetof(struct arguments, output_dir), "FOLDER", 0, 0,
     "where <output name>.npy is written, made when missing (default: nothing is written)"},
    {NULL, 0, CLI_FLAG, 0, NULL, 0, 0, NULL},
};

static const char *const positional[] = {"MODEL"};

static const struct cli_spec spec = {
    .name = "run",
    .arguments = "MODEL --input NAME=FILE ... [--output-dir FOLDER]",
    .summary = "Runs a model once. Quantized files run in integer arithmetic. Characters of output names that do not belong\n"
               "into a file name become '_'.\n",
    .options = options,
    .least = 1,
    .most = 1,
    .positional = positional,
    .example = "  clquant run model.int8.onnx --input x=x.npy --output-dir out/\n  clquant run model.onnx --data test.npz --index 3\n",
};

struct job {
    clq_model *model;
    clq_session *session;
    clq_data *data;
    int n_in, n_out;
    clq_tensor *in, *out;
    clq_value_desc *in_desc, *out_desc;
    clq_bundle **bundles; /* [n_in] NULL where the input is not given */
    char **files;         /* [n_out] or NULL */
};

/* ---- Inputs ---- */
static int which_input(const struct job *s, const char *text, const char **file)
{
    for (int i = 0; i < s->n_in; i++) {
        size_t n = strlen(s->in_desc[i].name);
        if (strncmp(text, s->in_desc[i].name, n) != 0 || text[n] != '=') continue;
        *file = text + n + 1;
        return i;
    }
    *file = text;
    return s->n_in == 1 && (!strchr(text, '=') || access(text, R_OK) == 0) ? 0 : -1;
}

static int read_input(struct cli *cli, struct job *s, const char *text)
{
    const char *file;
    int i = which_input(s, text, &file);
    if (i < 0) return cli_usage(cli, "--input '%s': expected NAME=FILE with the name of an input, such as '%s'", text, s->n_in ? s->in_desc[0].name : "");
    if (s->bundles[i]) return cli_usage(cli, "--input '%s': input '%s' is given twice", text, s->in_desc[i].name);
    clq_status st = clq_bundle_load(&s->bundles[i], cli->ctx, file);
    if (st != CLQ_OK) return cli_fail(cli, st);
    size_t n = clq_bundle_count(s->bundles[i]), at = 0;
    while (n > 1 && at < n && strcmp(clq_bundle_name(s->bundles[i], at), s->in_desc[i].name) != 0) at++;
    if (at >= n) return cli_usage(cli, "'%s' has no array for input '%s'", file, s->in_desc[i].name);
    s->in[i] = *clq_bundle_tensor(s->bundles[i], at);
    return CLI_GO_ON;
}

static int read_inputs(struct cli *cli, struct job *s, const struct arguments *a)
{
    int code = CLI_GO_ON;
    if (a->data) {
        clq_data_options opt = {.seed = (uint64_t)a->seed};
        code = cli_open_data(cli, &s->data, s->model, a->data, &opt);
        if (code != CLI_GO_ON) return code;
        if ((size_t)a->index >= clq_data_count(s->data))
            return cli_usage(cli, "--index %lld: '%s' has %zu samples", a->index, a->data, clq_data_count(s->data));
        clq_status st = clq_data_get(s->data, (size_t)a->index, s->in);
        return st == CLQ_OK ? CLI_GO_ON : cli_fail(cli, st);
    }
    for (int k = 0; k < a->inputs.n && code == CLI_GO_ON; k++) code = read_input(cli, s, a->inputs.item[k]);
    for (int i = 0; i < s->n_in && code == CLI_GO_ON; i++)
        if (!s->bundles[i]) code = cli_usage(cli, "input '%s' is missing: give --input %s=FILE for it", s->in_desc[i].name, s->in_desc[i].name);
    return code;
}

/* ---- Outputs ---- */
static bool taken(const struct job *s, int n, const char *file)
{
    for (int i = 0; i < n; i++)
        if (strcmp(s->files[i], file) == 0) return true;
    return false;
}

static int name_files(struct cli *cli, struct job *s, const struct arguments *a)
{
    if (!a->output_dir) return CLI_GO_ON;
    if (!cli_make_folder(a->output_dir)) return cli_system(cli, "folder '%s': %s", a->output_dir, strerror(errno));
    s->files = cli_alloc(((size_t)s->n_out + 1) * sizeof *s->files);
    for (int i = 0; i < s->n_out; i++) {
        char *name = cli_safe_name(s->out_desc[i].name, "output");
        size_t n = strlen(a->output_dir);
        const char *slash = n && a->output_dir[n - 1] == '/' ? "" : "/";
        s->files[i] = cli_print("%s%s%s.npy", a->output_dir, slash, name);
        for (int k = 2; taken(s, i, s->files[i]); k++) {
            free(s->files[i]);
            s->files[i] = cli_print("%s%s%s_%d.npy", a->output_dir, slash, name, k);
        }
        free(name);
        int code = cli_check_output(cli, s->files[i], a->inputs.item, a->inputs.n);
        if (code != CLI_GO_ON) return code;
    }
    return CLI_GO_ON;
}

/* All outputs or none: what was new is removed again after a failure. */
static int write_files(struct cli *cli, struct job *s)
{
    int code = CLI_GO_ON, done = 0;
    if (!s->files) return CLI_GO_ON;
    bool *fresh = cli_alloc(((size_t)s->n_out + 1) * sizeof *fresh);
    cli_hold();
    for (; done < s->n_out && code == CLI_GO_ON; done++) {
        fresh[done] = access(s->files[done], F_OK) != 0;
        clq_status st = cli_stopped() ? CLQ_ERR_IO : clq_array_save(cli->ctx, s->files[done], &s->out[done], cli->force);
        if (st != CLQ_OK) code = cli_fail_output(cli, st);
    }
    for (int i = 0; i + 1 < done && code != CLI_GO_ON; i++)
        if (fresh[i]) unlink(s->files[i]);
    cli_release();
    free(fresh);
    return code;
}

struct range {
    double least, most, mean;
};

static bool find_range(struct range *r, const clq_tensor *t)
{
    size_t n;
    if (clq_tensor_elements(&n, t) != CLQ_OK || n == 0) return false;
    double *x = cli_alloc(n * sizeof *x), sum = 0;
    bool known = cli_read_real(x, t, n);
    if (!known) {
        int64_t *w = cli_alloc(n * sizeof *w);
        known = cli_read_whole(w, t, n);
        for (size_t i = 0; i < n; i++) x[i] = (double)w[i];
        free(w);
    }
    *r = (struct range){INFINITY, -INFINITY, 0};
    for (size_t i = 0; i < n; i++) {
        r->least = x[i] < r->least ? x[i] : r->least;
        r->most = x[i] > r->most ? x[i] : r->most;
        sum += x[i];
    }
    r->mean = sum / (double)n;
    free(x);
    return known;
}

static void print_text(const struct cli *cli, const struct job *s, const clq_session_stats *stats)
{
    static const char *const titles[] = {"output", "type", "shape", "least", "mean", "most", "file"};
    struct cli_table t;
    cli_table_start(&t, 7, "lllrrrl", titles);
    for (int i = 0; i < s->n_out; i++) {
        struct range r;
        bool known = find_range(&r, &s->out[i]);
        cli_cell(&t, "%s", s->out_desc[i].name);
        cli_cell(&t, "%s", clq_dtype_name(s->out[i].dtype));
        cli_cell_take(&t, cli_shape(s->out[i].rank, s->out[i].shape));
        const double v[3] = {r.least, r.mean, r.most};
        for (int k = 0; k < 3; k++) {
            if (known) cli_cell(&t, "%.6g", v[k]);
            else cli_cell(&t, "-");
        }
        cli_cell(&t, "%s", s->files ? s->files[i] : "");
    }
    cli_table_print(&t, 0);
    if (strcmp(clq_context_runtime(cli->ctx), "clquant") != 0) printf("\nrun by %s\n", clq_context_runtime(cli->ctx));
    else printf("\nsteps: %d in float32, %d on 8-bit codes, %d of other kinds; %d of all on an OpenCL device\n", stats->float_steps,
           stats->integer_steps, stats->other_steps, stats->device_steps);
}

static void print_json(const struct cli *cli, const struct job *s, const clq_session_stats *stats)
{
    struct cli_json j;
    cli_json_start(&j);
    cli_json_array(&j, "outputs");
    for (int i = 0; i < s->n_out; i++) {
        struct range r;
        bool known = find_range(&r, &s->out[i]);
        cli_json_object(&j, NULL);
        cli_json_text(&j, "name", s->out_desc[i].name);
        cli_json_text(&j, "dtype", clq_dtype_name(s->out[i].dtype));
        cli_json_dims(&j, "shape", s->out[i].rank, s->out[i].shape);
        cli_json_real(&j, "least", known ? r.least : (double)NAN);
        cli_json_real(&j, "mean", known ? r.mean : (double)NAN);
        cli_json_real(&j, "most", known ? r.most : (double)NAN);
        cli_json_text(&j, "file", s->files ? s->files[i] : NULL);
        cli_json_end(&j, '}');
    }
    cli_json_end(&j, ']');
    cli_json_whole(&j, "float_steps", stats->float_steps);
    cli_json_whole(&j, "integer_steps", stats->integer_steps);
    cli_json_whole(&j, "device_steps", stats->device_steps);
    cli_json_whole(&j, "other_steps", stats->other_steps);
    cli_json_text(&j, "device", clq_context_device(cli->ctx));
    cli_json_text(&j, "runtime", clq_context_runtime(cli->ctx));
    cli_json_text(&j, "isa", clq_context_isa(cli->ctx));
    cli_json_print(&j);
}

/* ---- The command ---- */
static void describe(struct job *s)
{
    s->n_in = clq_model_input_count(s->model);
    s->n_out = clq_model_output_count(s->model);
    size_t n_in = (size_t)s->n_in + 1, n_out = (size_t)s->n_out + 1;
    s->in = cli_alloc(n_in * sizeof *s->in);
    s->in_desc = cli_alloc(n_in * sizeof *s->in_desc);
    s->bundles = cli_alloc(n_in * sizeof *s->bundles);
    s->out = cli_alloc(n_out * sizeof *s->out);
    s->out_desc = cli_alloc(n_out * sizeof *s->out_desc);
    for (int i = 0; i < s->n_in; i++) clq_model_input(&s->in_desc[i], s->model, i);
    for (int i = 0; i < s->n_out; i++) clq_model_output(&s->out_desc[i], s->model, i);
}

static void forget(struct job *s)
{
    for (int i = 0; s->bundles && i < s->n_in; i++) clq_bundle_free(s->bundles[i]);
    for (int i = 0; s->files && i < s->n_out; i++) free(s->files[i]);
    free(s->files);
    free(s->bundles);
    free(s->in);
    free(s->in_desc);
    free(s->out);
    free(s->out_desc);
    clq_data_free(s->data);
    clq_session_free(s->session);
    clq_model_free(s->model);
}

static int run(struct cli *cli, struct job *s)
{
    clq_session_stats stats = {0};
    clq_status st = clq_session_create(&s->session, cli->ctx, s->model);
    if (st == CLQ_OK) st = clq_session_run(s->session, s->in, s->n_in, s->out, s->n_out);
    if (st == CLQ_OK) st = clq_session_describe(&stats, s->session);
    if (st != CLQ_OK || cli_stopped()) return cli_fail(cli, st);
    int code = write_files(cli, s);
    if (code != CLI_GO_ON) return code;
    if (cli->json) print_json(cli, s, &stats);
    else print_text(cli, s, &stats);
    return CLI_DONE;
}

int cli_run_model(struct cli *cli, int argc, char **argv)
{
    struct arguments a = {0};
    struct job s = {0};
    const char *path;
    int code = cli_parse(cli, &spec, &a, &path, argc, argv);
    if (code != CLI_GO_ON) return code;
    if (a.data && a.inputs.n) return cli_usage(cli, "--data and --input exclude each other");
    cli->measure = a.measure;
    code = cli_open(cli);
    if (code == CLI_GO_ON) code = cli_load(cli, &s.model, path);
    if (code == CLI_GO_ON) {
        describe(&s);
        code = read_inputs(cli, &s, &a);
    }
    if (code == CLI_GO_ON) code = name_files(cli, &s, &a);
    if (code == CLI_GO_ON) code = run(cli, &s);
    forget(&s);
    return code;
}
