# SPDX-License-Identifier: Apache-2.0
foreach(name test_cpu_dnnl test_cpu_dnnl_rows)
  add_executable(${name} ${CMAKE_CURRENT_LIST_DIR}/${name}.c)
  target_link_libraries(${name} PRIVATE clq_cpu_dnnl clq_base cmocka)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "quick")
endforeach()
