#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files in onnxruntime: what `clquant quantize --measure onnxruntime` wrote, the float model, and quantize_static's.

    build/venv/bin/python perf/compare_measured.py MODEL.onnx --calib CALIB.npz --inputs TEST.npz --ours OURS.onnx \
        [--threads 1] [--rounds 200] [--processes 5] [--static=--per-channel ...] [--append TABLE.md]

All contenders run in onnxruntime, each a resident process, driven in turn in an order that rotates, spinning off. Each
--static adds one quantize_static file with these options (default: its own defaults, and --per-channel). The SQNR is that of
all outputs over all test samples against the float model. Ratios are medians of per-round ratios with a 95 % bootstrap
interval that draws whole sets of processes.
"""
import argparse
import os
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from compare_ort import cpu, interval  # noqa: E402
from rivals import Rival, RivalError  # noqa: E402


def start(args):
    common = ["--inputs", args.inputs, "--threads", args.threads]
    wanted = [("float", args.model, []), ("clquant, measured in onnxruntime", args.ours, [])]
    for options in args.static if args.static else ["", "--per-channel"]:
        wanted.append((f"quantize_static {options}".strip(), args.model, ["--quantize", args.calib, "--samples", args.samples, *options.split()]))
    made = {}
    for name, path, more in wanted:
        try:
            made[name] = Rival("ort_runner.py", path, *common, *more)
            made[name].run(5)
        except (RivalError, OSError) as error:
            print(f"{name}: not available: {error}", file=sys.stderr)
            made.pop(name, None)
    return made


def quality(made):
    outputs = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, rival in made.items():
            path = os.path.join(folder, "out.npz")
            rival.out(path)
            with np.load(path) as z:
                outputs[name] = np.concatenate([z[k].ravel() for k in sorted(z.files) if z[k].dtype == np.float32]).astype(np.float64)
    ref = outputs["float"]
    error = {n: float(((y - ref) ** 2).sum()) for n, y in outputs.items()}
    return {n: 10 * np.log10(float((ref ** 2).sum()) / e) if e > 0 else np.inf for n, e in error.items()}


def measure(args):
    seconds, db = {}, {}
    for process in range(args.processes):
        made = start(args)
        names = list(made)
        for i in range(-(-args.rounds // args.processes)):
            k = i % len(names)
            for n in names[k:] + names[:k]:
                seconds.setdefault(n, {}).setdefault(process, []).append(made[n].run(1)[0])
        if process == 0:
            db = quality(made)
        for rival in made.values():
            rival.close()
    return seconds, db


def ratio(seconds, a, b):
    parts = [np.array(seconds[a][p]) / np.array(seconds[b][p]) for p in seconds[a] if p in seconds[b]]
    lo, hi = interval(parts)
    return f"{np.median(np.concatenate(parts)):.3f} ({lo:.3f} to {hi:.3f})"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--calib", required=True)
    p.add_argument("--inputs", required=True)
    p.add_argument("--ours", required=True)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--rounds", type=int, default=200)
    p.add_argument("--processes", type=int, default=5)
    p.add_argument("--samples", type=int, default=128)
    p.add_argument("--static", action="append", default=[], help="options of one quantize_static file")
    p.add_argument("--append", help="a table that the rows are added to; it is started when it is absent")
    args = p.parse_args()
    seconds, db = measure(args)
    ours = "clquant, measured in onnxruntime"
    rows = []
    for n, parts in seconds.items():
        ms = 1e3 * float(np.median(np.concatenate([np.array(x) for x in parts.values()])))
        rows.append(f"| {os.path.basename(args.model)} | {args.threads} | {n} | {ms:.3f} | {ratio(seconds, n, ours)} | "
                    f"{'exact' if np.isinf(db[n]) else format(db[n], '.1f')} |\n")
    head = (f"In onnxruntime, {args.rounds} interleaved rounds in {args.processes} sets of fresh processes, {cpu()}. A ratio above 1: slower than ours.\n\n"
            "| model | threads | file | median ms | time / ours (95 %) | SQNR dB |\n|---|---|---|---|---|---|\n")
    print(head + "".join(rows))
    if args.append:
        fresh = not os.path.exists(args.append)
        with open(args.append, "a", encoding="utf-8") as f:
            f.write((head if fresh else "") + "".join(rows))


if __name__ == "__main__":
    main()
