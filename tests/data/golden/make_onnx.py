# SPDX-License-Identifier: Apache-2.0
# Writes every_field.onnx: small, and with every kind of attribute, tensor field and value that the reader knows.
import os
import struct
import sys

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(here))
from onnx_bytes import data, f32, graph, model, node, num, opset, tensor, value, varint  # noqa: E402

floats = struct.pack("<2f", 1.5, -2.0)
attrs = (
    data(5, data(1, "f") + f32(2, 0.25) + num(20, 1)) +
    data(5, data(1, "i") + num(3, -3) + num(20, 2)) +
    data(5, data(1, "s") + data(4, "text") + num(20, 3)) +
    data(5, data(1, "t") + data(5, tensor("", body=data(4, floats))) + num(20, 4)) +
    data(5, data(1, "fs") + data(7, floats) + num(20, 6)) +
    data(5, data(1, "is") + num(8, 1) + num(8, -1) + num(20, 7)) +
    data(5, data(1, "ss") + data(9, "a") + data(9, "b") + num(20, 8)) +
    data(5, data(1, "empty") + num(20, 7)))
inner = graph(node("Neg", ["x"], ["deep"]), ins=b"", outs=value(12, "deep"))
branch = graph(node("If", ["flag"], ["z"], attrs=data(5, data(1, "then_branch") + data(6, inner) + num(20, 5))),
               consts=data(5, tensor("flag", (), 9, data(9, b"\1"))), ins=b"", outs=value(12, "z"))
consts = b"".join(data(5, t) for t in [
    tensor("raw", body=data(9, floats)),
    tensor("floats", body=data(4, floats)),
    tensor("doubles", dtype=11, body=data(10, struct.pack("<2d", 1, 2))),
    tensor("longs", dtype=7, body=data(7, varint(5) + varint(-5))),
    tensor("ints", dtype=6, body=data(5, varint(5) + varint(-5))),
    tensor("bytes", dtype=3, body=data(5, varint(5) + varint(-5))),
    tensor("halves", dtype=10, body=data(5, varint(0x3c00) + varint(0xbc00))),
    tensor("bf16", dtype=16, body=data(5, varint(0x3f80) + varint(0xbf80))),
    tensor("ulongs", dtype=13, body=data(11, varint(5) + varint((1 << 64) - 1))),
    tensor("uints", dtype=12, body=data(11, varint(5) + varint((1 << 32) - 1))),
    tensor("bool", dtype=9, body=data(5, varint(0) + varint(1))),
    tensor("nibbles", (3,), 22, data(9, b"\x7f\x08")),
    tensor("unibbles", (3,), 21, data(5, varint(0x21) + varint(0x03))),
    tensor("none", (0, 4), 1, b""),
    tensor("scalar", (), 1, data(9, b"\0\0\x80\x3f")),
])
symbolic = data(11, data(1, "x") + data(2, data(1, num(1, 1) + data(2, data(1, data(2, "batch")) + data(1, num(1, 2))))))
# The nodes come in the wrong order, two share a name and one has none.
nodes = (node("Sum", ["b", "floats", "raw"], ["y"], "same") + node("Custom", ["a", ""], ["b", "", "c"], "same", attrs, data(7, "test")) +
         node("If", ["cond"], ["a"], "", data(5, data(1, "then_branch") + data(6, branch) + num(20, 5))))
g = graph(nodes, consts + data(5, tensor("cond", (), 9, data(9, b"\0"))), symbolic + value(11, "floats", 1, (2,)),
          value(12, "y"), data(13, data(1, "b") + data(2, data(1, num(1, 1)))))
os.makedirs(f"{here}/onnx", exist_ok=True)
with open(f"{here}/onnx/every_field.onnx", "wb") as f:
    f.write(model(g, ir=10, ops=opset(21) + opset(1, "test"), more=data(2, "maker") + data(14, data(1, "key") + data(2, "value"))))

# Four tensors that share the eight bytes of one file.
consts = b"".join(data(5, tensor(f"w{i}", body=data(13, data(1, "location") + data(2, "w.bin")) + num(14, 1))) for i in range(4))
with open(f"{here}/onnx/external_shared_4.onnx", "wb") as f:
    f.write(model(graph(node("Sum", ["x", "w0", "w1", "w2", "w3"], ["y"]), consts)))
with open(f"{here}/onnx/w.bin", "wb") as f:
    f.write(struct.pack("<2f", 1, 2))
