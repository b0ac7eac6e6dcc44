"""Errors of devices get names that stay the same, whichever library raises them."""

from __future__ import annotations

import pytest
import torch

from models.runtime.devices import translate_errors
from models.runtime.gpu_error import GpuError


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (MemoryError(), MemoryError),
        (torch.OutOfMemoryError("CUDA out of memory."), MemoryError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), MemoryError),
        (RuntimeError("could not create a primitive"), MemoryError),
        (RuntimeError("std::bad_alloc"), MemoryError),
        (RuntimeError("CUDA error: device-side assert triggered"), GpuError),
        (RuntimeError("shapes do not match"), RuntimeError),
    ],
)
def test_lack_of_memory_and_failures_of_a_gpu_are_told_apart(error: Exception, name: type[Exception]) -> None:
    with pytest.raises(name) as caught, translate_errors():
        raise error
    assert type(caught.value) is name


def test_an_allocation_beyond_the_machine_is_a_lack_of_memory() -> None:
    with pytest.raises(MemoryError), translate_errors():
        torch.empty(1 << 60)
