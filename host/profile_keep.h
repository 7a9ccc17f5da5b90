/* SPDX-License-Identifier: Apache-2.0
 * One change of the profile file at a time. Internal to the files named profile_*. */
#ifndef CLQ_PROFILE_KEEP_H
#define CLQ_PROFILE_KEEP_H

#include "profile_use.h"

#define CLQ_PROFILE_LEAST_US 1e-6 /* stands for a time of zero, which an entry cannot hold */

/* Something to add to a profile: whether all of it is there, and putting it there. */
struct clq_profile_addition {
    bool (*present)(const struct clq_profile_use *u, void *what);
    clq_status (*put)(struct clq_profile_use *u, void *what, struct clq_error *err);
    void *what;
};

/* Reads the file again under its lock, adds, and replaces it. What somebody else put there first stays. */
clq_status clq_profile_keep(struct clq_profile_use *u, const struct clq_profile_addition *a, struct clq_error *err);

#endif
