# SPDX-License-Identifier: Apache-2.0
# Runs PROGRAM VARIANT FEW under oclgrind and fails unless it succeeds, says that it compared something, and oclgrind's log
# is empty: oclgrind always exits with 0.
find_program(OCLGRIND oclgrind)
if(NOT OCLGRIND)
  message("SKIPPED: oclgrind is not installed")
  return()
endif()
file(REMOVE ${LOG})
# Its check for uninitialized values does not know an instruction that only the optimizer makes.
execute_process(COMMAND ${OCLGRIND} --data-races --uninitialized --local-mem-size 131072 --build-options -cl-opt-disable --log ${LOG}
  ${PROGRAM} ${VARIANT} ${FEW}
  RESULT_VARIABLE status OUTPUT_VARIABLE out ERROR_VARIABLE errors)
message("${out}${errors}")
set(log "")
if(EXISTS ${LOG})
  file(READ ${LOG} log)
endif()
if(NOT status EQUAL 0 OR NOT out MATCHES "[1-9][0-9]* runs equal the reference")
  message(FATAL_ERROR "the program failed (${status})")
endif()
if(NOT log STREQUAL "")
  message(FATAL_ERROR "oclgrind reports:\n${log}")
endif()
