# SPDX-License-Identifier: Apache-2.0
add_executable(clquant_runner ${CMAKE_CURRENT_LIST_DIR}/clquant_runner.c)
target_link_libraries(clquant_runner PRIVATE clquant)
set_target_properties(clquant_runner PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
