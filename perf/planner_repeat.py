#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Searches again and again: do the plans take the same time, and do they keep their budget on samples that no search saw?

    python3 perf/planner_repeat.py MODEL.onnx CALIB.npz UNSEEN.npz --build build/release [--searches 20] [--min-sqnr 25] [--windows 100]

Every search has an empty cache and another seed of the split into calibration and validation samples, so both the times and
the samples that judge are new. Then each file is timed in pairs against the first one. Last, float is timed against itself in
windows of 200 pairs: the rule that accepts a plan may not call any of them faster.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile


def run(args, cache, *words):
    r = subprocess.run([os.path.join(args.build, "clquant"), *map(str, words), "--threads", str(args.threads), "--json", "--quiet"], capture_output=True, text=True,
                       env=dict(os.environ, XDG_CACHE_HOME=cache))
    if r.returncode not in (0, 1):
        sys.exit("clquant %s: exit code %d: %s" % (" ".join(map(str, words)), r.returncode, r.stderr.strip()))
    return json.loads(r.stdout)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("calib")
    p.add_argument("unseen")
    p.add_argument("--build", default="build/release")
    p.add_argument("--searches", type=int, default=20)
    p.add_argument("--min-sqnr", type=float, default=25)
    p.add_argument("--limit", type=int, default=128)
    p.add_argument("--pairs", type=int, default=100)
    p.add_argument("--windows", type=int, default=100, help="of float against itself")
    p.add_argument("--threads", type=int, default=1)
    args = p.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(args.searches):
            cache, out = os.path.join(folder, "cache%d" % i), os.path.join(folder, "%d.onnx" % i)
            d = run(args, cache, "quantize", args.model, "--data", args.calib, "--limit", args.limit, "--seed", i, "--min-sqnr", args.min_sqnr, "-o", out)
            e = run(args, cache, "eval", out, "--data", args.unseen, "--reference", args.model)
            rows.append({"file": out, "layers": d["int8_layers"], "speedup": d["speedup"], "met": d["budget_met"], "seconds": d["seconds"],
                         "unseen_db": e["sqnr_db"], "kept": d["kept_float"]})
        for r in rows:
            t = run(args, folder, "bench", "model", r["file"], "--reference", rows[0]["file"], "--data", args.unseen, "--pairs", args.pairs)
            r["ratio"] = 1 / t["speedup"]
        claims = sum(run(args, folder, "bench", "model", args.model, "--reference", args.model, "--data", args.unseen, "--pairs", 200)["faster"]
                     for _ in range(args.windows))
    ratios = sorted(r["ratio"] for r in rows)
    missed = [r for r in rows if r["unseen_db"] is not None and r["unseen_db"] < args.min_sqnr]
    print("| search | layers in fewer bits | unseen dB | time / first plan | proven speed-up | seconds |\n|---|---|---|---|---|---|")
    for i, r in enumerate(rows):
        print("| %d | %d | %s | %.3f | %.2f | %.1f |" % (i, r["layers"], "exact" if r["unseen_db"] is None else "%.2f" % r["unseen_db"], r["ratio"], r["speedup"], r["seconds"]))
    print("\n%d searches: slowest over fastest plan %.3f; budget of %g dB missed on unseen samples %d times, float kept %d times; "
          "float against itself called faster in %d of %d windows of 200 pairs." %
          (len(rows), ratios[-1] / ratios[0], args.min_sqnr, len(missed), sum(r["kept"] for r in rows), claims, args.windows))


if __name__ == "__main__":
    main()
