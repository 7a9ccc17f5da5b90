#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes calibration and test inputs for the MiniLM models from Debian's fortunes.

    make_minilm_data.py OUTPUT_FOLDER

Writes minilm_l6_{calib,test}.npz (int64 [128, 128] under `input_ids`, `attention_mask` and `token_type_ids`) and
minilm_l3_{calib,test}.npz (without `token_type_ids`). A sample is one fortune of 12 words or more, cut or padded to 128
tokens; calibration and test have none in common. A fixed seed: the same package gives the same files.
"""
import glob
import os
import re
import sys

import numpy as np

from wordpiece import WordPiece

SEED, CALIB, TEST, LENGTH = 13, 128, 128, 128
TEXTS = "/usr/share/games/fortunes/*.dat"
VOCABULARY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "models", "minilm-vocab.txt")


def read_fortunes():
    found = set()
    for index in sorted(glob.glob(TEXTS)):
        with open(index[:-4], encoding="utf-8", errors="ignore") as f:
            for text in f.read().split("\n%\n"):
                text = re.sub(r"\s+", " ", text).strip()
                if len(text.split()) >= 12 and sum(c.isalpha() for c in text) > 0.6 * len(text):
                    found.add(text)
    if len(found) < CALIB + TEST:
        print("make_minilm_data: too few texts here. Run:\n  apt-get install -y fortunes", file=sys.stderr)
        sys.exit(2)
    return sorted(found)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = sys.argv[1]
    texts = read_fortunes()
    chosen = np.random.default_rng(SEED).permutation(len(texts))[:CALIB + TEST]
    tokenizer = WordPiece(VOCABULARY)
    encoded = np.array([tokenizer.encode(texts[i], LENGTH) for i in chosen], np.int64)
    os.makedirs(folder, exist_ok=True)
    for part, rows in (("calib", encoded[:CALIB]), ("test", encoded[CALIB:])):
        arrays = {"input_ids": rows[:, 0], "attention_mask": rows[:, 1]}
        np.savez_compressed(os.path.join(folder, f"minilm_l3_{part}.npz"), **arrays)
        arrays["token_type_ids"] = np.zeros_like(rows[:, 0])
        np.savez_compressed(os.path.join(folder, f"minilm_l6_{part}.npz"), **arrays)
    print(f"minilm: {CALIB} + {TEST} samples, {encoded[:, 1].sum() / len(encoded):.1f} tokens on average")


if __name__ == "__main__":
    main()
