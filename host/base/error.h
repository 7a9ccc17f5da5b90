/* SPDX-License-Identifier: Apache-2.0
 * The text of the last failure. Every internal function that can fail takes a clq_error as its last parameter, writes
 * one line that names the thing, the expected and the actual value, and returns the status. */
#ifndef CLQ_BASE_ERROR_H
#define CLQ_BASE_ERROR_H

#include <clquant/status.h>

struct clq_error {
    char text[1024];
};

/* Writes the message (err may be NULL; control characters and invalid UTF-8 are escaped) and returns status, so that
 * a caller can write: return clq_fail(err, CLQ_ERR_FORMAT, "tensor '%s': ...", name); */
clq_status clq_fail(struct clq_error *err, clq_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Forwards a failure. The only macro that hides a return. */
#define CLQ_TRY(expr)                            \
    do {                                         \
        clq_status clq_try_ = (expr);            \
        if (clq_try_ != CLQ_OK) return clq_try_; \
    } while (0)

#endif
