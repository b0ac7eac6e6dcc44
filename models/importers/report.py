"""The report of an import: what was read, how it was checked, and what is not certain. Imports no torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from models.catalog.preprocessing import GivenPreprocessing

Verdict = Literal["verified", "second_opinion", "unverified", "unproven"]
"""verified: equal to the original runtime, within float32's rounding. second_opinion: equal to another run of what the
same reader has read. unverified: there is nothing to compare with. unproven: compared, but the outputs differ too
little from image to image for that to prove anything."""


ImageKind = Literal["random", "rendered"]
"""Uniform noise, or the images that Graft renders: shapes and textures with the spectrum of photographs."""
MeasureKind = Literal["logits", "features", "log_probabilities", "probabilities"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Comparison(_Part):
    """Outputs of the original runtime and of the imported network on the same images."""

    measure: MeasureKind
    images: ImageKind
    batch: int
    count: int
    """Number of images."""
    greatest_difference: float
    """Greatest difference of an output between original and imported network."""
    own_rounding: float
    """Greatest difference of an output between the imported network in float32 and in float64."""
    bound: float
    """Greatest difference that rounding explains."""
    spread: float
    """How far outputs differ from image to image: the median over images of the greatest difference to their mean."""
    top1_agreement: float | None
    """Share of the images with the same first class; None without a classifier."""


class QuantizedComparison(_Part):
    """Outputs of an original of 8 or 16 bits and of the imported network on the same images."""

    images: ImageKind
    batch: int
    count: int
    bits: Literal[8, 16]
    """Bits of the original's activations."""
    difference: float
    """Root mean square of the difference between original and imported network."""
    own_rounding: float
    """The same between the imported network and itself with activations rounded to these bits."""
    bound: float
    correlation: float
    """Correlation of all outputs, each one's mean over the images taken off."""
    top1_agreement: float | None
    certain_images: int
    """Images on which the original is sure of its first class."""
    certain_agreement: float | None
    """Share of those with the same first class."""


class NumericCheck(_Part):
    """Comparison with the original runtime."""

    verdict: Verdict
    message: str
    original: str | None = None
    """The original runtime with its version."""
    comparisons: list[Comparison] = []
    quantized: list[QuantizedComparison] = []
    differs_at: str | None = None
    """The first layer at which the two part, where that can be found."""


class StructureCheck(_Part):
    """Graft's own check of the network."""

    cuts: int
    exact_cuts: list[str] = []
    """Cuts at which the halves were run, and equal the whole to the bit."""
    parameters_above: int = 0
    parameters_with_gradient: int = 0
    """Of the parameters above the lowest of these cuts, those with a gradient that is finite and not 0."""
    dead_outputs: list[str] = []
    """Layers whose output is the same for all images."""
    batch_difference: float = 0.0
    """Greatest difference of an output between an image alone and in a batch."""


class Trial(_Part):
    """A preprocessing that was tried on the samples."""

    name: str
    channel_order: Literal["rgb", "bgr"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    accuracy: float
    """Top-1 accuracy of the network's own classifier on the samples; without one, that of a leave-one-out probe."""


class SampleCheck(_Part):
    """Accuracies on the user's samples."""

    images: int
    classes: int
    measured_by: Literal["classifier", "probe"]
    accuracy: float | None = None
    """With the preprocessing of the backbone."""
    trials: list[Trial] = []
    """The best first."""
    is_clear: bool | None = None
    """Whether the best trial is better than the runner-up beyond chance (McNemar's test, 1 %)."""
    unmatched: list[str] = []
    """Folders that name none of the network's classes."""


class PreprocessingReport(_Part):
    """Preprocessing of the backbone, and where each fact comes from."""

    used: dict[str, Any] = {}
    sources: dict[str, Literal["file", "user", "samples", "assumed"]] = {}
    """By fact (mean, std, input_size …) where it comes from."""
    assumed: list[str] = []
    """Facts that nobody stated, each with the value that is taken."""
    missing: list[str] = []
    """Facts that are asked for."""
    proposal: GivenPreprocessing | None = None
    reasons: list[str] = []
    """Why this is proposed."""


class ImportReport(_Part):
    """Findings of an import."""

    format: str | None = None
    route: str | None = None
    """How the file was read: the reader, and the libraries on the way."""
    read: list[str] = []
    """Files or tensors of the upload that were read, at most 50 of them by name."""
    matched: int = 0
    """Number of tensors that have a place in the network."""
    left: list[str] = []
    """What was left out of the network."""
    notes: list[str] = []
    verdict: Verdict | None = None
    numeric: NumericCheck | None = None
    structure: StructureCheck | None = None
    preprocessing: PreprocessingReport = PreprocessingReport()
    samples: SampleCheck | None = None
    classes: int | None = None
    """Number of classes of the network's own classifier; 0 without one."""
    labels: int | None = None
    """How many class names are known."""
    licence: str | None = None
    digest: str | None = None
    """Of the backbone as it loads: part of the identity of its features."""
    versions: dict[str, str] = {}
    seconds: float | None = None
