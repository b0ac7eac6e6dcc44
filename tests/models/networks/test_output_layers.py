"""Gains and new weights of output layers, against a network that is written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.networks.output_layers import Classifier, can_be_output, in_features


class Three(nn.Module):
    """Logits 0.7 one(x) + 0.3 two(x) + 2 three(y) + 0.1 max(four(patches))."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 9), nn.Linear(4, 9)
        self.three = nn.Conv2d(5, 9, 1)
        self.four = nn.Linear(3, 9)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x, y, patches = image[:, :4], image[:, 4:9], image[:, 9:].reshape(-1, 4, 3)
        alike = 0.7 * self.one(x) + 0.3 * self.two(x)
        logits: torch.Tensor = alike + 2 * self.three(y[..., None, None]).flatten(1) + 0.1 * self.four(patches).amax(1)
        return logits


@pytest.fixture
def whole() -> Three:
    """The network."""
    torch.manual_seed(0)
    return Three().requires_grad_(False)


@pytest.fixture
def classifier(whole: Three) -> Classifier:
    """Its output layers, with their gains."""
    x, y = slice(0, 4), slice(4, 9)
    layer_inputs = {whole.one: x, whole.two: x, whole.three: y, whole.four: None}
    return Classifier.from_layers(whole, layer_inputs, torch.randn(1, 21))


def test_gains_are_measured(classifier: Classifier) -> None:
    assert [layer.gain for layer in classifier.layers] == pytest.approx([0.7, 0.3, 2.0, 0.1])


def test_logits_are_linear_in_the_features(whole: Three, classifier: Classifier) -> None:
    image, weight, bias = torch.randn(6, 21), torch.randn(3, 9), torch.randn(3)
    classifier.set_weights(weight, bias)
    torch.testing.assert_close(whole(image), nn.functional.linear(image[:, :9], weight, bias))
    assert torch.equal(whole.one.weight, whole.two.weight), "on the same features, each alone says the same"
    assert (whole.one.out_features, whole.three.out_channels) == (3, 3)
    assert whole.three.weight.shape == (3, 5, 1, 1)
    assert not whole.four.weight.any(), "what is no function of the features is silent"


def test_weights_can_be_set_again(whole: Three, classifier: Classifier) -> None:
    image, weight, bias = torch.randn(6, 21), torch.randn(3, 9), torch.randn(3)
    classifier.set_weights(torch.randn(5, 9), torch.randn(5))
    classifier.set_weights(weight, bias)
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
def test_can_be_output(module: nn.Module, expected: bool) -> None:
    assert can_be_output(module) == expected


def test_in_features() -> None:
    assert (in_features(nn.Linear(4, 2)), in_features(nn.Conv2d(5, 2, 1))) == (4, 5)
