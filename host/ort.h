/* SPDX-License-Identifier: Apache-2.0
 * onnxruntime as a runtime: what its loader, its sessions and its profiler share. */
#ifndef CLQ_ORT_H
#define CLQ_ORT_H

#include "ort_api.h"
#include "runtime.h"

struct clq_ort {
    struct clq_runtime base; /* first */
    struct ort_api api;
    void *library;
    ort_object *env, *memory;
    int threads;
    char version[32], *spec;
};

/* CLQ_OK for a NULL status; otherwise releases it and fails with its text behind what. */
clq_status clq_ort_check(const struct clq_ort *ort, ort_status *status, clq_status kind, const char *what, struct clq_error *err);

/* profile_prefix: the start of the path of the file that end_profiling then names; NULL: no profile. */
clq_status clq_ort_open(void **session, struct clq_ort *ort, const struct clq_model *model, const char *profile_prefix, struct clq_error *err);
clq_status clq_ort_run(void *session, const clq_tensor *inputs, clq_tensor *outputs, struct clq_error *err);
void clq_ort_close(void *session);
ort_object *clq_ort_handle(void *session);

clq_status clq_ort_profile(struct clq_runtime *runtime, const struct clq_model *model, const clq_tensor *inputs, int runs, clq_node_time_fn *visit,
                           void *state, struct clq_error *err);
/* Reads a profile's text: visits every node, in the order of their first runs, with the mean of the faster three quarters of
 * its times. */
clq_status clq_ort_read_profile(const char *path, int runs, clq_node_time_fn *visit, void *state, struct clq_error *err);

#endif
