"""Steps of the optimizer where memory is short: the parts of a batch add up to the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from models.messages import EpochEnded, Noted
from tests.support.small_training import uncached_training

if TYPE_CHECKING:
    from models.datasets.pack import Pack
    from models.training.loop import Training


class Small(nn.Module):
    """Memory for `most` images; for more, it fails as a device's allocator does."""

    def __init__(self, error: RuntimeError, most: int) -> None:
        super().__init__()
        self.error, self.most = error, most

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the rows."""
        if torch.is_grad_enabled() and len(rows) > self.most:
            raise self.error
        return rows


def with_memory(pack: Pack, most: int, error: RuntimeError | None = None, **choices: Any) -> tuple[Training, list[Any]]:
    """A training whose network has memory for `most` images, and its events."""
    training = uncached_training(
        pack, head={"kind": "mlp", "hidden": [8], "dropout": 0.0}, early_stopping=None, **choices
    )
    if error is not None:
        training.model.top = Small(error, most)
    return training, list(training.train())


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
    ],
    ids=["device", "processor"],
)
@pytest.mark.parametrize("augmentations", [[], ["mixup"]], ids=["plain", "mixed"])
def test_a_batch_that_does_not_fit_goes_through_in_parts(
    pack: Pack, error: RuntimeError, augmentations: list[str]
) -> None:
    whole, _ = with_memory(pack, 16, augmentations=augmentations)
    parted, heard = with_memory(pack, 5, error, augmentations=augmentations)
    (note,) = (event for event in heard if isinstance(event, Noted) and event.kind == "micro_batches")
    assert note.data == {"parts": 4, "batch_size": 16}
    assert parted.train_step.micro_batches.count == 4
    for name, weight in whole.model.head.state_dict().items():
        torch.testing.assert_close(parted.model.head.state_dict()[name], weight, rtol=1e-3, atol=1e-5)


def test_memory_for_less_than_one_image_is_an_error(pack: Pack) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        with_memory(pack, 0, torch.OutOfMemoryError("CUDA out of memory."))


def test_another_error_is_none_of_memory(pack: Pack) -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        with_memory(pack, 5, RuntimeError("shapes do not fit"))


def test_figures_of_parts_are_those_of_the_whole(pack: Pack) -> None:
    _, whole = with_memory(pack, 16, augmentations=[])
    _, parted = with_memory(pack, 4, torch.OutOfMemoryError("CUDA out of memory."), augmentations=[])
    for one, other in zip(
        *([event for event in heard if isinstance(event, EpochEnded)] for heard in (whole, parted)), strict=True
    ):
        assert other.train_loss == pytest.approx(one.train_loss, rel=1e-4)
        assert other.train_accuracy == pytest.approx(one.train_accuracy, abs=0.02)
