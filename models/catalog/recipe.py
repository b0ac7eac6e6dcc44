"""The recipe: all choices of a fine-tuning job. The empty recipe is the recommended one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from models.catalog.activations import Activation
from models.catalog.augmentations import Augmentation, Colour, Crop
from models.catalog.cache import Cache
from models.catalog.compatibility import conflicts
from models.catalog.cuts import All, Cut
from models.catalog.early_stopping import EarlyStopping, Target
from models.catalog.gradient_clipping import Clipping
from models.catalog.head_search import Search, Trial
from models.catalog.heads import Head, Linear
from models.catalog.image_ops import ImageAugmentation
from models.catalog.initializers import Initializer
from models.catalog.losses import BinaryCrossEntropy, CrossEntropy, Loss, Task
from models.catalog.mixup import BatchAugmentation
from models.catalog.normalizations import Normalization
from models.catalog.optimizers import Adam, Optimizer
from models.catalog.pretraining import Pretraining
from models.catalog.regularizers import L2, Regularizer
from models.catalog.sampling import Sampling, Shuffled
from models.catalog.schedules import Constant, Schedule
from models.catalog.technique import Epochs, Technique
from models.catalog.weight_averaging import ExponentialMovingAverage

if TYPE_CHECKING:
    from collections.abc import Mapping

Auto = Literal["auto"]
Regularizers = Annotated[tuple[Regularizer, ...], Field(max_length=32)]
Augmentations = Annotated[tuple[Augmentation, ...], Field(max_length=32)]
Fraction = Annotated[float, Field(gt=0.0, lt=0.9)]


class Recipe(Technique):
    """All choices of a fine-tuning job. `auto` is resolved from the data before training; the job shows the result.

    A technique with default fields can be written as its kind alone: `"optimizer": "nesterov"`.
    """

    task: Task | Auto = "auto"
    """Single-label or multi-label classification; auto: as in the dataset."""
    image_size: Annotated[int, Field(ge=16, le=2048)] | Auto = "auto"
    """Longer side of the network's input, in pixels; the aspect ratio of the input stays. auto: the backbone's own."""
    precision: Literal["auto", "exact", "float32", "bfloat16"] = "auto"
    """Number format in which the frozen part of the backbone is computed; exact: float32, from pixels that are equal to
    timm's to the bit; auto: bfloat16 where it saves time and its features agree with float32's on the dataset's images.
    With bfloat16, trained stages compute in bfloat16 too, with float32 weights (Micikevicius et al., 2018)."""
    engine: Literal["auto", "eager", "openvino"] = "auto"
    """Inference engine of the frozen part: PyTorch's eager mode, or OpenVINO, compiled for the processor; auto: the
    faster one, set-up time included."""
    batch_size: Annotated[int, Field(ge=1, le=65536)] | Auto = "auto"
    """Images per step; auto: 64, or fewer so that an epoch has at least eight steps."""
    epochs: Epochs | Auto = "auto"
    """Largest number of passes over the training images; auto: 200, which early stopping usually cuts short, or 20
    where the whole backbone is trained."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Random seed of the new layers' weights, dropout, and the order of batches."""
    time_budget_seconds: Annotated[float, Field(gt=0.0, le=1e8)] | None = None
    """Seconds after which the job stops training or pretraining and keeps the best epoch so far; null: no limit."""
    validation_fraction: Fraction = 0.15
    """Share of the images for validation, if the dataset has no split of its own."""
    test_fraction: Fraction = 0.15
    """Share of the images for the test, if the dataset has no split of its own."""
    drop_stages: Annotated[int, Field(ge=0, le=64)] = 0
    """Number of the backbone's top stages to remove; the head reads the output of the stage below them."""
    cut: Cut = All()
    """How much of the backbone is frozen and computed once, and which stages are trained with the head."""
    cache: Cache = Cache()
    """Caching of the frozen part's features."""
    head: Head = Linear()
    """New layers in place of the backbone's classifier."""
    pretraining: Pretraining | None = None
    """Pretraining of the new layers before the task itself; null: none."""
    optimizer: Optimizer = Adam()
    """Update rule of the weights, with its learning rate."""
    schedule: Schedule = Constant()
    """Learning rate over time, as a multiple of the optimizer's."""
    gradient_clipping: Clipping | None = None
    """Limit on the size of gradients; null: none."""
    regularizers: Regularizers = (L2(),)
    """Penalties and constraints on the weights of the new layers."""
    augmentations: Augmentations = (
        Crop(min_area=0.8, max_aspect=1.15),
        Colour(),
    )
    """Augmentations of images, applied to each augmented view (crops first, the others in this order), of batches, and
    of features. The default is mild enough for digits as well as photographs. Without any augmentation of images there
    are no augmented views."""
    loss: Auto | Loss = "auto"
    """Objective that training minimizes; auto: cross_entropy, or binary_cross_entropy for multi-label datasets."""
    sampling: Sampling = Shuffled()
    """Which training images an epoch goes through, and in which order."""
    averaging: ExponentialMovingAverage | None = None
    """Averaging of the weights over steps; null: none."""
    early_stopping: EarlyStopping | None = EarlyStopping()
    """When to stop before the last epoch; the checkpoint is then that of the best epoch; null: train all epochs and
    keep the last."""
    target: Target | None = None
    """Validation metric at which training stops; null: none."""
    search: Search | None = None
    """Search for the learning rate, L2 strength and dropout of a linear head; null: none. After the search, the job's
    recipe has the best values, and null here."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        return self._checked()

    def _checked(self) -> Self:
        found = list(conflicts(self))
        if found:
            raise ValueError("; ".join(found))
        return self

    def for_task(self, task: Task) -> Self:
        """The same for a dataset of this task, known and with a loss; raises ValueError where they do not fit."""
        if self.task not in ("auto", task):
            raise ValueError(f"the dataset is {task}, the recipe's task is {self.task}: leave task out")
        loss = {"single_label": CrossEntropy(), "multi_label": BinaryCrossEntropy()}[task]
        return self.model_copy(update={"task": task, "loss": loss if self.loss == "auto" else self.loss})._checked()

    def resolve(
        self, *, task: Task, image_size: int, num_features: int, class_counts: Mapping[str, int], images: int
    ) -> Self:
        """The recipe with no "auto" left but rates, which a range test finds, engine and precision, which are tried.

        Args:
            task: whether the dataset has one label an image, or several.
            image_size: longer side of the images that the backbone is given, in pixels.
            num_features: what the backbone gives for an image.
            class_counts: images to train on, by class name.
            images: images to train on.

        Raises ValueError where the recipe does not fit the task.
        """
        chosen = self.for_task(task)
        assert chosen.loss != "auto"
        head = self.head.resolve(num_features, len(class_counts))
        if head.kind == "linear":
            is_open = self.has_features and chosen.loss.kind != "binary_cross_entropy"
            head = head.begin(can_start_from_lda=is_open, least_images=min(class_counts.values()))
        return chosen.model_copy(
            update={
                "image_size": image_size,
                "batch_size": _batch_size(images) if self.batch_size == "auto" else self.batch_size,
                "cache": self.cache.resolve(
                    is_used=self.has_features,
                    has_augmentations=bool(self.image_augmentations),
                    images_per_class=0.0 if self.cut.trains else images / len(class_counts),
                ),
                "epochs": self.most_epochs,
                "head": head,
                "regularizers": tuple(r.resolve(images) for r in self.regularizers),
                "loss": chosen.loss.resolve(class_counts, images),
                "search": None if self.search is None else self.search.resolve(images, num_features, len(class_counts)),
            }
        )

    def computed_by(self, engine: str, precision: str) -> Self:
        """The same with this engine, in this precision."""
        return self.model_copy(update={"engine": engine, "precision": precision})

    def with_rate(self, lr: float) -> Self:
        """The same with this learning rate."""
        return self.model_copy(update={"optimizer": self.optimizer.at(lr)})

    @property
    def l2(self) -> float:
        """The strength of L2 in a resolved recipe."""
        return sum(regularizer.known for regularizer in self.regularizers if isinstance(regularizer, L2))

    def found(self, best: Trial) -> Self:
        """The same with what a search found, which is over."""
        others = tuple(regularizer for regularizer in self.regularizers if not isinstance(regularizer, L2))
        return self.with_rate(best.lr).model_copy(
            update={
                "regularizers": (*others, L2(strength=best.l2)),
                "head": self.head.model_copy(update={"dropout": best.dropout}),
                "search": None,
            }
        )

    @property
    def most_epochs(self) -> int:
        """The epochs, known from the recipe alone."""
        if self.epochs != "auto":
            return self.epochs
        return 20 if self.cut.kind == "none" else 200

    @property
    def images_per_step(self) -> int:
        """The batch size of a resolved recipe."""
        assert self.batch_size != "auto"
        return self.batch_size

    def steps(self, images: int) -> int:
        """The steps of an epoch of a resolved recipe over so many images."""
        return -(-images // self.images_per_step)

    @property
    def image_augmentations(self) -> tuple[ImageAugmentation, ...]:
        """What augmented views go through."""
        return tuple(a for a in self.augmentations if isinstance(a, ImageAugmentation))

    @property
    def has_features(self) -> bool:
        """Whether something is computed once for each image, and kept."""
        return self.cache.mode != "off" and self.cut.kind != "none" and not self.mixes_images

    @property
    def starts_from_lda(self) -> bool:
        """Whether the head of a resolved recipe starts in closed form."""
        return self.head.kind == "linear" and self.head.start == "discriminant"

    @property
    def mixes_images(self) -> bool:
        """Whether batches are mixed in a way that needs the images themselves."""
        return any(isinstance(a, BatchAugmentation) and a.needs_images for a in self.augmentations)


def _batch_size(images: int) -> int:
    return max(2, min(64, images // 8))


FAMILIES = {
    "cuts": Cut,
    "cache": Cache,
    "heads": Head,
    "activations": Activation,
    "initializers": Initializer,
    "normalizations": Normalization,
    "pretraining": Pretraining,
    "optimizers": Optimizer,
    "schedules": Schedule,
    "gradient_clipping": Clipping,
    "regularizers": Regularizer,
    "augmentations": Augmentation,
    "losses": Loss,
    "sampling": Sampling,
    "averaging": ExponentialMovingAverage,
    "early_stopping": EarlyStopping,
    "target": Target,
    "search": Search,
}
"""Every family of techniques, by name."""
