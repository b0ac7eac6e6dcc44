"""Saliency maps: gradient times value, where a network's last value with positions lies.

For a network that ends in pooling and a linear layer this is Grad-CAM (Selvaraju et al., 2017), element by element as
HiResCAM (Draelos & Carin, 2020) has it, which shows no more than what the class score is computed from. Only values
through which everything flows are looked at, so that nothing goes past the map. Of a vision transformer these are the
tokens between blocks: where the class token alone is read, its gradients reach the others below the last block.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from models.networks.feature_network import FrozenNetwork
from models.networks.tracing import TracedNetwork

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST_TOKENS_BEFORE = 16
"""Most tokens without a position (class token, registers) before those of the patches."""
LEAST_SHARE = 0.5
"""Share of the positions that must have a gradient: where one token alone is read, the others have none."""


class _CutRecorder(fx.Interpreter):
    """Runs a graph and records the values through which everything flows."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self._cuts = set(TracedNetwork(module, module.graph, {}).find_cuts())
        self.values: list[torch.Tensor] = []

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        value = super().run_node(n)
        if n in self._cuts and isinstance(value, torch.Tensor) and value.requires_grad:
            self.values.append(value)
        return value


def compute_saliency(
    trunk: nn.Module, score: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor
) -> torch.Tensor:
    """Compute the saliency map (h, w) of an image, not negative, with at most the image's own resolution.

    Args:
        trunk: in evaluation mode.
        score: the trunk's output → the score of a class, of shape ().
        image: the trunk's input, (1, 3, H, W).
    """
    with torch.enable_grad():
        image = image.detach().clone().requires_grad_()
        values, output = _run(trunk, image)
        candidates = [image, *values, output]
        gradients = torch.autograd.grad(score(output), candidates, allow_unused=True)
    ratio = image.shape[2] / image.shape[3]
    for value, gradient in zip(reversed(candidates), reversed(gradients), strict=True):
        if gradient is None:
            continue
        value_map, gradient_map = (_to_positions(each.detach()[0], ratio) for each in (value, gradient))
        if value_map is None or gradient_map is None:
            continue
        if gradient_map.abs().amax(0).count_nonzero() >= LEAST_SHARE * gradient_map[0].numel():
            return (value_map * gradient_map).sum(0).clamp_min(0)
    return torch.zeros(1, 1)


def _run(trunk: nn.Module, image: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Run a trunk; returns the values through which everything flows, where it has a graph, and its output."""
    value, values = image, []
    if isinstance(trunk, FrozenNetwork):
        trunk = trunk.network
    for stage in trunk if isinstance(trunk, nn.Sequential) else [trunk]:
        if isinstance(stage, fx.GraphModule):
            recorder = _CutRecorder(stage)
            value = recorder.run(value)
            values += recorder.values
        else:
            value = stage(value)
    return values, value


def find_position_axes(shape: Sequence[int], ratio: float) -> tuple[int, int] | None:
    """Find the axes of height and width in a value (C, h, w), as of convolutions, or (h, w, C), as of Swin.

    They are those whose h / w is the nearest to the input's, which differs by rounding; None if neither is near.
    """
    fits = {}
    for axes in ((1, 2), (0, 1)):
        height, width = (shape[axis] for axis in axes)
        if height * width > 1 and math.isclose(height / width, ratio, rel_tol=1 / max(height, width)):
            fits[axes] = abs(height / width - ratio)
    return min(fits, key=fits.__getitem__, default=None)


def _to_positions(value: torch.Tensor, ratio: float) -> torch.Tensor | None:
    """Bring a value of one image to (C, h, w), where h / w is the input's; None if it has no positions."""
    if value.ndim == 3:
        axes = find_position_axes(value.shape, ratio)
        return None if axes is None else value.movedim(axes, (1, 2))
    if value.ndim == 2:
        tokens = len(value)
        for patches in range(tokens, max(1, tokens - MOST_TOKENS_BEFORE - 1), -1):
            height = round(math.sqrt(patches * ratio))
            if height and patches % height == 0 and math.isclose(height * height / patches, ratio, rel_tol=1e-6):
                return value[tokens - patches :].T.reshape(-1, height, patches // height)
    return None
