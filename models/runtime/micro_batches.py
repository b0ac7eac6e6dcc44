"""Parts: a batch that does not fit the memory as a whole goes through a network in several."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch

from models.messages import Noted
from models.runtime.devices import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


class MicroBatches:
    """In how many parts; twice as many each time that memory is short."""

    def __init__(self) -> None:
        self.count = 1

    def run(self, act: Callable[[int], Result], most: int) -> Result:
        """What `act(count)` gives, with as few parts as fit the memory, at `most` so many.

        Raises what `act` raises, where that is no lack of memory, or more parts would be too many.
        """
        while True:
            try:
                return act(self.count)
            except RuntimeError as error:
                if not is_out_of_memory(error) or 2 * self.count > most:
                    raise
            self.count *= 2
            torch.cuda.empty_cache()


def report_micro_batches(parts: MicroBatches, size: int) -> Noted:
    """That batches of so many images are parted from now on."""
    return Noted(
        level="warning",
        kind="micro_batches",
        message=f"Memory was short: each batch of {size} goes through the network in {parts.count} parts; all figures "
        "stay those of whole batches.",
        data={"parts": parts.count, "batch_size": size},
    )
