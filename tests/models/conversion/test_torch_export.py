"""Modules exported by torch.export: the converted network computes the same, is cut anywhere, and can be trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn
from torch.nn import functional

from models.conversion.errors import UnsupportedModel, UnsupportedOperator
from models.conversion.torch_export import Wrapper, convert
from models.networks.feature_network import cut_before_classifier

if TYPE_CHECKING:
    from models.networks.graph_network import GraphNetwork

SIZE = (3, 16, 16)
WIDTH = 8


class Plain(Wrapper):
    """Gives what the network gives."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Run it."""
        output: torch.Tensor = self.network(images)
        return output


class Tokens(nn.Module):
    """Has what transformers have: tokens for each image, interpolated positions, a mask of the batch, split weights."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, 4, padding="valid")
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.registers = nn.Parameter(torch.randn(1, 2, WIDTH))
        self.positions = nn.Parameter(torch.randn(1, WIDTH, 3, 3))
        self.both = nn.Parameter(torch.randn(2 * WIDTH, WIDTH) / WIDTH**0.5)
        self.norm = nn.LayerNorm(WIDTH)
        self.layer = nn.ModuleList(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU()) for _ in range(3))
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(WIDTH, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute logits."""
        batch = images.shape[0]
        positions = functional.interpolate(self.positions, (4, 4), mode="bicubic", align_corners=False)
        patches = (self.patches(images) + positions).flatten(2).transpose(1, 2)
        first = torch.cat([self.token.expand(batch, -1, -1), self.registers.expand(batch, -1, -1)], 1)
        tokens = torch.cat([first, patches], 1)
        mask = (torch.arange(tokens.shape[1]) != 4).expand(batch, 1, 1, -1)
        for block in self.layer:
            query, key = functional.linear(self.norm(tokens), self.both).chunk(2, -1)
            tokens = tokens + functional.scaled_dot_product_attention(
                query.unsqueeze(1), key.unsqueeze(1), tokens.unsqueeze(1), mask.expand(-1, -1, tokens.shape[1], -1)
            ).squeeze(1)
            tokens = tokens + self.dropout(block(tokens))
        logits: torch.Tensor = self.classifier(tokens[:, 0] + tokens[:, 3:].mean(1))
        return logits


class Windows(nn.Module):
    """Has what hierarchical networks have: windows along the batch, a mask for each of them, operations in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, WIDTH, 3, 2, 1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(inplace=True)
        )
        self.inside = nn.Linear(WIDTH, WIDTH)
        self.group = nn.GroupNorm(2, WIDTH)
        self.last = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 4))
        self.register_buffer("scale", torch.linspace(0.5, 1.5, 4))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute logits."""
        maps = self.stem(images)
        batch, channels, height, width = maps.shape
        windows = maps.view(batch, channels, height // 4, 4, width // 4, 4).permute(0, 2, 4, 3, 5, 1)
        windows = windows.reshape(-1, 16, channels)
        mask = self.scale.view(4, 1, 1).repeat(batch, 1, 1)
        windows = self.inside(windows * mask) + windows
        windows = torch.roll(windows, 1, 1)
        maps = windows.view(batch, height // 4, width // 4, 4, 4, channels).permute(0, 5, 1, 3, 2, 4)
        maps = self.group(functional.pad(maps.reshape(batch, channels, height, width), (1, 0, 1, 0)))
        maps += functional.max_pool2d(maps, 3, 1, 1)
        logits: torch.Tensor = self.last(maps)
        return logits


def make(kind: type[nn.Module]) -> Plain:
    """Make a network whose outputs differ from image to image."""
    torch.manual_seed(0)
    network = kind().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return Plain(network)


def draw(count: int) -> torch.Tensor:
    """Draw images."""
    return torch.randn(count, *SIZE, generator=torch.Generator().manual_seed(count))


def assert_same(network: GraphNetwork, original: nn.Module) -> None:
    """Compare a converted network with its original, for one image and several."""
    with torch.no_grad():
        for count in (1, 3):
            expected = original(draw(count))
            difference = (network(draw(count)) - expected).abs().max()
            assert difference <= 1e-6 * expected.abs().max()
        assert (expected - expected.mean(0)).abs().max() > 0.01


@pytest.mark.parametrize("kind", [Tokens, Windows])
def test_computes_the_same_for_every_number_of_images(kind: type[nn.Module]) -> None:
    original = make(kind)
    assert_same(convert(original, SIZE, has_classifier=True), original)


@pytest.mark.parametrize("kind", [Tokens, Windows])
def test_is_cut_anywhere_to_the_bit_and_has_gradients(kind: type[nn.Module]) -> None:
    network = convert(make(kind), SIZE, has_classifier=True)
    tail = cut_before_classifier(network, SIZE, {}).tail
    assert len(tail.cuts) >= 4
    with torch.no_grad():
        whole = tail.trunk(draw(3))
        for cut in tail.cuts:
            below, above = tail.build_parts(cut)
            assert torch.equal(above(below(draw(3))), whole), cut
    network.requires_grad_(True)
    network(draw(2)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_layers_are_modules_under_their_own_names() -> None:
    original = make(Tokens)
    network = convert(original, SIZE, has_classifier=True)
    names = {name for name, _ in original.network.named_parameters()} - {"both"} | {"linear.weight"}
    assert {name for name, _ in network.named_parameters()} == names
    assert isinstance(network.get_submodule("patches"), nn.Conv2d)
    assert isinstance(network.get_submodule("layer.2.0"), nn.Linear)
    assert isinstance(network.get_submodule("layer.2.1"), nn.GELU)
    assert isinstance(network.get_submodule("norm"), nn.LayerNorm)
    assert network.num_classes == 5
    windows = convert(make(Windows), SIZE, has_classifier=True)
    assert isinstance(windows.get_submodule("stem.1"), nn.BatchNorm2d)
    assert isinstance(windows.get_submodule("group"), nn.GroupNorm)
    assert windows.get_submodule("stem.1").running_mean.abs().sum() > 0


def test_values_that_are_computed_from_weights_stay_computed() -> None:
    network = convert(make(Tokens), SIZE, has_classifier=True)
    before = network(draw(1))
    with torch.no_grad():
        network.get_parameter("positions").add_(1)
    assert (network(draw(1)) - before).abs().max() > 0.01


class Unbiased(nn.Module):
    """Ends in a linear layer without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.projection = nn.Linear(3, 4, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute four numbers."""
        output: torch.Tensor = self.projection(images.mean((2, 3)))
        return output


def test_a_last_layer_is_the_classifier_only_where_there_is_one() -> None:
    original = make(Unbiased)
    classifier = convert(original, SIZE, has_classifier=True)
    assert_same(classifier, original)
    assert classifier.num_classes == 4
    features = convert(make(Unbiased), SIZE, has_classifier=False)
    assert_same(features, original)
    assert features.num_classes == 0
    assert cut_before_classifier(features, SIZE, {}).num_features == 4


class DependsOnImage(nn.Module):
    """Chooses by what an image shows."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute logits."""
        return images.mean((2, 3)) if images.sum() > 0 else images.amax((2, 3))


class DependsOnPlace(nn.Module):
    """Does something else with the second image of a batch."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute logits."""
        numbers: torch.Tensor = torch.arange(images.shape[0])
        return images.mean((2, 3)) + numbers.unsqueeze(1)


class Unlisted(nn.Module):
    """Uses an operator that is not in the list."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute logits."""
        return torch.fft.rfft2(images).abs().mean((2, 3))  # type: ignore[no-any-return]


class IgnoresImage(nn.Module):
    """Gives the same for every image."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute logits."""
        return torch.zeros(images.shape[0], 4)


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        (DependsOnImage, UnsupportedModel, "no graph"),
        (DependsOnPlace, UnsupportedModel, "second"),
        (Unlisted, UnsupportedOperator, "fft_rfft2"),
        (IgnoresImage, UnsupportedModel, "does not depend"),
    ],
)
def test_what_has_no_such_graph_is_refused(kind: type[nn.Module], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        convert(Plain(kind()), SIZE, has_classifier=True)
    assert "send" in str(raised.value).lower()
