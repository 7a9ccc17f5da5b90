/* SPDX-License-Identifier: Apache-2.0
 *
 * status.h - the one result type of the library, and what every status means.
 *
 * Every function that can fail returns a clq_status. CLQ_OK is 0 and nothing else encodes failure. The text that says
 * which thing was wrong, what was expected and what was found is held by the object that failed: see
 * clq_error_message() in context.h.
 *
 *     clq_status st = clq_context_create(&ctx, NULL);
 *     if (st != CLQ_OK)
 *         fprintf(stderr, "clquant: %s\n", clq_status_name(st));
 */
#ifndef CLQUANT_STATUS_H
#define CLQUANT_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

/* Marks what the shared library exports. Everything else is hidden. */
#if defined(__GNUC__)
#define CLQ_API __attribute__((visibility("default")))
#else
#define CLQ_API
#endif

/* The statuses. The numbers are part of the binary interface and never change. */
typedef enum clq_status {
    CLQ_OK = 0,
    CLQ_ERR_INVALID_ARGUMENT = 1, /* a caller's value is out of its range */
    CLQ_ERR_OUT_OF_MEMORY = 2,
    CLQ_ERR_IO = 3,               /* a file cannot be read or written */
    CLQ_ERR_FORMAT = 4,           /* a file breaks its format's rules */
    CLQ_ERR_UNSUPPORTED = 5,      /* an operator, type or option that is not implemented */
    CLQ_ERR_NO_DEVICE = 6,        /* the named device does not exist */
    CLQ_ERR_DEVICE = 7,           /* a device refused or lost a piece of work */
    CLQ_ERR_BUILD = 8,            /* a device program does not compile */
    CLQ_ERR_NUMERIC = 9,          /* data that is not finite, or a scale out of range */
    CLQ_ERR_BUDGET = 10,          /* no plan meets the requested bounds */
    CLQ_ERR_INTERNAL = 11         /* a bug in clquant */
} clq_status;

/* The static text of a status, for example "out of memory". Never NULL. */
CLQ_API const char *clq_status_name(clq_status status);

#ifdef __cplusplus
}
#endif
#endif
