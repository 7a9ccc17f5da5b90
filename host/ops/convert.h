/* SPDX-License-Identifier: Apache-2.0
 * Reading and writing single elements of any numeric type, for the operators whose speed does not matter. */
#ifndef CLQ_OPS_CONVERT_H
#define CLQ_OPS_CONVERT_H

#include "ops/util.h"

float clq_from_f16(uint16_t h);
uint16_t clq_to_f16(float x); /* half to even */
float clq_from_bf16(uint16_t h);
uint16_t clq_to_bf16(float x);

/* Any numeric type, nibbles too. */
double clq_load_real(const clq_tensor *t, int64_t i);
int64_t clq_load_int(const clq_tensor *t, int64_t i); /* integer types and bool */
/* Floats round half to even. Integers truncate; a value out of the type's range is limited to it, NaN gives 0; nibbles
 * wrap instead, as the standard's examples do. */
void clq_store_real(const clq_tensor *t, int64_t i, double v);
/* Integers wrap to narrower ones; bool is v != 0. */
void clq_store_int(const clq_tensor *t, int64_t i, int64_t v);

/* Clears the unused half of the last byte before an odd number of nibbles is written. */
void clq_clear_padding(const clq_tensor *t);

bool clq_is_number(clq_dtype t); /* what load and store know */
bool clq_is_real(clq_dtype t);

#endif
