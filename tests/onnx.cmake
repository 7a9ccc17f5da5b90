# SPDX-License-Identifier: Apache-2.0
# Tests of the ONNX reader and writer. onnx_roundtrip.py runs onnx_copy over models and compares with onnxruntime.
add_executable(onnx_copy ${CMAKE_CURRENT_LIST_DIR}/onnx_copy.c)
target_link_libraries(onnx_copy PRIVATE clq_formats clq_base)
