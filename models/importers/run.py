"""Import a backbone from an uploaded file: read it, compare it with its original, check it, and write its folder."""

from __future__ import annotations

import errno
import logging
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.backbones.errors import BackboneError
from models.catalog.preprocessing import GivenPreprocessing
from models.conversion.errors import ConversionError
from models.importers import folders, readers
from models.importers.backbone_folder import list_files, load_folder, summarize, write_folder
from models.importers.channel_order import take_rgb
from models.importers.errors import ImportRejected
from models.importers.events import Imported, Progressed, Rejected
from models.importers.labels import choose_labels
from models.importers.numeric_check import check_numbers
from models.importers.preprocessing import Decision, ask, decide
from models.importers.rendered_images import render_images
from models.importers.report import ImportReport, Trial
from models.importers.sample_trials import SampleSet, is_better_than_chance, normalize, try_preprocessings
from models.importers.samples import read_samples
from models.importers.settings import complete_request
from models.importers.structure_check import check_structure
from models.networks.candidate_cuts import inspect
from models.networks.graph_copy import GraphError
from models.networks.tracing import SurgeryError
from models.networks.types import as_module
from models.runtime.devices import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from models.importers.events import ImportEvent, Stage
    from models.importers.folders import Upload
    from models.importers.reader import ReadNetwork
    from models.importers.report import ImageKind, SampleCheck
    from models.importers.request import ImportRequest

log = logging.getLogger(__name__)

STAGES: dict[Stage, tuple[float, str]] = {
    "recognizing": (0.0, "Recognizing the format"),
    "reading": (5.0, "Reading the network"),
    "comparing": (25.0, "Comparing the network with its original"),
    "checking": (70.0, "Checking that the network can be cut and trained"),
    "writing": (90.0, "Writing the backbone"),
}
RANDOM_IMAGES, RENDERED_IMAGES, QUANTIZED_IMAGES = 3, 16, 48
"""Images on which networks are compared; quantized ones, whose values differ, need more."""
CHECKED_IMAGES = 3
REFUSALS = (ConversionError, BackboneError, SurgeryError, GraphError)
LIBRARIES = ("graft", "torch", "timm", "torchvision", "onnx", "onnxruntime", "openvino", "keras", "h5py",
             "transformers", "ai_edge_litert", "safetensors", "numpy")  # fmt: skip
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
MAX_NAMED = 50


def import_backbone(request: ImportRequest, heartbeat: Callable[[], None]) -> Iterator[ImportEvent]:
    """Import a backbone; the last event is Imported or Rejected. Raises nothing that the file is to blame for."""
    report = ImportReport()
    started = time.monotonic()
    try:
        for event in _run(request, report, heartbeat):
            report.seconds = round(time.monotonic() - started, 1)
            yield event
        return
    except ImportRejected as error:
        code, message = error.code, str(error)
        if error.numeric is not None:
            report.numeric = error.numeric
    except REFUSALS as error:
        code, message = error.code, str(error)
    except Exception as error:  # libraries that read strangers' files raise whatever they like
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise  # the machine failed, not the file
        log.exception("The import of %a failed", request.name)
        code, message = _explain(error)
    report.seconds = round(time.monotonic() - started, 1)
    report.versions = _list_versions()
    yield Rejected(code=code, message=message, report=report)


def _explain(error: Exception) -> tuple[str, str]:
    if is_out_of_memory(error):
        return "backbone_too_large", (
            "The network does not fit the worker's memory. Send a smaller one, or raise GRAFT_MEMORY_BYTES where the "
            "machine has more."
        )
    text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return "import_failed", (
        f"The file could not be imported, for a reason that was not foreseen ({text}). Export the network in another "
        "format (ONNX is the most common), and please report this file."
    )


def _progress(stage: Stage) -> Progressed:
    percent, message = STAGES[stage]
    return Progressed(stage=stage, percent=percent, message=message)


def _run(request: ImportRequest, report: ImportReport, heartbeat: Callable[[], None]) -> Iterator[ImportEvent]:
    with TemporaryDirectory(dir=request.folder) as scratch:
        yield _progress("recognizing")
        upload = folders.recognize(request.file, request.name or request.file.name, Path(scratch), heartbeat)
        request = complete_request(request, upload)
        _check_format(request, upload, report)
        yield _progress("reading")
        read = readers.read(upload.format, request.model_copy(update={"file": upload.path}))
        as_module(read.network).eval().requires_grad_(False)
        labels = choose_labels(request.labels, upload.labels, read.labels, read.network.num_classes, report)
        _report_reading(report, read, labels)
        decision, samples = _decide(request, upload, read, labels, report, heartbeat)
        yield _progress("comparing")
        report.numeric = check_numbers(read, _render(read, decision), heartbeat)
        report.verdict = report.numeric.verdict
        if decision.report.missing:
            raise ask(decision, samples)
        yield _progress("checking")
        images = _take_rgb(read, decision, report)
        identity = {"architecture": read.architecture, "model_args": read.model_args}
        report.structure = check_structure(read.network, images, identity, heartbeat)
        yield _progress("writing")
        write_folder(request.folder, read, decision, labels)
        backbone = load_folder(request.folder, read, images)
        heartbeat()
        inspection = inspect(backbone.network, backbone.preprocessing.input_size)
    report.digest, report.versions = backbone.digest, _list_versions()
    yield Imported(
        summary=summarize(backbone, inspection),
        report=report,
        inspection=inspection,
        files=list_files(request.folder),
    )


def _check_format(request: ImportRequest, upload: Upload, report: ImportReport) -> None:
    report.format, report.read = upload.format, list(upload.files[:MAX_NAMED])
    if request.format is not None and request.format != upload.format:
        raise ImportRejected(
            "format_differs",
            f"The request says {request.format}, and the file is {upload.format}. Leave the format out, or send "
            "the other file.",
        )


def _report_reading(report: ImportReport, read: ReadNetwork, labels: list[str] | None) -> None:
    report.route, report.matched, report.licence = read.route, read.matched, read.licence
    report.read += read.read[:MAX_NAMED]
    report.left += read.left[:MAX_NAMED]
    report.notes += read.notes
    report.classes = read.network.num_classes
    report.labels = 0 if labels is None else len(labels)
    if read.is_quantized:
        report.notes.append(
            "The file is quantized; the backbone has its weights as floating-point numbers, without the rounding."
        )


def _decide(
    request: ImportRequest,
    upload: Upload,
    read: ReadNetwork,
    labels: list[str] | None,
    report: ImportReport,
    heartbeat: Callable[[], None],
) -> tuple[Decision, SampleCheck | None]:
    """Decide the preprocessing, and try the samples where there are some."""
    given = request.preprocessing if isinstance(request.preprocessing, GivenPreprocessing) else None
    decision = decide(read, given)
    source = request.samples or upload.samples
    if source is not None:
        samples = SampleSet.prepare(
            read_samples(source, heartbeat), decision.preprocessing, labels, read.network.num_classes
        )
        used = None if decision.report.missing else _name_used(decision)
        report.samples = try_preprocessings(read.network, samples, heartbeat, used)
    if request.preprocessing == "from_samples":
        if report.samples is None:
            raise ImportRejected(
                "samples_needed", "The preprocessing is to be chosen by samples, and there are none. Send some."
            )
        if is_better_than_chance(report.samples, read.network.num_classes):
            decision = decide(read, None, report.samples)
            report.samples.accuracy = report.samples.trials[0].accuracy
    report.preprocessing = decision.report
    return decision, report.samples


def _name_used(decision: Decision) -> Trial:
    return Trial(
        name="the backbone's own",
        channel_order=decision.channel_order,
        mean=decision.mean,
        std=decision.std,
        accuracy=0.0,
    )


def _render(read: ReadNetwork, decision: Decision) -> dict[ImageKind, np.ndarray]:
    """Render the images on which a network is compared, as it takes them."""
    _, height, width = decision.preprocessing.input_size
    noise = np.random.default_rng(0).integers(0, 256, (RANDOM_IMAGES, 3, height, width), np.uint8)
    count = QUANTIZED_IMAGES if read.is_quantized else RENDERED_IMAGES
    used = _name_used(decision)
    pixels: dict[ImageKind, np.ndarray] = {"random": noise, "rendered": render_images(count, height, width)}
    return {kind: _round_to_half(normalize(images, used)) for kind, images in pixels.items()}


def _round_to_half(images: np.ndarray) -> np.ndarray:
    """Round images to what float16 can hold: an original that takes float16 sees the same images as the network."""
    rounded: np.ndarray = images.astype(np.float16).astype(images.dtype)
    return rounded


def _take_rgb(read: ReadNetwork, decision: Decision, report: ImportReport) -> torch.Tensor:
    """Make the network take RGB; returns images for it."""
    _, height, width = decision.preprocessing.input_size
    used = _name_used(decision).model_copy(update={"channel_order": "rgb"})
    images = torch.from_numpy(normalize(render_images(CHECKED_IMAGES, height, width), used))
    if decision.channel_order == "bgr":
        report.notes.append(take_rgb(read.network, images))
    return images


def _list_versions() -> dict[str, str]:
    """List the versions of the libraries that are loaded."""
    found = {}
    for name in LIBRARIES:
        if name == "graft" or name in sys.modules:
            try:
                found[name] = version(name.replace("_", "-"))
            except PackageNotFoundError:
                continue
    return found
