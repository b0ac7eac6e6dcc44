"""The last layers of networks: shares and new weights, against a network that is written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.networks.classifier import Classifier, can_be_last, width


class Three(nn.Module):
    """Says 0.7 one(x) + 0.3 two(x) + 2 three(y), and a tenth of the most that a fourth layer says of any place."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 9), nn.Linear(4, 9)
        self.three = nn.Conv2d(5, 9, 1)
        self.four = nn.Linear(3, 9)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x, y, places = image[:, :4], image[:, 4:9], image[:, 9:].reshape(-1, 4, 3)
        alike = 0.7 * self.one(x) + 0.3 * self.two(x)
        logits: torch.Tensor = alike + 2 * self.three(y[..., None, None]).flatten(1) + 0.1 * self.four(places).amax(1)
        return logits


@pytest.fixture
def whole() -> Three:
    """The network."""
    torch.manual_seed(0)
    return Three().requires_grad_(False)


@pytest.fixture
def classifier(whole: Three) -> Classifier:
    """Its last layers, measured."""
    x, y = slice(0, 4), slice(4, 9)
    given = {whole.one: x, whole.two: x, whole.three: y, whole.four: None}
    return Classifier.measured(whole, given, torch.randn(1, 21))


def test_shares_are_measured(classifier: Classifier) -> None:
    assert [layer.share for layer in classifier.layers] == pytest.approx([0.7, 0.3, 2.0, 0.1])


def test_the_network_becomes_linear_on_its_features(whole: Three, classifier: Classifier) -> None:
    image, weight, bias = torch.randn(6, 21), torch.randn(3, 9), torch.randn(3)
    classifier.become(weight, bias)
    torch.testing.assert_close(whole(image), nn.functional.linear(image[:, :9], weight, bias))
    assert torch.equal(whole.one.weight, whole.two.weight), "on the same features, each alone says the same"
    assert (whole.one.out_features, whole.three.out_channels) == (3, 3)
    assert whole.three.weight.shape == (3, 5, 1, 1)
    assert not whole.four.weight.any(), "what is no function of the features is silent"


def test_it_can_become_another_again(whole: Three, classifier: Classifier) -> None:
    image, weight, bias = torch.randn(6, 21), torch.randn(3, 9), torch.randn(3)
    classifier.become(torch.randn(5, 9), torch.randn(5))
    classifier.become(weight, bias)
    torch.testing.assert_close(whole(image), nn.functional.linear(image[:, :9], weight, bias))


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.Linear(4, 2), True),
        (nn.Conv2d(4, 2, 1), True),
        (nn.Linear(4, 2, bias=False), False),
        (nn.Conv2d(4, 2, 3), False),
        (nn.Conv2d(4, 2, 1, groups=2), False),
        (nn.Identity(), False),
    ],
)
def test_what_can_be_last(module: nn.Module, expected: bool) -> None:
    assert can_be_last(module) == expected


def test_width() -> None:
    assert (width(nn.Linear(4, 2)), width(nn.Conv2d(5, 2, 1))) == (4, 5)
