/* SPDX-License-Identifier: Apache-2.0
 * The search for the fastest variant of a kernel family, whatever runs it: a variant's owner builds it and checks its results
 * exactly before it is timed, and only the rule of scheduler/compare.h moves the choice away from the first, the default. */
#ifndef CLQ_TUNE_SEARCH_H
#define CLQ_TUNE_SEARCH_H

#include <clquant/tune.h>

#include "base/error.h"
#include "scheduler/tuning.h"

enum { CLQ_TUNE_PROBLEMS = 5 }; /* at most, of one family */

/* A family and its legal variants, the default first. */
struct clq_tune_family {
    const char *name;
    size_t variants, problems;
    void *user;
    const char *(*variant)(void *user, size_t i);
    /* Prepares variant i and checks its results on every problem. *runner starts as NULL; what it has become is ended also after
     * a failure. */
    clq_status (*begin)(void **runner, void *user, size_t i, struct clq_error *err);
    clq_status (*run)(void *runner, size_t problem, struct clq_error *err); /* starts one run */
    clq_status (*finish)(void *runner, struct clq_error *err);              /* waits for what was started */
    void (*end)(void *runner);
};

/* One search over several families. The caller sets everything but n and done. */
struct clq_tune_search {
    clq_tune_row *rows;        /* room for every variant */
    size_t n;                  /* rows that are filled */
    size_t done, total;        /* variants tried, and in all */
    struct clq_tuning *tuning; /* gets a choice per family of which a variant passed */
    /* Called between measurements; false stops. family: its name; fraction of the whole, 0 to 1. NULL: not called. */
    bool (*progress)(void *user, const char *family, double fraction);
    void *user;
};

/* CLQ_ERR_INVALID_ARGUMENT "canceled" where progress said so. What a variant fails at goes to its row. */
clq_status clq_tune_search(struct clq_tune_search *s, const struct clq_tune_family *f, struct clq_error *err);

#endif
