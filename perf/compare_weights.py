#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Quality of 4-bit weights: clquant's files beside what onnxruntime's own quantizer makes of the same model and data.

    build/venv/bin/python perf/compare_weights.py MODEL.onnx --calib CALIB.npz --inputs TEST.npz --ours FILE.onnx ...
        [--group 32] [--build build/release] [--samples 128] [--only NAME ...] [--folder build/rivals]

onnxruntime's files are made once, in --folder, by MatMulNBitsQuantizer with each of its options, symmetric and with zero points: its own
rounding, RTN and k-quant of neural compressor, HQQ (needs torch), and GPTQ (calibrated on --calib) plain, with mse, with actorder and with
both. They run with float activations, which is their best quality; ours run as they ship, on 8-bit rows. Output SQNR over all samples of
TEST.npz, against the float model.
"""
import argparse
import contextlib
import json
import os
import subprocess
import sys
import time

import numpy as np
import onnx
import onnxruntime as ort


def samples(path, most=None):
    data = np.load(path)
    n = len(data[data.files[0]])
    return [{k: data[k][i:i + 1] for k in data.files} for i in range(min(n, most or n))]


def reader(path, most):
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.rest = iter(samples(path, most))

        def get_next(self):
            return next(self.rest, None)
    return Reader()


def variants(q, args):
    """Name to (symmetric, configuration)."""
    def gptq(**options):
        return lambda: q.GPTQWeightOnlyQuantConfig(reader(args.calib, args.samples), block_size=args.group, **options)

    found = {}
    for suffix, symmetric in (("", True), (", zero points", False)):
        found["rounding" + suffix] = symmetric, lambda s=symmetric: q.DefaultWeightOnlyQuantConfig(block_size=args.group, is_symmetric=s)
        found["RTN" + suffix] = symmetric, q.RTNWeightOnlyQuantConfig
    found["k-quant"] = False, q.KQuantWeightOnlyQuantConfig
    found["HQQ"] = False, lambda: q.HQQWeightOnlyQuantConfig(block_size=args.group)
    for suffix, symmetric in (("", True), (", zero points", False)):
        found["GPTQ" + suffix] = symmetric, gptq()
        found["GPTQ mse" + suffix] = symmetric, gptq(mse=True)
        found["GPTQ actorder" + suffix] = symmetric, gptq(actorder=True)
        found["GPTQ actorder mse" + suffix] = symmetric, gptq(actorder=True, mse=True)
    return found


def make(args, name, path):
    import onnxruntime.quantization.matmul_nbits_quantizer as q
    symmetric, config = variants(q, args)[name]
    quantizer = q.MatMulNBitsQuantizer(onnx.load(args.model), block_size=args.group, is_symmetric=symmetric, algo_config=config())
    quantizer.process()
    quantizer.model.save_model_to_file(path)


def outputs(path, data):
    o = ort.SessionOptions()
    o.intra_op_num_threads = 1
    session = ort.InferenceSession(path, o, providers=["CPUExecutionProvider"])
    names = [y.name for y in session.get_outputs() if y.type == "tensor(float)"]  # token numbers that pass through are no result
    return np.concatenate([np.concatenate([y.ravel() for y in session.run(names, x)]) for x in data]).astype(np.float64)


def ours(args, path):
    text = subprocess.run([os.path.join(args.build, "clquant"), "eval", path, "--data", args.inputs, "--reference", args.model, "--json", "-q"],
                          check=True, capture_output=True, text=True).stdout
    return json.loads(text)["sqnr_db"]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--calib", required=True)
    p.add_argument("--inputs", required=True)
    p.add_argument("--ours", nargs="*", default=[])
    p.add_argument("--group", type=int, default=32)
    p.add_argument("--build", default="build/release")
    p.add_argument("--samples", type=int, default=128, help="of --calib, for GPTQ")
    p.add_argument("--only", nargs="*", default=[], metavar="NAME", help="of onnxruntime's options, as the table names them")
    p.add_argument("--folder", default="build/rivals")
    args = p.parse_args()
    os.makedirs(args.folder, exist_ok=True)
    data = samples(args.inputs)
    reference = outputs(args.model, data)
    print(f"| group {args.group} | output SQNR dB |\n|---|---|")
    for path in args.ours:
        print(f"| clquant {os.path.basename(path)} | {ours(args, path):.2f} |", flush=True)
    import onnxruntime.quantization.matmul_nbits_quantizer as quantizer
    for name in variants(quantizer, args):
        if args.only and name not in args.only:
            continue
        path = os.path.join(args.folder, f"{os.path.basename(args.model)[:-5]}.ort-{name.replace(', ', '-').replace(' ', '-').lower()}-{args.group}.onnx")
        start = time.time()
        try:
            if not os.path.exists(path):
                with contextlib.redirect_stdout(sys.stderr):  # its progress bar
                    make(args, name, path)
            e = outputs(path, data) - reference
            print(f"| onnxruntime {name} | {10 * np.log10((reference ** 2).sum() / (e ** 2).sum()):.2f} |", flush=True)
        except Exception as error:  # a rival that cannot be made is told, not hidden
            print(f"| onnxruntime {name} | not available: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''} |", flush=True)
        print(f"{name}: {time.time() - start:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
