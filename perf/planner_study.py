#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Our plans beside those of simpler policies, at error budgets of 15, 20, 25 and 30 dB, on six models, on the CPU with one and with two
threads and on an OpenCL device.

    python3 perf/planner_study.py --build build/release --work build/study --out perf/results/DATE-planner
    python3 perf/planner_study.py --quick ...     # 96 calibration samples, 100 pairs, 48 unseen samples: minutes a model
    python3 perf/planner_study.py --on cpu/1 --model magika --model embedded ...
    python3 perf/planner_study.py --case NAME MODEL.onnx CALIB.npz UNSEEN.npz ...      # another model, or other data of a known one

One `clquant plan --pareto --save-all` per model and setting makes all plans from the same measurements; only what the policies look at
differs. Then every distinct plan is judged alone: SQNR on samples that no search has seen (`clquant eval`), and time in
interleaved pairs against ours at the same budget (`clquant bench model`), in several fresh processes.
Ratios are medians of paired ratios, policy over ours, with a 95 % bootstrap interval that draws whole processes: above 1
ours is faster. A policy that misses the budget on the validation samples is not in the race, and is shown.
"int8-time" is no budget in dB: there ours is the plan with the least error that takes no longer than uniform INT8.

Models and data are those of `script/models --data`; photographs for EfficientNet-Lite0 are looked for in build/data/efficientnet_calib.npz
and _test.npz. What is not there is left out, and the table says so.

Everything that was measured is kept in --work, so a study that was stopped, or ran out of --seconds, goes on from there;
--stage plans,errors,times says what is done in this run (the tables are always written from what there is). Errors do not depend on
how calm the machine is; plans and times do. --first models takes one model through all settings before the next, --first settings
(the default) one setting through all models.
"""
import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time

OURS = "measured"
SAME_TIME = "int8-time"
CASES = {  # name: model, calibration samples, unseen samples; below the source tree
    "embedded": ("examples/fashion_mnist/model.onnx", "examples/fashion_mnist/calib.npz", "examples/fashion_mnist/test.npz"),
    "efficientnet-lite0": ("build/models/efficientnet-lite0.onnx", "build/data/efficientnet_calib.npz", "build/data/efficientnet_test.npz"),
    "minilm-l3": ("build/models/paraphrase-MiniLM-L3-v2.onnx", "build/data/minilm_l3_calib.npz", "build/data/minilm_l3_test.npz"),
    "ocr-rec": ("build/models/ch_PP-OCRv4_rec_infer.onnx", "build/data/ocr_rec_calib.npz", "build/data/ocr_rec_test.npz"),
    "ocr-det": ("build/models/ch_PP-OCRv4_det_infer.onnx", "build/data/ocr_det_calib.npz", "build/data/ocr_det_test.npz"),
    "magika": ("build/models/magika.onnx", "build/data/magika_calib.npz", "build/data/magika_test.npz"),
}
SETTINGS = ["cpu/1", "cpu/2", "opencl/1"]
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class OutOfTime(Exception):
    pass


def run(args, setting, *words):
    if args.seconds and time.monotonic() - args.start > args.seconds:
        raise OutOfTime
    device, threads = setting.split("/")
    environment = dict(os.environ, XDG_CACHE_HOME=os.path.join(args.work, "cache"))
    more = ["--device", device, "--require-device"] if device != "cpu" else []
    r = subprocess.run([os.path.join(args.build, "clquant"), *map(str, words), "--threads", threads, "--json", "--quiet", *more],
                       capture_output=True, text=True, env=environment)
    if r.returncode not in (0, 1):
        sys.exit("clquant %s: exit code %d: %s" % (" ".join(map(str, words)), r.returncode, r.stderr.strip()))
    return json.loads(r.stdout)


class Kept:
    """What was measured of one model, in a file; the next run reads it again."""

    def __init__(self, path):
        self.path = path
        try:
            with open(path) as f:
                self.data = json.load(f)
        except FileNotFoundError:
            self.data = {}

    def get(self, key, make, wanted):
        if key not in self.data and wanted:
            self.data[key] = make()
            with open(self.path + ".new", "w") as f:
                json.dump(self.data, f)
            os.replace(self.path + ".new", self.path)
        return self.data.get(key)


def interval(parts, draws=2000):
    rng = random.Random(1)
    medians = sorted(statistics.median([x for _ in parts for x in rng.choice(parts)]) for _ in range(draws))
    return medians[int(0.025 * draws)], medians[int(0.975 * draws)]


def ratio(args, setting, data, slow, fast, pair_ms):
    """Time of slow over time of fast: median and interval. A process runs pairs for a tenth of a second at least: 20 pairs of 70 us tell
    nothing."""
    each = max(2, args.pairs // args.processes, min(1000, int(100 / pair_ms)) if pair_ms else 0)
    parts = []
    for _ in range(args.processes):
        d = run(args, setting, "bench", "model", fast, "--reference", slow, "--data", data, "--pairs", each, "--raw")
        parts.append([reference / own for reference, own in d["seconds"]])
    lo, hi = interval(parts)
    return [statistics.median(x for p in parts for x in p), lo, hi]


def make_plans(args, setting, model, calib, folder):
    words = ["plan", model, "--data", calib, "--pareto", "--budgets", args.budgets, "--save-all", folder, "--force"]
    words += ["--limit", args.limit] if args.limit else []
    words += ["--candidates", args.candidates] if args.candidates else []
    start = time.monotonic()
    points = run(args, setting, *words)["points"]
    for p in points:
        p["search_seconds"] = time.monotonic() - start
    return points


def has_met(p, db):
    if p["budget_db"] is not None:
        return p["budget_met"]
    return db is None or p["identical"] or p["sqnr_db_kept"] >= db


def study(args, setting, name, model, calib, unseen):
    folder = os.path.join(args.work, setting.replace("/", "-").replace(":", "-"), name)
    os.makedirs(folder, exist_ok=True)
    kept = Kept(os.path.join(folder, "study.json"))
    points = kept.get("points", lambda: make_plans(args, setting, model, calib, folder), "plans" in args.stages)
    if not points:
        return []
    by_id = {p["id"]: p for p in points}
    file = lambda p: os.path.join(folder, p["same_as"] + ".onnx")
    limit = ["--limit", args.unseen] if args.unseen else []

    def error(p):
        if p["identical"]:
            return {"sqnr_db": None}
        return kept.get("error " + p["same_as"], lambda: run(args, setting, "eval", file(p), "--data", unseen, "--reference", model, *limit), "errors" in args.stages)

    def timed(p, ours):
        if p["same_as"] == ours["same_as"]:
            return [1.0, 1.0, 1.0]
        return kept.get("time %s / %s" % (p["same_as"], ours["same_as"]), lambda: ratio(args, setting, unseen, file(p), file(ours), p["median_ms"] + ours["median_ms"]), "times" in args.stages)

    rows = []
    for budget in [float(b) for b in args.budgets.split(",")] + [SAME_TIME]:
        db = None if budget == SAME_TIME else budget
        ours = by_id.get("%s@%s" % (OURS, SAME_TIME if db is None else "%g" % db))
        if not ours:
            continue
        for p in points:
            if p["policy"] == OURS and p is not ours or (p["budget_db"] != db and p["budget_db"] is not None):
                continue
            if db is None and p["policy"] not in ("uniform-int8", OURS):
                continue
            met, e = has_met(p, db), error(p)
            rows.append({"setting": setting, "model": name, "budget": "%g" % db if db is not None else SAME_TIME, "policy": p["policy"], "layers": p["int8_layers"],
                         "validation_db": p["sqnr_db"], "unseen_db": e and e["sqnr_db"], "met": met, "judged": e is not None,
                         "unseen_met": db is None or (e is not None and (e["sqnr_db"] is None or e["sqnr_db"] >= db)),
                         "speedup": [p["speedup"], p["speedup_lo"], p["speedup_hi"]], "over_ours": timed(p, ours) if met and p is not ours else None,
                         "same_plan": p["same_as"] == ours["same_as"], "bytes": p["bytes"], "predicted_db": p["predicted_sqnr_db"],
                         "predicted_ms": p["predicted_ms"], "median_ms": p["median_ms"], "search_seconds": p["search_seconds"]})
    return rows


def verdict(row):
    if row["policy"] == OURS:
        return "ours"
    if not row["met"]:
        return "misses the budget"
    if row["same_plan"]:
        return "the same plan"
    if not row["over_ours"]:
        return "not timed"
    _, lo, hi = row["over_ours"]
    return "ours is faster" if lo > 1 else "**ours is slower**" if hi < 1 else "no difference beyond noise"


def db_text(v):
    return "exact" if v is None else "%.2f" % v


def times_text(t):
    return "%.2f (%.2f to %.2f)" % tuple(t) if t else "-"


def best_uniform(rows):
    """The fastest uniform plan that keeps the budget, float32 included: the one that ours beats by least."""
    fit = [r for r in rows if r["policy"].startswith("uniform") and r["met"] and r["over_ours"]]
    return min(fit, key=lambda r: r["over_ours"][0], default=None)


def summary(rows):
    lines = ["Ours beside the best uniform plan that keeps the budget:", "", "| model | budget | best uniform | uniform / ours | ours unseen dB | bits-only / ours | ops-only / ours |",
             "|---|---|---|---|---|---|---|"]
    keys = dict.fromkeys((r["model"], r["budget"]) for r in rows)
    for key in keys:
        own = [r for r in rows if (r["model"], r["budget"]) == key]
        by_policy = {r["policy"]: r for r in own}
        ours, uniform = by_policy[OURS], best_uniform(own)
        cell = lambda p: "misses" if p in by_policy and not by_policy[p]["met"] else times_text(by_policy[p]["over_ours"]) if p in by_policy else "-"
        text = db_text(ours["unseen_db"]) if ours["judged"] else "-"
        if key[1] == SAME_TIME and uniform and ours["judged"] and uniform["unseen_db"] is not None:
            text += " (uniform: %.2f, %+.2f)" % (uniform["unseen_db"], (ours["unseen_db"] if ours["unseen_db"] is not None else 999) - uniform["unseen_db"])
        lines.append("| %s | %s | %s | %s | %s%s | %s | %s |" % (*key, uniform["policy"] if uniform else "-", times_text(uniform and uniform["over_ours"]), text,
                                                               "" if ours["unseen_met"] or not ours["judged"] else " (missed)", cell("bits-only"), cell("ops-only")))
    return lines


def agreement(rows):
    own = [r for r in rows if r["policy"] == OURS]
    judged = [r for r in own if r["judged"] and r["budget"] != SAME_TIME]
    gaps = [abs(r["predicted_db"] - r["validation_db"]) for r in own if r["predicted_db"] is not None and r["validation_db"] is not None]
    times = [r["median_ms"] / r["predicted_ms"] for r in own if r["predicted_ms"] and r["validation_db"] is not None]
    text = "Our plans: budget kept on unseen samples %d of %d times" % (sum(r["unseen_met"] for r in judged), len(judged))
    if gaps:
        text += "; predicted and measured error differ by %.2f dB in the median and at most %.2f" % (statistics.median(gaps), max(gaps))
    if times:
        text += "; measured over predicted time %.2f in the median, from %.2f to %.2f" % (statistics.median(times), min(times), max(times))
    return text + "."


def points_of(rows):
    lines = ["| model | budget | policy | layers | validation dB | unseen dB | size kB | over float32 | policy / ours | verdict |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    for r in rows:
        unseen = db_text(r["unseen_db"]) + ("" if r["unseen_met"] else " (missed)") if r["judged"] else "-"
        lines.append("| %s | %s | %s | %d | %s | %s | %.0f | %s | %s | %s |" % (
            r["model"], r["budget"], r["policy"], r["layers"], db_text(r["validation_db"]), unseen, r["bytes"] / 1000, times_text(r["speedup"]),
            times_text(r["over_ours"]), verdict(r)))
    return lines


def counted(rows):
    counts = {}
    for r in rows:
        if r["policy"] != OURS and r["budget"] != SAME_TIME:
            counts.setdefault(r["policy"], {}).setdefault(verdict(r).strip("*"), []).append(r)
    return ["- %s: %s" % (p, ", ".join("%s %d times" % (v, len(c)) for v, c in sorted(k.items()))) for p, k in counts.items()]


def losses(rows):
    """Every pair that ours lost beyond noise, and every budget that it missed on unseen samples."""
    lines = ["- %s, %s at %s: %s takes %s of our time" % (r["setting"], r["model"], r["budget"], r["policy"], times_text(r["over_ours"]))
             for r in rows if "slower" in verdict(r)]
    lines += ["- %s, %s at %s dB: ours reaches %s dB on unseen samples" % (r["setting"], r["model"], r["budget"], db_text(r["unseen_db"]))
              for r in rows if r["policy"] == OURS and r["judged"] and not r["unseen_met"]]
    return lines or ["None."]


def setting_text(setting):
    device, threads = setting.split("/")
    return "%s, %s thread%s" % (device, threads, "" if threads == "1" else "s")


def write(args, rows):
    lines = ["# Planner study", "", "%s, %s, %d pairs (more of models below 3 ms) in %d processes; `perf/planner_study.py%s --budgets %s`" %
             (args.cpu, platform.system(), args.pairs, args.processes, " --quick" if args.quick else "", args.budgets), "",
             "Policy over ours: time of the policy's plan divided by ours at the same budget; above 1 ours is faster. Unseen: samples that no search saw.",
             "int8-time: ours is the plan with the least error that takes no longer than uniform INT8.", ""]
    lines += ["Not there, left out: %s." % ", ".join(args.missing), ""] if args.missing else []
    lines += ["## Lost", ""] + losses(rows) + [""]
    settings = dict.fromkeys(r["setting"] for r in rows)
    for setting in settings:
        own = [r for r in rows if r["setting"] == setting]
        lines += ["## " + setting_text(setting), ""] + summary(own) + ["", agreement(own), ""] + counted(own) + [""]
    for setting in settings:
        lines += ["## All points: " + setting_text(setting), ""] + points_of([r for r in rows if r["setting"] == setting]) + [""]
    text = "\n".join(lines).rstrip() + "\n"
    print(text)
    if args.out:
        with open(args.out + ".md", "w") as f:
            f.write(text)
        with open(args.out + ".json", "w") as f:
            json.dump(rows, f, indent=1)
            f.write("\n")


def cpu_name():
    try:
        with open("/proc/cpuinfo") as f:
            return next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default="build/release")
    p.add_argument("--on", action="append", metavar="DEVICE/THREADS", help="a setting; default: %s" % ", ".join(SETTINGS))
    p.add_argument("--model", action="append", choices=CASES, help="only these; default: all")
    p.add_argument("--case", nargs=4, action="append", default=[], metavar=("NAME", "MODEL", "CALIB", "UNSEEN"))
    p.add_argument("--budgets", default="15,20,25,30")
    p.add_argument("--candidates", help="modes, as for clquant quantize")
    p.add_argument("--quick", action="store_true", help="fewer samples and pairs")
    p.add_argument("--pairs", type=int)
    p.add_argument("--processes", type=int, default=5)
    p.add_argument("--limit", type=int, help="at most so many calibration samples")
    p.add_argument("--unseen", type=int, help="at most so many unseen samples")
    p.add_argument("--stage", default="plans,errors,times", help="what is measured in this run")
    p.add_argument("--first", choices=["settings", "models"], default="settings")
    p.add_argument("--seconds", type=float, help="starts nothing new after so long; run it again with the same --work to go on")
    p.add_argument("--work", help="folder that keeps plans and measurements")
    p.add_argument("--out", help="base name of the table (.md) and of all numbers (.json)")
    args = p.parse_args()
    args.cpu, args.start, args.stages = cpu_name(), time.monotonic(), args.stage.split(",")
    args.pairs = args.pairs or (100 if args.quick else 200)
    args.limit = args.limit or (96 if args.quick else None)
    args.unseen = args.unseen or (48 if args.quick else None)
    cases = {n: [os.path.join(ROOT, f) for f in files] for n, files in CASES.items() if not args.model or n in args.model}
    if args.case and not args.model:
        cases = {n: c for n, c in cases.items() if n in [given[0] for given in args.case]}
    cases.update({given[0]: given[1:] for given in args.case})
    args.missing = [n for n, files in cases.items() if not all(map(os.path.exists, files))]
    cases = [(n, *files) for n, files in cases.items() if n not in args.missing]
    on = args.on or SETTINGS
    args.jobs = [(s, *c) for s in on for c in cases] if args.first == "settings" else [(s, *c) for c in cases for s in on]
    return args


def main():
    args = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        args.work = args.work or temporary
        done = True
        stages = args.stages
        try:
            for job in args.jobs:
                for args.stages in [[s] for s in ("plans", "times", "errors") if s in stages]:
                    study(args, *job)
        except OutOfTime:
            done = False
        args.stages = []
        rows = [r for job in sorted(args.jobs, key=lambda j: (args.on or SETTINGS).index(j[0])) for r in study(args, *job)]
        if rows:
            write(args, rows)
        return 0 if done else 3


if __name__ == "__main__":
    sys.exit(main())
