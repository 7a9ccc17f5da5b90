/* SPDX-License-Identifier: Apache-2.0
 * The journal of a search: what it measured is found again by the same search after it was stopped, so that both choose the
 * same plan. Values are known by what they depend on: the job as a whole (its model, samples, options, device and version are
 * in the file's head), and the plan, parameters and weights of each. What is read is checked like any other input. */
#ifndef CLQ_SEARCH_JOURNAL_H
#define CLQ_SEARCH_JOURNAL_H

#include "base/journal.h"
#include "scheduler/compare.h"
#include "search.h"

struct clq_search_journal {
    struct clq_journal file;
    struct clq_context *ctx;
    uint64_t state[2]; /* of the weights that errors are measured with */
};

/* Opens options->journal_path for the job that s is set up for; s->journal stays NULL where none is asked for, and where it
 * cannot be had and was not to be continued. What happens is logged in one line. */
clq_status clq_search_journal_start(struct clq_search *s, const struct clq_model *source, const clq_data *data, const clq_quantize_options *options,
                                    struct clq_error *err);
/* Keeps the file, if anything is in it. */
void clq_search_journal_end(struct clq_search_journal *journal);
/* Names the weights that are final from here on. */
void clq_search_journal_weights(struct clq_search *s);

/* All of these: found returns whether it was, and does nothing without a journal; keep adds. */
struct clq_journal_key clq_journal_key_compare(const struct clq_search *s, const struct clq_probe *probe, const uint8_t *mode);
bool clq_journal_find_comparison(struct clq_search_journal *journal, struct clq_journal_key key, struct clq_comparison *c);
clq_status clq_journal_keep_comparison(struct clq_search_journal *journal, struct clq_journal_key key, const struct clq_comparison *c, struct clq_error *err);

struct clq_journal_key clq_journal_key_text(const char *kind, const char *a, const char *b);
bool clq_journal_find_verdict(struct clq_search_journal *journal, struct clq_journal_key key, struct clq_accept_verdict *v);
clq_status clq_journal_keep_verdict(struct clq_search_journal *journal, struct clq_journal_key key, const struct clq_accept_verdict *v, struct clq_error *err);

/* Times of all units in all modes, and conversions. */
bool clq_journal_find_times(struct clq_search *s);
clq_status clq_journal_keep_times(struct clq_search *s, struct clq_error *err);

/* The weights of a unit in groups. */
bool clq_journal_find_groups(struct clq_search *s, int unit, int mode, struct clq_group_weights *out);
clq_status clq_journal_keep_groups(struct clq_search *s, int unit, int mode, const struct clq_group_weights *g, struct clq_error *err);

/* clq_eval_command_score, unless the model's score is known. */
clq_status clq_search_score(double *out, struct clq_search *s, const char *command, double timeout_s, const struct clq_model *model, struct clq_error *err);

#endif
