# SPDX-License-Identifier: Apache-2.0
# Resident processes for comparisons: whole models, single kernels of ours, and oneDNN's.
add_executable(clquant_runner ${CMAKE_CURRENT_LIST_DIR}/clquant_runner.c)
target_link_libraries(clquant_runner PRIVATE clquant)
target_compile_definitions(clquant_runner PRIVATE _GNU_SOURCE)
target_compile_options(clquant_runner PRIVATE $<TARGET_PROPERTY:clq_flags,INTERFACE_COMPILE_OPTIONS>)
set_target_properties(clquant_runner PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})

if(TARGET clq_cases)
  add_executable(kernel_runner kernel_runner.c work.c rivals/runner.c)
  target_link_libraries(kernel_runner PRIVATE clq_cases clquant)
  add_executable(dnnl_runner rivals/dnnl_runner.c rivals/runner.c)
  target_link_libraries(dnnl_runner PRIVATE clq_cases DNNL::dnnl OpenMP::OpenMP_C)
  set_target_properties(kernel_runner dnnl_runner PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
endif()

# The same runner with another oneDNN, whose headers and libraries lie in the folders include and lib of this one.
set(CLQ_ONEDNN3 "" CACHE PATH "A oneDNN 3 to compare with (perf/README.md)")
if(TARGET clq_cases AND CLQ_ONEDNN3)
  add_executable(dnnl3_runner rivals/dnnl_runner.c rivals/runner.c)
  target_include_directories(dnnl3_runner BEFORE PRIVATE ${CLQ_ONEDNN3}/include)
  target_link_libraries(dnnl3_runner PRIVATE clq_cases ${CLQ_ONEDNN3}/lib/libdnnl.so.3 OpenMP::OpenMP_C)
  set_target_properties(dnnl3_runner PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
endif()
