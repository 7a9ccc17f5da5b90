#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws the tables of perf/results as one picture, or sums them up.

    build/venv/bin/python perf/plot.py perf/results/DATE-*.csv --out perf/results/kernels.svg [--threads 1]
    build/venv/bin/python perf/plot.py perf/results/DATE-*.csv --table

Each CSV is one that compare_kernels.py wrote. A bar, and a mean in the table, is the geometric mean, over the shapes of a type, of a rival's time
divided by clquant's; the line is clquant. The scale is logarithmic. Equal input gives equal bytes.
"""
import argparse
import csv
import math
import os

LEFT, WIDTH, ROW, TOP = 330, 420, 17, 52
LEAST, MOST = 1 / 8, 64
COLORS = (("f32", "#9aa5b1"), (" all", "#d9822b"), ("onnxruntime", "#5b8c5a"), ("numpy", "#8a63a8"), ("oneDNN", "#2f6db3"))


def rows(paths):
    """(threads, type with clquant's kernel, rival, ratio, shape) of every ratio, in the order of the files."""
    for path in paths:
        with open(path, newline="") as f:
            lines = list(csv.DictReader(line for line in f if not line.startswith("#")))
        kernel = {r["type"]: r["kernel"] for r in lines if r["contender"] == "clquant"}
        for r in lines:
            if r["contender"] != "clquant":
                yield int(r["threads"]), f"{r['type']}, {kernel[r['type']]}", r["contender"], float(r["ratio"]), r["shape"]


def mean_of(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def read(paths, threads):
    """{type: {rival: geometric mean}}"""
    found = {}
    for t, group, rival, ratio, _ in rows(paths):
        if t == threads:
            found.setdefault(group, {}).setdefault(rival, []).append(ratio)
    return {g: {r: mean_of(v) for r, v in rivals.items()} for g, rivals in found.items()}


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
                      "<!-- SPDX-License-Identifier: Apache-2.0 -->", '<rect width="100%" height="100%" fill="white"/>', *head, *grid, *lines, "</svg>"]) + "\n"


def table(paths):
    """The means with the worst shape, as Markdown."""
    found = {}
    for threads, group, rival, ratio, shape in rows(paths):
        found.setdefault((threads, group, rival), []).append((ratio, shape))
    lines = ["| threads | type, clquant's kernel | rival | shapes | geometric mean, rival time / clquant time | worst |", "|---|---|---|---|---|---|"]
    for (threads, group, rival), values in found.items():
        worst, shape = min(values)
        lines.append(f"| {threads} | {group} | {rival} | {len(values)} | **{mean_of([v for v, _ in values]):.2f}** | {worst:.2f} ({shape}) |")
    return "\n".join(lines)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("csv", nargs="+")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--out")
    p.add_argument("--table", action="store_true")
    args = p.parse_args()
    if args.table or not args.out:
        print(table(args.csv))
        return
    groups = read(args.csv, args.threads)
    if not groups:
        raise SystemExit(f"no lines with {args.threads} threads in {', '.join(args.csv)}")
    with open(args.out, "w") as f:
        f.write(draw(groups, args.threads, ", ".join(os.path.basename(c) for c in args.csv)))


if __name__ == "__main__":
    main()
