#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws the tables of perf/results as one picture.

    build/venv/bin/python perf/plot.py perf/results/DATE-*.csv --out perf/results/kernels.svg [--threads 1]

Each CSV is one that compare_kernels.py wrote. A bar is the geometric mean, over the shapes of a type, of a rival's time
divided by clquant's; the line is clquant. The scale is logarithmic. Equal input gives equal bytes.
"""
import argparse
import csv
import math
import os

LEFT, WIDTH, ROW, TOP = 330, 420, 17, 52
LEAST, MOST = 1 / 8, 64
COLORS = (("f32", "#9aa5b1"), (" all", "#d9822b"), ("onnxruntime", "#5b8c5a"), ("numpy", "#8a63a8"), ("oneDNN", "#2f6db3"))


def read(paths, threads):
    """{type: {rival: geometric mean}} in the order of the files."""
    found = {}
    for path in paths:
        with open(path, newline="") as f:
            for row in csv.DictReader(line for line in f if not line.startswith("#")):
                if row["contender"] != "clquant" and int(row["threads"]) == threads:
                    found.setdefault(row["type"], {}).setdefault(row["contender"], []).append(math.log(float(row["ratio"])))
    return {t: {r: math.exp(sum(v) / len(v)) for r, v in rivals.items()} for t, rivals in found.items()}


def place(ratio):
    return LEFT + WIDTH * math.log(min(max(ratio, LEAST), MOST) / LEAST) / math.log(MOST / LEAST)


def text(x, y, what, anchor="start", weight="normal"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{what}</text>'


def draw(groups, threads, title):
    lines, y = [], TOP
    for group, rivals in groups.items():
        y += 8
        lines.append(text(8, y + 12, group, weight="bold"))
        for rival, mean in rivals.items():
            color = next(c for word, c in COLORS if word in rival)
            x0, x1 = sorted((place(1), place(mean)))
            lines.append(text(LEFT - 8, y + 12, rival, "end"))
            lines.append(f'<rect x="{x0:.1f}" y="{y + 2}" width="{max(x1 - x0, 0.5):.1f}" height="{ROW - 4}" fill="{color}"/>')
            lines.append(text(x1 + 4 if mean >= 1 else x0 - 4, y + 12, f"{mean:.2f}", "start" if mean >= 1 else "end"))
            y += ROW
    grid = [f'<line x1="{place(v):.1f}" y1="{TOP - 6}" x2="{place(v):.1f}" y2="{y + 4}" stroke="{"#222" if v == 1 else "#ddd"}"/>' +
            text(place(v), TOP - 10, f"{v:g}", "middle") for v in (0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)]
    head = [text(8, 16, f"Time of others / time of clquant, {threads} thread{'s' if threads > 1 else ''}; right of the line clquant is faster", weight="bold"),
            text(8, 30, title)]
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 60}" height="{y + 12}" font-family="sans-serif" font-size="11">',
                      '<rect width="100%" height="100%" fill="white"/>', *head, *grid, *lines, "</svg>"]) + "\n"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("csv", nargs="+")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--out", required=True)
    args = p.parse_args()
    groups = read(args.csv, args.threads)
    if not groups:
        raise SystemExit(f"no lines with {args.threads} threads in {', '.join(args.csv)}")
    with open(args.out, "w") as f:
        f.write(draw(groups, args.threads, ", ".join(os.path.basename(c) for c in args.csv)))


if __name__ == "__main__":
    main()
