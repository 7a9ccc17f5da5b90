# SPDX-License-Identifier: Apache-2.0
# The hot loops of the integer products keep their accumulators in registers: checked on the object code of optimized,
# uninstrumented gcc builds (clang 14 gives the same bits, but spills). The numbers are the fewest loops with vpdpbusd
# that must be found.
set(int8_dir ${CMAKE_CURRENT_LIST_DIR})
if(CMAKE_C_COMPILER_ID STREQUAL "GNU" AND CMAKE_BUILD_TYPE MATCHES "Rel"
   AND NOT CMAKE_C_FLAGS MATCHES "-fsanitize|--coverage" AND TARGET clq_kernels_avx512)
  function(clq_no_spill target stem least)
    add_test(NAME no_spill_${stem}
             COMMAND sh ${int8_dir}/tree/no_spill.sh ${least} $<FILTER:$<TARGET_OBJECTS:${target}>,INCLUDE,/${stem}\\.c\\.>)
    set_tests_properties(no_spill_${stem} PROPERTIES LABELS "quick" SKIP_RETURN_CODE 77)
  endfunction()
  clq_no_spill(clq_kernels_avx512 gemm_vnni 148)
  clq_no_spill(clq_kernels_avx512 gemm_u4_vnni 9)
  clq_no_spill(clq_kernels_avx512 gemm_u4_vnni_real 4)
  clq_no_spill(clq_kernels_avx512 dwconv_quads 12)
  clq_no_spill(clq_kernels_avx512 dwconv 2)
  clq_no_spill(clq_kernels_avx2 gemm_narrow 6)
endif()

add_executable(exhaustive_requantize ${int8_dir}/exhaustive_requantize.c)
target_link_libraries(exhaustive_requantize PRIVATE clq_cases clq_kernels_only cmocka)
add_test(NAME exhaustive_requantize_sample COMMAND exhaustive_requantize)
set_tests_properties(exhaustive_requantize_sample PROPERTIES LABELS "quick")
add_test(NAME exhaustive_requantize_full COMMAND exhaustive_requantize full)
set_tests_properties(exhaustive_requantize_full PROPERTIES LABELS "full" TIMEOUT 3600)

add_executable(test_int8 ${int8_dir}/test_int8.c)
target_link_libraries(test_int8 PRIVATE clq_cases clq_kernels_only cmocka Threads::Threads)
add_test(NAME test_int8 COMMAND test_int8)
set_tests_properties(test_int8 PROPERTIES LABELS "quick")
