/* SPDX-License-Identifier: Apache-2.0
 * clquant diff: what two plans decided differently, layer by layer, and what both reached. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <clquant/plan.h>

#include "cli.h"
#include "out.h"

static const char *const positional[] = {"PLAN", "PLAN"};

static const struct cli_spec spec = {
    .name = "diff",
    .arguments = "A.plan.json B.plan.json",
    .summary = "Prints the layers whose precision or device two plans choose differently, with error and time of both choices,\n"
               "and what both plans reached. Exit code 1 where a layer differs, 0 where none does.\n",
    .least = 2,
    .most = 2,
    .positional = positional,
    .example = "  clquant diff yesterday.onnx.plan.json today.onnx.plan.json\n",
};

struct named {
    const char *name;
    size_t layer, choice;
};

struct side {
    clq_plan *plan;
    clq_plan_info info;
    struct named *by_name; /* [info.layers], of equal names the first layer first */
};

static int by_name(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : (x->layer > y->layer) - (x->layer < y->layer);
}

static void sort_layers(struct side *s)
{
    s->by_name = cli_alloc((s->info.layers + 1) * sizeof *s->by_name);
    for (size_t i = 0; i < s->info.layers; i++) {
        clq_plan_layer_info l = {.name = ""};
        (void)clq_plan_layer_get(&l, s->plan, i);
        s->by_name[i] = (struct named){l.name, i, l.choice};
    }
    qsort(s->by_name, s->info.layers, sizeof *s->by_name, by_name);
}

/* The first layer of this name, or NULL. */
static const struct named *find_layer(const struct side *s, const char *name)
{
    size_t lo = 0, hi = s->info.layers;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (strcmp(s->by_name[mid].name, name) < 0) lo = mid + 1;
        else hi = mid;
    }
    return lo < s->info.layers && strcmp(s->by_name[lo].name, name) == 0 ? &s->by_name[lo] : NULL;
}

/* A layer that one plan has, and its choice there. */
struct choice {
    bool known;
    clq_plan_candidate_info c;
};

static struct choice choice_of(const struct side *s, const char *name)
{
    struct choice out = {.c = {.precision = "", .device = "", .error = NAN, .sqnr_db = NAN, .time_us = NAN}};
    const struct named *l = find_layer(s, name);
    out.known = l && clq_plan_candidate_get(&out.c, s->plan, l->layer, l->choice) == CLQ_OK;
    return out;
}

static bool differ(const struct choice *a, const struct choice *b)
{
    return a->known != b->known || strcmp(a->c.precision, b->c.precision) != 0 || strcmp(a->c.device, b->c.device) != 0;
}

/* Visits every layer of either plan that differs: those of the first in its order, then those that only the second has. */
static size_t visit(const struct side *a, const struct side *b, void (*each)(void *state, const char *name, const struct choice *x, const struct choice *y), void *state)
{
    size_t n = 0;
    const struct side *sides[2] = {a, b};
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < sides[k]->info.layers; i++) {
            clq_plan_layer_info l;
            if (clq_plan_layer_get(&l, sides[k]->plan, i) != CLQ_OK) continue;
            struct choice x = choice_of(a, l.name), y = choice_of(b, l.name);
            if (!differ(&x, &y) || (k == 1 && x.known)) continue;
            each(state, l.name, &x, &y);
            n++;
        }
    return n;
}

/* ---- Text ---- */
static void cells(struct cli_table *t, const struct choice *x)
{
    cli_cell(t, "%s", x->known ? x->c.precision : "-");
    cli_cell_take(t, cli_decibel(!x->known ? (double)NAN : isnan(x->c.sqnr_db) ? (double)INFINITY : x->c.sqnr_db));
    cli_cell_take(t, cli_time(x->known && x->c.timings ? x->c.time_us * 1e-6 : (double)NAN));
}

static void add_row(void *state, const char *name, const struct choice *x, const struct choice *y)
{
    struct cli_table *t = state;
    cli_cell_take(t, cli_printable(name, 0));
    cells(t, x);
    cells(t, y);
    cli_cell(t, "%s%s%s", x->c.device, strcmp(x->c.device, y->c.device) == 0 ? "" : " / ", strcmp(x->c.device, y->c.device) == 0 ? "" : y->c.device);
}

static void print_side(const char *letter, const clq_plan_info *p)
{
    char *db = cli_decibel(p->identical ? (double)INFINITY : p->sqnr_db), *reason = cli_printable(p->reason, 0);
    char *isa = cli_printable(p->isa, 0), *runtime = cli_printable(p->runtime, 0);
    printf("%s: %s", letter, db);
    if (!isnan(p->speedup)) printf(", %.2f x float (95 %%: %.2f to %.2f)", p->speedup, p->speedup_lo, p->speedup_hi);
    printf(", %d thread%s on %s, %s: %s\n", p->threads, p->threads == 1 ? "" : "s", isa, runtime, reason);
    free(isa);
    free(runtime);
    free(db);
    free(reason);
}

static size_t print_text(const struct side *a, const struct side *b)
{
    static const char *const titles[] = {"layer", "A", "SQNR alone", "time", "B", "SQNR alone", "time", "device"};
    struct cli_table t;
    print_side("A", &a->info);
    print_side("B", &b->info);
    if (strcmp(a->info.model_sha256, b->info.model_sha256) != 0) printf("the plans belong to different models\n");
    cli_table_start(&t, 8, "llrrlrrl", titles);
    size_t n = visit(a, b, add_row, &t);
    printf("%zu layer%s differ%s\n\n", n, n == 1 ? "" : "s", n == 1 ? "s" : "");
    cli_table_print(&t, 0);
    return n;
}

/* ---- JSON ---- */
static void json_choice(struct cli_json *j, const char *name, const struct choice *x)
{
    cli_json_object(j, name);
    cli_json_text(j, "precision", x->known ? x->c.precision : NULL);
    cli_json_text(j, "device", x->known ? x->c.device : NULL);
    cli_json_real(j, "error", x->c.error);
    cli_json_real(j, "time_us", x->known && x->c.timings ? x->c.time_us : (double)NAN);
    cli_json_end(j, '}');
}

static void json_row(void *state, const char *name, const struct choice *x, const struct choice *y)
{
    struct cli_json *j = state;
    cli_json_object(j, NULL);
    cli_json_text(j, "name", name);
    json_choice(j, "a", x);
    json_choice(j, "b", y);
    cli_json_end(j, '}');
}

static void json_side(struct cli_json *j, const char *name, const clq_plan_info *p)
{
    cli_json_object(j, name);
    cli_json_text(j, "model_sha256", p->model_sha256);
    cli_json_real(j, "sqnr_db", p->sqnr_db);
    cli_json_bool(j, "identical", p->identical);
    cli_json_real(j, "speedup", p->speedup);
    cli_json_real(j, "speedup_lo", p->speedup_lo);
    cli_json_real(j, "speedup_hi", p->speedup_hi);
    cli_json_text(j, "runtime", p->runtime);
    cli_json_whole(j, "threads", p->threads);
    cli_json_end(j, '}');
}

static size_t print_json(const struct side *a, const struct side *b)
{
    struct cli_json j;
    cli_json_start(&j);
    json_side(&j, "a", &a->info);
    json_side(&j, "b", &b->info);
    cli_json_bool(&j, "same_model", strcmp(a->info.model_sha256, b->info.model_sha256) == 0);
    cli_json_array(&j, "layers");
    size_t n = visit(a, b, json_row, &j);
    cli_json_end(&j, ']');
    cli_json_print(&j);
    return n;
}

/* ---- The command ---- */
int cli_diff(struct cli *cli, int argc, char **argv)
{
    const char *words[2];
    struct side side[2] = {0};
    int code = cli_parse(cli, &spec, NULL, words, argc, argv);
    if (code == CLI_GO_ON) code = cli_open(cli);
    for (int k = 0; k < 2 && code == CLI_GO_ON; k++) {
        clq_status st = clq_plan_load(&side[k].plan, cli->ctx, words[k]);
        if (st == CLQ_OK) st = clq_plan_describe(&side[k].info, side[k].plan);
        if (st != CLQ_OK) code = cli_fail(cli, st);
        else sort_layers(&side[k]);
    }
    if (code == CLI_GO_ON) code = (cli->json ? print_json : print_text)(&side[0], &side[1]) ? CLI_FAILED : CLI_DONE;
    for (int k = 0; k < 2; k++) {
        free(side[k].by_name);
        clq_plan_free(side[k].plan);
    }
    return code;
}
