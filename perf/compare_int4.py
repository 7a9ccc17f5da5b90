#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""4-bit products of clquant beside onnxruntime's MatMulNBits (accuracy level 4) and the ceilings of this machine.

    build/venv/bin/python perf/compare_int4.py [--build build/release] [--threads 1 2] [--seconds 4] [--out TABLE.md]

Both take the same float activations and quantize them themselves; both weights are symmetric, ours with binary16 and
with binary32 scales. Ceiling, clquant and onnxruntime run in turn in one process, spinning off; every figure is the median of
the paired ratios of the rounds. The ceiling of a product is vpdpbusd with all operands in registers, that of one row the
bandwidth of reading an array as large as the packed weight, on as many threads. Each side runs once more before it is timed, which wakes its threads.
"""
import argparse
import ctypes
import datetime
import os
import platform
import threading
import time

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

F32, F16 = 1, 10


class Desc(ctypes.Structure):
    _fields_ = [("n", ctypes.c_size_t), ("k", ctypes.c_size_t), ("group", ctypes.c_size_t), ("codes", ctypes.c_void_p),
                ("scale", ctypes.c_void_p), ("scale_dtype", ctypes.c_int), ("zero_point", ctypes.c_void_p),
                ("bias", ctypes.c_void_p)]


class Weights(ctypes.Structure):
    _fields_ = [("weight", ctypes.c_void_p), ("n", ctypes.c_size_t), ("k", ctypes.c_size_t), ("group", ctypes.c_size_t),
                ("scale_dtype", ctypes.c_int)]


class Options(ctypes.Structure):
    _fields_ = [("threads", ctypes.c_int), ("rest", ctypes.c_void_p * 10)]


class Probe(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("run", ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_long)), ("needs", ctypes.c_uint)]


def load(build):
    lib = ctypes.CDLL(os.path.join(build, "libclquant.so"))
    probe = ctypes.CDLL(os.path.join(build, "libclq_probe.so"))
    lib.clq_int4_run_real.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t]
    probe.clq_probe_of.restype = ctypes.POINTER(Probe)
    probe.clq_probe_read.restype = ctypes.c_double
    probe.clq_probe_read.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return lib, probe


def together(threads, call):
    """The sum of what `threads` simultaneous calls return."""
    results = [0.0] * threads

    def work(i):
        results[i] = call()
    others = [threading.Thread(target=work, args=(i,)) for i in range(1, threads)]
    for t in others:
        t.start()
    work(0)
    for t in others:
        t.join()
    return sum(results)


class Ours:
    def __init__(self, lib, threads, weight, group, dtype):
        n, k = weight.shape
        self.lib, self.n, self.k = lib, n, k
        self.ctx, self.product = ctypes.c_void_p(), ctypes.c_void_p()
        assert lib.clq_context_create(ctypes.byref(self.ctx), ctypes.byref(Options(threads))) == 0
        codes = np.empty((n, k // 2), np.uint8)
        scale = np.empty((n, k // group), np.float16 if dtype == F16 else np.float32)
        w = Weights(weight.ctypes.data, n, k, group, dtype)
        assert lib.clq_quantize_int4(self.ctx, ctypes.c_void_p(codes.ctypes.data), ctypes.c_void_p(scale.ctypes.data), None, ctypes.byref(w)) == 0
        d = Desc(n, k, group, codes.ctypes.data, scale.ctypes.data, dtype, None, None)
        assert lib.clq_int4_prepare(ctypes.byref(self.product), self.ctx, ctypes.byref(d)) == 0
        self.codes, self.scale = codes, scale
        self.bytes = codes.nbytes + scale.nbytes

    def run(self, x, y):
        begin = time.perf_counter()
        status = self.lib.clq_int4_run_real(self.product, x.ctypes.data, self.k, len(x), y.ctypes.data, self.n)
        assert status == 0
        return time.perf_counter() - begin

    def close(self):
        self.lib.clq_int4_free(self.product)
        self.lib.clq_context_free(self.ctx)


def rival(threads, codes, scale, k, group):
    n = codes.shape[0]
    node = helper.make_node("MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", K=k, N=n, bits=4,
                            block_size=group, accuracy_level=4)
    w = numpy_helper.from_array(codes.reshape(n, k // group, group // 2), "w")
    s = numpy_helper.from_array(scale.astype(np.float32).reshape(-1), "s")
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["m", k])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["m", n])], [w, s])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)], ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def measure(lib, probe, threads, m, size, group, dtype, seconds):
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((size, size), np.float32)
    x = rng.standard_normal((m, size), np.float32)
    y = np.empty((m, size), np.float32)
    ours = Ours(lib, threads, weight, group, dtype)
    session = rival(threads, ours.codes, ours.scale, size, group)
    theirs = session.run(None, {"x": x})[0]
    ours.run(x, y)
    error = float(np.linalg.norm(theirs - y) / np.linalg.norm(theirs))
    assert error < 0.02, f"the results differ by {error}"
    memory = [np.ones(ours.bytes // 4096 * 4096 // threads // 4096 * 4096 + 64, np.uint8) for _ in range(threads)]
    turn = iter(())

    def read():
        block = memory[next(turn)]
        return probe.clq_probe_read(ctypes.c_void_p((block.ctypes.data + 63) // 64 * 64), block.nbytes - 64)

    vnni = probe.clq_probe_of(b"avx512_vnni", 0)
    samples, end = [], time.perf_counter() + seconds
    while len(samples) < 21 or time.perf_counter() < end:
        turn = iter(range(threads))
        ceiling = together(threads, read if m == 1 else lambda: vnni.contents.run(2500000))  # about as long as a product: threads overlap
        ours.run(x, y)
        a = ours.run(x, y)
        session.run(None, {"x": x})
        begin = time.perf_counter()
        session.run(None, {"x": x})
        samples.append((a, time.perf_counter() - begin, ceiling))
    a, b, c = np.array(samples).T
    work = ours.bytes if m == 1 else 2.0 * m * size * size
    ours.close()
    return np.median(a), np.median(b), np.median(work / a / c), np.median(b / a), len(samples)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rows", type=int, nargs="+", default=[512, 1])
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--out")
    args = parser.parse_args()
    lib, probe = load(args.build)
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo", encoding="ascii") if l.startswith("model name")), platform.machine())
    lines = [f"{datetime.date.today()}, {cpu}, {os.cpu_count()} cores, onnxruntime {ort.__version__}, N = K = {args.size}", "",
             "| rows | group | scales | threads | clquant ms | onnxruntime ms | share of the ceiling | x onnxruntime | rounds |",
             "|---|---|---|---|---|---|---|---|---|"]
    for m in args.rows:
        for group in (32, 128):
            for dtype in (F32, F16):
                for threads in args.threads:
                    a, b, share, ratio, n = measure(lib, probe, threads, m, args.size, group, dtype, args.seconds)
                    lines.append(f"| {m} | {group} | {'f16' if dtype == F16 else 'f32'} | {threads} | {a * 1e3:.3f} | {b * 1e3:.3f} | "
                                 f"{share:.0%} | {ratio:.2f} | {n} |")
                    print(lines[-1], flush=True)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
