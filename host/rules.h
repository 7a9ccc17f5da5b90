/* SPDX-License-Identifier: Apache-2.0
 * Rules by name: which layers have their mode from the user. "NAME=MODE" or "re:REGEX=MODE" (a POSIX extended regular
 * expression that is found anywhere in the name); of several rules that match a layer the last one holds. */
#ifndef CLQ_RULES_H
#define CLQ_RULES_H

#include "search.h"

/* Sets rule of the matching records, and takes int8 from those that are to stay in float32. A rule that matches no layer,
 * or is malformed, is CLQ_ERR_INVALID_ARGUMENT. */
clq_status clq_rules_apply(struct clq_search *s, const char *const *rules, size_t n, struct clq_error *err);
/* After it is known what can be computed: CLQ_ERR_INVALID_ARGUMENT names a layer that was asked for by its name and has
 * no such form, or a rule of which that holds for all layers. Elsewhere the rule is dropped. */
clq_status clq_rules_check(struct clq_search *s, const char *const *rules, size_t n, struct clq_error *err);

#endif
