/* SPDX-License-Identifier: Apache-2.0
 * clquant inspect: what a model takes, gives and consists of, and which of its layers can be quantized. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "out.h"

struct arguments {
    struct cli_texts shapes;
    bool layers;
};

static const struct cli_option options[] = {
    {"shape", 0, CLI_TEXTS, offsetof(struct arguments, shapes), "NAME=D,D,...", 0, 0,
     "shape of an input with open dimensions (default: 1 for each), for the work per layer"},
    {"layers", 0, CLI_FLAG, offsetof(struct arguments, layers), NULL, 0, 0, "list every layer that can be quantized, not only the largest ten"},
    {NULL, 0, CLI_FLAG, 0, NULL, 0, 0, NULL},
};

static const char *const positional[] = {"MODEL"};

static const struct cli_spec spec = {
    .name = "inspect",
    .arguments = "MODEL",
    .summary = "Describes a model: inputs, outputs, operators, parameters, size, the layers that can be quantized, and the\n"
               "operators that cannot be executed.\n",
    .options = options,
    .least = 1,
    .most = 1,
    .positional = positional,
    .example = "  clquant inspect model.onnx\n  clquant inspect det.onnx --shape x=1,3,640,640 --layers\n",
};

struct operator {
    char *domain, *type;
    int count;
    bool supported;
};

struct layer {
    char *name, *type;
    double parameters, macs;
};

struct inspection {
    const char *path;
    double file_bytes;
    clq_model *model;
    clq_model_summary summary;
    struct operator *operators;
    size_t n_operators;
    struct layer *layers;
    size_t n_layers;
    bool layers_known;
    char layers_reason[1024]; /* why they are not known */
    double macs;
};

static void add_operator(void *user, const char *domain, const char *type, int count, bool supported)
{
    struct inspection *s = user;
    s->operators = cli_grow(s->operators, (s->n_operators + 1) * sizeof *s->operators);
    s->operators[s->n_operators++] = (struct operator){cli_print("%s", domain ? domain : ""), cli_print("%s", type), count, supported};
}

static void add_layer(void *user, const char *name, const char *type, double parameters, double macs)
{
    struct inspection *s = user;
    s->layers = cli_grow(s->layers, (s->n_layers + 1) * sizeof *s->layers);
    s->layers[s->n_layers++] = (struct layer){cli_print("%s", name), cli_print("%s", type), parameters, macs};
    s->macs += macs;
}

/* ---- Shapes ---- */

/* "name=1,3,224,224"; the name may hold '=' itself. */
static int parse_shape(struct cli *cli, const char *text, const clq_model *model, clq_tensor *inputs)
{
    const char *equals = strrchr(text, '=');
    if (!equals) return cli_usage(cli, "--shape '%s': expected NAME=D,D,...", text);
    for (int i = 0; i < clq_model_input_count(model); i++) {
        clq_value_desc d;
        if (clq_model_input(&d, model, i) != CLQ_OK || strlen(d.name) != (size_t)(equals - text) || memcmp(d.name, text, strlen(d.name)) != 0) continue;
        clq_tensor t = {.dtype = d.dtype};
        for (const char *p = equals + 1; *p;) {
            char *end;
            errno = 0;
            long long v = strtoll(p, &end, 10);
            if (end == p || errno || v < 0 || (*end && *end != ',') || (*end == ',' && !end[1]) || t.rank == CLQ_MAX_RANK)
                return cli_usage(cli, "--shape '%s': expected at most %d whole numbers, separated by commas", text, CLQ_MAX_RANK);
            t.shape[t.rank++] = v;
            p = *end ? end + 1 : end;
        }
        if (d.rank >= 0 && t.rank != d.rank) return cli_usage(cli, "--shape '%s': input '%s' has rank %d", text, d.name, d.rank);
        for (int k = 0; k < d.rank; k++)
            if (d.shape[k] >= 0 && d.shape[k] != t.shape[k])
                return cli_usage(cli, "--shape '%s': axis %d of input '%s' is fixed to %lld", text, k, d.name, (long long)d.shape[k]);
        inputs[i] = t;
        return CLI_GO_ON;
    }
    return cli_usage(cli, "--shape '%s': the model has no input of that name", text);
}

static int make_shapes(struct cli *cli, const struct arguments *a, const clq_model *model, clq_tensor *inputs)
{
    for (int i = 0; i < clq_model_input_count(model); i++) {
        clq_value_desc d;
        if (clq_model_input(&d, model, i) != CLQ_OK) continue;
        inputs[i] = (clq_tensor){.dtype = d.dtype, .rank = d.rank < 0 ? 0 : d.rank};
        for (int k = 0; k < d.rank; k++) inputs[i].shape[k] = d.shape[k] < 0 ? 1 : d.shape[k];
    }
    int code = CLI_GO_ON;
    for (int k = 0; k < a->shapes.n && code == CLI_GO_ON; k++) code = parse_shape(cli, a->shapes.item[k], model, inputs);
    return code;
}

static int collect(struct cli *cli, const struct arguments *a, struct inspection *s)
{
    struct stat file;
    if (stat(s->path, &file) == 0) s->file_bytes = (double)file.st_size;
    clq_status st = clq_model_summarize(&s->summary, s->model);
    if (st == CLQ_OK) st = clq_model_operators(s->model, add_operator, s);
    if (st != CLQ_OK) return cli_fail(cli, st);
    clq_tensor *inputs = cli_alloc(((size_t)clq_model_input_count(s->model) + 1) * sizeof *inputs);
    int code = make_shapes(cli, a, s->model, inputs);
    if (code == CLI_GO_ON) {
        st = clq_model_layers(cli->ctx, s->model, inputs, add_layer, s);
        s->layers_known = st == CLQ_OK;
        if (st != CLQ_OK) snprintf(s->layers_reason, sizeof s->layers_reason, "%s", clq_error_message(cli->ctx));
    }
    free(inputs);
    return code;
}

static void forget(struct inspection *s)
{
    for (size_t i = 0; i < s->n_operators; i++) {
        free(s->operators[i].domain);
        free(s->operators[i].type);
    }
    for (size_t i = 0; i < s->n_layers; i++) {
        free(s->layers[i].name);
        free(s->layers[i].type);
    }
    free(s->operators);
    free(s->layers);
    clq_model_free(s->model);
}

/* ---- Text ---- */
static void print_values(const struct inspection *s, bool outputs)
{
    static const char *const titles[2][3] = {{"input", "type", "shape"}, {"output", "type", "shape"}};
    struct cli_table t;
    int n = outputs ? clq_model_output_count(s->model) : clq_model_input_count(s->model);
    cli_table_start(&t, 3, "lll", titles[outputs]);
    for (int i = 0; i < n; i++) {
        clq_value_desc d;
        if ((outputs ? clq_model_output(&d, s->model, i) : clq_model_input(&d, s->model, i)) != CLQ_OK) continue;
        cli_cell(&t, "%s", d.name);
        cli_cell(&t, "%s", clq_dtype_name(d.dtype));
        cli_cell_take(&t, cli_shape(d.rank, d.shape));
    }
    cli_table_print(&t, 0);
    printf("\n");
}

static void print_operators(const struct inspection *s)
{
    static const char *const titles[] = {"operator", "count", ""};
    struct cli_table t;
    cli_table_start(&t, 3, "lrl", titles);
    for (size_t i = 0; i < s->n_operators; i++) {
        const struct operator *o = &s->operators[i];
        cli_cell(&t, "%s%s%s", o->domain, *o->domain ? "::" : "", o->type);
        cli_cell(&t, "%d", o->count);
        cli_cell(&t, "%s", o->supported ? "" : "not supported");
    }
    cli_table_print(&t, 0);
    printf("\n");
}

static int by_macs(const void *a, const void *b)
{
    const struct layer *x = a, *y = b;
    return x->macs < y->macs ? 1 : x->macs > y->macs ? -1 : strcmp(x->name, y->name);
}

static void print_layers(struct inspection *s, bool all)
{
    static const char *const titles[] = {"layer that can be quantized", "operator", "parameters", "MMAC", "share"};
    struct cli_table t;
    if (!s->layers_known) {
        char *why = cli_printable(s->layers_reason, 0);
        printf("layers that can be quantized: not known, %s\n", why);
        free(why);
        return;
    }
    if (s->n_layers == 0) {
        printf("no layer can be quantized\n");
        return;
    }
    size_t shown = all || s->n_layers < 10 ? s->n_layers : 10;
    if (!all) qsort(s->layers, s->n_layers, sizeof *s->layers, by_macs);
    cli_table_start(&t, 5, "llrrr", titles);
    for (size_t i = 0; i < shown; i++) {
        cli_cell(&t, "%s", s->layers[i].name);
        cli_cell(&t, "%s", s->layers[i].type);
        cli_cell(&t, "%.0f", s->layers[i].parameters);
        cli_cell(&t, "%.3f", s->layers[i].macs * 1e-6);
        cli_cell(&t, "%.1f %%", s->macs > 0 ? 100 * s->layers[i].macs / s->macs : 0.0);
    }
    cli_table_print(&t, 0);
    if (shown < s->n_layers) printf("... and %zu smaller ones (--layers lists all)\n", s->n_layers - shown);
    printf("\n%zu layers can be quantized, %.2f million multiply-accumulates\n", s->n_layers, s->macs * 1e-6);
}

static void print_text(struct inspection *s, const struct arguments *a)
{
    char *path = cli_printable(s->path, 0), *file = cli_bytes(s->file_bytes), *weights = cli_bytes((double)s->summary.parameter_bytes);
    printf("%s: ONNX IR %lld, opset %lld, %d nodes, %zu parameters in %s, file %s\n\n", path, (long long)s->summary.ir_version,
           (long long)s->summary.opset, s->summary.nodes, s->summary.parameters, weights, file);
    free(path);
    free(file);
    free(weights);
    print_values(s, false);
    print_values(s, true);
    print_operators(s);
    print_layers(s, a->layers);
    if (s->summary.quantized_nodes) printf("%d nodes are quantized already; they stay as they are\n", s->summary.quantized_nodes);
    if (s->summary.unsupported) printf("%d nodes cannot be executed\n", s->summary.unsupported);
}

/* ---- JSON ---- */
static void json_values(struct cli_json *j, const struct inspection *s, bool outputs)
{
    int n = outputs ? clq_model_output_count(s->model) : clq_model_input_count(s->model);
    cli_json_array(j, outputs ? "outputs" : "inputs");
    for (int i = 0; i < n; i++) {
        clq_value_desc d;
        if ((outputs ? clq_model_output(&d, s->model, i) : clq_model_input(&d, s->model, i)) != CLQ_OK) continue;
        cli_json_object(j, NULL);
        cli_json_text(j, "name", d.name);
        cli_json_text(j, "dtype", clq_dtype_name(d.dtype));
        cli_json_dims(j, "shape", d.rank, d.shape);
        cli_json_end(j, '}');
    }
    cli_json_end(j, ']');
}

static void json_operators(struct cli_json *j, const struct inspection *s)
{
    cli_json_array(j, "operators");
    for (size_t i = 0; i < s->n_operators; i++) {
        cli_json_object(j, NULL);
        cli_json_text(j, "domain", s->operators[i].domain);
        cli_json_text(j, "op", s->operators[i].type);
        cli_json_whole(j, "count", s->operators[i].count);
        cli_json_bool(j, "supported", s->operators[i].supported);
        cli_json_end(j, '}');
    }
    cli_json_end(j, ']');
    cli_json_array(j, "unsupported");
    for (size_t i = 0; i < s->n_operators; i++)
        if (!s->operators[i].supported) cli_json_text(j, NULL, s->operators[i].type);
    cli_json_end(j, ']');
}

static void print_json(const struct inspection *s)
{
    struct cli_json j;
    cli_json_start(&j);
    cli_json_text(&j, "model", s->path);
    cli_json_real(&j, "file_bytes", s->file_bytes);
    cli_json_whole(&j, "ir_version", s->summary.ir_version);
    cli_json_whole(&j, "opset", s->summary.opset);
    cli_json_whole(&j, "nodes", s->summary.nodes);
    cli_json_whole(&j, "constants", s->summary.constants);
    cli_json_real(&j, "parameters", (double)s->summary.parameters);
    cli_json_real(&j, "parameter_bytes", (double)s->summary.parameter_bytes);
    cli_json_whole(&j, "quantized_nodes", s->summary.quantized_nodes);
    cli_json_whole(&j, "unsupported_nodes", s->summary.unsupported);
    json_values(&j, s, false);
    json_values(&j, s, true);
    json_operators(&j, s);
    cli_json_array(&j, "layers");
    for (size_t i = 0; i < s->n_layers; i++) {
        cli_json_object(&j, NULL);
        cli_json_text(&j, "name", s->layers[i].name);
        cli_json_text(&j, "op", s->layers[i].type);
        cli_json_real(&j, "parameters", s->layers[i].parameters);
        cli_json_real(&j, "macs", s->layers[i].macs);
        cli_json_end(&j, '}');
    }
    cli_json_end(&j, ']');
    cli_json_text(&j, "layers_unknown", s->layers_known ? NULL : s->layers_reason);
    cli_json_print(&j);
}

int cli_inspect(struct cli *cli, int argc, char **argv)
{
    struct arguments a = {0};
    struct inspection s = {0};
    int code = cli_parse(cli, &spec, &a, &s.path, argc, argv);
    if (code == CLI_GO_ON) code = cli_open(cli);
    if (code == CLI_GO_ON) code = cli_load(cli, &s.model, s.path);
    if (code == CLI_GO_ON) code = collect(cli, &a, &s);
    if (code == CLI_GO_ON) {
        if (cli->json) print_json(&s);
        else print_text(&s, &a);
        code = CLI_DONE;
    }
    forget(&s);
    return code;
}
