"""Networks of transformers: a folder with config.json and safetensors → a GraphNetwork, through torch.export.

Image classifiers keep their classifier. Vision towers, alone or beside a text tower, give the vector that their
pretraining compares with texts; other networks without a classifier what transformers' own classifier would read.
Code of the folder itself never runs, and all weights that are used must be in its files.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from models.conversion.converted import ConvertedNetwork
from models.conversion.errors import SizeUnsupported, UnsupportedModel
from models.conversion.torch_export import convert
from models.conversion.transformers_files import TransformersFolder
from models.conversion.transformers_network import fit_to, load
from models.conversion.transformers_preprocessing import measure

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from models.conversion.torch_export import Wrapper
    from models.conversion.transformers_network import LoadedNetwork

NAMELESS = re.compile(r"LABEL_\d+")
"""Names that transformers gives to classes that have none."""
DEFAULT_SIDE = 224
"""Height and width of images, where nothing says them: networks of convolutions take any."""
EXACT = 1e-5
"""Largest difference of an output, as a share of the greatest, between the original and the converted network."""


class TransformersRuntime:
    """Runs the network by transformers' own code."""

    is_independent = True

    def __init__(self, wrapper: Wrapper) -> None:
        import transformers

        self._wrapper = wrapper
        self.architecture = type(wrapper.network).__name__
        """The class of transformers."""
        self.name = f"transformers {transformers.__version__}"

    def run(self, images: np.ndarray) -> np.ndarray:
        """Compute logits (B, C) or features (B, D) of images (B, 3, H, W), float32."""
        with torch.no_grad():
            output: np.ndarray = self._wrapper(torch.from_numpy(images)).numpy()
        return output


def read(folder: Path, side: int | None = None) -> ConvertedNetwork:
    """Read a folder of transformers, for images of this longer side in pixels; None: as its processor makes them.

    Raises ConversionError.
    """
    files = TransformersFolder.open(folder)
    loaded = load(files)
    own = get_image_size(loaded.config)
    measured = measure(files, own)
    size = measured.facts.input_size
    if side is not None:
        height, width = (side, side) if size is None else (round(one * side / max(size[1:])) for one in size[1:])
        size = (3, height, width)
    sizes = []
    if size is None:
        size = (3, DEFAULT_SIDE, DEFAULT_SIDE)
        sizes.append(
            "Neither config.json nor preprocessor_config.json says for which size of images the network is: it was "
            f"read for {DEFAULT_SIDE}x{DEFAULT_SIDE} pixels. Give input_size to read it for another size."
        )
    fit_to(loaded, size, own)
    loaded.wrapper.is_bgr = measured.facts.channel_order == "bgr"
    _try(loaded, size, checks_border=side is not None)
    network = convert(loaded.wrapper, size, has_classifier=loaded.has_classifier)
    _compare(loaded.wrapper, network, size)
    return ConvertedNetwork(
        network=network,
        input_size=size,
        original=TransformersRuntime(loaded.wrapper),
        preprocessing=replace(measured.facts, input_size=size, channel_order="rgb" if measured.facts.mean else None),
        labels=get_labels(loaded),
        licence=files.licence,
        notes=[*loaded.notes, *measured.notes, *sizes],
    )


def get_image_size(config: Any) -> tuple[int, int] | None:
    """Get the height and width of the images that a network is made for, if its configuration says so."""
    size = getattr(config, "image_size", None)
    if size is None and getattr(config, "num_patches", None) and getattr(config, "patch_size", None):
        size = int(config.num_patches**0.5) * config.patch_size  # SigLIP 2 takes as many patches as a square has
    if isinstance(size, list | tuple) and len(size) == 2:
        return int(size[0]), int(size[1])
    return (size, size) if isinstance(size, int) else None


def get_labels(loaded: LoadedNetwork) -> list[str] | None:
    """Get the names of the classifier's classes, if they have some."""
    names = getattr(loaded.config, "id2label", None)
    if not loaded.has_classifier or not names:
        return None
    labels = [str(names[number]) for number in sorted(names)]
    return None if all(NAMELESS.fullmatch(label) for label in labels) else labels


@torch.no_grad()
def _try(loaded: LoadedNetwork, size: tuple[int, int, int], *, checks_border: bool) -> None:
    """Run the original on images of this size; raises UnsupportedModel."""
    images = torch.randn(1, *size, generator=torch.Generator().manual_seed(0)).repeat(3, 1, 1, 1)
    images[1, :, -1, :] += 1.0
    images[2, :, :, -1] += 1.0
    try:
        output = loaded.wrapper(images)
    except Exception as error:  # each architecture raises errors of its own
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise SizeUnsupported(
            f"The network does not take images of {size[1]}x{size[2]} pixels ({reason}). Check image_size in the "
            "config.json and the size in the preprocessor_config.json."
        ) from error
    if output.ndim != 2:
        raise UnsupportedModel(
            f"The network gives values of the shape {list(output.shape)}, and not one vector an image."
        )
    if checks_border and any(torch.equal(output[0], other) for other in output[1:]):
        raise SizeUnsupported(
            f"The network does not take images of {size[1]}x{size[2]} pixels: its patches do not cover them, and it "
            "would see nothing of their border. Choose a multiple of its patches' side."
        )


@torch.no_grad()
def _compare(wrapper: Wrapper, network: torch.nn.Module, size: tuple[int, int, int]) -> None:
    """Compare the converted network with the original, for one image and for three; raises UnsupportedModel."""
    images = torch.randn(3, *size, generator=torch.Generator().manual_seed(0))
    for given in (images[:1], images):
        expected, found = wrapper(given), network(given)
        if not expected.isfinite().all():
            raise UnsupportedModel(
                "The network gives values that are not finite. Its weights are damaged, or not float."
            )
        difference = (found - expected).abs().max() / expected.abs().max().clamp_min(1e-12)
        if found.shape != expected.shape or not difference <= EXACT:
            raise UnsupportedModel(
                f"The network, converted, differs from the original by {difference:.1e} of its greatest output for "
                f"{len(given)} images. Export it as ONNX, and send that file."
            )
