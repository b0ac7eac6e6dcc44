"""Losses: what training makes small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field

from models.catalog.technique import NotNegative, Technique, by_name, known

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

Task = Literal["single_label", "multi_label"]
Weight = Annotated[float, Field(ge=1e-6, le=1e6)]
Smoothing = Annotated[float, Field(ge=0.0, lt=1.0)]


class _Loss(Technique):
    tasks: ClassVar[tuple[Task, ...]] = ("single_label",)
    """What it can learn."""

    class_weights: dict[str, Weight] | Literal["auto"] | None = None
    """Weight by class name (others: 1); auto: images / (classes · images of the class); null: all 1."""

    def resolve(self, class_counts: Mapping[str, int], images: int) -> Self:
        """The same with automatic class weights known, from the images to train on, in each class and in all."""
        if self.class_weights != "auto":
            return self
        return self.model_copy(update={"class_weights": self.balancing(class_counts, images)})

    def balancing(self, class_counts: Mapping[str, int], images: int) -> dict[str, float]:
        """Weights with which all classes count the same."""
        return {name: images / (len(class_counts) * count) for name, count in class_counts.items()}

    def weights(self, classes: list[str]) -> torch.Tensor | None:
        """The class weights of a resolved technique, (C,)."""
        import torch

        weights = known(self.class_weights)
        return None if weights is None else torch.tensor([weights.get(name, 1.0) for name in classes])


class CrossEntropy(_Loss):
    """Mean of -log softmax(logits)[label], each image times its class's weight, over the sum of weights.

    With label smoothing s the target is 1 - s + s/C for the label and s/C for the others (Szegedy et al., 2016); each
    class's share of the loss then has its own class's weight.
    """

    kind: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: Smoothing = 0.0
    """Share of the target that is spread evenly over all classes."""

    def build(self, classes: list[str]) -> torch.nn.Module:
        """The loss (logits (B, C), labels (B,)) → scalar, for a resolved technique."""
        import torch

        return torch.nn.CrossEntropyLoss(self.weights(classes), label_smoothing=self.label_smoothing)


class Focal(_Loss):
    """Mean of -(1 - p)^gamma·log p, p the label's probability: what is easy counts less (Lin et al., 2017)."""

    kind: Literal["focal"] = "focal"
    gamma: NotNegative = 2.0
    """How much less; 0 is cross entropy."""

    def build(self, classes: list[str]) -> torch.nn.Module:
        """The loss (logits (B, C), labels (B,)) → scalar, for a resolved technique."""
        from models.nn.losses import Focal

        return Focal(self.gamma, self.weights(classes))


class BinaryCrossEntropy(_Loss):
    """Mean over images and classes of -w·y·log σ(z) - (1 - y)·log(1 - σ(z)), y = 1 where the image has the class.

    Each class is a question of its own, so an image may have several. Of an image with one label it asks whether it
    is each of the classes (Wightman et al., 2021).
    """

    tasks: ClassVar[tuple[Task, ...]] = ("single_label", "multi_label")
    kind: Literal["binary_cross_entropy"] = "binary_cross_entropy"
    class_weights: dict[str, Weight] | Literal["auto"] | None = None
    """Weight w by class name (others: 1); auto: images without the class / images with it; null: all 1."""
    label_smoothing: Smoothing = 0.0
    """y becomes y·(1 - s) + s/2."""

    def balancing(self, class_counts: Mapping[str, int], images: int) -> dict[str, float]:
        """Weights with which having a class counts as much as not having it."""
        return {name: max(images - count, 1) / count for name, count in class_counts.items()}

    def build(self, classes: list[str]) -> torch.nn.Module:
        """The loss (logits (B, C), targets (B, C) or labels (B,)) → scalar, for a resolved technique."""
        from models.nn.losses import BinaryCrossEntropy

        return BinaryCrossEntropy(self.label_smoothing, self.weights(classes))


Loss = Annotated[CrossEntropy | Focal | BinaryCrossEntropy, Field(discriminator="kind"), by_name("cross_entropy")]
