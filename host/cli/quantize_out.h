/* SPDX-License-Identifier: Apache-2.0
 * The final table and the JSON object of clquant quantize. */
#ifndef CLQ_CLI_QUANTIZE_OUT_H
#define CLQ_CLI_QUANTIZE_OUT_H

#include <clquant/quantize.h>

#include "cli.h"

struct cli_quantized {
    const clq_result *result;
    const char *model, *output, *plan, *report; /* report: NULL when none was asked for */
};

void cli_quantize_text(const struct cli_quantized *q);
void cli_quantize_json(const struct cli *cli, const struct cli_quantized *q);

#endif
