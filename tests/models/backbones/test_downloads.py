"""Downloads: once for several processes, resumed, verified; errors name the file and where to put it."""

from __future__ import annotations

import hashlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from models.backbones.downloads import download
from models.backbones.errors import WeightsBroken, WeightsUnavailable
from tests.support import servers
from tests.support.file_server import FileServer, serve_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = os.urandom(3 << 20)
FILE = f"small-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


@pytest.fixture
def server() -> Iterator[FileServer]:
    """A server that has the file."""
    with serve_files() as served:
        served.files[FILE] = CONTENT
        yield served


def test_several_that_want_a_file_download_it_once(tmp_path: Path, server: FileServer) -> None:
    with ThreadPoolExecutor(4) as pool:
        files = list(pool.map(lambda _: download("torchvision/small", f"{server.url}/{FILE}", tmp_path), range(4)))
    assert files == [tmp_path / FILE] * 4
    assert (files[0].read_bytes(), server.requests) == (CONTENT, [None])


def test_a_download_that_broke_off_is_resumed(tmp_path: Path, server: FileServer) -> None:
    server.breaks_off_at = 2 << 20
    with pytest.raises(WeightsUnavailable):
        download("torchvision/small", f"{server.url}/{FILE}", tmp_path)
    assert not (tmp_path / FILE).exists()
    assert download("torchvision/small", f"{server.url}/{FILE}", tmp_path).read_bytes() == CONTENT
    assert server.requests[0] is None
    assert re.fullmatch(r"bytes=[1-9]\d*-", str(server.requests[1]))


def test_a_file_that_is_there_is_not_asked_for_even_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(CONTENT)
    tmp_path.chmod(0o500)
    assert download("torchvision/small", f"http://127.0.0.1:9/{FILE}", tmp_path) == tmp_path / FILE


def test_other_content_than_the_name_says_is_refused(tmp_path: Path, server: FileServer) -> None:
    server.files[FILE] = CONTENT[::-1]
    with pytest.raises(WeightsUnavailable, match="another SHA-256"):
        download("torchvision/small", f"{server.url}/{FILE}", tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    (tmp_path / FILE).write_bytes(CONTENT[:1000])
    with pytest.raises(WeightsBroken, match=r"Delete it.*downloaded again") as refused:
        download("torchvision/small", f"{server.url}/{FILE}", tmp_path)
    assert str(tmp_path / FILE) in str(refused.value)


def test_what_cannot_be_had_is_named_with_the_place_where_it_belongs(tmp_path: Path, server: FileServer) -> None:
    for url in (f"http://127.0.0.1:{servers.free_port()}/{FILE}", f"{server.url}/none-00000000.pth"):
        with pytest.raises(WeightsUnavailable, match=r"torchvision/small.*TORCH_HOME") as refused:
            download("torchvision/small", url, tmp_path / "checkpoints")
        assert url in str(refused.value)
        assert str(tmp_path / "checkpoints") in str(refused.value)
