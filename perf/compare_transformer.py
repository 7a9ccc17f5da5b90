#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""clquant's files of a transformer beside what onnxruntime and NNCF make of it, interleaved in one run.

    build/venv/bin/python perf/compare_transformer.py MODEL.onnx --calib CALIB.npz --inputs TEST.npz --ours FILE.onnx ...
        [--build build/release] [--threads 1] [--isa avx512_vnni] [--rounds 210] [--processes 5] [--folder build/rivals] [--skip NAME ...]
        [--keep FILE.json]

Rivals are made once, in --folder: onnxruntime's dynamic INT8 per channel and its 4-bit MatMulNBits (accuracy level 4), NNCF's
INT8 (transformer mode) and 4-bit weights, in OpenVINO with float32 precision. Every contender is a resident process; a round
is one run of each, in an order that rotates. SQNR of the outputs on all samples of TEST.npz: of rivals against float in
onnxruntime, of our files against our float (clquant eval). With --keep, sets of processes and SQNR are added to what the file
holds and the table is of all of them, so that a long comparison can be made in short pieces. With --isa avx512_vnni nobody gets AMX:
clquant by its own option, OpenVINO by that of oneDNN, onnxruntime because Linux refuses it the tile registers (rivals/no_amx.py).
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from compare_ort import Ours, cpu, interval, sqnr  # noqa: E402
from rivals import Rival, RivalError  # noqa: E402


def make_ort(args, path, kind):
    import onnx
    if kind == "dynamic":
        from onnxruntime.quantization import quantize_dynamic
        quantize_dynamic(args.model, path, per_channel=True)
        return
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    quantizer = MatMulNBitsQuantizer(onnx.load(args.model), block_size=32, is_symmetric=True, accuracy_level=4)
    quantizer.process()
    quantizer.model.save_model_to_file(path)


def make_nncf(args, path, kind):
    import nncf
    import openvino as ov
    model = ov.Core().read_model(args.model)
    if kind == "int8":
        data = np.load(args.calib)
        samples = [{k: data[k][i:i + 1] for k in data.files} for i in range(min(128, len(data[data.files[0]])))]
        made = nncf.quantize(model, nncf.Dataset(samples), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(samples))
    else:
        made = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT4_SYM, group_size=32, ratio=1.0, all_layers=True)
    ov.save_model(made, path, compress_to_fp16=False)


RIVALS = {
    "onnxruntime float": ("ort_runner.py", None, None),
    "OpenVINO float": ("ov_runner.py", None, None),
    "onnxruntime dynamic int8": ("ort_runner.py", "ort_dynamic.onnx", lambda a, p: make_ort(a, p, "dynamic")),
    "OpenVINO, NNCF int8": ("ov_runner.py", "nncf_int8.xml", lambda a, p: make_nncf(a, p, "int8")),
    "onnxruntime 4-bit group 32": ("ort_runner.py", "ort_int4.onnx", lambda a, p: make_ort(a, p, "int4")),
    "OpenVINO, NNCF 4-bit group 32": ("ov_runner.py", "nncf_int4.xml", lambda a, p: make_nncf(a, p, "int4")),
}


def rival_files(args):
    files = {}
    for name, (_, file, make) in RIVALS.items():
        path = os.path.join(args.folder, f"{os.path.basename(args.model)[:-5]}.{file}") if file else args.model
        if name in args.skip:
            continue
        try:
            if not os.path.exists(path):
                make(args, path)
            files[name] = path
        except Exception as error:  # a rival that cannot be made is told, not hidden
            print(f"{name}: not available: {type(error).__name__}: {error}", file=sys.stderr)
    return files


def start(args, files):
    t = ["--inputs", args.inputs, "--threads", args.threads]
    if args.isa:
        os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE_VNNI"
    own_isa, no_amx = (["--isa", args.isa], ["--no-amx"]) if args.isa else ([], [])
    runner = os.path.join(args.build, "clquant_runner")
    made = {"clquant float": Ours(runner, args.model, *t, *own_isa)}
    for path in args.ours:
        made[f"clquant {os.path.basename(path)}"] = Ours(runner, path, *t, *own_isa)
    for name, path in files.items():
        try:
            made[name] = Rival(RIVALS[name][0], path, *t, *no_amx)
        except (RivalError, OSError) as error:
            print(f"{name}: not available: {error}", file=sys.stderr)
    for process in made.values():
        process.run(3)
    return made


def floats(arrays):
    return np.concatenate([a.ravel() for _, a in sorted(arrays.items()) if a.dtype == np.float32])


def quality(args, made):
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "out.npz")
        made["onnxruntime float"].out(path)
        names = dict(np.load(path))
        reference = floats(names)
        for name, process in made.items():
            if name.startswith("clquant") or name == "onnxruntime float":
                continue
            process.out(path)
            y = floats(dict(np.load(path)))
            found[name] = sqnr(y, reference) if y.shape == reference.shape else None
    for path in args.ours:
        said = subprocess.run([os.path.join(args.build, "clquant"), "eval", path, "--data", args.inputs, "--reference", args.model, "--json", "-q"],
                              check=True, stdout=subprocess.PIPE).stdout
        found[f"clquant {os.path.basename(path)}"] = json.loads(said)["sqnr_db"]
    return found


def measure(args, files, seconds, db):
    """Adds sets of times, and the SQNR when none is there yet."""
    for _ in range(args.processes):
        made = start(args, files)
        names = list(made)
        for name in names:
            seconds.setdefault(name, []).append([])
        for i in range(max(1, args.rounds // args.processes)):
            k = i % len(names)
            for name in names[k:] + names[:k]:
                seconds[name][-1].append(made[name].run(1)[0])
        if not db and not args.no_quality and "onnxruntime float" in made:
            db.update(quality(args, made))
        for process in made.values():
            process.close()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--calib", required=True)
    p.add_argument("--inputs", required=True)
    p.add_argument("--ours", nargs="+", required=True)
    p.add_argument("--build", default="build/release")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--isa", choices=["avx512_vnni"], help="nobody gets more than this")
    p.add_argument("--rounds", type=int, default=210, help="in all")
    p.add_argument("--processes", type=int, default=5, help="fresh sets of processes")
    p.add_argument("--folder", default="build/rivals")
    p.add_argument("--skip", nargs="*", default=[])
    p.add_argument("--no-quality", action="store_true")
    p.add_argument("--keep", help="a JSON file of the times so far, made or added to")
    args = p.parse_args()
    os.makedirs(args.folder, exist_ok=True)
    base, seconds, db = f"clquant {os.path.basename(args.ours[0])}", {}, {}
    if args.keep and os.path.exists(args.keep):
        with open(args.keep, encoding="utf-8") as f:
            seconds, db = json.load(f)
    measure(args, rival_files(args), seconds, db)
    if args.keep:
        with open(args.keep, "w", encoding="utf-8") as f:
            json.dump([seconds, db], f)
    print(f"{os.path.basename(args.model)}, {args.threads} threads, {args.isa or 'all instructions'}, {sum(map(len, seconds[base]))} interleaved rounds in {len(seconds[base])} sets of processes, {cpu()}\n")
    print(f"| contender | median ms | best ms | time / {base} (95 %) | SQNR dB |\n|---|---|---|---|---|")
    for name, parts in seconds.items():
        ratios = [np.array(a) / np.array(b) for a, b in zip(parts, seconds[base])]
        lo, hi = interval(ratios)
        times = np.concatenate(parts)
        text = "-" if db.get(name) is None else f"{db[name]:.2f}"
        print(f"| {name} | {1e3 * np.median(times):.2f} | {1e3 * times.min():.2f} | {np.median(np.concatenate(ratios)):.2f} ({lo:.2f} to {hi:.2f}) | {text} |")


if __name__ == "__main__":
    main()
