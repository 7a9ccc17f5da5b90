# SPDX-License-Identifier: Apache-2.0
"""script/demo and script/test where packages are missing: the exact line to run, exit code 2, and nothing done without rights.
dpkg-query, id, apt-get and cmake are false ones on PATH; the scripts lie in a folder with spaces. Argument: the source tree."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = sys.argv.pop(1)
PRESENT = ("gcc", "cmake", "python3")


class Scripts(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="a clone with spaces ")
        self.root = os.path.join(self.folder.name, "the tree")
        self.bin, self.calls = os.path.join(self.folder.name, "bin"), os.path.join(self.folder.name, "calls")
        shutil.copytree(os.path.join(SOURCE, "script"), os.path.join(self.root, "script"))
        os.mkdir(self.bin)

    def tearDown(self):
        self.folder.cleanup()

    def program(self, name, text):
        path = os.path.join(self.bin, name)
        with open(path, "w") as f:
            f.write('#!/bin/sh\nprintf "%s\\n" "{} $*" >>"$CALLS"\n{}\n'.format(name, text))
        os.chmod(path, 0o755)

    def run_script(self, name, uid, apt, everything=False):
        """(exit code, stderr, what the false programs were called with)"""
        present = "*" if everything else "|".join(PRESENT)
        self.program("dpkg-query", 'for p; do :; done; case $p in {}) echo "install ok installed";; *) exit 1;; esac'.format(present))
        self.program("id", "echo %d" % uid)
        self.program("apt-get", "exit %d" % apt)
        self.program("cmake", 'pwd >>"$CALLS"; exit 7')
        open(self.calls, "w").close()
        env = dict(os.environ, PATH=self.bin + ":" + os.environ["PATH"], CALLS=self.calls)
        r = subprocess.run([os.path.join(self.root, "script", name), *(["quick"] if name == "test" else [])], env=env, capture_output=True, text=True, timeout=60)
        with open(self.calls) as f:
            return r.returncode, r.stderr, f.read().split("\n")

    def check_line(self, err):
        lines = err.rstrip("\n").split("\n")
        words = lines[-1].split()
        self.assertEqual(words[:6], ["apt-get", "update", "&&", "apt-get", "install", "-y"], err)
        self.assertIn("libdnnl-dev", words)
        self.assertFalse(set(PRESENT) & set(words[6:]), "installed already: " + lines[-1])
        self.assertEqual(subprocess.run(["sh", "-n", "-c", lines[-1]]).returncode, 0)
        return words[6:]

    def test_without_rights(self):
        for name in ("demo", "test"):
            code, err, calls = self.run_script(name, 1000, 0)
            self.assertEqual(code, 2, err)
            self.assertEqual("libcmocka-dev" in self.check_line(err), name == "test")
            self.assertFalse([c for c in calls if c.startswith(("apt-get", "cmake"))], calls)
            self.assertEqual(os.listdir(self.root), ["script"])

    def test_without_network(self):
        """Root, but nothing can be fetched: the same line."""
        for name in ("demo", "test"):
            code, err, calls = self.run_script(name, 0, 100)
            self.assertEqual(code, 2, err)
            self.check_line(err)
            self.assertIn("apt-get update -qq", calls)

    def test_with_everything(self):
        """Nothing is installed, and the build begins in the folder with spaces, whoever asks."""
        for name, uid in (("demo", 1000), ("test", 0)):
            code, err, calls = self.run_script(name, uid, 0, everything=True)
            self.assertNotIn(code, (0, 2), err)
            self.assertIn(os.path.realpath(self.root), [os.path.realpath(c) for c in calls if c.startswith("/")])
            self.assertFalse([c for c in calls if c.startswith("apt-get")], calls)


if __name__ == "__main__":
    unittest.main()
