"""Command line of a checkpoint's other files: `graft export` and `graft assemble`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from graft import inputs
from graft.assembly import assemble as assemble_file
from graft.errors import InputUnusable
from graft.terminal import AsJson, Overwrite, Url, connect, console, fail, print_json, say

FORMATS = ("safetensors", "head", "python", "onnx", "pt2", "bundle", "hub")


def export(
    checkpoint: Annotated[str, typer.Argument(help="Its id, ckpt_….")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to put the file.")],
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "onnx",
    preprocessing: Annotated[bool, typer.Option("--preprocessing", help="ONNX: take uint8 RGB images.")] = False,
    resize: Annotated[bool, typer.Option("--resize", help="ONNX, with --preprocessing: images of any size.")] = False,
    softmax: Annotated[bool, typer.Option("--softmax", help="ONNX: give probabilities.")] = False,
    precision: Annotated[str, typer.Option(help="ONNX: float32 or int8.")] = "float32",
    overwrite: Overwrite = False,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Download a checkpoint in another format, with what was measured of it in its own runtime."""
    options: dict[str, Any] = {"preprocessing": preprocessing, "resize": resize, "softmax": softmax}
    given = {name: "true" for name, value in options.items() if value}
    given |= {"precision": precision} if precision != "float32" else {}
    with connect(url) as client:
        inputs.check_output(output, overwrite=overwrite)
        path = client.export(checkpoint, output, format, **given)
        wanted = options | {"precision": precision}
        made = [one for one in client.exports(checkpoint) if one.format == format and _is_same(one.options, wanted)]
    if as_json:
        print_json({"path": str(path), "report": made[0].report if made else None})
        return
    say(str(path))
    for one in made:
        console.print_json(data=one.report)


def _is_same(options: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(options.get(name, False) == value for name, value in wanted.items())


def assemble(
    head: Annotated[Path, typer.Argument(help="A checkpoint's file of format=head.")],
    backbone: Annotated[Path, typer.Argument(help="The backbone's model.safetensors, or its folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to put the whole file.")] = Path(
        "best.safetensors"
    ),
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Make a checkpoint's whole file of its head and its backbone's own file, without the service."""
    try:
        inputs.check_output(output, overwrite=overwrite)
        path = assemble_file(head, backbone, output)
    except InputUnusable as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or output}: {error.strerror or error}.")
    if as_json:
        print_json({"path": str(path)})
    else:
        say(str(path))
