"""Our layers, against torch's own or their definition."""

from __future__ import annotations

import pytest
import torch

from models.nn.layers import Dropout, RowsOfLength


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.9])
def test_dropout_drops_as_many_as_it_says_independently_and_keeps_the_mean(p: float) -> None:
    torch.manual_seed(0)
    x = torch.rand(400, 500) + 1
    dropped = Dropout(p)(x)
    is_kept = dropped != 0
    count = x.numel()
    assert is_kept.float().mean() == pytest.approx(1 - p, abs=4 * (p * (1 - p) / count) ** 0.5)
    torch.testing.assert_close(dropped[is_kept], x[is_kept] / (1 - p), rtol=1e-4, atol=0)
    for one, other in (
        (is_kept[1:], is_kept[:-1]),
        (is_kept[:, 1:], is_kept[:, :-1]),
        (is_kept[:, 4:], is_kept[:, :-4]),
    ):
        both = (one & other).float().mean()
        assert both == pytest.approx((1 - p) ** 2, abs=6 / count**0.5)


def test_dropout_is_another_each_time_and_the_same_from_the_same_seed() -> None:
    x, dropout = torch.ones(1000), Dropout(0.5)
    torch.manual_seed(3)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(3)
    assert torch.equal(dropout(x), first)
    assert not torch.equal(first, second)


def test_dropout_lets_the_gradient_through_where_it_keeps() -> None:
    x = torch.ones(50, 3, requires_grad=True)
    output = Dropout(0.4)(x)
    output.sum().backward()
    torch.testing.assert_close(x.grad, output.detach())


@pytest.mark.parametrize("dropout", [Dropout(0.5).eval(), Dropout(0.0), Dropout(0.0).eval()])
def test_dropout_changes_nothing_where_there_is_nothing_to_drop(dropout: Dropout) -> None:
    x = torch.randn(7, 5)
    assert torch.equal(dropout(x), x)


@pytest.mark.parametrize("size", [(0, 3), (1,), (3,), (2, 5, 7)])
def test_dropout_takes_any_shape(size: tuple[int, ...]) -> None:
    assert Dropout(0.3)(torch.ones(size)).shape == size


def test_nearly_everything_dropped_is_still_finite() -> None:
    assert Dropout(0.9999999)(torch.ones(10**6)).isfinite().all()


def test_rows_have_the_length_and_keep_their_direction() -> None:
    weight = torch.randn(4, 6)
    rows = RowsOfLength(2.5)(weight)
    torch.testing.assert_close(rows.norm(dim=1), torch.full((4,), 2.5))
    torch.testing.assert_close(rows / 2.5, weight / weight.norm(dim=1, keepdim=True))
