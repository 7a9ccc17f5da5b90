# SPDX-License-Identifier: Apache-2.0
# clquant-bench needs the tests' cases; without tests there is none, and the command says so.
if(TARGET clq_cases)
  add_executable(clquant_bench bench_main.c settings.c rows.c bench.c ceiling.c probe.c work.c bench_work.c bench_elementwise.c bench_device.c bench_kernels.c
                 bench_opencl.c)
  target_link_libraries(clquant_bench PRIVATE clq_cases clq_all)
  set_target_properties(clquant_bench PROPERTIES OUTPUT_NAME clquant-bench RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  install(TARGETS clquant_bench RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/clquant)
endif()
