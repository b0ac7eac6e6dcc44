"""Description of the machine that figures were measured on."""

import os
import platform
from pathlib import Path

import timm
import torch


def describe() -> str:
    """Describe the processor, the GPU and the versions of torch and timm."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{len(os.sched_getaffinity(0))} cores of {model}, {device}; torch {torch.__version__}, timm {timm.__version__}"
    )
