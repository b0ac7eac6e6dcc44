"""Pretraining: trains the new layers without labels, or on another task, before the task itself."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from models.catalog.optimizers import Rate
from models.catalog.technique import Epochs, NotNegative, Positive, Technique, by_name

Dataset = Annotated[str, Field(pattern=r"^ds_\w{1,40}$")]


class _OnFeatures(Technique):
    dataset: Dataset | None = None
    """Id of a dataset whose images are used without their labels; null: the job's own training images."""
    epochs: Epochs = 20
    """Passes over the features for each hidden layer."""


class Autoencoder(_OnFeatures):
    """Autoencoder: each hidden layer learns to reconstruct its input (Hinton & Salakhutdinov, 2006).

    min ‖x - V·h(W·x̃ + b) - c‖², layer by layer from below; the decoders V, c are dropped afterwards. x̃ is x, or x
    with noise in a denoising autoencoder (Vincent et al., 2008).
    """

    kind: Literal["autoencoder"] = "autoencoder"
    noise: NotNegative = 0.0
    """Standard deviation of the noise in x̃, as a multiple of that of each input; 0: a plain autoencoder."""
    tied_weights: bool = False
    """Tie the decoder's weights to the encoder's: V = Wᵀ."""
    lr: Positive = 1e-3
    """Learning rate of Adam."""


class RestrictedBoltzmannMachine(_OnFeatures):
    """Restricted Boltzmann machine: each hidden layer learns the distribution of its input (Hinton, 2002; 2010).

    p(h = 1|v) = σ(W·v + b), v|h ~ N(Wᵀ·h + c, 1): Gaussian-Bernoulli on the features, Bernoulli-Bernoulli on the layers
    above. Contrastive divergence CD-k: ΔW = lr·(⟨h·vᵀ⟩ of the data - ⟨h·vᵀ⟩ after `steps` of Gibbs sampling), v|h at
    its mean. The layers need sigmoid activations, and no normalization.
    """

    kind: Literal["restricted_boltzmann_machine"] = "restricted_boltzmann_machine"
    steps: Annotated[int, Field(ge=1, le=100)] = 1
    """Steps k of Gibbs sampling in contrastive divergence, CD-k."""
    lr: Positive = 1e-3
    """Learning rate."""
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """Share of the velocity that a step keeps; 0: none."""


class _OnAnotherTask(Technique):
    lr: Rate = "auto"
    """Constant learning rate of the recipe's optimizer for this task; auto: found by a learning rate range test."""


class Rotation(_OnAnotherTask):
    """Rotation prediction: learn by how many quarter turns each image was rotated, 4 classes (Gidaris et al., 2018).

    Trained with cross entropy and the recipe's optimizer; stages above the cut are trained too.
    """

    kind: Literal["rotation"] = "rotation"
    dataset: Dataset | None = None
    """Id of a dataset whose images are used without their labels; null: the job's own training images."""
    epochs: Epochs = 20
    """Passes over the images, each in all four rotations."""


class OtherLabels(_OnAnotherTask):
    """Auxiliary labels: learn another dataset's labels first, with an output layer of their own (Caruana, 1997).

    Trained with cross entropy and the recipe's optimizer; stages above the cut are trained too.
    """

    kind: Literal["other_labels"] = "other_labels"
    dataset: Annotated[Dataset, Field(examples=["ds_01M87TBR8YBVRRY89CF68ZRX49"])]
    """Id of the other dataset, which must be validated and have one label per image."""
    epochs: Epochs = 20
    """Passes over the other dataset's images."""


Pretraining = Annotated[
    Autoencoder | RestrictedBoltzmannMachine | Rotation | OtherLabels,
    Field(discriminator="kind"),
    by_name("autoencoder"),
]
