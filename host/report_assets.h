/* SPDX-License-Identifier: Apache-2.0
 * The fixed parts of a report, embedded from host/report/ by host/report.cmake. */
#ifndef CLQ_REPORT_ASSETS_H
#define CLQ_REPORT_ASSETS_H

extern const char clq_report_css[], clq_report_js[];

#endif
