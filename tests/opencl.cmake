# SPDX-License-Identifier: Apache-2.0
# Tests of the OpenCL device. They use a driver cache of their own, so that nothing from another run is believed.
if(CLQ_OPENCL)
  set(CLQ_TEST_POCL_CACHE ${CMAKE_CURRENT_BINARY_DIR}/pocl-cache)
  file(MAKE_DIRECTORY ${CLQ_TEST_POCL_CACHE})

  add_executable(test_opencl ${CMAKE_CURRENT_LIST_DIR}/test_opencl.c)
  target_link_libraries(test_opencl PRIVATE clq_all cmocka)
  add_test(NAME test_opencl COMMAND test_opencl ${CMAKE_CURRENT_BINARY_DIR}/opencl-cache)
  add_test(NAME test_opencl_no_platform COMMAND test_opencl none)
  set_tests_properties(test_opencl PROPERTIES LABELS "quick" ENVIRONMENT "POCL_CACHE_DIR=${CLQ_TEST_POCL_CACHE}"
    RESOURCE_LOCK pocl TIMEOUT 300)
  set_tests_properties(test_opencl_no_platform PROPERTIES LABELS "quick" ENVIRONMENT "OCL_ICD_VENDORS=/nonexistent")

  add_executable(test_opencl_kernels ${CMAKE_CURRENT_LIST_DIR}/test_opencl_kernels.c)
  target_link_libraries(test_opencl_kernels PRIVATE clq_cases clq_all cmocka)
  foreach(variant all generic tile_plain)
    add_test(NAME test_opencl_kernels_${variant} COMMAND test_opencl_kernels ${variant})
    set_tests_properties(test_opencl_kernels_${variant} PROPERTIES LABELS "opencl" RESOURCE_LOCK pocl TIMEOUT 600
      ENVIRONMENT "POCL_CACHE_DIR=${CLQ_TEST_POCL_CACHE}")
  endforeach()

  set_tests_properties(test_opencl_kernels_all PROPERTIES LABELS "quick;opencl")

  # A simulator that reports accesses outside of buffers, races and uninitialized reads; its exit status says nothing.
  add_executable(test_opencl_grind ${CMAKE_CURRENT_LIST_DIR}/test_opencl_grind.c)
  target_link_libraries(test_opencl_grind PRIVATE clq_all)
  foreach(variant generic tile_plain)
    add_test(NAME test_opencl_grind_${variant}
      COMMAND ${CMAKE_COMMAND} -DPROGRAM=$<TARGET_FILE:test_opencl_grind> -DVARIANT=${variant}
        -DLOG=${CMAKE_CURRENT_BINARY_DIR}/oclgrind-${variant}.log -P ${CMAKE_CURRENT_LIST_DIR}/opencl_grind.cmake)
    set_tests_properties(test_opencl_grind_${variant} PROPERTIES LABELS "full" TIMEOUT 900
      SKIP_REGULAR_EXPRESSION "SKIPPED")
  endforeach()
endif()
