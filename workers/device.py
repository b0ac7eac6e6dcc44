"""GRAFT_DEVICE, tried at the start of a worker: a device that is not there is reported before any job fails."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

from pydantic import BaseModel

from service.startup import CannotStart
from workers.child_process import Child

ALWAYS_THERE = ("auto", "cpu")
NVIDIA_DRIVER = "libcuda.so.1"
AMD_DRIVER = Path("/dev/kfd")
"""ROCm's builds of PyTorch call their devices cuda too."""
MODULE = "workers.entrypoints.device"


class DeviceOrder(BaseModel):
    """Input of the child that tries the device."""

    device: str


class DeviceTried(BaseModel):
    """Why networks cannot run on the device; None if they can."""

    problem: str | None


def check_driver(device: str) -> None:
    """Check at once, before torch is loaded, that a GPU's driver is installed. Raises CannotStart."""
    if not device.startswith("cuda"):
        return
    try:
        ctypes.CDLL(NVIDIA_DRIVER)
    except OSError:
        if not AMD_DRIVER.exists():
            _report(device, f"no NVIDIA driver is installed ({NVIDIA_DRIVER}).")


def check(device: str) -> None:
    """Check that networks can run on the device, in a child of the fork server. Raises CannotStart, ChildDied."""
    if device in ALWAYS_THERE:
        return
    with Child(MODULE, DeviceOrder(device=device)) as child:
        (line,) = [line for batch in child.read_batches() for line in batch]
    _report(device, DeviceTried.model_validate_json(line).problem)


def check_in_a_process(device: str) -> None:
    """Check likewise in a process of its own, for one that keeps no fork server. Raises CannotStart."""
    if device in ALWAYS_THERE:
        return
    # Else Python imports a user's own `models` from the current folder first.
    env = {**os.environ, "PYTHONSAFEPATH": "1"}
    tried = subprocess.run(
        [sys.executable, "-m", MODULE, device], env=env, stdout=subprocess.PIPE, text=True, check=False
    )
    _report(device, tried.stdout.strip())


def _report(device: str, problem: str | None) -> None:
    if problem:
        raise CannotStart(
            f"GRAFT_DEVICE={device}: it cannot be used here: {problem} Set GRAFT_DEVICE to auto or cpu to train "
            "without it."
        )
