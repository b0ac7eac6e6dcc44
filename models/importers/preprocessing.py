"""Decide how images are prepared for an imported network: what the user says, and what the file says.

Mean, deviation and the order of channels are never guessed in silence: where nobody states them, the import stops with
`preprocessing_needed` and a proposal. Interpolation and crop, which change accuracy little, get defaults that the
report lists as assumed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from models.catalog.preprocessing import GivenPreprocessing
from models.images.preprocessing import Preprocessing
from models.importers.errors import ImportRejected
from models.importers.report import PreprocessingReport
from models.importers.sample_trials import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.conversion.converted import PreprocessingFacts
    from models.importers.reader import ReadNetwork
    from models.importers.report import SampleCheck

    Source = Literal["user", "file", "samples", "assumed"]

FACTS = ("mean", "std", "input_size", "interpolation", "crop_pct", "crop_mode", "channel_order")
ASKED = ("mean", "std")
"""Facts without which there is no backbone."""
NORMALIZATION = ("mean", "std", "channel_order")
"""Facts that a user may not contradict."""
TOLERANCE = 0.02
DEFAULTS: Mapping[str, Any] = {
    "interpolation": "bilinear", "crop_pct": 0.875, "crop_mode": "center", "channel_order": "rgb",
}  # fmt: skip
WHY_IMAGENET = (
    "The file does not say which values the network takes. Most networks that were exported from PyTorch take values "
    "from 0 to 1, less ImageNet's mean, divided by its deviation."
)


@dataclass(frozen=True)
class Decision:
    """Preprocessing decided for a network."""

    mean: tuple[float, float, float]
    """Of red, green and blue."""
    std: tuple[float, float, float]
    channel_order: Literal["rgb", "bgr"]
    """Order in which the network, as it was read, takes the channels."""
    cfg: dict[str, Any]
    """Entries of timm's configuration."""
    report: PreprocessingReport

    @property
    def preprocessing(self) -> Preprocessing:
        """Resize, crop and normalization, for RGB."""
        return Preprocessing.from_config(self.cfg)


def decide(read: ReadNetwork, given: GivenPreprocessing | None, samples: SampleCheck | None = None) -> Decision:
    """Decide by what is known; what is missing is taken from the proposal, and listed in the report's `missing`.

    `samples` counts as known: pass it only where the user asked for what fits the samples. Raises ImportRejected.
    """
    known: list[tuple[Source, Mapping[str, Any]]] = [
        ("user", {} if given is None else given.model_dump(exclude_none=True)),
        ("samples", {} if samples is None else samples.trials[0].model_dump(include={"mean", "std", "channel_order"})),
        ("file", _list_facts(read.facts)),
        ("file", {"input_size": read.input_size}),
    ]
    report = PreprocessingReport(reasons=list(read.facts.evidence))
    for fact in FACTS:
        found = [(source, facts[fact]) for source, facts in known if fact in facts]
        if found:
            report.sources[fact], report.used[fact] = found[0]
            _check_contradictions(report, fact, found)
    _check_size(read, report.used["input_size"])
    proposal = propose(read, report)
    report.missing = [fact for fact in ASKED if fact not in report.used]
    if report.missing:
        report.missing += [fact for fact in ("channel_order",) if fact not in report.used]
        report.proposal = proposal
    for fact in FACTS:
        if fact not in report.used:
            report.used[fact] = getattr(proposal, fact)
            if fact not in report.missing:
                report.sources[fact] = "assumed"
                report.assumed.append(f"{fact}: {report.used[fact]}")
    return _conclude(report)


def _conclude(report: PreprocessingReport) -> Decision:
    used = report.used
    cfg = {fact: used[fact] for fact in FACTS if fact != "channel_order"}
    try:
        Preprocessing.from_config(cfg)
    except (ValueError, TypeError) as error:
        raise _refuse(str(error)) from error
    mean, std = ((one[0], one[1], one[2]) for one in (used["mean"], used["std"]))
    report.used = {fact: list(value) if isinstance(value, tuple) else value for fact, value in used.items()}
    return Decision(mean, std, used["channel_order"], cfg, report)


def _refuse(problem: str) -> ImportRejected:
    return ImportRejected(
        "preprocessing_unusable",
        f"Images cannot be prepared as the file says ({problem}). State the right value in preprocessing.",
    )


def _list_facts(facts: PreprocessingFacts) -> dict[str, Any]:
    """List what a file says; mean and std in the order red, green, blue."""
    found = {fact: getattr(facts, fact) for fact in FACTS if getattr(facts, fact) is not None}
    if facts.channel_order == "bgr":
        found.update({fact: tuple(reversed(found[fact])) for fact in ASKED if fact in found})
    return found


def _check_contradictions(report: PreprocessingReport, fact: str, found: Sequence[tuple[Source, Any]]) -> None:
    """Reject a normalization that the file contradicts: nobody would see that it is wrong, but by poor features.

    Samples decide against the file, and so does the user about resizing and cropping; the report says so.
    """
    (source, value), *others = found
    stated = [other for where, other in others if where == "file" and not _is_same(value, other)]
    if not stated or fact == "input_size" or source == "file":
        return
    if source == "user" and fact in NORMALIZATION:
        raise ImportRejected(
            "preprocessing_contradicts",
            f"The request says {fact} {_show(value)}, and the file says {_show(stated[0])}. {' '.join(report.reasons)} "
            f"Leave {fact} out of the request; where the file is wrong, send samples with preprocessing from_samples.",
        )
    by = "the request" if source == "user" else "the samples"
    report.reasons.append(f"The file says {fact} {_show(stated[0])}; {_show(value)} is used, as of {by}.")


def _is_same(value: Any, other: Any) -> bool:
    """Tell whether two statements of a fact agree; quantized inputs state 0.498 where people say 0.5."""
    if not isinstance(value, tuple):
        return bool(value == other)
    return all(math.isclose(one, two, rel_tol=TOLERANCE, abs_tol=1e-9) for one, two in zip(value, other, strict=True))


def _show(value: Any) -> str:
    return ", ".join(f"{number:.4g}" for number in value) if isinstance(value, tuple) else str(value)


def _check_size(read: ReadNetwork, size: tuple[int, int, int]) -> None:
    """Check that a graph, whose reshapes hold numbers, gets images of its own size."""
    if read.architecture == "graph" and tuple(size) != tuple(read.input_size):
        own, asked = ("x".join(map(str, one[1:])) for one in (read.input_size, size))
        raise ImportRejected(
            "input_size_differs",
            f"The file's network takes images of {own} pixels, and the request says {asked}. Leave input_size out, or "
            "export the network for that size.",
        )


def propose(read: ReadNetwork, report: PreprocessingReport) -> GivenPreprocessing:
    """Propose all facts: those that are known, those that the architecture usually has, and defaults."""
    usual = {} if read.proposed is None else _list_facts(read.proposed)
    facts = {**DEFAULTS, "mean": IMAGENET_MEAN, "std": IMAGENET_STD, **usual, **report.used}
    if any(fact not in report.used for fact in ASKED):
        report.reasons.append((usual and read.proposed_because) or WHY_IMAGENET)
    try:
        return GivenPreprocessing.model_validate(facts)
    except ValidationError as error:
        first = error.errors()[0]
        fact = ".".join(str(part) for part in first["loc"])
        raise _refuse(f"{fact} is {first['input']!r}: {first['msg']}") from error


def ask(decision: Decision, samples: SampleCheck | None) -> ImportRejected:
    """Make the error that asks for what is missing; samples, where there are some, make the proposal."""
    report = decision.report
    assert report.proposal is not None
    if samples is not None:
        best, second = samples.trials[:2]
        report.proposal = report.proposal.model_copy(
            update={"mean": best.mean, "std": best.std, "channel_order": best.channel_order}
        )
        certainty = "beyond chance" if samples.is_clear else "within chance"
        report.reasons = [
            f"On {samples.images} samples, {best.name} has an accuracy of {best.accuracy:.1%}; the runner-up, "
            f"{second.name}, has {second.accuracy:.1%}: the difference is {certainty}."
        ]
    proposal = report.proposal
    return ImportRejected(
        "preprocessing_needed",
        f"Nothing in the file says how images are prepared for the network: {', '.join(report.missing)} "
        f"{'is' if len(report.missing) == 1 else 'are'} missing. Proposed are mean {_show(proposal.mean)}, std "
        f"{_show(proposal.std)} and {str(proposal.channel_order).upper()}. {report.reasons[-1]} Confirm or correct it "
        "with POST /v1/backbones/{id}/preprocessing, or send samples (images in folders named as their class) to have "
        "it tried; the file need not be sent again.",
    )
