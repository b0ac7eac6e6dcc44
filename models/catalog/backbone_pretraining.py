"""Methods that pretrain a whole backbone on the images of a dataset, before any job uses it.

All train every weight by AdamW at a learning rate that warms up over the first tenth of the epochs, then falls by half
a cosine; the layers that only the method needs are dropped afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from models.catalog.augmentations import Blur, Colour, Crop, Grayscale, HorizontalFlip
from models.catalog.technique import Epochs, NotNegative, Positive, Technique, by_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.catalog.image_ops import ImageAugmentation

LEAST_IMAGES = 16
"""Least images to pretrain a backbone on."""
Size = Annotated[int, Field(ge=2, le=4096)]
Area = Annotated[float, Field(gt=0.0, le=1.0)]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]


class _Method(Technique):
    views: ClassVar[int] = 1
    """Views of each image in a batch."""

    epochs: Epochs = 20
    """Passes over the images."""
    batch_size: Size = 64
    """Images in a step; those that fill no whole batch are left out of an epoch."""
    lr: Positive = 3e-4
    """Peak learning rate of AdamW."""
    weight_decay: NotNegative = 0.05
    """Weight decay of AdamW; biases and the weights of norms have none."""
    min_area: Area = 0.35
    """Smallest share of an image's area that a view shows: views are random crops, flipped left to right or not."""

    def list_augmentations(self) -> Sequence[ImageAugmentation]:
        """List the augmentations that a view goes through."""
        return (Crop(min_area=self.min_area), HorizontalFlip())


class Contrastive(_Method):
    """Contrastive learning: two views of an image are told from those of the others (SimCLR; Chen et al., 2020).

    L = mean over views i of -log(exp(sᵢⱼ/τ)/Σ over k ≠ i of exp(sᵢₖ/τ)), with j the other view of the same image, s the
    cosine similarity of g(features), and g two linear layers with a ReLU between them.
    """

    views: ClassVar[int] = 2
    kind: Literal["contrastive"] = "contrastive"
    temperature: Positive = 0.2
    """Temperature τ: the smaller, the more the most similar other images count."""
    colour: Annotated[float, Field(ge=0.0, le=1.0)] = 0.4
    """Strength of the change in brightness, contrast and saturation; 0, also without greyscale and blur: where colour
    tells the classes apart."""

    def list_augmentations(self) -> Sequence[ImageAugmentation]:
        """List the augmentations that a view goes through."""
        geometry = super().list_augmentations()
        if not self.colour:
            return geometry
        jitter = Colour(brightness=self.colour, contrast=self.colour, saturation=self.colour)
        return (*geometry, jitter, Grayscale(), Blur())


class Masked(_Method):
    """Masked image modelling: the pixels of covered patches are predicted (SimMIM; Xie et al., 2022).

    L = mean over covered pixels of |x - d(map)|, with d one linear layer on each position of the network's last
    feature map. Covered patches take the mean colour, so that convolutional networks can be trained as well.
    """

    kind: Literal["masked"] = "masked"
    patch: Annotated[int, Field(ge=1, le=1024)] = 32
    """Side of a patch, in pixels of the network's input."""
    share: Share = 0.6
    """Share of the patches of an image that are covered."""


class Denoising(_Method):
    """Denoising autoencoder: images are restored from noisy ones (Vincent et al., 2008).

    L = mean over pixels of (x - d(map of x + n))², n ~ N(0, noise²), with x normalized as the network takes it, and d
    one linear layer on each position of the network's last feature map.
    """

    kind: Literal["denoising"] = "denoising"
    noise: Positive = 0.5
    """Standard deviation of the noise, in units of the normalized pixels."""


class Supervised(_Method):
    """Supervised pretraining: the labels of the dataset are learned (Girshick et al., 2014).

    L = cross entropy of a linear layer on the features.
    """

    kind: Literal["supervised"] = "supervised"


BackboneMethod = Annotated[
    Contrastive | Masked | Denoising | Supervised, Field(discriminator="kind"), by_name("contrastive")
]
