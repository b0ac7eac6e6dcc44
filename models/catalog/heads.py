"""Heads: the new layers that replace the backbone's classifier; their input is standardized features."""

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
"""Most weights between hidden layers: with gradients, Adam's two means and the best weights so far, 2.5 GiB."""


LEAST_IMAGES = 40
"""Training images per class from which LDA is a better start than zero."""


def _rename_discriminant(given: Any) -> Any:
    """Recipes of 0.1 say "discriminant" for "lda"."""
    return "lda" if given == "discriminant" else given


class _Affine(Technique):
    dropout: Dropout = 0.2
    """Dropout probability of each feature in training."""

    def resolve(self, num_features: int, num_classes: int) -> Self:
        """Return the head itself: nothing in it depends on the data."""
        return self

    def build(self, num_features: int, num_classes: int) -> HeadModule:
        """Build dropout and a linear layer of zeros: (B, num_features) → (B, num_classes)."""
        import torch

        from models.nn.head import HeadModule
        from models.nn.layers import Dropout

        output = torch.nn.Linear(num_features, num_classes)
        torch.nn.init.zeros_(output.weight)
        torch.nn.init.zeros_(output.bias)
        return HeadModule(Dropout(self.dropout), output)


class Linear(_Affine):
    """Linear classifier: logits = W·dropout(x) + b on standardized features x.

    The checkpoint's W and b include the standardization, so that they read the backbone's own features.

    Dropout zeroes each feature with probability p and divides the others by 1 - p (Srivastava et al., 2014).
    """

    kind: Literal["linear"] = "linear"
    start: Annotated[Literal["auto", "lda", "zero"], BeforeValidator(_rename_discriminant)] = "auto"
    """W and b before the first step; lda: those of shrunk linear discriminant analysis of the plain views (Friedman,
    1989), in closed form; zero: every class is equally likely; auto: lda, but zero where images have several labels,
    nothing is cached, or a class has fewer than 40 images."""

    def resolve_start(self, *, can_start_from_lda: bool, least_images: int) -> Self:
        """Resolve the start.

        Args:
            can_start_from_lda: whether the loss is of one label an image, and features are known before training.
            least_images: training images of the rarest class.
        """
        if self.start != "auto":
            return self
        is_worth = can_start_from_lda and least_images >= LEAST_IMAGES
        return self.model_copy(update={"start": "lda" if is_worth else "zero"})


class Keep(_Affine):
    """Keep the backbone's own classifier and train it further, from its pretrained W and b (Yosinski et al., 2014).

    Classes are matched by their names: those that the backbone knows start from its rows of W and b, others from zeros.
    The backbone must know one of the dataset's classes at least.
    """

    kind: Literal["keep"] = "keep"


class Cosine(Technique):
    """Cosine classifier: logits = scale·cos(W, x), independent of the norms of W and x (Gidaris & Komodakis, 2018).

    Since the norm of the weights does not matter, l1, l2 and weight decay change the speed of training at most.
    """

    kind: Literal["cosine"] = "cosine"
    scale: Positive = 16.0
    """Largest logit, and the inverse temperature of the softmax."""
    dropout: Dropout = 0.2
    """Dropout probability of each feature in training."""

    def resolve(self, num_features: int, num_classes: int) -> Cosine:
        """Return the head itself: nothing in it depends on the data."""
        return self

    def build(self, num_features: int, num_classes: int) -> HeadModule:
        """Build dropout, features of length √num_features, weights of length scale/√num_features: (B, F) → (B, C)."""
        import torch

        from models.nn.head import HeadModule
        from models.nn.layers import Dropout, RowsOfLength

        output = torch.nn.Linear(num_features, num_classes, bias=False)
        length = self.scale / math.sqrt(num_features)
        torch.nn.utils.parametrize.register_parametrization(output, "weight", RowsOfLength(length))
        norm = torch.nn.RMSNorm(num_features, eps=1e-12, elementwise_affine=False)
        return HeadModule(Dropout(self.dropout), output, [norm])


class Layer(Technique):
    """Hidden layer: activation(W·x + b), optionally normalized, then dropout. A number alone is its width.

    `same` takes the value that the head has for all its layers.
    """

    width: Annotated[int, Field(ge=1, le=16384)] | Literal["auto"] = "auto"
    """Number of units; auto: widths shrink by a constant factor from features to classes, the geometric pyramid rule
    (Masters, 1993)."""
    activation: Same | Activation = "same"
    """Activation of the layer's units."""
    initializer: Literal["same", "auto"] | Initializer = "same"
    """Initial weights; auto: the initializer that suits the activation."""
    normalization: Same | Normalization | None = "same"
    """Normalization of the layer; null: none."""
    dropout: Same | Dropout = "same"
    """Dropout probability of each of the layer's units in training."""

    @model_validator(mode="before")
    @classmethod
    def _a_number_is_its_width(cls, given: Any) -> Any:
        return {"width": given} if type(given) is int else given

    def build(self, inputs: int) -> HiddenLayer:
        """Build the module of a resolved layer: (B, inputs) → (B, width)."""
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
    """Multilayer perceptron: hᵢ = activation(Wᵢ·hᵢ₋₁ + bᵢ), logits = W·h + b (Rumelhart et al., 1986).

    The output layer starts with uniform Glorot weights.
    """

    kind: Literal["mlp"] = "mlp"
    hidden: Annotated[tuple[Layer, ...], Field(min_length=1, max_length=64)] = (Layer(),)
    """Hidden layers in order, the one that reads the features first; each is a width or a hidden layer (below)."""
    activation: Activation = ReLU()
    """Activation of all hidden layers."""
    initializer: Literal["auto"] | Initializer = "auto"
    """Initial weights of all hidden layers; auto: he_normal for the ReLU family, ELU, GELU and SiLU, glorot_uniform for
    sigmoid and tanh, lecun_normal for SELU."""
    normalization: Normalization | None = None
    """Normalization of all hidden layers; null: none."""
    dropout: Dropout = 0.2
    """Dropout probability of each feature and of each unit of a hidden layer in training."""

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
        """Give every hidden layer its own width, activation, initializer, normalization and dropout."""
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
        """The hidden layers without any `same`; widths may still be `auto`."""
        return tuple(self._resolve_layer(layer) for layer in self.hidden)

    def _resolve_layer(self, layer: Layer) -> Layer:
        own = {name: getattr(layer, name) for name in ("activation", "initializer", "normalization", "dropout")}
        chosen = {name: getattr(self, name) if value == "same" else value for name, value in own.items()}
        if chosen["initializer"] == "auto":
            chosen["initializer"] = chosen["activation"].initializer
        return layer.model_copy(update=chosen)

    def build(self, num_features: int, num_classes: int) -> HeadModule:
        """Build all layers of a resolved head, dropout first: (B, num_features) → (B, num_classes)."""
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
