/* SPDX-License-Identifier: Apache-2.0
 *
 * clquant.h - all public headers.
 *
 *     #include <clquant/clquant.h>
 */
#ifndef CLQUANT_CLQUANT_H
#define CLQUANT_CLQUANT_H

#include <clquant/buffers.h>
#include <clquant/context.h>
#include <clquant/data.h>
#include <clquant/model.h>
#include <clquant/plan.h>
#include <clquant/quantize.h>
#include <clquant/status.h>
#include <clquant/tensor.h>
#include <clquant/version.h>

#endif
