# SPDX-License-Identifier: Apache-2.0
add_executable(clquant_runner ${CMAKE_CURRENT_LIST_DIR}/clquant_runner.c)
target_link_libraries(clquant_runner PRIVATE clquant)
target_compile_definitions(clquant_runner PRIVATE _GNU_SOURCE)
target_compile_options(clquant_runner PRIVATE $<TARGET_PROPERTY:clq_flags,INTERFACE_COMPILE_OPTIONS>)
set_target_properties(clquant_runner PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
