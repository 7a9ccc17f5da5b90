# SPDX-License-Identifier: Apache-2.0
if(CLQ_OPENCL AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  add_executable(compare_opencl compare_opencl.c compare_opencl_u4.c probe.c)
  target_link_libraries(compare_opencl PRIVATE clq_all)
endif()
