#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files that clquant writes, in onnxruntime: every product on codes is fused into an integer operator, and the outputs agree
with clquant's own run of the same file. Three models are written for every target, and the files for OpenVINO run there too,
where it is installed; one model also gets a file of mixed precisions, fixed by rules so that no timing decides what is tested.
What counts as agreement: agrees().

    ort_agreement.py CLQUANT SOURCE_DIR WORK_DIR [CASE...]

Runs in the interpreter that has onnxruntime (build/venv); exits 77 when that is missing. Models come from `script/models`, data
from `script/models --data`; without them a model's case is skipped, or runs on seeded noise, and says so.
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
chosen = sys.argv[4:]
models = os.path.join(source, "build", "models")
data_folder = os.path.join(source, "build", "data")
fashion = os.path.join(source, "examples", "fashion_mnist")
FUSED = ("QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat")
MIN_DB, SAME_TOP1, NEAR, OPENVINO_NEAR = 35, 0.995, 3, 4
OPENVINO_DB = 30  # its convolutions requantize in float; where onnxruntime is further from itself, as far as that and OPENVINO_NEAR
ALL_TARGETS = ("fashion", "cls", "det")
MIXED = {"det": (r"re:^p2o\.Conv\.[0-9]$", r"re:^p2o\.Conv\.[3-5][0-9]$")}  # layers that stay float: a third of the convolutions and more

# name, model, data in build/data, shape of a sample where the data is absent, samples that are compared
MODELS = (
    ("efficientnet", "efficientnet-lite0.onnx", None, (3, 224, 224), 24),
    ("det", "ch_PP-OCRv4_det_infer.onnx", "ocr_det", (3, 160, 160), 4),
    ("rec", "ch_PP-OCRv4_rec_infer.onnx", "ocr_rec", (3, 48, 160), 8),
    ("cls", "ch_ppocr_mobile_v2.0_cls_infer.onnx", "ocr_cls", (3, 48, 192), 24),
    ("magika", "magika.onnx", "magika", None, 24),
)


def cases():
    """name, model, calibration data, samples, whether the samples are of the model's own domain"""
    if not chosen or "fashion" in chosen:
        yield "fashion", f"{fashion}/model.onnx", f"{fashion}/calib.npz", np.load(f"{fashion}/test.npz")["x"][:200], True
    rng = np.random.default_rng(1)
    for name, file, data, shape, n in MODELS:
        path = os.path.join(models, file)
        if chosen and name not in chosen:
            continue
        if not os.path.exists(path):
            print(f"skipped: {file} is absent; run script/models")
            continue
        key = onnx.load(path).graph.input[0].name
        calib = os.path.join(data_folder, f"{data}_calib.npz")
        if data and os.path.exists(calib):
            yield name, path, calib, np.load(os.path.join(data_folder, f"{data}_test.npz"))[key][:n], True
        elif shape:
            noise = np.clip(rng.standard_normal((24 + n, *shape)), -1, 1).astype(np.float32)
            calib = os.path.join(work, f"{name}.npz")
            np.savez(calib, **{key: noise[:24]})
            yield name, path, calib, noise[24:], False
        else:
            print(f"skipped: {name} has no data; run script/models --data")


def products(graph):
    """Names of the Conv, Gemm and MatMul whose weights are constant codes behind a DequantizeLinear."""
    made = {o: n for n in graph.node for o in n.output}
    constants = {i.name for i in graph.initializer}

    def on_codes(n):
        source = made.get(n.input[1])
        return source is not None and source.op_type == "DequantizeLinear" and source.input[0] in constants
    return [n.name for n in graph.node if n.op_type in ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul") and on_codes(n)]


def run_theirs(path, x, key, level):
    """One array of all samples for each output, at one of onnxruntime's levels of optimization."""
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    session = ort.InferenceSession(path, options)
    return [np.concatenate(c) for c in zip(*(session.run(None, {key: x[i:i + 1]}) for i in range(len(x))))]


def fusion(path, name):
    """(products planned on codes, integer products in onnxruntime's optimized graph, products that stayed float)"""
    options = ort.SessionOptions()
    options.optimized_model_filepath = os.path.join(work, f"{name}.optimized.onnx")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3
    ort.InferenceSession(path, options)
    graph = onnx.load(path).graph
    planned = len(products(graph))
    after = onnx.load(options.optimized_model_filepath).graph
    found = collections.Counter(n.op_type for n in after.node)
    return planned, sum(found[t] for t in FUSED), products(after)


def run_ours(path, x, key):
    """One array of all samples for each output."""
    array, out = os.path.join(work, "x.npy"), os.path.join(work, "out")
    rows = []
    for i in range(len(x)):
        np.save(array, x[i:i + 1])
        said = subprocess.run([clquant, "run", path, "--input", f"{key}={array}", "--output-dir", out, "--force", "--quiet", "--json"],
                              check=True, stdout=subprocess.PIPE).stdout
        rows.append([np.load(o["file"]) for o in json.loads(said)["outputs"]])
    return [np.concatenate(column) for column in zip(*rows)]


def compare(ours, theirs):
    """(SQNR in dB over all outputs, share of equal top-1)"""
    error = sum(float(((a.astype(np.float64) - b) ** 2).sum()) for a, b in zip(ours, theirs))
    energy = sum(float((b.astype(np.float64) ** 2).sum()) for b in theirs)
    # A map of probabilities (text detection) has one channel: its class is which side of the threshold a pixel lies on.
    same = [((a > 0.3) == (b > 0.3)) if b.ndim == 4 and b.shape[1] == 1 else a.argmax(-1) == b.argmax(-1) for a, b in zip(ours, theirs)]
    return 200.0 if error == 0 else 10 * np.log10(energy / error), float(np.mean([s.mean() for s in same]))


def agrees(db, plain_db, own_db):
    """The bar of 35 dB against onnxruntime with all optimizations. Where onnxruntime with and without them differs from itself by
    more than that (own_db), no implementation can meet it: there we may be 3 dB further from the nearer of the two than they are
    from each other."""
    return db >= MIN_DB or own_db < MIN_DB and max(db, plain_db) >= own_db - NEAR


def check_bar(plain, fast):
    """The bar can fail: values that are off by 25 dB do not pass it, nor does anything where the fallback does not apply."""
    assert agrees(35, 0, 60) and not agrees(34.9, 34.9, 60) and not agrees(34.9, 34.9, 35)
    assert agrees(20, 27, 30) and not agrees(20, 26.9, 30) and not agrees(26.9, 20, 30)
    rng = np.random.default_rng(2)
    level = [np.sqrt(float((a.astype(np.float64) ** 2).mean()) / 10 ** 2.5) for a in fast]
    spoiled = [a + l * rng.standard_normal(a.shape) for a, l in zip(fast, level)]
    own_db = compare(plain, fast)[0]
    return own_db < 30 or not agrees(compare(spoiled, fast)[0], compare(spoiled, plain)[0], own_db)


def run_openvino(path, x):
    """One array of all samples for each output, or None where OpenVINO is not installed."""
    try:
        import openvino
    except ImportError:
        return None
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [np.concatenate(c) for c in zip(*([r[o] for o in compiled.outputs] for r in (compiled(x[i:i + 1]) for i in range(len(x)))))]


def quantize(model, data, out, target, floats):
    how = ["--uniform", "int8", "--calibrator", "mse", *(word for rule in floats for word in ("--exclude", rule))]
    said = subprocess.run([clquant, "quantize", model, "--data", data, "-o", out, "--force", "--quiet", "--json", "--pairs", "10", "--limit", "48",
                           "--target", target, *how], check=True, stdout=subprocess.PIPE).stdout
    return {layer["precision"] for layer in json.loads(said)["layers"] if layer["op"] == "Conv"}


def check(name, model, data, x, real, target, floats):
    """Writes a file for a target, runs it everywhere and prints one line; returns whether all agree."""
    out = os.path.join(work, f"{name}.{target}{'.mixed' if floats else ''}.onnx")
    precisions = quantize(model, data, out, target, floats)
    onnx.checker.check_model(out)
    planned, fused, left = fusion(out, name)
    key = onnx.load(model).graph.input[0].name
    fast, plain = (run_theirs(out, x, key, level) for level in (ort.GraphOptimizationLevel.ORT_ENABLE_ALL, ort.GraphOptimizationLevel.ORT_DISABLE_ALL))
    ours = run_ours(out, x, key)
    (db, top), (plain_db, _), (own_db, _) = compare(ours, fast), compare(ours, plain), compare(plain, fast)
    # TensorRT's files keep float biases, which others do not fuse.
    integer = fused >= planned and not left if target != "tensorrt" else True
    ok = planned > 0 and precisions == ({"f32", "int8"} if floats else {"int8"}) and integer and agrees(db, plain_db, own_db) and (top >= SAME_TOP1 or not real) and check_bar(plain, fast)
    line = {"model": name, "target": target, "mixed": bool(floats), "planned": planned, "fused": fused, "left": left[:5], "sqnr_db": round(db, 2),
            "plain_db": round(plain_db, 2), "ort_itself_db": round(own_db, 2), "top1_same": round(top, 5), "samples": len(x), "real_data": real}
    theirs = run_openvino(out, x) if target == "openvino" else None
    if theirs:
        line["openvino_db"], line["openvino_top1_same"] = (round(v, 5) for v in compare(ours, theirs))
        ok = ok and line["openvino_db"] >= min(OPENVINO_DB, own_db - OPENVINO_NEAR)
    elif target == "openvino":
        print("skipped: OpenVINO is not installed; run script/models --rivals")
    print(json.dumps({**line, "ok": bool(ok)}), flush=True)
    return ok


def main():
    bad = 0
    os.makedirs(work, exist_ok=True)
    for name, model, data, x, real in cases():
        for target in ("generic", "ort", "openvino", "tensorrt") if name in ALL_TARGETS else ("generic",):
            bad += not check(name, model, data, x, real, target, ())
        if name in MIXED:
            bad += not check(name, model, data, x, real, "ort", MIXED[name])
    print(f"{'FAILED' if bad else 'passed'}: {bad} of the files disagree")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
