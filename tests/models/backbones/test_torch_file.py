"""Files of torch: weights and harmless data are read, and nothing that a file names ever runs."""

from __future__ import annotations

import argparse
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models.backbones.torch_file import TorchFileBroken, TorchFileUnsafe, read_torch_file

STATE = {"weight": torch.arange(6.0).reshape(2, 3)}


def test_what_training_scripts_save_is_read(tmp_path: Path) -> None:
    kept = {
        "state_dict": STATE,
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1, output=Path("out")),
        "best": np.float64(0.5),
        "step": np.int64(7),
    }
    for legacy in (False, True):
        torch.save(kept, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
        read = read_torch_file(tmp_path / "a.pth")
        assert torch.equal(read["state_dict"]["weight"], STATE["weight"])
        assert (read["best"], read["args"].lr) == (0.5, 0.1)


class Bomb:
    """An object whose pickle runs a command when it is read."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_file_is_refused_by_name_and_does_not_run(tmp_path: Path, legacy: bool) -> None:
    witness = tmp_path / "ran"
    for kept in (Bomb(f"touch {witness}"), {"state_dict": STATE, "more": Bomb(f"touch {witness}")}, nn.Linear(2, 3)):
        torch.save(kept, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
        with pytest.raises(TorchFileUnsafe, match=r"system|torch\.nn\.modules\.linear\.Linear"):
            read_torch_file(tmp_path / "a.pth")
        assert not witness.exists()


def test_scripts_other_pickles_and_broken_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    file.write_bytes(pickle.dumps(Bomb(f"touch {tmp_path / 'ran'}")))
    with pytest.raises((TorchFileUnsafe, TorchFileBroken)):
        read_torch_file(file)
    assert not (tmp_path / "ran").exists()
    torch.save(STATE, file)
    for content in (file.read_bytes()[:-100], b"", b"nonsense"):
        file.write_bytes(content)
        with pytest.raises(TorchFileBroken):
            read_torch_file(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/constants.pkl", b"")
        archive.writestr("a/data.pkl", b"")
        archive.writestr("a/version", b"3")
    with pytest.raises(TorchFileUnsafe, match="TorchScript"):
        read_torch_file(file)
