"""Devices: CUDA, MPS or CPU, and exact arithmetic on them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from models.runtime.gpu_error import GpuError

if TYPE_CHECKING:
    from collections.abc import Iterator


def choose(name: str) -> torch.device:
    """Choose a device by name; `auto` takes the first of CUDA, MPS and CPU that is there."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def compute_exactly() -> None:
    """Turn TF32 off on GPUs: by default convolutions round their inputs to 10 bits."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def is_out_of_memory(error: BaseException) -> bool:
    """Recognize out-of-memory errors, of a GPU or the machine."""
    # A processor's allocator has no class of error of its own.
    is_named = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return is_named or "DefaultCPUAllocator: can't allocate memory" in str(error)


def is_gpu_error(error: BaseException) -> bool:
    """Recognize failures of a GPU after which the process cannot use it."""
    return isinstance(error, torch.AcceleratorError) or (isinstance(error, RuntimeError) and "CUDA error" in str(error))


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise torch's errors of memory and GPUs as MemoryError and GpuError, which can be told apart without torch."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryError(str(error)) from error
        if is_gpu_error(error):
            raise GpuError(str(error)) from error
        raise
