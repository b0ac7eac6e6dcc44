"""Low-rank updates against steps by hand, and against LoRA as it is usually written: a branch beside the layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from models.nn.low_rank import LowRankUpdate, merge_after_steps

if TYPE_CHECKING:
    from collections.abc import Callable

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(6, 5),
    "convolution": lambda: nn.Conv2d(6, 5, 3, stride=2, padding=1),
    "pointwise convolution": lambda: nn.Conv2d(6, 5, 1, bias=False),
}
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1),
}


class Branch(nn.Module):
    """LoRA as in its paper: y = layer(x) + scale·B(A(x)), the layer frozen, A and B layers of their own."""

    def __init__(self, layer: Any, update: LowRankUpdate) -> None:
        super().__init__()
        self.layer, self.scale = layer, update.scale
        rank = len(update.down)
        if isinstance(layer, nn.Linear):
            self.down: nn.Module = nn.Linear(layer.in_features, rank, bias=False)
            self.up: nn.Module = nn.Linear(rank, layer.out_features, bias=False)
        else:
            window = {"stride": layer.stride, "padding": layer.padding}
            self.down = nn.Conv2d(layer.in_channels, rank, layer.kernel_size, bias=False, **window)
            self.up = nn.Conv2d(rank, layer.out_channels, 1, bias=False)
        for own, factor in ((self.down, update.down), (self.up, update.up)):
            own.weight = nn.Parameter(factor.detach().clone().reshape(own.weight.shape))  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(x) + self.scale * self.up(self.down(x))
        return y


def given(layer: nn.Module, seed: int = 1) -> torch.Tensor:
    """Random input of a layer."""
    random = torch.Generator().manual_seed(seed)
    return torch.randn((4, 6) if isinstance(layer, nn.Linear) else (4, 6, 8, 8), generator=random)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", LAYERS)
def test_it_learns_what_a_branch_beside_the_layer_learns(name: str, optimizer: str) -> None:
    torch.manual_seed(0)
    layer: Any = LAYERS[name]()
    frozen: Any = LAYERS[name]().requires_grad_(False)
    frozen.load_state_dict(layer.state_dict())
    update = LowRankUpdate(layer.weight, 2, 1.5)
    branch = Branch(frozen, update)
    own, other = (
        OPTIMIZERS[optimizer](update.parameters()),
        OPTIMIZERS[optimizer]([*branch.down.parameters(), *branch.up.parameters()]),
    )
    merge_after_steps(own, [update])
    for step in range(6):
        x = given(layer, step)
        for network, optimizing in ((layer, own), (branch, other)):
            optimizing.zero_grad()
            network(x).square().mean().backward()
            optimizing.step()
    x = given(layer, 9)
    torch.testing.assert_close(layer(x), branch(x), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(layer(x), frozen(x), atol=1e-3), "it has learned"
    change = (layer.weight - frozen.weight).flatten(1)
    assert torch.linalg.matrix_rank(change, atol=1e-5) == 2
    assert layer.weight.grad is None


def test_a_step_is_that_by_hand() -> None:
    """W = [[1, 2]], x = [1, 1], A = [[3, 4]], B = [[0]], scale 0.5, loss = y: G = [[1, 1]]."""
    layer = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0]]))
    update = LowRankUpdate(layer.weight, 1, 0.5)
    with torch.no_grad():
        update.down.copy_(torch.tensor([[3.0, 4.0]]))
    optimizer = torch.optim.SGD(update.parameters(), lr=0.1)
    merge_after_steps(optimizer, [update])
    layer(torch.ones(1, 2)).sum().backward()
    assert update.up.grad is not None
    assert update.down.grad is not None
    assert update.up.grad.tolist() == [[3.5]], "0.5·(1·3 + 1·4)"
    assert update.down.grad.tolist() == [[0.0, 0.0]], "0.5·0·G"
    optimizer.step()
    expected = torch.tensor([[1 + 0.5 * -0.35 * 3, 2 + 0.5 * -0.35 * 4]])
    torch.testing.assert_close(layer.weight.detach(), expected)


def test_gradients_of_parts_of_a_batch_add_up() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 5)
    update = LowRankUpdate(layer.weight, 2, 1.0)
    nn.init.normal_(update.up)
    x = given(layer)
    layer(x).square().sum().backward()
    whole = [parameter.grad for parameter in update.parameters()]
    for parameter in update.parameters():
        parameter.grad = None
    for part in x.split(1):  # type: ignore[no-untyped-call]
        layer(part).square().sum().backward()
    torch.testing.assert_close([parameter.grad for parameter in update.parameters()], whole)


@pytest.mark.parametrize("name", LAYERS)
def test_before_the_first_step_the_weight_is_what_it_was_to_the_bit(name: str) -> None:
    layer: Any = LAYERS[name]()
    layer.weight.data.flatten()[:3] = torch.tensor([-0.0, 0.0, 1e-45])
    before = layer.weight.detach().clone().view(torch.int32)
    update = LowRankUpdate(layer.weight, 2, 3.0)
    assert torch.equal(layer.weight.detach().view(torch.int32), before)
    assert not update.up.any()
    assert update.down.std() > 0.01
    assert layer.weight.requires_grad
    assert {name for name, _ in update.named_parameters()} == {"down", "up"} == update.state_dict().keys()


def test_a_frozen_weight_gets_an_update_and_stays_frozen() -> None:
    layer = nn.Linear(6, 5).requires_grad_(False)
    update = LowRankUpdate(layer.weight, 2, 1.0)
    assert not layer.weight.requires_grad
    optimizer = torch.optim.SGD(update.parameters(), lr=0.1)
    merge_after_steps(optimizer, [update])
    before = layer.weight.clone()
    optimizer.step()
    assert torch.equal(layer.weight, before)
