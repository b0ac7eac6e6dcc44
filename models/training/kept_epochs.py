"""Epochs whose weights are kept beside the best ones: the last, or each that was the best so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from models.catalog.recipe import Keep

    State = dict[str, torch.Tensor]

MOST_IMPROVEMENTS = 10
"""Improvements that are kept beside the best epoch, the newest."""
MOST_BYTES = 1 << 30
"""Bytes of trained weights of all improvements, of which one is kept all the same: snapshots hold them too."""


class KeptEpoch(NamedTuple):
    """An epoch that is kept: its kind of checkpoint, its number and its weights."""

    kind: Literal["last", "improved"]
    epoch: int
    state: State


class KeptEpochs:
    """Keeps the weights of epochs that a recipe asks for beside the best ones."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._epochs: list[tuple[int, State]] = []
        self.dropped = 0
        """Improvements that were dropped, the oldest, because there were too many."""

    def add_epoch(self, epoch: int, copy_state: Callable[[], State], *, improves: bool) -> None:
        """Take an epoch into account; `improves`: it is the best so far."""
        if self._keep == "last":
            self._epochs = [(epoch, copy_state())]
        elif self._keep == "improvements" and improves:
            state = copy_state()
            self._epochs.append((epoch, state))
            most = _count_most(state)
            self.dropped += max(0, len(self._epochs) - most)
            del self._epochs[:-most]

    def list_epochs(self, best: int) -> list[KeptEpoch]:
        """List the kept epochs in order; `best` is delivered by itself, and no improvement beside it."""
        if self._keep == "last":
            return [KeptEpoch("last", epoch, state) for epoch, state in self._epochs]
        return [KeptEpoch("improved", epoch, state) for epoch, state in self._epochs if epoch != best]

    def state_dict(self) -> dict[str, Any]:
        """State to resume from; its tensors are shared, not copied."""
        epochs = [{"epoch": epoch, "model": state} for epoch, state in self._epochs]
        return {"epochs": epochs, "dropped": self.dropped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict()` gave."""
        self._epochs = [(kept["epoch"], kept["model"]) for kept in state["epochs"]]
        self.dropped = state["dropped"]


def _count_most(state: State) -> int:
    """Count the improvements that are kept, the newest of which is the best epoch."""
    size = sum(tensor.nbytes for tensor in state.values())
    return 1 + min(MOST_IMPROVEMENTS, max(1, MOST_BYTES // size))
