/* SPDX-License-Identifier: Apache-2.0
 * Models whose shapes depend on values run in stages. A program holds every node whose shapes are known before it runs.
 * The nodes that wait for a value, and all that read their results, become a model of their own: the rest. Its graph
 * inputs are what those nodes read; the ones that decide shapes are bound, that is, they are constants of the program that
 * is compiled for the rest once they are known. A program is kept as long as shapes and bound values stay the same. */
#ifndef CLQ_GRAPH_STAGES_H
#define CLQ_GRAPH_STAGES_H

#include "base/map.h"
#include "graph/program.h"

enum { CLQ_STAGE_KEEP = 2, CLQ_STAGE_MOST = 64, CLQ_NESTED_MOST = 12 };

/* A model and the programs that were compiled for it last. */
struct clq_stage {
    struct clq_context *ctx;
    struct clq_model model; /* borrows everything from the arena of the program around it */
    struct clq_program_options options;
    struct clq_program *programs[CLQ_STAGE_KEEP];
    int latest;
};

struct clq_rest {
    struct clq_stage stage;
    const char *why;     /* the message of the first node that waits */
    int n_here, *here;   /* output i of the program is output here[i] of its model, for the first n_here */
    int *from;           /* input k of the rest is output from[k] of the program */
    int *later;          /* output i of the rest is output later[i] of the model */
};

clq_status clq_stage_program(struct clq_program **out, struct clq_stage *stage, const clq_tensor *inputs, struct clq_error *err);
void clq_stage_free(struct clq_stage *stage);

/* Runs a program and all stages behind it. As clq_program_run. */
clq_status clq_stages_run(struct clq_program *p, const clq_tensor *inputs, clq_tensor *outputs, clq_tap_fn *tap, void *tap_state,
                          struct clq_error *err);

/* Whether a program fits the inputs: types, shapes and the values of bound inputs. */
bool clq_program_fits(const struct clq_program *p, const clq_tensor *inputs);

/* ---- While a program is inferred ---- */
struct clq_inference {
    struct clq_program *p;
    struct clq_map names;   /* values by name */
    struct clq_map waiting; /* outputs of nodes that belong to the rest */
    const struct clq_program_options *options;
    const struct clq_node **deferred;
    int n_deferred, cap_deferred;
    const char *why;
    struct clq_error *err;
};

/* Moves a node into the rest. */
clq_status clq_inference_defer(struct clq_inference *f, const struct clq_node *node);
/* Makes p->rest and the program's outputs of what was deferred. */
clq_status clq_inference_finish(struct clq_inference *f);

/* ---- Nested graphs: an iterative walk, the outermost first ---- */
struct clq_nested {
    struct clq_arena *arena;
    const struct clq_graph **todo;
    int n, capacity, node, attr; /* node and attr: where the walk is in current */
    const struct clq_graph *current;
};
void clq_nested_start(struct clq_nested *walk, struct clq_arena *arena, const struct clq_graph *graph);
/* Sets *out to the next graph inside the one that the walk started with, or to NULL. */
clq_status clq_nested_next(struct clq_nested *walk, const struct clq_graph **out, struct clq_error *err);

/* ---- If, Loop and Scan (control.c) ---- */
enum clq_control { CLQ_CONTROL_NONE, CLQ_CONTROL_IF, CLQ_CONTROL_LOOP, CLQ_CONTROL_SCAN };
enum clq_control clq_control_kind(const struct clq_node *node, int64_t opset);
/* Runs a Loop or Scan whose inputs and captured values are all constants of p; out receives one array per output. */
clq_status clq_control_run(struct clq_inference *f, const struct clq_node *node, const clq_tensor *in, clq_tensor *out);

#endif
