# SPDX-License-Identifier: Apache-2.0
# Puts the parts together: clq_all (static, hidden symbols reachable: for tests and benches) and clquant::clquant.
get_property(CLQ_PARTS GLOBAL PROPERTY CLQ_PARTS)
set(CLQ_LIBS OpenMP::OpenMP_C Threads::Threads DNNL::dnnl PkgConfig::JANSSON PkgConfig::LIBZIP PkgConfig::PROTOBUFC
    PkgConfig::CBC ${CMAKE_DL_LIBS} m)
if(CLQ_OPENCL)
  list(APPEND CLQ_LIBS OpenCL::OpenCL)
  if(CLBLAST_FOUND)
    list(APPEND CLQ_LIBS PkgConfig::CLBLAST)
  endif()
endif()
add_library(clq_all STATIC)
foreach(part ${CLQ_PARTS})
  target_sources(clq_all PRIVATE $<TARGET_OBJECTS:${part}>)
endforeach()
target_link_libraries(clq_all PUBLIC clq_flags ${CLQ_LIBS})
set_target_properties(clq_all PROPERTIES LINKER_LANGUAGE C)

# What users link: only CLQ_API symbols are visible.
add_library(clquant SHARED)
add_library(clquant::clquant ALIAS clquant)
foreach(part ${CLQ_PARTS})
  target_sources(clquant PRIVATE $<TARGET_OBJECTS:${part}>)
endforeach()
target_link_libraries(clquant PRIVATE ${CLQ_LIBS})
target_include_directories(clquant PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/host/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_options(clquant PRIVATE -Wl,-z,relro,-z,now -Wl,--no-undefined)
set_target_properties(clquant PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}
  LINKER_LANGUAGE C LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
if(CMAKE_C_FLAGS MATCHES "-fsanitize")
  set_target_properties(clquant PROPERTIES LINK_OPTIONS "")
endif()

configure_file(${PROJECT_SOURCE_DIR}/host/version.h.in ${PROJECT_BINARY_DIR}/include/clquant/version.h @ONLY)
target_include_directories(clq_flags INTERFACE ${PROJECT_BINARY_DIR}/include)
target_include_directories(clquant PUBLIC $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include>)

if(EXISTS ${PROJECT_SOURCE_DIR}/host/cli/CMakeLists.txt)
  add_subdirectory(host/cli)
endif()

# Installation: headers, CMake package, pkg-config file. Both package files find their folder from where they lie, so that
# an installed tree can be moved; an absolute CMAKE_INSTALL_LIBDIR or _INCLUDEDIR is kept as it is.
include(CMakePackageConfigHelpers)
set(CLQ_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/clquant)
install(TARGETS clquant EXPORT clquantTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/host/include/clquant DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.h")
install(FILES ${PROJECT_BINARY_DIR}/include/clquant/version.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/clquant)
install(EXPORT clquantTargets NAMESPACE clquant:: DESTINATION ${CLQ_PACKAGE_DIR})
file(WRITE ${PROJECT_BINARY_DIR}/clquantConfig.cmake "include(\"\${CMAKE_CURRENT_LIST_DIR}/clquantTargets.cmake\")\n")
write_basic_package_version_file(${PROJECT_BINARY_DIR}/clquantConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/clquantConfig.cmake ${PROJECT_BINARY_DIR}/clquantConfigVersion.cmake
  DESTINATION ${CLQ_PACKAGE_DIR})

file(RELATIVE_PATH CLQ_PC_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" CLQ_PC_PREFIX "${CLQ_PC_PREFIX}")
foreach(dir LIBDIR INCLUDEDIR)
  if(IS_ABSOLUTE "${CMAKE_INSTALL_${dir}}")
    set(CLQ_PC_${dir} "${CMAKE_INSTALL_${dir}}")
  else()
    set(CLQ_PC_${dir} "\${prefix}/${CMAKE_INSTALL_${dir}}")
  endif()
endforeach()
configure_file(${PROJECT_SOURCE_DIR}/host/clquant.pc.in ${PROJECT_BINARY_DIR}/clquant.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/clquant.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/NOTICE DESTINATION ${CMAKE_INSTALL_DOCDIR})
