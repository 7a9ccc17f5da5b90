/* SPDX-License-Identifier: Apache-2.0
 * Times that outlive a run: what a search measures is kept in the user's profile and found there by the next run on the
 * same machine, kernels and network. A profile is advice: one that cannot be read or written is skipped with one line in
 * the log, and everything is measured. */
#ifndef CLQ_PROFILE_USE_H
#define CLQ_PROFILE_USE_H

#include "prove.h"
#include "scheduler/profile.h"
#include "search.h"

struct clq_profile_use {
    struct clq_context *ctx;
    const char *path;               /* NULL: nothing is read or kept */
    bool other;                     /* of another machine: read only, and nothing is timed here */
    bool remeasure;                 /* nothing is read; what is measured replaces what is there */
    bool said;                      /* the one line was logged */
    struct clq_search_journal *journal; /* verdicts are found there first, or NULL */
    struct clq_profile profile;     /* as found, and what was added since */
    struct clq_profile_key cpu, device;
    char cpu_name[160], isa[64], driver[400];
};

/* path is borrowed. Always leaves out in a state that the others accept. */
clq_status clq_profile_use_start(struct clq_profile_use *out, struct clq_context *ctx, const char *path, bool remeasure, struct clq_error *err);
/* The same for the profile of another machine, which has to be readable; device as in clq_quantize_options.other_device. */
clq_status clq_profile_use_other(struct clq_profile_use *out, struct clq_context *ctx, const char *path, const char *device, struct clq_error *err);
void clq_profile_use_end(struct clq_profile_use *use);

/* Takes the times of all units and conversions from the profile; *found is false, and nothing is changed, when one of them
 * is missing. inputs: the sample whose shapes the units have. */
clq_status clq_profile_use_times(bool *found, struct clq_profile_use *use, struct clq_search *s, const clq_tensor *inputs, struct clq_error *err);
/* Keeps all times. If another process did so in the meantime, its times are taken instead: the next run will find those. */
clq_status clq_profile_keep_times(struct clq_profile_use *use, struct clq_search *s, const clq_tensor *inputs, struct clq_error *err);

/* clq_prove_speed, but the verdict on these two models, shapes and pairs is taken from the profile where it is known,
 * and kept there otherwise. */
clq_status clq_profile_prove(struct clq_accept_verdict *out, struct clq_profile_use *use, const struct clq_proof_request *request, struct clq_error *err);
/* A hash of the network as times depend on it: operators, shapes, connections, and which units have which modes. */
clq_status clq_profile_network(uint64_t *out, struct clq_search *s, const clq_tensor *inputs, struct clq_error *err);

#endif
