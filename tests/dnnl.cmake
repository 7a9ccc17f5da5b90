# SPDX-License-Identifier: Apache-2.0
add_executable(test_cpu_dnnl ${CMAKE_CURRENT_LIST_DIR}/test_cpu_dnnl.c)
target_link_libraries(test_cpu_dnnl PRIVATE clq_cpu_dnnl clq_base cmocka)
add_test(NAME test_cpu_dnnl COMMAND test_cpu_dnnl)
set_tests_properties(test_cpu_dnnl PROPERTIES LABELS "quick")
