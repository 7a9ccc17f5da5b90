#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains the recurrent example network of this folder and writes every other data file in it.

    apt-get update
    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 build/venv/bin/python examples/debian_sections/train.py

Needs numpy and onnx (script/models) and the package lists of a Debian release, from which `apt-cache` gives names and
sections. Seed, thread count and order are fixed: the same lists on the same machine give the same weights.
"""
import os
import subprocess
import time

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
SEED, EPOCHS, BATCH, RATE = 11, 8, 128, 4e-3
LENGTH = 32                       # characters: the first and the last 16 of a longer name, at the right end of the array
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789+-."   # codes 1 to 39; 0 is padding
SECTIONS = 20                     # the largest ones
EMBED, LSTM, GRU = 16, 72, 48
CALIB, TEST = 256, 1000
f32 = np.float32


def read_packages():
    """Names and sections, sorted by name; of names in several lists the first."""
    found, name = {}, None
    for line in subprocess.run(["apt-cache", "dumpavail"], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines():
        if line.startswith("Package: "):
            name = line[9:]
        elif line.startswith("Section: "):
            found.setdefault(name, line[9:].split("/")[-1])
    return sorted(found.items())


def encode(names):
    codes = np.zeros((len(names), LENGTH), np.int64)
    for row, name in zip(codes, names):
        text = name if len(name) <= LENGTH else name[:LENGTH // 2] + name[-LENGTH // 2:]
        row[LENGTH - len(text):] = [ALPHABET.index(c) + 1 for c in text]
    return codes


def start(rng):
    def uniform(*shape):
        return rng.uniform(-1, 1, shape).astype(f32) / f32(np.sqrt(shape[-1]))
    p = {"E": rng.standard_normal((len(ALPHABET) + 1, EMBED)).astype(f32),
         "W": uniform(4 * LSTM, EMBED), "R": uniform(4 * LSTM, LSTM), "b": np.zeros(4 * LSTM, f32),
         "V": uniform(3 * GRU, LSTM), "S": uniform(3 * GRU, GRU), "c": np.zeros(3 * GRU, f32), "d": np.zeros(GRU, f32),
         "L": uniform(SECTIONS, GRU), "e": np.zeros(SECTIONS, f32)}
    p["b"][2 * LSTM:3 * LSTM] = 1  # what is remembered first
    return p


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def forward(p, ids, keep=None):
    """Logits; keep receives what the way back needs. Gates: LSTM i, o, f, c and GRU z, r, h, as in ONNX."""
    n, H, G = len(ids), LSTM, GRU
    h, c, g = np.zeros((n, H), f32), np.zeros((n, H), f32), np.zeros((n, G), f32)
    for t in range(LENGTH):
        x = p["E"][ids[:, t]]
        a = x @ p["W"].T + h @ p["R"].T + p["b"]
        i, o, f, m = sigmoid(a[:, :H]), sigmoid(a[:, H:2 * H]), sigmoid(a[:, 2 * H:3 * H]), np.tanh(a[:, 3 * H:])
        h0, c0, g0 = h, c, g
        c = f * c0 + i * m
        tc = np.tanh(c)
        h = o * tc
        u, v = h @ p["V"].T + p["c"], g0 @ p["S"].T
        z, r = sigmoid(u[:, :G] + v[:, :G]), sigmoid(u[:, G:2 * G] + v[:, G:2 * G])
        q = v[:, 2 * G:] + p["d"]
        k = np.tanh(u[:, 2 * G:] + r * q)
        g = (1 - z) * k + z * g0
        if keep is not None:
            keep.append((x, i, o, f, m, h0, c0, tc, h, z, r, q, k, g0))
    return g @ p["L"].T + p["e"], g


def backward(p, ids, labels):
    """Loss and gradients."""
    keep, n, H, G = [], len(ids), LSTM, GRU
    logits, g = forward(p, ids, keep)
    e = np.exp(logits - logits.max(1, keepdims=True))
    prob = e / e.sum(1, keepdims=True)
    loss = float(-np.log(prob[np.arange(n), labels] + 1e-9).mean())
    prob[np.arange(n), labels] -= 1
    prob /= f32(n)
    d = {k: np.zeros_like(v) for k, v in p.items()}
    d["L"], d["e"] = prob.T @ g, prob.sum(0)
    dg, dh, dc = prob @ p["L"], np.zeros((n, H), f32), np.zeros((n, H), f32)
    for t in reversed(range(LENGTH)):
        x, i, o, f, m, h0, c0, tc, h, z, r, q, k, g0 = keep[t]
        dk, dz = dg * (1 - z) * (1 - k * k), dg * (g0 - k) * z * (1 - z)
        dr = dk * q * r * (1 - r)
        du, dv = np.concatenate([dz, dr, dk], 1), np.concatenate([dz, dr, dk * r], 1)
        d["V"] += du.T @ h
        d["S"] += dv.T @ g0
        d["c"] += du.sum(0)
        d["d"] += dv[:, 2 * G:].sum(0)
        dg = dg * z + dv @ p["S"]
        dh = dh + du @ p["V"]
        dc = dc + dh * o * (1 - tc * tc)
        da = np.concatenate([dc * m * i * (1 - i), dh * tc * o * (1 - o), dc * c0 * f * (1 - f), dc * i * (1 - m * m)], 1)
        d["W"] += da.T @ x
        d["R"] += da.T @ h0
        d["b"] += da.sum(0)
        np.add.at(d["E"], ids[:, t], da @ p["W"])
        dh, dc = da @ p["R"], dc * f
    return loss, d


def train(p, ids, labels, rng):
    first, second = ({k: np.zeros_like(v) for k, v in p.items()} for _ in range(2))
    steps = len(ids) // BATCH
    begin, at = time.time(), 0
    for epoch in range(EPOCHS):
        order, total = rng.permutation(len(ids)), 0.0
        for s in range(steps):
            pick = order[s * BATCH:(s + 1) * BATCH]
            loss, d = backward(p, ids[pick], labels[pick])
            total += loss
            at += 1
            norm = np.sqrt(sum(float((v * v).sum()) for v in d.values()))
            rate = RATE * 0.5 * (1 + np.cos(np.pi * at / (EPOCHS * steps))) * min(1, at / 200)
            for k, v in p.items():
                grad = d[k] * f32(min(1, 1 / (norm + 1e-6)))
                first[k] += f32(0.1) * (grad - first[k])
                second[k] += f32(0.002) * (grad * grad - second[k])
                v -= f32(rate / (1 - 0.9 ** at)) * first[k] / (np.sqrt(second[k] / f32(1 - 0.998 ** at)) + f32(1e-8))
        print(f"epoch {epoch + 1}/{EPOCHS}: loss {total / steps:.4f}, {time.time() - begin:.0f} s", flush=True)


def export(p, path):
    constants = {
        "embedding": p["E"], "lstm_w": p["W"][None], "lstm_r": p["R"][None], "lstm_b": np.concatenate([p["b"], np.zeros_like(p["b"])])[None],
        "gru_w": p["V"][None], "gru_r": p["S"][None], "gru_b": np.concatenate([p["c"], np.zeros(2 * GRU, f32), p["d"]])[None],
        "linear_w": p["L"], "linear_b": p["e"], "one": np.array([1], np.int64), "zero": np.array([0], np.int64)}
    nodes = [
        helper.make_node("Gather", ["embedding", "codes"], ["characters"], "embedding"),
        helper.make_node("Transpose", ["characters"], ["steps"], "steps", perm=[1, 0, 2]),
        helper.make_node("LSTM", ["steps", "lstm_w", "lstm_r", "lstm_b"], ["lstm_y"], "lstm", hidden_size=LSTM),
        helper.make_node("Squeeze", ["lstm_y", "one"], ["hidden"], "one_direction"),
        helper.make_node("GRU", ["hidden", "gru_w", "gru_r", "gru_b"], ["", "gru_h"], "gru", hidden_size=GRU, linear_before_reset=1),
        helper.make_node("Squeeze", ["gru_h", "zero"], ["last"], "last"),
        helper.make_node("Gemm", ["last", "linear_w", "linear_b"], ["logits"], "linear", transB=1)]
    graph = helper.make_graph(nodes, "debian_sections", [helper.make_tensor_value_info("codes", TensorProto.INT64, ["N", LENGTH])],
                              [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", SECTIONS])],
                              [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="clquant")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def main():
    packages = read_packages()
    count = {}
    for _, section in packages:
        count[section] = count.get(section, 0) + 1
    sections = sorted(sorted(count), key=lambda s: -count[s])[:SECTIONS]
    packages = [(n, s) for n, s in packages if s in sections]
    ids, labels = encode([n for n, _ in packages]), np.array([sections.index(s) for _, s in packages])
    rng = np.random.default_rng(SEED)
    order = rng.permutation(len(ids))
    test, rest = order[:TEST], order[TEST:]
    print(f"{len(ids)} packages in {SECTIONS} sections: {', '.join(sections)}")
    p = start(rng)
    train(p, ids[rest], labels[rest], rng)
    right = forward(p, ids[test])[0].argmax(1) == labels[test]
    print(f"top-1 of {TEST} packages that training did not see: {100 * right.mean():.2f} %; {sum(v.size for v in p.values())} parameters")
    export(p, os.path.join(HERE, "model.onnx"))
    np.savez_compressed(os.path.join(HERE, "calib.npz"), codes=ids[rest[:CALIB]])
    np.savez_compressed(os.path.join(HERE, "test.npz"), codes=ids[test])
    np.save(os.path.join(HERE, "test_labels.npy"), labels[test])
    for f in ("model.onnx", "calib.npz", "test.npz", "test_labels.npy"):
        print(f"{f}: {os.path.getsize(os.path.join(HERE, f))} bytes")


if __name__ == "__main__":
    main()
