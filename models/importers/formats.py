"""Recognize the format of an uploaded file by its content; its name only helps messages."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any

from models.importers import archives, hdf5_files, protobuf, refusals, torch_files

if TYPE_CHECKING:
    from pathlib import Path

    from models.importers.errors import ImportRejected
    from models.importers.refusals import Refusal

START_BYTES = 4096
MAX_JSON_BYTES = 64 << 20
ZIP, GZIP = (b"PK\x03\x04", b"PK\x05\x06"), b"\x1f\x8b"
TAR_MAGIC, TAR_AT = b"ustar", 257
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
LEVELDB_MAGIC = bytes.fromhex("57fb808b247547db")
"""Last bytes of the index of a TensorFlow checkpoint, which is a table of LevelDB."""

STARTS: dict[bytes, Refusal] = {
    b"version https://git-lfs": refusals.GIT_LFS,
    b"GGUF": refusals.GGUF,
    b"lmgg": refusals.GGUF,
    b"tjgg": refusals.GGUF,
    b"ftrt": refusals.TENSORRT,
    b"ptrt": refusals.TENSORRT,
    b"RKNN": refusals.RKNN,
    b"7767517\n": refusals.NCNN,
    b"\x47\x6b\x30\x01": refusals.NCNN,
    b"\x12\x01" + bytes(6): refusals.MXNET,
    b"\x93NUMPY": refusals.NUMPY_ARRAY,
    b"\xff\xd8\xff": refusals.IMAGE,
    b"\x89PNG": refusals.IMAGE,
    b"GIF8": refusals.IMAGE,
    b"BM": refusals.IMAGE,
    b"II*\0": refusals.IMAGE,
    b"MM\0*": refusals.IMAGE,
    b"%PDF": refusals.DOCUMENT,
    b"7z\xbc\xaf\x27\x1c": refusals.ARCHIVE,
    b"Rar!": refusals.ARCHIVE,
    b"\xfd7zXZ": refusals.ARCHIVE,
    b"BZh": refusals.ARCHIVE,
    b"\x28\xb5\x2f\xfd": refusals.ARCHIVE,
}
"""First bytes of files that are refused. BM is an image's where the size of the file follows."""
AT_FOUR = {b"ET12": refusals.EXECUTORCH, b"ET13": refusals.EXECUTORCH}
TFLITE = b"TFL3"
SAFETENSORS_START = re.compile(rb"\{\s*[\"}]")
"""What follows the length of a safetensors file's header: an object of JSON."""
PICKLE = 0x80
"""First byte of a pickle of protocol 2 or later."""
MAP, TEXT = range(0x81, 0x90), range(0xA0, 0xC0)
"""First two bytes of a MessagePack map with a name as its first key: Flax writes such."""
TEXT_MARKS: dict[str, Refusal] = {
    "<!doctype html": refusals.HTML,
    "<html": refusals.HTML,
    "<net ": refusals.OPENVINO,
    "[net]": refusals.DARKNET,
    "[convolutional]": refusals.DARKNET,
    "layer {": refusals.CAFFE,
    "layers {": refusals.CAFFE,
}
"""Marks in the beginning of a text, in lower case."""
DARKNET_MAJOR, DARKNET_MINORS = 0, (1, 2)
PROTOBUFS: dict[str, Refusal] = {
    "saved_model_pb": refusals.LONE_SAVED_MODEL,
    "frozen_graph": refusals.FROZEN_GRAPH,
    "coreml": refusals.COREML,
    "caffe": refusals.CAFFE,
    "truncated": refusals.TRUNCATED,
}

FOLDERS = "archive"
"""What `recognize_file` says of an archive of files; `models.importers.folders` looks into it."""


def recognize_file(path: Path, name: str) -> str:
    """Recognize a file's format by its content.

    It is onnx, tflite, keras, keras_h5, keras_weights, npz, state_dict, safetensors, graft, or archive, for one of
    files. `name` is shown in messages. Raises ImportRejected.
    """
    with path.open("rb") as file:
        start = file.read(START_BYTES)
        file.seek(-min(8, file.seek(0, 2)), 2)
        end = file.read()
    if not start:
        raise refusals.EMPTY.of(name)
    if end == LEVELDB_MAGIC:
        raise refusals.TENSORFLOW_CHECKPOINT.of(name)
    known = _recognize_safetensors(path, start, name)  # first: its length may be any number, that of a pickle too
    if known is None:
        known = _recognize_container(path, start, name)
    if known is not None:
        return known
    _refuse_by_start(path, start, name)
    return _recognize_rest(path, start, name)


def _recognize_container(path: Path, start: bytes, name: str) -> str | None:
    """Recognize archives and other formats that begin with a number of their own."""
    if start[:4] in ZIP:
        return _recognize_zip(path, name)
    if start[:2] == GZIP or start[TAR_AT : TAR_AT + 5] == TAR_MAGIC:
        return FOLDERS
    if HDF5_MAGIC in start:
        return hdf5_files.recognize(path, name)
    if start[0] == PICKLE:
        return _recognize_pickle(path, name)
    return "tflite" if start[4:8] == TFLITE else None


def _refuse_by_start(path: Path, start: bytes, name: str) -> None:
    size = path.stat().st_size
    for magic, refusal in STARTS.items():
        is_right = magic != b"BM" or int.from_bytes(start[2:6], "little") == size
        if start.startswith(magic) and is_right:
            raise refusal.of(name)
    if start[4:8] in AT_FOUR:
        raise AT_FOUR[start[4:8]].of(name)
    if start[0] in MAP and len(start) > 1 and start[1] in TEXT:
        raise refusals.FLAX.of(name)
    if start[:4] == b"RIFF" or start[4:12] in (b"ftypheic", b"ftypavif", b"ftypmif1"):
        raise refusals.IMAGE.of(name)


def _recognize_rest(path: Path, start: bytes, name: str) -> str:
    """Recognize protobufs, which have no magic number, texts, and files of raw numbers."""
    is_text = _is_text(start)
    if is_text:
        raise _explain_text(path, start, name)
    kind = protobuf.recognize(path)
    if kind == "onnx":
        return kind
    if kind is not None:
        raise PROTOBUFS[kind].of(name)
    numbers = [int.from_bytes(start[at : at + 4], "little") for at in (0, 4, 8)]
    if numbers[0] == DARKNET_MAJOR and numbers[1] in DARKNET_MINORS and numbers[2] <= 5:
        raise refusals.DARKNET.of(name)
    raise refusals.RAW_NUMBERS.of(name)


def _recognize_zip(path: Path, name: str) -> str:
    names = archives.list_zip_names(path)
    tails = {entry.rsplit("/", 1)[-1] for entry in names}
    if torch_files.is_pt2(names):
        raise refusals.PT2.of(name)
    if "data.pkl" in tails and ("version" in tails or ".format_version" in tails or "constants.pkl" in tails):
        data = archives.read_zip_entry(path, "data.pkl")
        refused = torch_files.recognize_zip(names, None if data is None else io.BytesIO(data), name)
        if refused is not None:
            raise refused
        return "state_dict"
    if {"config.json", "metadata.json", "model.weights.h5"} <= names:
        return "keras"
    if names and all(entry.endswith(".npy") for entry in names):
        return "npz"
    return FOLDERS


def _recognize_pickle(path: Path, name: str) -> str:
    with path.open("rb") as file:
        refused = torch_files.recognize_pickle(file, name)
    if refused is not None:
        raise refused
    return "state_dict"


def _recognize_safetensors(path: Path, start: bytes, name: str) -> str | None:
    """Recognize a safetensors file by its header: JSON, after its length in 8 bytes."""
    length = int.from_bytes(start[:8], "little")
    if not SAFETENSORS_START.match(start[8:]) or _is_text(start[:8]):
        return None
    if path.stat().st_size < 8 + length:
        raise refusals.TRUNCATED.of(name, "safetensors")
    header = None
    if length <= MAX_JSON_BYTES:
        with path.open("rb") as file:
            file.seek(8)
            header = parse_json(file.read(length))
    if header is None:
        raise refusals.SAFETENSORS_HEADER.of(name)
    entries = [entry for key, entry in header.items() if key != "__metadata__" and isinstance(entry, dict)]
    ends = [offsets[1] for entry in entries if isinstance(offsets := entry.get("data_offsets"), list) and offsets[1:]]
    if any(type(end) is not int or end + 8 + length > path.stat().st_size for end in ends):
        raise refusals.TRUNCATED.of(name, "safetensors")
    if any(".lora_" in key or key.startswith("lora_") for key in header):
        raise refusals.ADAPTER.of(name)
    metadata = header.get("__metadata__")
    is_graft = isinstance(metadata, dict) and {"graft_version", "architecture", "pretrained_cfg"} <= metadata.keys()
    return "graft" if is_graft else "safetensors"


def parse_json(data: bytes) -> dict[str, Any] | None:
    """Parse a JSON object; None if it is none."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_text(start: bytes) -> bool:
    try:
        text = start[: start.rfind(b"\n") + 1 or None].decode()
    except UnicodeDecodeError:
        return False
    return not any(ord(character) < 32 and character not in "\t\n\r\f" for character in text)


def _explain_text(path: Path, start: bytes, name: str) -> ImportRejected:
    text = start.decode(errors="replace").lower()
    for mark, refusal in TEXT_MARKS.items():
        if mark in text:
            return refusal.of(name)
    content = parse_json(path.read_bytes()) if path.stat().st_size <= MAX_JSON_BYTES else None
    if content is None:
        return refusals.TEXT.of(name)
    if "modelTopology" in content:
        return refusals.TENSORFLOW_JS.of(name)
    if {"class_name", "config"} <= content.keys() or "architectures" in content or "architecture" in content:
        return refusals.KERAS_JSON.of(name)
    return refusals.TEXT.of(name)
