"""Tests of the demo: its data, its backbone, and the whole run."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from demo import pretrain
from demo.__main__ import run
from demo.digits import write_archive
from demo.rendering import DRAWINGS, SIDE, render
from tests.support.images import coloured_classes, write_zip

ROOT = Path(__file__).parents[2]


def test_the_digits_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    digests = set()
    for name in ("a", "b"):
        write_archive(tmp_path / name)
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1


def test_drawings_are_the_same_each_time_and_differ_by_class() -> None:
    once, again = (np.stack([render(k, np.random.default_rng(k)) for k in range(len(DRAWINGS))]) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert once.shape == (len(DRAWINGS), SIDE, SIDE, 3)
    assert len({image.tobytes() for image in once}) == len(DRAWINGS)


@pytest.mark.extended
def test_pretraining_gives_the_same_bytes_each_time(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    files = []
    for name in ("a", "b"):
        network = pretrain.pretrain(steps=5)
        pretrain.save(network, tmp_path / name)
        files.append((tmp_path / name / "model.safetensors").read_bytes())
    torch.set_num_threads(threads)
    assert files[0] == files[1]


def test_the_backbone_that_ships_matches_its_card() -> None:
    card = (pretrain.FOLDER / "README.md").read_text()
    size = (pretrain.FOLDER / "model.safetensors").stat().st_size
    assert size <= 1_000_000
    assert f"{size:,} bytes" in card
    network = timm.create_model(f"local-dir:{pretrain.FOLDER}", pretrained=True)
    assert f"{sum(parameter.numel() for parameter in network.parameters()):,} parameters" in card
    claimed = re.search(r"not trained on: ([\d.]+)%", card)
    assert claimed
    assert abs(pretrain.measure_accuracy(network) * 100 - float(claimed[1])) < 0.5
    assert json.loads((pretrain.FOLDER / "config.json").read_text()) == pretrain.CONFIG


@pytest.mark.extended
def test_the_whole_demo(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Run `make demo` offline to its end, with GRAFT_BACKBONES set to an empty folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRAFT_")}
    environment |= {"HF_HUB_OFFLINE": "1", "TMPDIR": str(tmp_path), "COLUMNS": "200"}
    environment["GRAFT_BACKBONES"] = str(tmp_path_factory.mktemp("own"))
    done = subprocess.run(
        [sys.executable, "-m", "demo"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("cannot be reached") == 1
    after = re.search(r"test accuracy\s+([\d.]+)%", done.stdout)
    assert after
    assert float(after[1]) > 90
    assert re.search(r"time saved by the feature cache\s+\d+%", done.stdout)
    assert len(re.findall(r"^  \d/\d{4}\.png: \d \(\d+%\)$", done.stdout, re.MULTILINE)) == 3
    assert done.stdout.rstrip().endswith("The service has stopped")
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


@pytest.mark.extended
def test_a_named_backbone_is_one_of_graft_backbones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRAFT_BACKBONES", str(tmp_path / "own"))
    shutil.copytree(pretrain.FOLDER, tmp_path / "own" / "mine")
    write_zip(tmp_path / "photos.zip", coloured_classes(2, 10))
    assert run(tmp_path, tmp_path / "photos.zip", "local/mine") == 0
    assert "local/mine" in capsys.readouterr().out
