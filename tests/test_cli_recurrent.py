# SPDX-License-Identifier: Apache-2.0
"""Constants of operators that compute in float, stored in fewer bits: LSTM, GRU and a gathered table, on the recurrent example;
and models whose shapes depend on values, of which the part before is quantized.

Arguments: the command, the example, the source tree."""
import json
import os
import sys
import unittest

from cli_files import F32, I64, model, node, tensor, value, write, write_npz
from test_cli import SOURCE, Case, content

FOLDER = os.path.join(SOURCE, "examples", "debian_sections")
MODEL, CALIB, TEST, LABELS = (os.path.join(FOLDER, f) for f in ("model.onnx", "calib.npz", "test.npz", "test_labels.npy"))


class Recurrent(Case):
    def quantize(self, *args):
        d = self.json("quantize", MODEL, "--data", CALIB, "--limit", "64", "--pairs", "10", "--algorithm", "mse", "--force", "-o", self.path("o.onnx"), *args)
        e = self.json("eval", self.path("o.onnx"), "--data", TEST, "--labels", LABELS, "--reference", MODEL, "--limit", "300", "--batch", "50")
        return d, e, {layer["op"]: layer["precision"] for layer in d["layers"]}

    def test_float(self):
        d = self.json("eval", MODEL, "--data", TEST, "--labels", LABELS, "--batch", "100")
        self.assertEqual(d["top1"], 84.2)

    def test_eight_bits(self):
        d, e, ops = self.quantize("--uniform", "int8-weight")
        self.assertEqual({ops[k] for k in ("LSTM", "GRU", "Gather", "Gemm")}, {"int8-weight"})
        self.assertLess(d["model_bytes"], 0.32 * d["reference_bytes"])
        self.assertGreater(e["sqnr_db"], 40)
        self.assertGreater(e["agreement"], 0.98)
        for name in ("lstm_w", "lstm_r", "gru_w", "gru_r", "embedding"):  # no float copy is left behind
            self.assertNotIn(name.encode() + b"J", content(self.path("o.onnx")))

    def test_four_bits(self):
        """Of the 4-bit modes the table takes part where it is a candidate, and only there."""
        _, _, ops = self.quantize("--uniform", "int4-g16")
        self.assertEqual((ops["Gather"], ops["LSTM"], ops["Gemm"]), ("f32", "f32", "int4-g16"))
        for mode in ("int4-g16", "int4-g16-asym", "int4-channel"):
            d, e, ops = self.quantize("--candidates", "f32," + mode, "--objective", "size", "--min-sqnr", "8")
            self.assertEqual((ops["Gather"], ops["LSTM"]), (mode, "f32"), mode)
            self.assertGreater(e["sqnr_db"], 8)
        self.assertEqual(content(self.path("o.onnx")), self.replayed())

    def replayed(self):
        self.json("quantize", MODEL, "--data", CALIB, "--limit", "64", "--pairs", "10", "--plan", self.path("o.onnx.plan.json"), "-o", self.path("p.onnx"))
        return content(self.path("p.onnx"))

    def test_sixteen_bits(self):
        d, e, ops = self.quantize("--uniform", "int16-int8")
        self.assertEqual((ops["LSTM"], ops["Gather"], ops["Gemm"]), ("f32", "f32", "int16-int8"))
        self.assertGreater(e["sqnr_db"], 45)
        self.assertTrue(any("int16-int8" in json.dumps(layer) for layer in d["layers"]))


class Waiting(Case):
    def setUp(self):
        super().setUp()
        w = [((i * 37) % 101 - 50) / 64 for i in range(128)]
        nodes = [node("MatMul", ["x", "w0"], ["h"], name="first"), node("Slice", ["x", "zero", "one", "one"], ["column"], name="cut"),
                 node("Squeeze", ["column", "one"], ["flat"], name="flat"), node("Greater", ["flat", "none"], ["positive"], name="positive"),
                 node("Compress", ["h", "positive"], ["picked"], name="pick", axis=0), node("MatMul", ["picked", "w1"], ["y"], name="second")]
        consts = [tensor("w0", F32, [8, 8], w[:64]), tensor("w1", F32, [8, 8], w[64:]), tensor("zero", I64, [1], [0]), tensor("one", I64, [1], [1]), tensor("none", F32, [], [0])]
        write(self.path("m.onnx"), model(nodes, [value("x", F32, [6, 8])], [value("y", F32, ["k", 8])], consts))
        x = [((i * 7919) % 257 - 128) / 64 for i in range(32 * 48)]
        x[:48] = [-abs(v) - 0.5 for v in x[:48]]  # a sample of which nothing is left
        write_npz(self.path("d.npz"), {"x": ("f4", (32, 6, 8), x)})

    def test_part_before(self):
        self.assertEqual([la["name"] for la in self.json("inspect", self.path("m.onnx"))["layers"]], ["first", "cut", "flat"])
        base = ["quantize", self.path("m.onnx"), "--data", self.path("d.npz"), "--pairs", "10", "--force", "-o", self.path("o.onnx")]
        for mode in ("int8-dynamic", "int4-g16", "int16-int8"):
            d = self.json(*base, "--uniform", mode)
            self.assertEqual({la["name"]: la["precision"] for la in d["layers"]}["first"], mode)
            e = self.json("eval", self.path("o.onnx"), "--reference", self.path("m.onnx"), "--data", self.path("d.npz"))
            self.assertGreater(e["sqnr_db"], 10)
        self.json(*base, "--report", self.path("r.html"))  # a search with all its measurements


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[4:], verbosity=2)
