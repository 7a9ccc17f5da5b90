# SPDX-License-Identifier: Apache-2.0
"""clquant eval's metrics for embeddings and sequences, beside the same numbers computed here in the plainest way; and the weight
modes of few levels on the example network.

Arguments: the command, the example, the source tree."""
import functools
import math
import sys
import unittest

from cli_files import F32, I64, model, node, tensor, value, write, write_npy, write_npz
from test_cli import CALIB, MODEL, TEST, Case


def pseudo(n, seed):
    return [((i * 7919 + seed * 104729) % 1009 - 504) / 256 for i in range(n)]


def cosine(a, b):
    return sum(p * q for p, q in zip(a, b)) / math.sqrt(sum(p * p for p in a) * sum(q * q for q in b))


def ranks(v):
    return [sum(w < x for w in v) + (sum(w == x for w in v) - 1) / 2 for x in v]


def spearman(x, y):
    mean = (len(x) - 1) / 2
    return cosine([r - mean for r in ranks(x)], [r - mean for r in ranks(y)])


def edits(a, b):
    @functools.lru_cache(None)
    def of(i, j):
        if not i or not j:
            return i + j
        return min(of(i - 1, j - 1) + (a[i - 1] != b[j - 1]), of(i - 1, j) + 1, of(i, j - 1) + 1)
    return of(len(a), len(b))


class Shapes(Case):
    def test_other_shapes(self):
        """A reference with fewer classes, or other types, has no rows to compare with."""
        write_npz(self.path("d.npz"), {"x": ("f4", (6, 4), pseudo(24, 3))})
        ins = [value("x", F32, ["n", 4])]
        for n in (3, 2):
            write(self.path("%d.onnx" % n), model([node("MatMul", ["x", "c"], ["y"])], ins, [value("y", F32, ["n", n])], [tensor("c", F32, [4, n], pseudo(4 * n, n))]))
        for a, b in ((3, 2), (2, 3)):
            self.fails(2, "different shapes or types", "eval", self.path("%d.onnx" % a), "--data", self.path("d.npz"), "--reference", self.path("%d.onnx" % b))


class Embeddings(Case):
    N, P, W = 12, 4, 5

    def setUp(self):
        super().setUp()
        self.x = pseudo(self.N * self.P * self.W, 1)
        self.mask = [int(p < 1 + i % self.P) for i in range(self.N) for p in range(self.P)]
        self.shift = [0.5, -0.25, 0, 1, 0.125]
        write_npz(self.path("d.npz"), {"x": ("f4", (self.N, self.P, self.W), self.x), "attention_mask": ("i8", (self.N, self.P), self.mask)})
        ins = [value("x", F32, ["n", self.P, self.W]), value("attention_mask", I64, ["n", self.P])]
        outs = [value("other", F32, ["n", self.P, self.W]), value("y", F32, ["n", self.P, self.W])]
        nodes = [node("Neg", ["x"], ["other"]), node("Identity", ["x"], ["y"])]
        write(self.path("m.onnx"), model(nodes, ins, outs))
        nodes[1] = node("Add", ["x", "c"], ["y"])
        write(self.path("r.onnx"), model(nodes, ins, outs, [tensor("c", F32, [self.W], self.shift)]))

    def vectors(self, shift, first=False, masked=True):
        out = []
        for i in range(self.N):
            kept = [0] if first else [p for p in range(self.P) if self.mask[i * self.P + p] or not masked]
            out.append([sum(self.x[(i * self.P + p) * self.W + c] + shift[c] for p in kept) / len(kept) for c in range(self.W)])
        return out

    def expect(self, args, **how):
        scores = [1, 4, 4, 2, 0.5, 3]
        write_npy(self.path("s.npy"), "f4", (len(scores),), scores)
        d = self.json("eval", self.path("m.onnx"), "--data", self.path("d.npz"), "--metric", "embeddings", "--reference", self.path("r.onnx"),
                      "--scores", self.path("s.npy"), "--output", "y", *args)
        ours, theirs = self.vectors([0] * self.W, **how), self.vectors(self.shift, **how)
        each = [cosine(a, b) for a, b in zip(ours, theirs)]
        self.assertEqual(d["samples"], self.N)
        self.assertAlmostEqual(d["mean_cosine"], sum(each) / self.N, 5)
        self.assertAlmostEqual(d["least_cosine"], min(each), 5)
        for key, v in (("spearman", ours), ("spearman_reference", theirs)):
            self.assertAlmostEqual(d[key], spearman([cosine(v[2 * i], v[2 * i + 1]) for i in range(self.N // 2)], scores), 6)
        self.assertIsNone(d["agreement"])
        self.assertLess(d["sqnr_db"], 30)

    def test_pools(self):
        self.expect(["--batch", "3"])
        self.expect(["--pool", "first"], first=True)
        self.assertNotEqual(self.vectors([0] * self.W), self.vectors([0] * self.W, masked=False))

    def test_alone(self):
        write_npy(self.path("s.npy"), "f4", (6,), [1, 1, 1, 1, 1, 1])
        base = ["eval", self.path("m.onnx"), "--data", self.path("d.npz"), "--metric", "embeddings", "--scores", self.path("s.npy")]
        d = self.json(*base)
        self.assertEqual((d["spearman"], d["mean_cosine"], d["sqnr_db"]), (None, None, None))
        self.assertNotIn("nan", self.run_command(*base).out)
        d = self.json("eval", self.path("m.onnx"), "--data", self.path("d.npz"), "--metric", "embeddings", "--reference", self.path("m.onnx"))
        self.assertTrue(d["identical"])
        self.assertAlmostEqual(d["least_cosine"], 1, 12)
        d = self.json("eval", MODEL, "--data", TEST, "--limit", "8", "--metric", "embeddings", "--reference", MODEL)  # [samples, width]
        self.assertAlmostEqual(d["mean_cosine"], 1, 12)

    def test_mistakes(self):
        base = ["eval", self.path("m.onnx"), "--data", self.path("d.npz"), "--metric", "embeddings"]
        write_npy(self.path("s.npy"), "f4", (5,), [1, 2, 3, 4, 5])
        self.fails(2, "scores: 5 are given.*more samples", *base, "--scores", self.path("s.npy"))
        self.fails(2, "scores: 5 are given.*there are 4 samples", *base, "--scores", self.path("s.npy"), "--limit", "4")
        self.fails(2, "no input 'm'", *base, "--mask", "m", "--reference", self.path("r.onnx"))
        self.fails(2, "the mask is float32 of rank 3", *base, "--mask", "x", "--reference", self.path("r.onnx"))
        self.fails(2, "none of the name 'z'", *base, "--output", "z", "--reference", self.path("r.onnx"))
        self.fails(2, "embeddings have no --labels", *base, "--labels", self.path("s.npy"))
        write_npy(self.path("s.npy"), "f4", (2,), [1, float("nan")])
        self.fails(2, "element 1 is not finite", *base, "--scores", self.path("s.npy"), "--limit", "4")
        for option in (["--scores", "s"], ["--pool", "mean"], ["--blank", "0"], ["--output", "y"]):
            self.fails(2, "goes with --metric", "eval", MODEL, "--data", CALIB, "--reference", MODEL, *option)
        self.fails(2, "goes with --metric sequences", *base, "--reference", MODEL, "--blank", "0")


class Sequences(Case):
    N, P, C = 9, 11, 4

    def setUp(self):
        super().setUp()
        self.x = pseudo(self.N * self.P * self.C, 3)
        self.scale = [1, 1, -1, 0.5]
        write_npz(self.path("d.npz"), {"x": ("f4", (self.N, self.P, self.C), self.x)})
        ins, outs = [value("x", F32, ["n", self.P, self.C])], [value("y", F32, ["n", self.P, self.C])]
        write(self.path("m.onnx"), model([node("Identity", ["x"], ["y"])], ins, outs))
        write(self.path("r.onnx"), model([node("Mul", ["x", "c"], ["y"])], ins, outs, [tensor("c", F32, [self.C], self.scale)]))
        write(self.path("codes.onnx"), model([node("ArgMax", ["x"], ["y"], axis=2, keepdims=0)], ins, [value("y", I64, ["n", self.P])]))

    def symbols(self, scale):
        rows = []
        for i in range(self.N):
            of = lambda p: [self.x[(i * self.P + p) * self.C + c] * scale[c] for c in range(self.C)]
            rows.append([of(p).index(max(of(p))) for p in range(self.P)])
        return rows

    @staticmethod
    def merge(row, blank):
        return tuple(s for i, s in enumerate(row) if s != blank and (i == 0 or row[i - 1] != s))

    def check(self, d, prefix, suffix, a, right):
        self.assertAlmostEqual(d[prefix + "exact" + suffix], sum(p == q for p, q in zip(a, right)) / self.N)
        self.assertAlmostEqual(d[prefix + "edit_rate" + suffix], sum(map(edits, a, right)) / sum(map(len, right)))

    def test_blank(self):
        ours, theirs = ([self.merge(r, 1) for r in self.symbols(s)] for s in ([1] * self.C, self.scale))
        labels = [[(i * k) % 4 if k < 3 + i % 3 and (i * k) % 4 != 1 else -1 for k in range(6)] for i in range(self.N)]
        labels[0], labels[4] = list(ours[0]) + [-1] * (6 - len(ours[0])) if len(ours[0]) <= 6 else labels[0], [-1] * 6
        write_npy(self.path("l.npy"), "i8", (self.N, 6), [v for r in labels for v in r])
        right = [tuple(v for v in r if v >= 0) for r in labels]
        for batch in ("1", "3"):
            d = self.json("eval", self.path("m.onnx"), "--data", self.path("d.npz"), "--metric", "sequences", "--blank", "1", "--reference", self.path("r.onnx"),
                          "--labels", self.path("l.npy"), "--batch", batch)
            self.check(d, "", "", ours, theirs)
            self.check(d, "label_", "", ours, right)
            self.check(d, "label_", "_reference", theirs, right)
        self.assertIn("edits per symbol", self.run_command("eval", self.path("m.onnx"), "--data", self.path("d.npz"), "--metric", "sequences", "--blank", "1",
                                                           "--labels", self.path("l.npy")).out)

    def test_positions(self):
        """Without a blank every position counts, except where the label is negative; a model may give the symbols themselves."""
        ours = self.symbols([1] * self.C)
        labels = [[(v if (i + k) % 5 else 3 - v) if k < 7 + i % 4 else -1 for k, v in enumerate(r)] for i, r in enumerate(ours)]
        write_npy(self.path("l.npy"), "i8", (self.N, self.P), [v for r in labels for v in r])
        kept = [tuple(v for v, l in zip(r, row) if l >= 0) for r, row in zip(ours, labels)]
        for name in ("m.onnx", "codes.onnx"):
            d = self.json("eval", self.path(name), "--data", self.path("d.npz"), "--metric", "sequences", "--labels", self.path("l.npy"))
            self.check(d, "label_", "", kept, [tuple(l for l in r if l >= 0) for r in labels])
            self.assertIsNone(d["exact"])

    def test_mistakes(self):
        base = ["eval", self.path("m.onnx"), "--data", self.path("d.npz"), "--metric", "sequences"]
        write_npy(self.path("l.npy"), "i8", (self.N, 3), [0] * 27)
        self.fails(2, "labels of 3 positions, the output has 11", *base, "--labels", self.path("l.npy"))
        write_npy(self.path("l.npy"), "i8", (2, 11), [0] * 22)
        self.fails(2, "labels: 2 sequences of 11 symbols", *base, "--labels", self.path("l.npy"))
        self.fails(2, "float32 of rank 2, a sequence is", "eval", MODEL, "--data", TEST, "--limit", "2", "--metric", "sequences", "--reference", MODEL)


class Modes(Case):
    """Ternary, binary, non-uniform and stochastically rounded weights: size and error are told."""
    LEAST_DB = {"ternary": 0.5, "binary": 0, "nf4-g32": 15, "codebook16": 10, "int4-g32": 15}

    def quantize(self, mode, *more):
        d = self.json("quantize", MODEL, "--data", CALIB, "--limit", "24", "--pairs", "10", "--algorithm", "mse", "--uniform", mode, "--force", "-o", self.path("o.onnx"), *more)
        self.assertGreaterEqual(sum(layer["precision"] == mode for layer in d["layers"]), 1)
        self.assertLess(d["model_bytes"], d["reference_bytes"])
        self.assertGreater(d["sqnr_db"], self.LEAST_DB[mode])
        with open(self.path("o.onnx"), "rb") as f:
            return f.read()

    def test_few_levels(self):
        for mode in ("ternary", "binary", "nf4-g32", "codebook16"):
            self.quantize(mode)

    def test_stochastic(self):
        one, again, other, nearest = (self.quantize("int4-g32", *r) for r in (["--rounding", "stochastic:1"], ["--rounding", "stochastic:1"], ["--rounding", "stochastic:2"], []))
        self.assertEqual(one, again)
        self.assertEqual(len({one, other, nearest}), 3)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[4:], verbosity=2)
