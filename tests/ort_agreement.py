#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files that clquant writes, in onnxruntime: every product on codes is fused into an integer operator, and the outputs agree
with clquant's own run of the same file.

    ort_agreement.py CLQUANT SOURCE_DIR WORK_DIR

Runs in the interpreter that has onnxruntime (build/venv); exits 77 when that is missing.
"""
import collections
import json
import os
import subprocess
import sys

try:
    import numpy as np
    import onnx
    import onnxruntime as ort
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

clquant, source, work = sys.argv[1:4]
models = os.path.join(source, "build", "models")
fashion = os.path.join(source, "examples", "fashion_mnist")
FUSED = ("QLinearConv", "QGemm", "QLinearMatMul")


def cases():
    yield "fashion", f"{fashion}/model.onnx", f"{fashion}/calib.npz", np.load(f"{fashion}/test.npz")["x"][:200], 0.995
    rng = np.random.default_rng(1)
    for name, shape in (("efficientnet-lite0", (3, 224, 224)), ("ch_ppocr_mobile_v2.0_cls_infer", (3, 48, 192))):
        path = f"{models}/{name}.onnx"
        if not os.path.exists(path):
            print(f"skipped: {path} is absent")
            continue
        data = os.path.join(work, f"{name}.npz")
        key = onnx.load(path).graph.input[0].name
        np.savez(data, **{key: np.clip(rng.standard_normal((24, *shape)), -1, 1).astype(np.float32)})
        yield name, path, data, np.load(data)[key][:8], 0


def fusion(path):
    """(products planned on codes, integer products in onnxruntime's optimized graph)"""
    options = ort.SessionOptions()
    options.optimized_model_filepath = os.path.join(work, "optimized.onnx")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3
    ort.InferenceSession(path, options)
    graph = onnx.load(path).graph
    made = {o: n.op_type for n in graph.node for o in n.output}
    planned = sum(n.op_type in ("Conv", "Gemm", "MatMul") and made.get(n.input[1]) == "DequantizeLinear" for n in graph.node)
    found = collections.Counter(n.op_type for n in onnx.load(options.optimized_model_filepath).graph.node)
    return planned, sum(found[t] for t in FUSED)


def run_ours(path, x, key):
    array, out = os.path.join(work, "x.npy"), os.path.join(work, "out")
    rows = []
    for i in range(len(x)):
        np.save(array, x[i:i + 1])
        subprocess.run([clquant, "run", path, "--input", f"{key}={array}", "--output-dir", out, "--force", "--quiet", "--threads", "1"], check=True,
                       stdout=subprocess.DEVNULL)
        rows.append(np.load(os.path.join(out, os.listdir(out)[0])))
    return np.concatenate(rows)


def main():
    bad = 0
    os.makedirs(work, exist_ok=True)
    for name, model, data, x, same in cases():
        out = os.path.join(work, f"{name}.int8.onnx")
        subprocess.run([clquant, "quantize", model, "--data", data, "-o", out, "--force", "--quiet", "--json", "--uniform", "int8", "--pairs", "10",
                        "--calibrator", "mse"], check=True, stdout=subprocess.DEVNULL)
        planned, fused = fusion(out)
        session = ort.InferenceSession(out)
        key = session.get_inputs()[0].name
        theirs = np.concatenate([session.run(None, {key: x[i:i + 1]})[0] for i in range(len(x))])
        n = min(len(x), 40)
        ours = run_ours(out, x[:n], key)
        error = float(((ours - theirs[:n]).astype(np.float64) ** 2).sum())
        db = 200.0 if error == 0 else 10 * np.log10(float((theirs[:n].astype(np.float64) ** 2).sum()) / error)
        top = float((ours.argmax(-1) == theirs[:n].argmax(-1)).mean())
        ok = planned > 0 and fused == planned and db >= 35 and top >= same
        bad += not ok
        print(json.dumps({"model": name, "planned": planned, "fused": fused, "sqnr_db": round(db, 2), "top1_same": top, "ok": bool(ok)}))
    print(f"{'FAILED' if bad else 'passed'}: {bad} of the models disagree")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
