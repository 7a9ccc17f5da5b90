#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""clquant beside onnxruntime and OpenVINO on one model, interleaved in one run.

    build/venv/bin/python perf/compare_ort.py MODEL.onnx --calib CALIB.npz --inputs TEST.npz \
        --ours OURS.int8.onnx [--build build/release] [--threads 1 2] [--rounds 210] [--out TABLE.md]

Every contender is a resident process that is driven in turn, in an order that rotates; spinning is off. A round is one run
of each. All processes are started afresh several times; ratios are medians of per-round ratios, with a 95 % bootstrap
interval that draws whole sets of processes.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from rivals import Rival, RivalError  # noqa: E402


class Ours(Rival):
    """clquant_runner speaks the same protocol."""

    def __init__(self, runner, *arguments):
        self.process = subprocess.Popen([runner, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)
        self.info = self._read()


def sqnr(y, r):
    e = float(((y - r).astype(np.float64) ** 2).sum())
    return float("inf") if e == 0 else 10 * np.log10(float((r.astype(np.float64) ** 2).sum()) / e)


def interval(parts, draws=2000):
    rng = np.random.default_rng(1)
    blocks = len(parts)
    medians = [np.median(np.concatenate([parts[i] for i in rng.integers(0, blocks, blocks)])) for _ in range(draws)]
    return np.quantile(medians, [0.025, 0.975])


def start(args, threads):
    t = ["--inputs", args.inputs, "--threads", threads, "--batch", args.batch]
    runner = os.path.join(args.build, "clquant_runner")
    made = {}

    def add(name, make):
        try:
            made[name] = make()
            made[name].run(5)
        except (RivalError, OSError) as error:
            print(f"{name}: not available: {error}", file=sys.stderr)
            made.pop(name, None)

    add("clquant float", lambda: Ours(runner, args.model, *t))
    add("clquant int8", lambda: Ours(runner, args.ours, *t))
    add("onnxruntime float", lambda: Rival("ort_runner.py", args.model, *t))
    quantize = ["--quantize", args.calib, "--samples", args.samples] + ([] if args.per_tensor else ["--per-channel"]) + (["--by-hand"] if args.by_hand else [])
    add("onnxruntime int8", lambda: Rival("ort_runner.py", args.model, *t, *quantize))
    add("OpenVINO float", lambda: Rival("ov_runner.py", args.model, *t))
    if "onnxruntime int8" in made:
        file = made["onnxruntime int8"].info["model"]
        add("OpenVINO, onnxruntime's int8 file", lambda: Rival("ov_runner.py", file, *t))
    if not args.no_nncf:
        add("OpenVINO, NNCF int8", lambda: Rival("ov_runner.py", args.model, *t, "--nncf", args.calib, "--samples", args.samples))
    return made


def quality(args, made):
    """Output SQNR of everything against the float model in onnxruntime; ours is judged in onnxruntime too."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "out.npz")
        made["onnxruntime float"].out(path)
        reference = next(iter(np.load(path).values()))
        for name, rival in made.items():
            if name.startswith("clquant"):
                continue
            rival.out(path)
            found[name] = sqnr(next(iter(np.load(path).values())), reference)
        with Rival("ort_runner.py", args.ours, "--inputs", args.inputs, "--batch", args.batch) as judge:
            judge.out(path)
            found["clquant int8"] = sqnr(next(iter(np.load(path).values())), reference)
    return found


def compare(args, threads):
    seconds, db = {}, {}
    for process in range(args.processes):
        made = start(args, threads)
        names = list(made)
        for n in names:
            seconds.setdefault(n, []).append([])
        for i in range(max(1, args.rounds // args.processes)):
            k = i % len(names)
            for n in names[k:] + names[:k]:
                seconds[n][-1].append(made[n].run(1)[0])
        if process == 0 and "onnxruntime float" in made:
            db = quality(args, made)
        for rival in made.values():
            rival.close()
    rows = []
    for n, parts in seconds.items():
        ratios = [np.array(p) / np.array(q) for p, q in zip(parts, seconds["clquant int8"])]
        lo, hi = interval(ratios)
        times = np.concatenate(parts)
        rows.append({"name": n, "threads": threads, "median_ms": 1e3 * float(np.median(times)), "best_ms": 1e3 * float(times.min()),
                     "ratio": float(np.median(np.concatenate(ratios))), "lo": float(lo), "hi": float(hi), "sqnr_db": db.get(n)})
    return rows


def cpu():
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--calib", required=True)
    p.add_argument("--inputs", required=True)
    p.add_argument("--ours", required=True, help="the file that clquant quantize wrote")
    p.add_argument("--build", default="build/release")
    p.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    p.add_argument("--batch", type=int, default=1)
    p.add_argument("--rounds", type=int, default=210, help="in all")
    p.add_argument("--processes", type=int, default=5, help="fresh sets of processes")
    p.add_argument("--samples", type=int, default=128)
    p.add_argument("--per-tensor", action="store_true", help="onnxruntime quantizes weights per tensor")
    p.add_argument("--by-hand", action="store_true", help="onnxruntime gets a model with weights as initializers")
    p.add_argument("--no-nncf", action="store_true")
    p.add_argument("--out")
    p.add_argument("--json", action="store_true")
    args = p.parse_args()
    lines = [f"{os.path.basename(args.model)}, batch {args.batch}, {args.rounds} interleaved rounds in {args.processes} sets of fresh processes, {cpu()}", "",
             "| threads | contender | median ms | best ms | time / clquant int8 (95 %) | SQNR dB |", "|---|---|---|---|---|---|"]
    rows = [r for t in args.threads for r in compare(args, t)]
    for r in rows:
        db = "-" if r["sqnr_db"] is None or not np.isfinite(r["sqnr_db"]) or r["sqnr_db"] > 90 else f"{r['sqnr_db']:.1f}"
        lines.append(f"| {r['threads']} | {r['name']} | {r['median_ms']:.2f} | {r['best_ms']:.2f} | {r['ratio']:.2f} ({r['lo']:.2f} to {r['hi']:.2f}) | {db} |")
    text = "\n".join(lines) + "\n"
    print(json.dumps(rows) if args.json else text)
    if args.out:
        with open(args.out, "w") as f:
            f.write(text)


if __name__ == "__main__":
    main()
