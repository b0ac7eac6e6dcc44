"""Headers are built to the byte from what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from graft import file_header
from models.runtime.checkpoint_file import write

if TYPE_CHECKING:
    from pathlib import Path


def read_header(path: Path) -> bytes:
    """The header of a file, with its length before it."""
    content = path.read_bytes()
    return content[: 8 + int.from_bytes(content[:8], "little")]


def test_a_header_that_graft_writes_is_built_again(tmp_path: Path) -> None:
    tensors = {
        "z": torch.zeros(2, 3),
        "a": torch.zeros((), dtype=torch.int64),
        "m": torch.zeros(0, 4, dtype=torch.bfloat16),
        "ü": torch.zeros(3, dtype=torch.bool),
    }
    write(tmp_path / "a", tensors, {"names": '["é"]', "b": "x\n"})
    header = read_header(tmp_path / "a")
    parsed = file_header.parse(header)
    assert [entry.name for entry in parsed.entries] == ["a", "z", "m", "ü"]
    assert [entry.bytes for entry in parsed.entries] == [8, 24, 0, 3]
    assert file_header.build(*parsed) == header


def test_a_header_of_another_writer_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3, dtype=torch.int8), "b": torch.zeros(3)}, tmp_path / "a", {"k": "v"})
    header = read_header(tmp_path / "a")
    with pytest.raises(ValueError, match="not one that Graft writes"):
        file_header.parse(header.replace(b'"k":"v"', b'"k": "v"'))
