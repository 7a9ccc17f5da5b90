# SPDX-License-Identifier: Apache-2.0
"""Importing this keeps a process that was started with --no-amx from the tile registers, so that onnxruntime and OpenVINO, imported
behind it, run what they have for AVX512-VNNI."""
import ctypes
import json
import sys


class SignalStack(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
    memory = ctypes.create_string_buffer(4096)


def forbid_amx():
    """Linux grants the tile registers on demand, and not while a thread has a signal stack that they would not fit on."""
    request, tile_data, arch_prctl = 0x1023, 18, 158    # of x86-64
    libc = ctypes.CDLL(None)
    stack = SignalStack(ctypes.addressof(SignalStack.memory), 0, len(SignalStack.memory))
    if libc.sigaltstack(ctypes.byref(stack), None) != 0 or libc.syscall(arch_prctl, request, tile_data) == 0:
        raise SystemExit(json.dumps({"error": "the tile registers cannot be forbidden"}))


if "--no-amx" in sys.argv:
    forbid_amx()
