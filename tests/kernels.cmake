# SPDX-License-Identifier: Apache-2.0
# clq_cases describes every kernel's cases for tests and benches; it does not carry the kernels themselves, so that a
# program links either all of the library or clq_kernels_only.
set(tests_dir ${CMAKE_CURRENT_LIST_DIR})
file(STRINGS ${tests_dir}/cases/cases.def rows REGEX "^CLQ_FAMILY\\(")
set(case_sources ${tests_dir}/harness.c ${tests_dir}/harness_fill.c)
foreach(row ${rows})
  string(REGEX REPLACE "^CLQ_FAMILY\\([a-z0-9_]+, *([a-z0-9_]+)\\).*" "\\1" stem "${row}")
  list(APPEND case_sources ${tests_dir}/cases/${stem}.c)
endforeach()
list(REMOVE_DUPLICATES case_sources)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${tests_dir}/cases/cases.def)
add_library(clq_cases STATIC ${case_sources})
target_link_libraries(clq_cases PUBLIC clq_flags m)

get_property(parts GLOBAL PROPERTY CLQ_PARTS)
add_library(clq_kernels_only STATIC)
foreach(part ${parts})
  if(part MATCHES "^clq_kernels(_avx2|_avx512)?$")
    target_sources(clq_kernels_only PRIVATE $<TARGET_OBJECTS:${part}>)
  endif()
endforeach()
target_link_libraries(clq_kernels_only PUBLIC clq_flags m)
set_target_properties(clq_kernels_only PROPERTIES LINKER_LANGUAGE C)

add_executable(test_kernels ${tests_dir}/test_kernels.c)
target_link_libraries(test_kernels PRIVATE clq_cases clq_kernels_only cmocka)
add_test(NAME test_kernels COMMAND test_kernels)
set_tests_properties(test_kernels PROPERTIES LABELS "quick")
