"""Files that run code, or reach for other files, in readers that trust them.

What they would do leaves a file `ran` in the current folder of the process that reads them.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RAN = "ran"
CODE = f'open("{RAN}", "w").write("x")'.encode()


def _text(value: bytes) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value


CALL = b"cbuiltins\nexec\n" + _text(CODE) + b"\x85R"
"""Opcodes of a pickle that run code and leave its result on the stack."""
PROTOCOL = b"\x80\x02"
BOMB = PROTOCOL + CALL + b"."
BOMB_IN_A_DICTIONARY = PROTOCOL + b"}" + _text(b"weight") + CALL + b"s."
LEGACY = PROTOCOL + b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + PROTOCOL + b"M\xe9\x03." + PROTOCOL + b"}."
"""The pickles at the start of a file of PyTorch before 1.6."""


def write_zip(entries: Mapping[str, bytes]) -> bytes:
    """Write a zip whose entries are stored, as PyTorch does."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file.getvalue()


def write_object_array(pickled: bytes) -> bytes:
    """Write a .npy of one object."""
    header = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + pickled


PICKLES: dict[str, bytes] = {
    "bomb.pkl": BOMB,
    "bomb.pth": write_zip({"net/data.pkl": BOMB, "net/version": b"3\n", "net/byteorder": b"little"}),
    "state_dict_with_a_bomb.pth": write_zip({"net/data.pkl": BOMB_IN_A_DICTIONARY, "net/version": b"3\n"}),
    "legacy.pth": LEGACY + BOMB,
    "legacy_state_dict_with_a_bomb.pth": LEGACY + BOMB_IN_A_DICTIONARY,
    "objects.npz": write_zip({"Transformer/encoder_norm/bias.npy": write_object_array(BOMB)}),
    "program.pt2": write_zip(
        {"net/archive_format": b"pt2", "net/data/sample_inputs/model.pt": BOMB, "net/models/model.json": b"{}"}
    ),
    "script.pt": write_zip({"net/data.pkl": BOMB, "net/constants.pkl": BOMB, "net/code/net.py": b"open('ran', 'w')"}),
}
"""Files by name."""


def write_onnx_with_external_data(location: str) -> bytes:
    """Write an ONNX model whose weight lies in another file."""
    import onnx
    from onnx import TensorProto, helper

    weight = TensorProto(
        name="weight", data_type=TensorProto.FLOAT, dims=[4, 3, 1, 1], data_location=TensorProto.EXTERNAL
    )
    weight.external_data.add(key="location", value=location)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weight"], ["logits"])],
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 4, 32, 32])],
        [weight],
    )
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def write_keras_naming_a_function(module: str, name: str) -> bytes:
    """Write a .keras whose Lambda names a function of any module."""
    import h5py

    function = {"module": module, "class_name": "function", "config": name, "registered_name": name}
    layers = [
        {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": [None, 8, 8, 3], "name": "i"}},
        {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "l", "function": function}},
    ]
    config = {"module": "keras", "class_name": "Sequential", "config": {"name": "net", "layers": layers}}
    weights = io.BytesIO()
    h5py.File(weights, "w").close()
    return write_zip(
        {
            "config.json": json.dumps(config).encode(),
            "metadata.json": b'{"keras_version": "3.15.1", "date_saved": "2026-11-29@00:00:00"}',
            "model.weights.h5": weights.getvalue(),
        }
    )


KERAS = """
import sys, keras
net = keras.Sequential([keras.layers.Input((8, 8, 3)), keras.layers.Lambda(lambda x: (open("ran", "w"), x)[1]),
    keras.layers.Flatten(), keras.layers.Dense(3)])
net.save(sys.argv[1])
"""


def save_keras_with_lambda(path: Path) -> None:
    """Save a network with a Lambda by Keras, as .keras or as .h5, with the code of its function inside."""
    environment = {**os.environ, "KERAS_BACKEND": "torch", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-W", "ignore", "-c", KERAS, str(path)]
    subprocess.run(command, check=True, cwd=path.parent, env=environment, capture_output=True)
    (path.parent / RAN).unlink(missing_ok=True)  # Keras runs it to find shapes


def write_hdf5_with_external_data(path: Path, other: Path) -> None:
    """Write a file of weights whose data lies in another file, of any name."""
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv"]
        group = file.create_group("conv")
        group.attrs["weight_names"] = [b"conv/kernel:0"]
        group.create_dataset("conv/kernel:0", (1, 1, 3, 4), dtype="f4", external=[(str(other), 0, 48)])


def _field(number: int, value: int | bytes | str) -> bytes:
    """Encode a field of a protobuf message: a number, or a text or a message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _node(name: str, operation: str, inputs: list[str], **attributes: bytes) -> bytes:
    node = _field(1, name) + _field(2, operation) + b"".join(_field(3, given) for given in inputs)
    return node + b"".join(_field(5, _field(1, key) + _field(2, value)) for key, value in attributes.items())


def write_saved_model_that_writes_a_file() -> bytes:
    """Write a SavedModel, as a zip, that calls tf.io.write_file before its output."""
    floats, strings = _field(6, 1), _field(6, 7)
    shape = _field(7, b"".join(_field(2, _field(1, size)) for size in (1, 8, 8, 3)))

    def text(value: str) -> bytes:
        return _field(8, _field(1, 7) + _field(2, b"") + _field(8, value))

    nodes = [
        _node("x", "Placeholder", [], dtype=floats, shape=shape),
        _node("name", "Const", [], dtype=strings, value=text(RAN)),
        _node("content", "Const", [], dtype=strings, value=text("x")),
        _node("write", "WriteFile", ["name", "content"]),
        _node("y", "Identity", ["x", "^write"], T=floats),
    ]

    def tensor(name: str) -> bytes:
        dimensions = b"".join(_field(2, _field(1, size)) for size in (1, 8, 8, 3))
        return _field(1, f"{name}:0") + _field(2, 1) + _field(3, dimensions)

    signature = _field(1, _field(1, "x") + _field(2, tensor("x"))) + _field(2, _field(1, "y") + _field(2, tensor("y")))
    signature += _field(3, "tensorflow/serving/predict")
    graph = b"".join(_field(1, node) for node in nodes) + _field(4, _field(1, 1900))
    meta = _field(1, _field(4, "serve")) + _field(2, graph)
    meta += _field(5, _field(1, "serving_default") + _field(2, signature))
    return write_zip({"net/saved_model.pb": _field(1, 1) + _field(2, meta), "net/variables/variables.index": b""})
