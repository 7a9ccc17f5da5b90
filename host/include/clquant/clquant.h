/* SPDX-License-Identifier: Apache-2.0
 *
 * clquant.h - all public headers. One subject each:
 *
 *     context.h   threads, the device, callbacks, the last error: every call needs a context
 *     model.h     loads an ONNX file, runs and inspects it
 *     data.h      samples from NPZ, NPY or a folder of them
 *     evaluate.h  accuracy and error of a model on samples, and interleaved timing
 *     quantize.h  calibrates, measures, plans and writes a quantized model
 *     plan.h      reads what a plan decided, layer by layer
 *     buffers.h   the kernels on plain arrays, without a model
 *     int4.h      products with 4-bit weights in groups, on plain arrays
 *     tensor.h    element types, and the plain view of an array
 *     status.h    what calls return
 *     version.h   the version of the library
 *
 * A call returns CLQ_OK or an error; clq_error_message() then has one line about it. Objects are freed by the caller, with
 * the function named after them; a free function takes NULL. examples/quantize.c and examples/gemm.c are whole programs.
 */
#ifndef CLQUANT_CLQUANT_H
#define CLQUANT_CLQUANT_H

#include <clquant/buffers.h>
#include <clquant/context.h>
#include <clquant/data.h>
#include <clquant/evaluate.h>
#include <clquant/int4.h>
#include <clquant/model.h>
#include <clquant/frontier.h>
#include <clquant/plan.h>
#include <clquant/profile.h>
#include <clquant/quantize.h>
#include <clquant/status.h>
#include <clquant/tensor.h>
#include <clquant/tune.h>
#include <clquant/version.h>

#endif
