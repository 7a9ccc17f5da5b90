# SPDX-License-Identifier: Apache-2.0
# In onnxruntime, where script/models has installed it; skipped visibly elsewhere.
if(TARGET clquant_command OR EXISTS ${PROJECT_SOURCE_DIR}/host/cli/CMakeLists.txt)
  add_test(NAME ort_agreement COMMAND sh -c "test -x '${PROJECT_SOURCE_DIR}/build/venv/bin/python' || { echo 'skipped: run script/models first'; exit 77; }; exec '${PROJECT_SOURCE_DIR}/build/venv/bin/python' '${CMAKE_CURRENT_LIST_DIR}/ort_agreement.py' '${PROJECT_BINARY_DIR}/clquant' '${PROJECT_SOURCE_DIR}' '${PROJECT_BINARY_DIR}/ort_agreement'")
  set_tests_properties(ort_agreement PROPERTIES LABELS "models" SKIP_RETURN_CODE 77 TIMEOUT 1500)
endif()
if(TARGET clquant_cli)
  add_test(NAME ort_microsoft COMMAND sh -c "test -x '${PROJECT_SOURCE_DIR}/build/venv/bin/python' || { echo 'skipped: run script/models first'; exit 77; }; exec '${PROJECT_SOURCE_DIR}/build/venv/bin/python' -B '${CMAKE_CURRENT_LIST_DIR}/ort_microsoft.py' '${PROJECT_BINARY_DIR}/clquant' '${PROJECT_BINARY_DIR}/ort_microsoft'")
  set_tests_properties(ort_microsoft PROPERTIES LABELS "models" SKIP_RETURN_CODE 77 TIMEOUT 600)
  add_test(NAME ort_modes COMMAND sh -c "test -x '${PROJECT_SOURCE_DIR}/build/venv/bin/python' || { echo 'skipped: run script/models first'; exit 77; }; exec '${PROJECT_SOURCE_DIR}/build/venv/bin/python' -B '${CMAKE_CURRENT_LIST_DIR}/ort_modes.py' '${PROJECT_BINARY_DIR}/clquant' '${PROJECT_SOURCE_DIR}' '${PROJECT_BINARY_DIR}/ort_modes'")
  set_tests_properties(ort_modes PROPERTIES LABELS "models" SKIP_RETURN_CODE 77 TIMEOUT 900)
endif()
