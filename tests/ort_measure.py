#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--measure onnxruntime with the library of the Python package: its bits, its name in plan and JSON, its errors.

    ort_measure.py CLQUANT SOURCE_DIR

Runs in the interpreter that has onnxruntime (build/venv); exits 77 when that is missing. Nothing depends on who is faster.
"""
import glob
import json
import os
import subprocess
import sys
import tempfile
import unittest

try:
    import numpy as np
    import onnxruntime as ort
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

CLQUANT, SOURCE = sys.argv[1:3]
LIBRARY = next(iter(glob.glob(os.path.join(os.path.dirname(ort.__file__), "capi", "libonnxruntime.so*"))), None)
FASHION = os.path.join(SOURCE, "examples", "fashion_mnist")
MODEL, CALIB, TEST, LABELS = (os.path.join(FASHION, f) for f in ("model.onnx", "calib.npz", "test.npz", "test_labels.npy"))
NAME = f"onnxruntime {ort.__version__}"


class Measure(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.dir = self.folder.name
        self.env = dict(os.environ, XDG_CACHE_HOME=self.dir, TMPDIR=self.dir, CLQUANT_ONNXRUNTIME=LIBRARY)

    def tearDown(self):
        self.folder.cleanup()

    def clquant(self, *words, expect=0, env=None):
        r = subprocess.run([CLQUANT, *words], capture_output=True, text=True, env=dict(self.env, **(env or {})), timeout=300)
        self.assertEqual(r.returncode, expect, f"{words}\n{r.stdout}{r.stderr}")
        return r

    def quantized(self):
        out = os.path.join(self.dir, "q.onnx")
        self.clquant("quantize", MODEL, "--data", CALIB, "--limit", "48", "--uniform", "int8", "--pairs", "10", "-o", out, "--force")
        return out

    def test_the_bits_are_onnxruntimes(self):
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        for path in (MODEL, self.quantized()):
            x = np.load(TEST)["x"][3:4]
            self.clquant("run", path, "--data", TEST, "--index", "3", "-o", self.dir, "--threads", "1", "--force", "--measure", "onnxruntime")
            session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            name = session.get_outputs()[0].name
            got = np.load(os.path.join(self.dir, f"{name}.npy"))
            np.testing.assert_array_equal(got, session.run(None, {session.get_inputs()[0].name: x})[0])

    def test_eval_counts_as_onnxruntime_does(self):
        out = self.quantized()
        found = json.loads(self.clquant("eval", out, "--data", TEST, "--labels", LABELS, "--measure", f"onnxruntime:{LIBRARY}", "--json").stdout)
        session = ort.InferenceSession(out, providers=["CPUExecutionProvider"])
        x, labels, key = np.load(TEST)["x"], np.load(LABELS), session.get_inputs()[0].name
        right = sum(int(np.argmax(session.run(None, {key: x[i:i + 1]})[0]) == labels[i]) for i in range(len(labels)))
        self.assertAlmostEqual(found["top1"], 100 * right / len(labels), 9)
        self.assertEqual(found["runtime"], NAME)

    def test_a_search_names_the_runtime(self):
        out = os.path.join(self.dir, "out.onnx")
        found = json.loads(self.clquant("quantize", MODEL, "--data", CALIB, "--limit", "48", "--pairs", "20", "--threads", "1", "-o", out, "--measure",
                                        "onnxruntime", "--candidates", "f32,int8,int8-tensor", "--json").stdout)
        with open(out + ".plan.json", encoding="utf-8") as f:
            plan = json.load(f)
        self.assertEqual((found["runtime"], plan["device"]["runtime"], plan["options"]["target"]), (NAME, NAME, "ort"))
        self.assertIn(NAME, found["reason"])
        self.assertTrue(all(layer["f32_us"] is not None for layer in found["layers"]))
        self.assertTrue(found["kept_float"] or found["budget_met"])
        again = os.path.join(self.dir, "again.onnx")
        self.clquant("quantize", MODEL, "--data", CALIB, "--plan", out + ".plan.json", "--pairs", "10", "-o", again)
        if not found["kept_float"]:
            with open(out, "rb") as a, open(again, "rb") as b:
                self.assertEqual(a.read(), b.read())
        self.assertFalse(glob.glob(os.path.join(self.dir, "clquant-*")), "temporary folders are left")

    def test_bench_names_the_runtime(self):
        found = json.loads(self.clquant("bench", "model", MODEL, "--reference", MODEL, "--pairs", "21", "--measure", "onnxruntime", "--json").stdout)
        self.assertEqual((found["runtime"], found["pairs"] + found["discarded"]), (NAME, 21))
        self.assertIn(NAME, self.clquant("bench", "model", MODEL, "--pairs", "3", "--measure", "onnxruntime").stdout)

    def test_an_unknown_operator_is_said(self):
        path = os.path.join(self.dir, "strange.onnx")
        with open(MODEL, "rb") as f:
            data = f.read()
        self.assertIn(b"\x22\x04Conv", data)
        with open(path, "wb") as f:
            f.write(data.replace(b"\x22\x04Conv", b"\x22\x04Cone", 1))
        r = self.clquant("bench", "model", path, "--measure", "onnxruntime", expect=3)
        self.assertIn(f"{NAME}: the model is refused", r.stderr)

    def test_absent_and_wrong_libraries(self):
        for words, env, part in ((["--measure", "onnxruntime"], {"CLQUANT_ONNXRUNTIME": "", "LD_LIBRARY_PATH": ""}, "CLQUANT_ONNXRUNTIME"),
                                 (["--measure", "onnxruntime:/nowhere/x.so"], {}, "'/nowhere/x.so': No such file or directory"),
                                 (["--measure", f"onnxruntime:{MODEL}"], {}, "is no shared library"),
                                 (["--measure", "onnxruntime"], {"CLQUANT_ONNXRUNTIME": "/nowhere/y.so"}, "/nowhere/y.so")):
            r = self.clquant("bench", "model", MODEL, *words, expect=4, env=env)
            self.assertEqual((r.stdout, len(r.stderr.strip().split("\n"))), ("", 1), r.stderr)
            self.assertIn(part, r.stderr)
        self.clquant("bench", "model", MODEL, "--measure", "tvm", expect=2)
        self.clquant("bench", "model", MODEL, "--measure", "onnxruntime", "--device", "opencl", expect=2)


if __name__ == "__main__":
    if LIBRARY is None:
        print("skipped: this onnxruntime has no library beside its module")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1])
