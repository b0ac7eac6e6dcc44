"""Formats are recognized by their content, and what gives no backbone is refused by its name."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from models.importers import refusals
from models.importers.errors import ImportRejected
from models.importers.folders import recognize
from models.importers.formats import recognize_file
from tests.support.foreign_files import (
    ONNX,
    REFUSED,
    hdf5_of,
    safetensors_of,
    save_torch,
    stored_zip,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def refuse(path: Path, data: bytes, scratch: Path) -> ImportRejected:
    path.write_bytes(data)
    with pytest.raises(ImportRejected) as caught:
        recognize(path, path.name, scratch, lambda: None)
    return caught.value


@pytest.mark.parametrize("name", REFUSED)
def test_what_gives_no_backbone_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    refusal, make = REFUSED[name]
    error = refuse(tmp_path / name, make(), tmp_path)
    assert (error.code, str(error).startswith(f"{name} is {refusal.what}")) == (refusal.code, True), str(error)
    assert refusal.instead in str(error)


@pytest.mark.parametrize("name", REFUSED)
def test_the_name_does_not_matter(name: str, tmp_path: Path) -> None:
    refusal, make = REFUSED[name]
    assert refuse(tmp_path / "upload", make(), tmp_path).code == refusal.code


def test_every_refusal_has_a_file() -> None:
    cases = {id(refusal) for refusal, _ in REFUSED.values()} | {id(refusals.UNKNOWN_HDF5)}
    assert [refusal.what for refusal in refusals.REFUSALS if id(refusal) not in cases] == []


def save_npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, **{"embedding/kernel": np.zeros(3)})
    return file.getvalue()


STATE = {"conv.weight": torch.zeros(4, 3, 3, 3), "epoch": 3}
ACCEPTED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "onnx": ("onnx", lambda: ONNX),
    "tflite": ("tflite", lambda: b"\x1c\0\0\0TFL3" + bytes(64)),
    "keras": (
        "keras",
        lambda: stored_zip(("metadata.json", b"{}"), ("config.json", b"{}"), ("model.weights.h5", b"\x89HDF")),
    ),
    "npz": ("npz", save_npz),
    "state_dict": ("state_dict", lambda: save_torch(STATE)),
    "an old state_dict": ("state_dict", lambda: save_torch(STATE, _use_new_zipfile_serialization=False)),
    "a state_dict of protocol 4": ("state_dict", lambda: save_torch(STATE, pickle_protocol=4)),
    "safetensors": ("safetensors", lambda: safetensors_of({"conv.weight": 8})),
    "a checkpoint of Graft": (
        "graft",
        lambda: safetensors_of({"a": 2}, {"graft_version": "1", "architecture": "vit", "pretrained_cfg": "{}"}),
    ),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_formats_are_recognized_by_content(case: str, tmp_path: Path) -> None:
    expected, make = ACCEPTED[case]
    path = tmp_path / "upload"
    path.write_bytes(make())
    assert recognize_file(path, "upload") == expected


@pytest.mark.parametrize("length", [5, 2_000, 2 << 30, 1 << 63])
def test_a_safetensors_header_of_another_length_is_damaged(length: int, tmp_path: Path) -> None:
    data = length.to_bytes(8, "little") + safetensors_of({"conv.weight": 8})[8:]
    error = refuse(tmp_path / "net.safetensors", data, tmp_path)
    assert error.code == "file_broken"
    assert "safetensors" in str(error)


def test_text_is_no_safetensors_header(tmp_path: Path) -> None:
    assert refuse(tmp_path / "net", b'        {"a": 1}\n', tmp_path).code == refusals.TEXT.code


def test_hdf5_files_of_keras_are_told_apart(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    path = tmp_path / "upload"
    path.write_bytes(hdf5_of(tmp_path, model_config="{}"))
    assert recognize_file(path, "upload") == "keras_h5"
    path.write_bytes(hdf5_of(tmp_path, layer_names=["conv"]))
    assert recognize_file(path, "upload") == "keras_weights"
    error = refuse(path, hdf5_of(tmp_path), tmp_path)
    assert str(error) == str(refusals.UNKNOWN_HDF5.of("upload"))
    assert refuse(path, hdf5_of(tmp_path)[:200], tmp_path).code == "file_broken"


def test_a_pickled_class_of_ones_own_is_named(tmp_path: Path) -> None:
    """The classes that a module is made of tell that it is one, whatever its own class is called."""
    error = refuse(tmp_path / "yolo.pt", save_torch({"model": torch.nn.Sequential(torch.nn.ReLU())}), tmp_path)
    assert error.code == "pickled_module"
    assert "state_dict" in str(error)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    """A file whose pickle would write a file is refused, and the file is not there."""
    target = tmp_path / "written"
    bomb = b"\x80\x02cos\nmkdir\nX" + len(str(target)).to_bytes(4, "little") + str(target).encode() + b"\x85R."
    assert refuse(tmp_path / "bomb.pth", bomb, tmp_path).code == "pickle"
    assert not target.exists()
