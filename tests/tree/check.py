#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Structure checks. Usage: check.py CHECK ... [--root DIR] [--build DIR] [--cc CC] [--cxx CXX]

  includes   who includes whom, and the homes of foreign headers (the two tables below)
  text       SPDX lines, no machine paths, no loose ends; sizes and comment shares are only reported
  kernels    every row of kernels/ops.def has a reference and a test case; no fast-math in OpenCL
  headers    each public header compiles alone as C11 and as C++            (needs --build, for version.h)
  library    exported names, writable data                                 (needs --build)
  flags      the floating-point flags of every compile command             (needs --build)
  self       every check above finds what it is there for

Exit codes: 0 clean, 1 findings (one line each), 77 nothing to check here.
"""
import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile

FOLDERS = ("host", "kernels", "scheduler", "formats", "tests", "perf", "script", "examples", ".ci")
C_FILES = (".c", ".h", ".cl", ".clh", ".def")
STANDARD = {"assert", "complex", "ctype", "errno", "fenv", "float", "inttypes", "iso646", "limits", "locale", "math",
            "setjmp", "signal", "stdalign", "stdarg", "stdatomic", "stdbool", "stddef", "stdint", "stdio", "stdlib",
            "stdnoreturn", "string", "tgmath", "threads", "time", "uchar", "wchar", "wctype"}

# area -> areas that it may include; the areas are folders, "host" being what the longer names leave.
MAY = {
    "kernels": {"kernels"},
    "host/include": {"host/include"},
    "host/base": {"host/base", "host/include"},
    "formats": {"formats", "host/base", "host/include"},
    "scheduler": {"scheduler", "host/base", "host/include"},
    "host": {"host", "kernels", "formats", "scheduler", "host/base", "host/include"},
    "host/cli": {"host/cli", "host/include"},
    "examples": {"examples", "host/include"},
    "tests": None,  # anything
    "perf": None,
}

# foreign header -> the files that may include it. System headers of the C library are free outside of kernels/.
HOMES = [
    (r"CL/.*|clblast.*", r"host/(cl_\w+|device_cl)\.[ch]|(tests|perf)/.*"),
    (r"dnnl.*|oneapi/.*", r"host/cpu_dnnl\w*\.[ch]|perf/.*"),
    (r"coin/.*", r"scheduler/solve\w*\.c"),
    (r"onnx\.pb-c\.h|protobuf-c/.*", r"formats/onnx\w*\.[ch]"),
    (r"zip\.h", r"formats/npz\.c"),
    (r"jansson\.h", r"host/base/json\w*\.c"),
    (r"cmocka\.h", r"tests/.*"),
    (r"omp\.h", r"host/base/parallel\.c|host/cpu_dnnl\w*\.c|(tests|perf)/.*"),
    (r"immintrin\.h|arm_neon\.h", r"kernels/.*|(tests|perf)/.*"),
    (r"sys/auxv\.h", r"kernels/cpu\.c"),
    (r"cpuid\.h", r"kernels/cpu\.c|host/cpu_dnnl\w*\.c|host/cl_\w+\.c|(tests|perf)/.*"),
]

# Headers that the build writes.
GENERATED = {"clquant/version.h", "kernel_hash.h"}

# Writable data that is allowed, and why.
WRITABLE = {
    "active": "host/base/file_write.c: temporary files that a signal handler removes; it has nothing else to look at",
    "build_lock": "host/cl_program.c: OpenCL programs are built one at a time, drivers are not safe there",
    "lock": "host/device_cl.c: queue creation is serialized between contexts",
}
RUNTIME = {"completed", "__dso_handle", "__TMC_END__", "__cpu_model", "__cpu_features2", "_edata", "__bss_start", "_end"}

findings = []


def report(where, what):
    findings.append(f"{where}: {what}")


def tree(root):
    """All text files that the checks look at, relative to root, sorted."""
    out = []
    for folder in FOLDERS:
        for path, dirs, names in os.walk(os.path.join(root, folder)):
            dirs[:] = [d for d in dirs if d not in ("__pycache__", "data")]
            out += [os.path.relpath(os.path.join(path, n), root) for n in names]
    out += [n for n in ("CMakeLists.txt", "CMakePresets.json", "README.md") if os.path.isfile(os.path.join(root, n))]
    return sorted(f for f in out if not f.endswith((".pyc", ".npz", ".npy", ".onnx", ".pb", ".png")))


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as f:
        return f.read()


def area_of(path):
    for area in sorted(MAY, key=len, reverse=True):
        if path.startswith(area + "/"):
            return area
    return None


def find_include(root, path, name):
    """The file in the tree that #include "name" or <name> means, or None."""
    for base in ("", "host/", "host/include/", os.path.dirname(path) + "/"):
        found = os.path.normpath(base + name)
        if os.path.isfile(os.path.join(root, found)):
            return found
    return None


def strip_comments(text):
    return re.sub(r"/\*.*?\*/|//[^\n]*", lambda m: "\n" * m.group().count("\n"), text, flags=re.S)


def includes_of(text):
    """(line, quoted, name) of every include."""
    for number, line in enumerate(strip_comments(text).split("\n"), 1):
        m = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if m:
            yield number, m.group(1) == '"', m.group(2)


def check_foreign(where, path, area, name):
    for header, home in HOMES:
        if re.fullmatch(header, name):
            if not re.fullmatch(home, path):
                report(where, f"<{name}> belongs to {home} only")
            return
    if area in ("kernels", "host/include") and name[:-2] not in STANDARD:
        report(where, f"<{name}> is not a header of C11, which is all that {area} may include")


def check_include(root, path, number, quoted, name, edges):
    area, where = area_of(path), f"{path}:{number}"
    if ".." in name.split("/"):
        report(where, f'"{name}" climbs out of its folder')
    target = find_include(root, path, name) if quoted or name.startswith("clquant/") else None
    if name in GENERATED:
        return
    if target is None:
        if quoted and area not in ("tests", "perf"):
            report(where, f'"{name}" is not in the tree')
        elif not quoted:
            check_foreign(where, path, area, name)
        return
    edges.setdefault(path, []).append(target)
    allowed = MAY.get(area)
    if allowed is not None and area_of(target) not in allowed:
        report(where, f'{area} may not include "{name}" ({area_of(target)})')


def check_cycles(edges):
    done, stack = set(), []

    def visit(node):
        if node in stack:
            report(node, "includes itself through " + " -> ".join(stack[stack.index(node):] + [node]))
        elif node not in done:
            stack.append(node)
            for following in edges.get(node, []):
                visit(following)
            done.add(stack.pop())

    for node in list(edges):
        visit(node)


def check_includes(args):
    edges = {}
    for path in tree(args.root):
        if not path.endswith((".c", ".h", ".cl", ".clh")) or area_of(path) is None:
            continue
        quoted = [i for i in includes_of(read(args.root, path)) if i[1]]
        own = path[:-2] + ".h"
        if path.endswith(".c") and os.path.isfile(os.path.join(args.root, own)) and area_of(path) != "tests":
            if not quoted or find_include(args.root, path, quoted[0][2]) != own:
                report(path, f"includes its own header {own} not before the other ones of the tree")
        for number, is_quoted, name in includes_of(read(args.root, path)):
            check_include(args.root, path, number, is_quoted, name, edges)
    check_cycles({f: e for f, e in edges.items() if not f.endswith(".def")})


def long_functions(text):
    """(line, lines) of each function over the guide, the style having its braces in column 0."""
    start = None
    for number, line in enumerate(text.split("\n"), 1):
        if line == "{":
            start = number
        elif line == "}" and start:
            if number - start > 66:
                yield start, number - start
            start = None


def check_text(args):
    machine = re.compile(r"(?<![\w.])/(?:" + "|".join(("work", "home", "root", "Users")) + r")/\w")
    loose = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "HA" + "CK")) + r")\b|^#if 0\b", re.M)
    warnings, total, wide = [], 0, 0
    for path in tree(args.root):
        text = read(args.root, path)
        head = "\n".join(text.split("\n")[:3])
        total += 1
        if "SPDX-License-Identifier: Apache-2.0" not in head and not path.endswith((".md", ".json", ".txt", ".in")):
            report(path, "no SPDX line within the first three lines")
        for pattern, what in ((machine, "a path of one machine"), (loose, "a loose end")):
            for m in pattern.finditer(text):
                report(f"{path}:{text.count(chr(10), 0, m.start()) + 1}", f"{what}: {m.group().strip()}")
        if not path.endswith(C_FILES):
            continue
        lines = text.count("\n")
        if lines > (300 if path.endswith(".h") else 560):
            warnings.append(f"{path}: {lines} lines")
        warnings += [f"{path}:{n}: a function of {size} lines" for n, size in long_functions(text)]
        wide += sum(len(line) > 120 for line in text.split("\n"))
        comment = sum(len(c) for c in re.findall(r"/\*.*?\*/|//[^\n]*", text, re.S)) / max(len(text), 1)
        if area_of(path) == "host/include" and not 0.40 <= comment <= 0.75:
            warnings.append(f"{path}: {comment:.0%} comment, the guide for public headers is 40 to 75 %")
    for line in warnings:
        print("note: " + line)
    print(f"{total} files read, {wide} lines of C over 120 columns")


def rows_of(root, path, macro):
    return re.findall(r"^" + macro + r"\(([^)]*)\)", read(root, path), re.M)


def check_kernels(args):
    cases = {row.split(",")[0].strip(): row.split(",")[1].strip() for row in
             rows_of(args.root, "tests/cases/cases.def", "CLQ_FAMILY")}
    ops = [[part.strip() for part in row.split(",")] for row in rows_of(args.root, "kernels/ops.def", "CLQ_OP")]
    if len(ops) < 2:
        report("kernels/ops.def", "no rows found")
    for op, _, stem in ops:
        reference, case = f"kernels/ref/{stem}.c", re.sub(r"_(plan|pack)$", "", op)
        if not re.search(rf"^void clq_{op}_ref\(", read(args.root, reference), re.M):
            report(reference, f"clq_{op}_ref is not defined")
        if case not in cases:
            report("tests/cases/cases.def", f"no case for {op}")
        elif f"clq_family_{case}" not in read(args.root, f"tests/cases/{cases[case]}.c"):
            report(f"tests/cases/{cases[case]}.c", f"clq_family_{case} is not defined")
    for path in tree(args.root):
        text = read(args.root, path) if path.startswith(("kernels/cl/", "host/cl_", "host/device_cl")) else ""
        for option in re.findall(r"-cl-(?:fast-relaxed-math|mad-enable|unsafe-math-optimizations|finite-math-only)", text):
            report(path, f"{option} breaks the numeric contract")
        if path.endswith("common.clh") and "FP_CONTRACT OFF" not in text:
            report(path, "does not switch contraction off")


def compile_alone(command, header, language, build, root):
    with tempfile.NamedTemporaryFile("w", suffix=".cpp" if language == "C++" else ".c") as source:
        source.write(f"#include <clquant/{header}>\n#include <clquant/{header}>\nint main(void) {{ return 0; }}\n")
        source.flush()
        standard = "-std=c++11" if language == "C++" else "-std=c11"
        run = subprocess.run(shlex.split(command) + [standard, "-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
                             "-I", f"{root}/host/include", "-I", f"{build}/include", source.name],
                             capture_output=True, text=True)
        if run.returncode:
            report(f"host/include/clquant/{header}", f"does not compile alone as {language}: " +
                   (run.stderr.strip().split("\n")[0] or "no message"))


def check_headers(args):
    names = sorted(os.listdir(f"{args.root}/host/include/clquant")) + ["version.h"]
    for header in sorted(set(n for n in names if n.endswith(".h"))):
        compile_alone(args.cc, header, "C", args.build, args.root)
        if args.cxx:
            compile_alone(args.cxx, header, "C++", args.build, args.root)
    listed = set(name for _, _, name in includes_of(read(args.root, "host/include/clquant/clquant.h")))
    for header in names:
        if header.endswith(".h") and header != "clquant.h" and f"clquant/{header}" not in listed:
            report("host/include/clquant/clquant.h", f"does not include {header}")
    print(f"{len(names)} headers" + ("" if args.cxx else "; no C++ compiler here, so C only"))


def tool(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def check_library(args):
    library = os.path.join(args.build, "libclquant.so")
    exported = [line.split()[-1] for line in tool("nm", "-D", "--defined-only", library).splitlines()]
    if len(exported) < 20:
        report(library, f"only {len(exported)} exported symbols: is this the library?")
    for name in exported:
        if not name.startswith("clq_"):
            report(library, f"exports {name}")
    sections = dict(re.findall(r"^\s*\[\s*(\d+)\]\s+(\S+)", tool("readelf", "-SW", library), re.M))
    for line in tool("readelf", "-sW", library).splitlines():
        parts = line.split()
        if len(parts) < 8 or not parts[6].isdigit() or sections.get(parts[6]) not in (".data", ".bss", ".tdata", ".tbss"):
            continue
        name = re.sub(r"\.\d+$", "", parts[7].split("@")[0])
        if parts[3] != "SECTION" and name not in WRITABLE and name not in RUNTIME:
            report(library, f"{name} in {sections[parts[6]]} is writable data ({parts[2]} bytes) without a reason in WRITABLE")
    print(f"{len(exported)} exported symbols")


def check_flags(args):
    with open(os.path.join(args.build, "compile_commands.json"), encoding="utf-8") as f:
        entries = json.load(f)
    if len(entries) < 20:
        report(args.build, f"only {len(entries)} compile commands")
    for entry in entries:
        path = os.path.relpath(entry["file"], args.root)
        flags = entry.get("arguments") or shlex.split(entry["command"])
        if "-ffp-contract=off" not in flags:
            report(path, "is compiled without -ffp-contract=off")
        for flag in flags:
            if flag in ("-ffast-math", "-Ofast", "-funsafe-math-optimizations", "-ffinite-math-only",
                        "-fassociative-math", "-freciprocal-math", "-ffp-contract=fast", "-ffp-contract=on"):
                report(path, f"is compiled with {flag}")
            folder = re.match(r"kernels/(avx2|avx512|neon\w*)/", path)
            if re.match(r"-m(avx|fma|f16c|sse|bmi|arch=)", flag) and not folder and not path.startswith(("tests/", "perf/")):
                report(path, f"is compiled with {flag}, which belongs to an ISA folder of kernels/")
    print(f"{len(entries)} compile commands")


def check_self(args):
    """A small wrong tree: each of its faults must be found."""
    wrong = {
        "kernels/ops.def": "/* SPDX-License-Identifier: Apache-2.0 */\nCLQ_OP(one, a, x)\nCLQ_OP(two, a, x)\n",
        "kernels/ref/x.c": '#include "base/error.h"\n#include <unistd.h>\nvoid clq_one_ref(void)\n',
        "tests/cases/cases.def": "CLQ_FAMILY(one, x)\n", "tests/cases/x.c": "",
        "host/base/error.h": '#include "base/b.h"\n', "host/base/b.h": '#include "base/error.h"\n',
        "host/base/b.c": '#include "base/error.h"\n#include "../context.h"\n', "host/context.h": "",
        "host/run.c": "#include <jansson.h>\n/* TO" + "DO */\nconst char *p = \"/ho" + "me/me/x\";\n",
        "host/cli/main.c": '#include "base/error.h"\n', "formats/f.c": '#include "scheduler/s.h"\n#include <CL/cl.h>\n',
        "scheduler/s.h": "", "host/cl_x.c": 'f("-cl-mad-enable");\n', "kernels/cl/common.clh": "",
        "host/include/clquant/clquant.h": "int f(void)\n", "host/include/clquant/a.h": "int class;\n",
        "build/include/clquant/version.h": "",
        "build/compile_commands.json": json.dumps([{"file": "host/run.c", "command": "cc -ffast-math -mavx2 host/run.c"}]),
    }
    expected = ["kernels may not include", "<unistd.h> is not a header of C11", "includes itself", "climbs out of",
                "its own header", "<jansson.h> belongs", "host/cli may not include", "formats may not include",
                "<CL/cl.h> belongs", "no SPDX line", "a path of one machine", "a loose end", "clq_two_ref is not defined",
                "no case for two", "clq_family_one is not defined", "-cl-mad-enable", "contraction off",
                "without -ffp-contract=off", "with -ffast-math", "with -mavx2", "does not compile alone as C:",
                "does not include a.h"] + (["does not compile alone as C++"] if args.cxx else [])
    with tempfile.TemporaryDirectory() as root:
        for path, text in wrong.items():
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as f:
                f.write(text)
        inner = argparse.Namespace(root=root, build=os.path.join(root, "build"), cc=args.cc, cxx=args.cxx)
        for check in (check_includes, check_text, check_kernels, check_headers, check_flags):
            check(inner)
    found, findings[:] = "\n".join(findings), []
    for text in expected:
        if text not in found:
            report("self", f"a tree with this fault passes: {text}")
    print(f"{len(expected)} faults looked for")


def main():
    checks = {name[6:]: function for name, function in globals().items() if name.startswith("check_")}
    names = ["includes", "text", "kernels", "headers", "library", "flags", "self"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", nargs="+", choices=names)
    parser.add_argument("--root", default=os.path.normpath(os.path.join(os.path.dirname(__file__), "../..")))
    parser.add_argument("--build", default="")
    parser.add_argument("--cc", default="cc")
    parser.add_argument("--cxx", default="")
    args = parser.parse_args()
    for name in args.check:
        checks[name](args)
    for line in findings:
        print(line)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
