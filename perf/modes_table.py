#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every weight mode on one model, from the command line: size, error on samples that calibration did not see, kind of execution.

    perf/modes_table.py MODEL.onnx --calib CALIB.npz --test TEST.npz [--clquant build/release/clquant] [--algorithm mse] [--limit 32]
        [--metric embeddings --output NAME] [--modes MODE ...]

A mode may be followed by a rounding: int4-g32/stochastic:1. Prints one row of a table per mode. Python's standard library alone."""
import argparse
import json
import os
import subprocess
import tempfile

MODES = ("int8-dynamic", "int8-weight", "int16-int8", "int4-g16", "int4-g32", "int4-g32-asym", "int4-g128", "int4-g128-asym", "int4-channel", "int4-channel-asym",
         "int4-g32/stochastic:1", "int4-g32/stochastic:2", "nf4-g32", "codebook16", "int2-g32", "int2-g32-asym", "ternary", "binary")
EXECUTED = ("int8-dynamic", "int4-")


def run(*command):
    return json.loads(subprocess.run([*command, "--json", "--quiet"], check=True, stdout=subprocess.PIPE).stdout)


def row(args, mode, folder):
    name, _, rounding = mode.partition("/")
    out = os.path.join(folder, "out.onnx")
    more = ["--rounding", rounding] if rounding else []
    d = run(args.clquant, "quantize", args.model, "--data", args.calib, "--limit", str(args.limit), "--pairs", "10", "--uniform", name, "--algorithm", args.algorithm, "--force",
            "-o", out, *more)
    metric = ["--metric", args.metric] if args.metric else []
    output = ["--output", args.output] if args.output else []
    e = run(args.clquant, "eval", out, "--data", args.test, "--limit", str(args.limit), "--reference", args.model, *metric, *output)
    extra = f" {e['mean_cosine']:.5f} | {e['least_cosine']:.5f} |" if args.metric == "embeddings" else ""
    layers = sum(layer["precision"] == name for layer in d["layers"])
    kind = "integer kernels" if name.startswith(EXECUTED) else "storage"
    return f"| {mode} | {kind} | {layers} | {d['model_bytes'] / 1e6:.2f} | {d['model_bytes'] / d['reference_bytes']:.3f} | {e['sqnr_db']:.2f} |{extra}"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--calib", required=True)
    p.add_argument("--test", required=True)
    p.add_argument("--clquant", default="build/release/clquant")
    p.add_argument("--algorithm", default="mse")
    p.add_argument("--limit", type=int, default=32, help="samples that calibrate, and that judge")
    p.add_argument("--metric", choices=["embeddings"])
    p.add_argument("--output")
    p.add_argument("--modes", nargs="+", default=MODES)
    args = p.parse_args()
    extra = " mean cosine | least cosine |" if args.metric else ""
    print(f"| mode | execution | layers | MB | of float | SQNR dB |{extra}\n|---|---|---|---|---|---|{'---|---|' if args.metric else ''}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for mode in args.modes:
            print(row(args, mode, folder), flush=True)


if __name__ == "__main__":
    main()
