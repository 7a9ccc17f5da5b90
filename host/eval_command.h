/* SPDX-License-Identifier: Apache-2.0
 * The user's own program scores a candidate model. The command's text is split into words here, with quotes and
 * backslashes as a shell has them, and nothing else of a shell: no variables, no pipes, no globs. */
#ifndef CLQ_EVAL_COMMAND_H
#define CLQ_EVAL_COMMAND_H

#include "base/error.h"

struct clq_context;
struct clq_model;

/* Whether the text can be split and names the model: a clear refusal before any work. */
clq_status clq_eval_command_check(const char *command, struct clq_error *err);
/* Writes the model to a private temporary file, runs the command with {model} replaced by its path, and takes the number
 * on the last line of its standard output. A failure, a timeout or another last line is CLQ_ERR_INVALID_ARGUMENT. */
clq_status clq_eval_command_score(double *out, struct clq_context *ctx, const char *command, double timeout_s, const struct clq_model *model,
                                  struct clq_error *err);

#endif
