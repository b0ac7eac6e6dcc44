"""Errors of exports: each message says what is wrong, and what to do."""

from __future__ import annotations

from typing import ClassVar


class ExportError(Exception):
    """The checkpoint cannot be exported so."""

    code: ClassVar[str]


class NetworkUnsupported(ExportError):
    """The format cannot hold this network."""

    code = "export_unsupported"


class ParityBroken(ExportError):
    """The exported file does not compute what the checkpoint does."""

    code = "parity_broken"


class PackageMissing(ExportError):
    """This worker lacks a package that the format needs."""

    code = "package_missing"
