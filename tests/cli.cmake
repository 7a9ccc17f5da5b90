# SPDX-License-Identifier: Apache-2.0
# Tests of the command and of the example, through their processes. Python's standard library alone.
find_package(Python3 3.9 REQUIRED COMPONENTS Interpreter)

add_executable(example_quantize ${PROJECT_SOURCE_DIR}/examples/quantize.c)
target_link_libraries(example_quantize PRIVATE clquant::clquant m)
target_compile_options(example_quantize PRIVATE $<TARGET_PROPERTY:clq_flags,INTERFACE_COMPILE_OPTIONS>)

function(clq_cli_test name script)
  add_test(NAME test_cli_${name} COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/${script}
    $<TARGET_FILE:clquant_cli> $<TARGET_FILE:example_quantize> ${PROJECT_SOURCE_DIR} ${ARGN})
  # The driver's own cache outlives the test's folder: it compiles every kernel that a fresh one lacks.
  set_tests_properties(test_cli_${name} PROPERTIES LABELS "quick" TIMEOUT 300
    ENVIRONMENT "POCL_CACHE_DIR=${CMAKE_CURRENT_BINARY_DIR}/pocl-cache")
endfunction()
foreach(group Usage Models Quantize Check Edges Signals Bench Example)
  string(TOLOWER ${group} name)
  clq_cli_test(${name} test_cli.py ${group})
endforeach()
clq_cli_test(report test_cli_report.py)
clq_cli_test(eval test_cli_eval.py)
clq_cli_test(recurrent test_cli_recurrent.py)
foreach(group Budget Command Rules Frontier Profiles)
  string(TOLOWER ${group} name)
  clq_cli_test(${name} test_cli_budget.py ${group})
endforeach()
# A device that fails is a preloaded library; sanitizers must be loaded first, so it is left out there.
if(CLQ_OPENCL AND NOT CMAKE_C_FLAGS MATCHES "sanitize")
  add_library(clq_failing_opencl MODULE ${CMAKE_CURRENT_LIST_DIR}/failing_opencl.c)
  target_link_libraries(clq_failing_opencl PRIVATE ${CMAKE_DL_LIBS})
  target_compile_options(clq_failing_opencl PRIVATE $<TARGET_PROPERTY:clq_flags,INTERFACE_COMPILE_OPTIONS>)
  clq_cli_test(device test_cli_device.py $<TARGET_FILE:clq_failing_opencl>)
  set_tests_properties(test_cli_device PROPERTIES LABELS "ci" RESOURCE_LOCK pocl)
endif()
add_test(NAME test_scripts COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_LIST_DIR}/test_scripts.py ${PROJECT_SOURCE_DIR})
set_tests_properties(test_scripts PROPERTIES LABELS "quick;serial" TIMEOUT 120)
