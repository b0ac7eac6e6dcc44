"""Run an export, top to bottom: load the network, write the format, compare the two, report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from models.exporters import folders, onnx_export, onnx_model, torch_export_file
from models.exporters.loaded import compute, load, prepare, render_first_batch, run_network
from models.exporters.parity import compare, require_parity

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from models.datasets.pack import Pack
    from models.exporters.loaded import ExportRequest, Loaded


def export(request: ExportRequest, pack: Pack, heartbeat: Callable[[], None]) -> dict[str, Any]:
    """Write the file of a request; returns the report of it. Raises ExportError, BackboneError."""
    if request.format == "onnx":
        onnx_model.require_packages()
    loaded = load(request, pack)
    expected = compute(loaded, run_network(loaded), heartbeat)
    match request.format:
        case "onnx":
            return onnx_export.export(request, loaded, expected, heartbeat)
        case "pt2":
            return _export_pt2(request, loaded, expected, heartbeat)
    return folders.export(request, loaded, expected, heartbeat)


def _export_pt2(
    request: ExportRequest, loaded: Loaded, expected: np.ndarray, heartbeat: Callable[[], None]
) -> dict[str, Any]:
    example = torch.zeros(2, *loaded.preprocessing.input_size)
    torch_export_file.write(loaded.network, example, request.file)
    program = torch_export_file.Program(request.file)
    logits = compute(loaded, lambda pixels: program.run(prepare(loaded, pixels)), heartbeat)
    parity = compare(logits, expected, is_multi_label=loaded.pack.is_multi_label)
    require_parity(
        parity, "pt2", lambda: program.find_layer(loaded.network, prepare(loaded, render_first_batch(loaded)))
    )
    return {"parity": parity, "torch": torch.__version__}
