"""Image sizes that a network takes, tried on the meta device, where tensors have no memory and nothing is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from models.images.preprocessing import MAX_SIDE, MIN_SIDE
from models.networks.tracing import SurgeryError
from models.networks.types import HeadedNetwork

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.networks.types import TimmNetwork

TRIED = 16
"""Most sizes that are tried below a side, and above it."""


class InputSizeUnsupported(SurgeryError):
    """The network does not take images of this size."""

    code = "input_size_unsupported"

    def __init__(self, message: str, nearest: Sequence[int] = ()) -> None:
        """`nearest`: longer sides, in pixels, that it takes, as far as they are known."""
        super().__init__(message)
        self.nearest = nearest


def get_patch_side(network: TimmNetwork) -> int:
    """Get the side of the patches, in pixels, that a network parts images into; 1 if it takes parts of patches too."""
    patch_embed = getattr(network, "patch_embed", None)
    get_ratio = getattr(patch_embed, "feat_ratio", None)
    is_padded = getattr(patch_embed, "dynamic_img_pad", False)
    return 1 if get_ratio is None or is_padded else int(get_ratio())


def explain_unfit_size(network: TimmNetwork, input_size: tuple[int, int, int], patch: int) -> str | None:
    """Explain why a network on the meta device, with patches of this side, does not take images of this size.

    None if it does. Beyond whole patches, a network would see nothing of an image without a word.
    """
    if any(side % patch for side in input_size[1:]):
        return f"its patches have {patch}x{patch} pixels"
    try:
        with torch.no_grad():
            network.eval()(torch.empty(1, *input_size, device="meta"))
    except Exception as error:  # each architecture raises errors of its own
        return " ".join(str(error).split()) or type(error).__name__
    return None


@torch.no_grad()
def ignores_border(network: TimmNetwork, input_size: tuple[int, int, int]) -> bool:
    """Tell whether a network sees nothing of the last row, or of the last column, of images of this size.

    Where patches do not cover an image, most networks leave out what is beyond the last without a word.
    """
    images = torch.randn(1, *input_size, generator=torch.Generator().manual_seed(0)).repeat(3, 1, 1, 1)
    images[1, :, -1, :] += 1.0
    images[2, :, :, -1] += 1.0
    assert isinstance(network, HeadedNetwork)
    # Not the logits: a classifier may have no weights yet. Some networks give several maps, and these see everything.
    features = network.eval().forward_features(images)
    return isinstance(features, torch.Tensor) and any(torch.equal(features[0], other) for other in features[1:])


def find_nearest_sizes(side: int, step: int, is_taken: Callable[[int], bool]) -> list[int]:
    """Find the nearest multiples of `step` below `side` and above it that a network takes, if there are some."""
    below = range((side - 1) // step * step, MIN_SIDE - 1, -step)
    above = range(side // step * step + step, MAX_SIDE + 1, step)
    nearest = (next(filter(is_taken, sizes[:TRIED]), None) for sizes in (below, above))
    return [size for size in nearest if size is not None]
