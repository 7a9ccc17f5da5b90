/* SPDX-License-Identifier: Apache-2.0
 * The measurement profile: times of layers and conversions, kept between runs and carried between machines. An
 * environment is everything that a time depends on beside the work itself; a time is reused only where all of it is
 * equal. A profile is advice: without it the same work is measured again. */
#ifndef CLQ_SCHEDULER_PROFILE_H
#define CLQ_SCHEDULER_PROFILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/map.h"

#define CLQ_PROFILE_VERSION 1
#define CLQ_PROFILE_MAX_BYTES ((size_t)64 << 20)

struct clq_profile_key {
    const char *device, *driver, *kernel_hash, *clquant, *isa, *onednn;
    int threads;
};

/* One time. The text of a signature is the caller's: the operator with its types and shapes, or a conversion. place is the
 * node's place in its network (what runs before it decides what the caches hold). */
struct clq_profile_entry {
    const char *signature, *place, *scheme;
    double time_us;   /* median, > 0 */
    double spread_us; /* interquartile range */
    int timings;      /* >= 1 */
};

struct clq_profile_environment {
    struct clq_profile_key key;
    struct clq_profile_entry *entries;
    size_t n_entries, capacity;
    struct clq_map index;
};

struct clq_profile {
    struct clq_arena arena; /* owns all texts and lists */
    struct clq_profile_environment *environments;
    size_t n_environments, capacity;
};

void clq_profile_start(struct clq_profile *profile);
void clq_profile_release(struct clq_profile *profile);
/* Moves a profile to another place, which holds nothing; what was there before the move is empty. Profiles are never copied as
 * structs: their indexes know where their memory is. */
void clq_profile_move(struct clq_profile *to, struct clq_profile *from);

/* The entry, or NULL. */
const struct clq_profile_entry *clq_profile_find(const struct clq_profile *profile, const struct clq_profile_key *key,
                                                 const char *signature, const char *place, const char *scheme);
/* Adds or replaces. CLQ_ERR_INVALID_ARGUMENT for a time that is none. */
clq_status clq_profile_put(struct clq_profile *profile, const struct clq_profile_key *key, const struct clq_profile_entry *entry,
                           struct clq_error *err);

struct clq_profile_merged {
    size_t added, replaced, kept;
};
/* Takes over what from has: of two entries for the same work the one with more timings stays, on a tie the one that is
 * already there. */
clq_status clq_profile_merge(struct clq_profile_merged *out, struct clq_profile *into, const struct clq_profile *from,
                             struct clq_error *err);

/* Drops the environments of this device, ISA and thread count whose driver, kernels, clquant or oneDNN are others. reason
 * (may be NULL) gets one line, "" if nothing was dropped. */
size_t clq_profile_drop_stale(struct clq_profile *profile, const struct clq_profile_key *key, char *reason, size_t reason_size);

/* The text, sorted, so that equal contents are equal bytes; for free(). */
clq_status clq_profile_text(char **out, size_t *bytes, const struct clq_profile *profile, struct clq_error *err);
clq_status clq_profile_parse(struct clq_profile *profile, const char *text, size_t bytes, const char *what, struct clq_error *err);

/* Reads a cache. A file that is absent, unreadable, damaged or of another version gives an empty profile and CLQ_OK:
 * reason gets one line, "" when the file was read or does not exist. */
clq_status clq_profile_load(struct clq_profile *profile, const char *path, char *reason, size_t reason_size, struct clq_error *err);
/* Replaces the file at once, never half. */
clq_status clq_profile_save(const struct clq_profile *profile, const char *path, struct clq_error *err);

#endif
