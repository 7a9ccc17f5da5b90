# SPDX-License-Identifier: Apache-2.0
# Puts the parts together: clq_all (static, hidden symbols reachable: for tests and benches) and clquant::clquant.
get_property(CLQ_PARTS GLOBAL PROPERTY CLQ_PARTS)
set(CLQ_LIBS OpenMP::OpenMP_C Threads::Threads DNNL::dnnl PkgConfig::JANSSON PkgConfig::LIBZIP PkgConfig::PROTOBUFC
    PkgConfig::CBC m)
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
