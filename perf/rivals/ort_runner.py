#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""onnxruntime as a resident rival: a model as it is, or quantized by quantize_static.

    ort_runner.py MODEL.onnx --inputs TEST.npz [--threads 1] [--batch 1] [--no-amx]
    ort_runner.py MODEL.onnx --inputs TEST.npz --quantize CALIB.npz [--per-channel] [...]

Quantized files are kept in --cache under the hash of the model, the data and the options; the
path is in the `ready` line, so that another runtime can be given the same file.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import no_amx  # noqa: F401: before onnxruntime
import onnxruntime

import ort_quantize
from protocol import CACHE, cache_path, serve

HERE = os.path.dirname(os.path.abspath(__file__))


def quantized(args):
    options = ort_quantize.option_list(args)
    path = cache_path(args.cache, args.model, "ort", ".onnx", [onnxruntime.__version__, *options], (args.model, args.quantize))
    # A process of its own, so that its memory and its imports are not the runner's.
    if not os.path.exists(path + ".json"):
        # In a folder that goes away: preprocessing leaves files in the current one.
        script, model, data, result = map(os.path.abspath, (os.path.join(HERE, "ort_quantize.py"), args.model, args.quantize, path))
        with tempfile.TemporaryDirectory() as scratch:
            done = subprocess.run([sys.executable, script, model, data, result, *options], stderr=subprocess.PIPE, text=True,
                                  cwd=scratch)
        if done.returncode != 0:
            sys.stderr.write(done.stderr)
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"quantize_static failed ({done.returncode}): {last}")
    with open(path + ".json", encoding="utf-8") as f:
        return path, json.load(f)


class Runner:
    def __init__(self, path, threads, facts):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(path, options,
                                                    providers=["CPUExecutionProvider"])
        self.input_names = [i.name for i in self.session.get_inputs()]
        self.output_names = [o.name for o in self.session.get_outputs()]
        self.facts = dict(runtime="onnxruntime", version=onnxruntime.__version__, model=path,
                          threads=threads, **facts)

    def describe(self):
        return self.facts

    def prepare(self, feeds):
        """Inputs and outputs are bound, so that a run copies nothing."""
        self.binding = self.session.io_binding()
        self.bound = [onnxruntime.OrtValue.ortvalue_from_numpy(v) for v in feeds.values()]
        for name, value in zip(feeds, self.bound):
            self.binding.bind_ortvalue_input(name, value)
        for name in self.output_names:
            self.binding.bind_output(name)

    def run(self):
        self.session.run_with_iobinding(self.binding)

    def compute(self, feeds):
        return dict(zip(self.output_names, self.session.run(self.output_names, feeds)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--inputs", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-amx", action="store_true")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--quantize", metavar="CALIB.npz")
    parser.add_argument("--cache", default=os.path.relpath(CACHE))
    ort_quantize.add_options(parser)
    args = parser.parse_args()

    def make():
        path, facts = quantized(args) if args.quantize else (args.model, {})
        return Runner(path, args.threads, facts)
    serve(make, args.inputs, args.batch)


if __name__ == "__main__":
    main()
