# SPDX-License-Identifier: Apache-2.0
# Writes the malformed files: each is named for its fault. Standard library only. A reader must answer with
# CLQ_ERR_FORMAT, or with the status that the name ends in: _unsupported or _io.
import os
import struct
import sys
import zlib

from onnx_bytes import data, graph, model, node, num, opset, tensor, value, varint

OUT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "malformed")
written = set()


def save(name, data):
    assert name not in written and len(data) < 4096, name
    written.add(name)
    with open(os.path.join(OUT, name), "wb") as f:
        f.write(data)


# --- ONNX -----------------------------------------------------------------------------------------------------------

def onnx(name, content):
    save(f"onnx_{name}.onnx", content)


def init(name, t):
    """A model whose initializer is the faulty tensor."""
    onnx(name, model(graph(node("Add", ["x", "w"], ["y"]), data(5, t))))


def attr(name, a):
    """A model whose node has the faulty attribute."""
    onnx(name, model(graph(node("Relu", ["x"], ["y"], attrs=a))))


def external(name, pairs, more=b"", dims=(2,)):
    entries = b"".join(data(13, data(1, k) + data(2, v)) for k, v in pairs)
    init("external_" + name, tensor(dims=dims, body=entries + num(14, 1) + more))


def wire_faults():
    good = model()
    onnx("empty", b"")
    onnx("is_text", b"This is not a protobuf message.\n")
    onnx("zeros", b"\0" * 64)
    onnx("cut_in_graph", good[:-3])
    onnx("cut_in_tag", good + b"\xf2")
    onnx("varint_11_bytes", b"\x08" + b"\xff" * 10 + b"\x01" + good)
    onnx("varint_65_bits", b"\x08" + b"\xff" * 9 + b"\x02" + good)
    onnx("tag_field_0", b"\x02\x00" + good)
    onnx("tag_field_2_29", varint(1 << 32) + b"\x01" + good)
    onnx("tag_varint_6_bytes", b"\x80\x80\x80\x80\x80\x01\x01" + good)
    for w in (3, 4, 6, 7):
        onnx(f"wire_type_{w}", good + varint(15 << 3 | w))
    onnx("length_beyond_file", good + varint(2 << 3 | 2) + varint(100))
    onnx("length_2_31", good + varint(2 << 3 | 2) + varint(1 << 31))
    onnx("length_2_64_minus_1", good + varint(2 << 3 | 2) + varint((1 << 64) - 1))
    onnx("length_beyond_parent", num(1, 8) + opset() + data(7, varint(1 << 3 | 2) + varint(50)) + b"\0" * 60)
    onnx("fixed32_cut_off", good + varint(99 << 3 | 5) + b"\0\0")
    onnx("fixed64_cut_off", good + varint(99 << 3 | 1) + b"\0\0\0")
    onnx("graph_is_a_number", num(1, 8) + opset() + num(7, 3))
    onnx("graph_twice", good + data(7, graph()))
    onnx("graph_absent", num(1, 8) + opset())
    onnx("producer_with_zero_byte", good + data(2, b"a\0b"))
    t = b""
    for _ in range(200):
        t = data(4, data(1, t))
    onnx("types_nested_200_deep", model(graph(more=data(13, data(1, "v") + data(2, t)))))
    g = graph()
    for _ in range(40):
        g = graph(node("If", ["x"], ["y"], attrs=data(5, data(1, "then_branch") + data(6, g) + num(20, 5))))
    onnx("graphs_nested_40_deep", model(g))


def model_faults():
    onnx("ir_absent", model(ir=None))
    onnx("ir_0", model(ir=0))
    onnx("ir_minus_1", model(ir=-1))
    onnx("ir_2_unsupported", model(ir=2))
    onnx("ir_14_unsupported", model(ir=14))
    onnx("opset_absent", model(ops=b""))
    onnx("opset_twice", model(ops=opset(17) + opset(16)))
    onnx("opset_0", model(ops=opset(0)))
    onnx("opset_negative", model(ops=opset(-17)))
    onnx("cycle", model(graph(node("Relu", ["b"], ["a"]) + node("Relu", ["a"], ["b"]) + node("Add", ["x", "a"], ["y"]))))
    onnx("node_feeds_itself", model(graph(node("Add", ["x", "y"], ["y"]))))
    onnx("value_from_nobody", model(graph(node("Add", ["x", "ghost"], ["y"]))))
    onnx("output_from_nobody", model(graph(node("Relu", ["x"], ["z"]))))
    onnx("value_twice", model(graph(node("Relu", ["x"], ["y"]) + node("Neg", ["x"], ["y"]))))
    onnx("value_is_an_input", model(graph(node("Relu", ["x"], ["x"]) + node("Relu", ["x"], ["y"]))))
    onnx("value_is_an_initializer", model(graph(node("Relu", ["x"], ["w"]) + node("Relu", ["w"], ["y"]), data(5, tensor()))))
    onnx("input_twice", model(graph(ins=value(11, "x") + value(11, "x"))))
    onnx("input_without_name", model(graph(ins=value(11, "x") + value(11, ""))))
    onnx("output_twice", model(graph(outs=value(12, "y") + value(12, "y"))))
    onnx("initializer_twice", model(graph(node("Add", ["x", "w"], ["y"]), data(5, tensor()) * 2)))
    onnx("node_without_op_type", model(graph(node("", ["x"], ["y"]))))
    onnx("input_of_9_dimensions_unsupported", model(graph(ins=value(11, "x", dims=(1,) * 9))))
    branch = graph(node("Relu", ["ghost"], ["z"]), ins=b"", outs=value(12, "z"))
    onnx("branch_reads_from_nobody", model(graph(node("If", ["x"], ["y"], attrs=data(5, data(1, "then_branch") + data(6, branch) + num(20, 5))))))
    onnx("sparse_initializer_unsupported", model(graph(more=data(15, data(1, tensor("s")) + num(3, 4)))))


def attribute_faults():
    attr("attribute_without_name", data(5, num(3, 1) + num(20, 2)))
    attr("attribute_twice", data(5, data(1, "axis") + num(3, 1) + num(20, 2)) * 2)
    attr("attribute_type_absent", data(5, data(1, "axis") + num(3, 1)))
    attr("attribute_type_99", data(5, data(1, "axis") + num(3, 1) + num(20, 99)))
    attr("attribute_tensor_absent", data(5, data(1, "value") + num(20, 4)))
    attr("attribute_graph_absent", data(5, data(1, "body") + num(20, 5)))
    attr("attribute_types_unsupported", data(5, data(1, "t") + num(20, 14)))
    attr("attribute_sparse_unsupported", data(5, data(1, "t") + data(22, data(1, tensor("s")) + num(3, 4)) + num(20, 11)))
    attr("attribute_floats_cut_off", data(5, data(1, "f") + data(7, b"\0" * 6) + num(20, 6)))
    attr("attribute_ints_cut_off", data(5, data(1, "f") + data(8, b"\x80\x80") + num(20, 7)))
    attr("attribute_tensor_short", data(5, data(1, "value") + data(5, tensor("", dims=(9,))) + num(20, 4)))


def tensor_faults():
    init("dims_product_overflow", tensor(dims=(1 << 32, 1 << 32, 4)))
    init("dims_product_wraps_to_8_bytes", tensor(dims=((1 << 62) + 1, 8)))
    init("dims_bytes_overflow", tensor(dims=(1 << 62,)))
    init("dims_negative", tensor(dims=(-2,)))
    init("dims_two_negative", tensor(dims=(-1, -2)))
    init("dims_9_unsupported", tensor(dims=(2,) + (1,) * 8))
    init("dims_million_data_4_bytes", tensor(dims=(1000000,), body=data(9, b"\0" * 4)))
    init("raw_short", tensor(body=data(9, b"\0" * 7)))
    init("raw_long", tensor(body=data(9, b"\0" * 9)))
    init("raw_absent", tensor(body=b""))
    init("raw_twice", tensor(body=data(9, b"\0" * 8) * 2))
    init("raw_and_floats", tensor(body=data(9, b"\0" * 8) + data(4, b"\0" * 8)))
    init("floats_short", tensor(body=data(4, b"\0" * 4)))
    init("floats_long", tensor(body=data(4, b"\0" * 12)))
    init("floats_cut_off", tensor(body=data(4, b"\0" * 7)))
    init("floats_in_int_field", tensor(body=data(5, b"\1\2")))
    init("ints_in_float_field", tensor(dtype=6, body=data(4, b"\0" * 8)))
    init("int8_value_300", tensor(dtype=3, body=data(5, varint(1) + varint(300))))
    init("uint8_value_negative", tensor(dtype=2, body=data(5, varint(1) + varint(-1))))
    init("float16_value_70000", tensor(dtype=10, body=data(5, varint(1) + varint(70000))))
    init("int64_list_cut_off", tensor(dtype=7, body=data(7, b"\x01\x80")))
    init("int4_one_byte_more", tensor(dims=(3,), dtype=22, body=data(9, b"\0" * 3)))
    init("int4_one_byte_less", tensor(dims=(3,), dtype=22, body=data(9, b"\0")))
    init("type_0", tensor(dtype=0))
    init("type_99", tensor(dtype=99))
    init("type_float8_long", tensor(dtype=17, body=data(9, b"\0" * 3)))
    init("type_uint2_long", tensor(dtype=25, body=data(9, b"\0\0")))
    init("type_complex_unsupported", tensor(dims=(1,), dtype=14))
    init("initializer_without_name", tensor(name=""))
    init("segment_unsupported", tensor(body=data(3, num(1, 0) + num(2, 1)) + data(9, b"\0" * 8)))


def external_faults():
    ok = [("location", "w.bin")]
    external("location_absolute", [("location", "/etc/hostname")])
    external("location_parent", [("location", "../malformed/w.bin")])
    external("location_parent_inside", [("location", "a/../../w.bin")])
    external("location_empty", [("location", "")])
    external("location_absent", [("offset", "0")])
    external("location_backslash", [("location", "a\\w.bin")])
    external("location_zero_byte", [("location", "w.bin\0x")])
    external("location_long_then_parent", [("location", "a" * 3600 + "/..")])
    external("location_twice", ok + ok)
    external("location_does_not_exist_io", [("location", "no such file")])
    external("location_is_a_directory_io", [("location", ".")])
    external("key_unknown_unsupported", ok + [("basepath", "/")])
    external("offset_negative", ok + [("offset", "-1")])
    external("offset_hexadecimal", ok + [("offset", "0x0")])
    external("offset_empty", ok + [("offset", "")])
    external("offset_2_64", ok + [("offset", str(1 << 64))])
    external("offset_beyond_file", ok + [("offset", "4096")])
    external("offset_wraps", ok + [("offset", str((1 << 64) - 4)), ("length", "8")])
    external("length_negative", ok + [("length", "-8")])
    external("length_short", ok + [("length", "4")])
    external("length_beyond_file", ok + [("length", "80")], dims=(20,))
    external("and_raw_data", ok, data(9, b"\0" * 8))
    external("and_floats", ok, data(4, b"\0" * 8))
    shared = b"".join(data(5, tensor(f"w{i}", body=data(13, data(1, "location") + data(2, "./" * (i % 2) + "w.bin")) + num(14, 1)))
                      for i in range(9))
    onnx("external_nine_tensors_share_two_floats", model(graph(node("Sum", ["x"], ["y"]), shared)))
    init("data_location_7", tensor(body=data(9, b"\0" * 8) + num(14, 7)))
    save("w.bin", struct.pack("<2f", 1, 2))


# --- NPY ------------------------------------------------------------------------------------------------------------

def npy(text="{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", body=b"\0" * 8, length=None, version=b"\1\0",
        magic=b"\x93NUMPY"):
    text = text.encode("latin-1") + b"\n"
    n = len(text) if length is None else length
    return magic + version + struct.pack("<H" if version[0] == 1 else "<I", n) + text + body


def header(descr="'<f4'", order="False", shape="(2,)"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


def npy_faults():
    cases = {
        "empty": b"", "magic_only": b"\x93NUMPY", "magic_wrong": npy(magic=b"\x93NUMPZ"), "version_0": npy(version=b"\0\0"),
        "version_4": npy(version=b"\4\0"), "version_1_7": npy(version=b"\1\7"), "header_len_0": npy(length=0),
        "header_len_beyond_file": npy(length=5000), "header_len_4g": npy(version=b"\2\0", length=0xFFFFFFF0),
        "header_len_cut_off": b"\x93NUMPY\1\0\x10", "data_short": npy(body=b"\0" * 7), "data_long": npy(body=b"\0" * 9),
        "data_absent": npy(body=b""), "shape_million_data_4": npy(header(shape="(1000000,)"), b"\0" * 4),
        "shape_overflow": npy(header(shape="(4294967296, 4294967296)")), "shape_wraps": npy(header(shape="(4611686018427387906,)")),
        "shape_too_large": npy(header(shape="(99999999999999999999,)")), "shape_negative": npy(header(shape="(-1,)")),
        "shape_33_dims": npy(header(shape="(" + "1," * 33 + ")"), b"\0" * 4), "shape_is_a_number": npy(header(shape="2")),
        "shape_without_comma": npy(header(shape="(2)")), "shape_is_a_list": npy(header(shape="[2]")),
        "shape_with_sum": npy(header(shape="(1+1,)")), "shape_open": npy(header(shape="(2,")),
        "descr_unquoted": npy(header(descr="float32")), "descr_without_order": npy(header(descr="'f4'")),
        "descr_escape": npy(header(descr="'<\\x66 4'")), "descr_open": npy("{'descr': '<f4"), "order_0": npy(header(order="0")),
        "key_twice": npy("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"),
        "key_unknown": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1, }"),
        "key_absent": npy("{'descr': '<f4', 'shape': (2,), }"), "code_instead": npy("__import__('os').getpid()"),
        "text_behind": npy(header() + "#"), "zero_bytes_in_text": npy(header() + "\0"), "no_newline": npy(header())[:-9] + b" " + b"\0" * 8,
        "object_unsupported": npy(header(descr="'|O'")), "pickle_unsupported": npy(header(descr="'|O8'"), b"\x80\x04."),
        "complex_unsupported": npy(header(descr="'<c8'", shape="(1,)")), "text_unsupported": npy(header(descr="'<U1'")),
        "structure_unsupported": npy(header(descr="[('a', '<f4')]")), "date_unsupported": npy(header(descr="'<M8[s]'", shape="(1,)")),
        "9_dims_unsupported": npy(header(shape="(2,1,1,1,1,1,1,1,1)")),
    }
    for name, content in cases.items():
        save(f"npy_{name}.npy", content)


# --- NPZ ------------------------------------------------------------------------------------------------------------

def deflate(raw):
    c = zlib.compressobj(9, zlib.DEFLATED, -15)
    return c.compress(raw) + c.flush()


def member(name, raw, method=0, stored=None, size=None, crc=None, flags=0):
    stored = (deflate(raw) if method == 8 else raw) if stored is None else stored
    return dict(name=name.encode(), method=method, flags=flags, crc=zlib.crc32(raw) if crc is None else crc, stored=stored,
                size=len(raw) if size is None else size)


def archive(members, count=None, cut=0, directory_at=None):
    out, central = b"", b""
    for m in members:
        common = struct.pack("<HHHHHIIIHH", 20, m["flags"], m["method"], 0, 0x21, m["crc"], len(m["stored"]), m["size"], len(m["name"]), 0)
        central += b"PK\1\2" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, len(out)) + m["name"]
        out += b"PK\3\4" + common + m["name"] + m["stored"]
    n = len(members) if count is None else count
    at = len(out) if directory_at is None else directory_at
    whole = out + central + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, n, n, len(central), at, 0)
    return whole[:len(whole) - cut]


def npz_faults():
    good = npy()
    big = npy(header(descr="'|u1'", shape="(3000000,)"), b"\0" * 3000000)
    lie = npy(header(descr="'|u1'", shape="(4000000000,)"), b"\0" * 100)
    cases = {
        "empty": b"PK\5\6", "cut_off": archive([member("x.npy", good)], cut=30), "count_65535": archive([member("x.npy", good)], count=65535),
        "directory_beyond_file": archive([member("x.npy", good)], directory_at=100000),
        "member_is_not_npy": archive([member("x.npy", b"hello, world")]), "member_empty": archive([member("x.npy", b"")]),
        "member_short": archive([member("x.npy", good[:-1])]), "member_long": archive([member("x.npy", good + b"\0")]),
        "member_twice": archive([member("x.npy", good), member("x.npy", good)]),
        "bomb_declares_less": archive([member("x.npy", big, 8, size=len(good))]),
        "bomb_declares_header_only": archive([member("x.npy", big, 8, size=len(big) - 3000000)]),
        "bomb_declares_4g": archive([member("x.npy", lie, 8, size=len(lie) - 100 + 4000000000)]),
        "stored_size_lies": archive([member("x.npy", good, size=len(good) + 8)]),
        "deflate_broken": archive([member("x.npy", good, 8, stored=b"\xff" * 40)]),
        "deflate_cut_off": archive([member("x.npy", good, 8, stored=deflate(good)[:-6])]),
        "deflate_longer_than_declared": archive([member("x.npy", good, 8, stored=deflate(good + b"\0" * 100), size=len(good))]),
        "crc_wrong": archive([member("x.npy", good, crc=1)]), "crc_wrong_deflated": archive([member("x.npy", good, 8, crc=1)]),
        "object_unsupported": archive([member("x.npy", npy(header(descr="'|O'")))]),
        "encrypted_unsupported": archive([member("x.npy", good, flags=1)]), "method_12_unsupported": archive([member("x.npy", good, 12)]),
    }
    for name, content in cases.items():
        save(f"npz_{name}.npz", content)


os.makedirs(OUT, exist_ok=True)
for group in (wire_faults, model_faults, attribute_faults, tensor_faults, external_faults, npy_faults, npz_faults):
    group()
print(len(written), "files")
