# SPDX-License-Identifier: Apache-2.0
# The ceilings as a library that perf/compare_int4.py loads.
add_library(clq_probe SHARED ${CMAKE_CURRENT_LIST_DIR}/probe.c)
target_link_libraries(clq_probe PRIVATE clq_flags)
target_compile_options(clq_probe PRIVATE -fvisibility=default)
set_target_properties(clq_probe PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
