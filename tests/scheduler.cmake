# SPDX-License-Identifier: Apache-2.0
# Tests of scheduler/: they link that folder and host/base, nothing else.
function(clq_scheduler_test name label)
  add_executable(${name} ${CMAKE_CURRENT_LIST_DIR}/${name}.c)
  target_link_libraries(${name} PRIVATE clq_scheduler clq_base cmocka)
  target_compile_definitions(${name} PRIVATE CLQ_TEST_DATA="${CMAKE_CURRENT_LIST_DIR}/data")
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${label};serial")
endfunction()

clq_scheduler_test(test_compare ci)
clq_scheduler_test(test_error quick)
clq_scheduler_test(test_steady quick)
clq_scheduler_test(test_plan quick)
clq_scheduler_test(test_profile quick)
clq_scheduler_test(test_tuning quick)
clq_scheduler_test(test_solve ci)
clq_scheduler_test(test_solve_policies quick)
clq_scheduler_test(test_refine quick)
