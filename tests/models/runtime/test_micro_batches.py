"""Work that does not fit the memory is done in parts, and says the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.features.engines.eager import Eager
from models.features.engines.normalize import Normalize
from models.runtime.micro_batches import MicroBatches
from tests.support.small_pack import PREPROCESSING, Corner


class Small(torch.nn.Module):
    """Memory for `most` images; for more, it fails as a device's allocator does."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.asked: list[int] = []

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the rows."""
        self.asked.append(len(rows))
        if len(rows) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return rows


def test_the_trunk_computes_in_parts_what_does_not_fit() -> None:
    normalize = Normalize(PREPROCESSING)
    small = Small(5)
    shown = np.random.default_rng(0).integers(0, 255, (16, 3, *PREPROCESSING.input_size[1:]), np.uint8)
    whole = Eager(Corner(), normalize, torch.float32)(shown)
    engine = Eager(torch.nn.Sequential(small, Corner()), normalize, torch.float32)
    np.testing.assert_allclose(engine(shown), whole, rtol=1e-6)
    assert engine.micro_batches.count == 4
    small.asked.clear()
    engine(shown)
    assert small.asked == [4, 4, 4, 4], "it remembers"


def test_more_parts_than_there_are_images_are_none() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        MicroBatches().run(lambda count: Small(0)(torch.zeros(4 // count, 1)), 4)


def test_a_real_lack_of_memory_is_known() -> None:
    def act(count: int) -> int:
        torch.empty((1 << 60) // count**30, dtype=torch.uint8)
        return count

    assert MicroBatches().run(act, 8) == 2


def test_other_errors_are_none_of_memory() -> None:
    parts = MicroBatches()
    with pytest.raises(RuntimeError, match="tensor size"):
        parts.run(lambda count: torch.zeros(2) @ torch.zeros(3), 8)
    assert parts.count == 1
