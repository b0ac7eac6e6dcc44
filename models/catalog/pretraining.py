"""Pretraining of the new layers, for when labels are few: unsupervised, or on another task first."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from models.catalog.optimizers import Rate
from models.catalog.technique import Epochs, NotNegative, Positive, Technique, by_name

Dataset = Annotated[str, Field(pattern=r"^ds_\w{1,40}$")]


class _OnFeatures(Technique):
    dataset: Dataset | None = None
    """A dataset whose images are used, its labels are not; null: the images that the job trains on."""
    epochs: Epochs = 20
    """Passes over the features for each layer."""


class Autoencoder(_OnFeatures):
    """Each hidden layer learns to give its input back: min ‖x - V·h(W·x̃ + b) - c‖² (Hinton & Salakhutdinov, 2006).

    x̃ is x with noise where it is denoising (Vincent et al., 2008). Layer by layer; the decoders are then dropped.
    """

    kind: Literal["autoencoder"] = "autoencoder"
    noise: NotNegative = 0.0
    """Standard deviation of the noise in x̃, as a share of that of each number of x; 0: a plain autoencoder."""
    tied_weights: bool = False
    """Whether V is W transposed."""
    lr: Positive = 1e-3
    """Learning rate of Adam."""


class RestrictedBoltzmannMachine(_OnFeatures):
    """p(h = 1|v) = σ(W·v + b), v|h ~ N(Wᵀ·h + c, 1): each hidden layer learns p(v) (Hinton, 2002; 2010).

    Gaussian-Bernoulli on the features, Bernoulli-Bernoulli on the layers above. Contrastive divergence:
    ΔW = lr·(⟨h·vᵀ⟩ of the data - ⟨h·vᵀ⟩ after `steps` of Gibbs sampling), v|h at its mean. The layers need sigmoid
    activations, and no normalization.
    """

    kind: Literal["restricted_boltzmann_machine"] = "restricted_boltzmann_machine"
    steps: Annotated[int, Field(ge=1, le=100)] = 1
    """Steps of Gibbs sampling, k of CD-k."""
    lr: Positive = 1e-3
    """Learning rate."""
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """Share of the velocity that one step keeps."""


class _OnAnotherTask(Technique):
    lr: Rate = "auto"
    """Learning rate of the recipe's optimizer for this task, constant; auto: found by a range test on its features."""


class Rotation(_OnAnotherTask):
    """The layers first learn to tell by how many quarters each image was turned: 4 classes (Gidaris et al., 2018).

    Cross entropy, by the recipe's optimizer. Stages above the cut learn it too, as the cut has it.
    """

    kind: Literal["rotation"] = "rotation"
    dataset: Dataset | None = None
    """A dataset whose images are used, its labels are not; null: the images that the job trains on."""
    epochs: Epochs = 20
    """Passes over the images, each in its four turns."""


class OtherLabels(_OnAnotherTask):
    """The layers first learn the labels of another dataset, with a last layer of its own (Caruana, 1997).

    Cross entropy, by the recipe's optimizer. Stages above the cut learn it too, as the cut has it.
    """

    kind: Literal["other_labels"] = "other_labels"
    dataset: Annotated[Dataset, Field(examples=["ds_01M87TBR8YBVRRY89CF68ZRX49"])]
    """The other dataset, ready, with one label an image."""
    epochs: Epochs = 20
    """Passes over its images."""


Pretraining = Annotated[
    Autoencoder | RestrictedBoltzmannMachine | Rotation | OtherLabels,
    Field(discriminator="kind"),
    by_name("autoencoder"),
]
