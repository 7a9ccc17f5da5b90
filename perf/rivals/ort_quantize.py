#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""onnxruntime's quantize_static as its users run it, once for each set of options.

    ort_quantize.py MODEL.onnx CALIB.npz OUTPUT.onnx [options]

Writes the model, and OUTPUT.onnx.json: seconds, peak memory, whether preprocessing worked.
--by-hand does for onnxruntime what its tool does not: weights out of Constant nodes, opset 13.
"""
import argparse
import json
import os
import tempfile
import time

import numpy as np
import onnx
from onnx import version_converter
from onnxruntime.quantization import (CalibrationDataReader, CalibrationMethod, QuantFormat,
                                      QuantType, quantize_static)
from onnxruntime.quantization.shape_inference import quant_pre_process

from protocol import load_inputs, peak_mb

METHODS = {"minmax": CalibrationMethod.MinMax, "entropy": CalibrationMethod.Entropy,
           "percentile": CalibrationMethod.Percentile}
TYPES = {"u8": QuantType.QUInt8, "s8": QuantType.QInt8}


def add_options(parser):
    """The options that ort_runner.py hands on."""
    parser.add_argument("--calibrate", choices=METHODS, default="minmax")
    parser.add_argument("--per-channel", action="store_true")
    parser.add_argument("--activations", choices=TYPES, default="u8")
    parser.add_argument("--weights", choices=TYPES, default="s8")
    parser.add_argument("--format", choices=["qdq", "qoperator"], default="qdq")
    parser.add_argument("--samples", type=int, default=128,
                        help="calibration samples; entropy and percentile keep every activation "
                             "of each (EfficientNet-Lite0: 67 MB an image)")
    parser.add_argument("--no-preprocess", action="store_true")
    parser.add_argument("--by-hand", action="store_true")


def option_list(args):
    """The same options as a command line, to start this script with and to name a cache file."""
    words = ["--calibrate", args.calibrate, "--activations", args.activations,
             "--weights", args.weights, "--format", args.format, "--samples", str(args.samples)]
    for flag in ("per_channel", "no_preprocess", "by_hand"):
        if getattr(args, flag):
            words.append("--" + flag.replace("_", "-"))
    return words


class Reader(CalibrationDataReader):
    def __init__(self, inputs, count):
        count = min(count, *(len(v) for v in inputs.values()))
        self.feeds = iter([{k: v[i:i + 1] for k, v in inputs.items()} for i in range(count)])

    def get_next(self):
        return next(self.feeds, None)


def by_hand(model):
    kept = []
    for node in model.graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            tensor = onnx.TensorProto()
            tensor.CopyFrom(value)
            tensor.name = node.output[0]
            model.graph.initializer.append(tensor)
        else:
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    return version_converter.convert_version(model, 13) if opset < 13 else model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("calib")
    parser.add_argument("output")
    add_options(parser)
    args = parser.parse_args()

    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as work:
        source = args.model
        if args.by_hand:
            source = os.path.join(work, "by-hand.onnx")
            onnx.save(by_hand(onnx.load(args.model)), source)
        preprocessed = "off"
        if not args.no_preprocess:
            target = os.path.join(work, "preprocessed.onnx")
            for preprocessed, skip in (("full", False), ("without symbolic shapes", True)):
                try:
                    quant_pre_process(source, target, skip_symbolic_shape=skip)
                    source = target
                    break
                except Exception:       # it fails on most models: that is part of the comparison
                    preprocessed = "failed"
        graph = onnx.load(source).graph
        initializers = {i.name for i in graph.initializer}
        names = [i.name for i in graph.input if i.name not in initializers]
        quantize_static(
            source, args.output, Reader(load_inputs(args.calib, names), args.samples),
            quant_format=QuantFormat.QDQ if args.format == "qdq" else QuantFormat.QOperator,
            per_channel=args.per_channel, activation_type=TYPES[args.activations],
            weight_type=TYPES[args.weights], calibrate_method=METHODS[args.calibrate])
    with open(args.output + ".json", "w", encoding="utf-8") as f:
        json.dump({"options": option_list(args), "preprocess": preprocessed,
                   "quantize_seconds": round(time.perf_counter() - begin, 2),
                   "quantize_peak_mb": peak_mb(), "bytes": os.path.getsize(args.output)}, f)


if __name__ == "__main__":
    main()
