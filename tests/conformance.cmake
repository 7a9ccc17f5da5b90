# SPDX-License-Identifier: Apache-2.0
# ONNX's node cases through `clquant check`, compared with the list of expected results. CLQ_ONNX_NODE_DATA: ops.cmake.
foreach(part "conformance;1;ci" "conformance_quick;10;quick")
  list(GET part 0 name)
  list(GET part 1 every)
  list(GET part 2 label)
  add_test(NAME ${name} COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_LIST_DIR}/conformance/run.py $<TARGET_FILE:clquant_cli>
    ${CLQ_ONNX_NODE_DATA} --every ${every})
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 LABELS ${label} TIMEOUT 600)
endforeach()
