# SPDX-License-Identifier: Apache-2.0
# Models through the whole pipeline: lowering, quantized files, quantization, and the edges that users meet.
# Each test has its own folder for files: tests run at once.
function(clq_pipeline_test name)
  set(scratch ${CMAKE_CURRENT_BINARY_DIR}/${name}.scratch)
  file(MAKE_DIRECTORY ${scratch})
  add_executable(${name} ${CMAKE_CURRENT_LIST_DIR}/${name}.c)
  target_link_libraries(${name} PRIVATE clq_all cmocka m)
  target_compile_definitions(${name} PRIVATE CLQ_TEST_EXAMPLE="${PROJECT_SOURCE_DIR}/examples/fashion_mnist"
                                             CLQ_TEST_SCRATCH="${scratch}")
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "quick" TIMEOUT 600)
endfunction()

clq_pipeline_test(test_graph)
clq_pipeline_test(test_stages)
clq_pipeline_test(test_graph_attention)
set_tests_properties(test_graph_attention PROPERTIES SKIP_RETURN_CODE 77)
clq_pipeline_test(test_graph_patterns)
clq_pipeline_test(test_graph_rows)
clq_pipeline_test(test_graph_expand)
set_tests_properties(test_graph_expand PROPERTIES ENVIRONMENT "POCL_CACHE_DIR=${CLQ_TEST_POCL_CACHE}" RESOURCE_LOCK pocl)
clq_pipeline_test(test_graph_transposed)
clq_pipeline_test(test_graph_residual)
clq_pipeline_test(test_rows)
clq_pipeline_test(test_groups)
clq_pipeline_test(test_modes)
clq_pipeline_test(test_scaling)
