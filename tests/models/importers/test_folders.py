"""The network in an archive is found at any depth, with what stands beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from models.importers.errors import ImportRejected
from models.importers.folders import recognize
from models.runtime.supervisor_callbacks import no_heartbeat
from tests.support.foreign_files import ONNX, PNG, safetensors_of, stored_zip, tar_with

if TYPE_CHECKING:
    from pathlib import Path

    from models.importers.folders import Upload

WEIGHTS = safetensors_of({"conv.weight": 4})


def find(data: bytes, tmp_path: Path) -> Upload:
    (tmp_path / "upload").write_bytes(data)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return recognize(tmp_path / "upload", "net.zip", scratch, no_heartbeat)


FOLDERS = {
    "SavedModel": ("saved_model", [("saved_model.pb", b"\x08\x01"), ("variables/variables.index", b"x")]),
    "timm": ("timm_folder", [("config.json", b'{"architecture": "resnet18"}'), ("model.safetensors", WEIGHTS)]),
    "transformers": (
        "transformers_folder",
        [("config.json", b'{"model_type": "vit"}'), ("model.safetensors", WEIGHTS)],
    ),
}


@pytest.mark.parametrize("depth", ["", "net/", "a/b/c/"])
@pytest.mark.parametrize("kind", FOLDERS)
def test_folders_are_found_at_any_depth(kind: str, depth: str, tmp_path: Path) -> None:
    format, files = FOLDERS[kind]
    upload = find(tar_with(*((f"{depth}{name}", data) for name, data in files), ("README.md", b"# text\n")), tmp_path)
    assert upload.format == format
    assert (upload.path / files[0][0]).is_file()
    assert len(upload.files) == 3


def test_the_outermost_folder_counts(tmp_path: Path) -> None:
    files = [*FOLDERS["transformers"][1], ("onnx/model.onnx", ONNX), ("tf/saved_model.pb", b"\x08\x01")]
    assert find(stored_zip(*files), tmp_path).format == "transformers_folder"


def test_a_lone_file_is_found_with_what_stands_beside_it(tmp_path: Path) -> None:
    upload = find(
        stored_zip(
            ("net/model.onnx", ONNX),
            ("net/labels.txt", b"cat\ndog\n"),
            ("samples/cat/1.png", PNG),
            ("graft.json", b"{}"),
        ),
        tmp_path,
    )
    assert (upload.format, upload.path.name) == ("onnx", "model.onnx")
    assert upload.labels is not None
    assert upload.labels.name == "labels.txt"
    assert upload.samples is not None
    assert (upload.samples / "cat" / "1.png").is_file()
    assert upload.settings is not None


def test_an_archive_in_an_archive_is_unpacked(tmp_path: Path) -> None:
    inner = tar_with(("model.onnx", ONNX))
    assert find(stored_zip(("artifact/model.tar.gz", inner)), tmp_path).format == "onnx"


def test_archives_without_end_are_not_unpacked(tmp_path: Path) -> None:
    data = stored_zip(("model.onnx", ONNX))
    for _ in range(6):
        data = stored_zip(("inner.zip", data))
    with pytest.raises(ImportRejected):
        find(data, tmp_path)


def test_two_networks_of_one_depth_are_rejected(tmp_path: Path) -> None:
    files = [(f"{name}/{file}", data) for name in ("first", "second") for file, data in FOLDERS["timm"][1]]
    with pytest.raises(ImportRejected, match="first, second") as caught:
        find(stored_zip(*files), tmp_path)
    assert caught.value.code == "several_networks"
