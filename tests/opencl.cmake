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
    RESOURCE_LOCK pocl TIMEOUT 900)
  set_tests_properties(test_opencl_no_platform PROPERTIES LABELS "quick" ENVIRONMENT "OCL_ICD_VENDORS=/nonexistent")

  add_executable(test_opencl_tune ${CMAKE_CURRENT_LIST_DIR}/test_opencl_tune.c)
  target_link_libraries(test_opencl_tune PRIVATE clq_all cmocka)
  add_test(NAME test_opencl_tune COMMAND test_opencl_tune ${CMAKE_CURRENT_BINARY_DIR}/opencl-tuning.json)
  set_tests_properties(test_opencl_tune PROPERTIES LABELS "ci" ENVIRONMENT "POCL_CACHE_DIR=${CLQ_TEST_POCL_CACHE}"
    RESOURCE_LOCK pocl TIMEOUT 600)

  # What a device is offered, as a pure function; and the PTX of the variants that no device here can run.
  add_executable(test_opencl_caps ${CMAKE_CURRENT_LIST_DIR}/test_opencl_caps.c)
  target_link_libraries(test_opencl_caps PRIVATE clq_all cmocka)
  add_test(NAME test_opencl_caps COMMAND test_opencl_caps)
  add_test(NAME test_opencl_ptx COMMAND ${CMAKE_COMMAND} -DLIST=$<TARGET_FILE:test_opencl_caps>
    -DKERNELS=${PROJECT_SOURCE_DIR}/kernels/cl -DSTUB=${CMAKE_CURRENT_LIST_DIR}/opencl_ptx_stub.cl
    -DWORK=${CMAKE_CURRENT_BINARY_DIR}/opencl-ptx -P ${CMAKE_CURRENT_LIST_DIR}/opencl_ptx.cmake)
  set_tests_properties(test_opencl_caps test_opencl_ptx PROPERTIES LABELS "quick;opencl" TIMEOUT 300)
  set_tests_properties(test_opencl_ptx PROPERTIES SKIP_REGULAR_EXPRESSION "SKIPPED")

  add_executable(test_opencl_kernels ${CMAKE_CURRENT_LIST_DIR}/test_opencl_kernels.c)
  target_link_libraries(test_opencl_kernels PRIVATE clq_cases clq_all cmocka)
  # Stand-ins in plain C for what this machine's devices lack: the same indexing, layouts and barriers.
  set(CLQ_STAND_INS tile_plain_64x64 tile_plain_128x64 tile_plain_128x128 tile_plain_signed_64x64 mma_plain_64x64
    mma_plain_late_64x64 mma_plain_128x64 mma_plain_128x128)
  # What serves few rows beside a stand-in.
  set(few_tile_plain_64x64 gemv_plain_16)
  set(few_tile_plain_128x64 gemv_plain_64)
  foreach(variant all generic ${CLQ_STAND_INS})
    add_test(NAME test_opencl_kernels_${variant} COMMAND test_opencl_kernels ${variant} ${few_${variant}})
    set_tests_properties(test_opencl_kernels_${variant} PROPERTIES LABELS "opencl" RESOURCE_LOCK pocl TIMEOUT 600
      ENVIRONMENT "POCL_CACHE_DIR=${CLQ_TEST_POCL_CACHE}")
  endforeach()

  set_tests_properties(test_opencl_kernels_all PROPERTIES LABELS "quick;opencl")

  # A simulator that reports accesses outside of buffers, races and uninitialized reads; its exit status says nothing.
  add_executable(test_opencl_grind ${CMAKE_CURRENT_LIST_DIR}/test_opencl_grind.c)
  target_link_libraries(test_opencl_grind PRIVATE clq_all)
  foreach(variant generic ${CLQ_STAND_INS})
    add_test(NAME test_opencl_grind_${variant}
      COMMAND ${CMAKE_COMMAND} -DPROGRAM=$<TARGET_FILE:test_opencl_grind> -DVARIANT=${variant} -DFEW=${few_${variant}}
        -DLOG=${CMAKE_CURRENT_BINARY_DIR}/oclgrind-${variant}.log -P ${CMAKE_CURRENT_LIST_DIR}/opencl_grind.cmake)
    set_tests_properties(test_opencl_grind_${variant} PROPERTIES LABELS "full" TIMEOUT 900
      SKIP_REGULAR_EXPRESSION "SKIPPED")
  endforeach()
endif()
