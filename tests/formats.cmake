# SPDX-License-Identifier: Apache-2.0
# Tests of host/base and formats/: they link these two parts and nothing else.
function(clq_format_test name)
  add_executable(${name} ${CMAKE_CURRENT_LIST_DIR}/${name}.c)
  target_link_libraries(${name} PRIVATE clq_formats clq_base cmocka)
  target_compile_definitions(${name} PRIVATE CLQ_TEST_DATA="${CMAKE_CURRENT_LIST_DIR}/data")
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "quick")
endfunction()

clq_format_test(test_file)
clq_format_test(test_json)
clq_format_test(test_npy)
clq_format_test(test_size)
clq_format_test(test_model)
