/* SPDX-License-Identifier: Apache-2.0
 * What a session is, for the two files that implement it. */
#ifndef CLQ_SESSION_H
#define CLQ_SESSION_H

#include <clquant/model.h>

#include "base/map.h"
#include "runner.h"

struct clq_session {
    struct clq_context *ctx;
    struct clq_model model; /* simplified */
    struct clq_runner runner;
    struct clq_arena arena;
    struct clq_map on_device;   /* the nodes that the file gives to the OpenCL device */
};

#endif
