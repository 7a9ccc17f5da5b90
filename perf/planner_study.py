#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Our plans beside those of simpler policies, at error budgets of 15, 20, 25 and 30 dB.

    python3 perf/planner_study.py --build build/release --case NAME MODEL.onnx CALIB.npz UNSEEN.npz [--case ...] \
        [--budgets 15,20,25,30] [--pairs 40] [--processes 5] [--threads 1] [--out perf/results/DATE-planner]

One `clquant plan --pareto --save-all` per model makes all plans from the same measurements; only what the policies look at
differs. Then every distinct plan is judged alone: SQNR on samples that no search has seen (`clquant eval`), and time in
interleaved pairs against ours at the same budget and against float32 (`clquant bench model`), in several fresh processes.
Ratios are medians of paired ratios, policy over ours, with a 95 % bootstrap interval that draws whole processes: above 1
ours is faster. A policy that misses the budget on the validation samples is not in the race, and is shown.
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


def run(args, *words):
    r = subprocess.run([os.path.join(args.build, "clquant"), *map(str, words), "--threads", str(args.threads), "--json", "--quiet"],
                       capture_output=True, text=True)
    if r.returncode not in (0, 1):
        sys.exit("clquant %s: exit code %d: %s" % (" ".join(map(str, words)), r.returncode, r.stderr.strip()))
    return json.loads(r.stdout)


def interval(parts, draws=2000):
    rng = random.Random(1)
    medians = sorted(statistics.median([x for _ in parts for x in rng.choice(parts)]) for _ in range(draws))
    return medians[int(0.025 * draws)], medians[int(0.975 * draws)]


def ratio(args, data, slow, fast):
    """Time of slow over time of fast: median and interval."""
    if slow == fast:
        return 1.0, 1.0, 1.0
    each = max(2, args.pairs // args.processes)
    parts = []
    for _ in range(args.processes):
        d = run(args, "bench", "model", fast, "--reference", slow, "--data", data, "--pairs", each, "--raw")
        parts.append([reference / own for reference, own in d["seconds"]])
    lo, hi = interval(parts)
    return statistics.median(x for p in parts for x in p), lo, hi


def study(args, name, model, calib, unseen, folder):
    words = ["plan", model, "--data", calib, "--pareto", "--budgets", args.budgets, "--save-all", folder, "--force"]
    if args.limit:
        words += ["--limit", args.limit]
    points = run(args, *words)["points"]
    points = [p for p in points if p["policy"] != "uniform-int4" or p["same_as"] != "uniform-f32"]  # no such candidates: nothing to show
    by_id = {p["id"]: p for p in points}
    file = lambda p: os.path.join(folder, p["same_as"] + ".onnx")
    errors, over_float, rows = {}, {}, []
    for p in points:
        if p["same_as"] in errors:
            continue
        e = run(args, "eval", file(p), "--data", unseen, "--reference", model)
        errors[p["same_as"]] = None if e.get("identical") else e["sqnr_db"]
        over_float[p["same_as"]] = (1.0, 1.0, 1.0) if p["int8_layers"] == 0 else ratio(args, unseen, model, file(p))
    known = {}
    for db in map(float, args.budgets.split(",")):
        ours = by_id["measured@%g" % db]
        for p in points:
            if p["budget_db"] not in (None, db):
                continue
            met = p["budget_met"] if p["budget_db"] is not None else p["identical"] or p["sqnr_db"] >= db
            pair = (p["same_as"], ours["same_as"])
            if met and pair not in known:
                known[pair] = ratio(args, unseen, file(p), file(ours))
            rows.append({"model": name, "budget_db": db, "policy": p["policy"], "int8_layers": p["int8_layers"], "validation_db": p["sqnr_db"],
                         "unseen_db": errors[p["same_as"]], "unseen_met": errors[p["same_as"]] is None or errors[p["same_as"]] >= db, "met": met,
                         "speedup": over_float[p["same_as"]], "over_ours": known.get(pair) if met else None, "same_plan": pair[0] == pair[1],
                         "bytes": p["bytes"], "predicted_db": p["predicted_sqnr_db"], "predicted_ms": p["predicted_ms"], "median_ms": p["median_ms"]})
    return rows


def verdict(row):
    if row["policy"] == "measured":
        return "ours"
    if not row["met"]:
        return "misses the budget"
    if row["same_plan"]:
        return "the same plan"
    _, lo, hi = row["over_ours"]
    return "ours is faster" if lo > 1 else "**ours is slower**" if hi < 1 else "no difference beyond noise"


def db(v):
    return "exact" if v is None else "%.2f" % v


def write(args, rows):
    lines = ["# Planner study", "", "%s, %s, %d thread%s, %d pairs in %d processes; `perf/planner_study.py --budgets %s`" %
             (args.cpu, platform.system(), args.threads, "" if args.threads == 1 else "s", args.pairs, args.processes, args.budgets), "",
             "Policy over ours: time of the policy's plan divided by ours at the same budget; above 1 ours is faster. Unseen: samples that no search saw.", "",
             "| model | budget | policy | int8 | validation dB | unseen dB | size kB | over float32 | policy / ours | verdict |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    for r in rows:
        over = "%.2f (%.2f to %.2f)" % r["over_ours"] if r["over_ours"] and r["policy"] != "measured" else "-"
        lines.append("| %s | %g | %s | %d | %s | %s%s | %.0f | %.2f (%.2f to %.2f) | %s | %s |" % (
            r["model"], r["budget_db"], r["policy"], r["int8_layers"], db(r["validation_db"]), db(r["unseen_db"]), "" if r["unseen_met"] else " (missed)",
            r["bytes"] / 1000, *r["speedup"], over, verdict(r)))
    counts = {}
    for r in rows:
        if r["policy"] != "measured":
            counts.setdefault(r["policy"], {}).setdefault(verdict(r).strip("*"), []).append(r)
    lines += ["", "## Counted over models and budgets", ""]
    lines += ["- %s: %s" % (p, ", ".join("%s %d times" % (v, len(c)) for v, c in sorted(k.items()))) for p, k in counts.items()]
    own = [r for r in rows if r["policy"] == "measured"]
    gaps = [abs(r["predicted_db"] - r["validation_db"]) for r in own if r["predicted_db"] is not None and r["validation_db"] is not None]
    times = [r["median_ms"] / r["predicted_ms"] for r in own if r["predicted_ms"] and r["validation_db"] is not None]
    lines += ["", "Our plans: budget kept on unseen samples %d of %d times; predicted and measured error differ by %s dB; measured over predicted time %s." %
              (sum(r["unseen_met"] for r in own), len(own), ", ".join("%.2f" % g for g in gaps) or "-", ", ".join("%.2f" % t for t in times) or "-")]
    text = "\n".join(lines) + "\n"
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


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default="build/release")
    p.add_argument("--case", nargs=4, action="append", metavar=("NAME", "MODEL", "CALIB", "UNSEEN"), required=True)
    p.add_argument("--budgets", default="15,20,25,30")
    p.add_argument("--pairs", type=int, default=200)
    p.add_argument("--processes", type=int, default=5)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--limit", type=int, help="at most so many calibration samples")
    p.add_argument("--out", help="base name of the table (.md) and of all numbers (.json)")
    args = p.parse_args()
    args.cpu = cpu_name()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for i, (name, model, calib, unseen) in enumerate(args.case):
            rows += study(args, name, model, calib, unseen, os.path.join(folder, str(i)))
            write(args, rows)


if __name__ == "__main__":
    main()
