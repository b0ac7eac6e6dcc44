"""Limits on building a network: arguments that somebody else wrote may ask for any number of layers of any size.

The limits are watched while the network is built without weights, on the meta device, where tensors have no memory.
"""

from __future__ import annotations

import resource
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

MAX_MODULES = 20_000
"""Most layers, containers of layers included: the network of timm with the most has about a fourth."""
MAX_PARAMETERS = 16_000_000_000
"""Most parameters: the largest network of timm has 6.7 billion."""
MAX_SECONDS = 60.0
"""Longest time in which the network may be built."""
MAX_BYTES = 2 << 30
"""Most memory that building may take beyond what the process has."""


class NetworkTooLarge(Exception):
    """The network has more layers or parameters than any that is known, or takes too long to build."""


@contextmanager
def limit_construction() -> Iterator[None]:
    """Limit what is built inside the `with` block; raises NetworkTooLarge, or MemoryError."""
    deadline = time.monotonic() + MAX_SECONDS
    modules = parameters = 0

    def count_module(_: nn.Module, name: str, module: nn.Module | None) -> None:
        nonlocal modules
        modules += 1
        if modules > MAX_MODULES:
            raise NetworkTooLarge(f"it has more than {MAX_MODULES:,} layers")
        if time.monotonic() > deadline:
            raise NetworkTooLarge(f"building it takes more than {MAX_SECONDS:.0f} seconds")

    def count_parameter(_: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal parameters
        parameters += 0 if parameter is None else parameter.numel()
        if parameters > MAX_PARAMETERS:
            raise NetworkTooLarge(f"it has more than {MAX_PARAMETERS:,} parameters")

    with ExitStack() as stack:
        stack.enter_context(register_module_module_registration_hook(count_module))
        stack.enter_context(register_module_parameter_registration_hook(count_parameter))
        stack.enter_context(_limit_memory())
        yield


@contextmanager
def _limit_memory() -> Iterator[None]:
    """Limit the memory that this process may take beyond what it has; Linux only."""
    if not sys.platform.startswith("linux"):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _count_data_bytes() + MAX_BYTES
    if soft != resource.RLIM_INFINITY:
        limit = min(limit, soft)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _count_data_bytes() -> int:
    """Count the bytes of this process that RLIMIT_DATA limits."""
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    return pages * resource.getpagesize()
