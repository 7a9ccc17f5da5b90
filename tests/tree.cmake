# SPDX-License-Identifier: Apache-2.0
# Structure checks of the tree and of what was built. The library is looked at only where no sanitizer changes its symbols.
find_package(Python3 3.9 REQUIRED COMPONENTS Interpreter)
find_program(CLQ_CXX NAMES g++ clang++ c++)
if(NOT CLQ_CXX)
  set(CLQ_CXX "")
endif()
set(checks includes text kernels headers flags self)
if(NOT CMAKE_C_FLAGS MATCHES "-fsanitize|--coverage")
  list(APPEND checks library)
endif()
foreach(check ${checks})
  add_test(NAME tree_${check} COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_LIST_DIR}/tree/check.py ${check}
    --root ${PROJECT_SOURCE_DIR} --build ${PROJECT_BINARY_DIR} --cc ${CMAKE_C_COMPILER} "--cxx=${CLQ_CXX}")
  set_tests_properties(tree_${check} PROPERTIES LABELS "quick;serial")
endforeach()
