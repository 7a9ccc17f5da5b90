#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""OpenVINO as a resident rival: any ONNX model (float, or with Q/DQ), or quantized by NNCF.

    ov_runner.py MODEL.onnx --inputs TEST.npz [--threads 1] [--batch 1] [--no-amx]
    ov_runner.py MODEL.onnx --inputs TEST.npz --nncf CALIB.npz [--samples 128] [--transformer]

The precision hint is f32: the default on servers with bfloat16 is slower on these models. Shapes
are made static, to those of one batch, which is to OpenVINO's advantage.
"""
import argparse
import json
import os
import time

import no_amx  # noqa: F401: before openvino
import openvino as ov

from protocol import CACHE, cache_path, load_inputs, peak_mb, serve


def quantize(model, names, args):
    import nncf
    path = cache_path(CACHE, args.model, "nncf", ".xml", [ov.__version__, nncf.__version__, args.samples, args.transformer],
                      (args.model, args.nncf))
    if os.path.exists(path + ".json"):
        with open(path + ".json", encoding="utf-8") as f:
            return ov.Core().read_model(path), json.load(f)
    inputs = load_inputs(args.nncf, names)
    count = min(args.samples, *(len(v) for v in inputs.values()))
    samples = [{k: v[i:i + 1] for k, v in inputs.items()} for i in range(count)]
    begin = time.perf_counter()
    extra = {"model_type": nncf.ModelType.TRANSFORMER} if args.transformer else {}
    model = nncf.quantize(model, nncf.Dataset(samples), subset_size=count, **extra)
    facts = dict(nncf=nncf.__version__, samples=count, quantize_seconds=round(time.perf_counter() - begin, 2),
                 quantize_peak_mb=peak_mb())
    ov.save_model(model, path, compress_to_fp16=False)
    with open(path + ".json", "w", encoding="utf-8") as f:
        json.dump(facts, f)
    return model, facts


class Runner:
    def __init__(self, args):
        model = ov.Core().read_model(args.model)
        self.input_names = [i.any_name for i in model.inputs]
        facts = {}
        if args.nncf:
            model, facts = quantize(model, self.input_names, args)
        self.model = model
        self.threads = args.threads
        self.facts = dict(runtime="openvino", version=ov.__version__, model=args.model,
                          threads=args.threads, **facts)

    def describe(self):
        return self.facts

    def prepare(self, feeds):
        self.model.reshape({k: list(v.shape) for k, v in feeds.items()})
        compiled = ov.Core().compile_model(self.model, "CPU", {
            "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": self.threads, "ENABLE_CPU_PINNING": False})
        self.output_names = [o.any_name for o in compiled.outputs]
        self.timed = compiled.create_infer_request()
        self.bound = [ov.Tensor(v, shared_memory=True) for v in feeds.values()]
        for name, tensor in zip(feeds, self.bound):
            self.timed.set_tensor(name, tensor)
        self.other = compiled.create_infer_request()

    def run(self):
        self.timed.infer()

    def compute(self, feeds):
        self.other.infer(feeds)
        return {n: self.other.get_tensor(n).data.copy() for n in self.output_names}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--inputs", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-amx", action="store_true")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--nncf", metavar="CALIB.npz")
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--transformer", action="store_true")
    args = parser.parse_args()
    serve(lambda: Runner(args), args.inputs, args.batch)


if __name__ == "__main__":
    main()
