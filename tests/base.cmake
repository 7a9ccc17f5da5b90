# SPDX-License-Identifier: Apache-2.0
add_executable(test_pool ${CMAKE_CURRENT_LIST_DIR}/test_pool.c)
target_link_libraries(test_pool PRIVATE clq_base cmocka)
add_test(NAME test_pool COMMAND test_pool)
set_tests_properties(test_pool PROPERTIES LABELS quick)

add_executable(test_tune_cpu ${CMAKE_CURRENT_LIST_DIR}/test_tune_cpu.c)
target_link_libraries(test_tune_cpu PRIVATE clq_all cmocka)
add_test(NAME test_tune_cpu COMMAND test_tune_cpu ${CMAKE_CURRENT_BINARY_DIR}/cpu-tuning.json)
set_tests_properties(test_tune_cpu PROPERTIES LABELS quick TIMEOUT 300)

file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/test_journal.scratch)
add_executable(test_journal ${CMAKE_CURRENT_LIST_DIR}/test_journal.c)
target_link_libraries(test_journal PRIVATE clq_base cmocka)
add_test(NAME test_journal COMMAND test_journal ${CMAKE_CURRENT_BINARY_DIR}/test_journal.scratch)
set_tests_properties(test_journal PROPERTIES LABELS quick)
