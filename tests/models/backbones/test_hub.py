"""Files of the Hub: from a hub on loopback, in processes that are killed, held up and given damaged bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import servers
from tests.support.hub import COMMIT, Hub, run_hub

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.extended

DOWNLOAD = """
import sys, types
package = types.ModuleType("models.backbones")  # without its __init__, which imports torch: processes start at once
package.__path__ = ["models/backbones"]
sys.modules["models.backbones"] = package
from models.backbones.errors import BackboneError
from models.backbones.hub import Repository
try:
    folder = Repository.from_name(sys.argv[1]).download(*sys.argv[2:])
except BackboneError as error:
    print(type(error).__name__, "|", error)
else:
    print(folder)
"""
CONTENT = bytes(range(256)) * 100_000
"""More than huggingface_hub keeps in memory before it writes."""
HALF = len(CONTENT) // 2


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The folder of a repository with a small file and a large one."""
    folder = tmp_path / "hub/somebody/network"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(CONTENT)
    return folder


@pytest.fixture
def hub(tmp_path: Path, repository: Path) -> Iterator[Hub]:
    """A hub with it."""
    with run_hub(tmp_path / "hub") as running:
        yield running


def start(home: Path, endpoint: str, *arguments: str, **more: str) -> subprocess.Popen[str]:
    """Start to download files in a process of its own."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "HF_HOME": str(home), "HF_ENDPOINT": endpoint, **more}
    return subprocess.Popen(
        [sys.executable, "-c", DOWNLOAD, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[3],
    )


def download(home: Path, endpoint: str, *arguments: str, **more: str) -> str:
    """Download files; returns their folder, or the error."""
    message, _ = start(home, endpoint, *arguments, **more).communicate(timeout=120)
    return message.strip()


def test_all_files_are_of_one_commit_and_found_again_offline(tmp_path: Path, hub: Hub) -> None:
    files = ("hf/somebody/network", "config.json", "model.safetensors")
    folder = Path(download(tmp_path, hub.url, *files))
    assert folder.name == COMMIT
    assert (folder / "model.safetensors").read_bytes() == CONTENT
    assert Path(download(tmp_path, hub.url, *files, HF_HUB_OFFLINE="1")) == folder
    assert Path(download(tmp_path, f"http://127.0.0.1:{servers.free_port()}", *files)) == folder
    assert hub.count_gets("model.safetensors") == 1


def test_a_download_that_was_killed_goes_on(tmp_path: Path, hub: Hub) -> None:
    hub.held_after = HALF
    process = start(tmp_path, hub.url, "hf/somebody/network", "model.safetensors")
    parts: list[Path] = []
    while not parts or parts[0].stat().st_size == 0:
        assert process.poll() is None
        time.sleep(0.05)
        parts = list(tmp_path.rglob("*.part.incomplete"))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = parts[0].stat().st_size
    folder = Path(download(tmp_path, hub.url, "hf/somebody/network", "model.safetensors"))
    assert (folder / "model.safetensors").read_bytes() == CONTENT
    assert f"bytes={done}-" in [wanted for _, _, wanted in hub.requests]
    assert not list(tmp_path.rglob("*.incomplete"))


def test_several_processes_download_once(tmp_path: Path, hub: Hub) -> None:
    processes = [start(tmp_path, hub.url, "hf/somebody/network", "model.safetensors") for _ in range(3)]
    folders = {process.communicate(timeout=120)[0] for process in processes}
    assert len(folders) == 1
    assert hub.count_gets("model.safetensors") == 1


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_damaged_bytes_are_noticed(tmp_path: Path, hub: Hub, file: str) -> None:
    hub.damaged.add(file)
    message = download(tmp_path, hub.url, "hf/somebody/network", file)
    assert message.startswith("WeightsBroken")
    assert file in message
    hub.damaged.clear()
    assert Path(download(tmp_path, hub.url, "hf/somebody/network", file)).name == COMMIT


def test_a_file_that_was_damaged_on_disk_is_fetched_again(tmp_path: Path, hub: Hub) -> None:
    folder = Path(download(tmp_path, hub.url, "hf/somebody/network", "model.safetensors"))
    blob = (folder / "model.safetensors").resolve()
    blob.write_bytes(b"x" + CONTENT[1:])
    assert Path(download(tmp_path, hub.url, "hf/somebody/network", "model.safetensors")) == folder
    assert (folder / "model.safetensors").read_bytes() == CONTENT


def test_a_revision_is_a_branch_tag_or_commit(tmp_path: Path, hub: Hub, repository: Path) -> None:
    other = "f" * 40
    hub.revisions |= {"refs/pr/1": other, other: other}
    (repository / f"@{other}").mkdir()
    (repository / f"@{other}" / "config.json").write_text('{"other": 1}')
    for name in ("hf/somebody/network@refs/pr/1", f"hf/somebody/network@{other}"):
        folder = Path(download(tmp_path, hub.url, name, "config.json"))
        assert (folder.name, (folder / "config.json").read_text()) == (other, '{"other": 1}')
    message = download(tmp_path, hub.url, "hf/somebody/network@no-such-branch", "config.json")
    assert message.startswith("BackboneUnknown")
    assert "no branch, tag or commit no-such-branch" in message


def test_what_is_not_there_says_what_to_do(tmp_path: Path, hub: Hub, repository: Path) -> None:
    name = "hf/somebody/network"
    message = download(tmp_path, f"http://127.0.0.1:{servers.free_port()}", name, "config.json")
    assert message.startswith("WeightsUnavailable")
    for part in ("config.json", "models--somebody--network", "HF_ENDPOINT", "GRAFT_BACKBONES"):
        assert part in message
    assert download(tmp_path, hub.url, name, "nothing.json").startswith("FileMissing | hf/somebody/network has no")
    (repository / "gated").touch()
    message = download(tmp_path, hub.url, name, "config.json")
    assert message.startswith("WeightsUnavailable")
    assert f"{hub.url}/somebody/network" in message
    assert "HF_TOKEN" in message


def test_a_disk_that_is_too_small_is_named_before_anything_is_fetched(tmp_path: Path, hub: Hub) -> None:
    script = DOWNLOAD.replace(
        "from models.backbones.hub import Repository",
        "from models.backbones import hub; hub.SPARE_BYTES = 1 << 60\nfrom models.backbones.hub import Repository",
    )
    run = subprocess.run(
        [sys.executable, "-c", script, "hf/somebody/network", "model.safetensors"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_HOME": str(tmp_path), "HF_ENDPOINT": hub.url},
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert run.stdout.startswith("DiskTooSmall")
    assert "HF_HOME" in run.stdout
    assert hub.count_gets("model.safetensors") == 0
