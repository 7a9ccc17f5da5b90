# SPDX-License-Identifier: Apache-2.0
"""Files for the tests of the command, made with Python's standard library alone: .npy, .npz, ONNX models and tensors."""
import ast
import os
import struct
import zipfile

NPY = {"f4": ("<f4", "f", 4), "i8": ("<i8", "q", 8), "u1": ("|u1", "B", 1), "i4": ("<i4", "i", 4), "b1": ("|b1", "?", 1)}
F32, U8, I8, I32, I64, STRING, BOOL = 1, 2, 3, 6, 7, 8, 9
STRUCT = {F32: "f", U8: "B", I8: "b", I32: "i", I64: "q", BOOL: "?"}


def npy_bytes(kind, shape, values):
    descr, code, _ = NPY[kind]
    head = repr({"descr": descr, "fortran_order": False, "shape": tuple(shape)})
    head += " " * ((64 - (10 + len(head) + 1) % 64) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + struct.pack("<%d%s" % (len(values), code), *values)


def write_npy(path, kind, shape, values):
    with open(path, "wb") as f:
        f.write(npy_bytes(kind, shape, values))


def write_npz(path, arrays):
    """arrays: name -> (kind, shape, values)"""
    with zipfile.ZipFile(path, "w") as z:
        for name, (kind, shape, values) in arrays.items():
            z.writestr(name + ".npy", npy_bytes(kind, shape, values))


def read_npy(path):
    """(descr, shape, values)"""
    with open(path, "rb") as f:
        data = f.read()
    n = struct.unpack("<H", data[8:10])[0]
    head = ast.literal_eval(data[10:10 + n].decode())
    code = {d: c for d, c, _ in NPY.values()}[head["descr"]]
    body = data[10 + n:]
    return head["descr"], head["shape"], list(struct.unpack("<%d%s" % (len(body) // struct.calcsize(code), code), body))


# ---- Protocol buffers: just enough to write ONNX ----
def varint(n):
    n &= (1 << 64) - 1
    out = b""
    while True:
        out += bytes([n & 127 | (128 if n > 127 else 0)])
        n >>= 7
        if not n:
            return out


def whole(field, value):
    return varint(field << 3) + varint(value)


def block(field, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(value)) + value


def tensor(name, dtype, dims, values):
    raw = struct.pack("<%d%s" % (len(values), STRUCT[dtype]), *values)
    return b"".join(whole(1, d) for d in dims) + whole(2, dtype) + block(8, name) + block(9, raw)


def value(name, dtype, dims):
    """A dimension that is a string is a parameter; dims None: unknown rank."""
    shape = b""
    if dims is not None:
        shape = block(2, b"".join(block(1, block(2, d) if isinstance(d, str) else whole(1, d)) for d in dims))
    return block(1, name) + block(2, block(1, whole(1, dtype) + shape))


def attribute(name, v):
    if isinstance(v, int):
        return block(1, name) + whole(3, v) + whole(20, 2)
    if isinstance(v, list):
        return block(1, name) + b"".join(whole(8, k) for k in v) + whole(20, 7)
    return block(1, name) + varint(2 << 3 | 5) + struct.pack("<f", v) + whole(20, 1)


def node(op, inputs, outputs, name="", domain="", **attrs):
    return (b"".join(block(1, i) for i in inputs) + b"".join(block(2, o) for o in outputs) + block(3, name) + block(4, op)
            + b"".join(block(5, attribute(k, v)) for k, v in attrs.items()) + (block(7, domain) if domain else b""))


def model(nodes, inputs, outputs, constants=(), opset=13):
    graph = (b"".join(block(1, n) for n in nodes) + block(2, "g") + b"".join(block(5, c) for c in constants)
             + b"".join(block(11, i) for i in inputs) + b"".join(block(12, o) for o in outputs))
    return whole(1, 7) + block(7, graph) + block(8, block(1, "") + whole(2, opset))


def write(path, data):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)
    return path
