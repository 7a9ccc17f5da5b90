/* SPDX-License-Identifier: Apache-2.0
 * The texts of the statuses. */
#include <clquant/status.h>

const char *clq_status_name(clq_status status)
{
    static const char *const text[] = {
        "success", "an argument is invalid", "out of memory", "reading or writing failed", "the file is malformed",
        "not supported", "no such device", "a device failed", "a device program does not build",
        "the data is not finite or a number is out of range", "no plan meets the budget", "an internal error",
    };
    unsigned i = (unsigned)status;
    return i < sizeof text / sizeof *text ? text[i] : "unknown status";
}
