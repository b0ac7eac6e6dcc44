"""Devices: CUDA, MPS or CPU, and exact arithmetic on them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from models.runtime.gpu_error import GpuError

if TYPE_CHECKING:
    from collections.abc import Iterator


CPU_MEMORY_ERRORS = (
    "DefaultCPUAllocator: can't allocate memory",
    "could not create a primitive",  # oneDNN, whose convolutions get no memory for their code or their scratchpad
    "could not create a memory",
    "std::bad_alloc",
)
"""What torch's libraries say when the machine's memory is short; they have no class of error for it."""


def choose(name: str) -> torch.device:
    """Choose a device by name; `auto` takes the first of CUDA, MPS and CPU that is there."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def find_problem(name: str) -> str | None:
    """Find out why tensors cannot be put on a device, in torch's words; None if they can."""
    try:
        torch.empty(1, device=choose(name))
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without CUDA
        return str(error).split("\n", 1)[0].rstrip(".") + "."
    return None


def compute_exactly() -> None:
    """Turn TF32 off on GPUs: by default convolutions round their inputs to 10 bits."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def is_out_of_memory(error: BaseException) -> bool:
    """Recognize out-of-memory errors, of a GPU or the machine."""
    is_named = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return is_named or any(message in str(error) for message in CPU_MEMORY_ERRORS)


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
