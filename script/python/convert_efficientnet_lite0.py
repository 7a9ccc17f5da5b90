#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Converts the EfficientNet-Lite0 weights of a PyTorch .pth file to ONNX, without PyTorch.

    convert_efficientnet_lite0.py WEIGHTS.pth FOLDED.onnx UNFOLDED.onnx

Writes the network twice: with every batch normalization folded into its convolution, and
with BatchNormalization nodes. Before a file is written, the un-folded network is evaluated
in numpy straight from the .pth on a random image, and the ONNX file must give the same
logits under onnxruntime.

Input `input` float32 [N, 3, 224, 224] in RGB order, (pixel - 127) / 128; output `logits`
float32 [N, 1000]. Padding is TensorFlow's SAME: where the total is odd, the extra row and
column are at the end. Needs only numpy and onnx (and onnxruntime for the check).
"""
import io
import pickle
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

IMAGE = 224
EPSILON = 1e-3
# (repeats, kernel, stride, expansion, input channels, output channels)
STAGES = [(1, 3, 1, 1, 32, 16), (2, 3, 2, 6, 16, 24), (2, 5, 2, 6, 24, 40), (3, 3, 2, 6, 40, 80),
          (3, 5, 1, 6, 80, 112), (4, 5, 2, 6, 112, 192), (1, 3, 1, 6, 192, 320)]

LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
STORAGE_TYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


# ---- the .pth file (the layout before PyTorch 1.6: five pickles, then the raw storages) ----

class StateDict(dict):
    def __setstate__(self, state):
        """Drops the version numbers that PyTorch attaches."""


class StorageType:
    def __init__(self, dtype):
        self.dtype = dtype


class Tensor:
    def __init__(self, storage, offset, shape, strides, *_ignored):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def array(self, storages):
        base = storages[self.storage[0]]
        itemsize = base.dtype.itemsize
        if any(n < 0 for n in (self.offset, *self.shape, *self.strides)):
            raise ValueError("a tensor has a negative size, stride or offset")
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides))
        if 0 not in self.shape and last >= base.size:
            raise ValueError("a tensor leaves its storage")
        return np.lib.stride_tricks.as_strided(
            base[self.offset:], self.shape, [s * itemsize for s in self.strides]).copy()


class RestrictedUnpickler(pickle.Unpickler):
    """Knows an ordered dictionary, tensors and two storage types; everything else is an error."""

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return StateDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return Tensor
        if module == "torch" and name in STORAGE_TYPES:
            return StorageType(np.dtype(STORAGE_TYPES[name]))
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a weights file")

    def persistent_load(self, pid):
        kind, storage_type, key, _location, count, view = pid
        if kind != "storage" or not isinstance(storage_type, StorageType) or view is not None:
            raise pickle.UnpicklingError("unexpected persistent id")
        return key, storage_type.dtype, count


def read_pth(path):
    with open(path, "rb") as f:
        stream = io.BytesIO(f.read())
    parts = [RestrictedUnpickler(stream).load() for _ in range(5)]
    magic, protocol, system, tensors, keys = parts
    if magic != LEGACY_MAGIC or protocol != LEGACY_PROTOCOL or not system["little_endian"]:
        raise ValueError("not a .pth file of the layout before PyTorch 1.6")
    kinds = {t.storage[0]: t.storage for t in tensors.values() if isinstance(t, Tensor)}
    storages = {}
    for key in keys:
        _, dtype, count = kinds[key]
        stored = int(np.frombuffer(stream.read(8), "<i8")[0])
        if stored != count:
            raise ValueError("a storage's length differs from its description")
        storages[key] = np.frombuffer(stream.read(count * dtype.itemsize), dtype)
    return {name: t.array(storages) for name, t in tensors.items() if isinstance(t, Tensor)}


# ---- the network: a list of operations, shared by the ONNX writer and the numpy evaluation ----

def same_padding(size, kernel, stride):
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def describe():
    """Yields ("conv", weight name, norm prefix, kernel, stride, padding, depthwise, relu6),
    ("save",) before a block that ends in an addition, and ("add",) at its end."""
    size = IMAGE

    def conv(name, norm, kernel=1, stride=1, depthwise=False, relu=True):
        nonlocal size
        padding = same_padding(size, kernel, stride)
        size = -(-size // stride)
        return "conv", name, norm, kernel, stride, padding, depthwise, relu

    yield conv("_conv_stem", "_bn0", 3, 2)
    block = 0
    for repeats, kernel, stride, expansion, cin, cout in STAGES:
        for repeat in range(repeats):
            prefix = f"_blocks.{block}."
            step = stride if repeat == 0 else 1
            residual = step == 1 and (cin if repeat == 0 else cout) == cout
            if residual:
                yield ("save",)
            if expansion != 1:
                yield conv(prefix + "_expand_conv", prefix + "_bn0")
            yield conv(prefix + "_depthwise_conv", prefix + "_bn1", kernel, step, True)
            yield conv(prefix + "_project_conv", prefix + "_bn2", relu=False)
            if residual:
                yield ("add",)
            block += 1
    yield conv("_conv_head", "_bn1")


NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


def evaluate(weights, x):
    """The un-folded network in numpy and float64: the reference that both files must meet."""
    x = x.astype(np.float64)
    saved = None
    for op, *rest in describe():
        if op == "save":
            saved = x
            continue
        if op == "add":
            x = x + saved
            continue
        name, norm, kernel, stride, (before, after), depthwise, relu = rest
        w = weights[name + ".weight"].astype(np.float64)
        x = np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)))
        out = (x.shape[2] - kernel) // stride + 1
        total = 0.0
        for i in range(kernel):
            for j in range(kernel):
                part = x[:, :, i:i + stride * out:stride, j:j + stride * out:stride]
                if depthwise:
                    total = total + part * w[None, :, 0, i, j, None, None]
                else:
                    total = total + np.einsum("nchw,oc->nohw", part, w[:, :, i, j], optimize=True)
        gamma, beta, mean, var = (weights[f"{norm}.{p}"].astype(np.float64)[None, :, None, None]
                                  for p in NORM_PARTS)
        x = (total - mean) / np.sqrt(var + EPSILON) * gamma + beta
        if relu:
            x = np.clip(x, 0, 6)
    return x.mean((2, 3)) @ weights["_fc.weight"].astype(np.float64).T + weights["_fc.bias"]


def make_model(weights, folded):
    nodes, tensors = [], []

    def tensor(name, value):
        tensors.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
        return name

    def node(op, inputs, output, **attributes):
        nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    tensor("clip_min", np.float32(0))
    tensor("clip_max", np.float32(6))
    x, saved, adds = "input", None, 0
    for op, *rest in describe():
        if op == "save":
            saved = x
            continue
        if op == "add":
            x = node("Add", [x, saved], f"add_{adds}")
            adds += 1
            continue
        name, norm, kernel, stride, (before, after), depthwise, relu = rest
        w = weights[name + ".weight"]
        base = name.replace("_blocks.", "block").replace("._", "_").lstrip("_")
        attributes = dict(kernel_shape=[kernel] * 2, strides=[stride] * 2, dilations=[1, 1],
                          pads=[before, before, after, after], group=len(w) if depthwise else 1)
        parts = [weights[f"{norm}.{p}"] for p in NORM_PARTS]
        if folded:
            gamma, beta, mean, var = (p.astype(np.float64) for p in parts)
            gain = gamma / np.sqrt(var + EPSILON)
            inputs = [x, tensor(base + ".weight", w * gain[:, None, None, None]),
                      tensor(base + ".bias", beta - mean * gain)]
            x = node("Conv", inputs, base, **attributes)
        else:
            x = node("Conv", [x, tensor(base + ".weight", w)], base, **attributes)
            inputs = [x] + [tensor(f"{base}_bn.{p}", v) for p, v in zip(NORM_PARTS, parts)]
            x = node("BatchNormalization", inputs, base + "_bn", epsilon=EPSILON)
        if relu:
            x = node("Clip", [x, "clip_min", "clip_max"], base + "_relu6")
    x = node("GlobalAveragePool", [x], "pool")
    x = node("Flatten", [x], "flatten", axis=1)
    inputs = [x, tensor("fc.weight", weights["_fc.weight"]), tensor("fc.bias", weights["_fc.bias"])]
    node("Gemm", inputs, "logits", transB=1)

    graph = helper.make_graph(
        nodes, "efficientnet-lite0",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, IMAGE, IMAGE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1000])], tensors)
    model = helper.make_model(graph, producer_name="clquant script/python", ir_version=8,
                              opset_imports=[helper.make_opsetid("", 13)])
    onnx.checker.check_model(model, full_check=True)
    return model


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    weights = read_pth(sys.argv[1])
    rng = np.random.default_rng(1)
    x = ((rng.integers(0, 256, (2, 3, IMAGE, IMAGE)) - 127) / 128).astype(np.float32)
    expected = evaluate(weights, x)
    for path, folded in ((sys.argv[2], True), (sys.argv[3], False)):
        model = make_model(weights, folded).SerializeToString(deterministic=True)
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        logits = session.run(None, {"input": x})[0]
        worst = float(np.abs(logits - expected).max() / np.abs(expected).max())
        if not worst < 1e-4:
            sys.exit(f"{path}: logits differ from the reference by {worst:.2e} of their largest")
        with open(path, "wb") as f:
            f.write(model)
        print(f"{path}: {len(model)} bytes, largest relative error of the logits {worst:.1e}")


if __name__ == "__main__":
    main()
