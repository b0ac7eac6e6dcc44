"""Losses: the objectives that training minimizes."""

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
    """Tasks that the loss can be used for."""

    class_weights: dict[str, Weight] | Literal["auto"] | None = None
    """Class weights by class name, 1 for classes left out; auto: images / (classes · images of the class), which makes
    all classes count the same; null: all 1."""

    def resolve(self, class_counts: Mapping[str, int], images: int) -> Self:
        """Compute automatic class weights from the number of training images, by class and in total."""
        if self.class_weights != "auto":
            return self
        return self.model_copy(update={"class_weights": self.compute_balanced_weights(class_counts, images)})

    def compute_balanced_weights(self, class_counts: Mapping[str, int], images: int) -> dict[str, float]:
        """Compute weights with which all classes count the same."""
        return {name: images / (len(class_counts) * count) for name, count in class_counts.items()}

    def build_weights(self, classes: list[str]) -> torch.Tensor | None:
        """Build the tensor (C,) of class weights of a resolved technique; None if all are 1."""
        import torch

        weights = known(self.class_weights)
        return None if weights is None else torch.tensor([weights.get(name, 1.0) for name in classes])


class CrossEntropy(_Loss):
    """Softmax cross entropy: weighted mean of -log softmax(logits)[label], weights by the label's class.

    With label smoothing s the target is 1 - s + s/C for the label and s/C for the others (Szegedy et al., 2016); the
    term of each class then has the weight of that class.
    """

    kind: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: Smoothing = 0.0
    """Label smoothing s: share of the target that is spread evenly over all classes; 0: none."""

    def build(self, classes: list[str]) -> torch.nn.Module:
        """Build the loss module, (logits (B, C), labels (B,)) → scalar, of a resolved technique."""
        import torch

        return torch.nn.CrossEntropyLoss(self.build_weights(classes), label_smoothing=self.label_smoothing)


class Focal(_Loss):
    """Focal loss: mean of -(1 - p)^gamma·log p, p the label's probability; easy ones count less (Lin et al., 2017)."""

    kind: Literal["focal"] = "focal"
    gamma: NotNegative = 2.0
    """Focusing parameter: the larger, the less easy images count; 0: cross entropy."""

    def build(self, classes: list[str]) -> torch.nn.Module:
        """Build the loss module, (logits (B, C), labels (B,)) → scalar, of a resolved technique."""
        from models.nn.losses import Focal

        return Focal(self.gamma, self.build_weights(classes))


class BinaryCrossEntropy(_Loss):
    """Binary cross entropy per class: mean of -w·y·log σ(z) - (1 - y)·log(1 - σ(z)), y = 1 if the image has the class.

    Classes are independent, so an image may have several (multi-label). With one label per image, it trains one
    classifier per class against all others (Wightman et al., 2021).
    """

    tasks: ClassVar[tuple[Task, ...]] = ("single_label", "multi_label")
    kind: Literal["binary_cross_entropy"] = "binary_cross_entropy"
    class_weights: dict[str, Weight] | Literal["auto"] | None = None
    """Weight w of the positive term by class name, 1 for classes left out; auto: images without the class / images with
    it; null: all 1."""
    label_smoothing: Smoothing = 0.0
    """Label smoothing s: the target y becomes y·(1 - s) + s/2; 0: none."""

    def compute_balanced_weights(self, class_counts: Mapping[str, int], images: int) -> dict[str, float]:
        """Compute weights with which having a class counts as much as not having it."""
        return {name: max(images - count, 1) / count for name, count in class_counts.items()}

    def build(self, classes: list[str]) -> torch.nn.Module:
        """Build the loss module, (logits (B, C), targets (B, C) or labels (B,)) → scalar, of a resolved technique."""
        from models.nn.losses import BinaryCrossEntropy

        return BinaryCrossEntropy(self.label_smoothing, self.build_weights(classes))


Loss = Annotated[CrossEntropy | Focal | BinaryCrossEntropy, Field(discriminator="kind"), by_name("cross_entropy")]
