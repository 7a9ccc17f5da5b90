# SPDX-License-Identifier: Apache-2.0
# The calls on plain arrays, and the example that uses them. Both link the shared library and see public headers alone.
function(clq_public_program name source)
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE clquant::clquant m)
  target_compile_options(${name} PRIVATE $<TARGET_PROPERTY:clq_flags,INTERFACE_COMPILE_OPTIONS>)
endfunction()

set(buffers_env "POCL_CACHE_DIR=${CMAKE_CURRENT_BINARY_DIR}/pocl-cache")
file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/pocl-cache)

foreach(name test_buffers test_buffers_products test_int4)
  clq_public_program(${name} ${CMAKE_CURRENT_LIST_DIR}/${name}.c)
  target_link_libraries(${name} PRIVATE cmocka)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "quick" TIMEOUT 300 RESOURCE_LOCK pocl ENVIRONMENT "${buffers_env}")
endforeach()

# The ways from a device that fails to the CPU need its faults, which no public option offers.
if(CLQ_OPENCL)
  add_executable(test_buffers_faults ${CMAKE_CURRENT_LIST_DIR}/test_buffers_faults.c)
  target_link_libraries(test_buffers_faults PRIVATE clq_all cmocka)
  add_test(NAME test_buffers_faults COMMAND test_buffers_faults)
  set_tests_properties(test_buffers_faults PROPERTIES LABELS "quick" TIMEOUT 300 SKIP_RETURN_CODE 77 RESOURCE_LOCK pocl ENVIRONMENT "${buffers_env}")
endif()

clq_public_program(example_gemm ${PROJECT_SOURCE_DIR}/examples/gemm.c)
add_test(NAME example_gemm COMMAND example_gemm)
set_tests_properties(example_gemm PROPERTIES LABELS "quick" PASS_REGULAR_EXPRESSION "^cpu: [3-9][0-9]\\.[0-9] dB")
add_test(NAME example_gemm_auto COMMAND example_gemm auto)
set_tests_properties(example_gemm_auto PROPERTIES LABELS "quick" RESOURCE_LOCK pocl ENVIRONMENT "${buffers_env}")
