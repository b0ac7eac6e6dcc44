"""States of random number generators: the processor's, and that of the training's own device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from models.runtime.rng import get_random_state, set_random_state

if TYPE_CHECKING:
    import pytest


def test_a_restored_state_gives_the_same_numbers() -> None:
    device = torch.device("cpu")
    state = get_random_state(device)
    assert state.keys() == {"cpu"}
    first = torch.rand(3)
    set_random_state(state, device)
    torch.testing.assert_close(torch.rand(3), first, rtol=0, atol=0)


def test_the_generator_is_that_of_the_trainings_gpu_not_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own functions are replaced: no machine of ours has two GPUs."""
    states = {torch.device("cuda:0"): torch.tensor([0]), torch.device("cuda:1"): torch.tensor([1])}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device="cuda:0": states[torch.device(device)].clone())
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, device="cuda:0": states.update({torch.device(device): state})
    )
    device = torch.device("cuda:1")
    saved = get_random_state(device)
    states[device] = torch.tensor([7])
    set_random_state(saved, device)
    assert {str(device): int(state) for device, state in states.items()} == {"cuda:0": 0, "cuda:1": 1}


def test_a_state_saved_on_a_gpu_is_restored_as_far_as_a_machine_without_one_can() -> None:
    state = get_random_state(torch.device("cpu"))
    set_random_state({**state, "cuda": torch.tensor([0])}, torch.device("cpu"))
