"""Fixtures: scikit-learn's digits with a feature cache of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from experiments.material import Material, open_material

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """Handwritten digits, and the backbone that ships with Graft."""
    return open_material(tmp_path_factory.mktemp("experiments"), None)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread, as the experiments do: a second one only makes small steps slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
