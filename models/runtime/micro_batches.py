"""Micro-batches: a batch that does not fit the memory as a whole goes through a network in several parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch

from models.messages import Noted
from models.runtime.devices import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


class MicroBatches:
    """Splits batches into twice as many parts each time that memory is short."""

    def __init__(self) -> None:
        self.count = 1

    def run(self, compute: Callable[[int], Result], most: int) -> Result:
        """Call `compute(count)` with as few parts as fit the memory, `most` at most, and return its result.

        Raises what `compute` raises, where that is no lack of memory, or more parts would be too many.
        """
        while True:
            try:
                return compute(self.count)
            except RuntimeError as error:
                if not is_out_of_memory(error) or 2 * self.count > most:
                    raise
            self.count *= 2
            torch.cuda.empty_cache()


def report_micro_batches(micro_batches: MicroBatches, size: int) -> Noted:
    """Report that batches of `size` images are split from now on."""
    return Noted(
        level="warning",
        kind="micro_batches",
        message=f"Memory was short: each batch of {size} goes through the network in {micro_batches.count} parts; all "
        "figures stay those of whole batches.",
        data={"parts": micro_batches.count, "batch_size": size},
    )
