#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files of the modes for products, in onnxruntime: the products of every mode become the operator that the mode promises, and
the outputs agree with clquant's own run of the same file, on a small encoder that is made here and, where script/models has
fetched it, on paraphrase-MiniLM-L3.

    ort_modes.py CLQUANT SOURCE_DIR WORK_DIR

onnxruntime quantizes the rows of a 4-bit product by blocks, clquant as a whole: both at accuracy level 4, and close enough for a
cosine of 0.999 per output. Exits 77 where onnxruntime is missing."""
import collections
import json
import os
import subprocess
import sys

try:
    import numpy as np
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

clquant, source, work = sys.argv[1:4]
WIDTH, LENGTH, VOCABULARY, LAYERS = 64, 12, 50, 2
LEAST_COSINE = 0.999
# mode, form of 4-bit weights, target, the operator in onnxruntime's optimized graph, products that it leaves alone: of a generic
# file those that it merges with an activation before; of stored weights nothing is promised
MODES = (
    ("int4-g32", "qdq", "generic", "MatMulNBits", 1), ("int4-g32", "qdq", "ort", "MatMulNBits", 0), ("int4-g64-asym", "qdq", "ort", "MatMulNBits", 0),
    ("int4-g32", "matmulnbits", "generic", "MatMulNBits", 0), ("int4-g16-asym", "matmulnbits", "generic", "MatMulNBits", 0),
    ("int8-dynamic", "qdq", "generic", "MatMulInteger", 0), ("int8-tensor", "qdq", "generic", "DynamicQuantizeMatMul+MatMulIntegerToFloat", 0), ("int8-weight", "qdq", "generic", "MatMulNBits", None),
    ("int16-int8", "qdq", "generic", "QuantizeLinear", None),
)


def encoder():
    """Embedding, attention with one head and a feed-forward part with two Gemm on [tokens, width]."""
    rng = np.random.default_rng(5)
    nodes, constants = [], []

    def constant(name, value):
        constants.append(numpy_helper.from_array(value, name))
        return name

    def weight(name, *shape):
        return constant(name, (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32))

    def add(op, *inputs, **attributes):
        y = f"t{len(nodes)}"
        nodes.append(helper.make_node(op, list(inputs), [y], name=f"{op}_{len(nodes)}", **attributes))
        return y

    x = add("Gather", weight("table", VOCABULARY, WIDTH), "ids")
    for layer in range(LAYERS):
        q, k, v = (add("Add", add("MatMul", x, weight(f"w{n}{layer}", WIDTH, WIDTH)), weight(f"b{n}{layer}", WIDTH)) for n in "qkv")
        scores = add("Softmax", add("MatMul", add("Mul", q, constant(f"s{layer}", np.float32(WIDTH ** -0.5))), add("Transpose", k, perm=[0, 2, 1])), axis=-1)
        x = add("Add", x, add("MatMul", add("MatMul", scores, v), weight(f"wo{layer}", WIDTH, WIDTH)))
        x = add("LayerNormalization", x, constant(f"g{layer}", np.ones(WIDTH, np.float32)), axis=-1)
    flat = add("Reshape", x, constant("flat", np.array([-1, WIDTH])))
    hidden = add("Relu", add("Gemm", flat, weight("w1", WIDTH, 2 * WIDTH), weight("b1", 2 * WIDTH)))
    nodes.append(helper.make_node("Gemm", [hidden, constant("w2", (rng.standard_normal((32, 2 * WIDTH)) / 12).astype(np.float32)), weight("b2", 32)], ["y"], name="last", transB=1))
    graph = helper.make_graph(nodes, "encoder", [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", LENGTH])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["m", 32])], constants)
    path, data = os.path.join(work, "encoder.onnx"), os.path.join(work, "encoder.npz")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    ids = rng.integers(0, VOCABULARY, (40, LENGTH))
    np.savez(data, ids=ids[:32])
    return path, data, {"ids": ids[32:]}, 4 * LAYERS + 2


def cases():
    yield "encoder", *encoder(), MODES
    path, data = (os.path.join(source, "build", *p) for p in (("models", "paraphrase-MiniLM-L3-v2.onnx"), ("data", "minilm_l3_calib.npz")))
    if not os.path.exists(path) or not os.path.exists(data):
        print("skipped: paraphrase-MiniLM-L3 or its data is absent; run script/models --data")
        return
    test = np.load(data.replace("calib", "test"))
    yield "MiniLM-L3", path, data, {k: test[k][:4] for k in test.files}, 18, (MODES[1], MODES[5])


def theirs(path, inputs, work_name):
    """Outputs, and how often the optimized graph has each operator."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = os.path.join(work, work_name)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    count = len(next(iter(inputs.values())))
    rows = [session.run(None, {k: v[i:i + 1] for k, v in inputs.items()}) for i in range(count)]
    operators = collections.Counter(n.op_type for n in onnx.load(options.optimized_model_filepath).graph.node)
    return [np.stack(c) for c in zip(*rows)], operators


def ours(path, inputs):
    rows, folder = [], os.path.join(work, "out")
    for i in range(len(next(iter(inputs.values())))):
        args = []
        for k, v in inputs.items():
            np.save(os.path.join(work, f"{k}.npy"), v[i:i + 1])
            args += ["--input", f"{k}={os.path.join(work, k)}.npy"]
        said = json.loads(subprocess.run([clquant, "run", path, *args, "--output-dir", folder, "--force", "--quiet", "--json"], check=True, stdout=subprocess.PIPE).stdout)
        rows.append([np.load(o["file"]) for o in said["outputs"]])
    return [np.stack(c) for c in zip(*rows)], said["integer_steps"]


def cosine(a, b):
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def check(name, model, data, inputs, products, mode, form, target, operator, left):
    out = os.path.join(work, f"{name}.{mode}.{form}.{target}.onnx")
    said = json.loads(subprocess.run([clquant, "quantize", model, "--data", data, "--limit", "8", "--pairs", "10", "--uniform", mode, "--int4", form, "--target", target, "--algorithm", "mse",
                                      "-o", out, "--force", "--quiet", "--json"], check=True, stdout=subprocess.PIPE).stdout)
    changed = sum(layer["precision"] == mode for layer in said["layers"])
    onnx.checker.check_model(out)
    y, found = theirs(out, inputs, "optimized.onnx")
    x, integer = ours(out, inputs)
    floats = [k for k, v in enumerate(y) if v.dtype == np.float32]
    count = sum(found[o] for o in operator.split("+"))  # an input that several products read is quantized by itself
    near = min(cosine(x[k], y[k]) for k in floats)
    # products of codes of a whole tensor are other runtimes': ours takes them operator by operator
    fused = left is None or count == products - left and integer >= (0 if mode == "int8-tensor" else products)
    ok = changed >= products and fused and near >= LEAST_COSINE
    print(json.dumps({"model": name, "mode": mode, "form": form, "target": target, "products": changed, operator: count, "cosine": round(near, 6), "sqnr_db": said["sqnr_db"],
                      "integer_steps": integer, "ok": bool(ok)}), flush=True)
    return ok


def main():
    os.makedirs(work, exist_ok=True)
    bad = 0
    for name, model, data, inputs, products, modes in cases():
        for mode, form, target, operator, left in modes:
            bad += not check(name, model, data, inputs, products, mode, form, target, operator, left)
    print(f"{'FAILED' if bad else 'passed'}: {bad} of the files disagree")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
