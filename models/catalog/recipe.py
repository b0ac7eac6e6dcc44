"""The recipe: all choices of one training run. The empty recipe is the recommended one."""

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
    """What to train and how. `auto` is resolved from the data before training, and the resolved value shown.

    A technique that keeps its defaults can be given by its kind alone: `"optimizer": "nesterov"`.
    """

    task: Task | Auto = "auto"
    """Whether an image has one label or several; auto: as the dataset has them."""
    image_size: Annotated[int, Field(ge=16, le=2048)] | Auto = "auto"
    """Longer side of the network's input in pixels, which keeps its proportions; auto: the backbone's own."""
    precision: Literal["auto", "exact", "float32", "bfloat16"] = "auto"
    """In which numbers what is frozen is computed; exact: float32, of images to the bit as timm renders them; auto:
    bfloat16 where that saves time, and its features agree with float32's on images of the dataset. With bfloat16,
    what is trained of the backbone computes in it too; its weights stay float32 (Micikevicius et al., 2018)."""
    engine: Literal["auto", "eager", "openvino"] = "auto"
    """What computes it: PyTorch's eager mode, or OpenVINO, compiled for the processor; auto: whichever is faster,
    its set-up counted."""
    batch_size: Annotated[int, Field(ge=1, le=65536)] | Auto = "auto"
    """Images per step; auto: 64, fewer where that leaves less than eight steps an epoch."""
    epochs: Epochs | Auto = "auto"
    """Most passes over the training images; auto: 200, early stopping usually ends sooner; 20 where the whole
    backbone is trained."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Of the new layers' initialization, dropout and the order of batches."""
    time_budget_seconds: Annotated[float, Field(gt=0.0, le=1e8)] | None = None
    """Training, and pretraining before it, end when the job has run for so long, and what is best so far is delivered;
    null: never."""
    validation_fraction: Fraction = 0.15
    """Share of the images to validate on, where the dataset brings no split of its own."""
    test_fraction: Fraction = 0.15
    """Share of the images to test on, where the dataset brings no split of its own."""
    drop_stages: Annotated[int, Field(ge=0, le=64)] = 0
    """So many of the backbone's top stages are left out, and the head stands in their place."""
    cut: Cut = All()
    """What of the backbone is frozen and computed once, and what is trained with the head."""
    cache: Cache = Cache()
    """What is computed once."""
    head: Head = Linear()
    """The new layers."""
    pretraining: Pretraining | None = None
    """What the new layers learn before their task; null: nothing."""
    optimizer: Optimizer = Adam()
    """How the gradient moves the weights."""
    schedule: Schedule = Constant()
    """What the learning rate is multiplied by as training goes on."""
    gradient_clipping: Clipping | None = None
    """Keeps one bad batch from throwing the weights away; null: no clipping."""
    regularizers: Regularizers = (L2(),)
    """What keeps the weights of the new layers small."""
    augmentations: Augmentations = (
        Crop(min_area=0.8, max_aspect=1.15),
        Colour(),
    )
    """What the augmented views go through: crops first, the others in their order; and how batches are mixed. The
    default is mild, and true of digits as of photographs. With none of images, there are no augmented views."""
    loss: Auto | Loss = "auto"
    """What training makes small; auto: cross_entropy, or binary_cross_entropy where images have several labels."""
    sampling: Sampling = Shuffled()
    """In which order an epoch goes through the images."""
    averaging: ExponentialMovingAverage | None = None
    """Averages the weights of many steps; null: the last ones count."""
    early_stopping: EarlyStopping | None = EarlyStopping()
    """When to end before the last epoch, and which epoch is delivered; null: never, and the last."""
    target: Target | None = None
    """What is good enough to end; null: nothing."""
    search: Search | None = None
    """Finds the learning rate, L2 and dropout of a linear head by trying many at once; null: nothing is tried. Once it
    is done, the recipe has what the best had, and null here."""

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
