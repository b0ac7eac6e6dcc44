"""Locked folders: empty, there while their context lasts, and removed by nobody else."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from service.locked_folder import lock_folder, remove_unlocked

if TYPE_CHECKING:
    import pytest


def test_a_locked_folder_is_removed_with_its_context_alone(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "scratch") as folder, lock_folder(tmp_path / "scratch") as other:
        assert folder != other
        assert list(folder.iterdir()) == []
        for made in (tmp_path / "scratch").iterdir():
            remove_unlocked(made)
        assert folder.exists()
        assert other.exists()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_any_other_folder_is_removed(tmp_path: Path) -> None:
    for name in ("empty", "with_a_lock_that_nobody_holds"):
        (tmp_path / name).mkdir()
    (tmp_path / "with_a_lock_that_nobody_holds" / "lock").touch()
    for path in list(tmp_path.iterdir()):
        remove_unlocked(path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_removed_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, made = tempfile.mkdtemp, []

    def make_and_lose(**options: str) -> str:
        made.append(make(**options))
        if len(made) == 1:
            remove_unlocked(Path(made[0]))
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", make_and_lose)
    with lock_folder(tmp_path) as folder:
        assert folder.is_dir()
    assert len(made) == 2
