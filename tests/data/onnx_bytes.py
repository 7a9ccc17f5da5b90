# SPDX-License-Identifier: Apache-2.0
# ONNX messages as bytes, correct or not, with the standard library only: for the makers of test files.
import struct


def varint(v):
    v &= (1 << 64) - 1
    out = b""
    while v > 127:
        out += bytes([v & 127 | 128])
        v >>= 7
    return out + bytes([v])


def num(field, v):
    return varint(field << 3) + varint(v)


def data(field, v):
    v = v.encode() if isinstance(v, str) else v
    return varint(field << 3 | 2) + varint(len(v)) + v


def f32(field, v):
    return varint(field << 3 | 5) + struct.pack("<f", v)


def opset(version=17, domain=""):
    return data(8, (data(1, domain) if domain else b"") + num(2, version))


def node(op, ins, outs, name="", attrs=b"", more=b""):
    return data(1, b"".join(data(1, i) for i in ins) + b"".join(data(2, o) for o in outs) +
                (data(3, name) if name else b"") + (data(4, op) if op else b"") + attrs + more)


def value(field, name, elem=1, dims=(1, 2)):
    shape = b"".join(data(1, num(1, d)) for d in dims)
    return data(field, data(1, name) + data(2, data(1, num(1, elem) + data(2, shape))))


def tensor(name="w", dims=(2,), dtype=1, body=None):
    body = data(9, b"\0" * 8) if body is None else body
    return b"".join(num(1, d) for d in dims) + num(2, dtype) + (data(8, name) if name else b"") + body


def graph(nodes=None, consts=b"", ins=None, outs=None, more=b""):
    nodes = node("Relu", ["x"], ["y"]) if nodes is None else nodes
    return (nodes + data(2, "g") + consts + (value(11, "x") if ins is None else ins) +
            (value(12, "y") if outs is None else outs) + more)


def model(g=None, ir=8, ops=None, more=b""):
    g = graph() if g is None else g
    return (num(1, ir) if ir is not None else b"") + (opset() if ops is None else ops) + data(7, g) + more
