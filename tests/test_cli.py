# SPDX-License-Identifier: Apache-2.0
"""The clquant command, seen from outside: usage, exit codes, JSON, files, signals.

Arguments: the command, the example, the source tree, and the names of groups or tests."""
import ctypes
import json
import os
import pty
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

from cli_files import (BOOL, F32, I32, I64, U8, block, model, node, npy_bytes, read_npy, tensor, value, whole, write, write_npy, write_npz)

CLQUANT, EXAMPLE, SOURCE = sys.argv[1:4]
FASHION = os.path.join(SOURCE, "examples", "fashion_mnist")
MODEL, CALIB, TEST, LABELS = (os.path.join(FASHION, f) for f in ("model.onnx", "calib.npz", "test.npz", "test_labels.npy"))
COMMANDS = ["devices", "inspect", "quantize", "plan", "profile", "run", "eval", "check", "bench model", "tune", "explain", "diff"]
EXPECTED_KEYS = ["model_bytes", "reference_bytes", "sqnr_db", "identical", "speedup", "peak_rss_bytes", "seconds", "kept_float",
                 "slower_than_float", "layers"]


def content(path):
    with open(path, "rb") as f:
        return f.read()


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.dir = self.folder.name
        self.env = dict(os.environ, XDG_CACHE_HOME=self.path("cache"), TMPDIR=self.dir)
        for name in ("CLQ_ISA", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
            self.env.pop(name, None)

    def tearDown(self):
        self.folder.cleanup()

    def path(self, name):
        return os.path.join(self.dir, name)

    def run_command(self, *args, expect=0, env=None, **more):
        r = subprocess.run([CLQUANT, *args], capture_output=True, env=dict(self.env, **(env or {})), timeout=240, **more)
        r.out, r.err = r.stdout.decode(), r.stderr.decode()
        if expect is not None:
            self.assertEqual(r.returncode, expect, "%s\n%s%s" % (args, r.out, r.err))
        return r

    def fails(self, code, pattern, *args, **more):
        """The command fails with one line on stderr that matches, and nothing on stdout."""
        r = self.run_command(*args, expect=code, **more)
        self.assertEqual(r.out, "", args)
        lines = r.err.strip().split("\n")
        self.assertRegex(lines[-1], pattern)
        self.assertTrue(lines[-1].startswith("clquant"), r.err)
        return r

    def json(self, *args, **more):
        r = self.run_command(*args, "--json", **more)
        return json.loads(r.out)

    def files(self):
        return sorted(f for f in os.listdir(self.dir) if f != "cache")

    def two_layers(self, name="two.onnx"):
        """A model that is quick to quantize: x [n, 8] -> Gemm, Relu, Gemm -> y [n, 4]."""
        w = [((i * 37) % 101 - 50) / 64 for i in range(96)]
        nodes = [node("Gemm", ["x", "w0"], ["h"], name="first"), node("Relu", ["h"], ["r"], name="relu"),
                 node("Gemm", ["r", "w1"], ["y"], name="second")]
        consts = [tensor("w0", F32, [8, 8], w[:64]), tensor("w1", F32, [8, 4], w[64:])]
        return write(self.path(name), model(nodes, [value("x", F32, ["n", 8])], [value("y", F32, ["n", 4])], consts))

    def external(self, location="w.bin"):
        """x [n, 8] -> MatMul -> y [n, 8], with the weights in a file beside the model."""
        w = [((i * 37) % 101 - 50) / 64 for i in range(64)]
        os.makedirs(os.path.dirname(self.path(location)), exist_ok=True)
        write(self.path(location), struct.pack("<64f", *w))
        entry = lambda k, v: block(13, block(1, k) + block(2, v))
        external = whole(1, 8) + whole(1, 8) + whole(2, F32) + block(8, "w") + entry("location", location) + whole(14, 1)
        return write(self.path("m.onnx"), model([node("MatMul", ["x", "w"], ["y"], name="product")], [value("x", F32, ["n", 8])],
                                             [value("y", F32, ["n", 8])], [external]))

    def two_data(self, samples=64, name="two.npz"):
        write_npz(self.path(name), {"x": ("f4", (samples, 8), [((i * 7919) % 257 - 128) / 64 for i in range(samples * 8)])})
        return self.path(name)


class Usage(Case):
    def test_version(self):
        self.assertRegex(self.run_command("--version").out, r"^clquant \d+\.\d+\.\d+\n$")

    def test_general_help(self):
        for args in (["--help"], ["-h"], ["help"]):
            out = self.run_command(*args).out
            for word in COMMANDS + ["exit codes", "130"]:
                self.assertIn(word.split()[0], out)

    def test_help_has_an_example(self):
        for name in COMMANDS:
            direct, through = self.run_command(*name.split(), "--help").out, self.run_command("help", *name.split()).out
            self.assertEqual(direct, through)
            self.assertTrue(direct.startswith("usage: clquant " + name), direct)
            self.assertRegex(direct, r"\nexample:\n  clquant " + name)
            self.assertLessEqual(max(map(len, direct.split("\n"))), 200)
            for common in ("--json", "--device", "--threads", "--require-device", "--quiet", "--isa", "--force"):
                self.assertIn(common, direct)

    def test_options_in_the_help_exist(self):
        for name in COMMANDS:
            help_text = self.run_command(*name.split(), "--help").out
            for option in re.findall(r"^  (?:-\w, |    )(--[a-z0-9-]+)", help_text, re.M):
                r = subprocess.run([CLQUANT, *name.split(), option, "--no-such-option"], capture_output=True, env=self.env)
                self.assertEqual(r.returncode, 2)
                if b"unknown" in r.stderr:
                    self.assertIn(b"'--no-such-option'", r.stderr)

    def test_unknown_words_name_the_nearest(self):
        self.fails(2, r"unknown command 'quantise'; the nearest known one is quantize", "quantise", "m.onnx")
        self.fails(2, r"unknown option '--min-snr'; the nearest known one is --min-sqnr", "quantize", "m.onnx", "--min-snr", "20")
        self.fails(2, r"unknown option '--jsn'; .* --json", "devices", "--jsn")
        self.fails(2, r"unknown option '-z'", "devices", "-z")
        self.fails(2, r"expected bench model\|kernels\|gemm.*, got 'bench x'", "bench", "x")

    def test_values(self):
        self.fails(2, r"option --data needs a value: DATA", "quantize", "m.onnx", "--data")
        self.fails(2, r"option --data needs a value: DATA", "quantize", "m.onnx", "--data", "--json")
        self.fails(2, r"--threads: expected a whole number from 1 to 1024, got 'two'", "devices", "--threads", "two")
        self.fails(2, r"--threads: expected .*, got '0'", "devices", "--threads=0")
        self.fails(2, r"--threads: expected .*, got '99999999999999999999'", "devices", "--threads=99999999999999999999")
        self.fails(2, r"--min-sqnr: expected a number from 0.1 to 199, got 'nan'", "quantize", "m", "--min-sqnr", "nan")
        self.fails(2, r"--target: expected one of generic\|ort\|tensorrt\|openvino, got 'trt'", "quantize", "m", "--target", "trt")
        self.fails(2, r"--candidates 'int9': expected modes", "quantize", "m", "--candidates", "f32,int9")
        self.fails(2, r"option --json takes no value, got 'yes'", "devices", "--json=yes")
        self.fails(2, r"--isa: expected one of", "devices", "--isa", "sse")

    def test_arguments(self):
        self.fails(2, r"a command is missing")
        self.fails(2, r"MODEL is missing; see clquant inspect --help", "inspect")
        self.fails(2, r"unexpected argument 'b' after a", "inspect", "a", "b")
        self.fails(2, r"'--help'", "inspect", "--", "--help")

    def test_common_options_before_the_command(self):
        self.assertEqual(json.loads(self.run_command("--json", "--threads", "1", "devices", "--no-self-test").out)["threads"], 1)

    def test_missing_inputs_say_what_to_give(self):
        self.fails(2, r"--data is missing: .*\.npz.*\.npy.*folder.*synthetic:", "quantize", MODEL, "-o", self.path("o.onnx"))
        self.fails(2, r"-o is missing", "quantize", MODEL, "--data", CALIB)
        self.fails(2, r"--max-drop needs --labels", "quantize", MODEL, "--data", CALIB, "-o", self.path("o"), "--max-drop", "1")
        self.fails(2, r"give --labels LABELS.npy, --reference MODEL, --scores SCORES.npy, or several of them", "eval", MODEL, "--data", TEST)
        self.fails(2, r"--test-data is missing", "check", MODEL)
        self.fails(2, r"input 'x' is missing: give --input x=FILE", "run", MODEL)

    def test_results_that_cannot_be_printed(self):
        with open("/dev/full", "w") as full:
            r = subprocess.run([CLQUANT, "inspect", MODEL], stdout=full, stderr=subprocess.PIPE, env=self.env)
        self.assertEqual(r.returncode, 4)
        self.assertIn(b"standard output", r.stderr)


class Models(Case):
    def test_devices(self):
        d = self.json("devices", "--no-self-test")
        self.assertEqual(d["devices"][0]["id"], "cpu")
        self.assertTrue(d["devices"][0]["usable"])
        self.assertGreaterEqual(d["threads"], 1)

    def test_families(self):
        for d in self.json("devices")["devices"]:
            if d["id"] != "cpu" and d["usable"]:
                self.assertIn("gemm_u8s8", d["families"])
                self.assertTrue(all(d["families"].values()), d["families"])
                self.assertIn("gemm_u8s8: ", self.run_command("devices").out)

    def test_tune_without_a_device(self):
        os.mkdir(self.path("icd"))
        none = {"OCL_ICD_VENDORS": self.path("icd") + "/", "OCL_ICD_FILENAMES": ""}
        alone = json.loads(self.run_command("tune", "--dry-run", "--isa", "avx2", "--json", env=none).out)
        self.assertEqual([d["id"] for d in alone["devices"]], ["cpu"])
        self.assertFalse(os.path.exists(self.path("cache/clquant/tuning.json")))
        self.fails(4, "opencl:99|without OpenCL", "tune", "--device", "opencl:99")
        self.fails(2, "device 'gpu'", "tune", "--device", "gpu")

    def test_isa_by_option_and_environment(self):
        self.assertEqual(self.json("devices", "--no-self-test", "--isa", "ref")["isa"], "ref")
        self.assertEqual(self.json("devices", "--no-self-test", env={"CLQ_ISA": "ref"})["isa"], "ref")
        self.fails(2, "isa 'sse2'", "devices", env={"CLQ_ISA": "sse2"})

    def test_no_opencl(self):
        os.mkdir(self.path("icd"))
        none = {"OCL_ICD_VENDORS": self.path("icd") + "/", "OCL_ICD_FILENAMES": ""}
        self.assertEqual([d["id"] for d in self.json("devices", env=none)["devices"]], ["cpu"])
        write_npy(self.path("x.npy"), "f4", (1, 1, 28, 28), [0.5] * 784)
        r = self.run_command("run", MODEL, "-i", self.path("x.npy"), "--device", "opencl", "--json", env=none)
        self.assertEqual(json.loads(r.out)["device"], "cpu")
        self.assertRegex(r.err, "everything runs on the CPU")
        self.fails(4, "opencl", "run", MODEL, "-i", self.path("x.npy"), "--device", "opencl", "--require-device", env=none)
        self.fails(2, "device 'gpu'", "devices", "--device", "gpu")

    def test_inspect(self):
        d = self.json("inspect", MODEL)
        self.assertEqual(d["inputs"], [{"name": "x", "dtype": "float32", "shape": [None, 1, 28, 28]}])
        self.assertEqual({o["op"]: o["count"] for o in d["operators"]}["Conv"], 20)
        self.assertEqual(d["file_bytes"], os.path.getsize(MODEL))
        self.assertEqual(d["unsupported"], [])
        self.assertGreater(len(d["layers"]), 20)
        self.assertIn("Conv", self.run_command("inspect", MODEL, "--layers").out)
        self.assertRegex(self.json("inspect", MODEL, "--shape", "x=2,1,28,28")["layers"][0]["name"], "Conv")
        once, twice = (self.json("inspect", MODEL, "--shape", "x=%d,1,28,28" % n)["layers"][0]["macs"] for n in (1, 2))
        self.assertEqual(twice, 2 * once)
        self.fails(2, "axis 1 of input 'x' is fixed to 1", "inspect", MODEL, "--shape", "x=1,3,28,28")
        self.fails(2, "no input of that name", "inspect", MODEL, "--shape", "z=1")
        self.fails(2, "expected at most 8 whole numbers", "inspect", MODEL, "--shape", "x=1,,2")

    def test_files_that_are_none(self):
        self.fails(2, "No such file", "inspect", self.path("absent.onnx"))
        self.fails(2, "regular file|directory", "inspect", self.dir)
        write(self.path("empty.onnx"), b"")
        self.fails(2, "empty.onnx", "inspect", self.path("empty.onnx"))

    def test_malformed_corpus(self):
        folder = os.path.join(SOURCE, "tests", "data", "malformed")
        names = sorted(n for n in os.listdir(folder) if n.endswith(".onnx"))
        self.assertGreaterEqual(len(names), 60)
        for name in names:
            codes = (2, 3) if "unsupported" in name else (2,)
            r = subprocess.run([CLQUANT, "inspect", os.path.join(folder, name)], capture_output=True, env=self.env)
            if r.returncode == 0:  # sound as a file; the fault shows when it is to run
                r = subprocess.run([CLQUANT, "bench", "model", "--pairs", "1", os.path.join(folder, name)], capture_output=True, env=self.env)
            self.assertIn(r.returncode, codes, "%s: %r %r" % (name, r.stdout, r.stderr))
            self.assertEqual(len(r.stderr.splitlines()), 1, r.stderr)

    def test_unsupported_operators_are_listed_at_once(self):
        nodes = [node("Relu", ["x"], ["h"]), node("NoSuchOp", ["h"], ["i"], name="one"), node("NorThis", ["i"], ["y"], name="two")]
        path = write(self.path("m.onnx"), model(nodes, [value("x", F32, [4])], [value("y", F32, [4])]))
        for args in (["run", path, "--data", "synthetic:1"], ["quantize", path, "--data", "synthetic:4", "-o", self.path("o.onnx")]):
            r = self.fails(3, "NoSuchOp.*NorThis", *args)
            self.assertRegex(r.err, "one.*two")
        self.assertEqual(sorted(self.json("inspect", path)["unsupported"]), ["NoSuchOp", "NorThis"])
        self.assertEqual(os.path.exists(self.path("o.onnx")), False)

    def test_eval(self):
        d = self.json("eval", MODEL, "--data", TEST, "--labels", LABELS, "--reference", MODEL, "--limit", "200")
        self.assertEqual((d["samples"], d["agreement"], d["sqnr_db"], d["identical"]), (200, 1, None, True))
        self.assertGreater(d["top1"], 88)
        self.assertEqual(d["top1"], d["top1_reference"])
        self.assertAlmostEqual(d["cosine"], 1)
        d = self.json("eval", MODEL, "--data", TEST, "--labels", LABELS, "--limit", "200", "--batch", "50")
        self.assertEqual((d["samples"], d["sqnr_db"], d["agreement"], d["top1_reference"]), (200, None, None, None))
        self.fails(2, "labels '.*calib.npz'", "eval", MODEL, "--data", TEST, "--labels", CALIB)
        self.fails(2, "No such file", "eval", MODEL, "--data", self.path("none.npz"), "--labels", LABELS)


class Check(Case):
    def make(self, expected, kind=F32):
        nodes = [node("Mul", ["x", "x"], ["y"]), node("Cast", ["x"], ["z"], to=kind)]
        write(self.path("model.onnx"), model(nodes, [value("x", F32, [3])], [value("y", F32, [3]), value("z", kind, [3])]))
        x = [1.0, float("nan"), 3.0] if kind == F32 else [1.0, 2.0, 3.0]
        for i, (y, z) in enumerate(expected):
            folder = self.path("test_data_set_%d/" % i)
            write(folder + "input_0.pb", tensor("x", F32, [3], x))
            write(folder + "output_0.pb", tensor("y", F32, [len(y)], y))
            write(folder + "output_1.pb", tensor("z", kind, [3], z))
        return self.path("model.onnx")

    def test_match(self):
        nan = float("nan")
        m = self.make([([1.0, nan, 9.001], [1.0, nan, 3.0])] * 2)
        for folder in (self.dir, self.path("test_data_set_0"), self.path("test_data_set_1") + "/"):
            d = self.json("check", m, "--test-data", folder)
            self.assertTrue(d["passed"])
        self.assertIn("all 4 outputs match", self.run_command("check", m, "--test-data", self.dir).out)

    def test_difference(self):
        m = self.make([([1.0, 4.0, 9.1], [1, 2, 4])], U8)
        r = self.run_command("check", m, "--test-data", self.dir, "--json", expect=1)
        d = json.loads(r.out)
        self.assertEqual([(o["name"], o["wrong"]) for o in d["outputs"]], [("y", 1), ("z", 1)])
        self.assertIn("element 2: expected 4, actual 3", d["outputs"][1]["difference"])
        self.run_command("check", m, "--test-data", self.dir, "--rtol", "0.02", expect=1)
        self.run_command("check", m, "--test-data", self.dir, "--rtol", "0.02", "--atol", "1")

    def test_nan_and_shape_differ(self):
        m = self.make([([1.0, 4.0, 9.0], [1.0, float("nan"), 3.0])])
        self.run_command("check", m, "--test-data", self.dir, "--atol", "1e9", expect=1)
        m = self.make([([1.0, 4.0], [1.0, float("nan"), 3.0])])
        r = self.run_command("check", m, "--test-data", self.dir, expect=1)
        self.assertIn("shape: expected [2], actual [3]", r.out)

    def test_bad_folders(self):
        m = self.make([([1.0, 4.0, 9.0], [1, 2, 3])], U8)
        self.fails(2, "neither output_0.pb nor test_data_set_0", "check", m, "--test-data", SOURCE)
        self.fails(2, "is not a folder", "check", m, "--test-data", m)
        os.remove(self.path("test_data_set_0/input_0.pb"))
        self.fails(2, "input_0.pb", "check", m, "--test-data", self.dir)
        write(self.path("test_data_set_0/input_0.pb"), b"\xff\xff\xff")
        self.fails(2, "input_0.pb", "check", m, "--test-data", self.dir)


class Quantize(Case):
    def test_json_and_files(self):
        out = self.path("o.onnx")
        d = self.json("quantize", MODEL, "--data", CALIB, "--limit", "64", "--pairs", "20", "-o", out)
        for key in EXPECTED_KEYS:
            self.assertIn(key, d)
        for key in ("name", "op", "precision", "device", "error", "time_us", "reason"):
            self.assertIn(key, d["layers"][0])
        self.assertEqual(d["model_bytes"], os.path.getsize(out))
        self.assertEqual(d["reference_bytes"], os.path.getsize(MODEL))
        self.assertEqual(self.files(), ["o.onnx", "o.onnx.plan.json"])
        self.assertTrue(all(layer["reason"] for layer in d["layers"]))
        self.assertEqual([a["name"] for a in self.json("inspect", MODEL)["layers"]], [a["name"] for a in d["layers"]])
        plan = self.json("explain", out + ".plan.json")
        self.assertEqual([(a["name"], a["precision"]) for a in plan["layers"]], [(a["name"], a["precision"]) for a in d["layers"]])

    def test_journal(self):
        """Without anything to go on from --resume fails; what is no journal stays; a job that has delivered leaves none."""
        out, letter = self.path("o.onnx"), write(self.path("letter"), b"Dear Sir")
        job = ("quantize", self.two_layers(), "--data", self.two_data(), "--pairs", "10", "-o", out)
        self.fails(2, "o.onnx.journal': No such file or directory: nothing to continue from", *job, "--resume")
        self.fails(2, "--resume needs a journal", *job, "--resume", "--journal", "none")
        self.fails(2, "is an input or another output", *job, "--journal", out + ".plan.json")
        self.fails(2, "is no journal of clquant", *job, "--journal", letter)
        self.assertEqual(content(letter), b"Dear Sir")
        p = subprocess.Popen([CLQUANT, *job, "--pairs", "99999"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=self.env,
                             preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        while p.poll() is None and not (os.path.exists(out + ".journal") and os.path.getsize(out + ".journal") > 500):
            time.sleep(0.01)
        p.send_signal(signal.SIGINT)
        self.assertIn(b"o.onnx.journal': the same command goes on from there", p.communicate(timeout=60)[1])
        self.fails(2, "belongs to another set of options: nothing to continue from", *job, "--resume")
        r = self.run_command(*job)
        self.assertIn("belongs to another set of options: everything is measured anew", r.err)
        self.assertFalse(os.path.exists(out + ".journal"))

    def test_text(self):
        r = self.run_command("quantize", self.two_layers(), "--data", self.two_data(), "--pairs", "20", "-o", self.path("o.onnx"))
        for word in ("before", "after", "size", "time", "output SQNR", "decision:", "precision"):
            self.assertIn(word, r.out)

    def test_uniform_runs_in_integers_and_replays(self):
        m, data, out, again = self.two_layers(), self.two_data(), self.path("o.onnx"), self.path("again.onnx")
        d = self.json("quantize", m, "--data", data, "--uniform", "int8", "--pairs", "20", "-o", out)
        self.assertFalse(d["kept_float"])
        self.assertIn("int8", {layer["precision"] for layer in d["layers"]})
        self.assertGreater(self.json("run", out, "--data", data)["integer_steps"], 0)
        for threads, isa in (("1", "ref"), ("2", "avx512_vnni"), ("3", "avx2"), ("8", "avx512")):
            self.json("quantize", m, "--data", data, "--plan", out + ".plan.json", "--pairs", "20", "-o", again, "--force",
                      "--threads", threads, "--isa", isa)
            self.assertEqual(content(out), content(again))
        d = self.json("eval", out, "--data", data, "--reference", m)
        self.assertGreater(d["sqnr_db"], 15)

    def test_a_kept_float_model_has_its_time(self):
        d = self.json("quantize", MODEL, "--data", CALIB, "--limit", "40", "--min-sqnr", "150", "--pairs", "20", "-o", self.path("o.onnx"))
        self.assertTrue(d["kept_float"])
        self.assertGreater(d["reference_median_ms"], 0)
        self.assertEqual({layer["precision"] for layer in d["layers"]}, {"f32"})

    def test_a_second_run_reuses_the_profile(self):
        """Whatever the first run measured, the second decides the same and writes the same bytes."""
        m, data = self.two_layers(), self.two_data()
        first, second = (self.json("quantize", m, "--data", data, "--pairs", "20", "-o", self.path(n)) for n in ("a.onnx", "b.onnx"))
        self.assertEqual(content(self.path("a.onnx")), content(self.path("b.onnx")))
        for key in ("speedup", "kept_float", "layers"):
            self.assertEqual(first[key], second[key])
        self.json("quantize", m, "--data", data, "--pairs", "20", "--remeasure", "-o", self.path("c.onnx"))

    def test_external_data(self):
        """The constants lie in a file beside the model. A quantized model is one file; a kept one is the same files elsewhere."""
        m = self.external()
        os.mkdir(self.path("out"))
        for args, precision in ((["--uniform", "int8"], "int8"), (["--candidates", "f32"], "f32")):
            d = self.json("quantize", m, "--data", self.two_data(), "--pairs", "20", "-o", self.path("out/" + precision + ".onnx"), *args)
            self.assertEqual(d["layers"][0]["precision"], precision)
            e = self.json("eval", self.path("out/" + precision + ".onnx"), "--data", self.two_data(), "--reference", m)
            self.assertTrue(e["identical"] if precision == "f32" else e["sqnr_db"] > 20)
        self.assertEqual(d["model_bytes"], os.path.getsize(m) + os.path.getsize(self.path("w.bin")))
        self.assertEqual(content(self.path("out/f32.onnx")), content(m))
        self.assertEqual(content(self.path("out/w.bin")), content(self.path("w.bin")))
        os.rename(self.path("w.bin"), self.path("far.bin"))
        os.symlink(self.path("far.bin"), self.path("w.bin"))
        self.fails(2, "w.bin.*--follow-links", "inspect", m)
        self.run_command("inspect", m, "--follow-links")

    def keep(self, m, out, *more, **expect):
        return self.run_command("quantize", m, "--data", self.two_data(), "--candidates", "f32", "-o", out, *more, **expect)

    def test_kept_external_data_replaces_nothing(self):
        m, data = self.external(), content(self.path("w.bin"))
        self.keep(m, self.path("beside.onnx"))  # the same folder: both models share the file
        self.assertEqual((content(self.path("beside.onnx")), content(self.path("w.bin"))), (content(m), data))
        os.mkdir(self.path("out"))
        foreign, out = write(self.path("out/w.bin"), b"keep me"), self.path("out/o.onnx")
        r = self.keep(m, out, expect=2)
        self.assertRegex(r.err, "out/w.bin.*exists")
        self.assertEqual((sorted(os.listdir(self.path("out"))), content(foreign)), (["o.onnx.journal", "w.bin"], b"keep me")) # nothing was delivered
        self.keep(m, out, "--force")
        self.assertEqual((content(out), content(foreign)), (content(m), data))
        before = os.stat(foreign).st_ino
        os.unlink(out)
        os.unlink(out + ".plan.json")
        self.keep(m, out)  # the same bytes are there already, as after a run that was cut off
        self.assertEqual((content(out), os.stat(foreign).st_ino), (content(m), before))
        for name in ("w.bin", "out/w.bin"):
            r = self.keep(m, self.path(name), "--force", expect=2)
            self.assertRegex(r.err, "w.bin")
            self.assertEqual(content(self.path(name)), data)

    def test_kept_external_data_in_a_folder(self):
        m, out = self.external("weights/a/w.bin"), self.path("out/o.onnx")
        os.makedirs(self.path("out"))
        os.makedirs(self.path("elsewhere"))
        os.symlink(self.path("elsewhere"), self.path("out/weights"))
        self.assertIn("out/weights", self.keep(m, out, "--force", expect=2).err)  # not through a link
        self.assertEqual((os.listdir(self.path("elsewhere")), sorted(os.listdir(self.path("out")))), ([], ["o.onnx.journal", "weights"]))
        os.unlink(self.path("out/weights"))
        self.keep(m, out)
        self.assertEqual(content(self.path("out/weights/a/w.bin")), content(self.path("weights/a/w.bin")))
        self.assertTrue(self.json("eval", out, "--data", self.two_data(), "--reference", m)["identical"])
        m = self.external("p.onnx.plan.json")  # the plan may not replace what the model needs
        self.assertIn("p.onnx.plan.json", self.keep(m, self.path("out/p.onnx"), "--force", expect=4).err)
        self.assertEqual(content(self.path("out/p.onnx.plan.json")), content(self.path("p.onnx.plan.json")))

    def test_a_plan_of_other_external_data(self):
        m, bin_path = self.external(), self.path("w.bin")
        self.json("quantize", m, "--data", self.two_data(), "--pairs", "20", "--uniform", "int8", "-o", self.path("o.onnx"))
        with open(bin_path, "r+b") as f:
            f.write(struct.pack("<f", 3.5))
        self.fails(2, "belongs to another model", "quantize", m, "--data", self.two_data(), "--plan", self.path("o.onnx.plan.json"), "-o", self.path("p.onnx"))

    def test_float_is_copied(self):
        out = self.path("o.onnx")
        d = self.json("quantize", MODEL, "--data", CALIB, "--limit", "40", "--candidates", "f32", "-o", out)
        self.assertEqual((d["kept_float"], d["sqnr_db"], d["identical"]), (True, None, True))
        self.assertEqual(json.loads(content(out + ".plan.json"))["options"]["candidates"], ["f32"])
        self.assertEqual(content(out), content(MODEL))
        r = self.run_command("quantize", MODEL, "--data", CALIB, "--limit", "40", "--candidates", "f32", "-o", out, "--force", "--strict", expect=1)
        self.assertNotIn("on 8 bits", r.err)

    def test_labels(self):
        d = self.json("quantize", MODEL, "--data", CALIB, "--val-data", TEST, "--labels", LABELS, "--max-drop", "5", "--limit", "64",
                      "--pairs", "20", "-o", self.path("o.onnx"))
        self.assertGreater(d["top1_reference"], 85)
        self.assertGreaterEqual(d["top1"], d["top1_reference"] - 5)
        d = self.json("quantize", MODEL, "--data", CALIB, "--val-data", TEST, "--labels", LABELS, "--max-drop", "5", "--limit", "64",
                      "--candidates", "f32", "-o", self.path("f.onnx"))
        self.assertTrue(d["kept_float"])
        self.assertEqual(d["top1"], d["top1_reference"])
        self.assertGreater(d["top1"], 85)

    def test_outputs_that_exist(self):
        m, data, out = self.two_layers(), self.two_data(), write(self.path("o.onnx"), b"keep me")
        begin = time.monotonic()
        self.fails(2, "exists; --force replaces it", "quantize", m, "--data", data, "-o", out)
        self.assertLess(time.monotonic() - begin, 5)
        self.assertEqual(content(out), b"keep me")
        write(self.path("o2.onnx.plan.json"), b"{}")
        self.fails(2, "o2.onnx.plan.json' exists", "quantize", m, "--data", data, "-o", self.path("o2.onnx"))
        self.run_command("quantize", m, "--data", data, "-o", out, "--force", "--pairs", "20")
        self.assertNotEqual(content(out), b"keep me")

    def test_outputs_that_are_inputs(self):
        m, data = self.two_layers(), self.two_data()
        os.link(m, self.path("hard.onnx"))
        os.symlink(m, self.path("soft.onnx"))
        before = content(m)
        for out in (m, self.path("./two.onnx"), self.path("hard.onnx"), self.path("soft.onnx"), data):
            self.fails(2, "is the input", "quantize", m, "--data", data, "-o", out, "--force")
        self.assertEqual(content(m), before)
        self.fails(2, "is a folder", "quantize", m, "--data", data, "-o", self.dir, "--force")
        self.fails(2, "no regular file", "quantize", m, "--data", data, "-o", "/dev/null", "--force")
        self.fails(4, "No such file", "quantize", m, "--data", data, "-o", self.path("none/o.onnx"))

    def test_full_disk(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
        self.fails(4, "o.onnx", "quantize", MODEL, "--data", CALIB, "--limit", "40", "--candidates", "f32", "-o", self.path("o.onnx"),
                   preexec_fn=limit, restore_signals=False)
        self.assertEqual(self.files(), ["o.onnx.journal"]) # what was measured is not lost with the output

    def test_no_cache(self):
        m, data = self.two_layers(), self.two_data()
        for i, env in enumerate(({"XDG_CACHE_HOME": "/dev/null/cache"}, {"XDG_CACHE_HOME": "", "HOME": ""})):
            r = self.run_command("quantize", m, "--data", data, "-o", self.path("%d.onnx" % i), "--pairs", "20", env=env)
            self.assertEqual(r.err.count("measured times are not kept"), 1)

    def test_explain(self):
        m, data, out = self.two_layers(), self.two_data(), self.path("o.onnx")
        self.run_command("quantize", m, "--data", data, "--uniform", "int8", "--pairs", "20", "-o", out)
        plan = out + ".plan.json"
        text = self.run_command("explain", plan).out
        self.assertIn("first", text)
        self.assertRegex(self.run_command("explain", plan, "fir").out, r"->  int8")
        self.assertEqual([a["name"] for a in self.json("explain", plan, "second")["layers"]], ["second"])
        self.fails(2, "no layer 'sekond'; the nearest is 'second'", "explain", plan, "sekond")
        self.fails(2, "layers", "explain", plan, "s")
        self.fails(2, "model.onnx", "explain", MODEL)
        self.assertEqual(self.json("diff", plan, plan)["layers"], [])
        other = json.loads(content(plan))
        kinds = [c["scheme"]["mode"] for c in other["layers"][0]["candidates"]]
        other["layers"][0]["choice"] = kinds.index("f32")
        changed = write(self.path("f.json"), json.dumps(other).encode())
        (d,) = self.json("diff", plan, changed, expect=1)["layers"]
        self.assertEqual((d["name"], d["a"]["precision"], d["b"]["precision"]), (other["layers"][0]["name"], "int8", "f32"))
        self.assertIn("1 layer differs", self.run_command("diff", plan, changed, expect=1).out)
        self.fails(2, "No such file", "explain", self.path("none.json"))
        broken = content(plan).replace(b'"version": 1', b'"version": 99')
        self.fails(2, "newer", "explain", write(self.path("p.json"), broken))


class Edges(Case):
    def many(self):
        nodes = [node("Add", ["a", "b"], ["../../evil"]), node("Cast", ["k"], ["k/f"], to=F32), node("Mul", ["k/f", "a"], ["y"]),
                 node("Not", ["m"], ["z"]), node("Identity", ["s"], ["sc"])]
        return write(self.path("many.onnx"), model(
            nodes, [value("a", F32, ["n", 4]), value("b", F32, [4]), value("k", I64, ["n", 1]), value("m", BOOL, ["n"]), value("s", F32, [])],
            [value("../../evil", F32, ["n", 4]), value("y", F32, None), value("z", BOOL, ["n"]), value("sc", F32, []), value("k/f", F32, ["n", 1])]))

    def many_inputs(self, n=2):
        write_npy(self.path("a.npy"), "f4", (n, 4), list(range(4 * n)))
        write_npy(self.path("b.npy"), "f4", (4,), [1, 2, 3, 4])
        write_npy(self.path("k.npy"), "i8", (n, 1), list(range(5, 5 - n, -1)))
        write_npy(self.path("m.npy"), "b1", (n,), [i % 2 == 0 for i in range(n)])
        write_npy(self.path("s.npy"), "f4", (), [3.5])
        return [word for i in "abkms" for word in ("--input", "%s=%s" % (i, self.path(i + ".npy")))]

    def test_several_inputs_and_outputs_of_all_types(self):
        m = self.many()
        for n in (1, 2, 3):  # a dynamic batch
            d = self.json("run", m, *self.many_inputs(n), "--output-dir", self.path("out"), "--force")
            self.assertEqual([o["name"] for o in d["outputs"]], ["../../evil", "y", "z", "sc", "k/f"])
        self.assertEqual(sorted(os.listdir(self.path("out"))), ["_._.._evil.npy", "k_f.npy", "sc.npy", "y.npy", "z.npy"])
        self.assertEqual(read_npy(self.path("out/_._.._evil.npy")), ("<f4", (3, 4), [1, 3, 5, 7, 5, 7, 9, 11, 9, 11, 13, 15]))
        self.assertEqual(read_npy(self.path("out/z.npy")), ("|b1", (3,), [False, True, False]))
        self.assertEqual(read_npy(self.path("out/sc.npy")), ("<f4", (), [3.5]))

    def test_inputs_that_do_not_fit(self):
        m, words = self.many(), self.many_inputs()
        self.fails(2, "input 's' is missing", "run", m, *words[:-2])
        self.fails(2, "expected NAME=FILE with the name of an input", "run", m, "--input", "q=" + self.path("a.npy"))
        self.fails(2, "input 'a' is given twice", "run", m, *words, *words[:2])
        write_npy(self.path("k.npy"), "i4", (2, 1), [5, 4])
        self.fails(2, "'k'", "run", m, *words)
        self.fails(2, "exclude each other", "run", m, *words, "--data", "synthetic:1")

    def test_outputs_of_run_that_exist(self):
        m = self.many()
        out = write(self.path("out/y.npy"), b"keep")
        self.fails(2, "exists", "run", m, *self.many_inputs(), "--output-dir", self.path("out"))
        self.assertEqual(os.listdir(self.path("out")), ["y.npy"])
        self.assertEqual(content(out), b"keep")

    def test_run_on_a_full_disk_leaves_nothing(self):
        nodes = [node("Relu", ["x"], ["small"]), node("Tile", ["x", "r"], ["big"])]
        m = write(self.path("m.onnx"), model(nodes, [value("x", F32, [8])], [value("small", F32, [8]), value("big", F32, [80000])],
                                             [tensor("r", I64, [1], [10000])]))
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
        self.fails(4, "big.npy", "run", m, "--data", "synthetic:1", "-o", self.path("out"), preexec_fn=limit, restore_signals=False)
        self.assertEqual(os.listdir(self.path("out")), [])

    def test_output_names_that_collide(self):
        nodes = [node("Relu", ["x"], ["a/b"]), node("Neg", ["x"], ["a_b"]), node("Abs", ["x"], ["a?b"])]
        m = write(self.path("m.onnx"), model(nodes, [value("x", F32, [1])], [value(n, F32, [1]) for n in ("a/b", "a_b", "a?b")]))
        self.run_command("run", m, "--data", "synthetic:1", "-o", self.path("out"))
        self.assertEqual(sorted(os.listdir(self.path("out"))), ["a_b.npy", "a_b_2.npy", "a_b_3.npy"])

    def test_names_that_are_not_utf8(self):
        w = tensor(b"w\xff", F32, [4, 4], [((i * 7) % 9 - 4) / 4 for i in range(16)])
        m = write(self.path("m.onnx"), model([node("MatMul", [b"x\xff", b"w\xff"], [b"y\xfe\x1b[31m"], name=b"n\xfd\x1b")],
                                             [value(b"x\xff", F32, [1, 4])], [value(b"y\xfe\x1b[31m", F32, [1, 4])], [w]))
        write_npy(self.path("x.npy"), "f4", (40, 4), [((i * 31) % 17 - 8) / 8 for i in range(160)])
        self.assertEqual(self.json("inspect", m)["inputs"][0]["name"], "x\\xff")
        self.assertNotIn("\x1b", self.run_command("inspect", m).out)
        d = self.json("quantize", m, "--data", self.path("x.npy"), "--uniform", "int8", "--pairs", "20", "-o", self.path("o.onnx"))
        self.assertTrue(d["layers"][0]["name"].startswith("n\\xfd"))
        self.assertEqual(self.json("run", self.path("o.onnx"), "--data", self.path("x.npy"), "-o", self.path("out"))["outputs"][0]["file"],
                         self.path("out/y___31m.npy"))

    def test_samples_with_and_without_a_batch_dimension(self):
        values = [((i * 7919) % 257 - 128) / 64 for i in range(64 * 8)]
        m = self.two_layers()
        write_npz(self.path("with.npz"), {"x": ("f4", (64, 1, 8), values)})
        write_npz(self.path("without.npz"), {"x": ("f4", (64, 8), values)})
        write_npy(self.path("single.npy"), "f4", (64, 8), values)
        os.mkdir(self.path("many"))
        write_npy(self.path("many/a.npy"), "f4", (32, 8), values[:256])
        write_npz(self.path("many/b.npz"), {"x": ("f4", (32, 8), values[256:])})
        got = []
        for data in ("with.npz", "without.npz", "single.npy", "many"):
            d = self.json("run", m, "--data", self.path(data), "--index", "50")
            got.append([d["outputs"][0][k] for k in ("shape", "least", "mean", "most")])
        self.assertEqual(got, [got[0]] * len(got))
        self.fails(2, "64 samples", "run", m, "--data", self.path("with.npz"), "--index", "64")

    def test_data_that_does_not_fit(self):
        m = self.two_layers()
        write_npz(self.path("name.npz"), {"q": ("f4", (4, 8), [0] * 32), "r": ("f4", (4, 8), [0] * 32)})
        write_npz(self.path("type.npz"), {"x": ("i4", (4, 8), [0] * 32)})
        write_npz(self.path("shape.npz"), {"x": ("f4", (4, 9), [0] * 36)})
        write_npz(self.path("none.npz"), {"x": ("f4", (0, 8), [])})
        for data, pattern in (("name", "input 'x'"), ("type", "float32.*int32"), ("shape", "8.*9|9.*8"), ("none", "no samples")):
            self.fails(2, pattern, "quantize", m, "--data", self.path(data + ".npz"), "-o", self.path("o.onnx"))

    def test_data_that_is_not_finite(self):
        """Wherever it lies, among what calibrates or what judges: input, element and sample as the user counts them."""
        for sample, element, number in ((0, 0, "nan"), (12, 4, "nan"), (13, 7, "inf"), (40, 1, "-inf"), (63, 7, "nan")):
            values = [0.5] * 64 * 8
            values[sample * 8 + element] = float(number)
            write_npz(self.path("x.npz"), {"x": ("f4", (64, 8), values)})
            self.fails(2, "input 'x': element %d of sample %d is %s" % (element, sample, "NaN" if number == "nan" else "infinite"),
                       "quantize", self.two_layers(), "--data", self.path("x.npz"), "-o", self.path("o.onnx"))

    def test_numbers_that_become_infinite_inside(self):
        values = [((i * 7919) % 257 - 128) / 64 for i in range(64 * 8)]
        values[20 * 8:21 * 8] = [3e38] * 8
        write_npz(self.path("x.npz"), {"x": ("f4", (64, 8), values)})
        r = self.run_command("quantize", self.two_layers(), "--data", self.path("x.npz"), "--val-data", self.two_data(), "-o", self.path("o.onnx"),
                             expect=2)
        self.assertRegex(r.err, r"tensor '\w+': element \d+ of sample 20 is (NaN|infinite)")

    def test_nan_that_arises_inside(self):
        """On samples that judge: no input has it, and calibration never saw it."""
        m = write(self.path("log.onnx"), model([node("MatMul", ["x", "w"], ["h"], name="first"), node("Log", ["h"], ["l"], name="log"),
                                                node("MatMul", ["l", "w"], ["y"], name="second")],
                                               [value("x", F32, ["n", 8])], [value("y", F32, ["n", 8])],
                                               [tensor("w", F32, [8, 8], [1.0 if i % 9 == 0 else 0.0 for i in range(64)])]))
        x = [1 + i % 7 for i in range(64 * 8)]
        write_npz(self.path("good.npz"), {"x": ("f4", (64, 8), x)})
        x[5 * 8 + 3] = -1
        write_npz(self.path("bad.npz"), {"x": ("f4", (64, 8), x)})
        r = self.fails(2, r"tensor 'l': element 3 of sample 5 is NaN", "quantize", m, "--data", self.path("good.npz"), "--val-data", self.path("bad.npz"),
                       "-o", self.path("o.onnx"))
        self.assertEqual(len(r.err.strip().split("\n")), 1, r.err)
        self.assertFalse(os.path.exists(self.path("o.onnx")))

    def test_a_batch_with_a_scalar(self):
        """A scalar is not batched: the samples of a batch share it, or are told that they do not."""
        w = [((i * 37) % 101 - 50) / 64 for i in range(64)]
        m = write(self.path("m.onnx"), model([node("Mul", ["x", "k"], ["s"], name="scale"), node("MatMul", ["s", "w"], ["y"], name="product")],
                                             [value("x", F32, ["n", 8]), value("k", F32, [])], [value("y", F32, ["n", 8])],
                                             [tensor("w", F32, [8, 8], w)]))
        x = [((i * 7919) % 257 - 128) / 64 for i in range(512)]
        write_npz(self.path("same.npz"), {"x": ("f4", (64, 8), x), "k": ("f4", (64,), [2.0 + i // 32 for i in range(64)])})
        d = self.json("quantize", m, "--data", self.path("same.npz"), "--batch", "4", "--uniform", "int8", "--pairs", "20", "-o", self.path("o.onnx"))
        self.assertEqual({layer["precision"] for layer in d["layers"]}, {"int8"})
        one, four = (self.json("eval", self.path("o.onnx"), "--reference", m, "--data", self.path("same.npz"), "--batch", n) for n in "14")
        self.assertEqual((one["samples"], four["samples"]), (64, 64))
        self.assertAlmostEqual(one["sqnr_db"], four["sqnr_db"], delta=0.1)
        write_npz(self.path("other.npz"), {"x": ("f4", (64, 8), x), "k": ("f4", (64,), [5.0 if i == 42 else 2.0 for i in range(64)])})
        self.fails(2, "input 'k' is a scalar, which is not batched; samples 40 and 42 differ", "eval", m, "--reference", m, "--data",
                   self.path("other.npz"), "--batch", "4")
        for command in ("quantize", "eval", "bench model"):
            self.assertIn("a scalar input is not batched", self.run_command(*command.split(), "--help").out)

    def test_agreement_is_of_classes(self):
        """Of [samples, classes] and [samples, positions, classes]; the largest of a map's last axis means nothing."""
        w = [((i * 37) % 101 - 50) / 64 for i in range(32)]
        sequence = write(self.path("s.onnx"), model([node("MatMul", ["x", "w"], ["y"], name="product")], [value("x", F32, ["n", 5, 8])],
                                                    [value("y", F32, ["n", 5, 4])], [tensor("w", F32, [8, 4], w)]))
        x = [((i * 7919) % 257 - 128) / 64 for i in range(40 * 64)]
        write_npz(self.path("s.npz"), {"x": ("f4", (40, 5, 8), x[:1600])})
        d = self.json("eval", sequence, "--reference", sequence, "--data", self.path("s.npz"))
        self.assertEqual((d["samples"], d["agreement"]), (200, 1))
        area = write(self.path("a.onnx"), model([node("Conv", ["x", "w"], ["y"], name="conv")], [value("x", F32, ["n", 4, 4, 4])],
                                                [value("y", F32, ["n", 8, 4, 4])], [tensor("w", F32, [8, 4, 1, 1], w)]))
        write_npz(self.path("a.npz"), {"x": ("f4", (40, 4, 4, 4), x)})
        args = ["--data", self.path("a.npz"), "--pairs", "20", "--uniform", "int8", "-o", self.path("o.onnx"), "--force"]
        d = self.json("quantize", area, *args)
        self.assertEqual((d["agreement"], d["top1"]), (None, None))
        self.assertGreater(d["sqnr_db"], 20)
        self.assertNotIn("agreement", self.run_command("quantize", area, *args).out)
        self.assertIsNone(self.json("eval", area, "--reference", area, "--data", self.path("a.npz"))["agreement"])
        write_npy(self.path("l.npy"), "i8", (40,), [0] * 40)
        for command in (["quantize", area, *args, "--max-drop", "1"], ["eval", area, "--data", self.path("a.npz")]):
            self.fails(2, r"labels: the first output has rank 4, expected \[samples, classes\]", *command, "--labels", self.path("l.npy"))

    def test_masks_set_no_range(self):
        """A mask as an input: its layer stays float, the products around it are quantized well. Before a softmax it is no layer,
        but part of the scores."""
        for gate in ("Softmax", "Sigmoid"):
            self.masked(gate)

    def masked(self, gate):
        w = [((i * 37) % 101 - 50) / 64 for i in range(96)]
        nodes = [node("MatMul", ["x", "w0"], ["h"], name="first"), node("Add", ["h", "m"], ["s"], name="mask"),
                 node(gate, ["s"], ["p"], name="gate"), node("MatMul", ["p", "w1"], ["y"], name="second")]
        m = write(self.path("m.onnx"), model(nodes, [value("x", F32, ["n", 8]), value("m", F32, ["n", 8])], [value("y", F32, ["n", 4])],
                                             [tensor("w0", F32, [8, 8], w[:64]), tensor("w1", F32, [8, 4], w[64:])]))
        x = [((i * 7919) % 257 - 128) / 64 for i in range(512)]
        if os.path.exists(self.path("o.onnx")):
            os.remove(self.path("o.onnx"))
        for low in (-3.4028234e38, -1e9, -1e4):
            write_npz(self.path("x.npz"), {"x": ("f4", (64, 8), x), "m": ("f4", (64, 8), [low if i % 5 == 1 else 0 for i in range(512)])})
            d = self.json("quantize", m, "--data", self.path("x.npz"), "--uniform", "int8", "--pairs", "20", "-o", self.path("o.onnx"), "--force")
            layers = {layer["name"]: layer for layer in d["layers"]}
            self.assertEqual([layers[n]["precision"] for n in ("first", "second")], ["int8", "int8"])
            if gate == "Softmax":
                self.assertNotIn("mask", layers)
            else:
                self.assertIn("mask or sentinel", layers["mask"]["reason"])
            self.assertGreater(d["sqnr_db"], 25)
            self.assertTrue(all(t["scale"] < 1 or t["scale"] == 1 for t in json.loads(content(self.path("o.onnx.plan.json")))["tensors"]))

    def test_channels_that_are_zero_constant_or_huge(self):
        w = [0.0] * 9 + [1e-40] * 9 + [1e30] * 9 + [3000.0] + [0.1 * k for k in range(8)] + [0.2 - 0.05 * k for k in range(9)]
        nodes = [node("Conv", ["x", "w", "b"], ["y"], name="conv")]
        m = write(self.path("m.onnx"), model(nodes, [value("x", F32, ["n", 1, 4, 4])], [value("y", F32, None)],
                                             [tensor("w", F32, [5, 1, 3, 3], w), tensor("b", F32, [5], [0, 1, 0, 5e6, 1e-30])]))
        for values in ([((i * 7919) % 257 - 128) / 64 for i in range(640)], [0.0] * 640, [1.0] * 640):
            write_npz(self.path("x.npz"), {"x": ("f4", (40, 1, 4, 4), values)})
            self.json("quantize", m, "--data", self.path("x.npz"), "--uniform", "int8", "--pairs", "20", "-o", self.path("o.onnx"), "--force")
            self.json("run", self.path("o.onnx"), "--data", self.path("x.npz"))

    def test_weights_in_constant_nodes(self):
        w = [((i * 37) % 101 - 50) / 64 for i in range(64)]
        held = block(2, "w") + block(4, "Constant") + block(5, block(1, "value") + block(5, tensor("", F32, [8, 8], w)) + whole(20, 4))
        m = write(self.path("m.onnx"), model([held, node("MatMul", ["x", "w"], ["y"], name="product")], [value("x", F32, ["n", 8])],
                                             [value("y", F32, ["n", 8])]))
        d = self.json("quantize", m, "--data", self.two_data(), "--uniform", "int8", "--pairs", "20", "-o", self.path("o.onnx"))
        self.assertEqual([(layer["name"], layer["precision"]) for layer in d["layers"]], [("product", "int8")])

    def test_labels_that_do_not_fit(self):
        write_npy(self.path("few.npy"), "i8", (100,), [0] * 100)
        self.fails(2, "labels: 100 are given for 2000 samples", "eval", MODEL, "--data", TEST, "--labels", self.path("few.npy"))
        self.assertEqual(self.json("eval", MODEL, "--data", TEST, "--labels", self.path("few.npy"), "--limit", "100")["samples"], 100)
        self.fails(2, "labels: 100 are given for 2000 samples", "quantize", MODEL, "--data", CALIB, "--val-data", TEST, "--labels",
                   self.path("few.npy"), "--max-drop", "1", "-o", self.path("o.onnx"))
        rows = write(self.path("rows.onnx"), model([node("MatMul", ["x", "w"], ["y"])], [value("x", F32, ["n", 64, 4])], [value("y", F32, ["n", 64, 4])],
                                                   [tensor("w", F32, [4, 4], [((i * 7) % 9 - 4) / 4 for i in range(16)])]))
        write_npz(self.path("rows.npz"), {"x": ("f4", (40, 64, 4), [((i * 31) % 17 - 8) / 8 for i in range(40 * 256)])})
        write_npy(self.path("one.npy"), "i8", (40,), [0] * 40)
        self.fails(2, "labels: .*more rows", "quantize", rows, "--data", self.path("rows.npz"), "--labels", self.path("one.npy"), "--max-drop", "1",
                   "-o", self.path("o.onnx"))

    def test_labels_follow_a_limit(self):
        got = self.json("quantize", MODEL, "--data", TEST, "--labels", LABELS, "--limit", "400", "--max-drop", "5", "--uniform", "int8", "--pairs", "20",
                        "-o", self.path("o.onnx"))
        self.assertGreater(got["top1_reference"], 80)

    def test_a_missed_bound_of_a_forced_plan(self):
        args = ["quantize", MODEL, "--data", CALIB, "--limit", "64", "--uniform", "int8", "--pairs", "20", "-o", self.path("o.onnx"), "--force"]
        self.run_command(*args, "--min-sqnr", "90")
        self.run_command(*args, "--min-sqnr", "90", "--strict", expect=1)
        self.run_command("quantize", MODEL, "--data", CALIB, "--limit", "64", "--min-sqnr", "90", "--strict", "--pairs", "20", "-o", self.path("o.onnx"),
                         "--force", expect=1)

    def test_samples_that_vary_in_shape(self):
        nodes = [node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]), node("Relu", ["c"], ["r"]),
                 node("GlobalAveragePool", ["r"], ["y"], name="pool")]
        m = write(self.path("m.onnx"), model(nodes, [value("x", F32, ["n", 1, 4, "width"])], [value("y", F32, ["n", 2, 1, 1])],
                                             [tensor("w", F32, [2, 1, 3, 3], [((i * 7) % 9 - 4) / 4 for i in range(18)])]))
        os.mkdir(self.path("data"))
        for i, width in enumerate((5, 8, 11)):
            write_npz(self.path("data/%d.npz" % i), {"x": ("f4", (12, 1, 4, width), [((k * 31) % 17 - 8) / 8 for k in range(48 * width)])})
        d = self.json("quantize", m, "--data", self.path("data"), "--uniform", "int8", "--pairs", "20", "-o", self.path("o.onnx"))
        self.assertIn("int8", {layer["precision"] for layer in d["layers"]})
        self.assertGreater(self.json("eval", self.path("o.onnx"), "--data", self.path("data"), "--reference", m)["sqnr_db"], 15)

    def test_inputs_of_all_types_are_quantized_around(self):
        w = [((i * 37) % 101 - 50) / 64 for i in range(96)]
        nodes = [node("MatMul", ["x", "w0"], ["a"], name="first"), node("Mul", ["a", "s"], ["b"]), node("Cast", ["k"], ["kf"], to=F32),
                 node("Add", ["b", "kf"], ["c"]), node("Where", ["m", "c", "b"], ["d"]), node("MatMul", ["d", "w1"], ["y"], name="second"),
                 node("Not", ["m"], ["z"])]
        m = write(self.path("m.onnx"), model(
            nodes, [value("x", F32, ["n", 8]), value("s", F32, []), value("k", I64, ["n", 1]), value("m", BOOL, ["n", 1])],
            [value("y", F32, ["n", 4]), value("z", BOOL, ["n", 1])], [tensor("w0", F32, [8, 8], w[:64]), tensor("w1", F32, [8, 4], w[64:])]))
        write_npz(self.path("x.npz"), {"x": ("f4", (40, 8), [((i * 7919) % 257 - 128) / 64 for i in range(320)]), "s": ("f4", (40,), [1 + i / 40 for i in range(40)]),
                                       "k": ("i8", (40, 1), [i % 3 for i in range(40)]), "m": ("b1", (40, 1), [i % 2 == 0 for i in range(40)])})
        for data in (self.path("x.npz"), "synthetic:40"):
            d = self.json("quantize", m, "--data", data, "--uniform", "int8", "--pairs", "20", "-o", self.path("o.onnx"), "--force")
            self.assertEqual([layer["precision"] for layer in d["layers"] if layer["name"] in ("first", "second")], ["int8", "int8"])
            self.assertGreater(self.json("eval", self.path("o.onnx"), "--data", data, "--reference", m)["sqnr_db"], 15)

    def test_every_opset(self):
        """Clip and Squeeze changed on the way; the written file says an opset that has per-channel QuantizeLinear."""
        w = tensor("w", F32, [2, 1, 3, 3], [((i * 7) % 9 - 4) / 4 for i in range(18)])
        write_npz(self.path("x.npz"), {"x": ("f4", (40, 1, 4, 4), [((i * 7919) % 257 - 128) / 64 for i in range(640)])})
        expected = None
        for opset in range(7, 26):
            consts = [w]
            nodes = [node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1])]
            if opset < 11:
                nodes.append(node("Clip", ["c"], ["k"], min=0.0, max=1.5))
            else:
                nodes.append(node("Clip", ["c", "lo", "hi"], ["k"]))
                consts += [tensor("lo", F32, [], [0]), tensor("hi", F32, [], [1.5])]
            nodes.append(node("GlobalAveragePool", ["k"], ["g"]))
            if opset < 13:
                nodes.append(node("Squeeze", ["g"], ["y"], axes=[2, 3]))
            else:
                nodes.append(node("Squeeze", ["g", "axes"], ["y"]))
                consts.append(tensor("axes", I64, [2], [2, 3]))
            m = write(self.path("m.onnx"), model(nodes, [value("x", F32, ["n", 1, 4, 4])], [value("y", F32, ["n", 2])], consts, opset))
            d = self.json("run", m, "--data", self.path("x.npz"), "--index", "3")["outputs"][0]
            got = [d[k] for k in ("shape", "least", "mean", "most")]
            expected = expected or got
            self.assertEqual(got, expected, opset)
            q = self.json("quantize", m, "--data", self.path("x.npz"), "--uniform", "int8", "--pairs", "20", "-o", self.path("o.onnx"), "--force")
            self.assertIn("int8", {layer["precision"] for layer in q["layers"]})
            self.assertGreaterEqual(self.json("inspect", self.path("o.onnx"))["opset"], 13)

    def test_memory_does_not_grow_with_samples(self):
        """64 against 1,024 samples of 64 KiB: within 16 MiB."""
        n = 16384
        m = write(self.path("m.onnx"), model([node("Gemm", ["x", "w"], ["h"], name="first"), node("Gemm", ["h", "v"], ["y"], name="second")],
                                             [value("x", F32, ["n", n])], [value("y", F32, ["n", 4])],
                                             [tensor("w", F32, [n, 4], [((i * 37) % 101 - 50) / 6400 for i in range(4 * n)]),
                                              tensor("v", F32, [4, 4], [((i * 7) % 9 - 4) / 4 for i in range(16)])]))
        row = [((i * 7919) % 257 - 128) / 64 for i in range(n)]
        peak = []
        for samples in (64, 1024):
            write_npy(self.path("x.npy"), "f4", (1, n), row)
            head = npy_bytes("f4", (samples, n), [])
            one = npy_bytes("f4", (1, n), row)[-4 * n:]
            with open(self.path("x.npy"), "wb") as f:
                f.write(head)
                for i in range(samples):
                    f.write(one[4 * i:] + one[:4 * i])
            write_npy(self.path("val.npy"), "f4", (1, n), row)
            peak.append(self.json("quantize", m, "--data", self.path("x.npy"), "--val-data", self.path("val.npy"), "--uniform", "int8", "--pairs", "20",
                                  "-o", self.path("o.onnx"), "--force")["peak_rss_bytes"])
        self.assertLess(peak[1] - peak[0], 16 << 20)

    def test_few_samples(self):
        r = self.run_command("quantize", self.two_layers(), "--data", self.two_data(8), "-o", self.path("o.onnx"), "--pairs", "20")
        self.assertRegex(r.err, "8 samples are few.*128")

    def test_synthetic_data_is_named(self):
        r = self.run_command("quantize", self.two_layers(), "--data", "synthetic:16", "-o", self.path("o.onnx"), "--pairs", "20", "--json")
        self.assertTrue(json.loads(r.out)["synthetic"])
        self.assertTrue(self.json("explain", self.path("o.onnx.plan.json"))["synthetic"])

    def test_quantized_already(self):
        m, data, once, twice = self.two_layers(), self.two_data(), self.path("once.onnx"), self.path("twice.onnx")
        self.json("quantize", m, "--data", data, "--uniform", "int8", "--pairs", "20", "-o", once)
        self.assertGreater(self.json("inspect", once)["quantized_nodes"], 0)
        d = self.json("quantize", once, "--data", data, "--pairs", "20", "-o", twice)
        self.assertTrue(any("already quantized" in layer["reason"] for layer in d["layers"]), d)
        self.assertTrue(self.json("eval", twice, "--data", data, "--reference", once)["identical"])

    def test_nothing_to_quantize(self):
        m = write(self.path("m.onnx"), model([node("Sin", ["x"], ["y"])], [value("x", F32, ["n", 4])], [value("y", F32, ["n", 4])]))
        d = self.json("quantize", m, "--data", "synthetic:4", "-o", self.path("o.onnx"))
        self.assertEqual((d["kept_float"], d["layers"]), (True, []))
        self.assertEqual(content(m), content(self.path("o.onnx")))

    def test_two_runs_at_once_and_a_read_only_input_folder(self):
        os.mkdir(self.path("in"))
        m = self.two_layers("in/two.onnx")
        data = self.two_data(name="in/two.npz")
        os.chmod(self.path("in"), 0o555)
        try:
            runs = [subprocess.Popen([CLQUANT, "quantize", m, "--data", data, "-o", self.path("%d.onnx" % i), "--pairs", "20", "-q",
                                      "--uniform", "int8"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=self.env) for i in range(2)]
            for p in runs:
                _, err = p.communicate(timeout=120)
                self.assertEqual((p.returncode, err), (0, b""))
        finally:
            os.chmod(self.path("in"), 0o755)
        self.assertEqual(content(self.path("0.onnx")), content(self.path("1.onnx")))
        self.assertEqual(sorted(os.listdir(self.path("in"))), ["two.npz", "two.onnx"])

    def test_every_instruction_set_gives_the_same_integers(self):
        m, data, out = self.two_layers(), self.two_data(), self.path("o.onnx")
        self.json("quantize", m, "--data", data, "--uniform", "int8", "--pairs", "20", "-o", out)
        got = []
        for isa in ("ref", "avx2", "avx512", "avx512_vnni", "amx"):
            self.run_command("run", out, "--data", data, "--isa", isa, "-o", self.path(isa))
            got.append(content(self.path(isa + "/y.npy")))
        self.assertEqual(got, [got[0]] * len(got))


class Signals(Case):
    def start(self, *args, **more):
        p = subprocess.Popen([CLQUANT, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.env,
                             preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **more)
        return p

    def interrupt(self, number, code, *args):
        p = self.start(*args)
        time.sleep(0.7)
        self.assertIsNone(p.poll(), "ended before the signal")
        p.send_signal(number)
        begin = time.monotonic()
        out, err = p.communicate(timeout=60)
        self.assertEqual(p.returncode, code, err)
        self.assertLess(time.monotonic() - begin, 20)
        self.assertEqual(out, b"")
        self.assertIn(b"interrupted", err)
        self.assertEqual(self.files(), [])

    def test_quantize(self):
        self.interrupt(signal.SIGINT, 130, "quantize", MODEL, "--data", "synthetic:300000", "-o", self.path("o.onnx"))
        self.interrupt(signal.SIGTERM, 143, "quantize", MODEL, "--data", "synthetic:300000", "-o", self.path("o.onnx"))

    def test_eval_and_bench(self):
        self.interrupt(signal.SIGINT, 130, "eval", MODEL, "--data", "synthetic:300000", "--reference", MODEL)
        self.interrupt(signal.SIGINT, 130, "bench", "model", MODEL, "--pairs", "1000000")

    def test_tune(self):
        if len(json.loads(self.run_command("devices", "--no-self-test", "--json").out)["devices"]) == 1:
            self.skipTest("no OpenCL device")
        self.interrupt(signal.SIGINT, 130, "tune", "--device", "opencl")
        self.assertFalse(os.path.exists(self.path("cache/clquant/tuning.json")))

    def test_twice(self):
        p = self.start("eval", MODEL, "--data", "synthetic:300000", "--reference", MODEL)
        time.sleep(0.5)
        p.send_signal(signal.SIGINT)
        p.send_signal(signal.SIGINT)
        err = p.communicate(timeout=60)[1]
        self.assertEqual(p.returncode, 130, err)

    def test_given_to_another_thread(self):
        p = self.start("eval", MODEL, "--data", "synthetic:300000", "--reference", MODEL, "--threads", "2")
        time.sleep(0.7)
        threads = [int(t) for t in os.listdir("/proc/%d/task" % p.pid)]
        self.assertGreater(len(threads), 1)
        self.assertEqual(ctypes.CDLL(None).tgkill(p.pid, max(threads), signal.SIGINT), 0)
        err = p.communicate(timeout=60)[1]
        self.assertEqual(p.returncode, 130, err)

    def test_progress_in_a_file_and_quiet(self):
        p = self.start("eval", MODEL, "--data", "synthetic:300000", "--reference", MODEL)
        q = self.start("eval", MODEL, "--data", "synthetic:300000", "--reference", MODEL, "--quiet")
        lines = []
        while len(lines) < 10 and not (lines and b"left" in lines[-1]):
            lines.append(p.stderr.readline())
        for one in (p, q):
            one.send_signal(signal.SIGINT)
        self.assertRegex(lines[-1].decode(), r"^clquant: evaluating: +\d+ %, .* left\n")
        p.communicate(timeout=60)
        self.assertEqual(q.communicate(timeout=60)[1], b"clquant eval: interrupted\n")

    def test_progress_on_a_terminal(self):
        reader, writer = pty.openpty()
        p = subprocess.Popen([CLQUANT, "eval", MODEL, "--data", "synthetic:300000", "--reference", MODEL], stdout=subprocess.PIPE,
                             stderr=writer, env=self.env, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        os.close(writer)
        time.sleep(3)
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=60)
        text = b""
        try:
            while True:
                chunk = os.read(reader, 4096)
                if not chunk:
                    break
                text += chunk
        except OSError:
            pass
        os.close(reader)
        self.assertGreater(text.count(b"\r\x1b[Kevaluating:"), 3)
        self.assertIn(b"\r\x1b[Kclquant eval: interrupted", text)


class Bench(Case):
    def test_model(self):
        d = self.json("bench", "model", MODEL, "--pairs", "11")
        self.assertEqual((d["pairs"] + d["discarded"], d["reference_median_ms"], d["speedup"]), (11, None, None))
        self.assertGreater(d["median_ms"], 0)

    def test_pairs_and_raw(self):
        d = self.json("bench", "model", MODEL, "--reference", MODEL, "--data", CALIB, "--index", "3", "--pairs", "30", "--raw", "--batch", "2")
        self.assertEqual(len(d["seconds"]), 30)
        self.assertTrue(all(len(p) == 2 and p[0] > 0 and p[1] > 0 for p in d["seconds"]))
        self.assertLessEqual(d["speedup_lo"], d["speedup"])
        self.assertLessEqual(d["speedup"], d["speedup_hi"])
        self.fails(2, "the data has 256 samples", "bench", "model", MODEL, "--data", CALIB, "--index", "256")

    def test_profile(self):
        d = self.json("bench", "model", MODEL, "--profile", "--pairs", "3", "--threads", "1")
        self.assertEqual((d["runs"], d["threads"]), (3, 1))
        self.assertAlmostEqual(sum(s["share"] for s in d["steps"]), 1, 6)
        self.assertAlmostEqual(sum(s["median_us"] for s in d["steps"]), 1e3 * d["steps_ms"], 6)
        products = [s for s in d["steps"] if s["macs"] > 0]
        self.assertTrue(products)
        for s in products:
            self.assertAlmostEqual(s["gops"], 2e-3 * s["macs"] / s["median_us"], 6)
        summary = self.json("inspect", MODEL)
        self.assertEqual(sum(s["macs"] for s in products), sum(layer["macs"] for layer in summary["layers"]))
        text = self.run_command("bench", "model", MODEL, "--profile", "--pairs", "3").out
        self.assertRegex(text, r"(?s)^step +operator.*\noperator +arithmetic +steps.*\nsteps together .* \(medians of 3 runs each\)\n")
        self.assertEqual(sum(line.startswith(products[0]["name"] + " ") for line in text.splitlines()), 1)
        for other in (["--raw"], ["--reference", MODEL], ["--measure", "onnxruntime"]):
            self.fails(2, "--profile is of one model's steps", "bench", "model", MODEL, "--profile", *other)

    def program(self, *args, **more):
        if not os.path.exists(os.path.join(os.path.dirname(CLQUANT), "clquant-bench")):
            self.skipTest("built without benches")
        return self.run_command("bench", *args, **more)

    def kernels(self, *args, **more):
        return self.program("kernels", *args, **more)

    def test_programs(self):
        """Every line has a positive time and rate, and the share is that of a ceiling that was measured."""
        for words, lines in ((["gemm", "20x33x50", "1x64x64"], 4), (["gemv", "64x100", "--type", "u8s8"], 1), (["gemv", "64x99"], 6),
                             (["gemm", "9x64x100", "--type", "f32u4-g32"], 1), (["quantize", "1e4"], 4),
                             (["conv", "9x8x16-24:k3:s2:p1", "9x9x32-32:k5:p2:g32", "5x5x8-8"], 3), (["histogram", "5000"], 2),
                             (["histogram", "5000", "--zeros", "0"], 1), (["elementwise", "70000"], 14),
                             (["elementwise", "65536", "--type", "table"], 1)):
            args = [*words, "--seconds", "0.01", "--threads", "2"]
            d = json.loads(self.program(*args, "--json").out)
            self.assertEqual((d["command"], d["threads"], len(d["lines"])), (words[0], 2, lines), args)
            for line in d["lines"]:
                self.assertGreater(line["seconds"], 0)
                self.assertGreater(line["gb_per_s"], 0)
                self.assertEqual(line["device"], "cpu")
                self.assertGreater(line["share"], 0)
                self.assertGreater(line["ceiling_per_s"], 0)
                self.assertNotEqual(line["ceiling"], "")
            csv = self.program(*args, "--csv").out.strip().split("\n")
            self.assertEqual({len(c.split(",")) for c in csv}, {14})
            self.assertEqual(len(csv), 1 + lines)
            self.assertIn(d["lines"][0]["shape"], self.program(*args).out)
            self.assertRegex(self.program(words[0], "--help").out, r"^usage: clquant bench %s(.|\n)*\nexample:\n  clquant bench %s" % (words[0], words[0]))
        ref = json.loads(self.program("gemm", "8x8x8", "--isa", "ref", "--seconds=0.01", "--json", "--threads=1").out)
        self.assertEqual({line["kernel"] for line in ref["lines"]}, {"ref"})

    def test_device(self):
        d = json.loads(self.program("device", "--seconds", "0.01", "--isa", "ref", "--threads", "1", "--json").out)
        self.assertEqual({line["device"] for line in d["lines"]}, {"cpu"})
        self.assertIn("copy 1 GiB", {line["what"] for line in d["lines"]})
        for line in d["lines"]:
            self.assertGreater(line["value"], 0)

    def test_programs_usage(self):
        for args, pattern in ((["gemm", "3x4"], "expected MxNxK .*got '3x4'"), (["gemm", "0x4x4"], "got '0x4x4'"), (["gemv", "4"], "got '4'"),
                              (["conv", "4x4x4-4:k9"], "got '4x4x4-4:k9'"), (["conv", "4x4x4-6:g4"], "got '4x4x4-6:g4'"),
                              (["conv", "4x4x4-4:z1"], "got '4x4x4-4:z1'"), (["conv", "--suite", "alexnet"], "got 'alexnet'"),
                              (["gemm", "--suite", "no"], "got 'no'"), (["quantize", "x"], "got 'x'"), (["quantize", "1e99"], "got '1e99'"),
                              (["histogram", "--zeros", "2"], "bad value '2'"), (["gemm", "--zeros", "0"], "unknown option '--zeros'"),
                              (["gemm", "--threads", "0"], "bad value '0'"), (["gemm", "--device", "x"], "bad value 'x'"),
                              (["gemm", "--isa", "sse"], "bad value 'sse'"), (["elementwise", "65535"], "from 65536 on, got '65535'"),
                              (["elementwise", "--type", "div"], "no operation of that name 'div'"), (["elementwise", "--device", "opencl"], "got the device 'opencl'")):
            self.assertRegex(self.program(*args, expect=2).err, pattern)
        self.program("gemm", "1048576x1048576x4", "--threads", "1", expect=4)

    def test_kernels(self):
        self.assertRegex(self.kernels("--help").out, r"^usage: clquant bench kernels(.|\n)*\nexample:\n  clquant bench kernels")
        d = json.loads(self.kernels("add", "--seconds", "0.01", "--json").out)
        self.assertEqual({k["op"] for k in d["kernels"]}, {"add_u8"})
        for k in d["kernels"]:
            self.assertGreater(k["seconds"], 0)
            self.assertGreater(k["gb_per_s"], 0)
        ref = json.loads(self.kernels("lut_u8", "--seconds=0.01", "--isa", "ref", "--json").out)
        self.assertEqual({k["variant"] for k in ref["kernels"]}, {"ref"})
        self.assertIn("add_u8", self.kernels("add", "--seconds", "0.01").out)

    def test_kernels_usage(self):
        for args, pattern in ((["--sconds", "1"], "unknown option '--sconds'"), (["nothing"], "no kernel's name begins with 'nothing'"),
                              (["--seconds", "0"], "bad value '0'"), (["--threads", "2"], "one thread"), (["a", "b"], "unexpected argument 'b'")):
            self.assertRegex(self.kernels(*args, expect=2).err, pattern)
        none = {"OCL_ICD_VENDORS": self.dir + "/", "OCL_ICD_FILENAMES": ""}
        self.kernels("--device", "opencl", expect=4, env=none)

    def test_a_wait_policy_is_set_once(self):
        for env, expected in (({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")):
            p = subprocess.Popen([CLQUANT, "bench", "model", MODEL, "--threads", "2", "--pairs", "100000"], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, env=dict(self.env, **env))
            time.sleep(0.5)
            with open("/proc/%d/environ" % p.pid, "rb") as f:
                found = [e for e in f.read().split(b"\0") if e.startswith(b"OMP_WAIT_POLICY=")]
            p.kill()
            p.wait()
            self.assertEqual(found, [b"OMP_WAIT_POLICY=" + expected.encode()])


class Example(Case):
    def test_quantize(self):
        out = self.path("o.onnx")
        r = subprocess.run([EXAMPLE, MODEL, CALIB, out], capture_output=True, env=self.env, timeout=240)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn(b"Conv", r.stdout)
        self.assertEqual(self.files(), ["o.onnx", "o.onnx.plan.json"])
        again = subprocess.run([EXAMPLE, MODEL, CALIB, out], capture_output=True, env=self.env, timeout=240)
        self.assertEqual(again.returncode, 1)
        self.assertEqual(subprocess.run([EXAMPLE], capture_output=True).returncode, 2)

    def test_length(self):
        with open(os.path.join(SOURCE, "examples", "quantize.c")) as f:
            self.assertLess(len(f.readlines()), 80)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
