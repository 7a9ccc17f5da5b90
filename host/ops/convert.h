/* SPDX-License-Identifier: Apache-2.0
 * Reading and writing single elements of any numeric type, for the operators whose speed does not matter. */
#ifndef CLQ_OPS_CONVERT_H
#define CLQ_OPS_CONVERT_H

#include "ops/util.h"

float clq_from_f16(uint16_t h);
uint16_t clq_to_f16(float x); /* half to even */
float clq_from_bf16(uint16_t h);
uint16_t clq_to_bf16(float x);

/* Any numeric type, packed and small ones too. */
double clq_load_real(const clq_tensor *t, int64_t i);
int64_t clq_load_int(const clq_tensor *t, int64_t i); /* integer types and bool */
/* Floats round half to even; those of 8 and 4 bits saturate, float8e8m0 is rounded up. Integers truncate; a value out of the
 * type's range is limited to it, NaN gives 0. */
void clq_store_real(const clq_tensor *t, int64_t i, double v);
/* Integers wrap to narrower ones; bool is v != 0. */
void clq_store_int(const clq_tensor *t, int64_t i, int64_t v);

/* Integers from a real number, wrapping: what the standard's examples do for 4 and 2 bits. */
void clq_store_wrapped(const clq_tensor *t, int64_t i, double v);

/* The small floating types: 8 and 4 bits wide. */
enum clq_round { CLQ_ROUND_UP, CLQ_ROUND_DOWN, CLQ_ROUND_NEAREST }; /* of float8e8m0 */
bool clq_is_small_float(clq_dtype t);
double clq_from_small(clq_dtype t, unsigned code);
/* to_small: without saturate, what is out of range becomes infinity, or NaN where the type has none. */
void clq_store_code(const clq_tensor *t, int64_t i, unsigned code);
unsigned clq_to_small(clq_dtype t, float x, bool saturate, enum clq_round round);

/* Clears the last byte before a number of packed elements that does not fill it is written. */
void clq_clear_padding(const clq_tensor *t);

bool clq_is_number(clq_dtype t); /* what load and store know */
bool clq_is_real(clq_dtype t);

#endif
