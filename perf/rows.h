/* SPDX-License-Identifier: Apache-2.0
 * Lines of a report: as a table while they are measured, as CSV, or as one JSON object at the end. */
#ifndef CLQ_PERF_ROWS_H
#define CLQ_PERF_ROWS_H

#include "base/json.h"
#include "perf/bench.h"
#include "perf/settings.h"

struct clq_row {
    const char *op, *type, *shape, *device, *kernel;
    int threads;
    int layers;            /* of a network that have this shape; 0: does not count */
    struct clq_bench bench;
};

/* The running sums of one group of lines: those of one type on one device. */
struct clq_group {
    const char *type;
    char device[128];
    double log_share, worst, seconds; /* seconds: of a network's layers, each as often as it occurs */
    char worst_shape[128];
    size_t n;
};
enum { CLQ_MAX_GROUPS = 16 };

struct clq_rows {
    const struct clq_settings *s;
    clq_json *list;
    struct clq_group group[CLQ_MAX_GROUPS];
    size_t groups, n;
    bool failed; /* memory */
};

void clq_rows_start(struct clq_rows *r, const struct clq_settings *s);
void clq_rows_add(struct clq_rows *r, const struct clq_row *row);
/* The geometric means, and the JSON object with the CPU's name; the exit code. */
int clq_rows_end(struct clq_rows *r);

/* Puts the command, the CPU's name, the ISA and the version into a document. False when memory is out. */
bool clq_report_head(clq_json *doc, const struct clq_settings *s);
/* Prints and frees the document; the exit code. */
int clq_report_print(clq_json *doc, const struct clq_settings *s);
/* The text of the model name in /proc/cpuinfo; "" where there is none. */
void clq_cpu_name(char *name, size_t bytes);

#endif
