# SPDX-License-Identifier: Apache-2.0
"""Drives rivals that stay resident in processes of their own. See README.md.

    import sys; sys.path.insert(0, "perf")
    from rivals import Rival

    with Rival("ort_runner.py", "model.onnx", "--inputs", "test.npz", "--threads", "1") as ort:
        seconds = ort.run(5)
        ort.out("ort.npz")
"""
import json
import os
import shlex
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


class RivalError(RuntimeError):
    pass


class Rival:
    """One resident process; `info` is what it said when it was ready."""

    def __init__(self, script, *arguments, python=None, log=None):
        command = [python or sys.executable, os.path.join(HERE, script), *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=log or subprocess.DEVNULL, text=True)
        self.info = self._read()

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            raise RivalError(f"{shlex.join(self.process.args[1:])}: ended with "
                             f"{self.process.wait()} and no answer")
        answer = json.loads(line)
        if "error" in answer:
            raise RivalError(answer["error"])
        return answer

    def ask(self, *words):
        self.process.stdin.write(shlex.join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self._read()

    def run(self, count=1):
        """Runs the first batch `count` times; returns the seconds of each run."""
        return self.ask("run", count)["seconds"]

    def out(self, path, inputs=None):
        """Writes the outputs for all samples of the inputs to an .npz."""
        return self.ask("out", path, *([inputs] if inputs else []))["shapes"]

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
