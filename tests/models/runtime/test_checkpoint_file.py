"""Checkpoint files: safetensors that its library reads, the same bytes each time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from models.runtime.checkpoint_file import TYPES, collect_metadata, write

if TYPE_CHECKING:
    from pathlib import Path


def tensors() -> dict[str, torch.Tensor]:
    """One tensor of each type, a scalar, an empty one, and one that does not lie in one piece."""
    made = {str(kind): torch.arange(6).reshape(2, 3).to(kind) for kind in TYPES}
    return made | {"scalar": torch.tensor(3.5), "empty": torch.zeros(0, 4), "strided": torch.arange(12).reshape(3, 4).T}


def test_the_library_reads_what_we_write(tmp_path: Path) -> None:
    write(tmp_path / "a", tensors(), {"name": "ä", "classes": '["x"]'})
    read = load_file(tmp_path / "a")
    assert read.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)
    with safe_open(tmp_path / "a", "pt") as file:
        assert file.metadata() == {"name": "ä", "classes": '["x"]'}


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a", tensors(), {"x": "1", "y": "2"})
    write(tmp_path / "b", dict(reversed(tensors().items())), {"y": "2", "x": "1"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_tensors_are_aligned_to_their_types(tmp_path: Path) -> None:
    write(tmp_path / "a", tensors(), {})
    content = (tmp_path / "a").read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0
    for name, entry in json.loads(content[8 : 8 + length]).items():
        if name != "__metadata__":
            assert entry["data_offsets"][0] % tensors()[name].element_size() == 0


def test_metadata_are_strings_with_the_versions() -> None:
    metadata = collect_metadata(architecture="resnet18", num_classes=2, class_names=["a", "b"])
    assert metadata["architecture"] == "resnet18"
    assert metadata["num_classes"] == "2"
    assert json.loads(metadata["class_names"]) == ["a", "b"]
    assert {"graft_version", "torch_version", "timm_version", "python_version"} < metadata.keys()


def test_a_type_that_the_format_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        write(tmp_path / "a", {"x": torch.zeros(1, dtype=torch.complex64)}, {})
