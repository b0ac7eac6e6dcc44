"""Run other libraries, each in a virtual environment and a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.peers.outcome import Outcome

if TYPE_CHECKING:
    from benchmarks.peers.inputs import Inputs

SCRIPTS = Path(__file__).parent / "scripts"
ENVIRONMENTS = Path(__file__).parents[2] / ".benchmarks" / "environments"
"""Virtual environments, reused by later runs."""
TIMEOUT_SECONDS = 3600.0
"""Limit for one job."""
PEERS = {
    "handwritten_loop": "hand-written loop (timm, torchvision)",
    "scikit_learn_probe": "scikit-learn on eager features",
    "fastai_learner": "fastai, 5 frozen epochs",
    "autogluon_predictor": "AutoGluon MultiModal",
    "keras_application": "Keras",
}
"""Names in tables, by the names of the scripts."""


class PeerFailed(Exception):
    """A peer could not be installed or run; the message is its last line of output."""


def install(peer: str) -> Path:
    """Install a peer's environment, unless its requirements are unchanged; return its Python."""
    folder, requirements = ENVIRONMENTS / peer, SCRIPTS / f"{peer}.txt"
    python, installed = folder / "bin" / "python", folder / requirements.name
    if not installed.exists() or installed.read_bytes() != requirements.read_bytes():
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(requirements)])
        shutil.copy(requirements, installed)
    return python


def run(peer: str, inputs: Inputs, seed: int, *options: str) -> Outcome:
    """Run one job in the peer's installed environment, with options of its script; raises PeerFailed."""
    command = [str(ENVIRONMENTS / peer / "bin" / "python"), str(SCRIPTS / f"{peer}.py")]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(inputs.hub_cache)}
    began = time.perf_counter()
    output = _run([*command, str(inputs.images), str(inputs.backbone), str(seed), *options], offline)
    process_seconds = time.perf_counter() - began
    return Outcome(process_seconds=process_seconds, **json.loads(output.splitlines()[-1]))


def _run(command: list[str], variables: dict[str, str] | None = None) -> str:
    """Run a command in a temporary folder, since some leave files behind; return its output."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | (variables or {})
    with tempfile.TemporaryDirectory(prefix="graft-peer-") as folder:
        try:
            ended = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise PeerFailed(f"did not end within {TIMEOUT_SECONDS:.0f} s") from error
    if ended.returncode != 0:
        lines = ended.stderr.strip().splitlines() or [f"ended with status {ended.returncode}"]
        raise PeerFailed(lines[-1])
    return ended.stdout
