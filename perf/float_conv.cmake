# SPDX-License-Identifier: Apache-2.0
add_executable(float_conv ${CMAKE_CURRENT_LIST_DIR}/float_conv.c)
target_link_libraries(float_conv PRIVATE clq_cpu_dnnl clq_base)
