"""Objects of the group backbones."""

# Written by tools/client_results.py from the OpenAPI description: `make docs` writes it again.
from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from graft.record import Record
from graft.results.shared import WorkStatus

BackboneStatus = Literal["listed", "inspecting", "inspected", "importing", "pretraining", "ready", "failed"]
"""States of a backbone."""


class RankedBackbone(Record):
    """A candidate, and what was measured; null until it is, or where it cannot be."""

    backbone: str
    rank: int | None
    """1 is the best."""
    tied: bool | None
    """Whether the images cannot tell it from the best."""
    suffices: bool | None
    """Whether it is surely better than the constant predictor, and not below `min_accuracy`."""
    expected: float | None
    """Accuracy, or mean average precision, of a linear classifier on images that were left out in their turn."""
    low: float | None
    """Lower end of the interval that holds the true one with 95% confidence."""
    high: float | None
    """Upper end of the interval."""
    balanced_accuracy: float | None
    """Mean recall of the classes; null too where images have several labels."""
    seconds: float | None
    """Expected time of a whole job by the empty recipe on this machine, without a download of the weights."""
    seconds_per_image: float | None
    """Measured time to compute the features of an image."""
    latency_seconds: float | None
    """Measured time from the file of one image to its features, by the engine that answers predictions."""
    checkpoint_bytes: int | None
    """Size of the checkpoint of such a job."""
    features_bytes: int | None
    """Size of the features of all images in the cache, without augmented views."""
    computed: int | None
    """Images whose features were computed; those of the rest of the sample were in the cache."""
    engine: str | None
    """What computed the features."""
    error: dict[str, Any] | None
    """Why it cannot be measured."""


class RecommendationProgress(Record):
    """Progress of a recommendation; null where it is not known yet."""

    percent: float
    candidate: str | None
    """The backbone that is being measured."""
    eta_seconds: float | None


class Backbone(Record):
    """A pretrained network that a job can name by its id.

    One of the Hub has nulls until a worker has inspected it, an uploaded one until it is imported.
    """

    id: str
    name: str
    """The id, but for an uploaded or pretrained one that was given a name for people."""
    source: str
    status: BackboneStatus
    architecture: str | None
    parameters: int | None
    input_size: list[int] | None
    licence: str | None
    accuracy: float | None
    """Top-1 accuracy on ImageNet-1k's validation images, from 0 to 1, where its source publishes it."""
    multiply_adds: int | None
    """Multiply-adds for one image of `input_size`, of convolutions and matrix products, where they are known."""
    pretrained_from: str | None
    """Backbone that one that was pretrained here started from."""
    pretrained_on: str | None
    """Dataset that it was pretrained on; it may have been deleted since."""


class InspectedBackbone(Record):
    """A backbone with its possible cuts, once a worker has inspected it."""

    id: str
    name: str
    """The id, but for an uploaded or pretrained one that was given a name for people."""
    source: str
    status: BackboneStatus
    architecture: str | None
    parameters: int | None
    input_size: list[int] | None
    licence: str | None
    accuracy: float | None
    """Top-1 accuracy on ImageNet-1k's validation images, from 0 to 1, where its source publishes it."""
    multiply_adds: int | None
    """Multiply-adds for one image of `input_size`, of convolutions and matrix products, where they are known."""
    pretrained_from: str | None
    """Backbone that one that was pretrained here started from."""
    pretrained_on: str | None
    """Dataset that it was pretrained on; it may have been deleted since."""
    inspection: dict[str, Any] | None
    """Stages and cuts with their costs; null until a worker has inspected it."""
    error: dict[str, Any] | None
    format: str | None
    """Of an uploaded one's file."""
    bytes: int | None
    """Size of an uploaded one's file."""
    digest: str | None
    """Of an uploaded one's file."""
    options: dict[str, Any] | None
    """Facts that requests gave about an uploaded one's file."""
    import_report: dict[str, Any] | None
    """What was read of an uploaded one, how it was checked, and what is not certain."""
    pretraining: dict[str, Any] | None
    """Method, image size and seed of one that is pretrained here; once it is ready, also the number of images, the
    mean loss of each epoch, the seconds that it took, and the digests of the weights before and after."""
    progress: dict[str, Any] | None
    """Of its pretraining: percent, epochs, steps, and the expected seconds to its end."""
    created_at: datetime
    hint: str | None
    """What to do where `inspection` is null."""


class Recommendation(Record):
    """Backbones ranked on the images of a dataset, best first; while it runs, as far as they are measured."""

    id: str
    created_by: str | None
    """Id of the API key whose request made it; null where none was asked for."""
    status: WorkStatus
    dataset: str
    min_accuracy: float | None
    metric: Literal["accuracy", "map"] | None
    """What is expected: accuracy, or mean average precision where images have several labels."""
    constant: float | None
    """The same of the predictor that says how often each class occurs."""
    sample: int | None
    """Training images that were looked at."""
    recommended: str | None
    """The best backbone; null where none suffices."""
    advice: str | None
    """What that means, and what to do where none suffices."""
    candidates: list[RankedBackbone]
    """From the best on; those without figures last."""
    progress: RecommendationProgress
    attempt: int
    error: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
