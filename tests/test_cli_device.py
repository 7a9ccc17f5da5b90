# SPDX-License-Identifier: Apache-2.0
"""The command on an OpenCL device that fails half-way. Arguments: those of test_cli.py, then the library to preload."""
import json
import os
import sys
import unittest

SHIM = sys.argv.pop(4)

from test_cli import Case, content  # noqa: E402  (it reads the arguments)


class FailingDevice(Case):
    def setUp(self):
        super().setUp()
        self.model, self.data = self.two_layers(), self.two_data()
        self.json("quantize", self.model, "--data", self.data, "--uniform", "int8", "--pairs", "10", "-o", self.path("q.onnx"))
        self.run_args = ["run", self.path("q.onnx"), "--data", self.data, "--index", "3", "--output-dir", self.path("out")]
        r = self.run_command(*self.run_args, "--device", "opencl")
        if "on the CPU" in r.err:
            self.skipTest(r.err.strip())

    def faulty(self, at, *args, **more):
        """OMP_WAIT_POLICY is set so that the command does not start itself once more."""
        env = {"LD_PRELOAD": SHIM, "CLQ_TEST_FAIL_AT": str(at), "CLQ_TEST_LAUNCHES": self.path("launches"), "OMP_WAIT_POLICY": "passive"}
        return self.run_command(*args, "--device", "opencl", "--force", env=env, **more)

    def launches(self, *args):
        self.faulty(0, *args)
        return int(content(self.path("launches")))

    def told_once(self, r, at):
        told = [line for line in r.err.split("\n") if "OUT_OF_RESOURCES" in line or "out of resources" in line]
        self.assertEqual(len(told), 1, "launch %d: %s" % (at, r.err))
        return told[0]

    def required(self, at, *args):
        r = self.faulty(at, *args, "--require-device", expect=4)
        self.assertIn("required device", self.told_once(r, at))

    def test_run(self):
        """The first launch, which is of a self-test, and the last ones, which are the model's: the same bytes, and one line."""
        self.run_command(*self.run_args, "--force")
        expected, total = content(self.path("out/y.npy")), self.launches(*self.run_args)
        self.assertEqual(content(self.path("out/y.npy")), expected)
        for at in (1, total - 2, total):
            self.assertIn("on the CPU", self.told_once(self.faulty(at, *self.run_args), at))
            self.assertEqual(content(self.path("out/y.npy")), expected, "launch %d of %d" % (at, total))
        for at in (1, total):
            self.required(at, *self.run_args)

    def test_quantize(self):
        """A search that loses its device ends without it: nothing is planned there, and the plan gives the same bytes on the CPU."""
        out, again = self.path("o.onnx"), self.path("p.onnx")
        args = ["quantize", self.model, "--data", self.data, "--pairs", "10", "--remeasure", "-o", out]
        total = self.launches(*args)
        for at in (total // 3, total // 2):
            r = self.faulty(at, *args, "--json")
            self.assertIn("on the CPU", self.told_once(r, at))
            self.assertEqual({layer["device"] for layer in json.loads(r.out)["layers"]}, {"cpu"})
            self.run_command("quantize", self.model, "--data", self.data, "--pairs", "10", "--plan", out + ".plan.json", "-o", again, "--force")
            self.assertEqual(content(out), content(again))
        os.unlink(out)
        self.required(total // 2, *args)
        self.assertFalse(os.path.exists(out))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
