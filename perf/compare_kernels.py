#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""clquant's kernels beside oneDNN, onnxruntime and numpy, interleaved in one run.

    build/venv/bin/python perf/compare_kernels.py gemm|conv|arrays [--build build/release] [--threads 1 2]
        [--rounds 21] [--isa LEVEL] [--dnnl3 RUNNER] [--shapes SHAPE ...] [--out TABLE.md] [--csv TABLE.csv]

Every contender is a resident process. clquant and a rival take turns, in the order ABBA: one run that does not count, then as
many as fill two milliseconds. Ratios are rival / clquant, medians over the pairs; the rivals' results are compared with
ours byte by byte. Who does not have the turn is stopped, threads that spin included. With --isa, oneDNN is limited to the same
instructions and onnxruntime to those without AMX; without, all use all that the CPU has (AMX, where it exists).
"""
import argparse
import datetime
import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))


class Contender:
    started = []    # all of them: a stopped process would outlive us

    def __init__(self, name, command, kinds):
        self.name, self.kinds = name, kinds
        # oneDNN's threads must not share a core, which costs them 20 times their speed; clquant's look after themselves.
        env = dict(os.environ, **({"OMP_PROC_BIND": "close", "OMP_WAIT_POLICY": "active"} if "dnnl" in os.path.basename(command[0]) else {}))
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)
        self.started.append(self.process)
        self.info = self.read()
        self.process.send_signal(signal.SIGSTOP)

    def read(self):
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": f"ended with {self.process.wait()}"}

    def ask(self, text):
        """Nobody runs but who has the turn: threads that spin after their work would take a core from the next one."""
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        answer = self.read()
        self.process.send_signal(signal.SIGSTOP)
        return answer

    def seconds(self, n):
        """Of one run, when n are made in a row after one that does not count; a long one counts at once."""
        seconds = self.ask(f"run {n + 1 if n > 1 else 1}")["seconds"]
        return max(1e-9, statistics.median(seconds[1:] or seconds) - self.info.get("overhead", 0))

    def close(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def contenders(args, threads, which):
    runner = os.path.join(args.build, "dnnl_runner")
    ours = Contender("clquant", [os.path.join(args.build, "kernel_runner"), threads] + ([args.isa] if args.isa else []), None)
    rivals = []
    if which != "arrays":
        limit = {"avx2": ["avx2"], "avx_vnni": ["avx2_vnni"], "avx512": ["avx512_core"], "avx512_vnni": ["avx512_core_vnni"]}.get(args.isa, [])
        for program in [runner] + ([args.dnnl3] if args.dnnl3 else []):
            name = "oneDNN {version} " + " ".join(limit or ["all"])
            rivals.append(Contender(name, [program, threads, *limit], {"f32": "f32"} if program == runner else {}))
    rivals.append(Contender("onnxruntime {version}" + (" without AMX" if args.isa else ""),
                            [sys.executable, os.path.join(HERE, "rivals", "ort_kernels.py"), threads] + (["--no-amx"] if args.isa else []), {}))
    for r in rivals:
        if "error" in r.info:
            print(f"{r.name}: {r.info['error']}", file=sys.stderr)
        r.name = r.name.format(version=r.info.get("version"))
    return ours, [r for r in rivals if "error" not in r.info]


def entries(rivals, kind, dtype):
    """(label, contender, kind, type) of every rival of one case."""
    for r in rivals:
        if r.info["runtime"] == "oneDNN":
            yield r.name, r, kind, dtype
            if r.kinds.get("f32"):
                yield r.name + " f32", r, kind, "f32"
        elif kind == "histogram":
            yield f"numpy {r.info['numpy']}", r, kind, dtype
        elif kind == "gemm":
            for name, k in (("QLinearMatMul", "gemm"), ("MatMulInteger", "gemm32")):    # its s8s8 is 25 times slower than its u8s8
                yield f"{r.name} u8s8 {name}" if dtype == "s8s8" else f"{r.name} {name}", r, k, "u8s8"
        else:
            yield r.name, r, kind, dtype


def difference(ours, rival, folder, element):
    """The part of the results that differ, or None where they cannot be compared."""
    found = []
    for c in (ours, rival):
        if "error" in c.ask(f"out {folder}"):
            return None
        found.append(np.fromfile(os.path.join(folder, "out"), element))
    return float((found[0] != found[1]).mean()) if found[0].size == found[1].size and found[0].size else None


def measure(args, ours, rivals, kind, dtype, shape, folder):
    """One case: {label: {...}}, ours first."""
    facts = ours.ask(f"open {kind} {dtype} {shape} {folder}")
    if "error" in facts:
        raise SystemExit(f"clquant: {facts['error']}")
    rows = {"clquant": {"kernel": facts["kernel"], "samples": [], "operations": facts["operations"], "bytes": facts["bytes"]}}
    for label, rival, k, t in entries(rivals, kind, dtype):
        opened = rival.ask(f"open {k} {t} {shape} {folder}")
        if "error" in opened:
            print(f"{label}: {opened['error']}", file=sys.stderr)
            continue
        row = {"kernel": opened["kernel"], "samples": [], "ours": []}
        pair = {}
        for c, name in ((ours, "ours"), (rival, "samples")):
            c.seconds(2)
            pair[name] = (c, max(1, min(400, math.ceil(args.turn / c.seconds(2)))))
        same = {"gemm": "i1" if t == "s8s8" else "u1", "conv": "u1", "quantize": "u1", "dequantize": "f4"}.get(k)
        if t == "f32" or (k == "gemm" and rival.info["runtime"] == "onnxruntime"):     # QLinearMatMul has no bias
            same = None
        row["different"] = difference(ours, rival, folder, same) if same else None
        for i in range(args.rounds):
            for name in ("ours", "samples") if i % 2 else ("samples", "ours"):
                c, n = pair[name]
                row[name].append(c.seconds(n))
        rows["clquant"]["samples"] += row["ours"]
        rows[label] = row
    return rows


def summary(cases):
    """{(threads, type, rival): [(ratio, shape, weight)]}"""
    found = {}
    for case in cases:
        for label, row in case["rows"].items():
            if label == "clquant":
                continue
            ratio = statistics.median(r / o for r, o in zip(row["samples"], row["ours"]))
            row["ratio"] = ratio
            found.setdefault((case["threads"], case["group"], label), []).append((ratio, case["shape"]))
    return found


def suite(args, kind):
    if args.shapes:
        return args.shapes
    return subprocess.run([os.path.join(args.build, "kernel_runner"), "--shapes", kind], capture_output=True, text=True, check=True).stdout.split()


def gemm_cases(args):
    shapes = suite(args, "gemm")
    return [("gemm", t, s, t) for t in (("u8s7",) if args.type == "u8s7" else ("s8s8", "u8s8")) if not args.type or t == args.type for s in shapes]


def conv_cases(args):
    shapes = suite(args, "conv")

    def group(s):
        return "depthwise" if ":g" in s else "1x1" if ":k1:" in s else "kxk"
    return [("conv", "u8s8", s, group(s)) for s in shapes if not args.type or group(s) == args.type]


def array_cases(args):
    return [(k, t, s, f"{k} {t}") for k, t, s in (("histogram", "bell", 1 << 24), ("histogram", "zeros", 1 << 24), ("quantize", "u8", 1 << 18),
                                                   ("dequantize", "u8", 1 << 18), ("quantize", "u8", 1 << 24), ("dequantize", "u8", 1 << 24))]


def cpu():
    with open("/proc/cpuinfo") as f:
        fields = dict(line.split(":", 1) for line in f if ":" in line)
    fields = {k.strip(): v.strip() for k, v in fields.items()}
    return f"{fields.get('model name', platform.machine())}, family {fields.get('cpu family')} model {fields.get('model')}" + \
        (", with AMX" if "amx_int8" in fields.get("flags", "") else "")


def tables(args, cases, head):
    lines = [*head, "", "| threads | type | rival | shapes | geometric mean, rival time / clquant time | worst | worst shape |", "|---|---|---|---|---|---|---|"]
    for (threads, group, label), found in summary(cases).items():
        mean = math.exp(statistics.mean(math.log(r) for r, _ in found))
        worst, shape = min(found)
        lines.append(f"| {threads} | {group} | {label} | {len(found)} | **{mean:.2f}** | {worst:.2f} | {shape} |")
    lines += ["", "| threads | type | shape | clquant us | rate | ratios |", "|---|---|---|---|---|---|"]
    for case in cases:
        ours = case["rows"]["clquant"]
        seconds = statistics.median(ours["samples"])
        rate = f"{ours['operations'] / seconds * 1e-9:.0f} GOPS" if ours["operations"] else f"{ours['bytes'] / seconds * 1e-9:.1f} GB/s"
        ratios = ", ".join(f"{label} {row['ratio']:.2f}" for label, row in case["rows"].items() if label != "clquant")
        lines.append(f"| {case['threads']} | {case['group']} | {case['shape']} | {seconds * 1e6:.1f} | {rate} | {ratios} |")
    return "\n".join(lines) + "\n"


def write_csv(path, cases):
    with open(path, "w") as f:
        f.write("# SPDX-License-Identifier: Apache-2.0\n")
        f.write("threads,type,shape,contender,kernel,seconds,gops,ratio,different\n")
        for case in cases:
            for label, row in case["rows"].items():
                seconds = statistics.median(row["samples"])
                gops = case["rows"]["clquant"]["operations"] / seconds * 1e-9
                different = row.get("different")
                f.write(f"{case['threads']},{case['group']},{case['shape']},{label},{row['kernel']},{seconds:.9f},{gops:.1f},{row.get('ratio', 1):.4f},"
                        f"{'' if different is None else f'{different:.6f}'}\n")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["gemm", "conv", "arrays"])
    p.add_argument("--build", default="build/release")
    p.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    p.add_argument("--rounds", type=int, default=21)
    p.add_argument("--turn", type=float, default=2e-3, help="seconds that a turn takes about")
    p.add_argument("--isa", help="avx2, avx_vnni, avx512 or avx512_vnni: clquant and oneDNN are limited to it (default: neither is)")
    p.add_argument("--type", help="only s8s8, u8s8, 1x1, kxk or depthwise; u8s7: weights of 7 bits, whose sums of pairs are proved to fit 16")
    p.add_argument("--dnnl3", help="a dnnl_runner that was built with oneDNN 3 (perf/README.md)")
    p.add_argument("--shapes", nargs="+")
    p.add_argument("--out")
    p.add_argument("--csv")
    args = p.parse_args()
    todo = {"gemm": gemm_cases, "conv": conv_cases, "arrays": array_cases}[args.what](args)
    cases, versions = [], ""
    for threads in args.threads:
        ours, rivals = contenders(args, threads, args.what)
        versions = ", ".join(dict.fromkeys([f"clquant {ours.info['version']} ({ours.info['isa']})"] + [f"{r.info['runtime']} {r.info['version']}" for r in rivals]))
        with tempfile.TemporaryDirectory() as folder:
            for kind, dtype, shape, group in todo:
                cases.append({"threads": threads, "group": group, "shape": str(shape), "rows": measure(args, ours, rivals, kind, dtype, shape, folder)})
                if args.csv:    # what there is, should somebody lose patience
                    summary(cases)
                    write_csv(args.csv, cases)
        for c in [ours, *rivals]:
            c.close()
    head = [f"{args.what}, {datetime.date.today()}, {cpu()}", f"{versions}; {args.rounds} interleaved pairs per ratio; above 1 clquant is faster"]
    text = tables(args, cases, head)
    print(text)
    if args.out:
        with open(args.out, "w") as f:
            f.write(text)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    finally:
        for left in Contender.started:
            left.kill()
