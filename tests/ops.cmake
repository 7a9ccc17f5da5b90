# SPDX-License-Identifier: Apache-2.0
# The operator registry: hand-made cases, function bounds, hostile input, and ONNX's published node cases.
function(clq_ops_test name)
  add_executable(${name} ${CMAKE_CURRENT_LIST_DIR}/${name}.c)
  target_link_libraries(${name} PRIVATE clq_ops clq_base cmocka ${ARGN})
endfunction()

clq_ops_test(test_ops_nodes clq_formats)
file(GLOB CLQ_ONNX_NODE_DATA ${PROJECT_SOURCE_DIR}/build/venv/lib/python3*/site-packages/onnx/backend/test/data/node)
set(CLQ_ONNX_NODE_DATA "${CLQ_ONNX_NODE_DATA}" CACHE STRING "node cases of the onnx 1.22.0 package")
if(NOT CLQ_ONNX_NODE_DATA)
  set(CLQ_ONNX_NODE_DATA missing)
endif()
add_test(NAME ops_nodes_debian COMMAND test_ops_nodes /usr/share/libonnx-testdata/data/node 677)
add_test(NAME ops_nodes COMMAND test_ops_nodes ${CLQ_ONNX_NODE_DATA} 1292)
add_test(NAME ops_mutants COMMAND test_ops_nodes ${CLQ_ONNX_NODE_DATA} --mutants 3)
add_test(NAME ops_mutants_long COMMAND test_ops_nodes ${CLQ_ONNX_NODE_DATA} --mutants 100 7)
set_tests_properties(ops_mutants_long PROPERTIES SKIP_RETURN_CODE 77 LABELS "full" TIMEOUT 1800)
set_tests_properties(ops_nodes_debian ops_nodes ops_mutants PROPERTIES SKIP_RETURN_CODE 77 LABELS "quick")

# All floats in `full`, every 1009th for daily work. The loop test needs -O3, which is how clq_ops is built.
clq_ops_test(test_ops_math m)
target_compile_options(test_ops_math PRIVATE -fno-trapping-math)
add_test(NAME ops_math COMMAND test_ops_math 1009)
set_tests_properties(ops_math PROPERTIES LABELS "quick")
add_test(NAME ops_math_all COMMAND test_ops_math 1)
set_tests_properties(ops_math_all PROPERTIES LABELS "full" TIMEOUT 1800)

clq_ops_test(test_ops_hostile)
add_test(NAME ops_hostile COMMAND test_ops_hostile 300)
set_tests_properties(ops_hostile PROPERTIES LABELS "quick")
add_test(NAME ops_hostile_long COMMAND test_ops_hostile 20000 7)
set_tests_properties(ops_hostile_long PROPERTIES LABELS "full" TIMEOUT 1800)

clq_ops_test(test_ops m)
add_test(NAME ops COMMAND test_ops)
set_tests_properties(ops PROPERTIES LABELS "quick")

clq_ops_test(test_ops_move m)
add_test(NAME ops_move COMMAND test_ops_move)
set_tests_properties(ops_move PROPERTIES LABELS "quick")

clq_ops_test(test_ops_small m)
add_test(NAME ops_small COMMAND test_ops_small)
set_tests_properties(ops_small PROPERTIES LABELS "quick")
