"""The recipe: all choices of one training run. The empty recipe is the recommended one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from models.catalog.augmentations import Augmentation, Colour, Crop
from models.catalog.early_stopping import EarlyStopping
from models.catalog.heads import Head, Linear
from models.catalog.losses import CrossEntropy, Loss
from models.catalog.optimizers import Adam, Optimizer
from models.catalog.regularizers import L2, Regularizer
from models.catalog.technique import Technique

if TYPE_CHECKING:
    from collections.abc import Mapping

Auto = Literal["auto"]
Fraction = Annotated[float, Field(gt=0.0, lt=0.9)]


class Cache(Technique):
    """Trunk outputs are computed once for each view of each picture, and kept.

    Epoch e trains on view e mod (views + 1); view 0 is the plain picture, the others are augmented.
    """

    views: Annotated[int, Field(ge=0, le=64)] = 4
    """Augmented views of each picture."""


class Recipe(Technique):
    """What to train and how. `auto` is resolved from the data before training, and the resolved value shown."""

    image_size: Annotated[int, Field(ge=16, le=2048)] | Auto = "auto"
    """Longer side of the network's input in pixels, which keeps its proportions; auto: the backbone's own."""
    batch_size: Annotated[int, Field(ge=1, le=65536)] | Auto = "auto"
    """Pictures per step; auto: 64, fewer where that leaves less than eight steps an epoch."""
    epochs: Annotated[int, Field(ge=1, le=100_000)] | Auto = "auto"
    """Most passes over the training pictures; auto: 200, early stopping usually ends sooner."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Of the head's initialization, dropout and the order of batches."""
    validation_fraction: Fraction = 0.15
    """Share of the pictures to validate on, where the dataset brings no split of its own."""
    test_fraction: Fraction = 0.15
    """Share of the pictures to test on, where the dataset brings no split of its own."""
    cache: Cache = Cache()
    """What is computed once."""
    head: Head = Linear()
    """The new layers."""
    optimizer: Optimizer = Adam()
    """How the gradient moves the weights."""
    regularizers: tuple[Regularizer, ...] = (L2(),)
    """Terms of the loss that keep weights small."""
    augmentations: tuple[Augmentation, ...] = (Crop(min_area=0.8, max_aspect=1.15), Colour())
    """What the augmented views go through: crops first, the others in their order. The default is mild, and true of
    digits as of photographs. With none, there are no augmented views."""
    loss: Loss = CrossEntropy()
    """What training makes small."""
    early_stopping: EarlyStopping | None = EarlyStopping()
    """When to end before the last epoch; null: never."""

    @model_validator(mode="after")
    def _leaves_pictures_to_train_on(self) -> Self:
        if self.validation_fraction + self.test_fraction > 0.9:
            raise ValueError("validation_fraction and test_fraction leave less than a tenth to train on")
        return self

    def resolve(self, *, image_size: int, num_features: int, class_counts: Mapping[str, int]) -> Recipe:
        """The recipe with no "auto" left.

        Args:
            image_size: longer side of the pictures that the backbone is given, in pixels.
            num_features: what the backbone gives for a picture.
            class_counts: pictures to train on, by class name.
        """
        pictures = sum(class_counts.values())
        return self.model_copy(
            update={
                "image_size": image_size,
                "batch_size": _batch_size(pictures) if self.batch_size == "auto" else self.batch_size,
                "cache": self.cache if self.augmentations else Cache(views=0),
                "epochs": 200 if self.epochs == "auto" else self.epochs,
                "optimizer": self.optimizer.resolve(num_features),
                "regularizers": tuple(r.resolve(pictures) for r in self.regularizers),
                "loss": self.loss.resolve(class_counts),
            }
        )


def _batch_size(pictures: int) -> PositiveInt:
    return max(1, min(64, pictures // 8))


FAMILIES = {
    "heads": Head,
    "optimizers": Optimizer,
    "regularizers": Regularizer,
    "augmentations": Augmentation,
    "losses": Loss,
    "early_stopping": EarlyStopping,
    "cache": Cache,
}
"""Every family of techniques, by name."""
