"""The report of a backbone's import, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from graft.record import Fields

VERDICTS = {
    "verified": "verified: it computes what the original computes",
    "second_opinion": "checked against a second run of the same reader only",
    "unverified": "unverified: there is nothing to compare it with; try it on samples",
    "unproven": "unproven: its outputs differ too little from image to image for a comparison to mean anything",
}
ASKED = "preprocessing_needed"
ANSWERS = {
    "architecture_": "--architecture NAME",
    "weights_unfit": "--architecture NAME",
    "labels_": "--labels FILE",
    "samples_": "--samples FOLDER",
    "preprocessing_": "mean=…,std=…",
    "input_size_": "input_size=…",
}
"""By the beginning of an error's code: what `graft backbones preprocessing` is to be given, where the file was kept."""


def describe(backbone: Fields) -> list[str]:
    """Describe a backbone, and what its import found or lacked, a line each."""
    report = backbone["import_report"] or {}
    lines = [*_describe_state(backbone), *_describe_reading(report), *_describe_checks(report)]
    lines += [*_describe_preprocessing(report.get("preprocessing") or {}), *report.get("notes", ())]
    return lines + list(_advise(backbone, report))


def format_preprocessing(facts: dict[str, Any]) -> str:
    """Format facts of the preprocessing as the command line takes them."""
    given = {name: value for name, value in facts.items() if value is not None}
    return ",".join(f"{name}={_format_value(value)}" for name, value in given.items())


def _format_value(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(_format_value(one) for one in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _describe_state(backbone: Fields) -> Iterator[str]:
    name = "" if backbone["name"] == backbone["id"] else f" ({backbone['name']})"
    yield f"{backbone['id']}{name}: {backbone['status']}"
    if backbone["architecture"]:
        size = "x".join(map(str, backbone["input_size"] or ()))
        parameters = f"{backbone['parameters']:,} parameters" if backbone["parameters"] else "parameters unknown"
        yield f"architecture {backbone['architecture']}, {parameters}, input {size}, licence {backbone['licence']}"
    if backbone["pretrained_from"]:
        made = backbone["pretraining"]
        yield f"pretrained from {backbone['pretrained_from']} on {backbone['pretrained_on']}: {made['method']['kind']}"
        if losses := made.get("losses"):
            yield f"loss {losses[0]:.4g} in the first epoch, {losses[-1]:.4g} in the last, on {made['images']:,} images"
    if backbone["digest"]:
        yield f"file: {backbone['format'] or 'format unknown'}, {backbone['bytes']:,} bytes, {backbone['digest']}"


def _describe_reading(report: dict[str, Any]) -> Iterator[str]:
    if report.get("route"):
        yield f"read by {report['route']}: {report['matched']} tensors have a place in the network"
    if report.get("left"):
        yield f"left out: {', '.join(report['left'])}"
    if report.get("classes") is not None:
        labels = f"{report['labels']} of them with a name" if report.get("labels") else "without names"
        yield f"its own classifier has {report['classes']} classes, {labels}" if report["classes"] else "no classifier"


def _describe_checks(report: dict[str, Any]) -> Iterator[str]:
    if report.get("verdict"):
        yield VERDICTS.get(report["verdict"], report["verdict"])
    numeric = report.get("numeric") or {}
    if numeric.get("message"):
        yield numeric["message"]
    for one in numeric.get("comparisons", ()):
        agreement = "" if one["top1_agreement"] is None else f", the same first class on {one['top1_agreement']:.0%}"
        yield (
            f"  {one['count']} {one['images']} images in batches of {one['batch']}: greatest difference "
            f"{one['greatest_difference']:.2g} of {one['spread']:.2g} between images{agreement}"
        )
    structure = report.get("structure")
    if structure:
        exact = ", ".join(structure["exact_cuts"])
        yield f"{structure['cuts']} cuts" + (f"; halves equal the whole to the bit at {exact}" if exact else "")
    samples = report.get("samples")
    if samples and samples["accuracy"] is not None:
        yield f"accuracy on {samples['images']} samples: {samples['accuracy']:.1%} (by {samples['measured_by']})"


def _describe_preprocessing(preprocessing: dict[str, Any]) -> Iterator[str]:
    if preprocessing.get("used"):
        yield f"preprocessing: {format_preprocessing(preprocessing['used'])}"
    if preprocessing.get("assumed"):
        yield f"assumed: {', '.join(preprocessing['assumed'])}"


def _advise(backbone: Fields, report: dict[str, Any]) -> Iterator[str]:
    if backbone["status"] == "ready":
        yield f"Train on it: graft train IMAGES --backbone {backbone['id']}"
    if not backbone["error"]:
        return
    yield backbone["error"]["message"]
    preprocessing = report.get("preprocessing") or {}
    command, code = f"graft backbones preprocessing {backbone['id']}", backbone["error"]["code"]
    if code != ASKED:
        answers = [answer for beginning, answer in ANSWERS.items() if code.startswith(beginning)]
        if answers and backbone.get("hint"):
            yield f"The file need not be sent again: {command} {answers[0]}"
        return
    proposal = preprocessing.get("proposal")
    if proposal:
        yield f"If that is right: {command} {format_preprocessing(proposal)}"
    yield f"Else say it in these words, or send images of known classes: {command} from_samples --samples FOLDER"
