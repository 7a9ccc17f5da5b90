#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The operators of com.microsoft that quantized files carry, against onnxruntime without optimization.

    ort_microsoft.py CLQUANT FOLDER

Codes may differ by 1 where onnxruntime rounds another way; real numbers by 1e-3 relative or 1e-5 absolute."""
import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

DOMAIN = "com.microsoft"
rng = np.random.default_rng(7)
f32 = np.float32


def codes(shape, dtype=np.uint8):
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def scale(v):
    return np.array(v, f32)


def zero(v, dtype=np.uint8):
    return np.array(v, dtype)


def pack(k, n, block, bits, zeros):
    """B, scales and packed zero points of MatMulNBits."""
    blocks = -(-k // block)
    b = codes((n, blocks, block * bits // 8))
    s = rng.uniform(0.01, 0.1, n * blocks).astype(f32)
    return [b, s] + ([codes(n * -(-blocks * bits // 8))] if zeros else [])


def cases():
    a, b = (codes((2, 3, 5, 4)) for _ in range(2))
    pair = [a, scale(0.02), zero(120), b, scale(0.05), zero(7)]
    for op in "Add", "Mul":
        yield "QLinear" + op, pair + [scale(0.06), zero(100)], {}
        signed = [codes((4, 5), np.int8), scale(0.02), zero(-3, np.int8), codes((5,), np.int8), scale(0.05), zero(4, np.int8)]
        yield "QLinear" + op, signed + [scale(0.07), zero(11, np.int8)], {}
    one = [a, scale(0.05), zero(128)]
    yield "QLinearSigmoid", one + [scale(1 / 256), zero(0)], {}
    yield "QLinearLeakyRelu", one + [scale(0.04), zero(50)], {"alpha": 0.1}
    yield "QLinearSoftmax", one + [scale(1 / 256), zero(0)], {"axis": 1, "opset": 13}
    yield "QLinearSoftmax", one + [scale(1 / 256), zero(0)], {"axis": 2, "opset": 12}
    pool = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}
    yield "QLinearAveragePool", one + [scale(0.04), zero(120)], pool
    yield "QLinearAveragePool", one + [scale(0.04), zero(120)], pool | {"count_include_pad": 1}
    yield "QLinearGlobalAveragePool", one + [scale(0.01), zero(128)], {"channels_last": 0}
    yield "QLinearConcat", [scale(0.06), zero(99)] + pair, {"axis": 1}
    yield "QLinearWhere", [rng.random((2, 3, 5, 4)) < 0.5] + pair + [scale(0.06), zero(100)], {}
    mat = [codes((6, 7)), scale(0.02), zero(128), codes((7, 4), np.int8)]
    columns = rng.uniform(0.01, 0.05, 4).astype(f32)
    bias = rng.integers(-900, 900, 4, dtype=np.int32)
    yield "QGemm", mat + [scale(0.03), zero(0, np.int8), bias, scale(0.05), zero(90)], {}
    yield "QGemm", mat + [columns, np.zeros(4, np.int8), bias, scale(0.05), zero(90)], {}
    turned = mat[:3] + [np.ascontiguousarray(mat[3].T), scale(0.03), zero(5, np.int8)]
    yield "QGemm", turned, {"transB": 1}
    yield "MatMulIntegerToFloat", [codes((2, 6, 7)), mat[3], scale(0.02), columns, zero(120), np.zeros(4, np.int8), rng.normal(size=4).astype(f32)], {}
    yield "DynamicQuantizeMatMul", [rng.normal(size=(2, 6, 7)).astype(f32), mat[3], columns, np.zeros(4, np.int8), rng.normal(size=4).astype(f32)], {}
    for bits in 2, 4, 8:
        for zeros in False, True:
            k, n, block = 70, 9, 32
            x = rng.normal(size=(3, k)).astype(f32)
            yield "MatMulNBits", [x] + pack(k, n, block, bits, zeros), {"K": k, "N": n, "block_size": block, "bits": bits}


def write(folder, op, inputs, attributes):
    """A case in the layout of ONNX's backend tests; false when onnxruntime does not run it."""
    names = ["i%d" % i for i in range(len(inputs))]
    node = helper.make_node(op, names, ["y"], domain=DOMAIN, **attributes)
    infos = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in zip(names, inputs)]
    constants = [numpy_helper.from_array(v, n) for n, v in list(zip(names, inputs))[1:]]
    graph = helper.make_graph([node], op, infos[:1], [helper.make_empty_tensor_value_info("y")], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        (y,) = session.run(None, {"i0": inputs[0]})
    except Exception as error:
        return str(error).splitlines()[0]
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(y.dtype), y.shape))
    data = os.path.join(folder, "test_data_set_0")
    os.makedirs(data)
    onnx.save(model, os.path.join(folder, "model.onnx"))
    for name, value in ("input_0", inputs[0]), ("output_0", y):
        with open(os.path.join(data, name + ".pb"), "wb") as f:
            f.write(numpy_helper.from_array(value).SerializeToString())
    return None


def main():
    clquant, folder = sys.argv[1:3]
    shutil.rmtree(folder, ignore_errors=True)
    failed, n = [], 0
    for i, (op, inputs, attributes) in enumerate(cases()):
        case = os.path.join(folder, "%02d_%s" % (i, op))
        refused = write(case, op, inputs, attributes)
        if refused:
            print("%s: onnxruntime does not run it: %s" % (op, refused))
            continue
        n += 1
        real = op in ("MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulNBits") or (op == "QGemm" and len(inputs) < 8)
        bound = ["--atol", "1e-4"] if real else ["--atol", "1"]
        r = subprocess.run([clquant, "check", os.path.join(case, "model.onnx"), "--test-data", case, *bound], capture_output=True, text=True)
        if r.returncode:
            failed.append(op)
            print("%s %s: exit code %d\n%s%s" % (op, attributes, r.returncode, r.stdout, r.stderr))
    print("%d of %d cases agree" % (n - len(failed), n))
    return 1 if failed or n < 20 else 0


if __name__ == "__main__":
    sys.exit(main())
