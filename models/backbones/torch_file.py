"""Files that torch.save wrote, opened as tensors alone: the one pickle that is ever read, by torch's own safe reader.

`weights_only` builds tensors, numbers, texts and containers of them; whatever else a file names is refused, and nothing
of it runs. What training scripts keep beside the weights (argparse's options, NumPy's numbers, paths) is harmless data.
"""

from __future__ import annotations

import argparse
import codecs
import pathlib
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy._core.multiarray import scalar

if TYPE_CHECKING:
    from pathlib import Path

HARMLESS: list[Any] = [
    argparse.Namespace,
    pathlib.PosixPath,
    np.dtype,
    *(type(np.dtype(code)) for code in ("f2", "f4", "f8", "i4", "i8", "u1", "?")),
    *((scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    (codecs.encode, "_codecs.encode"),
]
"""What a file may name beside what torch allows: data that only holds data."""
NAMED = re.compile(r"(?:GLOBAL|Unsupported global:|Unsupported class) (?:GLOBAL )?([\w.]+)")


class TorchFileUnsafe(Exception):
    """The file names code; reading it in full could run that."""


class TorchFileBroken(Exception):
    """The file is truncated or damaged, or no file of torch's."""


def read_torch_file(file: Path) -> Any:
    """Read what torch.save wrote, on the CPU; raises TorchFileUnsafe, TorchFileBroken."""
    try:
        with torch.serialization.safe_globals(HARMLESS):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has no errors of its own: any may be raised where a file is not as it expects
        text = str(error)
        if "TorchScript" in text:
            raise TorchFileUnsafe("it is a TorchScript archive, which holds code") from error
        named = NAMED.search(text)
        if named is not None:
            raise TorchFileUnsafe(f"it needs {named[1]}, which is code, not weights") from error
        raise TorchFileBroken(" ".join(text.split())[:200] or type(error).__name__) from error
