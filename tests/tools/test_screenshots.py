"""Screenshots of the page: nothing is trained where there is no browser to take them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def test_a_missing_browser_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    env = {**os.environ, "PATH": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "tools.screenshots"], env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "There is no Chromium on this machine: install chromium.\n")
    assert list(tmp_path.iterdir()) == []
