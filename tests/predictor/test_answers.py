"""Probabilities and the order of classes, against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from predictor.answers import choose_top

LOGITS = np.array([[[1.0, 3.0, 2.0, 3.0], [-900.0, 0.0, 0.0, 900.0]]], np.float32)


@pytest.mark.parametrize("top_k", [1, 2, 9])
def test_the_greatest_come_first_and_of_equal_ones_the_first_class(top_k: int) -> None:
    found = choose_top(LOGITS, top_k, is_multi_label=False)
    assert found.indices[0].tolist() == [[1, 3, 2, 0][:top_k], [3, 1, 2, 0][:top_k]]
    expected = torch.from_numpy(LOGITS).double().softmax(-1).numpy()
    np.testing.assert_allclose(found.probabilities, np.take_along_axis(expected, found.indices, -1), rtol=1e-12)


def test_of_several_labels_each_has_a_probability_of_its_own() -> None:
    found = choose_top(LOGITS, 4, is_multi_label=True)
    expected = torch.from_numpy(LOGITS).double().sigmoid().numpy()
    np.testing.assert_allclose(
        found.probabilities, np.take_along_axis(expected, found.indices, -1), rtol=1e-9, atol=1e-300
    )
