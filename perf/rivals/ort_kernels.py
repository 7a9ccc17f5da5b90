#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Single kernels of onnxruntime, and numpy's histogram, as a resident process with the protocol of README.md.

    ort_kernels.py THREADS [--no-amx]

"open KIND TYPE SHAPE FOLDER" reads the operands that kernel_runner wrote. What a call costs by itself, which is the time
of a product of 1 x 4 x 4 in a session of its own, is measured at the start and answered as "overhead": the comparison
subtracts it, so that Python's share does not count against onnxruntime. --no-amx keeps onnxruntime from the tile
registers, so that it runs what it has for AVX512-VNNI.
"""
import json
import os
import re
import statistics
import sys
import time

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import no_amx  # noqa: F401: before what asks for the tile registers
import onnxruntime

BINS = 2048
ELEMENT = {np.dtype("uint8"): TensorProto.UINT8, np.dtype("int8"): TensorProto.INT8, np.dtype("int32"): TensorProto.INT32,
           np.dtype("float32"): TensorProto.FLOAT}


def session_of(node, x, y_type, consts, threads):
    """A session of one node that reads x and constants."""
    graph = helper.make_graph([node], "kernel", [helper.make_tensor_value_info("x", ELEMENT[x.dtype], x.shape)],
                              [helper.make_tensor_value_info("y", y_type, None)],
                              [numpy_helper.from_array(v, k) for k, v in consts.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)], ir_version=8)
    o = onnxruntime.SessionOptions()
    o.intra_op_num_threads = threads
    o.inter_op_num_threads = 1
    o.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), o, providers=["CPUExecutionProvider"])


class Kernel:
    def __init__(self, session, x):
        self.session, self.io = session, session.io_binding()
        value = onnxruntime.OrtValue.ortvalue_from_numpy(x)
        self.io.bind_ortvalue_input("x", value)
        self.io.bind_output("y")
        session.run_with_iobinding(self.io)
        self.y = self.io.get_outputs()[0]
        self.io.bind_ortvalue_output("y", self.y)   # the same memory from now on

    def run(self):
        self.session.run_with_iobinding(self.io)

    def out(self):
        return self.y.numpy()


class Histogram:
    def __init__(self, x):
        self.x = x

    def run(self):
        self.counts, _ = np.histogram(self.x, bins=BINS)

    def out(self):
        return self.counts


def read(folder, name, dtype, shape):
    return np.fromfile(os.path.join(folder, name), dtype).reshape(shape)


def gemm(kind, dtype, shape, folder, threads):
    m, n, k = map(int, shape.split("x"))
    x = read(folder, "x", dtype, (m, k))
    w = np.ascontiguousarray(read(folder, "w", np.int8, (n, k)).T)
    zero = np.zeros((), dtype)
    if kind == "gemm32":
        node = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
        return Kernel(session_of(node, x, TensorProto.INT32, {"w": w}, threads), x)
    consts = {"xs": np.float32(1), "xz": zero, "w": w, "ws": read(folder, "multiplier", np.float32, n), "wz": np.zeros(n, np.int8), "ys": np.float32(1), "yz": zero}
    node = helper.make_node("QLinearMatMul", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["y"])
    return Kernel(session_of(node, x, ELEMENT[x.dtype], {k: np.asarray(v) for k, v in consts.items()}, threads), x)


def conv(shape, folder, threads):
    """onnxruntime's own operator for images with channels last: what its optimizer makes of QLinearConv in a network."""
    h, w, ci, co, rest = re.fullmatch(r"(\d+)x(\d+)x(\d+)-(\d+)(.*)", shape).groups()
    h, w, ci, co = int(h), int(w), int(ci), int(co)
    f = dict(k=1, s=1, p=0, g=1, d=1)
    f.update({t[0]: int(t[1:]) for t in rest.split(":") if t})
    behind = f.get("q", f["p"])
    x = read(folder, "x", np.uint8, (1, h, w, ci))
    weight = np.ascontiguousarray(read(folder, "w", np.int8, (co, f["k"], f["k"], ci // f["g"])).transpose(0, 3, 1, 2))
    zero = np.zeros((), np.uint8)
    consts = {"xs": np.float32(1), "xz": zero, "w": weight, "ws": read(folder, "multiplier", np.float32, co), "wz": np.zeros(co, np.int8),
              "ys": np.float32(1), "yz": zero, "b": read(folder, "bias", np.int32, co)}
    node = helper.make_node("QLinearConv", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"], ["y"], domain="com.microsoft", channels_last=1,
                            kernel_shape=[f["k"]] * 2, strides=[f["s"]] * 2, dilations=[f["d"]] * 2, group=f["g"], pads=[f["p"]] * 2 + [behind] * 2)
    return Kernel(session_of(node, x, TensorProto.UINT8, {k: np.asarray(v) for k, v in consts.items()}, threads), x)


def array(kind, shape, folder, threads):
    n = int(float(shape))
    consts = {"s": np.asarray(np.float32(0.05)), "z": np.asarray(np.uint8(3))}
    if kind == "quantize":
        x = read(folder, "x", np.float32, n)
        return Kernel(session_of(helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"]), x, TensorProto.UINT8, consts, threads), x)
    x = read(folder, "x", np.uint8, n)
    return Kernel(session_of(helper.make_node("DequantizeLinear", ["x", "s", "z"], ["y"]), x, TensorProto.FLOAT, consts, threads), x)


def make(kind, dtype, shape, folder, threads):
    if kind in ("gemm", "gemm32"):
        return gemm(kind, np.int8 if dtype == "s8s8" else np.uint8, shape, folder, threads)
    if kind == "conv":
        return conv(shape, folder, threads)
    if kind == "histogram":
        return Histogram(read(folder, "x", np.float32, int(float(shape))))
    return array(kind, shape, folder, threads)


def times(kernel, n):
    seconds = []
    for _ in range(n):
        begin = time.perf_counter()
        kernel.run()
        seconds.append(time.perf_counter() - begin)
    return seconds


def overhead(threads):
    x = np.zeros((1, 4), np.uint8)
    node = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    return statistics.median(times(Kernel(session_of(node, x, TensorProto.INT32, {"w": np.zeros((4, 4), np.int8)}, threads), x), 501))


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)   # what libraries print must not end up among the answers
    threads, kernel = int(sys.argv[1]), None

    def answer(**fields):
        print(json.dumps(fields), file=answers, flush=True)

    answer(ready=True, runtime="onnxruntime", amx="--no-amx" not in sys.argv, version=onnxruntime.__version__, numpy=np.__version__, threads=threads, overhead=overhead(threads))
    for line in sys.stdin:
        words = line.split()
        try:
            if words[0] == "open":
                kernel = None
                kernel = make(*words[1:5], threads)
                answer(kernel="numpy" if isinstance(kernel, Histogram) else "onnxruntime")
            elif words[0] == "run":
                answer(seconds=times(kernel, int(words[1])))
            elif words[0] == "out":
                kernel.out().tofile(os.path.join(words[1], "out"))
                answer(out=kernel.out().nbytes)
            elif words[0] == "quit":
                break
        except Exception as error:  # a rival that fails must say so, not disappear
            answer(error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
