"""Peers run in processes of their own; an error in one is reported, not raised."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks.peers import peer
from benchmarks.peers.inputs import Inputs
from benchmarks.peers.outcome import Outcome

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import json, os, sys
if int(sys.argv[3]) < 0:
    raise SystemExit("seeds below 0 are not for me")
print("Epoch 1 of 1")
print(json.dumps({"seconds": 1.5, "epochs": 3, "epoch_seconds": 0.5, "validation": 0.25, "test": 0.75}))
"""


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inputs:
    """Nothing to learn from, and a peer called `small` in the place of the real ones, with this Python."""
    monkeypatch.setattr(peer, "SCRIPTS", tmp_path)
    monkeypatch.setattr(peer, "ENVIRONMENTS", tmp_path / "environments")
    (tmp_path / "small.py").write_text(SCRIPT)
    python = tmp_path / "environments" / "small" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    return Inputs(tmp_path, tmp_path, tmp_path, tmp_path, "")


def test_the_last_line_is_the_outcome(inputs: Inputs) -> None:
    found = peer.run("small", inputs, 7)
    assert found == Outcome(found.process_seconds, 1.5, 3, 0.5, 0.25, 0.75)
    assert found.process_seconds > 0


def test_the_last_line_of_a_failed_peer_is_the_reason(inputs: Inputs) -> None:
    with pytest.raises(peer.PeerFailed, match=r"^seeds below 0 are not for me$"):
        peer.run("small", inputs, -1)


def test_each_peer_has_a_script_and_pinned_requirements() -> None:
    for name in peer.PEERS:
        assert (peer.SCRIPTS / f"{name}.py").is_file()
        lines = (peer.SCRIPTS / f"{name}.txt").read_text().splitlines()
        assert all("==" in line for line in lines if not line.startswith("#"))
