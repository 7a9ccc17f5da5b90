# SPDX-License-Identifier: Apache-2.0
"""What every rival's process shares: reading inputs, and the commands on stdin (README.md)."""
import hashlib
import json
import os
import resource
import shlex
import sys
import time

import numpy as np


CACHE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "rivals")


def cache_path(folder, model, kind, ending, words, files):
    """Where a rival's quantized model is kept: named by the hash of everything that it depends on."""
    digest = hashlib.sha256(" ".join(map(str, words)).encode())
    for path in files:
        with open(path, "rb") as f:
            digest.update(f.read())
    stem = os.path.splitext(os.path.basename(model))[0]
    os.makedirs(folder, exist_ok=True)
    return os.path.join(folder, f"{stem}-{kind}-{digest.hexdigest()[:12]}{ending}")


def load_inputs(path, names):
    """The arrays of an .npz by the model's input names; a lone array serves a lone input."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = {k: archive[k] for k in archive.files}
    if len(names) == 1 and len(arrays) == 1:
        return {names[0]: next(iter(arrays.values()))}
    absent = [n for n in names if n not in arrays]
    if absent:
        raise SystemExit(f"{path}: no array for the model's input {', '.join(absent)}")
    return {n: arrays[n] for n in names}


def batches(inputs, size):
    """Yields (batch, how many of it count): the last one is filled up with its last sample."""
    count = min(len(v) for v in inputs.values())
    for first in range(0, count, size):
        last = min(first + size, count)
        index = np.minimum(np.arange(first, first + size), last - 1)
        yield {k: np.ascontiguousarray(v[index]) for k, v in inputs.items()}, last - first


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def serve(make_runner, inputs_path, batch):
    """Answers commands until the end of stdin. A runner has input_names, describe(),
    prepare(feeds) (once, for timing), run() (the prepared inputs) and compute(feeds)."""
    # What libraries print, from C++ too, must not end up among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**fields):
        print(json.dumps(fields), file=answers, flush=True)

    try:
        runner = make_runner()
        first, _ = next(batches(load_inputs(inputs_path, runner.input_names), batch))
        runner.prepare(first)
        runner.run()                # what is initialised on first use; and inputs that do not fit
    except Exception as error:
        answer(error=f"{type(error).__name__}: {error}")
        sys.exit(1)
    answer(ready=True, batch=batch, **runner.describe())

    for line in sys.stdin:
        words = shlex.split(line)
        if not words:
            continue
        try:
            if words[0] == "run" and len(words) == 2:
                seconds = []
                for _ in range(int(words[1])):
                    begin = time.perf_counter()
                    runner.run()
                    seconds.append(time.perf_counter() - begin)
                answer(seconds=seconds)
            elif words[0] == "out" and len(words) in (2, 3):
                inputs = load_inputs(words[2] if len(words) == 3 else inputs_path, runner.input_names)
                parts = {}
                for feeds, valid in batches(inputs, batch):
                    for name, value in runner.compute(feeds).items():
                        parts.setdefault(name, []).append(np.array(value[:valid]))
                outputs = {k: np.concatenate(v) for k, v in parts.items()}
                np.savez(words[1], **outputs)
                answer(out=words[1], shapes={k: list(v.shape) for k, v in outputs.items()})
            elif words[0] == "info":
                answer(peak_mb=peak_mb(), **runner.describe())
            elif words[0] == "quit":
                break
            else:
                answer(error=f"unknown command: {line.strip()}")
        except Exception as error:      # a rival that fails must say so, not disappear
            answer(error=f"{type(error).__name__}: {error}")
