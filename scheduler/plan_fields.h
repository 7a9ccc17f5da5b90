/* SPDX-License-Identifier: Apache-2.0
 * The table that plan.c reads and writes by. */
#ifndef CLQ_SCHEDULER_PLAN_FIELDS_H
#define CLQ_SCHEDULER_PLAN_FIELDS_H

#include "scheduler/plan.h"
#include "scheduler/record.h"

extern const struct clq_record_table clq_plan_table;

#endif
