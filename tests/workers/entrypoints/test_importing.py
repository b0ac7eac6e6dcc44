"""The importing child with files that ran code by default elsewhere: none does here, and each is refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from models.importers.events import IMPORT_EVENT, Progressed, Rejected
from models.importers.request import ImportRequest
from tests.support import hostile_files
from workers.child_process import Child, start_fork_server
from workers.work.importing import ImportOrder

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.extended

SECRET = "a secret of this machine "


@pytest.fixture(scope="module", autouse=True)
def _fork_server() -> None:
    """Have the libraries loaded once, and not by each child."""
    start_fork_server()


def refuse(tmp_path: Path, name: str, content: bytes | None = None, architecture: str | None = None) -> Rejected:
    """Have the child import a file that must be refused without its code having run; gives the refusal."""
    path, folder, work = tmp_path / name, tmp_path / "result", tmp_path / "work"
    if content is not None:
        path.write_bytes(content)
    folder.mkdir()
    work.mkdir()
    request = ImportRequest(file=path, folder=folder, name=name, architecture=architecture)
    order = ImportOrder(request=request, scratch=work, most_cpu_seconds=120, most_file_bytes=1 << 30)
    with Child("workers.entrypoints.importing", order) as child:
        lines = [line for batch in child.read_batches() for line in batch]
    *others, last = [IMPORT_EVENT.validate_json(line) for line in lines]
    assert all(isinstance(event, Progressed) for event in others)
    assert isinstance(last, Rejected)
    assert list(tmp_path.rglob(hostile_files.RAN)) == [], "its code has run"
    assert SECRET not in last.model_dump_json()
    assert list(folder.iterdir()) == []
    return last


CODES = {
    "bomb.pkl": "pickle",
    "program.pt2": "pt2",
    "script.pt": "torchscript",
}
"""Codes by the file's name; all others are file_unsafe."""


@pytest.mark.parametrize("name", hostile_files.PICKLES)
def test_no_pickle_is_run(name: str, tmp_path: Path) -> None:
    refused = refuse(
        tmp_path, name, hostile_files.PICKLES[name], "vit_tiny_patch16_224" if "npz" in name else "resnet18"
    )
    assert refused.code == CODES.get(name, "file_unsafe"), refused.message


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "secret"])
def test_external_data_of_onnx_is_not_read(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET * 9)
    refused = refuse(tmp_path, "net.onnx", hostile_files.write_onnx_with_external_data(location))
    assert refused.code == "unsupported_model", refused.message
    assert "save" in refused.message


@pytest.mark.parametrize("name", ["net.keras", "net.h5"])
def test_the_code_of_a_lambda_is_not_run(name: str, tmp_path: Path) -> None:
    hostile_files.save_keras_with_lambda(tmp_path / name)
    refused = refuse(tmp_path, name)
    assert "Lambda" in refused.message, refused.message


@pytest.mark.parametrize(("module", "function"), [("os", "system"), ("builtins", "exec"), ("keras.utils", "get_file")])
def test_a_function_that_keras_is_told_of_is_not_called(module: str, function: str, tmp_path: Path) -> None:
    refused = refuse(tmp_path, "net.keras", hostile_files.write_keras_naming_a_function(module, function))
    assert "Lambda" in refused.message, refused.message


def test_a_saved_model_writes_no_file(tmp_path: Path) -> None:
    refused = refuse(tmp_path, "net.zip", hostile_files.write_saved_model_that_writes_a_file())
    assert refused.code in {"unsupported_operator", "file_broken"}, refused.message


def test_external_data_of_hdf5_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET * 9)
    hostile_files.write_hdf5_with_external_data(tmp_path / "net.h5", tmp_path / "secret")
    refuse(tmp_path, "net.h5", architecture="mobilenetv2_100")
