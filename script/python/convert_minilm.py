#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Converts the all-MiniLM-L6-v2 weights of a safetensors file to ONNX, without PyTorch.

    convert_minilm.py WEIGHTS.safetensors MODEL.onnx

Writes the sentence encoder with its pooling: BERT with 6 layers of 384, the mean over the tokens that attention_mask
keeps, and division by the length. The nodes are spelled out in the way of the exporters for opset 14: layer norms, GELU
and attention in their elementary operators, the mask as a huge negative number. Before the file is written, the network
is evaluated in numpy straight from the weights, and the ONNX file must give the same embeddings under onnxruntime.

Inputs `input_ids`, `attention_mask` and `token_type_ids`, int64 [N, S] with S up to 512; output `embeddings`, float32
[N, 384] of length 1. Needs only numpy and onnx (and onnxruntime for the check).
"""
import json
import math
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LAYERS, HIDDEN, HEADS, INNER, EPSILON = 6, 384, 12, 1536, 1e-12
HEAD = HIDDEN // HEADS
LOWEST = np.finfo(np.float32).min


def read_safetensors(path):
    with open(path, "rb") as f:
        data = f.read()
    size = int.from_bytes(data[:8], "little")
    if size > len(data) - 8:
        raise ValueError("the header leaves the file")
    header, body = json.loads(data[8:8 + size]), memoryview(data)[8 + size:]
    found = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        begin, end = entry["data_offsets"]
        if not 0 <= begin <= end <= len(body) or end - begin != 4 * math.prod(entry["shape"]):
            raise ValueError(f"{name}: its bytes do not fit its shape")
        found[name] = np.frombuffer(body[begin:end], "<f4").reshape(entry["shape"])
    return found


# ---- the oracle: the network in numpy ----

def erf(x):
    return np.vectorize(math.erf, otypes=[np.float64])(x)


def layer_norm(w, prefix, x):
    centered = x - x.mean(-1, keepdims=True)
    scaled = centered / np.sqrt((centered ** 2).mean(-1, keepdims=True) + EPSILON)
    return scaled * w[prefix + ".weight"] + w[prefix + ".bias"]


def linear(w, prefix, x):
    return x @ w[prefix + ".weight"].T.astype(np.float64) + w[prefix + ".bias"]


def evaluate(w, ids, mask, types):
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.token_type_embeddings.weight"][types]
    x = x.astype(np.float64) + w["embeddings.position_embeddings.weight"][:ids.shape[1]]
    x = layer_norm(w, "embeddings.LayerNorm", x)

    def heads(y):
        return y.reshape(*y.shape[:2], HEADS, HEAD).transpose(0, 2, 1, 3)

    for i in range(LAYERS):
        p = f"encoder.layer.{i}."
        q, k, v = (heads(linear(w, f"{p}attention.self.{n}", x)) for n in ("query", "key", "value"))
        scores = q @ k.transpose(0, 1, 3, 2) / math.sqrt(HEAD) + (1 - mask[:, None, None]) * float(LOWEST)
        e = np.exp(scores - scores.max(-1, keepdims=True))
        y = (e / e.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3).reshape(x.shape)
        x = layer_norm(w, p + "attention.output.LayerNorm", linear(w, p + "attention.output.dense", y) + x)
        y = linear(w, p + "intermediate.dense", x)
        y = y * (erf(y / math.sqrt(2)) + 1) * 0.5
        x = layer_norm(w, p + "output.LayerNorm", linear(w, p + "output.dense", y) + x)
    m = mask[..., None]
    pooled = (x * m).sum(1) / np.maximum(m.sum(1), 1e-9)
    return pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)


# ---- the ONNX writer ----

class Writer:
    def __init__(self, weights):
        self.weights, self.nodes, self.tensors, self.known = weights, [], [], set()

    def tensor(self, name, value):
        if name not in self.known:
            self.known.add(name)
            self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def number(self, value, dtype=np.float32):
        return self.tensor(f"c{len(self.known)}_{value:g}", np.array(value, dtype))

    def ints(self, *values):
        return self.tensor("ints_" + "_".join(map(str, values)), np.array(values, np.int64))

    def node(self, op, inputs, name, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [name + "_out"], name, **attributes))
        return name + "_out"

    def layer_norm(self, x, prefix):
        centered = self.node("Sub", [x, self.node("ReduceMean", [x], prefix + ".mean", axes=[-1])], prefix + ".sub")
        square = self.node("Pow", [centered, self.number(2.0)], prefix + ".pow")
        variance = self.node("ReduceMean", [square], prefix + ".variance", axes=[-1])
        deviation = self.node("Sqrt", [self.node("Add", [variance, self.number(EPSILON)], prefix + ".epsilon")],
                              prefix + ".sqrt")
        scaled = self.node("Div", [centered, deviation], prefix + ".div")
        gained = self.node("Mul", [scaled, self.tensor(prefix + ".weight", self.weights[prefix + ".weight"])],
                           prefix + ".gain")
        return self.node("Add", [gained, self.tensor(prefix + ".bias", self.weights[prefix + ".bias"])], prefix)

    def linear(self, x, prefix):
        w = self.tensor(prefix + ".weight", self.weights[prefix + ".weight"].T)
        product = self.node("MatMul", [x, w], prefix + ".matmul")
        return self.node("Add", [self.tensor(prefix + ".bias", self.weights[prefix + ".bias"]), product], prefix)

    def heads(self, x, prefix, perm):
        split = self.node("Reshape", [x, self.ints(0, 0, HEADS, HEAD)], prefix + ".split")
        return self.node("Transpose", [split], prefix + ".heads", perm=perm)

    def layer(self, x, mask, p):
        a = p + "attention.self."
        q = self.heads(self.linear(x, a + "query"), a + "query", [0, 2, 1, 3])
        k = self.heads(self.linear(x, a + "key"), a + "key", [0, 2, 3, 1])
        v = self.heads(self.linear(x, a + "value"), a + "value", [0, 2, 1, 3])
        scaled = self.node("Div", [self.node("MatMul", [q, k], a + "scores"), self.number(np.sqrt(np.float32(HEAD)))],
                           a + "scaled")
        weights = self.node("Softmax", [self.node("Add", [scaled, mask], a + "masked")], a + "softmax", axis=-1)
        turned = self.node("Transpose", [self.node("MatMul", [weights, v], a + "context")], a + "turned",
                           perm=[0, 2, 1, 3])
        y = self.node("Reshape", [turned, self.ints(0, 0, HIDDEN)], a + "joined")
        y = self.node("Add", [self.linear(y, p + "attention.output.dense"), x], p + "attention.output.residual")
        x = self.layer_norm(y, p + "attention.output.LayerNorm")
        y = self.linear(x, p + "intermediate.dense")
        g = p + "intermediate.gelu."
        gate = self.node("Erf", [self.node("Div", [y, self.number(np.float32(math.sqrt(2)))], g + "div")], g + "erf")
        gated = self.node("Mul", [y, self.node("Add", [gate, self.number(1.0)], g + "one")], g + "mul")
        y = self.node("Mul", [gated, self.number(0.5)], g + "half")
        y = self.node("Add", [self.linear(y, p + "output.dense"), x], p + "output.residual")
        return self.layer_norm(y, p + "output.LayerNorm")

    def embeddings(self):
        def table(part, ids):
            name = f"embeddings.{part}_embeddings.weight"
            return self.node("Gather", [self.tensor(name, self.weights[name]), ids], f"embeddings.{part}")

        length = self.node("Gather", [self.node("Shape", ["input_ids"], "shape"), self.ints(1)], "length")
        positions = self.node("Slice", [self.tensor("position_ids", np.arange(512, dtype=np.int64)[None]),
                                        self.ints(0), length, self.ints(1)], "positions")
        x = self.node("Add", [table("word", "input_ids"), table("token_type", "token_type_ids")], "embeddings.sum")
        x = self.node("Add", [x, table("position", positions)], "embeddings.positions")
        return self.layer_norm(x, "embeddings.LayerNorm")

    def pool(self, x):
        wide = self.node("Unsqueeze", ["attention_mask", self.ints(2)], "pool.unsqueeze")
        mask = self.node("Cast", [wide], "pool.cast", to=TensorProto.FLOAT)
        total = self.node("ReduceSum", [self.node("Mul", [x, mask], "pool.mul"), self.ints(1)], "pool.sum", keepdims=0)
        count = self.node("ReduceSum", [mask, self.ints(1)], "pool.count", keepdims=0)
        count = self.node("Clip", [count, self.number(1e-9)], "pool.clip")
        mean = self.node("Div", [total, count], "pool.mean")
        norm = self.node("ReduceL2", [mean], "norm.l2", axes=[1])
        norm = self.node("Clip", [norm, self.number(1e-12)], "norm.clip")
        self.nodes.append(helper.make_node("Div", [mean, norm], ["embeddings"], "norm"))

    def model(self):
        wide = self.node("Unsqueeze", ["attention_mask", self.ints(1, 2)], "mask.unsqueeze")
        kept = self.node("Cast", [wide], "mask.cast", to=TensorProto.FLOAT)
        mask = self.node("Mul", [self.node("Sub", [self.number(1.0), kept], "mask.sub"), self.number(LOWEST)], "mask")
        x = self.embeddings()
        for i in range(LAYERS):
            x = self.layer(x, mask, f"encoder.layer.{i}.")
        self.pool(x)
        inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["N", "S"])
                  for n in ("input_ids", "attention_mask", "token_type_ids")]
        output = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["N", HIDDEN])
        graph = helper.make_graph(self.nodes, "all-MiniLM-L6-v2", inputs, [output], self.tensors)
        made = helper.make_model(graph, producer_name="clquant script/python", ir_version=8,
                                 opset_imports=[helper.make_opsetid("", 14)])
        onnx.checker.check_model(made, full_check=True)
        return made


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    weights = read_safetensors(sys.argv[1])
    rng = np.random.default_rng(1)
    ids = rng.integers(1000, 30000, (2, 19))
    mask = np.ones_like(ids)
    mask[1, 12:] = 0
    types = np.zeros_like(ids)
    expected = evaluate(weights, ids, mask, types)
    model = Writer(weights).model().SerializeToString(deterministic=True)
    import onnxruntime
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found = session.run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": types})[0]
    worst = float(np.abs(found - expected).max())
    if not worst < 1e-5:
        sys.exit(f"{sys.argv[2]}: embeddings differ from the reference by {worst:.2e}")
    with open(sys.argv[2], "wb") as f:
        f.write(model)
    print(f"{sys.argv[2]}: {len(model)} bytes, largest error of the embeddings {worst:.1e}")


if __name__ == "__main__":
    main()
