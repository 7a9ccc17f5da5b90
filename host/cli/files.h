/* SPDX-License-Identifier: Apache-2.0
 * What the command must know about files before any work starts, and the user's cache. */
#ifndef CLQ_CLI_FILES_H
#define CLQ_CLI_FILES_H

#include "cli.h"

/* Refuses an output that exists (without --force), that is one of the inputs (always; NULL entries are skipped), or whose
 * folder is not there or cannot be written. CLI_GO_ON or the exit code. */
int cli_check_output(struct cli *cli, const char *path, const char *const *inputs, int n_inputs);

/* Whether two paths name the same output, whether it exists or not. */
bool cli_same_output(const char *a, const char *b);

/* Where our folder in the user's cache is or would be, for free(); NULL where there is no home folder. */
char *cli_cache_path(void);
/* A folder of ours in the user's cache (made when it is missing), for free(); NULL when there is none, with the reason
 * in why. */
char *cli_cache_folder(const char **why);

/* A file name without any path: letters, digits, '.', '_' and '-'; never empty, never starting with a dot, at most 150
 * bytes. For free(). */
char *cli_safe_name(const char *name, const char *otherwise);

/* Where a job's journal goes, for free(): given, or beside the output (NULL: there is none). "none": *out is NULL. Refuses one
 * that is among the job's inputs and outputs (NULL entries are skipped), and --resume without any. */
int cli_find_journal(struct cli *cli, char **out, const char *given, bool resume, const char *beside, const char *const *others, int n);
/* After an interruption: what is kept, and how to go on. */
void cli_tell_journal(struct cli *cli, const char *journal);

/* Makes one folder; one that exists is fine. False with errno. */
bool cli_make_folder(const char *path);

/* The path of this executable, for free(), or NULL. */
char *cli_own_path(void);

#endif
