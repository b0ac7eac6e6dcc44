"""Tell PyTorch's files apart without unpickling: state_dict, whole module, TorchScript, .pt2; and other pickles."""

from __future__ import annotations

import pickletools
from typing import IO, TYPE_CHECKING

from models.importers import refusals

if TYPE_CHECKING:
    from collections.abc import Iterator, Set

    from models.importers.errors import ImportRejected

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""The number that PyTorch before 1.6 pickles at the start of a file; three more pickles precede the storages."""
LEGACY_HEADERS = 3
MAX_OPCODES = 3_000_000
MODULES = "torch.nn.modules."
"""Prefix of the classes of which a pickled network is made, whatever its own class."""
STORES = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
FETCHES = ("GET", "BINGET", "LONG_BINGET")
LONG_NUMBERS = ("LONG", "LONG1", "LONG4")
"""Names of opcodes."""
SKLEARN = ("sklearn.", "joblib.", "xgboost.", "lightgbm.")
FASTAI = ("fastai.", "fastcore.")


def recognize_zip(names: Set[str], data: IO[bytes] | None, name: str) -> ImportRejected | None:
    """Find out why a zip archive of PyTorch is refused; None if it is a state_dict. `data` is its data.pkl."""
    tails = {entry.split("/", 1)[-1] for entry in names}
    if "constants.pkl" in tails or any(tail.startswith("code/") for tail in tails):
        return refusals.TORCHSCRIPT.of(name)
    if data is None:
        return refusals.TRUNCATED.of(name)
    return _explain_module(_collect_names(data)[0], name)


def is_pt2(names: Set[str]) -> bool:
    """Tell whether a zip is an archive of torch.export, of any version."""
    tails = {entry.split("/", 1)[-1] for entry in names} | names
    return bool(tails & {"archive_format", "serialized_exported_program.json", "data/sample_inputs/model.pt"}) or any(
        tail.startswith("models/") and tail.endswith(".json") for tail in tails
    )


def recognize_pickle(file: IO[bytes], name: str) -> ImportRejected | None:
    """Find out why a pickle is refused; None if it is a state_dict as PyTorch before 1.6 wrote them."""
    found, strings, numbers = _collect_names(file)
    if LEGACY_MAGIC in numbers:
        for _ in range(LEGACY_HEADERS):
            found, strings, _numbers = _collect_names(file)
        return _explain_module(found, name)
    if any(text.startswith("StructuredToParameterName@@") for text in strings):
        return refusals.PADDLE.of(name)
    if any(one.startswith(SKLEARN) for one in found):
        return refusals.SKLEARN.of(name)
    return _explain_module(found, name) or refusals.PICKLE.of(name)


def _explain_module(found: Set[str], name: str) -> ImportRejected | None:
    if not any(one.startswith((MODULES, *FASTAI)) for one in found):
        return None
    classes = sorted(one for one in found if not one.startswith(("torch.", "collections.", "builtins.", "__builtin__")))
    return refusals.PICKLED_MODULE.of(name, f"of {', '.join(classes[:3])}" if classes else "")


def _collect_names(file: IO[bytes]) -> tuple[set[str], set[str], set[int]]:
    """Collect the globals that a pickle names, its texts and its long numbers; what is damaged ends the collection."""
    found: set[str] = set()
    strings: set[str] = set()
    numbers: set[int] = set()
    memo: dict[int, object] = {}
    last: object = None
    recent = ["", ""]
    for opcode, value in _read_opcodes(file):
        if opcode == "GLOBAL":
            found.add(str(value).replace(" ", "."))
        elif opcode == "STACK_GLOBAL":
            found.add(".".join(recent))
        elif opcode in STORES:
            memo[len(memo) if value is None else int(str(value))] = last
            continue
        last = memo.get(int(str(value))) if opcode in FETCHES else value
        if opcode in LONG_NUMBERS and type(last) is int:
            numbers.add(last)
        if isinstance(last, str) and opcode != "GLOBAL":
            strings.add(last)
            recent = [recent[1], last]
    return found, strings, numbers


def _read_opcodes(file: IO[bytes]) -> Iterator[tuple[str, object]]:
    try:
        for count, (opcode, value, _) in enumerate(pickletools.genops(file)):
            yield opcode.name, value
            if count > MAX_OPCODES:
                return
    except (ValueError, UnicodeDecodeError, IndexError, AttributeError):
        return
