"""The recipe: all choices of a fine-tuning job. The empty recipe is the recommended one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from models.catalog.augmentations import Augmentation, Colour, Crop
from models.catalog.cache import Cache
from models.catalog.compatibility import conflicts
from models.catalog.cuts import All, Cut
from models.catalog.distillation import Distillation
from models.catalog.early_stopping import EarlyStopping, Target
from models.catalog.gradient_clipping import Clipping
from models.catalog.head_search import Search, Trial
from models.catalog.heads import Head, Linear
from models.catalog.image_ops import ImageAugmentation
from models.catalog.losses import BinaryCrossEntropy, CrossEntropy, Loss, Task
from models.catalog.mixup import BatchAugmentation
from models.catalog.optimizers import Adam, Optimizer
from models.catalog.pooling import Pooling
from models.catalog.pretraining import Pretraining
from models.catalog.quality import SECONDS, Quality
from models.catalog.regularizers import L2, Regularizer
from models.catalog.sampling import Sampling, Shuffled
from models.catalog.schedules import Constant, Schedule
from models.catalog.sharpness import Sharpness
from models.catalog.technique import Epochs, Technique
from models.catalog.tuning import Full, Tuning
from models.catalog.weight_averaging import ExponentialMovingAverage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Auto = Literal["auto"]
ImageSize = Annotated[int, Field(ge=16, le=2048)]
BatchSize = Annotated[int, Field(ge=1, le=65536)]
Precision = Literal["exact", "float32", "bfloat16"]
Keep = Literal["best", "last", "improvements"]
Engine = Literal["eager", "openvino"]
Regularizers = Annotated[tuple[Regularizer, ...], Field(max_length=32)]
Augmentations = Annotated[tuple[Augmentation, ...], Field(max_length=32)]
Fraction = Annotated[float, Field(gt=0.0, lt=0.9)]


class Recipe(Technique):
    """All choices of a fine-tuning job. `auto` is resolved from the data before training; the job shows the result.

    A technique with default fields can be written as its kind alone: `"optimizer": "nesterov"`.
    """

    quality: Quality = "fast"
    """How much time to take for accuracy. fast: this recipe alone; balanced, best: several, which choose cut, head and
    optimizer themselves, from a linear probe to the whole backbone, within the time budget, else half an hour or four
    hours; the best on the validation images is delivered, and its recipe is then the job's."""
    task: Task | Auto = "auto"
    """Single-label or multi-label classification; auto: as in the dataset."""
    image_size: ImageSize | Auto = "auto"
    """Longer side of the network's input, in pixels; the aspect ratio of the input stays. auto: the backbone's own."""
    precision: Auto | Precision = "auto"
    """Number format in which the frozen part of the backbone is computed; exact: float32, from pixels that are equal to
    timm's to the bit; auto: bfloat16 where it saves time and its features agree with float32's on the dataset's images.
    With bfloat16, trained stages compute in bfloat16 too, with float32 weights (Micikevicius et al., 2018)."""
    engine: Auto | Engine = "auto"
    """Inference engine of the frozen part: PyTorch's eager mode, or OpenVINO, compiled for the processor; auto: the
    faster one, set-up time included."""
    batch_size: BatchSize | Auto = "auto"
    """Images per step; auto: 64, or fewer so that an epoch has at least eight steps."""
    epochs: Epochs | Auto = "auto"
    """Largest number of passes over the training images; auto: 200, which early stopping usually cuts short, or 20
    where the whole backbone is trained."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Random seed of the new layers' weights, dropout, and the order of batches."""
    time_budget_seconds: Annotated[float, Field(gt=0.0, le=1e8)] | None = None
    """Seconds after which the job stops training or pretraining and keeps the best so far; null: no limit of `fast`."""
    validation_fraction: Fraction = 0.15
    """Share of the images for validation, if the dataset has no split of its own."""
    test_fraction: Fraction = 0.15
    """Share of the images for the test, if the dataset has no split of its own."""
    drop_stages: Annotated[int, Field(ge=0, le=64)] = 0
    """Number of the backbone's top stages to remove; the head reads the output of the stage below them."""
    cut: Cut = All()
    """How much of the backbone is frozen and computed once, and which stages are trained with the head."""
    tuning: Tuning = Full()
    """Which weights of the stages above the cut are trained."""
    pooling: Pooling | None = None
    """How the backbone's feature maps become what the head reads; null: as the backbone pools them itself."""
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
    sharpness: Sharpness | None = None
    """Sharpness-aware minimization, at two passes a step; null: none. Pretraining and a probe go without."""
    regularizers: Regularizers = (L2(),)
    """Penalties and constraints on the weights of the new layers."""
    augmentations: Augmentations = (Crop(min_area=0.8, max_aspect=1.15), Colour())
    """Augmentations of images, applied to each augmented view (crops first, the others in this order), of batches, and
    of features. The default is mild enough for digits as well as photographs. Without any augmentation of images there
    are no augmented views."""
    loss: Auto | Loss = "auto"
    """Objective that training minimizes; auto: cross_entropy, or binary_cross_entropy for multi-label datasets."""
    distillation: Distillation | None = None
    """Knowledge distillation from a checkpoint; null: none. Pretraining and a probe go without."""
    sampling: Sampling = Shuffled()
    """Which training images an epoch goes through, and in which order."""
    averaging: ExponentialMovingAverage | None = None
    """Averaging of the weights over steps; null: none."""
    early_stopping: EarlyStopping | None = EarlyStopping()
    """When to stop before the last epoch; the checkpoint is then that of the best epoch; null: train all epochs and
    keep the last, however good."""
    target: Target | None = None
    """Validation metric at which training stops; null: none."""
    keep: Keep = "best"
    """Epochs whose checkpoints are delivered; last: the last one's too; improvements: that of each epoch that was the
    best so far too, the newest 10, and fewer where all their trained weights take more than 1 GiB. Each is calibrated
    and tested by itself."""
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
        """Set the dataset's task, and the loss that suits it. Raises ValueError where the recipe does not fit it."""
        return self.model_copy(update={"task": self._check_task(task), "loss": self._choose_loss(task)})._checked()

    def resolve(
        self,
        *,
        task: Task,
        image_size: int,
        num_features: int,
        class_counts: Mapping[str, int],
        images: int,
        engine: Engine | None = None,
        precision: Precision | None = None,
    ) -> ResolvedRecipe:
        """Replace every "auto" but the learning rates, which a range test on the features finds.

        Args:
            task: whether the dataset has one label an image, or several.
            image_size: longer side of the images that the backbone is given, in pixels.
            num_features: features of an image.
            class_counts: images to train on, by class name.
            images: images to train on.
            engine: the one that was chosen for this machine; else the recipe's, or eager.
            precision: likewise; else the recipe's, or float32.

        Raises ValueError where the recipe does not fit the task.
        """
        loss = self._choose_loss(self._check_task(task))
        head = self.head.resolve(num_features, len(class_counts))
        if head.kind == "linear":
            of_head = self.to_probe() if self.cut.probe else self
            fits_lda = of_head.model_copy(update={"loss": loss}).fits_lda
            head = head.resolve_start(can_start_from_lda=fits_lda, least_images=min(class_counts.values()))
        resolved = {
            "task": task,
            "image_size": image_size,
            "precision": precision or ("float32" if self.precision == "auto" else self.precision),
            "engine": engine or ("eager" if self.engine == "auto" else self.engine),
            "batch_size": _batch_size(images) if self.batch_size == "auto" else self.batch_size,
            "cache": self.cache.resolve(
                is_used=self.has_features,
                has_augmentations=bool(self.image_augmentations),
                images_per_class=0.0 if self.cut.trains else images / len(class_counts),
            ),
            "epochs": self.most_epochs,
            "head": head,
            "regularizers": tuple(regularizer.resolve(images) for regularizer in self.regularizers),
            "loss": loss.resolve(class_counts, images),
            "search": None if self.search is None else self.search.resolve(images, num_features, len(class_counts)),
        }
        return ResolvedRecipe.model_validate({**dict(self), **resolved})

    def without_probe(self) -> Self:
        """Leave out the training of the head alone before that of stages."""
        return self.model_copy(update={"cut": self.cut.model_copy(update={"probe": False})})

    def to_probe(self) -> Recipe:
        """Derive the recipe of the head alone on the frozen backbone, which is trained before stages are.

        It is the same of a resolved recipe: what only fits the stages is left as in the empty recipe.
        """
        shared = {"task", "image_size", "batch_size", "seed", "validation_fraction", "test_fraction", "drop_stages"}
        shared |= {"head", "regularizers", "loss", "sampling"}
        augmentations = [a for a in self.augmentations if not (isinstance(a, BatchAugmentation) and a.needs_images)]
        return Recipe.model_validate(
            {
                **{name: value for name, value in self if name in shared},
                "precision": "exact" if self.precision == "exact" else "auto",
                "cache": Cache(max_bytes=self.cache.max_bytes),
                "augmentations": augmentations,
                "early_stopping": self.early_stopping or EarlyStopping(),
            }
        )

    def _check_task(self, task: Task) -> Task:
        if self.task not in ("auto", task):
            raise ValueError(f"the dataset is {task}, the recipe's task is {self.task}: leave task out")
        return task

    def _choose_loss(self, task: Task) -> Loss:
        if self.loss != "auto":
            return self.loss
        return CrossEntropy() if task == "single_label" else BinaryCrossEntropy()

    @property
    def most_epochs(self) -> int:
        """Largest number of epochs of a resolved recipe."""
        if self.epochs != "auto":
            return self.epochs
        return 20 if self.cut.kind == "none" else 200

    @property
    def budget_seconds(self) -> float | None:
        """Time budget of the job; None: no limit."""
        return SECONDS.get(self.quality) if self.time_budget_seconds is None else self.time_budget_seconds

    @property
    def image_augmentations(self) -> tuple[ImageAugmentation, ...]:
        """The augmentations of single images, which make augmented views."""
        return tuple(a for a in self.augmentations if isinstance(a, ImageAugmentation))

    @property
    def has_features(self) -> bool:
        """True where features are computed once for each image, and cached."""
        return self.cache.mode != "off" and self.cut.kind != "none" and not self.mixes_images

    @property
    def interpolates(self) -> bool:
        """True where weights between those after the probe and those of the best epoch are tried."""
        return self.cut.probe and self.cut.interpolate

    @property
    def starts_from_lda(self) -> bool:
        """True where the head starts from linear discriminant analysis; not known while head.start is "auto"."""
        return self.head.kind == "linear" and self.head.start == "lda"

    @property
    def fits_lda(self) -> bool:
        """True where the head can be that of linear discriminant analysis; the loss is known."""
        loss = "auto" if self.loss == "auto" else self.loss.kind
        is_known = self.has_features and not self.cut.probe
        return self.head.kind == "linear" and is_known and loss != "binary_cross_entropy"

    @property
    def mixes_images(self) -> bool:
        """True where an augmentation mixes the images of a batch themselves."""
        return any(isinstance(a, BatchAugmentation) and a.needs_images for a in self.augmentations)


MEASURED = {"optimizer.lr", "pretraining.lr", "search.space.lr"}
"""Fields that are found by training on features, and so may still be "auto" in a resolved recipe."""


class ResolvedRecipe(Recipe):
    """A recipe for one dataset on one machine: nothing is "auto" but learning rates, until a range test has run."""

    task: Task
    image_size: ImageSize
    precision: Precision
    engine: Engine
    batch_size: BatchSize
    epochs: Epochs
    loss: Loss

    @model_validator(mode="after")
    def _is_resolved(self) -> Self:
        unresolved = set(_find_auto(self.model_dump())) - MEASURED
        if unresolved:
            raise ValueError(f"{', '.join(sorted(unresolved))} must be resolved")
        return self

    @property
    def l2(self) -> float:
        """The strength of the L2 penalty."""
        return sum(regularizer.known for regularizer in self.regularizers if isinstance(regularizer, L2))

    def with_rate(self, lr: float) -> Self:
        """Set the learning rate."""
        return self.model_copy(update={"optimizer": self.optimizer.with_lr(lr)})

    def limit_views(self, most: int) -> Self:
        """Limit the augmented views in the cache to `most`."""
        return self.model_copy(update={"cache": self.cache.limit_views(most)})

    def apply_trial(self, best: Trial) -> Self:
        """Replace the search by the choices of its best trial."""
        others = tuple(regularizer for regularizer in self.regularizers if not isinstance(regularizer, L2))
        return self.with_rate(best.lr).model_copy(
            update={
                "regularizers": (*others, L2(strength=best.l2)),
                "head": self.head.model_copy(update={"dropout": best.dropout}),
                "search": None,
            }
        )

    def count_steps(self, images: int) -> int:
        """Count the steps of an epoch over this many images."""
        return -(-images // self.batch_size)


def _find_auto(value: Any, path: str = "") -> Iterator[str]:
    if value == "auto":
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, tuple | list) else ()
    for name, item in items:
        yield from _find_auto(item, f"{path}.{name}" if path else str(name))


def _batch_size(images: int) -> int:
    return max(2, min(64, images // 8))
