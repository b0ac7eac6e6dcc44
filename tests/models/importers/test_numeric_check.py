"""Right networks agree with their original's runtime within their own rounding, and wrong ones are rejected."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from models.importers.errors import ImportRejected
from models.importers.numeric_check import SAFETY, SPREAD, check_numbers, measure_spread
from models.runtime.supervisor_callbacks import no_heartbeat
from tests.support.imported_networks import OnnxOriginal, as_read, make_graph, make_images, make_network

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.imported_networks import SmallNetwork


@pytest.fixture(scope="module")
def network() -> SmallNetwork:
    return make_network()


@pytest.fixture(scope="module")
def original(network: SmallNetwork) -> OnnxOriginal:
    return OnnxOriginal(network)


def test_the_right_network_is_verified(network: SmallNetwork, original: OnnxOriginal) -> None:
    check = check_numbers(as_read(make_graph(network), original), make_images(), no_heartbeat)
    assert check.verdict == "verified", check.message
    assert [(one.images, one.batch, one.count) for one in check.comparisons] == [
        ("random", 1, 3), ("random", 3, 3), ("rendered", 1, 8), ("rendered", 3, 8),
    ]  # fmt: skip
    for one in check.comparisons:
        assert one.measure == "logits"
        assert 0.0 < one.own_rounding < 1e-3
        assert one.bound == SAFETY * one.own_rounding
        assert one.greatest_difference <= one.bound
        assert one.top1_agreement == 1.0
    assert max(one.spread / one.bound for one in check.comparisons) > 10 * SPREAD


@pytest.mark.parametrize(
    ("end", "measures"),
    [
        (nn.Softmax(1), {"log_probabilities"}),
        (nn.LogSoftmax(1), {"log_probabilities"}),
        (nn.Sigmoid(), {"probabilities"}),
    ],
    ids=["softmax", "log_softmax", "sigmoid"],
)
def test_probabilities_are_compared_with_logits(network: SmallNetwork, end: nn.Module, measures: set[str]) -> None:
    whole = OnnxOriginal(nn.Sequential(network, end).eval())
    check = check_numbers(as_read(make_graph(network), whole, has_softmax=True), make_images(), no_heartbeat)
    assert check.verdict == "verified", check.message
    assert {one.measure for one in check.comparisons} == measures


def test_outputs_that_are_no_probabilities_are_rejected(network: SmallNetwork, original: OnnxOriginal) -> None:
    with pytest.raises(ImportRejected, match="no probabilities") as caught:
        check_numbers(as_read(make_graph(network), original, has_softmax=True), make_images(), no_heartbeat)
    assert caught.value.code == "conversion_differs"


class Shifted(nn.Module):
    """A convolution whose padding lies at the other side, as TensorFlow's SAME has it."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = copy.deepcopy(convolution)
        self.convolution.padding = (0, 0)
        self.pad = nn.ZeroPad2d((0, 2, 0, 2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.convolution(self.pad(images))
        return output


def flip_channels(network: Any) -> None:
    network.stem.weight.copy_(network.stem.weight.flip(1))


def transpose_kernel(network: Any) -> None:
    network.depthwise.weight.copy_(network.depthwise.weight.transpose(2, 3).clone())


def change_one_weight(network: Any) -> None:
    network.wide.weight[0, 0, 0, 0] += 0.01


WRONG: dict[str, Callable[[Any], None]] = {
    "an epsilon of 1e-5 in place of 1e-3": lambda network: setattr(network.norm, "eps", 1e-5),
    "padding at the other side": lambda network: setattr(network, "stem", Shifted(network.stem)),
    "BGR in place of RGB": flip_channels,
    "a transposed kernel": transpose_kernel,
    "a clamp left out": lambda network: setattr(network, "act", nn.ReLU()),
    "a pool that does not count its padding": lambda network: setattr(network.pool, "count_include_pad", False),
    "SiLU in place of hard swish": lambda network: setattr(network, "last", nn.SiLU()),
    "one weight": change_one_weight,
}


@pytest.mark.parametrize("mistake", WRONG)
def test_wrong_networks_are_rejected(mistake: str, network: SmallNetwork, original: OnnxOriginal) -> None:
    wrong = copy.deepcopy(network)
    with torch.no_grad():
        WRONG[mistake](wrong)
    with pytest.raises(ImportRejected) as caught:
        check_numbers(as_read(make_graph(wrong), original), make_images(), no_heartbeat)
    assert caught.value.code == "conversion_differs"
    assert "onnxruntime" in str(caught.value)
    assert caught.value.numeric is not None
    assert caught.value.numeric.comparisons


def test_another_number_of_classes_is_rejected(network: SmallNetwork, original: OnnxOriginal) -> None:
    wrong = copy.deepcopy(network)
    wrong.classifier = nn.Linear(24 * 64, 11)
    with pytest.raises(ImportRejected, match=r"\[3, 10\], the network's of \[3, 11\]"):
        check_numbers(as_read(make_graph(wrong), original), make_images(), no_heartbeat)


def test_a_network_that_says_the_same_of_all_images_proves_nothing(network: SmallNetwork) -> None:
    """Right and wrong agree alike there: with weights as small as these, even channels that are flipped do not show."""
    dead = copy.deepcopy(network)
    with torch.no_grad():
        dead.classifier.weight.mul_(1e-8)
        dead.classifier.bias.fill_(1.0)
    flipped = copy.deepcopy(dead)
    with torch.no_grad():
        flip_channels(flipped)
    check = check_numbers(as_read(make_graph(flipped), OnnxOriginal(dead)), make_images(), no_heartbeat)
    assert check.verdict == "unproven"
    assert "too little" in check.message


def test_without_a_runtime_nothing_is_verified(network: SmallNetwork) -> None:
    check = check_numbers(as_read(make_graph(network)), make_images(), no_heartbeat)
    assert (check.verdict, check.comparisons) == ("unverified", [])


def test_the_library_that_read_the_file_gives_a_second_opinion(network: SmallNetwork) -> None:
    opinion = OnnxOriginal(network)
    opinion.is_independent = False
    assert check_numbers(as_read(make_graph(network), opinion), make_images(), no_heartbeat).verdict == "second_opinion"


def test_numbers_that_are_not_finite_are_rejected(network: SmallNetwork) -> None:
    broken = copy.deepcopy(network)
    with torch.no_grad():
        broken.wide.weight.fill_(float("nan"))
    with pytest.raises(ImportRejected) as caught:
        check_numbers(as_read(make_graph(broken), OnnxOriginal(broken)), make_images(), no_heartbeat)
    assert caught.value.code == "not_finite"


def test_the_spread_is_the_median_distance_to_the_mean_output() -> None:
    assert measure_spread(np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]])) == 2.0
    assert measure_spread(np.ones((4, 5))) == 0.0
