#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes calibration and test inputs for Magika from the files under /usr.

    make_magika_data.py OUTPUT_FOLDER

Writes magika_calib.npz and magika_test.npz (int32 [128 and 64, 2048] under the key `bytes`) and
magika_test_labels.npy (int64 [64], numbers of the model's classes, by the files' extensions).
A sample is what the model's own package computes: of a block of 4,096 bytes from each end of the
file, stripped of white space at the outer side, the first 1,024 bytes and the last 1,024 bytes,
padded with 256. Files are taken in turn from each kind that this machine has, none twice; another
set of installed packages gives other samples.
"""
import os
import sys

import numpy as np

SEED = 11
CALIB, TEST = 128, 64
PER_KIND = 60
BLOCK, SIDE, PADDING = 4096, 1024, 256          # as in magika.json
# Extension -> the name of its class in the model's list.
KINDS = {
    ".py": "python", ".pyc": "pythonbytecode", ".c": "c", ".h": "c", ".hpp": "cpp", ".cpp": "cpp",
    ".sh": "shell", ".js": "javascript", ".ts": "typescript", ".css": "css", ".html": "html",
    ".xml": "xml", ".svg": "svg", ".json": "json", ".yaml": "yaml", ".yml": "yaml",
    ".toml": "toml", ".md": "markdown", ".rst": "rst", ".cmake": "cmake", ".m4": "m4",
    ".awk": "awk", ".tcl": "tcl", ".lua": "lua", ".rb": "ruby", ".java": "java", ".jar": "jar",
    ".po": "po", ".csv": "csv", ".sql": "sql", ".patch": "diff", ".diff": "diff", ".png": "png",
    ".gif": "gif", ".jpg": "jpeg", ".pdf": "pdf", ".ttf": "ttf", ".otf": "otf", ".gz": "gzip",
    ".bz2": "bzip", ".xz": "xz", ".zip": "zip", ".so": "elf", ".npy": "npy", ".npz": "npz",
    ".go": "go", ".rs": "rust", ".proto": "proto", ".ini": "ini",
}


def features(path):
    size = os.path.getsize(path)
    with open(path, "rb") as f:
        begin = f.read(min(BLOCK, size)).lstrip()[:SIDE]
        f.seek(size - min(BLOCK, size))
        end = f.read(BLOCK).rstrip()[-SIDE:]
    out = np.full(2 * SIDE, PADDING, np.int32)
    out[:len(begin)] = np.frombuffer(begin, np.uint8)
    out[2 * SIDE - len(end):] = np.frombuffer(end, np.uint8)
    return out


def find_files(rng):
    """A list of (path, label) that takes the kinds in turn."""
    kinds = {}
    for folder, subfolders, names in os.walk("/usr"):
        subfolders.sort()
        for name in sorted(names):
            label = KINDS.get(os.path.splitext(name)[1])
            path = os.path.join(folder, name)
            if label and os.path.isfile(path) and not os.path.islink(path) \
                    and os.path.getsize(path) >= 64:
                kinds.setdefault(label, []).append(path)
    turns = []
    for label, paths in sorted(kinds.items()):
        chosen = rng.permutation(len(paths))[:PER_KIND]
        turns += [(turn, label, paths[i]) for turn, i in enumerate(chosen)]
    order = sorted(turns)
    return [(path, label) for _, label, path in order]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = sys.argv[1]
    import json
    config = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "models",
                          "magika.json")
    with open(config, encoding="utf-8") as f:
        classes = json.load(f)["target_labels_space"]
    rng = np.random.default_rng(SEED)
    x, labels, seen = [], [], set()
    for path, label in find_files(rng):
        sample = features(path)
        if label in classes and sample.tobytes() not in seen:
            seen.add(sample.tobytes())
            x.append(sample)
            labels.append(classes.index(label))
        if len(x) == CALIB + TEST:
            break
    if len(x) < CALIB + TEST:
        sys.exit(f"make_magika_data: only {len(x)} usable files under /usr")
    os.makedirs(folder, exist_ok=True)
    order = rng.permutation(len(x))
    x, labels = np.stack(x)[order], np.array(labels, np.int64)[order]
    np.savez_compressed(os.path.join(folder, "magika_calib.npz"), bytes=x[:CALIB])
    np.save(os.path.join(folder, "magika_test_labels.npy"), labels[CALIB:])
    np.savez_compressed(os.path.join(folder, "magika_test.npz"), bytes=x[CALIB:])
    print(f"magika: {CALIB} + {TEST} samples of {len(set(labels))} classes")


if __name__ == "__main__":
    main()
