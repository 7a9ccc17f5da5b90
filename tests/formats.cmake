# SPDX-License-Identifier: Apache-2.0
# Tests of host/base and formats/: they link these two parts and nothing else.
function(clq_format_test name)
  add_executable(${name} ${CMAKE_CURRENT_LIST_DIR}/${name}.c)
  target_link_libraries(${name} PRIVATE clq_formats clq_base cmocka)
  target_compile_definitions(${name} PRIVATE CLQ_TEST_DATA="${CMAKE_CURRENT_LIST_DIR}/data")
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "quick;serial")
endfunction()

clq_format_test(test_file)
clq_format_test(test_json)
clq_format_test(test_npy)
clq_format_test(test_size)
clq_format_test(test_model)
clq_format_test(test_formats)
clq_format_test(test_onnx)
file(GLOB CLQ_TEST_MODELS ${PROJECT_SOURCE_DIR}/examples/*/*.onnx ${PROJECT_SOURCE_DIR}/build/models/*.onnx)
add_test(NAME test_onnx_models COMMAND test_onnx ${CLQ_TEST_MODELS})
set_tests_properties(test_onnx_models PROPERTIES LABELS "models")

# Fuzz targets, built as drivers that replay files. With clang, -DCMAKE_C_FLAGS=-fsanitize=fuzzer-no-link and linking the
# target's object with -fsanitize=fuzzer instead of replay.c turns each into a libFuzzer binary.
foreach(target onnx npy npz)
  add_executable(fuzz_${target} ${CMAKE_CURRENT_LIST_DIR}/fuzz/${target}.c ${CMAKE_CURRENT_LIST_DIR}/fuzz/replay.c)
  target_link_libraries(fuzz_${target} PRIVATE clq_formats clq_base)
  target_include_directories(fuzz_${target} PRIVATE ${CMAKE_CURRENT_LIST_DIR})
  add_test(NAME fuzz_${target} COMMAND fuzz_${target} ${CMAKE_CURRENT_LIST_DIR}/data/malformed
    ${CMAKE_CURRENT_LIST_DIR}/data/golden/onnx ${CMAKE_CURRENT_LIST_DIR}/data/golden/npy)
  set_tests_properties(fuzz_${target} PROPERTIES LABELS "quick;serial")
endforeach()
