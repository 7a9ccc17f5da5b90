#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ONNX's node cases (onnx 1.22.0) through `clquant check`, compared with the list of expected results.

    run.py CLQUANT NODE_DATA [--every N] [--update] [--only TEXT] [--timeout SECONDS] [--threads N]

Ours are the cases whose sha1(folder name), as an integer, is not divisible by 5; the others are never run. Fails when a
case got worse (pass, then unsupported, then fail), when one crashes, hangs or exits with another code than 0 to 3, and
when results.md does not say what expected.tsv says. --update writes both files anew; it needs the onnx package.
--every N runs each Nth case. Exit codes: 0 as expected, 1 worse, 77 the cases are not there."""
import argparse
import csv
import hashlib
import os
import re
import select
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
EXPECTED = os.path.join(HERE, "expected.tsv")
RESULTS = os.path.join(HERE, "results.md")
RANK = {"pass": 0, "unsupported": 1, "fail": 2, "crash": 3, "hang": 3}
COLUMNS = ["case", "operator", "result", "reason"]


def ours(name):
    return int(hashlib.sha1(name.encode()).hexdigest(), 16) % 5 != 0


class Command:
    """One `clquant check --cases` process; results arrive line by line."""

    def __init__(self, argv, cases, root):
        self.list = tempfile.NamedTemporaryFile("w", suffix=".txt")
        self.list.writelines(os.path.join(root, c) + "\n" for c in cases)
        self.list.flush()
        self.process = subprocess.Popen([*argv, "--cases", self.list.name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.rest = b""

    def line(self, deadline):
        """The next line, None at the end of the output, False when the deadline passed."""
        while b"\n" not in self.rest:
            if not select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
                return False
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                return None
            self.rest += more
        line, self.rest = self.rest.split(b"\n", 1)
        return line.decode(errors="replace")

    def end(self, kill):
        if kill:
            self.process.kill()
        self.process.stdout.close()
        self.list.close()
        return self.process.wait()


def reason(lines, root):
    """The message of a case without what differs between machines: paths, and the names of nodes."""
    text = [x for x in lines if x.startswith("clquant check:")]
    text = text[-1][len("clquant check: "):] if text else next((x[x.index("test_data_set"):] for x in lines if "test_data_set" in x and re.search("[a-z]$|expected", x)), "no message")
    text = re.sub(r"'?" + re.escape(root) + r"[^' ]*'?(: )?", "", text)
    text = re.sub(r"node '[^']*' ", "", text)
    return re.sub(r"[\t ]+", " ", text)[:160]


def verdict(code, lines, root):
    if code == 0:
        return "pass", ""
    return ("unsupported" if code == 3 else "fail"), reason(lines, root) if code in (1, 2, 3) else "exit code %d: %s" % (code, reason(lines, root))


def run(argv, cases, root, seconds):
    """Yields (case, result, reason). A process that dies or hangs is blamed on its case; the next one goes on behind it."""
    while cases:
        command, done, lines, started = Command(argv, cases, root), 0, [], time.monotonic()
        while True:
            line = command.line(started + seconds)
            if line is None or line is False:
                code = command.end(line is False)
                if done < len(cases):
                    what = "hang" if line is False else "crash"
                    yield cases[done], what, "no answer in %d s" % seconds if line is False else "the process ended with %d: %s" % (code, reason(lines, root))
                    done += 1
                break
            if line.startswith("case ") and os.path.basename(line) == cases[done]:
                lines, started = [], time.monotonic()
            elif re.fullmatch(r"exit code \d+", line):
                yield (cases[done], *verdict(int(line.split()[-1]), lines, root))
                done += 1
                if done == len(cases):
                    command.end(False)
                    break
            else:
                lines.append(line)
        cases = cases[done:]


# ---- The list and the table ----
def read_expected():
    if not os.path.exists(EXPECTED):
        return {}
    with open(EXPECTED, encoding="utf-8", newline="") as f:
        rows = csv.DictReader((x for x in f if not x.startswith("#")), delimiter="\t", quoting=csv.QUOTE_NONE)
        return {r["case"]: r for r in rows}


def write_expected(rows):
    with open(EXPECTED, "w", encoding="utf-8") as f:
        f.write("# SPDX-License-Identifier: Apache-2.0\n# What `clquant check` says about our node cases of onnx 1.22.0; written by run.py --update.\n")
        f.write("\t".join(COLUMNS) + "\n")
        for r in rows:
            f.write("\t".join(r[c] or "" for c in COLUMNS) + "\n")


def operator_of(root, case):
    """A case of one node belongs to that node's operator, the body of a function to the operator of its name."""
    import onnx
    nodes = onnx.load(os.path.join(root, case, "model.onnx"), load_external_data=False).graph.node
    if len(nodes) == 1:
        return (nodes[0].domain + "." if nodes[0].domain not in ("", "ai.onnx") else "") + nodes[0].op_type
    plain = case[len("test_"):].replace("_", "")
    aliases = {"sce": "SoftmaxCrossEntropyLoss", "nllloss": "NegativeLogLikelihoodLoss", "mvn": "MeanVarianceNormalization",
               "flexattention": "ai.onnx.preview.FlexAttention"}
    known = {s.name.lower(): s.name for s in onnx.defs.get_all_schemas() if s.domain == ""} | aliases
    best = max((k for k in known if plain.startswith(k)), key=len, default=None)
    return known[best] if best else "+".join(sorted({n.op_type for n in nodes}))


def table(rows):
    by = {}
    for r in rows:
        by.setdefault(r["operator"], []).append(r["result"])
    count = {k: sum(r["result"] == k for r in rows) for k in ("pass", "unsupported", "fail")}
    out = ["<!-- SPDX-License-Identifier: Apache-2.0 -->", "# ONNX node cases by operator", "",
           "Written by `run.py --update` from `expected.tsv`. The cases are those of onnx 1.22.0 whose sha1(name) is not divisible by",
           "5, run through `clquant check`: integers are equal, real numbers within 1e-3 relative or 1e-5 absolute. Cases of a",
           "function's body (`_expanded`) count for the function's operator.", "",
           "**%d of %d pass, %d are unsupported (exit code 3, operator and type named), %d fail.**" % (count["pass"], len(rows), count["unsupported"], count["fail"]),
           "", "| operator | pass | of |", "|---|---:|---:|"]
    out += ["| %s | %d | %d |" % (op, by[op].count("pass"), len(by[op])) for op in sorted(by, key=str.lower)]
    out += ["", "## Cases that do not pass", "", "| case | operator | result | reason |", "|---|---|---|---|"]
    escape = lambda s: s.replace("|", "\\|").replace("<", "\\<")
    out += ["| %s | %s | %s | %s |" % (r["case"], r["operator"], r["result"], escape(r["reason"])) for r in rows if r["result"] != "pass"]
    return "\n".join(out) + "\n"


def compare(found, expected):
    worse = better = 0
    for case, result, why in found:
        was = expected.get(case)
        if RANK[result] > (RANK[was["result"]] if was else RANK["fail"]):
            worse += 1
            print("WORSE %s: %s, now %s: %s" % (case, was["result"] if was else "not listed", result, why))
        elif was is None or RANK[result] < RANK[was["result"]]:
            better += 1
            print("better %s: %s, now %s %s" % (case, was["result"] if was else "not listed", result, why))
    return worse, better


def main():
    p = argparse.ArgumentParser()
    p.add_argument("clquant")
    p.add_argument("data")
    p.add_argument("--every", type=int, default=1)
    p.add_argument("--update", action="store_true")
    p.add_argument("--only", default="")
    p.add_argument("--timeout", type=float, default=60)
    p.add_argument("--threads", default="2")
    a = p.parse_args()
    if not os.path.isdir(a.data):
        print("skipped: the node cases of onnx 1.22.0 are not at %s; run script/models first" % a.data)
        return 77
    cases = sorted(c for c in os.listdir(a.data) if c.startswith("test_") and ours(c))
    expected = read_expected()
    missing = sorted(set(expected) - set(cases))
    chosen = [c for c in cases if a.only in c][::a.every]
    argv = [a.clquant, "check", "--quiet", "--threads", a.threads]
    start, found = time.monotonic(), []
    for f in run(argv, chosen, a.data, a.timeout):
        found.append(f)
        if a.only and f[1] != "pass":
            print(*f, sep="\t")
    print("%d cases: %s, in %.1f s" % (len(found), ", ".join("%d %s" % (sum(f[1] == k for f in found), k) for k in RANK), time.monotonic() - start))
    if a.update:
        rows = [{"case": c, "operator": operator_of(a.data, c), "result": r, "reason": w} for c, r, w in found]
        write_expected(rows)
        with open(RESULTS, "w", encoding="utf-8") as f:
            f.write(table(rows))
    expected = read_expected()
    worse, better = compare(found, expected)
    bad = [c for c, r, _ in found if r in ("crash", "hang")]
    stale = table(list(expected.values())) != open(RESULTS, encoding="utf-8").read()
    if missing:
        print("listed but not there: %s" % ", ".join(missing[:5]))
    if stale:
        print("results.md is not what expected.tsv says; run run.py --update")
    if better:
        print("%d cases are better than the list; run run.py --update" % better)
    return 1 if worse or bad or stale or missing else 0


if __name__ == "__main__":
    sys.exit(main())
