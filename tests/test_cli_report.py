# SPDX-License-Identifier: Apache-2.0
"""quantize --report: the page as a browser would read it. Arguments: those of test_cli.py."""
import base64
import hashlib
import html.parser
import json
import os
import resource
import signal
import sys
import unittest

from cli_files import F32, model, node, tensor, value, write, write_npy
from test_cli import CALIB, MODEL, Case, Signals, content

HOSTILE = "</script><script>alert(1)</script><img src=x onerror='alert(2)'>\"&amp;\u202e"


class Page(html.parser.HTMLParser):
    """Tags, scripts, the layers' rows as lists of cell texts, and the data of a report."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.rows, self.policy, self.text = [], [], [], "", ""
        self.inside, self.cell = None, False
        self.feed(text)
        self.close()
        self.data = json.loads(self.scripts[0])

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy":
            self.policy = attrs["content"]
        elif tag == "script":
            self.scripts.append("")
            self.inside = "script"
        elif tag == "style":
            self.inside = "style"
        elif tag == "table":
            self.inside = "layers" if attrs.get("id") == "layers" else None
        elif tag == "tr" and self.inside == "layers":
            self.rows.append([])
        elif tag in ("td", "th") and self.inside == "layers":
            self.rows[-1].append("")
            self.cell = True

    def handle_endtag(self, tag):
        if tag in ("script", "style", "table"):
            self.inside = None
        elif tag in ("td", "th"):
            self.cell = False

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside != "style":
            self.text += data
            if self.inside == "layers" and self.cell:
                self.rows[-1][-1] += data

    def layers(self):
        head, body = self.rows[0], self.rows[1:]
        return [dict(zip(head, row)) for row in body]


class Report(Case):
    def report(self, m, data, *args):
        page = self.path("r.html")
        d = self.json("quantize", m, "--data", data, "--pairs", "20", "-o", self.path("o.onnx"), "--report", page, "--force", *args)
        self.assertEqual(d["report"], page)
        p = Page(content(page).decode())
        self.check(p)
        self.assertEqual(len(p.layers()), len(d["layers"]))
        self.assertIn(d["reason"], p.text)
        for row, layer in zip(p.layers(), d["layers"]):
            self.assertEqual((row["Operator"], row["Precision"], row["Device"]), (layer["op"], layer["precision"], layer["device"]))
            self.assertEqual(row["Reason"], layer["reason"])
        return p, d

    def check(self, p, more=()):
        """What every page keeps: nothing is fetched, only its own script runs, and the script finds what it asks for."""
        self.assertEqual([tag for tag, _ in p.tags if tag in ("img", "link", "iframe", "object", "base", "form")], [])
        self.assertEqual([a for _, a in p.tags if "src" in a or "href" in a or any(k.startswith("on") for k in a)], [])
        self.assertEqual(len(p.scripts), 2)
        digest = base64.b64encode(hashlib.sha256(p.scripts[1].encode()).digest()).decode()
        self.assertEqual(p.policy, "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-%s'" % digest)
        ids = [a["id"] for _, a in p.tags if "id" in a and not a["id"].startswith("point-")]
        self.assertEqual(sorted(ids), sorted(["data", "layers", "filter", "shown", "tensor", "log", "plot", "note", "ranges", "tensors", *more]))
        for name in ids:
            self.assertRegex(p.scripts[1], r'(by|getElementById)\("%s"\)' % name)
        self.assertEqual(p.data["methods"], ["minmax", "percentile", "entropy", "mse"])
        for _, a in p.tags:
            if "data-t" in a:
                self.assertLess(int(a["data-t"]), len(p.data["tensors"]))
        for i, t in enumerate(p.data["tensors"]):
            shared = p.data["tensors"][t["group"]]
            self.assertLessEqual(t["group"], i)
            self.assertIsNotNone(shared["ranges"][shared["method"]])
            self.assertEqual((len(shared["ranges"]), len(shared["errors"])), (4, 4))

    def test_frontier(self):
        """A row and data for a dot per point; all can be reached with the keyboard."""
        page = self.path("r.html")
        d = self.json("plan", MODEL, "--data", CALIB, "--limit", "24", "--calibrator", "minmax", "--budgets", "25", "--pareto", "--report", page)
        p = Page(content(page).decode())
        self.check(p, ["points", "frontier"])
        rows = [a for tag, a in p.tags if tag == "tr" and a.get("id", "").startswith("point-")]
        self.assertEqual([a["id"] for a in rows], ["point-" + point["id"] for point in d["points"]])
        self.assertTrue(all(a["tabindex"] == "0" for a in rows))
        self.assertEqual([a["class"] == "best" for a in rows], [point["on_frontier"] for point in d["points"]])
        self.assertIn("%d points of what can be had" % len(rows), p.text)

    def test_what_is_shown(self):
        p, d = self.report(MODEL, CALIB, "--limit", "64")
        for word in ("%d validation samples" % d["validation_samples"], "%d samples" % d["calibration_samples"], "calib.npz", "%d int8, %d float32" % (d["int8_layers"], len(d["layers"]) - d["int8_layers"]),
                     d["isa"], "oneDNN", "clquant 0", "at least 20 dB"):
            self.assertIn(word, p.text)
        errors = [row["Error alone"] for row in p.layers()]
        self.assertTrue(all(e.endswith(" dB") or e in ("exact", "-") for e in errors), errors)
        widths = [float(a["style"][6:-1]) for tag, a in p.tags if tag == "span" and "style" in a]
        self.assertTrue(all(0 <= w <= 100 for w in widths))
        self.assertEqual(max(widths), 100)
        for t in p.data["tensors"]:
            if "hist" not in t:
                continue
            h = t["hist"]
            self.assertLessEqual(len(h["counts"]), 256)
            self.assertEqual(sum(h["counts"]), t["count"])
            self.assertLessEqual(h["lo"], t["min"])
            self.assertLess(h["lo"] + h["step"] * (len(h["counts"]) - 2), t["max"])
            self.assertLessEqual(t["max"], h["lo"] + h["step"] * len(h["counts"]))
            for low, high, clipped in t["ranges"]:
                self.assertTrue(low <= 0 <= high and 0 <= clipped <= 1, t)

    def test_hostile_names(self):
        w = tensor(b"w\xff", F32, [4, 4], [((i * 7) % 9 - 4) / 4 for i in range(16)])
        nodes = [node("MatMul", [b"x\xff", b"w\xff"], [HOSTILE], name=HOSTILE + "n"),
                 node("MatMul", [HOSTILE, b"w\xff"], [b"y\xfe\x1b]"], name=b"\xfd\x1b" + b"long" * 1000)]
        m = write(self.path("<b>.onnx"), model(nodes, [value(b"x\xff", F32, [1, 4])], [value(b"y\xfe\x1b]", F32, [1, 4])], [w]))
        write_npy(self.path("<i>.npy"), "f4", (40, 4), [((i * 31) % 17 - 8) / 8 for i in range(160)])
        p, _ = self.report(m, self.path("<i>.npy"), "--uniform", "int8")
        self.assertIn("<b>.onnx", p.text)
        self.assertIn("<i>.npy", p.text)
        self.assertEqual({t["name"] for t in p.data["tensors"]}, {"x\\xff", HOSTILE, "y\\xfe\\x1b]"})
        first, second = (row["Layer"] for row in p.layers())
        self.assertEqual(first, HOSTILE + "n")
        self.assertRegex(second, r"^\\xfd\\x1blong.*\.\.\..*long$")
        self.assertLess(len(second), 200)
        self.assertNotIn(b"<", content(self.path("r.html")).split(b'id="data">')[1].split(b"</script>")[0])

    def test_float_is_kept(self):
        p, d = self.report(self.two_layers(), self.two_data(), "--candidates", "f32")
        self.assertTrue(d["kept_float"])
        self.assertEqual({row["Precision"] for row in p.layers()}, {"f32"})
        self.assertIn("the float model is kept", p.text)
        self.assertFalse(any(t["quantized"] for t in p.data["tensors"]))

    def test_a_replay_has_no_histograms(self):
        m, data = self.two_layers(), self.two_data()
        before, _ = self.report(m, data, "--uniform", "int8")
        os.rename(self.path("o.onnx.plan.json"), self.path("plan.json"))
        after, _ = self.report(m, data, "--plan", self.path("plan.json"))
        self.assertNotIn("replay", before.text)
        self.assertIn("replay of a plan", after.text)
        for t, u in zip(before.data["tensors"], after.data["tensors"]):
            self.assertEqual(t["group"], u["group"])
            if "hist" not in t:
                continue
            self.assertGreater(len(t["hist"]["counts"]), 0)
            self.assertIsNone(u["hist"])
            self.assertEqual([r is not None for r in u["ranges"]], [k == t["method"] for k in range(4)])
            self.assertEqual(u["ranges"][t["method"]], t["ranges"][t["method"]][:2] + [None])
            for key in ("errors", "method", "scale", "zero_point"):
                self.assertEqual(t[key], u[key])

    def test_a_hostile_plan(self):
        m, data = self.two_layers(), self.two_data()
        self.report(m, data, "--uniform", "int8")
        plan = json.loads(content(self.path("o.onnx.plan.json")))
        plan["options"].update(calibrator="<img src=x>\u001b" + "\u00e4" * 26)
        plan["data"]["names"] = [HOSTILE] * 9
        plan["layers"][0]["reason"] = HOSTILE
        p, d = self.report(m, data, "--plan", write(self.path("plan.json"), json.dumps(plan).encode()))
        self.assertIn("<img src=x>\\x1b", p.text)
        self.assertIn("and 5 more", p.text)
        self.assertEqual(d["layers"][0]["reason"], "plan: " + HOSTILE)

    def test_signed_codes(self):
        p, _ = self.report(self.two_layers(), self.two_data(), "--uniform", "int8", "--target", "tensorrt")
        self.assertEqual({t["zero_point"] for t in p.data["tensors"] if "zero_point" in t}, {0})

    def test_nothing_to_quantize(self):
        m = write(self.path("m.onnx"), model([node("Sin", ["x"], ["y"])], [value("x", F32, ["n", 4])], [value("y", F32, ["n", 4])]))
        p, _ = self.report(m, "synthetic:4")
        self.assertIn("no layer that can be quantized", p.text)
        self.assertIn("synthetic data", p.text)
        self.assertEqual(p.data["tensors"], [])

    def test_outputs(self):
        m, data = self.two_layers(), self.two_data()
        self.fails(2, "r.html' exists", "quantize", m, "--data", data, "-o", self.path("p.onnx"), "--report", write(self.path("r.html"), b"x"))
        os.mkdir(self.path("sub"))
        os.symlink(self.dir, self.path("link"))
        for name in ("p.onnx", "./p.onnx", "sub/../p.onnx", "link/p.onnx", "p.onnx.plan.json"):
            self.fails(2, "is another output", "quantize", m, "--data", data, "-o", self.path("p.onnx"), "--report", self.path(name), "--force")
        self.fails(2, "is the input", "quantize", m, "--data", data, "-o", self.path("p.onnx"), "--report", m, "--force")
        self.assertEqual(content(self.path("r.html")), b"x")

    def test_full_disk(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (16000, 16000))
        m, data = self.two_layers(), self.two_data()
        self.fails(4, "r.html", "quantize", m, "--data", data, "--candidates", "f32", "-o", self.path("o.onnx"), "--report", self.path("r.html"),
                   preexec_fn=limit, restore_signals=False)
        self.assertEqual(self.files(), ["o.onnx", "o.onnx.journal", "o.onnx.plan.json", "two.npz", "two.onnx"])


class Interrupted(Signals):
    def test_quantize(self):
        self.interrupt(signal.SIGINT, 130, "quantize", MODEL, "--data", "synthetic:300000", "-o", self.path("o.onnx"), "--report", self.path("r.html"))


if __name__ == "__main__":
    loader = unittest.TestLoader()
    tests = [loader.loadTestsFromTestCase(Report), Interrupted("test_quantize")]
    result = unittest.TextTestRunner().run(unittest.TestSuite(tests))
    sys.exit(not result.wasSuccessful())
