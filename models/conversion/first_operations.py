"""The arithmetic at the beginning of a network, which tells the range of pixels that it takes."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Literal

import torch
from torch import fx, nn

from models.conversion.pixel_range import find_largest_pixel

if TYPE_CHECKING:
    from models.networks.graph_network import GraphNetwork

PASSING = (torch.permute, torch.Tensor.to, torch.clamp, nn.functional.interpolate, nn.functional.pad)
"""Functions that leave the range of pixels as it is."""


@dataclass(frozen=True)
class FirstOperations:
    """A normalization at the beginning of a network: slope·x + shift for each channel, in the order of the input."""

    slope: tuple[float, ...]
    shift: tuple[float, ...]
    is_reversed: bool
    """The channels are put in reverse order: BGR of RGB, or RGB of BGR."""

    @property
    def largest_pixel(self) -> float | None:
        """The value of a white pixel that the network takes, 255 or 1, if its normalization tells."""
        return find_largest_pixel(self.slope, self.shift)

    @property
    def channel_order(self) -> Literal["rgb", "bgr"] | None:
        """The order of channels that the network takes, if it subtracts ImageNet's means in one."""
        if self.largest_pixel is None or len(self.shift) != 3:
            return None
        slopes = self.slope * (3 // len(self.slope))
        pairs = zip(self.shift, slopes, strict=True)
        means = [-shift / (slope * self.largest_pixel) for shift, slope in pairs]
        for order, expected in (("rgb", IMAGENET_MEAN), ("bgr", IMAGENET_MEAN[::-1])):
            if all(abs(mean - one) < 0.02 for mean, one in zip(means, expected, strict=True)):
                return "rgb" if order == "rgb" else "bgr"
        return None


def read_first_operations(network: GraphNetwork) -> FirstOperations | None:
    """Read the normalization between the images and the first layer; None if there is none."""
    reader = _Reader(network)
    node = next(node for node in network.graph.nodes if node.op == "placeholder")
    while len(node.users) == 1:
        node = next(iter(node.users))
        if not reader.follow(node):
            break
    slope, shift = reader.slope.reshape(-1), reader.shift.reshape(-1)
    if bool((slope == 1).all()) and bool((shift == 0).all()) and not reader.is_reversed:
        return None
    return FirstOperations(tuple(slope.tolist()), tuple(shift.tolist()), reader.is_reversed)


IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of ImageNet's red, green and blue, of images from 0 to 1."""


class _Reader:
    def __init__(self, network: GraphNetwork) -> None:
        self.network = network
        self.slope, self.shift, self.is_reversed = torch.ones(1), torch.zeros(1), False

    def follow(self, node: fx.Node) -> bool:
        """Take one node into the normalization; returns whether it is a part of it."""
        if node.target in PASSING:
            return True
        if node.target is torch.index_select:
            index = self._read(node.args[2])
            self.is_reversed ^= index is not None and index.tolist() == [2, 1, 0]
            return index is not None and index.tolist() == [2, 1, 0]
        number = self._read(node.args[1]) if len(node.args) == 2 else None
        if number is None or number.numel() not in (1, 3):
            return False
        number = number.detach().reshape(-1).float()
        return self._apply(node.target, number.flip(0) if self.is_reversed else number)

    def _apply(self, function: object, number: torch.Tensor) -> bool:
        """Apply an operation of the images and a constant; returns whether it is one of the four of arithmetic."""
        if function is torch.mul:
            self.slope, self.shift = self.slope * number, self.shift * number
        elif function is torch.div:
            self.slope, self.shift = self.slope / number, self.shift / number
        elif function is torch.add:
            self.shift = self.shift + number
        elif function is torch.sub:
            self.shift = self.shift - number
        else:
            return False
        return True

    def _read(self, argument: object) -> torch.Tensor | None:
        if isinstance(argument, int | float):
            return torch.tensor([float(argument)])
        if isinstance(argument, fx.Node) and argument.op == "get_attr":
            tensor = attrgetter(str(argument.target))(self.network)
            assert isinstance(tensor, torch.Tensor)
            return tensor
        return None
