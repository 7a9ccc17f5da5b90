# SPDX-License-Identifier: Apache-2.0
# Tests of the ONNX reader and writer. onnx_roundtrip.py runs onnx_copy over models and compares with onnxruntime.
add_executable(onnx_copy ${CMAKE_CURRENT_LIST_DIR}/onnx_copy.c)
target_link_libraries(onnx_copy PRIVATE clq_formats clq_base)

add_executable(test_onnx_hostile ${CMAKE_CURRENT_LIST_DIR}/test_onnx_hostile.c)
target_link_libraries(test_onnx_hostile PRIVATE clq_formats clq_base cmocka)
target_link_options(test_onnx_hostile PRIVATE LINKER:--wrap=malloc,--wrap=aligned_alloc)
target_compile_definitions(test_onnx_hostile PRIVATE CLQ_TEST_DATA="${CMAKE_CURRENT_LIST_DIR}/data")
add_test(NAME test_onnx_hostile COMMAND test_onnx_hostile)
set_tests_properties(test_onnx_hostile PROPERTIES LABELS "quick;serial")
