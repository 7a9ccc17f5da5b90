# SPDX-License-Identifier: Apache-2.0
# The installed package, used by a project of its own. A build with sanitizers is not for others to link.
if(NOT CMAKE_C_FLAGS MATCHES "-fsanitize|--coverage")
  add_test(NAME install COMMAND ${CMAKE_COMMAND} -DBUILD=${PROJECT_BINARY_DIR} -DSOURCE=${PROJECT_SOURCE_DIR}
    -DWORK=${CMAKE_CURRENT_BINARY_DIR}/install -DVERSION=${PROJECT_VERSION} -DCC=${CMAKE_C_COMPILER}
    -DMODEL=${PROJECT_SOURCE_DIR}/examples/fashion_mnist/model.onnx -P ${CMAKE_CURRENT_LIST_DIR}/install/run.cmake)
  set_tests_properties(install PROPERTIES LABELS "ci" TIMEOUT 300)
endif()
