# SPDX-License-Identifier: Apache-2.0
"""onnx_roundtrip.py ONNX_COPY MODEL...: each model, read and written by clquant, passes onnx.checker, holds the same
initializers, and gives bit-identical outputs in onnxruntime (optimizations off). Needs onnx and onnxruntime."""
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort


def session(path):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def feed(sess, rng):
    defaults = {0: 1, 1: 3, 2: 64, 3: 64}
    types = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64,
             "tensor(int32)": np.int32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(bool)": np.bool_,
             "tensor(float16)": np.float16}
    out = {}
    for value in sess.get_inputs():
        shape = [d if isinstance(d, int) and d > 0 else defaults.get(i, 4) for i, d in enumerate(value.shape)]
        out[value.name] = (rng.random(shape) * 4).astype(types[value.type])
    return out


def check(copy, path, folder):
    out = os.path.join(folder, "copy.onnx")
    again = os.path.join(folder, "again.onnx")
    subprocess.run([copy, path, out], check=True)
    subprocess.run([copy, out, again], check=True)
    if open(out, "rb").read() != open(again, "rb").read():
        raise SystemExit(f"{path}: writing is not idempotent")
    onnx.checker.check_model(out)
    old, new = onnx.load(path), onnx.load(out)
    tensors = {t.name: onnx.numpy_helper.to_array(t) for t in old.graph.initializer}
    for t in new.graph.initializer:
        np.testing.assert_array_equal(tensors.pop(t.name), onnx.numpy_helper.to_array(t))
    if tensors:
        raise SystemExit(f"{path}: lost initializers {list(tensors)[:5]}")
    a, b = session(path), session(out)
    values = feed(a, np.random.default_rng(1))
    for x, y in zip(a.run(None, values), b.run(None, values), strict=True):
        if x.tobytes() != y.tobytes():
            raise SystemExit(f"{path}: outputs differ")
    print(f"{path}: IR {old.ir_version} -> {new.ir_version}, {len(new.graph.node)} nodes, outputs equal")


def main():
    with tempfile.TemporaryDirectory() as folder:
        for path in sys.argv[2:]:
            check(sys.argv[1], path, folder)


main()
