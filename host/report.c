#include "result.h"
clq_status clq_result_write_report(clq_result *r, const char *html_path, bool force)
{
    struct clq_file_id input;
    struct clq_writer_options o = {.force = force, .inputs = &input, .n_inputs = clq_result_input(&input, r)};
    return clq_file_write(html_path, "x", 1, &o, &r->ctx->error);
}
