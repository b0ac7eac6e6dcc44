"""Heads: the new layers that replace the backbone's classifier. They read standardized features."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from models.catalog.activations import Activation, ReLU
from models.catalog.initializers import Initializer
from models.catalog.normalizations import Normalization
from models.catalog.technique import Positive, Technique, Unresolved, by_name, known

if TYPE_CHECKING:
    from models.nn.head import HeadModule, HiddenLayer

Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]
Same = Literal["same"]
MOST_WEIGHTS = 2**27
"""Between hidden layers: with their gradients, Adam's two averages and the best ones so far, 2.5 GiB."""


LEAST_IMAGES = 40
"""Of a class, for linear discriminant analysis (LDA) to be a better start than zero."""


def _rename_discriminant(given: Any) -> Any:
    """Recipes of 0.1 say "discriminant" for "lda"."""
    return "lda" if given == "discriminant" else given


class _Affine(Technique):
    dropout: Dropout = 0.2
    """Probability with which a feature is dropped in training."""

    def resolve(self, num_features: int, num_classes: int) -> Self:
        """Itself: nothing depends on the data."""
        return self

    def build(self, num_features: int, num_classes: int) -> HeadModule:
        """Dropout, then the linear layer, all zero: (B, num_features) → (B, num_classes)."""
        import torch

        from models.nn.head import HeadModule
        from models.nn.layers import Dropout

        output = torch.nn.Linear(num_features, num_classes)
        torch.nn.init.zeros_(output.weight)
        torch.nn.init.zeros_(output.bias)
        return HeadModule(Dropout(self.dropout), output)


class Linear(_Affine):
    """logits = W·dropout(x) + b on standardized features x; the scale is folded into the delivered W and b.

    Dropout zeroes each feature with probability p and divides the others by 1 - p (Srivastava et al., 2014).
    """

    kind: Literal["linear"] = "linear"
    start: Annotated[Literal["auto", "lda", "zero"], BeforeValidator(_rename_discriminant)] = "auto"
    """W and b before the first step; lda: those of shrunk linear discriminant analysis of the plain views (Friedman,
    1989), in closed form; zero: every class is equally likely; auto: lda, but zero where images have several labels,
    nothing is cached, or a class has fewer than 40 images."""

    def begin(self, *, can_start_from_lda: bool, least_images: int) -> Self:
        """The same with its start known.

        Args:
            can_start_from_lda: whether the loss is of one label an image, and features are known before training.
            least_images: to train on, of the rarest class.
        """
        if self.start != "auto":
            return self
        is_worth = can_start_from_lda and least_images >= LEAST_IMAGES
        return self.model_copy(update={"start": "lda" if is_worth else "zero"})


class Keep(_Affine):
    """The backbone's own classifier, trained on: W and b start as they were pretrained (Yosinski et al., 2014).

    The dataset's classes must be the backbone's, by their names.
    """

    kind: Literal["keep"] = "keep"


class Cosine(Technique):
    """logits = scale·cos(W, x): only the directions of features and weights count (Gidaris & Komodakis, 2018).

    Nothing depends on the weights' lengths, so l1, l2 and weight decay change its pace at most.
    """

    kind: Literal["cosine"] = "cosine"
    scale: Positive = 16.0
    """Largest logit."""
    dropout: Dropout = 0.2
    """Probability with which a feature is dropped in training."""

    def resolve(self, num_features: int, num_classes: int) -> Cosine:
        """Itself: nothing depends on the data."""
        return self

    def build(self, num_features: int, num_classes: int) -> HeadModule:
        """Dropout, features of length √num_features, weights of length scale/√num_features: (B, F) → (B, C)."""
        import torch

        from models.nn.head import HeadModule
        from models.nn.layers import Dropout, RowsOfLength

        output = torch.nn.Linear(num_features, num_classes, bias=False)
        length = self.scale / math.sqrt(num_features)
        torch.nn.utils.parametrize.register_parametrization(output, "weight", RowsOfLength(length))
        norm = torch.nn.RMSNorm(num_features, eps=1e-12, elementwise_affine=False)
        return HeadModule(Dropout(self.dropout), output, [norm])


class Layer(Technique):
    """A hidden layer: activation(W·x + b), normalized or not, then dropout. A number alone is its width.

    `same` is what the head says for all its layers.
    """

    width: Annotated[int, Field(ge=1, le=16384)] | Literal["auto"] = "auto"
    """Units; auto: widths shrink evenly from features to classes, by the geometric pyramid rule (Masters, 1993)."""
    activation: Same | Activation = "same"
    """What a unit makes of its sum."""
    initializer: Literal["same", "auto"] | Initializer = "same"
    """Weights before the first step; auto: what suits the activation."""
    normalization: Same | Normalization | None = "same"
    """Keeps the units' sums at mean 0 and variance 1; null: none."""
    dropout: Same | Dropout = "same"
    """Probability with which a unit is dropped in training."""

    @model_validator(mode="before")
    @classmethod
    def _a_number_is_its_width(cls, given: Any) -> Any:
        return {"width": given} if type(given) is int else given

    def build(self, inputs: int) -> HiddenLayer:
        """The module of a resolved layer: (B, inputs) → (B, width)."""
        import torch

        from models.nn.head import HiddenLayer
        from models.nn.layers import Dropout

        width, normalization = known(self.width), known(self.normalization)
        activation, initializer = self.activation, self.initializer
        if isinstance(activation, str) or isinstance(initializer, str):
            raise Unresolved("This layer is still the same as its head's: resolve the recipe first.")
        linear = torch.nn.Linear(inputs, width)
        initializer.apply(linear.weight)
        torch.nn.init.zeros_(linear.bias)
        return HiddenLayer(
            linear,
            activation.build(),
            Dropout(known(self.dropout)),
            normalization=None if normalization is None else normalization.build(width),
            normalizes_first=normalization is not None and normalization.place == "before_activation",
        )


class MLP(Technique):
    """A multilayer perceptron: hᵢ = activation(Wᵢ·hᵢ₋₁ + bᵢ), logits = W·h + b (Rumelhart et al., 1986).

    The last layer starts by Glorot's rule.
    """

    kind: Literal["mlp"] = "mlp"
    hidden: Annotated[tuple[Layer, ...], Field(min_length=1, max_length=64)] = (Layer(),)
    """The hidden layers from below, each its width or all its own choices."""
    activation: Activation = ReLU()
    """What the units of all layers make of their sums."""
    initializer: Literal["auto"] | Initializer = "auto"
    """Weights of all hidden layers before the first step; auto: He with ReLUs and ELU, Glorot with sigmoid and tanh,
    LeCun with SELU."""
    normalization: Normalization | None = None
    """Of all hidden layers."""
    dropout: Dropout = 0.2
    """Probability with which a feature, or a unit of a hidden layer, is dropped in training."""

    @model_validator(mode="after")
    def _fits_in_memory(self) -> Self:
        widths = [0 if layer.width == "auto" else layer.width for layer in self.hidden]
        weights = sum(below * above for below, above in pairwise(widths))
        if weights > MOST_WEIGHTS:
            raise ValueError(
                f"{weights:,} weights lie between the hidden layers, of at most {MOST_WEIGHTS:,}: make them narrower, "
                "or fewer"
            )
        return self

    def resolve(self, num_features: int, num_classes: int) -> MLP:
        """The same with every hidden layer spelled out."""
        count = len(self.hidden)
        shrink = (num_classes / num_features) ** (1 / (count + 1))
        widths = [max(num_classes, round(num_features * shrink**number)) for number in range(1, count + 1)]
        layers = [
            layer.model_copy(update={"width": width}) if layer.width == "auto" else layer
            for layer, width in zip(self.layers, widths, strict=True)
        ]
        initializer = self.activation.initializer if self.initializer == "auto" else self.initializer
        return self.model_copy(update={"hidden": tuple(layers), "initializer": initializer})

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The hidden layers, spelled out but for their widths."""
        return tuple(self._spelled_out(layer) for layer in self.hidden)

    def _spelled_out(self, layer: Layer) -> Layer:
        own = {name: getattr(layer, name) for name in ("activation", "initializer", "normalization", "dropout")}
        chosen = {name: getattr(self, name) if value == "same" else value for name, value in own.items()}
        if chosen["initializer"] == "auto":
            chosen["initializer"] = chosen["activation"].initializer
        return layer.model_copy(update=chosen)

    def build(self, num_features: int, num_classes: int) -> HeadModule:
        """All layers of a resolved head, dropout first: (B, num_features) → (B, num_classes)."""
        import torch

        from models.nn.head import HeadModule
        from models.nn.layers import Dropout

        hidden, width = [], num_features
        for layer in self.hidden:
            hidden.append(layer.build(width))
            width = known(layer.width)
        output = torch.nn.Linear(width, num_classes)
        torch.nn.init.xavier_uniform_(output.weight)
        torch.nn.init.zeros_(output.bias)
        return HeadModule(Dropout(self.dropout), output, hidden)


Head = Annotated[Linear | MLP | Cosine | Keep, Field(discriminator="kind"), by_name("linear")]
