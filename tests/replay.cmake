# SPDX-License-Identifier: Apache-2.0
# Whole quantizations of the example network: replayed plans and kept measurements.
function(clq_quantize_test name label)
  set(scratch ${CMAKE_CURRENT_BINARY_DIR}/${name}.scratch)
  file(MAKE_DIRECTORY ${scratch})
  add_executable(${name} ${CMAKE_CURRENT_LIST_DIR}/${name}.c)
  target_link_libraries(${name} PRIVATE clq_all cmocka)
  target_compile_definitions(${name} PRIVATE CLQ_TEST_SCRATCH="${scratch}"
    CLQ_TEST_EXAMPLE="${PROJECT_SOURCE_DIR}/examples/fashion_mnist")
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${label}" TIMEOUT 300)
endfunction()

clq_quantize_test(test_replay ci)
clq_quantize_test(test_profile_use ci)
clq_quantize_test(test_resume ci)
clq_quantize_test(test_placement quick)
set_tests_properties(test_placement PROPERTIES ENVIRONMENT "POCL_CACHE_DIR=${CLQ_TEST_POCL_CACHE}" RESOURCE_LOCK pocl)
