"""The interface of networks: what timm's answer, and those of other origins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch


class TimmNetwork(Protocol):
    """An nn.Module with the calls that every network of timm answers, and every GraphNetwork."""

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 if the network has no classifier."""
        ...

    def get_classifier(self) -> nn.Module:
        """Get the module that gives the logits."""
        ...

    def reset_classifier(self, num_classes: int, /) -> None:
        """Replace the classifier by a new one."""
        ...

    # The methods of nn.Module that are used of it:

    def __call__(self, images: torch.Tensor, /) -> torch.Tensor:
        """Compute logits (B, C) of images (B, 3, H, W)."""
        ...

    def eval(self) -> Self:
        """Set evaluation mode."""
        ...

    def requires_grad_(self, requires_grad: bool = ...) -> Self:
        """Set whether the parameters need gradients."""
        ...

    def parameters(self, recurse: bool = ...) -> Iterator[nn.Parameter]:
        """Iterate over all parameters, each once."""
        ...

    def buffers(self, recurse: bool = ...) -> Iterator[torch.Tensor]:
        """Iterate over all buffers, each once."""
        ...

    def modules(self) -> Iterator[nn.Module]:
        """Iterate over all modules."""
        ...

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """Iterate over all modules and their paths."""
        ...

    def get_submodule(self, target: str) -> nn.Module:
        """Get the module at a path."""
        ...

    def set_submodule(self, target: str, module: nn.Module) -> None:
        """Set the module at a path."""
        ...

    def state_dict(self, *, keep_vars: bool = ...) -> dict[str, Any]:
        """Get all parameters and buffers by name."""
        ...


@runtime_checkable
class HeadedNetwork(Protocol):
    """A network of timm's own, which computes its features and its logits one after the other."""

    def forward_features(self, x: torch.Tensor, /) -> torch.Tensor:
        """Compute feature maps or tokens of images (B, 3, H, W)."""
        ...

    def forward_head(self, x: torch.Tensor, /, *, pre_logits: bool = ...) -> torch.Tensor:
        """Compute logits (B, C), or the classifier's input (B, D), from what forward_features gives."""
        ...


def as_module(network: TimmNetwork) -> nn.Module:
    """Return the network as the nn.Module that it is."""
    assert isinstance(network, nn.Module)
    return network
