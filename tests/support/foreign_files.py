"""Files of other frameworks that give no backbone, as small as they can be and still be themselves."""

from __future__ import annotations

import io
import json
import pickletools
import struct
import tarfile
import warnings
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from models.importers import refusals
from tests.support.archives import zip_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from models.importers.refusals import Refusal


def save_torch(value: object, **options: object) -> bytes:
    """Save by torch.save."""
    file = io.BytesIO()
    getattr(torch, "save")(value, file, **options)  # noqa: B009  # the project's own code never does
    return file.getvalue()


def save_script() -> bytes:
    """Save a TorchScript archive."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch no longer recommends TorchScript; users still have it
        torch.jit.save(
            torch.jit.trace(  # type: ignore[no-untyped-call]
                nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8), check_trace=False
            ),
            file,
        )
    return file.getvalue()


def save_exported() -> bytes:
    """Save an archive of torch.export."""
    file = io.BytesIO()
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), file)
    return file.getvalue()


def pickle_of(module: str, name: str) -> bytes:
    """Write a pickle that calls a class of this name without arguments, whether or not it exists."""
    data = b"\x80\x02c" + f"{module}\n{name}\n".encode() + b")R."
    assert [code.name for code, _, _ in pickletools.genops(data)][1] == "GLOBAL"
    return data


def message(*fields: tuple[int, bytes | int]) -> bytes:
    """Write a protobuf message of fields with numbers below 16, or with two bytes of tag."""
    data = bytearray()
    for number, value in fields:
        tag = number << 3 | (0 if isinstance(value, int) else 2)
        data += bytes([tag]) if tag < 0x80 else bytes([tag & 0x7F | 0x80, tag >> 7])
        data += bytes([value]) if isinstance(value, int) else bytes([len(value)]) + value
    return bytes(data)


def safetensors_of(names: Mapping[str, int], metadata: Mapping[str, str] | None = None) -> bytes:
    """Write a safetensors file of float32 vectors of these lengths."""
    header: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    end = 0
    for name, length in names.items():
        header[name] = {"dtype": "F32", "shape": [length], "data_offsets": [end, end + 4 * length]}
        end += 4 * length
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + bytes(end)


def hdf5_of(folder: Path, **attributes: object) -> bytes:
    """Write an HDF5 file with a group `conv` and these attributes."""
    import h5py

    path = folder / "made.h5"
    with h5py.File(path, "w") as file:
        file.create_group("conv").create_dataset("kernel", data=np.zeros((3, 3)))
        file.attrs.update(attributes)
    return path.read_bytes()


def tar_with(*files: tuple[str, bytes]) -> bytes:
    """Write a gzipped tar."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, data in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def stored_zip(*files: tuple[str, bytes]) -> bytes:
    """Write a zip without compression."""
    return zip_of(*files, method=zipfile.ZIP_STORED)


NODE = message((1, b"input"), (2, b"Placeholder"))
ONNX = message((1, 8), (2, b"pytorch"), (7, message((2, b"main"))), (8, message((2, 17))))
PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)

REFUSED: dict[str, tuple[Refusal, Callable[[], bytes]]] = {
    "scripted.pt": (refusals.TORCHSCRIPT, save_script),
    "exported.pt2": (refusals.PT2, save_exported),
    "module.pth": (refusals.PICKLED_MODULE, lambda: save_torch(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))),
    "old_module.pth": (
        refusals.PICKLED_MODULE,
        lambda: save_torch(nn.Sequential(nn.Linear(3, 4)), _use_new_zipfile_serialization=False),
    ),
    "export.pkl": (refusals.PICKLED_MODULE, lambda: pickle_of("fastai.learner", "Learner")),
    "bomb.pkl": (refusals.PICKLE, lambda: pickle_of("os", "getcwd")),
    "forest.joblib": (refusals.SKLEARN, lambda: pickle_of("sklearn.ensemble._forest", "RandomForestClassifier")),
    "model.mlmodel": (refusals.COREML, lambda: message((1, 4), (2, b"\x0a\x02ab"), (500, b"\x0a\x01a"))),
    "model.mlpackage.zip": (refusals.COREML, lambda: stored_zip(("m.mlpackage/Manifest.json", b"{}"))),
    "net.caffemodel": (refusals.CAFFE, lambda: message((1, b"AlexNet"), (100, message((1, b"data"))))),
    "deploy.prototxt": (refusals.CAFFE, lambda: b'name: "AlexNet"\nlayer {\n  name: "conv1"\n}\n'),
    "yolo.weights": (refusals.DARKNET, lambda: struct.pack("<3iq", 0, 2, 5, 32013312) + bytes(range(256)) * 4),
    "yolo.cfg": (refusals.DARKNET, lambda: b"[net]\nbatch=64\n\n[convolutional]\nfilters=32\n"),
    "resnet.pdparams": (
        refusals.PADDLE,
        lambda: b"\x80\x02}X\x1c\x00\x00\x00StructuredToParameterName@@s"[:-1] + b"}s.",
    ),
    "paddle.zip": (refusals.PADDLE, lambda: stored_zip(("m/__model__", b"\x0a\x02\x08\x00"), ("m/w", b"\0" * 9))),
    "net-0000.params": (refusals.MXNET, lambda: struct.pack("<QQ", 0x112, 0) + bytes(64)),
    "frozen.pb": (refusals.FROZEN_GRAPH, lambda: message((1, NODE), (1, NODE), (4, message((1, 27))))),
    "saved_model.pb": (refusals.LONE_SAVED_MODEL, lambda: message((1, 1), (2, message((1, b"\x0a\x00"))))),
    "model.ckpt.index": (refusals.TENSORFLOW_CHECKPOINT, lambda: bytes(48) + bytes.fromhex("57fb808b247547db")),
    "checkpoint.zip": (
        refusals.TENSORFLOW_CHECKPOINT,
        lambda: stored_zip(("c/m.ckpt.data-00000-of-00001", b"\xff\x91" * 99), ("c/checkpoint", b"m.ckpt\n")),
    ),
    "model.json": (refusals.TENSORFLOW_JS, lambda: b'{"format": "layers-model", "modelTopology": {}}'),
    "architecture.json": (refusals.KERAS_JSON, lambda: b'{"class_name": "Functional", "config": {"layers": []}}'),
    "net.param": (refusals.NCNN, lambda: b"7767517\n75 83\nInput data 0 1 data\n"),
    "model.xml": (refusals.OPENVINO, lambda: b'<?xml version="1.0"?>\n<net name="m" version="11">\n</net>\n'),
    "model.engine": (refusals.TENSORRT, lambda: b"ftrt" + bytes(60)),
    "model.pte": (refusals.EXECUTORCH, lambda: b"\x30\0\0\0ET12" + bytes(60)),
    "model.rknn": (refusals.RKNN, lambda: b"RKNN" + bytes(60)),
    "llama.gguf": (refusals.GGUF, lambda: b"GGUF" + bytes(60)),
    "adapter_model.safetensors": (
        refusals.ADAPTER,
        lambda: safetensors_of({"base_model.model.encoder.q.lora_A.weight": 4}),
    ),
    "stable.zip": (refusals.DIFFUSION, lambda: stored_zip(("sd/model_index.json", b"{}"))),
    "flax_model.msgpack": (refusals.FLAX, lambda: b"\x81\xa6params\x80"),
    "array.npy": (refusals.NUMPY_ARRAY, lambda: b"\x93NUMPY\x01\0" + bytes(60)),
    "pointer.onnx": (
        refusals.GIT_LFS,
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 97781234\n",
    ),
    "login.onnx": (refusals.HTML, lambda: b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"),
    "photo.onnx": (refusals.IMAGE, lambda: b"\xff\xd8\xff\xe0" + bytes(60)),
    "flowers.zip": (refusals.DATASET, lambda: stored_zip(("rose/1.png", PNG), ("tulip/1.png", PNG))),
    "README.md": (refusals.TEXT, lambda: b"# A model\n\nIt is good.\n"),
    "paper.pdf": (refusals.DOCUMENT, lambda: b"%PDF-1.7\n" + bytes(60)),
    "model.7z": (refusals.ARCHIVE, lambda: b"7z\xbc\xaf\x27\x1c" + bytes(60)),
    "empty.onnx": (refusals.EMPTY, lambda: b""),
    "short.onnx": (refusals.TRUNCATED, lambda: ONNX[:-1]),
    "short.safetensors": (refusals.TRUNCATED, lambda: safetensors_of({"a": 8})[:-4]),
    "header.safetensors": (refusals.SAFETENSORS_HEADER, lambda: b"\x05" + safetensors_of({"a": 8})[1:]),
    "weights.bin": (refusals.RAW_NUMBERS, lambda: np.random.default_rng(0).normal(size=99).astype("f4").tobytes()),
    "source.zip": (refusals.UNKNOWN_ARCHIVE, lambda: stored_zip(("a/main.py", b"print(1)\n"))),
    "two.zip": (refusals.SEVERAL, lambda: stored_zip(("a.onnx", ONNX), ("b.onnx", ONNX))),
}
"""By name: why it is refused, and its content."""
