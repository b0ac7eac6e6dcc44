"""Fixtures: scikit-learn's digits with a feature cache of their own."""

from __future__ import annotations

import pytest

from experiments.material import Material, open_material


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """Handwritten digits, and the backbone that ships with Graft."""
    return open_material(tmp_path_factory.mktemp("experiments"), None)
