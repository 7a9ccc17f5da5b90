# SPDX-License-Identifier: Apache-2.0
add_executable(test_pool ${CMAKE_CURRENT_LIST_DIR}/test_pool.c)
target_link_libraries(test_pool PRIVATE clq_base cmocka)
add_test(NAME test_pool COMMAND test_pool)
set_tests_properties(test_pool PROPERTIES LABELS quick)
