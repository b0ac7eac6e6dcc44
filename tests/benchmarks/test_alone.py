"""Programs that find some packages alone."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from benchmarks.alone import link_packages, run_alone

if TYPE_CHECKING:
    from pathlib import Path


def test_a_program_finds_the_packages_and_what_they_need(tmp_path: Path) -> None:
    packages = link_packages(["httpx"], tmp_path / "packages")
    run_alone("import httpx, anyio, idna\nopen(sys.argv[1], 'w').write('ran')\n", packages, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "ran"
    with pytest.raises(subprocess.CalledProcessError):
        run_alone("import numpy\n", packages)
